"""What surrounds every training: its folder, its device, and what is written down of it."""

import logging
import os
import platform
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import patch_environment
from tokenizers import Tokenizer

from sentiment_hf.checkpoint.download import find_checkpoint
from sentiment_hf.checkpoint.files import plain_path, recover_folder, replaced_folder
from sentiment_hf.checkpoint.folder import CONFIG_FILE, foreign_names, read_config, read_tokenizer
from sentiment_hf.data.tokenization import train_tokenizer
from sentiment_hf.errors import SentimentError
from sentiment_hf.model.config import LSTMConfig
from sentiment_hf.model.device import (
    keep_few_shapes,
    keep_freed_memory,
    pick_device,
    pick_training_dtype,
)
from sentiment_hf.training.presets import Preset, Pretraining
from sentiment_hf.training.state import STATE_FOLDER, StateFolder
from sentiment_hf.version import __version__

logger = logging.getLogger(__name__)


class OutputFolder:
    """The folder that a training writes, with the state that it goes on from.

    Raises:
        SentimentError: no training may write there.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = plain_path(Path(path))
        here = Path.cwd()
        if self.path.resolve() in (here, *here.parents):
            raise SentimentError(
                "Name the folder to write with `output`: it cannot be the one you are in or one"
                " above it."
            )
        for part in (self.path, *self.path.parents):
            if part.exists() and not part.is_dir():
                raise SentimentError(f"{part} is a file; `output` names a folder.")
        self.state = StateFolder(self.path / STATE_FOLDER)

    def is_finished(self, *, resume: bool, overwrite: bool) -> bool:
        """Whether there is nothing left to do; touches nothing.

        Raises:
            SentimentError: the folder holds something that must not be lost.
        """
        recover_folder(self.path)
        self._refuse_strangers()
        finished = (self.path / CONFIG_FILE).exists()
        unfinished = self.state.exists()
        if finished:
            read_config(self.path)
        if resume:
            if unfinished:
                return False
            if finished:
                logger.warning("The training in %s is already finished.", self.path)
                return True
            logger.warning("There is no training in %s to go on with; starting afresh.", self.path)
        elif unfinished and not overwrite:
            raise SentimentError(
                f"The folder {self.path} holds an unfinished training; go on with `resume`, or"
                " start afresh with `overwrite`."
            )
        elif finished and not overwrite:
            raise SentimentError(
                f"The folder {self.path} holds a checkpoint already; replace it with `overwrite`."
            )
        return False

    def begin(self, accelerator: Accelerator, *, resume: bool) -> None:
        """To be called when nothing can be refused any more: drops what is not gone on with."""
        accelerator.wait_for_everyone()  # No process still looks at what the first one drops.
        if not resume and accelerator.is_main_process:
            self.state.remove()
        accelerator.wait_for_everyone()

    def replace(self, accelerator: Accelerator, fill: Callable[[Path], None]) -> None:
        """Fills a new folder, which takes the place of this one; the first process does.

        If something foreign has come into the folder meanwhile, nothing is replaced; the state is
        still there then, and `--resume` ends the training in a moment.
        """
        if accelerator.is_main_process:
            with replaced_folder(self.path) as new:
                fill(new)
                self._refuse_strangers()
        accelerator.wait_for_everyone()

    def _refuse_strangers(self) -> None:
        foreign = foreign_names(self.path, {STATE_FOLDER})
        if foreign:
            raise SentimentError(
                f"The folder {self.path} holds something that is no part of a checkpoint"
                f" ({foreign[0]!r}); nothing was touched."
            )


def start_accelerator(device_name: str | None, dtype_name: str | None) -> Accelerator:
    """Chooses device and precision, says why, and makes them ready.

    Raises:
        SentimentError: there is no such device or precision here.
    """
    device = pick_device(device_name)
    dtype, reason = pick_training_dtype(device, dtype_name)
    logger.info("Training in %s on %s: %s.", str(dtype).removeprefix("torch."), device, reason)
    if device.type == "cpu":
        keep_few_shapes()
        keep_freed_memory()
    # Its state is shared by the whole process and refuses a second precision.
    AcceleratorState._reset_state(reset_partial_state=True)
    precision = "bf16" if dtype == torch.bfloat16 else "no"
    # The one way to tell accelerate which of several GPUs is meant.
    named = {} if device.index is None else {"ACCELERATE_TORCH_DEVICE": str(device)}
    with patch_environment(**named):
        accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=precision)
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != accelerator.num_processes:
        raise SentimentError(
            f"{started} processes were started, but each sees {accelerator.num_processes}: each"
            " would do the whole work. On a CPU, set ACCELERATE_USE_CPU=true and use torchrun."
        )
    return accelerator


def precision_of(accelerator: Accelerator) -> str:
    return "bfloat16" if accelerator.mixed_precision == "bf16" else "float32"


def describe_run(
    history: list[dict[str, Any]], preparation: float, accelerator: Accelerator
) -> dict[str, Any]:
    """Duration with preparation, hardware, versions and history, for `training.json`."""
    device = accelerator.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
    return {
        "seconds": round(preparation + history[-1]["seconds"], 1),
        "hardware": {"device": name, "precision": precision_of(accelerator)},
        "versions": versions(),
        "history": history,
    }


def processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    count = torch.get_num_threads()
    return f"{name}, {count} thread{'s' if count > 1 else ''}"


def versions() -> dict[str, str]:
    libraries = ("torch", "tokenizers", "datasets", "accelerate", "safetensors")
    return {
        "python": platform.python_version(),
        "sentiment-hf": __version__,
        **{name: version(name) for name in libraries},
    }


SIZES_OF_AN_ENCODER = (
    "vocab_size", "embedding_dim", "hidden_size", "num_layers", "bidirectional",
)  # fmt: skip


def find_source(init_from: str | Path | None, vocab_size: int | None) -> Path | None:
    """The folder of a pretrained MODEL; None where none was named.

    Raises:
        SentimentError: there is no such model, or a vocabulary was asked for beside it.
    """
    if init_from is None:
        return None
    if vocab_size is not None:
        raise SentimentError("`vocab_size` has no use with `init_from`: the words come along.")
    return find_checkpoint(init_from)


def words_and_sizes(
    source: Path | None, texts: Iterable[str], settings: Preset | Pretraining, **fields: Any
) -> tuple[Tokenizer, LSTMConfig]:
    """Tokenizer and configuration: from the texts and settings, or those of the source."""
    if source is None:
        tokenizer = train_tokenizer(texts, settings.vocab_size)
        sizes: dict[str, Any] = {"vocab_size": tokenizer.get_vocab_size()}
    else:
        base = read_config(source)
        tokenizer = read_tokenizer(source, base)
        sizes = {name: getattr(base, name) for name in SIZES_OF_AN_ENCODER}
    return tokenizer, LSTMConfig(**{**settings.network, **sizes, **fields})
