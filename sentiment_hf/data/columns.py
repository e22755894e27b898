"""Columns and labels: which column holds the texts, which the labels, and what those are called."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import NamedTuple

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

from sentiment_hf.data.label_map import label_map_argument, listed, rename_labels, spelled_as
from sentiment_hf.data.splits import NO_LABEL, has_label, keep_rows
from sentiment_hf.errors import SentimentError

TEXT_NAMES = ("text", "review", "sentence", "content")
LABEL_NAMES = ("label", "labels", "sentiment", "target")
NUMBER, MOST_WORDS_OF_NAME = re.compile(r"[-+]?[0-9]+([.,][0-9]+)?"), 3
STRING_TYPES = "string", "large_string", "string_view"

logger = logging.getLogger(__name__)


class Columns(NamedTuple):
    """The names of the columns that hold the texts and, if there are any, the labels."""

    text: str
    label: str | None


def find_columns(
    features: Features, text_column: str | None = None, label_column: str | None = None
) -> Columns:
    """Finds the columns by name and type, or takes the ones that were named.

    A column that is missing or of the wrong type is refused, and so is a choice among several.
    """
    _check_named("label_column", label_column, features)
    label = label_column or _only_one(_called(LABEL_NAMES, features), "label_column")
    if label is None:
        classes = [name for name, kind in features.items() if isinstance(kind, ClassLabel)]
        label = _only_one(classes, "label_column")
    return Columns(find_text_column(features, text_column, [label] if label else []), label)


def find_text_column(
    features: Features, text_column: str | None = None, labels: Sequence[str] | None = None
) -> str:
    """Finds the column of texts by name and type, or takes the one that was named.

    Args:
        labels: columns that hold something else; by default those that are called as labels are.
    """
    _check_named("text_column", text_column, features)
    labels = _called(LABEL_NAMES, features) if labels is None else labels
    names = [name for name in _called(TEXT_NAMES, features) if name not in labels]
    text = text_column or _only_one(names, "text_column")
    if text is None:
        strings = [name for name, kind in features.items() if _is_text(kind) and name not in labels]
        if len(strings) != 1 or any(map(_is_no_name, features)):
            found = "none of its columns holds text" if not strings else ", ".join(strings)
            # A csv file has no nested columns, and a row of it seldom holds a usual name.
            if not all(isinstance(kind, Value) for kind in features.values()):
                hint = "; a nested text is to be saved in a column of its own"
            elif _called((*TEXT_NAMES, *LABEL_NAMES), features):
                hint = ""
            else:
                hint = ", or, if that is a row, put a line of names before it, such as text,label"
            raise SentimentError(
                f"Which column holds the text is not clear ({found:.80}); choose one with"
                f" `text_column` among {', '.join(features):.200}{hint}."
            )
        text = strings[0]
        parts = [plain_name(part) for part in re.split(r"[,;|\t]", text)]
        if len(parts) > 1 and (glued := {*TEXT_NAMES, *LABEL_NAMES} & set(parts)):
            raise SentimentError(
                f"The column {text!r} looks like several that were read as one ({min(glued)!r} is"
                " among them): save the data with another separator, or name it with `text_column`."
            )
    if not text:
        raise SentimentError("The column that holds the text has no name; give it one.")
    if text in labels:
        raise SentimentError(f"The column {text!r} cannot hold both the texts and the labels.")
    if not _is_text(features[text]):
        raise SentimentError(
            f"The column {text!r} holds {_type_name(features[text])}, not text; choose another"
            " with `text_column`."
        )
    return text


def _is_no_name(name: str) -> bool:
    """Whether what is called a column's name looks like a cell: a number, or a text."""
    return NUMBER.fullmatch(name) is not None or len(name.split()) > MOST_WORDS_OF_NAME


def _check_named(parameter: str, column: str | None, features: Features) -> None:
    if column is not None and column not in features:
        raise SentimentError(
            f"`{parameter}` {column!r} is no column of the data set; it has {', '.join(features)}."
        )


def plain_name(column: str) -> str:
    """A column's name without the differences that a spreadsheet makes: case and blanks around."""
    return column.strip().casefold()


def _called(names: Sequence[str], features: Features) -> list[str]:
    return [column for column in features if plain_name(column) in names]


def _only_one(columns: Sequence[str], parameter: str) -> str | None:
    """The column that is meant, if there is one."""
    if len(columns) > 1:
        raise SentimentError(
            f"Several columns could be meant: {', '.join(map(repr, columns))}; choose one with"
            f" `{parameter}`."
        )
    return columns[0] if columns else None


def _is_text(kind: object) -> bool:
    # A column that is null throughout has the type null: rows without text, left out later.
    return isinstance(kind, Value) and kind.dtype in (*STRING_TYPES, "null")


def with_plain_strings(splits: DatasetDict) -> DatasetDict:
    """Casts all of Arrow's types of text to `string`, so that data sets fit together."""
    for name, kind in next(iter(splits.values())).features.items():
        if isinstance(kind, Value) and kind.dtype in STRING_TYPES[1:]:
            splits = splits.cast_column(name, Value("string"))
    return splits


def are_token_ids(kind: object) -> bool:
    return isinstance(kind, List) and _type_name(kind.feature).startswith("int")


def _type_name(kind: object) -> str:
    # `datasets` has the type `Json` for values of which some are texts and others are not.
    name = kind.dtype if isinstance(kind, Value) else type(kind).__name__
    return 'values of several types, such as "1" and 1, or NaN' if name == "Json" else name


def number_labels(splits: DatasetDict, column: str, label_map: Mapping[str, str]) -> DatasetDict:
    """Makes a `ClassLabel` column of labels of any kind, or soft labels of floats.

    Args:
        column: what the column `label` is called in the data set.
        label_map: as in `load_reviews`; where it names a number, floats are no soft labels.
    """
    kind = next(iter(splits.values())).features["label"]
    if isinstance(kind, Value) and kind.dtype.startswith("decimal"):
        splits = splits.cast_column("label", kind := Value("float64"))
    if isinstance(kind, ClassLabel):
        if not label_map:
            return splits
        values: list = list(range(len(kind.names)))
        names = list(kind.names)
    elif not isinstance(kind, Value) or "binary" in kind.dtype:
        # Of "01" beside 1, and of "null" beside NaN, `datasets` keeps no difference.
        is_json = type(kind).__name__ == "Json"
        hint = " Write all of them in quotes, and null for none." if is_json else ""
        raise SentimentError(f"The column {column!r} holds {_type_name(kind)}, not labels.{hint}")
    elif (
        kind.dtype.startswith("float")
        and not named_numbers([*splits.values()], "label", label_map)
        and _are_soft_labels(splits, column)
    ):
        if label_map:
            raise SentimentError(
                f"The column {column!r} holds soft labels; there a label map has no names."
            )
        return splits.cast_column("label", Value("float32"))
    else:
        values = _values(splits.values(), "label")
        names = [label_name(value, kind) for value in values]
    label_map = spelled_as(names, label_map)
    new_names = rename_labels(names, label_map)
    left_over = [name for name in names if name not in label_map]
    if left_over and any(name != new for name, new in label_map.items()):
        logger.info("The label map does not name %s: kept as they are.", listed(left_over))
    # A label that is mapped to nothing is dropped; one that is called so is refused later.
    dropped = {name for name, new in label_map.items() if not new}
    kept = [new for old, new in zip(names, new_names, strict=True) if old not in dropped]
    is_sorted = isinstance(kind, ClassLabel) or label_map
    kept = sorted(set(kept)) if is_sorted else list(dict.fromkeys(kept))
    if dropped:
        gone = {value for value, name in zip(values, names, strict=True) if name in dropped}
        splits = _without_labels(splits, gone, listed(sorted(dropped)))
    if not kept:
        return splits.cast_column("label", Value("int64"))
    ids = {
        value: kept.index(name)
        for value, name in zip(values, new_names, strict=True)
        if name in kept
    }
    features = Features({**next(iter(splits.values())).features, "label": ClassLabel(names=kept)})
    return splits.map(
        _label_ids,
        batched=True,
        input_columns=["label"],
        features=features,
        fn_kwargs={"ids": list(ids.items())},
        desc="Numbering the labels",
    )


def _without_labels(splits: DatasetDict, labels: Set[object], names: str) -> DatasetDict:
    kept = DatasetDict()
    for name, split in splits.items():
        others = f"of the split {name!r}: the label map drops {names}"
        kept[name] = keep_rows(split, [label not in labels for label in split["label"]], others)
    return kept


def label_name(value: object, kind: Value) -> str:
    """What a value is called as a label: a number as short as its type allows."""
    if not isinstance(value, float):
        return str(value)
    return str(int(value)) if value.is_integer() else str(np.dtype(kind.dtype).type(value))


def _values(splits: Iterable[Dataset], column: str) -> list:
    seen = {value for split in splits for value in split.unique(column)}
    return sorted(value for value in seen if has_label(value))


def named_numbers(
    splits: Sequence[Dataset], column: str | None, label_map: Mapping[str, str]
) -> list[str]:
    """The names in a label map that are numbers of a column of floats."""
    kind = splits[0].features.get(column) if splits and label_map else None
    if not isinstance(kind, Value) or not kind.dtype.startswith("float"):
        return []
    names = {label_name(value, kind) for value in _values(splits, column or "")}
    return [name for name in spelled_as([*names], label_map) if name in names]


def _are_soft_labels(splits: DatasetDict, column: str) -> bool:
    """Whether a column of floats holds probabilities: whole numbers are class ids."""
    values = _values(splits.values(), "label")
    if all(value.is_integer() for value in values):
        # A csv column of 0 and 1 with a gap is read as floats: these are class ids with gaps.
        return False
    if values[0] < 0 or values[-1] > 1:
        kind = next(iter(splits.values())).features["label"]
        ends = (label_name(value, kind) for value in (values[0], values[-1]))
        example = label_map_argument(dict(zip(ends, ("neg", "pos"), strict=True)))
        raise SentimentError(
            f"The column {column!r} holds numbers outside [0, 1]: soft labels are probabilities of"
            f" the second label. Ratings become labels with `label_map` {example},..."
        )
    return True


def _label_ids(labels: list, ids: list[tuple[object, int]]) -> dict[str, list[int]]:
    by_value = dict(ids)
    return {"label": [by_value.get(label, NO_LABEL) for label in labels]}
