"""What was read between the layers, as HTML that fetches nothing and escapes every text."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from sentiment_hf.reading.explanation import Explanation
from sentiment_hf.reading.terminal import describe_shape
from sentiment_hf.reading.trace import Step
from sentiment_hf.reading.trajectory import Point

if TYPE_CHECKING:
    from jinja2 import Template

FOLDER = Path(__file__).parent
STYLE_FILE = FOLDER / "style.css"
STRONGEST_WORDS = 4
# A word with how it is shaded.
ShadedWords: TypeAlias = list[tuple[str, dict[str, str]]]


@dataclass(frozen=True)
class TextInspection:
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
            values["explanation"] = asdict(self.explanation)
        return values

    def sides(self, label_names: Sequence[str]) -> tuple[str, str]:
        """What probability 0 of the trajectory stands for, and the label that 1 stands for."""
        first, second, *more = label_names
        return (f"not {self.label}", self.label) if more else (first, second)

    @property
    def line(self) -> str:
        """The points of the trajectory in a drawing of 100 by 100; a single one is drawn level."""
        points = self.trajectory * 2 if len(self.trajectory) == 1 else self.trajectory
        return " ".join(
            f"{100 * i / (len(points) - 1):.2f},{100 - 100 * point.probability:.2f}"
            for i, point in enumerate(points)
        )

    @property
    def trajectory_words(self) -> ShadedWords:
        points = [(word, 2 * value - 1, f"{value:.3f}") for word, value in self.trajectory]
        return _shaded(self.text, points)

    def explanation_words(self, label: str) -> ShadedWords:
        """The explained words, shaded by what they contribute to one of the two labels."""
        parts = self._contributions(label)
        largest = max((abs(deletion) for _, deletion, _ in parts), default=0.0) or 1.0
        words = [
            (word, deletion / largest, f"deletion {deletion:+.4f}, gradients {gradient:+.4f}")
            for word, deletion, gradient in parts
        ]
        return _shaded(self.text, words)

    def strongest_words(self, label: str) -> list[tuple[str, float]]:
        """The words whose deletion costs a label most, and how much of its probability."""
        ranked = sorted(self._contributions(label), key=lambda part: -part[1])
        return [(word, part) for word, part, _ in ranked[:STRONGEST_WORDS] if part >= 0.0005]

    def _contributions(self, label: str) -> list[tuple[str, float, float]]:
        """Each word with what it contributes to a label by deletion and by gradients."""
        found = self.explanation
        if found is None:
            return []
        sign = 1 if found.label == label else -1
        parts = zip(found.words, found.deletion, found.gradients, strict=True)
        return [(word, sign * deletion, sign * gradient) for word, deletion, gradient in parts]


def _shaded(text: str, words: Sequence[tuple[str, float, str]]) -> ShadedWords:
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


def render_page(texts: Sequence[tuple[TextInspection, str]], steps: Sequence[Step]) -> str:
    """Texts and layers as one self-contained page.

    Args:
        texts: each with the label whose probability its trajectory shows.
    """
    return _template("page.html").render(texts=texts, steps=[_shown(step) for step in steps])


def render_fragment(
    text: TextInspection | None = None,
    steps: Sequence[Step] = (),
    labels: tuple[str, str] = ("", ""),
    notes: Sequence[str] = (),
    missing: str = "",
) -> str:
    """One text as a fragment of a page that has `STYLE_FILE`.

    Args:
        text: None leaves only the notes.
        labels: the `sides` of the text.
        notes: what one has to know about the text.
        missing: why there is no explanation.
    """
    first, second = labels
    return _template("fragment.html").render(
        text=text, steps=[_shown(step) for step in steps], first=first, second=second,
        notes=notes, missing=missing,
    )  # fmt: skip


def _shown(step: Step) -> dict[str, Any]:
    return {
        **step.to_dict(),
        "shape": describe_shape(step.output_shape, step.axes),
        "values": json.dumps(step.values, ensure_ascii=False),
    }


def _template(name: str) -> "Template":
    from jinja2 import Environment, FileSystemLoader

    return Environment(autoescape=True, loader=FileSystemLoader(FOLDER)).get_template(name)
