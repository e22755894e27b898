"""The configuration: what builds the network, as `config.json` holds it."""

import dataclasses
import unicodedata
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from sentiment_hf.errors import UNPRINTABLE, SentimentError

MODEL_TYPE = "sentiment-lstm"
Pooling = Literal["last", "mean", "max", "mean_max"]
WeightsDtype = Literal["float32", "float16"]

# No size of a word-level classifier comes near this; a hostile config.json asks for more.
LARGEST_SIZE = 10_000_000
# Names are printed, drawn and written into cards.
MOST_LABELS, LONGEST_LABEL = 1_000, 200
UNSEEN = "\u200b\u200c\u200d\u2060\ufeff"


def label_fault(name: str) -> str | None:
    """Why a checkpoint cannot hold a label of that name, if it cannot."""
    # Blanks, and signs that nobody sees.
    if all(unicodedata.category(sign)[0] == "Z" or sign in UNSEEN for sign in name):
        return "empty"
    if len(name) > LONGEST_LABEL:
        return f"longer than {LONGEST_LABEL} characters"
    return "not one printable line" if UNPRINTABLE.search(name) else None


@dataclass(frozen=True)
class LSTMConfig:
    """What builds the network, as `config.json` holds it.

    Raises:
        SentimentError: a field has a value that no network can be built from.
    """

    vocab_size: int
    embedding_dim: int = 128
    hidden_size: int = 128
    num_layers: int = 1
    bidirectional: bool = True
    pooling: Pooling = "mean_max"
    dropout: float = 0.0
    embedding_dropout: float = 0.0
    word_dropout: float = 0.0
    max_length: int | None = 400
    pad_token_id: int = 0
    unk_token_id: int = 1
    id2label: dict[int, str] = field(default_factory=lambda: {0: "neg", 1: "pos"})
    temperature: float = 1.0
    dtype: WeightsDtype = "float32"

    def __post_init__(self) -> None:
        for name in ("vocab_size", "embedding_dim", "hidden_size", "num_layers"):
            self._check(name, _is_int(getattr(self, name), 1, LARGEST_SIZE), "a positive integer")
        self._check("num_layers", self.num_layers <= 64, "at most 64")
        valid = self.max_length is None or _is_int(self.max_length, 1, LARGEST_SIZE)
        self._check("max_length", valid, "null or a positive integer")
        for name in ("pad_token_id", "unk_token_id"):
            valid = _is_int(getattr(self, name), 0, self.vocab_size - 1)
            self._check(name, valid, f"an id below vocab_size ({self.vocab_size})")
        self._check("unk_token_id", self.unk_token_id != self.pad_token_id, "not the padding id")
        for name in ("dropout", "embedding_dropout", "word_dropout"):
            self._check(name, _is_number(getattr(self, name), 0.0, 0.99), "a number from 0 to 0.99")
        self._check("temperature", _is_number(self.temperature, 1e-3, 1e3), "a positive number")
        self._check("bidirectional", isinstance(self.bidirectional, bool), "true or false")
        self._check("pooling", self.pooling in get_args(Pooling), _one_of(Pooling))
        self._check("dtype", self.dtype in get_args(WeightsDtype), _one_of(WeightsDtype))
        names = self.id2label.values() if isinstance(self.id2label, dict) else []
        self._check(
            "id2label",
            2 <= len(names) <= MOST_LABELS
            and list(self.id2label) == list(range(len(names)))
            and all(isinstance(name, str) for name in names)
            and len(set(names)) == len(names),
            f"2 to {MOST_LABELS:,} different names, numbered from 0",
        )
        self._check(
            "id2label",
            not any(map(label_fault, names)),
            f"names of one printable line of 1 to {LONGEST_LABEL} characters",
        )

    def _check(self, name: str, valid: bool, expected: str) -> None:
        if not valid:
            value = str(getattr(self, name))
            value = value if len(value) <= 80 else value[:77] + "..."
            raise SentimentError(f"The configuration's {name} must be {expected}, not {value!r}.")

    @property
    def num_labels(self) -> int:
        return len(self.id2label)

    @property
    def label_names(self) -> list[str]:
        return list(self.id2label.values())

    @property
    def num_outputs(self) -> int:
        """Logits per text: one for two labels, one per label for more."""
        return 1 if self.num_labels == 2 else self.num_labels

    @property
    def pooled_size(self) -> int:
        """Numbers per text that pooling gives."""
        directions = 2 if self.bidirectional else 1
        return self.hidden_size * directions * (2 if self.pooling == "mean_max" else 1)

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """The tensors of the network by name, as `model.safetensors` holds them."""
        gates = 4 * self.hidden_size  # Input, forget, cell and output, as in `torch.nn.LSTM`.
        shapes: dict[str, tuple[int, ...]] = {
            "embedding.weight": (self.vocab_size, self.embedding_dim),
            "linear.weight": (self.num_outputs, self.pooled_size),
            "linear.bias": (self.num_outputs,),
        }
        for lstm in ("lstm", "backward_lstm") if self.bidirectional else ("lstm",):
            for layer in range(self.num_layers):
                inputs = self.hidden_size if layer else self.embedding_dim
                shapes[f"{lstm}.weight_ih_l{layer}"] = (gates, inputs)
                shapes[f"{lstm}.weight_hh_l{layer}"] = (gates, self.hidden_size)
                shapes[f"{lstm}.bias_ih_l{layer}"] = (gates,)
                shapes[f"{lstm}.bias_hh_l{layer}"] = (gates,)
        return shapes

    def to_dict(self) -> dict[str, Any]:
        """The content of `config.json`."""
        values = dataclasses.asdict(self)
        values["id2label"] = {str(i): name for i, name in self.id2label.items()}
        return {
            "model_type": MODEL_TYPE,
            "architectures": ["LSTMForSequenceClassification"],
            **values,
            "label2id": {name: i for i, name in self.id2label.items()},
            "num_labels": self.num_labels,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "LSTMConfig":
        """Reads the content of a `config.json`.

        Keys that this version does not know are left aside, as `transformers` does.

        Raises:
            SentimentError: another `model_type`, a missing or impossible field, or label
                fields that contradict each other.
        """
        if values.get("model_type") != MODEL_TYPE:
            found = repr(values.get("model_type"))[:80]
            raise SentimentError(f"The configuration's model_type is {found}, not '{MODEL_TYPE}'.")
        known = {f.name for f in dataclasses.fields(cls)}
        arguments = {name: value for name, value in values.items() if name in known}
        for name in ("vocab_size", "embedding_dim", "hidden_size", "id2label"):
            if name not in arguments:
                raise SentimentError(f"The configuration has no {name}.")
        try:
            names = sorted((int(i), name) for i, name in arguments["id2label"].items())
        except (ValueError, TypeError, AttributeError) as error:
            raise SentimentError("The configuration's id2label has no numbers as keys.") from error
        arguments["id2label"] = dict(names)
        config = cls(**arguments)
        for name in ("num_labels", "label2id"):
            if name in values and values[name] != config.to_dict()[name]:
                raise SentimentError(f"The configuration's {name} contradicts its id2label.")
        return config


def _is_int(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_number(value: object, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _one_of(literal: Any) -> str:
    return "one of " + ", ".join(get_args(literal))
