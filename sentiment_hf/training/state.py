"""What a training needs to resume after it was cut off: safetensors and JSON, no pickle."""

import hashlib
import json
import logging
from collections import defaultdict
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from sentiment_hf.checkpoint.files import read_json, write_json, write_tensors
from sentiment_hf.checkpoint.weights import weights_checksum
from sentiment_hf.errors import SentimentError, first_line

if TYPE_CHECKING:
    from sentiment_hf.training.loop import Trainer

logger = logging.getLogger(__name__)

STATE_FOLDER = "training_state"
NEWEST, PREVIOUS = "state.json", "previous.json"
# Relative to the folder of the training; what a kill leaves of a file that was being written, too.
STATE_FILES = tuple(
    f"{STATE_FOLDER}/{pattern}{cut}"
    for pattern in ("*.json", "step-*.safetensors")
    for cut in ("", ".*.tmp")
)
# What the trainer counts, beside its tensors.
PROGRESS = ("step", "loss_sum", "words", "seconds", "history", "scores")
OWN_CHECKSUM = "json_sha256"  # Of all else in the JSON file.


class StateFolder:
    """A folder with the two newest states of a training.

    A state is one safetensors file and a JSON file, which names it and both checksums: replacing
    `state.json` is the one step that makes a new state count, so a cut leaves the old one or the
    new one. `previous.json` is the one before, for a disk that has lost the newest.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.newest_is_damaged = False

    def exists(self) -> bool:
        return (self.path / NEWEST).exists()

    def save(self, trainer: "Trainer") -> None:
        """Writes everything that a trainer needs to resume."""
        parts = {
            "model": trainer.model.state_dict(),
            "best": trainer.best,
            "optimizer": _optimizer_tensors(trainer.optimizer),
            "random": trainer.random,
        }
        if trainer.averaged is not None:
            parts["averaged"] = trainer.averaged.state_dict()
        tensors = {
            f"{part}/{name}": tensor.detach().cpu().contiguous().clone()
            for part, values in parts.items()
            for name, tensor in values.items()
        }
        self.path.mkdir(parents=True, exist_ok=True)
        name = f"step-{trainer.step}.safetensors"
        checksum = _checksum(tensors)
        # A damaged state does not take the place of the one before, which is whole.
        is_whole = self.exists() and not self.newest_is_damaged
        if is_whole and (newest := self._read(NEWEST)).get("tensors") != name:
            write_json(self.path / PREVIOUS, newest)
        write_tensors(self.path / name, tensors)
        named = {"tensors": name, "sha256": checksum, "identity": trainer.identity}
        values = {**named, **{name: getattr(trainer, name) for name in PROGRESS}}
        write_json(self.path / NEWEST, {**values, OWN_CHECKSUM: _values_checksum(values)})
        self.newest_is_damaged = False
        self._remove_all_but({name, NEWEST, PREVIOUS, self._read(PREVIOUS).get("tensors")})

    def _read(self, name: str) -> dict[str, Any]:
        with suppress(SentimentError):
            return read_json(self.path / name)
        return {}

    def _remove_all_but(self, kept: set[str | None]) -> None:
        for path in self.path.iterdir():
            name = f"{self.path.name}/{path.name}"
            if path.name not in kept and any(fnmatchcase(name, own) for own in STATE_FILES):
                path.unlink()

    def restore(self, trainer: "Trainer") -> None:
        """Gives a trainer what `save` has written; the state before where the newest is damaged."""
        try:
            self._restore(NEWEST, trainer)
        except _DamagedError as error:
            if not (self.path / PREVIOUS).exists():
                raise
            logger.warning("%s Taking the state before.", error)
            self._restore(PREVIOUS, trainer)
            self.newest_is_damaged = True

    def _restore(self, name: str, trainer: "Trainer") -> None:
        folder = self.path.parent.name
        try:
            progress = read_json(self.path / name)
            identity = dict(progress["identity"])
            differing = [k for k, value in trainer.identity.items() if identity.get(k) != value]
            path = self.path / Path(progress["tensors"]).name
            if path.exists() and not path.is_file():  # A pipe would be waited for.
                raise ValueError(f"{path.name} is no regular file")
            tensors = load_file(path)
            if progress["sha256"] != _checksum(tensors):
                raise ValueError("its tensors differ from their checksum")
            if progress.pop(OWN_CHECKSUM) != _values_checksum(progress):
                raise ValueError(f"{name} differs from its checksum")
            if not differing:
                _load_state(trainer, tensors, progress)
        except Exception as error:  # Whatever fails on what was written: it is damaged.
            raise _DamagedError(
                f"The unfinished training in {folder} cannot be resumed: its state is damaged"
                f" ({first_line(error)}); start afresh with `overwrite`."
            ) from error
        if differing:
            key = differing[0]
            raise SentimentError(
                f"The unfinished training in {folder} has another {key} ({identity.get(key)!r}, not"
                f" {trainer.identity[key]!r}); run it with the same arguments, or start afresh with"
                " `overwrite`."
            )

    def remove(self) -> None:
        (self.path / NEWEST).unlink(missing_ok=True)  # Without it there is no state.
        if self.path.is_dir():
            self._remove_all_but(set())
            with suppress(OSError):  # Something else has come into it.
                self.path.rmdir()


class _DamagedError(SentimentError):
    """A state that cannot be read."""


def _load_state(trainer: "Trainer", tensors: dict[str, Tensor], progress: dict[str, Any]) -> None:
    for name in PROGRESS:
        setattr(trainer, name, progress[name])
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        part, _, key = name.partition("/")
        parts[part][key] = tensor
    trainer.model.load_state_dict(parts["model"])
    device = trainer.accelerator.device
    trainer.best = {name: tensor.to(device) for name, tensor in parts["best"].items()}
    _load_optimizer(trainer.optimizer, parts["optimizer"])
    if trainer.averaged is not None:
        trainer.averaged.load_state_dict(parts["averaged"])
    trainer.random = parts["random"]
    set_random_state(trainer.random)


def _checksum(tensors: dict[str, Tensor]) -> str:
    return weights_checksum({name: tensor.numpy() for name, tensor in tensors.items()})


def _values_checksum(values: dict[str, Any]) -> str:
    read = json.loads(json.dumps(values))  # Numbers as keys become text.
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's running averages and counters, named by parameter number."""
    state = optimizer.state_dict()["state"]
    return {f"{i}/{key}": value for i, values in state.items() for key, value in values.items()}


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        number, key = name.split("/")
        state[int(number)][key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def random_state() -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_random_state(states: dict[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])
