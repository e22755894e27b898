"""The training loop: it takes a model, batches and a loss, and knows nothing else of them."""

import logging
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm.auto import tqdm

from sentiment_hf.data.batching import Batch, TrainingBatches
from sentiment_hf.errors import SentimentError
from sentiment_hf.signals import ENDING_SIGNALS
from sentiment_hf.training.state import StateFolder, random_state, set_random_state

SAVE_EVERY_SECONDS = 120.0

logger = logging.getLogger(__name__)

LossFunction = Callable[[nn.Module, Batch], Tensor]
# Gives a score of which more is better, and the figures that are shown and recorded beside it.
Validate = Callable[[nn.Module], tuple[float, dict[str, float]]]


@dataclass(frozen=True)
class TrainerSettings:
    """How the weights are trained.

    Attributes:
        learning_rate: the peak, after the warm-up; it then falls to zero as `schedule` says.
        learning_rate_factors: of the parameters whose names begin with the key.
        ema_decay: of the exponential moving average of the weights; 0 switches it off.
        patience: epochs without a better score before it stops early; None never stops.
        keep_best: keep the weights of the epoch with the best score; otherwise the last ones.
    """

    epochs: int
    learning_rate: float
    learning_rate_factors: tuple[tuple[str, float], ...] = ()
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_ratio: float = 0.1
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    ema_decay: float = 0.0
    max_grad_norm: float = 1.0
    patience: int | None = None
    keep_best: bool = True


class _Step(nn.Module):
    """One module around model and loss, so that all of a step runs in its `forward`: there
    accelerate switches the precision and gathers gradients from the processes."""

    def __init__(self, model: nn.Module, loss_function: LossFunction) -> None:
        super().__init__()
        self.model = model
        self.loss_function = loss_function

    def forward(self, batch: Batch) -> Tensor:
        return batch.share * self.loss_function(self.model, batch)


@dataclass(eq=False)
class Trainer:
    """A training, with everything that its state holds.

    Args:
        validate: judges a model after each epoch.
        state: where the training is kept while it runs; it resumes from a state that it finds.
        identity: what must be the same for a training to resume (arguments, data).
    """

    model: nn.Module
    loss_function: LossFunction
    batches: TrainingBatches
    settings: TrainerSettings
    accelerator: Accelerator
    validate: Validate
    state: StateFolder | None = None
    identity: dict[str, Any] = field(default_factory=dict)
    show_progress: bool = True

    def __post_init__(self) -> None:
        model, settings = self.model, self.settings
        model.to(self.accelerator.device)
        self.step_module = self.accelerator.prepare(_Step(model, self.loss_function))
        self.averaged = (
            AveragedModel(model, multi_avg_fn=_moving_average(settings.ema_decay))
            if settings.ema_decay
            else None
        )
        self.optimizer = torch.optim.AdamW(
            list(_parameter_groups(model, settings)), betas=settings.betas, fused=True
        )
        self.steps_per_epoch = len(self.batches)
        self.total_steps = settings.epochs * self.steps_per_epoch
        self.step = 0
        self.loss_sum = 0.0
        self.words = 0
        self.seconds = 0.0
        self.history: list[dict[str, Any]] = []
        self.scores: list[float] = []
        self.best: dict[str, Tensor] = {}
        # The state of the random numbers that belongs to `step`, whatever a cut step has drawn.
        self.random = random_state()

    def fit(self) -> list[dict[str, Any]]:
        """Trains the model and leaves its best weights in it.

        Returns:
            The history: one entry per epoch with losses, validation figures, words and seconds.

        Raises:
            SentimentError: the loss is no number, or the state belongs to another training.
        """
        if self.state is not None and self.state.exists():
            self.state.restore(self)
            logger.info("Resuming at step %d of %d.", self.step, self.total_steps)
        is_shown = self.show_progress and sys.stderr and self.accelerator.is_main_process
        progress = tqdm(
            total=self.total_steps,
            initial=self.step,
            desc="Training",
            unit="step",
            dynamic_ncols=True,
            # None: shown on a terminal only.
            disable=None if is_shown else True,
        )
        with _interrupted_between_steps() as is_interrupted, progress:
            while True:
                # A training that was cut off in a validation resumes with that validation.
                if len(self.history) < self.step // self.steps_per_epoch:
                    self._end_epoch(progress)
                if self.step >= self.total_steps or self._stops_early():
                    break
                self._train_epoch(progress, is_interrupted)
        self.model.load_state_dict(self.best)
        return self.history

    def _train_epoch(self, progress: tqdm, is_interrupted: Callable[[], bool]) -> None:
        epoch, done = divmod(self.step, self.steps_per_epoch)
        # Looking at a loss waits for a GPU to finish its step, so there it is done now and then.
        check_every = 1 if self.accelerator.device.type == "cpu" else 20
        self.step_module.train()
        unseen: list[Tensor] = []
        words = 0
        clock = saved = time.monotonic()
        for batch in self.batches.epoch(epoch, done):
            words += int(batch.attention_mask.sum())
            unseen.append(self._train_step(batch))
            if len(unseen) == check_every or self.step % self.steps_per_epoch == 0:
                now = time.monotonic()
                loss = self._add_losses(unseen)
                rate = words / (now - clock)
                self.words += words
                self.seconds += now - clock
                unseen, words, clock = [], 0, now
                progress.update(self.step - progress.n)
                progress.set_postfix(
                    loss=f"{loss:.3f}", words_per_second=f"{rate:,.0f}", **self._last_score()
                )
                if is_interrupted():
                    self._save()
                    raise KeyboardInterrupt
                if now - saved > SAVE_EVERY_SECONDS:
                    self._save()
                    saved = clock = time.monotonic()

    def _train_step(self, batch: Batch) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * learning_rate_share(
                self.step / self.total_steps, self.settings
            )
        loss = self.step_module(batch.to(self.accelerator.device))
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.max_grad_norm)
        self.optimizer.step()
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)
        self.step += 1
        self.random = random_state()
        return loss.detach()

    def _add_losses(self, unseen: list[Tensor]) -> float:
        losses = torch.stack(unseen).float().tolist()
        for number, loss in enumerate(losses, start=self.step - len(losses) + 1):
            if not math.isfinite(loss):
                raise _diverged(number, "loss", loss)
        self.loss_sum += sum(losses)
        return losses[-1]

    def _end_epoch(self, progress: tqdm) -> None:
        judged = self.model if self.averaged is None else self.averaged.module
        with self.accelerator.autocast():
            score, figures = self.validate(judged)
        # What validation draws, if anything, is no part of the training.
        set_random_state(self.random)
        if not all(map(math.isfinite, [score, *figures.values()])):
            raise _diverged(self.step, "validation", figures)
        loss_sum, words = self._over_all_processes()
        entry = {
            "epoch": self.step // self.steps_per_epoch,
            "step": self.step,
            "train_loss": round(loss_sum / self.steps_per_epoch, 6),
            **{f"validation_{name}": round(value, 6) for name, value in figures.items()},
            "words": words,
            "seconds": round(self.seconds, 1),
        }
        if not self.settings.keep_best or not self.scores or score > max(self.scores):
            self.best = {k: v.detach().clone() for k, v in judged.state_dict().items()}
        self.history.append(entry)
        self.scores.append(score)
        self.loss_sum = 0.0
        progress.set_postfix(**self._last_score())
        logger.info("%s", "  ".join(f"{name} {value}" for name, value in entry.items()))
        self._save()

    def _over_all_processes(self) -> tuple[float, int]:
        """The mean of the processes' losses and the sum of their words."""
        count = self.accelerator.num_processes
        if count == 1:
            return self.loss_sum, self.words
        sums = torch.tensor([self.loss_sum / count, self.words], dtype=torch.float64)
        loss_sum, words = self.accelerator.reduce(sums.to(self.accelerator.device), "sum").tolist()
        return loss_sum, int(words)

    def _last_score(self) -> dict[str, str]:
        return {"score": f"{self.scores[-1]:.4f}"} if self.scores else {}

    def _stops_early(self) -> bool:
        patience = self.settings.patience
        if patience is None or not self.scores:
            return False
        return len(self.scores) - 1 - self.scores.index(max(self.scores)) >= patience

    def _save(self) -> None:
        if self.state is not None and self.accelerator.is_main_process:
            self.state.save(self)


@contextmanager
def _interrupted_between_steps() -> Iterator[Callable[[], bool]]:
    """Holds a signal to end back until a step is whole.

    A second Ctrl-C leaves the last state as it is. What is ignored, as Ctrl-C is by a job in the
    background, stays ignored.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def note(signum: int, frame: Any) -> None:
        if received and signum == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(signum)

    before = {one: signal.getsignal(one) for one in (signal.SIGINT, *ENDING_SIGNALS)}
    held = {k: v for k, v in before.items() if v not in (signal.SIG_IGN, None)}
    try:
        for one in held:
            signal.signal(one, note)
        yield lambda: bool(received)
    finally:
        for one, handler in held.items():
            signal.signal(one, handler)


def _diverged(step: int, what: str, value: object) -> SentimentError:
    return SentimentError(
        f"The {what} at step {step} is {value}: training has diverged; try a smaller"
        " `learning_rate`.",
        exit_status=1,
    )


def learning_rate_share(done: float, settings: TrainerSettings) -> float:
    """The share of the peak learning rate after `done` (0 to 1) of all steps."""
    if settings.schedule == "constant":
        return 1.0
    if done < settings.warmup_ratio:
        return (done + 0.01 * settings.warmup_ratio) / settings.warmup_ratio
    rest = (1 - done) / (1 - settings.warmup_ratio)
    return 0.5 - 0.5 * math.cos(math.pi * rest)


def _parameter_groups(model: nn.Module, settings: TrainerSettings) -> Iterator[dict[str, Any]]:
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        factors = [
            factor for start, factor in settings.learning_rate_factors if name.startswith(start)
        ]
        peak = settings.learning_rate * (factors[0] if factors else 1.0)
        decay = settings.weight_decay if parameter.ndim > 1 else 0.0
        yield {"params": [parameter], "lr": peak, "peak": peak, "weight_decay": decay}


def _moving_average(decay: float) -> Callable[..., None]:
    """Exponential average of the weights that forgets its first steps faster."""

    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        warm = (1 + int(count)) / (10 + int(count))
        torch._foreach_lerp_(list(averaged), list(current), 1 - min(decay, warm))

    return update
