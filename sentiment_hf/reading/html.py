"""What was read between the layers, as one self-contained page: nothing is fetched."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sentiment_hf.reading.explanation import Explanation
from sentiment_hf.reading.terminal import describe_shape
from sentiment_hf.reading.trace import Step
from sentiment_hf.reading.trajectory import Point

TEMPLATE = Path(__file__).parent / "page.html"


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
        """The points of the trajectory in a drawing of 100 by 100."""
        last = max(len(self.trajectory) - 1, 1)
        return " ".join(
            f"{100 * i / last:.2f},{100 - 100 * point.probability:.2f}"
            for i, point in enumerate(self.trajectory)
        )

    @property
    def trajectory_words(self) -> list[tuple[str, dict[str, str]]]:
        return [
            (point.word, _shade(2 * point.probability - 1, f"{point.probability:.3f}"))
            for point in self.trajectory
        ]

    @property
    def explanation_words(self) -> list[tuple[str, dict[str, str]]]:
        found = self.explanation
        if found is None:
            return []
        largest = max(map(abs, found.deletion)) or 1.0
        return [
            (word, _shade(part / largest, f"deletion {part:+.4f}, gradients {gradient:+.4f}"))
            for word, part, gradient in zip(
                found.words, found.deletion, found.gradients, strict=True
            )
        ]


def _shade(value: float, title: str) -> dict[str, str]:
    side = "second" if value >= 0 else "first"
    return {"side": side, "strength": f"{0.6 * abs(value):.2f}", "title": title}


def render_page(readings: Sequence[Reading], steps: Sequence[Step], second: str) -> str:
    """The page; everything that a text may hold is escaped.

    Args:
        second: the label whose probability the trajectories show.
    """
    from jinja2 import Environment

    template = Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    shown = [
        {
            **step.to_dict(),
            "shape": describe_shape(step.output_shape, step.axes),
            "values": json.dumps(step.values, ensure_ascii=False),
        }
        for step in steps
    ]
    return template.render(readings=readings, steps=shown, second=second)
