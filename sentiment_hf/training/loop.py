"""The one training loop: it takes batches and objectives, and knows nothing else of them."""

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm.auto import tqdm

from sentiment_hf.data.batching import Batch, TrainingBatches
from sentiment_hf.errors import SentimentError
from sentiment_hf.training.state import (
    StateFolder,
    optimizer_tensors,
    prefixed,
    random_state,
    restore_optimizer,
    restore_random_state,
    without_prefix,
)

SAVE_EVERY_SECONDS = 120.0

logger = logging.getLogger(__name__)

Objective = Callable[[nn.Module, Batch], Tensor]
Validate = Callable[[nn.Module], dict[str, float]]


@dataclass(frozen=True)
class Task:
    """Batches and what is to be learnt from them. The first task's batches make the epochs."""

    objective: Objective
    batches: TrainingBatches
    weight: float = 1.0


@dataclass(frozen=True)
class LoopSettings:
    """How the loop walks.

    Attributes:
        learning_rate: its height after the warm-up; it then falls to zero as `schedule` says.
        learning_rates: factors for the parameters whose names begin with the key.
        average: decay of the averaged weights (Polyak averaging); 0 switches them off.
        clip: the largest norm of the gradient.
        patience: epochs without a better validation before it stops early; None never stops.
        metric: what validation is judged by; with a minus sign before it, less is better. None
            keeps the last weights, whatever validation says.
    """

    epochs: int
    learning_rate: float
    learning_rates: tuple[tuple[str, float], ...] = ()
    schedule: str = "cosine"
    warmup_share: float = 0.1
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    average: float = 0.0
    clip: float = 1.0
    patience: int | None = None
    metric: str | None = "accuracy"


class _Step(nn.Module):
    """One module around model and objectives, so that all of a step runs in its `forward`:
    there accelerate switches the precision and gathers gradients from the processes."""

    def __init__(self, model: nn.Module, tasks: list[Task]) -> None:
        super().__init__()
        self.model = model
        self.tasks = tasks

    def forward(self, batches: list[Batch]) -> Tensor:
        losses = [
            task.weight * batch.share * task.objective(self.model, batch)
            for task, batch in zip(self.tasks, batches, strict=True)
        ]
        return torch.stack(losses).sum()


def run(
    model: nn.Module,
    tasks: list[Task],
    settings: LoopSettings,
    *,
    accelerator: Accelerator,
    validate: Validate,
    state: StateFolder | None = None,
    identity: dict[str, Any] | None = None,
    show_progress: bool = True,
) -> list[dict[str, Any]]:
    """Trains `model` and leaves its best weights, judged on validation, in it.

    Args:
        validate: measures a model after each epoch; with `settings.metric` among its keys.
        state: where the training keeps its place; it goes on from a state it finds there.
        identity: what must be the same for a training to go on (arguments, data).

    Returns:
        The history: one entry per epoch with losses, validation figures, words and seconds.

    Raises:
        SentimentError: the loss is no number, or the state belongs to another training.
    """
    walk = _Walk(model, tasks, settings, accelerator, state, identity or {})
    if state is not None and state.exists():
        walk.restore()
    with _interruption_between_steps() as asked:
        walk.to_the_end(validate, show_progress, asked)
    model.load_state_dict(walk.best)
    return walk.history


@contextmanager
def _interruption_between_steps() -> Iterator[Callable[[], bool]]:
    """Holds Ctrl-C back until a step is whole; a second one leaves the last state as it is."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def note(signum: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(signum)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)


class _Walk:
    """A training under way, with everything that its state holds."""

    def __init__(
        self,
        model: nn.Module,
        tasks: list[Task],
        settings: LoopSettings,
        accelerator: Accelerator,
        state: StateFolder | None,
        identity: dict[str, Any],
    ) -> None:
        self.tasks = tasks
        self.settings = settings
        self.accelerator = accelerator
        self.state = state
        self.identity = identity
        self.model = model.to(accelerator.device)
        self.step_module = accelerator.prepare(_Step(model, tasks))
        self.averaged = (
            AveragedModel(model, multi_avg_fn=_average(settings.average), use_buffers=False)
            if settings.average
            else None
        )
        self.optimizer = torch.optim.AdamW(
            list(_parameter_groups(model, settings)), betas=settings.betas, fused=True
        )
        self.steps_per_epoch = len(tasks[0].batches)
        self.total_steps = settings.epochs * self.steps_per_epoch
        self.step = 0
        self.loss_sum = 0.0
        self.words = 0
        self.seconds = 0.0
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        # The state of the random numbers that belongs to `step`, whatever a cut step has drawn.
        self.random = random_state()

    def to_the_end(
        self, validate: Validate, show_progress: bool, asked_to_stop: Callable[[], bool]
    ) -> None:
        progress = tqdm(
            total=self.total_steps,
            initial=self.step,
            desc="Training",
            unit="step",
            dynamic_ncols=True,
            # None: shown on a terminal only.
            disable=None if show_progress and self.accelerator.is_main_process else True,
        )
        with progress:
            while True:
                # A training that was cut off in a validation goes on with that validation.
                if len(self.history) < self.step // self.steps_per_epoch:
                    self._end_epoch(validate, progress)
                if self.step >= self.total_steps or self._stops_early():
                    return
                self._epoch(progress, asked_to_stop)

    def _epoch(self, progress: tqdm, asked_to_stop: Callable[[], bool]) -> None:
        epoch, done = divmod(self.step, self.steps_per_epoch)
        sources = [self.tasks[0].batches.epoch(epoch, done)]
        sources += [_endless(task.batches, self.step) for task in self.tasks[1:]]
        # Reading a loss waits for a GPU to finish its step, so there it is read now and then.
        check_every = 1 if self.accelerator.device.type == "cpu" else 20
        self.step_module.train()
        unread: list[Tensor] = []
        words = 0
        clock = time.monotonic()
        saved = clock
        for batches in zip(*sources, strict=False):
            unread.append(self._take_step(list(batches)))
            words += sum(int(batch.attention_mask.sum()) for batch in batches)
            if len(unread) == check_every or self.step % self.steps_per_epoch == 0:
                now = time.monotonic()
                loss = self._read_losses(unread)
                rate = words / (now - clock)
                self.words += words
                self.seconds += now - clock
                unread, words, clock = [], 0, now
                progress.update(self.step - progress.n)
                progress.set_postfix(
                    loss=f"{loss:.3f}", words_per_second=f"{rate:,.0f}", **self._last_figures()
                )
                if asked_to_stop():
                    self.save()
                    raise KeyboardInterrupt
                if now - saved > SAVE_EVERY_SECONDS:
                    self.save()
                    saved = clock = time.monotonic()

    def _take_step(self, batches: list[Batch]) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = group["height"] * learning_rate_share(
                self.step / self.total_steps, self.settings
            )
        device = self.accelerator.device
        loss = self.step_module([batch.to(device) for batch in batches])
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self.optimizer.step()
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)
        self.step += 1
        self.random = random_state()
        return loss.detach()

    def _read_losses(self, unread: list[Tensor]) -> float:
        losses = torch.stack(unread).float().tolist()
        for number, loss in enumerate(losses, start=self.step - len(losses) + 1):
            if not math.isfinite(loss):
                raise _diverged(number, "loss", loss)
        self.loss_sum += sum(losses)
        return losses[-1]

    def _end_epoch(self, validate: Validate, progress: tqdm) -> None:
        judged = self.model if self.averaged is None else self.averaged.module
        figures = {f"validation_{name}": value for name, value in validate(judged).items()}
        # What validation draws, if anything, is no part of the training.
        restore_random_state(self.random)
        if not all(map(math.isfinite, figures.values())):
            raise _diverged(self.step, "validation", figures)
        loss_sum, words = self._over_all_processes()
        entry = {
            "epoch": self.step // self.steps_per_epoch,
            "step": self.step,
            "train_loss": round(loss_sum / self.steps_per_epoch, 6),
            **{name: round(value, 6) for name, value in figures.items()},
            "words": words,
            "seconds": round(self.seconds, 1),
        }
        if not self.history or self._value(entry) > max(map(self._value, self.history)):
            self.best = {k: v.detach().clone() for k, v in judged.state_dict().items()}
        self.history.append(entry)
        self.loss_sum = 0.0
        progress.set_postfix(**self._last_figures())
        logger.info("%s", "  ".join(f"{name} {value}" for name, value in entry.items()))
        self.save()

    def _over_all_processes(self) -> tuple[float, int]:
        """The mean of the processes' losses and the sum of their words."""
        count = self.accelerator.num_processes
        if count == 1:
            return self.loss_sum, self.words
        sums = torch.tensor([self.loss_sum / count, self.words], dtype=torch.float64)
        loss_sum, words = self.accelerator.reduce(sums.to(self.accelerator.device), "sum").tolist()
        return loss_sum, int(words)

    def _value(self, entry: dict[str, Any]) -> float:
        metric = self.settings.metric
        if metric is None:
            return entry["epoch"]
        value = entry[f"validation_{metric.lstrip('-')}"]
        return -value if metric.startswith("-") else value

    def _last_figures(self) -> dict[str, str]:
        if not self.history or self.settings.metric is None:
            return {}
        name = self.settings.metric.lstrip("-")
        return {f"validation_{name}": f"{self.history[-1][f'validation_{name}']:.4f}"}

    def _stops_early(self) -> bool:
        patience = self.settings.patience
        if patience is None or len(self.history) <= patience:
            return False
        values = [self._value(entry) for entry in self.history]
        return len(values) - 1 - values.index(max(values)) >= patience

    def save(self) -> None:
        if self.state is None or not self.accelerator.is_main_process:
            return
        tensors = {
            **prefixed("model", self.model.state_dict()),
            **prefixed("best", self.best),
            **prefixed("optimizer", optimizer_tensors(self.optimizer)),
            **prefixed("random", self.random),
        }
        if self.averaged is not None:
            tensors |= prefixed("averaged", self.averaged.state_dict())
        progress = {
            "step": self.step,
            "loss_sum": self.loss_sum,
            "words": self.words,
            "seconds": self.seconds,
            "history": self.history,
            "identity": self.identity,
        }
        self.state.save(tensors, progress)

    def restore(self) -> None:
        assert self.state is not None
        tensors, progress = self.state.load()
        with self.state.trusted():
            identity = dict(progress["identity"])
        self._compare_identity(identity)
        with self.state.trusted():
            self._take_up(tensors, progress)
        logger.info("Going on at step %d of %d.", self.step, self.total_steps)

    def _compare_identity(self, identity: dict[str, Any]) -> None:
        for name, value in self.identity.items():
            if identity.get(name) != value:
                assert self.state is not None
                raise SentimentError(
                    f"The unfinished training in {self.state.path.parent.name} has another {name}"
                    f" ({identity.get(name)!r}, not {value!r}); run it with the same arguments, or"
                    " start afresh with `overwrite`."
                )

    def _take_up(self, tensors: dict[str, Tensor], progress: dict[str, Any]) -> None:
        self.step = int(progress["step"])
        if not 0 <= self.step <= self.total_steps:
            raise ValueError(f"step {self.step} of {self.total_steps}")
        self.loss_sum, self.seconds = float(progress["loss_sum"]), float(progress["seconds"])
        self.words = int(progress["words"])
        self.history = list(progress["history"])
        for entry in self.history:
            float(self._value(entry))
        self.model.load_state_dict(without_prefix("model", tensors))
        device = self.accelerator.device
        self.best = {k: v.to(device) for k, v in without_prefix("best", tensors).items()}
        if self.history and self.best.keys() != self.model.state_dict().keys():
            raise ValueError("its best weights are not whole")
        restore_optimizer(self.optimizer, without_prefix("optimizer", tensors))
        if self.averaged is not None:
            self.averaged.load_state_dict(without_prefix("averaged", tensors))
        self.random = without_prefix("random", tensors)
        restore_random_state(self.random)


def _diverged(step: int, what: str, value: object) -> SentimentError:
    return SentimentError(
        f"The {what} at step {step} is {value}: training has diverged; try a smaller"
        " `learning_rate`.",
        exit_status=1,
    )


def learning_rate_share(done: float, settings: LoopSettings) -> float:
    """The share of the learning rate's height after `done` (0 to 1) of all steps."""
    if settings.schedule == "constant":
        return 1.0
    if done < settings.warmup_share:
        return (done + 0.01 * settings.warmup_share) / settings.warmup_share
    rest = (1 - done) / (1 - settings.warmup_share)
    return rest if settings.schedule == "linear" else 0.5 - 0.5 * math.cos(math.pi * rest)


def _parameter_groups(model: nn.Module, settings: LoopSettings) -> Iterator[dict[str, Any]]:
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        factors = [factor for start, factor in settings.learning_rates if name.startswith(start)]
        height = settings.learning_rate * (factors[0] if factors else 1.0)
        decay = settings.weight_decay if parameter.ndim > 1 else 0.0
        yield {"params": [parameter], "lr": height, "height": height, "weight_decay": decay}


def _average(decay: float) -> Callable[..., None]:
    """Exponential average of the weights that forgets its first steps faster."""

    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        warm = (1 + int(count)) / (10 + int(count))
        torch._foreach_lerp_(list(averaged), list(current), 1 - min(decay, warm))

    return update


def _endless(batches: TrainingBatches, start: int) -> Iterator[Batch]:
    """Batch number `start` and all that follow, epoch after epoch."""
    epoch, done = divmod(start, len(batches))
    while True:
        yield from batches.epoch(epoch, done)
        epoch, done = epoch + 1, 0
