"""What was read between the layers, as HTML that fetches nothing and escapes every text."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentiment_hf.reading.explanation import Explanation
from sentiment_hf.reading.terminal import describe_shape
from sentiment_hf.reading.trace import Step
from sentiment_hf.reading.trajectory import Point

if TYPE_CHECKING:
    from jinja2 import Template

FOLDER = Path(__file__).parent
STYLE_FILE = FOLDER / "style.css"
STRONGEST_WORDS = 4


@dataclass(frozen=True)
class Reading:
    """A text, its verdict, and what was asked for besides."""

    text: str
    label: str
    score: float
    trajectory: list[Point] = field(default_factory=list)
    explanation: Explanation | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON: what was not asked for is left out."""
        values: dict[str, Any] = {"text": self.text, "label": self.label, "score": self.score}
        if self.trajectory:
            values["trajectory"] = [point._asdict() for point in self.trajectory]
        if self.explanation:
            values["explanation"] = self.explanation.to_dict()
        return values

    @property
    def line(self) -> str:
        """The points of the trajectory in a drawing of 100 by 100; a single one is drawn level."""
        points = self.trajectory * 2 if len(self.trajectory) == 1 else self.trajectory
        return " ".join(
            f"{100 * i / (len(points) - 1):.2f},{100 - 100 * point.probability:.2f}"
            for i, point in enumerate(points)
        )

    @property
    def trajectory_words(self) -> list[tuple[str, dict[str, str]]]:
        return _shaded(
            self.text,
            [
                (point.word, 2 * point.probability - 1, f"{point.probability:.3f}")
                for point in self.trajectory
            ],
        )

    @property
    def explanation_words(self) -> list[tuple[str, dict[str, str]]]:
        return self.words_for(self.explanation.label) if self.explanation else []

    def words_for(self, label: str) -> list[tuple[str, dict[str, str]]]:
        """The explained words, shaded by what they contribute to one of the two labels."""
        found = self.explanation
        if found is None:
            return []
        sign = 1 if found.label == label else -1
        largest = sign * (max(map(abs, found.deletion)) or 1.0)
        return _shaded(
            self.text,
            [
                (
                    word,
                    part / largest,
                    f"deletion {sign * part:+.4f}, gradients {sign * gradient:+.4f}",
                )
                for word, part, gradient in zip(
                    found.words, found.deletion, found.gradients, strict=True
                )
            ],
        )

    def strongest_words(self, label: str) -> list[tuple[str, float]]:
        """The words whose deletion costs a label most, and how much of its probability."""
        found = self.explanation
        if found is None:
            return []
        sign = 1 if found.label == label else -1
        parts = [(word, sign * part) for word, part in zip(found.words, found.deletion)]
        ranked = sorted(parts, key=lambda pair: -pair[1])[:STRONGEST_WORDS]
        return [(word, part) for word, part in ranked if part >= 0.0005]


def _shaded(text: str, words: Sequence[tuple[str, float, str]]) -> list[tuple[str, dict[str, str]]]:
    """Words with their shade: `value` is from -1 (first label) to 1 (second)."""
    shaded = []
    end = 0
    for word, value, title in words:
        start = text.find(word, end)
        shade = {
            "before": " " if start > end > 0 else "",
            "side": "second" if value >= 0 else "first",
            "strength": f"{0.6 * abs(value):.2f}",
            "title": title,
        }
        shaded.append((word, shade))
        end = start + len(word)
    return shaded


def render_page(readings: Sequence[Reading], steps: Sequence[Step], seconds: Sequence[str]) -> str:
    """Readings and layers as one self-contained page.

    Args:
        second: the label whose probability the trajectories show.
    """
    shown = [_shown(step) for step in steps]
    return _template("page.html").render(
        readings=list(zip(readings, seconds, strict=True)), steps=shown
    )


def render_reading(
    reading: Reading | None = None,
    steps: Sequence[Step] = (),
    labels: tuple[str, str] = ("", ""),
    notes: Sequence[str] = (),
    missing: str = "",
) -> str:
    """One reading as a fragment of a page that has `STYLE_FILE`.

    Args:
        reading: None leaves only the notes.
        labels: the label that probability 0 of the trajectory speaks for, and the one for 1.
        notes: what a reader has to know about the text.
        missing: why there is no explanation.
    """
    return _template("reading.html").render(
        reading=reading,
        steps=[_shown(step) for step in steps],
        first=labels[0],
        second=labels[1],
        notes=notes,
        missing=missing,
    )


def _shown(step: Step) -> dict[str, Any]:
    return {
        **step.to_dict(),
        "shape": describe_shape(step.output_shape, step.axes),
        "values": json.dumps(step.values, ensure_ascii=False),
    }


def _template(name: str) -> "Template":
    from jinja2 import Environment, FileSystemLoader

    return Environment(autoescape=True, loader=FileSystemLoader(FOLDER)).get_template(name)
