"""Label names: maps from those of a data set to others, and how two lists of them match."""

import re
import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from sentiment_hf.errors import SentimentError

DECIMAL, NUMBER = re.compile(r"-?[0-9]+\.[0-9]+"), re.compile(r"-?[0-9]+(\.[0-9]+)?")


def check_label_map(parameter: str, label_map: object) -> dict[str, str]:
    """A label map as a dictionary; None is an empty one, and anything else is refused."""
    pairs: Any = {} if label_map is None else label_map
    is_map = isinstance(pairs, Mapping)
    if not is_map or not all(isinstance(name, str) for pair in pairs.items() for name in pair):
        raise SentimentError(
            f"`{parameter}` must be a dictionary from names to names, both of them strings, such as"
            f" {{'positive': 'pos', '3': ''}}, not {label_map!r:.80}."
        )
    return dict(pairs)


def parse_label_map(text: str | None) -> dict[str, str]:
    r"""Reads `positive=pos,negative=neg`.

    A backslash stands before a comma, an equals sign or a backslash that belongs to a name, and
    before a blank at its ends. Nothing after the equals sign (`3=`) drops the rows of a label.
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


def spelled_as(names: Sequence[str], label_map: Mapping[str, str]) -> dict[str, str]:
    """A label map in which a number is spelled as the label is: `1.0` means the label 1."""

    def own(key: str) -> str:
        if key in names or not DECIMAL.fullmatch(key):
            return key
        same = [name for name in names if NUMBER.fullmatch(name) and float(name) == float(key)]
        return same[0] if len(same) == 1 and same[0] not in label_map else key

    return {own(key): new for key, new in label_map.items()}


def rename_labels(
    names: Sequence[str], label_map: Mapping[str, str], *, whose: str = "the data set's labels"
) -> list[str]:
    """Applies a label map to names, of which two may become one; it may not name any other."""
    unknown = [name for name in label_map if name not in names]
    if unknown:
        raise SentimentError(
            f"The label map names {listed(unknown)}, but {whose} are {listed(names)}."
        )
    return [label_map.get(name, name) for name in names]


def match_labels(
    names: Sequence[str],
    known_names: Sequence[str],
    *,
    whose: str = "The data set's labels",
    known: str = "the checkpoint's",
) -> list[int]:
    """The class id among `known_names` of each of `names`, see `label_id`.

    Args:
        whose, known: what the two lists are called in the message.

    Raises:
        SentimentError: a name that is not known; both sides are listed.
    """
    ids = [label_id(name, known_names) for name in names]
    unknown = [name for name, i in zip(names, ids, strict=True) if i is None]
    if unknown:
        raise SentimentError(
            f"{whose} {listed(names)} do not match {known} {listed(known_names)}; name the pairs"
            f" with `label_map` {suggested_pairs(unknown, known_names)}, or drop a label's rows:"
            f" {label_map_argument({unknown[0]: ''})}."
        )
    return [i for i in ids if i is not None]


def label_id(name: str, known_names: Sequence[str]) -> int | None:
    """The class id of a name; where none is equal, without regard to case and to how a letter is
    encoded."""
    if name in known_names:
        return known_names.index(name)
    folded = [_folded(known) for known in known_names]
    return folded.index(_folded(name)) if folded.count(_folded(name)) == 1 else None


def suggested_pairs(names: Sequence[str], known_names: Sequence[str], most: int = 5) -> str:
    """A label map for names that are not known, to be completed by the user.

    A name stands for the known one of which it is a longer or shorter form (`POSITIVE`, `pos`, but
    not `10`, `1`); otherwise for NAME, because whoever copies a wrong guess would train on swapped
    labels.
    """
    pairs = {}
    for name in names[:most]:
        alike = {
            known: min(len(name), len(known))
            for known in known_names
            if _are_forms(*sorted((_folded(name), _folded(known)), key=len))
        }
        best = [known for known, length in alike.items() if length == max(alike.values())]
        pairs[name] = best[0] if len(best) == 1 else "NAME"
    return label_map_argument(pairs) + (",..." if len(names) > most else "")


def _are_forms(short: str, long: str) -> bool:
    return long.startswith(short) and not (
        short[-1:].isdigit() and long[len(short) :][:1].isdigit()
    )


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.casefold())


def listed(names: Sequence[object], most: int = 10) -> str:
    listed = ", ".join(repr(name)[:60] for name in names[:most])
    return listed if len(names) <= most else f"{listed}, ... ({len(names)} in all)"
