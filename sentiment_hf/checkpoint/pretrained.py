"""The network with the interface of a pretrained model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from sentiment_hf.checkpoint.card import write_card
from sentiment_hf.checkpoint.download import find_checkpoint
from sentiment_hf.checkpoint.folder import (
    CONFIG_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    read_config,
    saved_checkpoint,
)
from sentiment_hf.checkpoint.records import drop_other_records
from sentiment_hf.checkpoint.upload import PushToHubMixin
from sentiment_hf.checkpoint.weights import (
    files_checksums,
    header_checksums,
    read_weights,
    write_network,
)
from sentiment_hf.errors import SentimentError
from sentiment_hf.model.config import LSTMConfig
from sentiment_hf.model.network import LSTMClassifier


class LSTMForSequenceClassification(LSTMClassifier, PushToHubMixin):
    """The network alone, without its tokenizer; `forward` is `LSTMClassifier.forward`."""

    # Of the tokenizer that the weights were loaded beside; None of a network built anew.
    _tokenizer_checksum: str | None = None

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
        """Writes `config.json`, `model.safetensors` and a card into a folder.

        Raises:
            SentimentError: the folder holds another tokenizer than the one that the network was
                loaded with.
        """
        with saved_checkpoint(folder) as new:
            there, own = files_checksums(new).get(TOKENIZER_FILE), self._tokenizer_checksum
            if there and own and there != own:
                raise SentimentError(
                    f"{folder} holds the tokenizer of another network, which numbers the words"
                    " differently: save into another folder, or save the whole `SentimentPipeline`."
                )
            write_network(new, self)
            drop_other_records(new)
            write_card(new)


def read_network(folder: Path, config: LSTMConfig) -> LSTMForSequenceClassification:
    """The network of a checkpoint folder in evaluation mode; see `read_weights`."""
    network = network_of(config, read_weights(folder, config))
    network._tokenizer_checksum = header_checksums(folder).get(TOKENIZER_FILE)
    return network


def network_of(
    config: LSTMConfig, weights: Mapping[str, np.ndarray]
) -> LSTMForSequenceClassification:
    """A network in evaluation mode; the weights are used as they lie in memory, not copied."""
    # What is made in inference mode can never be explained.
    with torch.inference_mode(False):
        # On `meta` the network takes no memory before its weights are assigned.
        with torch.device("meta"), _SkipInit():
            network = LSTMForSequenceClassification(config)
        tensors = {name: torch.from_numpy(values) for name, values in weights.items()}
        network.load_state_dict(tensors, assign=True)
    return network.eval()


def move_network(network: nn.Module, device: str | torch.device, dtype: torch.dtype) -> None:
    """As `network.to`; in inference mode, too, what comes of it can be explained."""
    with torch.inference_mode(False):
        network.to(device, dtype)


class _SkipInit(TorchFunctionMode):
    """Skips `torch.nn.init`, which on the device `meta` costs a second of imports."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)
