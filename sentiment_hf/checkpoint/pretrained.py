"""The network with the interface of a pretrained model."""

import tempfile
from abc import ABC, abstractmethod
from pathlib import Path

from sentiment_hf.checkpoint.card import write_card
from sentiment_hf.checkpoint.download import find_checkpoint
from sentiment_hf.checkpoint.folder import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    drop_other_records,
    read_config,
    read_weights,
    saved_checkpoint,
    without_weights,
    write_network,
)
from sentiment_hf.checkpoint.upload import check_address, push_folder
from sentiment_hf.model.config import LSTMConfig
from sentiment_hf.model.network import LSTMClassifier


class PushToHubMixin(ABC):
    """What can be saved as a checkpoint folder can be pushed to the Hub."""

    @abstractmethod
    def save_pretrained(self, folder: str | Path) -> None: ...

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        branch: str | None = None,
        create_pr: bool = False,
        tag: str | None = None,
        replace_card: bool = False,
        commit_message: str | None = None,
        token: str | bool | None = None,
    ) -> str:
        """Shares what `save_pretrained` writes in one commit; the arguments are `push_folder`'s.

        A folder written by `train` holds more: its records and figures. Share that one whole with
        `sentiment-hf push FOLDER REPO_ID`.

        Returns:
            The address of the repository or of the pull request.
        """
        check_address(repo_id, token)
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent) / repo_id.rsplit("/", maxsplit=1)[-1]
            self.save_pretrained(folder)
            return push_folder(
                folder,
                repo_id,
                private=private,
                branch=branch,
                create_pr=create_pr,
                tag=tag,
                replace_card=replace_card,
                commit_message=commit_message,
                token=token,
            )


class LSTMForSequenceClassification(LSTMClassifier, PushToHubMixin):
    """The network alone, without its tokenizer; `forward` is `LSTMClassifier.forward`."""

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | None = None,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
    ) -> "LSTMForSequenceClassification":
        """Loads configuration and weights of a checkpoint, strictly, in float32 on the CPU.

        Args:
            model: a checkpoint folder or a Hub id; the reference checkpoint by default.
            revision, token, cache_dir, local_files_only, force_download: as in `find_checkpoint`.

        Raises:
            SentimentError: a file is missing, damaged, or does not fit the other.
        """
        folder = find_checkpoint(
            model,
            (CONFIG_FILE, WEIGHTS_FILE),
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            force_download=force_download,
        )
        return read_network(folder, read_config(folder))

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes `config.json`, `model.safetensors` and a card into a folder."""
        with saved_checkpoint(Path(folder)) as new:
            write_network(new, self)
            drop_other_records(new)
            write_card(new)


def read_network(folder: Path, config: LSTMConfig) -> LSTMForSequenceClassification:
    """The network of a checkpoint folder in evaluation mode; see `read_weights`."""
    weights = read_weights(folder, config)
    with without_weights():
        network = LSTMForSequenceClassification(config)
    network.load_state_dict(weights, assign=True)
    return network.eval()
