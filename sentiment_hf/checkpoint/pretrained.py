"""The network with the interface of a pretrained model."""

import tempfile
from pathlib import Path
from typing import Self, Unpack

from sentiment_hf.checkpoint.card import write_card
from sentiment_hf.checkpoint.download import HubOptions, find_checkpoint
from sentiment_hf.checkpoint.files import made_folder
from sentiment_hf.checkpoint.folder import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    read_config,
    read_network,
    write_network,
)
from sentiment_hf.checkpoint.upload import PushOptions, push_folder
from sentiment_hf.model.network import LSTMClassifier


class LSTMForSequenceClassification(LSTMClassifier):
    """The network alone, without its tokenizer; `forward` is `LSTMClassifier.forward`."""

    @classmethod
    def from_pretrained(
        cls, model: str | Path | None = None, **options: Unpack[HubOptions]
    ) -> Self:
        """Loads configuration and weights of a checkpoint, strictly, in float32 on the CPU.

        Args:
            model: a checkpoint folder or a Hub id; the reference checkpoint by default.
            options: `revision`, `token`, `cache_dir`, `local_files_only`, `force_download`.

        Raises:
            SentimentError: a file is missing, damaged, or does not fit the other.
        """
        folder = find_checkpoint(model, (CONFIG_FILE, WEIGHTS_FILE), **options)
        return read_network(folder, read_config(folder), cls)

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes `config.json`, `model.safetensors` and a card into a folder."""
        folder = made_folder(folder)
        write_network(folder, self)
        write_card(folder)

    def push_to_hub(self, repo_id: str, **options: Unpack[PushOptions]) -> str:
        """Shares configuration, weights and card in one commit; see `push_folder`."""
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent) / repo_id.rsplit("/", maxsplit=1)[-1]
            self.save_pretrained(folder)
            return push_folder(folder, repo_id, **options)
