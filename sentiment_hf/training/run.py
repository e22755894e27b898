"""What every training shares: its folder, its device, its identity, and what is recorded of it."""

import logging
import os
import platform
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import patch_environment, set_seed
from tokenizers import Tokenizer
from torch import nn

from sentiment_hf.checkpoint.card import write_card
from sentiment_hf.checkpoint.download import find_checkpoint, model_name
from sentiment_hf.checkpoint.figures import draw_training_curve
from sentiment_hf.checkpoint.folder import TRAINING_FILE, read_config
from sentiment_hf.checkpoint.pretrained import LSTMForSequenceClassification
from sentiment_hf.checkpoint.records import write_record
from sentiment_hf.checkpoint.tokenizer_file import read_tokenizer
from sentiment_hf.checkpoint.weights import checksum_of_weights, is_encoder, read_encoder
from sentiment_hf.data.batching import EncodedRows, TrainingBatches
from sentiment_hf.data.tokenization import train_tokenizer
from sentiment_hf.errors import SentimentError
from sentiment_hf.model.config import LSTMConfig
from sentiment_hf.model.device import pick_device, pick_training_dtype
from sentiment_hf.model.memory import keep_few_shapes, keep_freed_memory
from sentiment_hf.training.loop import LossFunction, Trainer, Validate
from sentiment_hf.training.output import OutputFolder
from sentiment_hf.training.presets import Preset
from sentiment_hf.training.word_vectors import word_vectors
from sentiment_hf.version import __version__

LAUNCHER_VARIABLES = (
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE",
    "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE",
)  # fmt: skip
# Left over from another launcher, it would change how accelerate trains, and so the weights.
ACCUMULATION_VARIABLE = "ACCELERATE_GRADIENT_ACCUMULATION_STEPS"
ENCODER_SIZES = ("vocab_size", "embedding_dim", "hidden_size", "num_layers", "bidirectional")

logger = logging.getLogger(__name__)


class TrainingRun:
    """One training from its output folder to its record.

    Args:
        output: the folder to write; nothing is touched before `begin`.
        vocab_size: has no use with `init_from`, whose words are taken.

    Attributes:
        is_finished: whether the folder holds the finished training already (`resume`).
        source: the folder of the MODEL that it starts from, if it does.

    Raises:
        SentimentError: there is no such model, device or precision, or no training may write
            into the folder.
    """

    def __init__(
        self,
        output: str | Path,
        settings: Preset,
        *,
        init_from: str | Path | None,
        vocab_size: int | None,
        resume: bool,
        overwrite: bool,
        device: str | None,
        dtype: str | None,
        seed: int,
        show_progress: bool,
    ) -> None:
        self.started = time.monotonic()
        self.settings = settings
        if init_from is not None and vocab_size is not None:
            raise SentimentError("`vocab_size` has no use with `init_from`: the words come along.")
        self.init_from = None if init_from is None else model_name(init_from)
        self.source = None if init_from is None else find_checkpoint(init_from)
        self.folder = OutputFolder(output, resume=resume, overwrite=overwrite)
        self.is_finished = self.folder.is_finished()
        self.seed = seed
        self.show_progress = show_progress
        if not self.is_finished:
            self.accelerator = start_accelerator(device, dtype)
            self.folder.check_writable(self.accelerator)

    @property
    def precision(self) -> str:
        return "bfloat16" if self.accelerator.mixed_precision == "bf16" else "float32"

    def tokenizer_and_config(
        self, texts: Iterable[str], **fields: Any
    ) -> tuple[Tokenizer, LSTMConfig]:
        """Tokenizer and configuration: from the texts and settings, or those of the source."""
        if self.source is None:
            tokenizer = train_tokenizer(texts, self.settings.vocab_size)
            sizes: dict[str, Any] = {"vocab_size": tokenizer.get_vocab_size()}
        else:
            base = read_config(self.source)
            tokenizer = read_tokenizer(self.source, base)
            sizes = {name: getattr(base, name) for name in ENCODER_SIZES}
        return tokenizer, LSTMConfig(**{**self.settings.network, **sizes, **fields})

    def begin(self, arguments: dict[str, Any], data: dict[str, Any], config: LSTMConfig) -> None:
        """Called when nothing can be refused any more; drops a state that is not resumed.

        Args:
            arguments, data: what is recorded, beside what all trainings have, and must be the same
                for a training to resume.
        """
        arguments = {
            **arguments,
            "init_from": self.init_from,
            "epochs": self.settings.epochs,
            "learning_rate": self.settings.learning_rate,
            "batch_size": self.settings.batch_size,
            "seed": self.seed,
        }
        self.record = {"arguments": arguments, "data": data}
        built = {"config": config.to_dict(), "data": data, "dtype": self.precision}
        self.identity = arguments | built
        self.folder.begin(self.accelerator)
        set_seed(self.seed)

    def new_network(self, config: LSTMConfig, rows: EncodedRows) -> LSTMForSequenceClassification:
        """The network before its first step: from the source, word vectors or random numbers."""
        network = LSTMForSequenceClassification(config)
        if self.source is not None:
            read_encoder(self.source, network)
        elif self.settings.word_vectors and not self.folder.state.exists():
            vectors = word_vectors(rows, config.vocab_size, config.embedding_dim, self.seed)
            network.embedding.load_state_dict({"weight": vectors * self.settings.word_vectors})
        return network

    def fit(
        self,
        model: nn.Module,
        loss_function: LossFunction,
        rows: EncodedRows,
        validate: Validate,
        *,
        max_length: int | None = None,
        by_words: bool = False,
    ) -> list[dict[str, Any]]:
        """Trains a model; see `Trainer.fit` and `TrainingBatches`."""
        preparation = time.monotonic() - self.started
        batches = TrainingBatches(
            rows, self.settings.batch_size, max_length=max_length, seed=self.seed,
            crop_share=self.settings.crop_share, rank=self.accelerator.process_index,
            world=self.accelerator.num_processes, by_words=by_words,
        )  # fmt: skip
        trainer = Trainer(
            model, loss_function, batches, self.settings, accelerator=self.accelerator,
            validate=validate, state=self.folder.state, identity=self.identity,
            show_progress=self.show_progress,
        )  # fmt: skip
        with self.folder.released_on_error():
            history = trainer.fit()
        device = self.accelerator.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
        self.outcome = {
            "seconds": round(preparation + history[-1]["seconds"], 1),
            "hardware": {"device": name, "precision": self.precision},
            "versions": versions(),
            "history": history,
        }
        return history

    def write(self, figures: dict[str, Any], fill: Callable[[Path], None]) -> None:
        """Writes what `fill` writes, the record and a card; they replace the folder's together."""
        values = {**self.record, **figures, **self.outcome}

        def fill_with_record(folder: Path) -> None:
            fill(folder)
            write_record(folder, TRAINING_FILE, values, checksum_of_weights(folder))
            if not is_encoder(folder):
                draw_training_curve(folder, self.outcome["history"])
                write_card(folder)

        self.folder.replace(self.accelerator, fill_with_record)


def start_accelerator(device_name: str | None, dtype_name: str | None) -> Accelerator:
    """An accelerator for device and precision; logs why these."""
    device = pick_device(device_name)
    if device.type == "cpu":
        keep_few_shapes()
        keep_freed_memory()
    dtype, reason = pick_training_dtype(device, dtype_name)
    logger.info("Training in %s on %s: %s.", str(dtype).removeprefix("torch."), device, reason)
    # Its state is shared by the whole process and refuses a second precision.
    AcceleratorState._reset_state(reset_partial_state=True)
    precision = "bf16" if dtype == torch.bfloat16 else "no"
    # The one way to tell accelerate which of several GPUs is meant.
    named = {} if device.index is None else {"ACCELERATE_TORCH_DEVICE": str(device)}
    started = processes_started()
    # What another launcher has left behind makes accelerate wait for processes that never come.
    ignored = (ACCUMULATION_VARIABLE, *(LAUNCHER_VARIABLES if started == 1 else ()))
    left = {name: os.environ.pop(name, None) for name in ignored}
    try:
        with patch_environment(**named):
            accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=precision)
    finally:
        os.environ.update({name: value for name, value in left.items() if value is not None})
    if started != accelerator.num_processes:
        raise SentimentError(
            f"{started} processes were started, but each sees {accelerator.num_processes}: each"
            " would do the whole work. On a CPU, set ACCELERATE_USE_CPU=true and use torchrun."
        )
    return accelerator


def processes_started() -> int:
    """How many processes torchrun has started, of which this is one."""
    size = os.environ.get("WORLD_SIZE") or "1"
    if not size.isdecimal():
        raise SentimentError(f"WORLD_SIZE, the number of processes, is {size!r:.20}: unset it.")
    return max(1, int(size))


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
