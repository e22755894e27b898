"""Arguments from Python, refused with the message that the command has for its options.

Each check raises a `SentimentError` where a value does not pass.
"""

import os
from collections.abc import Iterable, Mapping, Set
from typing import Any

from sentiment_hf.errors import SentimentError

LARGEST = 2**31 - 1


def check_whole(name: str, value: object, least: int = 1, most: int = LARGEST) -> None:
    """Lets None and whole numbers from `least` to `most` pass."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value is not None and not (whole and least <= value <= most):  # type: ignore[operator]
        raise SentimentError(
            f"`{name}` must be a whole number from {least} to {most}, not {value!r:.60}."
        )


def check_rate(name: str, value: object) -> None:
    """Lets None and numbers above 0 pass."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (number and 0 < value <= LARGEST):  # type: ignore[operator]
        raise SentimentError(f"`{name}` must be a number above 0, not {value!r:.60}.")


def check_kind(name: str, value: object, kind: type, what: str) -> None:
    """Lets values of one type pass, which the message calls `what`."""
    if not isinstance(value, kind):
        raise SentimentError(f"`{name}` must be {what}, not a {type(value).__name__}.")


def check_path(name: str, value: object) -> None:
    """Lets names that a file can have pass; an empty one would mean the working directory."""
    if not isinstance(value, str | os.PathLike):
        raise SentimentError(f"`{name}` must be a path or a name, not a {type(value).__name__}.")
    if not str(value).strip():
        raise SentimentError(f"`{name}` is empty; it needs a name.")
    try:
        has_zero = b"\0" in os.fsencode(value)
    except UnicodeEncodeError:
        has_zero = True
    if has_zero:
        raise SentimentError(f"`{name}` {str(value)!r:.200} has a character that no name can have.")


def listed_texts(texts: object, *, rows: bool = False) -> list[Any]:
    """One text or several as a list: a list, a tuple, an array or a column of strings.

    Args:
        rows: those of a column, of which one may be None; one text is no column.
    """
    if isinstance(texts, str):
        if rows:
            raise SentimentError(
                "A list of texts is needed, not one text: `dataset.map` needs batched=True."
            )
        return [texts]
    refuse_no_texts(texts)
    assert isinstance(texts, Iterable)
    if hasattr(texts, "to_pylist"):  # Of Arrow.
        listed = texts.to_pylist()
    elif hasattr(texts, "isna"):  # pandas has several kinds of nothing.
        gone = zip(texts, texts.isna(), strict=True)
        listed = [None if is_gone else text for text, is_gone in gone]
    else:
        listed = list(texts)
    for number, text in enumerate(listed):
        if not (isinstance(text, str) or (rows and text is None)):
            kind = type(text).__name__
            raise SentimentError(f"Text number {number} is of the type {kind}, not a string.")
    return listed


def refuse_no_texts(texts: object) -> None:
    """Refuses what would be iterated into something else than texts, such as a table's columns."""
    # A DataFrame, an Arrow table and a `Dataset` are iterated over their columns or rows.
    is_table = hasattr(texts, "columns") or hasattr(texts, "column_names")
    other = isinstance(texts, Mapping | Set | bytes | bytearray) or not isinstance(texts, Iterable)
    # An array without a dimension is one value.
    if is_table or other or _is_row(texts) or getattr(texts, "shape", None) == ():
        raise SentimentError(
            f"A text or a list of texts is needed, not a {type(texts).__name__}; of a table, give"
            " the column, and of one of its rows the text."
        )


def _is_row(texts: Any) -> bool:
    """Whether this is one row of a table: its fields have names, and its number is its own."""
    if hasattr(texts, "iloc"):
        numbered = texts.name is not None and not isinstance(texts.name, str)
        return numbered and all(isinstance(name, str) for name in texts.index)
    return hasattr(texts, "_fields")
