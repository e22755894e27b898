"""What a training needs to go on after it was cut off: safetensors and JSON, no pickle."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from sentiment_hf.checkpoint.files import read_json, write_json, write_tensors
from sentiment_hf.errors import SentimentError

STATE_FOLDER = "training_state"


class StateFolder:
    """A folder with the newest state of a training.

    A state is one safetensors file and `state.json`, which names it: replacing that JSON file
    is the one step that makes a new state count, so a cut leaves the old one or the new one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        return (self.path / "state.json").exists()

    def save(self, tensors: dict[str, Tensor], progress: dict[str, Any]) -> None:
        """Writes tensors and progress; tensors may share memory."""
        self.path.mkdir(parents=True, exist_ok=True)
        name = f"step-{progress['step']}.safetensors"
        kept = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}
        write_tensors(self.path / name, kept)
        write_json(self.path / "state.json", {"tensors": name, **progress})
        for leftover in self.path.iterdir():
            if leftover.name not in (name, "state.json"):
                leftover.unlink()

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and progress, as they were saved.

        Raises:
            SentimentError: the state is damaged.
        """
        with self.trusted():
            progress = read_json(self.path / "state.json")
            return load_file(self.path / Path(progress["tensors"]).name), progress

    @contextmanager
    def trusted(self) -> Iterator[None]:
        """Around what believes in a state: if it fails there, the state is damaged."""
        try:
            yield
        except Exception as error:
            reason = str(error).strip().partition("\n")[0][:120]
            raise SentimentError(
                f"The unfinished training in {self.path.parent.name} cannot be gone on with: its"
                f" state is damaged ({reason}); start afresh with `overwrite`."
            ) from None

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}/"
    return {name[len(start) :]: value for name, value in tensors.items() if name.startswith(start)}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's running averages and counters, named by parameter number."""
    state = optimizer.state_dict()["state"]
    return {f"{i}/{key}": value for i, values in state.items() for key, value in values.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, key = name.split("/")
        state.setdefault(int(number), {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def random_state() -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_random_state(states: dict[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])
