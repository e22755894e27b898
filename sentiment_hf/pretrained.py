"""The network with the interface of a pretrained model: `from_pretrained`, `save_pretrained`."""

from pathlib import Path
from typing import Self

from sentiment_hf.checkpoint import find_checkpoint, read_config, read_network, write_network
from sentiment_hf.network import LSTMClassifier


class LSTMForSequenceClassification(LSTMClassifier):
    """The network alone, without its tokenizer; `forward` is `LSTMClassifier.forward`."""

    @classmethod
    def from_pretrained(cls, model: str | Path | None = None) -> Self:
        """Loads configuration and weights of a checkpoint, strictly, in float32.

        Args:
            model: a checkpoint folder; the reference checkpoint by default.

        Raises:
            SentimentError: a file is missing, damaged, or does not fit the other.
        """
        folder = find_checkpoint(model)
        return read_network(folder, read_config(folder), cls)

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes `config.json` and `model.safetensors` into a folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_network(folder, self)
