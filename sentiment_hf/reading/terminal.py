"""What was read between the layers, as text for a terminal."""

from collections.abc import Sequence
from typing import Any

from sentiment_hf.errors import printable
from sentiment_hf.reading.explanation import Explanation
from sentiment_hf.reading.trace import Step
from sentiment_hf.reading.trajectory import Point

BARS = "▁▂▃▄▅▆▇█"
RESET = "\x1b[0m"
# From the first label (orange) over the undecided middle (grey) to the second (blue).
COLOURS = (208, 214, 180, 249, 110, 75, 33)
SPARK_WIDTH = 72


def describe_shape(shape: Sequence[int], axes: Sequence[str]) -> str:
    """Sizes with their names: `batch 50 x sequence 200 x embedding 30`."""
    return " x ".join(f"{axis} {size:,}" for axis, size in zip(axes, shape, strict=True))


def render_steps(steps: Sequence[Step]) -> str:
    return "\n\n".join(_render_step(number, step) for number, step in enumerate(steps))


def _render_step(number: int, step: Step) -> str:
    lines = [f"{number}. {step.name}", f"   {step.what}"]
    shape = describe_shape(step.output_shape, step.axes)
    came_from = f"{tuple(step.input_shape)} -> " if step.input_shape else ""
    learnt = f", {step.parameters:,} parameters" if step.parameters else ""
    lines.append(f"   {came_from}{tuple(step.output_shape)} = {shape}, {step.dtype}{learnt}")
    lines.append(f"   {_render_values(step.values)}")
    return "\n".join(lines)


def _word(word: str) -> str:
    return printable(" ".join(word.split()))


def _render_values(values: Any) -> str:
    while isinstance(values, list) and values and isinstance(values[0], list):
        values = values[0]
    shown = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in values]
    return printable(" ".join(shown)) + " ..."


def render_trajectory(points: Sequence[Point], names: Sequence[str], *, colour: bool) -> str:
    """The text with its running answer, and the answer as a line of bars.

    Args:
        names: the label that probability 0 speaks for, and the one that 1 speaks for.
        colour: colour each word by the probability after it.
    """
    words = [_word(point.word) for point in points]
    if colour:
        levels = [_level(point.probability, len(COLOURS)) for point in points]
        words = [
            f"\x1b[38;5;{COLOURS[level]}m{word}" for word, level in zip(words, levels, strict=True)
        ] + [RESET]
    text = " ".join(words)
    width = min(len(points), SPARK_WIDTH)
    shown = [points[(i + 1) * len(points) // width - 1] for i in range(width)]
    bars = "".join(BARS[_level(point.probability, len(BARS))] for point in shown)
    last = points[-1].probability
    ends = f"low is {printable(names[0])}, high is {printable(names[1])}"
    return f"{text}\n{bars}  {last:.2f} after {len(points)} steps ({ends})"


def _level(probability: float, levels: int) -> int:
    return min(int(probability * levels), levels - 1)


def render_explanation(explanation: Explanation) -> str:
    """The words in order, with what each contributes by either method."""
    lines = [
        f"{printable(explanation.label)} {explanation.probability:.2f}"
        f" (integrated gradients complete to {explanation.completeness_error:.1%})",
        f"{'word':<20}{'deletion':>10}{'gradients':>12}",
    ]
    lines += [
        f"{_word(word)[:19]:<20}{deletion:>+10.4f}{gradient:>+12.4f}"
        for word, deletion, gradient in zip(
            explanation.words, explanation.deletion, explanation.gradients, strict=True
        )
    ]
    return "\n".join(lines)
