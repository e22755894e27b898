"""Arguments from Python, refused with the message that the command has for its options."""

from collections.abc import Iterable, Mapping

from sentiment_hf.errors import SentimentError

LARGEST = 2**31 - 1


def check_whole(name: str, value: object, least: int = 1, most: int = LARGEST) -> None:
    """Lets None and whole numbers from `least` to `most` pass.

    Raises:
        SentimentError: it is something else.
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value is not None and not (whole and least <= value <= most):  # type: ignore[operator]
        most_said = "of a sane size" if most == LARGEST else f"at most {most}"
        raise SentimentError(
            f"`{name}` must be a whole number, at least {least} and {most_said}, not {value!r:.60}."
        )


def check_rate(name: str, value: object) -> None:
    """Lets None and numbers above 0 pass.

    Raises:
        SentimentError: it is something else.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (number and 0 < value <= LARGEST):  # type: ignore[operator]
        raise SentimentError(
            f"`{name}` must be a number above 0 and of a sane size, not {value!r:.60}."
        )


def listed_texts(texts: object) -> list[str]:
    """One text or several as a list.

    Raises:
        SentimentError: something else, or something in it that is no text.
    """
    if isinstance(texts, str):
        return [texts]
    if isinstance(texts, Mapping) or not isinstance(texts, Iterable):
        raise SentimentError(f"A text or a list of texts is needed, not a {type(texts).__name__}.")
    listed = list(texts)
    for number, text in enumerate(listed):
        if not isinstance(text, str):
            kind = type(text).__name__
            raise SentimentError(f"Text number {number} is of the type {kind}, not a string.")
    return listed


def one_text(text: object) -> str:
    """The text itself.

    Raises:
        SentimentError: it is none.
    """
    if not isinstance(text, str):
        raise SentimentError(f"A text is needed, not a {type(text).__name__}.")
    return text
