"""What surrounds every training: its folder, its device, and what is written down of it."""

import logging
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from sentiment_hf.checkpoint import CONFIG_FILE, foreign_names, read_config
from sentiment_hf.errors import SentimentError
from sentiment_hf.files import recover_folder
from sentiment_hf.hardware import keep_freed_memory, pick_device, pick_training_dtype
from sentiment_hf.training.state import STATE_FOLDER, StateFolder
from sentiment_hf.version import __version__

logger = logging.getLogger(__name__)


def prepare_output(folder: Path, state: StateFolder, *, resume: bool, overwrite: bool) -> bool:
    """Looks at the folder that is to be written; true where its training is already finished.

    Raises:
        SentimentError: it holds something that must not be lost.
    """
    if not folder.name:
        raise SentimentError("Name the folder to write with --output.")
    if ".." in folder.parts and not folder.is_dir():
        raise SentimentError(f"{folder} leads back through a folder that may not exist; name it.")
    recover_folder(folder)
    if folder.exists() and not folder.is_dir():
        raise SentimentError(f"{folder} is a file; --output names a folder.")
    for parent in folder.parents:
        if parent.exists() and not parent.is_dir():
            raise SentimentError(f"{parent} is a file; --output names a folder.")
    finished = (folder / CONFIG_FILE).exists()
    unfinished = state.exists()
    foreign = foreign_names(folder, {STATE_FOLDER})
    if foreign:
        raise SentimentError(
            f"The folder {folder} holds something that is no part of a checkpoint ({foreign[0]!r});"
            " nothing was touched."
        )
    if finished:
        read_config(folder)
    if resume:
        if unfinished:
            return False
        if finished:
            logger.warning("The training in %s is already finished.", folder)
            return True
        logger.warning("There is no training in %s to go on with; starting afresh.", folder)
    elif unfinished and not overwrite:
        raise SentimentError(
            f"The folder {folder} holds an unfinished training; go on with --resume, or start"
            " afresh with --overwrite."
        )
    elif finished and not overwrite:
        raise SentimentError(
            f"The folder {folder} holds a checkpoint already; replace it with --overwrite."
        )
    if overwrite:
        state.remove()
    return False


def start_accelerator(device_name: str | None, dtype_name: str | None) -> Accelerator:
    """Chooses device and precision, says why, and makes them ready.

    Raises:
        SentimentError: there is no such device or precision here.
    """
    device = pick_device(device_name)
    dtype, reason = pick_training_dtype(device, dtype_name)
    logger.info("Training in %s on %s: %s.", str(dtype).removeprefix("torch."), device, reason)
    if device.type == "cpu":
        keep_freed_memory()
    # Its state is shared by the whole process and refuses a second precision.
    AcceleratorState._reset_state(reset_partial_state=True)
    precision = "bf16" if dtype == torch.bfloat16 else "no"
    return Accelerator(cpu=device.type == "cpu", mixed_precision=precision)


def precision_of(accelerator: Accelerator) -> str:
    return "bfloat16" if accelerator.mixed_precision == "bf16" else "float32"


def describe_run(
    history: list[dict[str, Any]], preparation: float, accelerator: Accelerator
) -> dict[str, Any]:
    """Duration with preparation, hardware, versions and history, for `training.json`."""
    device = accelerator.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "seconds": round(preparation + history[-1]["seconds"], 1),
        "hardware": {"device": name, "precision": precision_of(accelerator)},
        "versions": versions(),
        "history": history,
    }


def _processor() -> str:
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
