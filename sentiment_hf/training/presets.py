"""Presets: the settings that belong together, under a name."""

from dataclasses import dataclass
from typing import Any, Literal

from sentiment_hf.data.tokenization import DEFAULT_VOCAB_SIZE
from sentiment_hf.errors import SentimentError
from sentiment_hf.training.loop import TrainerSettings


@dataclass(frozen=True)
class Preset:
    """Everything that `train` needs to know besides the data.

    Attributes:
        what: one line for the user.
        network: the fields of `LSTMConfig` that differ from its defaults.
        trainer: how the weights are trained.
        choose_by: the validation figure that the epoch is chosen by.
        word_vectors: start the embedding from `word_vectors` of the training texts.
        crop_share: how many rows show a random piece of their text (see `TrainingBatches`).
    """

    what: str
    network: dict[str, Any]
    trainer: TrainerSettings
    batch_size: int
    vocab_size: int = DEFAULT_VOCAB_SIZE
    word_vectors: bool = False
    crop_share: float = 0.0
    label_smoothing: float = 0.0
    # On 2,500 rows the loss tells two epochs apart where the accuracy is all noise.
    choose_by: Literal["accuracy", "loss"] = "loss"

    def record(self) -> dict[str, Any]:
        """What `training.json` says of it, beside its name."""
        return {
            "epochs": self.trainer.epochs,
            "learning_rate": self.trainer.learning_rate,
            "batch_size": self.batch_size,
        }


PRESETS = {
    "article": Preset(
        what="the network of the article: embedding 30, one LSTM layer of 512, the last word",
        network={
            "embedding_dim": 30,
            "hidden_size": 512,
            "bidirectional": False,
            "pooling": "last",
            "max_length": 200,
        },
        trainer=TrainerSettings(
            epochs=8,
            learning_rate=1e-3,
            schedule="constant",
            warmup_ratio=0.0,
            max_grad_norm=5.0,
            patience=2,
        ),
        batch_size=50,
        choose_by="accuracy",
    ),
    "fast": Preset(
        what="two directions of 128, regularised well: minutes on two cores",
        network={
            "embedding_dim": 128,
            "hidden_size": 128,
            "dropout": 0.5,
            "embedding_dropout": 0.4,
            "word_dropout": 0.2,
            "max_length": 400,
            "dtype": "float16",
        },
        trainer=TrainerSettings(
            epochs=10,
            learning_rate=2e-3,
            # The vectors are good from the start; with a high learning rate they overfit.
            learning_rate_factors=(("embedding", 0.1),),
            ema_decay=0.998,
            weight_decay=0.01,
            patience=4,
        ),
        batch_size=64,
        word_vectors=True,
        crop_share=0.2,
        label_smoothing=0.05,
    ),
    "student": Preset(
        what="for `--teacher`: two directions of 160; soft labels are hard to overfit",
        network={
            "embedding_dim": 128,
            "hidden_size": 160,
            "dropout": 0.2,
            "embedding_dropout": 0.1,
            "word_dropout": 0.05,
            "max_length": 800,
            "dtype": "float16",
        },
        trainer=TrainerSettings(
            epochs=5,
            learning_rate=3e-3,
            learning_rate_factors=(("embedding", 0.3),),
            ema_decay=0.998,
            weight_decay=0.01,
        ),
        batch_size=64,
        word_vectors=True,
    ),
    "best": Preset(
        what="for `--init-from` an encoder of `pretrain`: lower learning rates for its layers",
        network={
            "embedding_dim": 128,
            "hidden_size": 160,
            "dropout": 0.5,
            "embedding_dropout": 0.3,
            "word_dropout": 0.1,
            "max_length": 800,
            "dtype": "float16",
        },
        trainer=TrainerSettings(
            epochs=2,
            learning_rate=3e-3,
            # Discriminative learning rates (Howard & Ruder 2018, arXiv:1801.06146): the further
            # from the head, the more a layer already knows.
            learning_rate_factors=(("embedding", 0.2), ("lstm", 0.5), ("backward_lstm", 0.5)),
            ema_decay=0.998,
            weight_decay=0.01,
        ),
        batch_size=32,
        crop_share=0.2,
        label_smoothing=0.05,
    ),
}


@dataclass(frozen=True)
class Pretraining:
    """Everything that `pretrain` needs to know besides the text.

    Attributes:
        network: the fields of `LSTMConfig` that differ from its defaults.
        window: gradients go back at most that many words: longer texts are cut into pieces.
        candidates: words that a CPU samples for the softmax, None for all; a GPU computes all.
    """

    network: dict[str, Any]
    trainer: TrainerSettings
    batch_size: int
    window: int
    candidates: int | None
    vocab_size: int = DEFAULT_VOCAB_SIZE

    def record(self) -> dict[str, Any]:
        """What `training.json` says of it."""
        return {
            "epochs": self.trainer.epochs,
            "learning_rate": self.trainer.learning_rate,
            "batch_size": self.batch_size,
            "window": self.window,
        }


PRETRAINING = Pretraining(
    network={
        "embedding_dim": 128,
        "hidden_size": 160,
        "dropout": 0.1,
        "embedding_dropout": 0.05,
    },
    trainer=TrainerSettings(
        epochs=4,
        learning_rate=3e-3,
        betas=(0.9, 0.99),
        warmup_ratio=0.05,
        weight_decay=0.01,
    ),
    batch_size=64,
    window=128,
    candidates=1024,
)


def get_preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        SentimentError: there is none; the sentence lists them.
    """
    if name not in PRESETS:
        raise SentimentError(f"There is no preset {name!r}; there are {', '.join(PRESETS)}.")
    return PRESETS[name]
