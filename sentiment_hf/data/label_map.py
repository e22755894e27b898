"""Label maps: from the label names of a data set to others, as text on a command line."""

import re
import shlex
from collections.abc import Mapping

from sentiment_hf.errors import SentimentError


def parse_label_map(text: str | None) -> dict[str, str]:
    r"""Reads `positive=pos,negative=neg`.

    A backslash stands before a comma, an equals sign or a backslash that belongs to a name, and
    before a blank at its ends. Nothing after the equals sign (`3=`) drops the rows of a label.

    Raises:
        SentimentError: a part that is no `name=name`, or a name that stands twice on the left.
    """
    pairs: dict[str, str] = {}
    for part in re.findall(r"(?s)(?:^|,)((?:[^\\,]|\\.)*)", text) if text else []:
        both = re.fullmatch(r"(?s)((?:[^\\=]|\\.)+)=((?:[^\\=]|\\.)*)", part)
        # Blanks around a name go, and the backslashes that kept others.
        names = [
            re.sub(r"(?s)\\(.)|^\s+|\s+\Z", lambda found: found[1] or "", name)
            for name in (both.groups() if both else [""])
        ]
        if not names[0]:
            raise SentimentError(
                f"The label map {text!r} is not of the form positive=pos,negative=neg; 'a=' drops"
                " the label 'a', and a comma or an equals sign in a name, or a blank at its ends,"
                " has a backslash before it."
            )
        if names[0] in pairs:
            raise SentimentError(
                f"The label map {text!r} names {names[0]!r} twice; the form is"
                " positive=pos,negative=neg."
            )
        pairs[names[0]] = names[1]
    return pairs


def label_map_argument(pairs: Mapping[str, str]) -> str:
    """A label map as `parse_label_map` reads it, quoted for a shell."""
    sides = (
        [re.sub(r"([\\,=]|^\s|\s\Z)", r"\\\1", name) for name in pair] for pair in pairs.items()
    )
    return shlex.quote(",".join(map("=".join, sides)))
