"""Presets: the settings that belong together, under a name."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from sentiment_hf.arguments import check_rate, check_whole
from sentiment_hf.data.tokenization import DEFAULT_VOCAB_SIZE, SMALLEST_VOCAB_SIZE
from sentiment_hf.errors import SentimentError
from sentiment_hf.model.config import LARGEST_SIZE
from sentiment_hf.training.loop import TrainerSettings


@dataclass(frozen=True, kw_only=True)
class Preset(TrainerSettings):
    """Everything that a training needs to know besides the data.

    Attributes:
        network: the fields of `LSTMConfig` that differ from its defaults.
        word_vectors: the mean length of the `word_vectors` that the embedding starts from; 0 for
            random ones.
        crop_share: how many rows show a random piece of their text (see `TrainingBatches`).
        choose_by: the validation figure that the epoch is chosen by.
    """

    network: dict[str, Any]
    batch_size: int = 64
    vocab_size: int = DEFAULT_VOCAB_SIZE
    word_vectors: float = 0.0
    crop_share: float = 0.0
    label_smoothing: float = 0.0
    # On 2,500 rows the loss tells two epochs apart where their accuracies differ by chance.
    choose_by: Literal["accuracy", "loss"] = "loss"

    def changed(
        self,
        *,
        epochs: int | None = None,
        learning_rate: float | None = None,
        batch_size: int | None = None,
        vocab_size: int | None = None,
        max_length: int | None = None,
    ) -> "Preset":
        """The same settings but for those that are given, which are checked."""
        check_whole("epochs", epochs)
        check_rate("learning_rate", learning_rate)
        check_whole("batch_size", batch_size)
        check_whole("vocab_size", vocab_size, least=SMALLEST_VOCAB_SIZE, most=LARGEST_SIZE)
        check_whole("max_length", max_length, most=LARGEST_SIZE)
        return replace(
            self,
            network=self.network | ({"max_length": max_length} if max_length else {}),
            epochs=epochs or self.epochs,
            learning_rate=learning_rate or self.learning_rate,
            batch_size=batch_size or self.batch_size,
            vocab_size=vocab_size or self.vocab_size,
        )


PRESETS = {
    # The network of the article.
    "article": Preset(
        network={
            "embedding_dim": 30,
            "hidden_size": 512,
            "bidirectional": False,
            "pooling": "last",
            "max_length": 200,
        },
        epochs=8,
        learning_rate=1e-3,
        schedule="constant",
        warmup_ratio=0.0,
        max_grad_norm=5.0,
        patience=2,
        batch_size=50,
        choose_by="accuracy",
    ),
    # Minutes on two cores.
    "fast": Preset(
        network={
            "dropout": 0.5,
            "embedding_dropout": 0.4,
            "word_dropout": 0.2,
            "dtype": "float16",
        },
        epochs=10,
        learning_rate=2e-3,
        # The vectors are good from the start; with a high learning rate they overfit.
        learning_rate_factors=(("embedding", 0.1),),
        ema_decay=0.998,
        weight_decay=0.01,
        patience=4,
        word_vectors=1.0,
        crop_share=0.2,
        label_smoothing=0.05,
    ),
    # For a `teacher`: soft labels are hard to overfit.
    "student": Preset(
        network={
            "hidden_size": 160,
            "dropout": 0.2,
            "embedding_dropout": 0.1,
            "word_dropout": 0.05,
            "max_length": 800,
            "dtype": "float16",
        },
        epochs=5,
        learning_rate=3e-3,
        learning_rate_factors=(("embedding", 0.3),),
        ema_decay=0.998,
        weight_decay=0.01,
        word_vectors=1.0,
    ),
    # For `init_from` an encoder of `pretrain`.
    "best": Preset(
        network={
            "hidden_size": 160,
            "dropout": 0.5,
            "embedding_dropout": 0.3,
            "word_dropout": 0.1,
            "max_length": 800,
            "dtype": "float16",
        },
        epochs=2,
        learning_rate=3e-3,
        # Discriminative learning rates (Howard & Ruder 2018, arXiv:1801.06146): the further
        # from the head, the more a layer already knows.
        learning_rate_factors=(("embedding", 0.2), ("lstm", 0.5), ("backward_lstm", 0.5)),
        ema_decay=0.998,
        weight_decay=0.01,
        batch_size=32,
        crop_share=0.2,
        label_smoothing=0.05,
    ),
}


# The language model of `pretrain`.
PRETRAINING = Preset(
    network={"hidden_size": 160, "dropout": 0.1, "embedding_dropout": 0.05},
    epochs=4,
    learning_rate=3e-3,
    betas=(0.9, 0.99),
    warmup_ratio=0.05,
    weight_decay=0.01,
    # A softmax with shared weights starts calmer from shorter vectors.
    word_vectors=128**-0.25,
)


def get_preset(name: str) -> Preset:
    """The preset of that name; if there is none, the error lists them."""
    if name not in PRESETS:
        raise SentimentError(f"There is no preset {name!r}; there are {', '.join(PRESETS)}.")
    return PRESETS[name]
