"""The figures of a checkpoint, all in one quiet style."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentiment_hf.checkpoint.files import replaced_file
from sentiment_hf.checkpoint.folder import FIGURES_FOLDER

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#334155"
GREY = "#94a3b8"
BLUE = "#2563eb"
ORANGE = "#ea580c"
TEAL = "#0d9488"
PURPLE = "#9333ea"
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.prop_cycle": f"cycler(color={[INK, ORANGE, BLUE, TEAL, PURPLE]})",
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "axes.grid": True,
    "grid.color": "#e2e8f0",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.figsize": (4.8, 3.2),
    "figure.dpi": 120,
    "savefig.bbox": "tight",
    "text.parse_math": False,  # A label may have a `$`.
}


@contextmanager
def figure(path: Path) -> Iterator["Axes"]:
    """Axes to draw on, saved as a PNG whose bytes depend on the drawing alone."""
    # Where its cache cannot be written, matplotlib logs a long warning, and draws all the same.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context(STYLE), warnings.catch_warnings():
        # A label may be in letters that the font of the figures lacks: boxes stand for them.
        warnings.filterwarnings("ignore", message=r"Glyph \d+")
        drawing = Figure()
        yield drawing.subplots()
        with replaced_file(path) as new:
            drawing.savefig(new, format="png", metadata={"Software": None})


def draw_training_curve(folder: Path, history: list[dict[str, Any]]) -> None:
    epochs = [entry["epoch"] for entry in history]
    metric = next(name for name in history[0] if name.startswith("validation_"))
    with figure(folder / FIGURES_FOLDER / "training_curve.png") as axes:
        axes.plot(epochs, [e["train_loss"] for e in history], color=INK, marker=".")
        axes.set(xlabel="epoch", ylabel="training loss", title="Training")
        axes.locator_params(axis="x", integer=True)
        second = axes.twinx()
        second.plot(epochs, [e[metric] for e in history], color=BLUE, marker=".")
        second.set_ylabel(metric.replace("_", " "), color=BLUE)
        second.grid(False)


def draw_trajectory(path: Path, values: list[float], label: str) -> None:
    """The probability of a label after each word of a text."""
    with figure(path) as axes:
        axes.axhline(0.5, color=GREY, linestyle="--")
        axes.plot(range(1, len(values) + 1), values, color=BLUE)
        axes.set(xlabel="steps through the text", ylabel=f"probability of {label}", ylim=(0, 1))
        axes.set_title("The answer while the text goes on")


def draw_confusion_matrix(folder: Path, matrix: list[list[int]], names: list[str]) -> None:
    with figure(folder / FIGURES_FOLDER / "confusion_matrix.png") as axes:
        shares = [[count / max(sum(row), 1) for count in row] for row in matrix]
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for i, row in enumerate(matrix):
            for j, count in enumerate(row):
                colour = "white" if shares[i][j] > 0.5 else INK
                axes.text(j, i, f"{count:,}", ha="center", va="center", color=colour)
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="predicted", ylabel="true", title="Confusion matrix")
        axes.grid(False)


def draw_reliability(folder: Path, bins: list[tuple[int, float, float]]) -> None:
    _, confidences, shares = zip(*bins, strict=True)
    with figure(folder / FIGURES_FOLDER / "reliability.png") as axes:
        low = min(confidences)
        axes.plot([low, 1], [low, 1], color=GREY, linestyle="--", label="perfect")
        axes.plot(confidences, shares, color=BLUE, marker="o", label="measured")
        axes.set(xlabel="confidence", ylabel="accuracy", title="Reliability")
        axes.legend()
