"""Which rows a training uses: labelled ones and validation rows, of one data set or several.

No validation text is ever trained on.
"""

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, DatasetDict, concatenate_datasets

from sentiment_hf.data.columns import Columns, find_columns, named_numbers, number_labels
from sentiment_hf.data.label_map import check_label_map, match_labels, rename_labels, spelled_as
from sentiment_hf.data.loading import DatasetSource, dataset_name, load_reviews, open_dataset
from sentiment_hf.data.splits import (
    TEST_SPLIT,
    TRAIN_SPLIT,
    VALIDATION_SPLITS,
    is_labelled,
    labelled_rows,
    split_validation,
)
from sentiment_hf.errors import SentimentError
from sentiment_hf.model.config import MOST_LABELS, label_fault
from sentiment_hf.training.summary import summarize
from sentiment_hf.training.texts import open_texts, texts_of_test_splits, unlabelled_texts

SOFT_LABEL_NAMES = ["neg", "pos"]
# A data set among several has about this share of the largest one's rows in an epoch, or more, and
# none of its rows more often than this.
LEAST_SHARE, MOST_REPEATS = 0.25, 8

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledRows:
    """The labelled rows of one data set, with `text` and `label`.

    Attributes:
        summary: as in `summarize`.
        repeats: how often the training rows stand in an epoch.
    """

    name: str
    train: Dataset
    validation: Dataset
    summary: dict[str, Any]
    repeats: int = 1


@dataclass(frozen=True)
class TrainingRows:
    """What `train` learns from.

    Attributes:
        labelled: the rows of each data set; class ids mean the same in all of them.
        label_names: what the class ids are called, in their order.
        unlabelled: rows with `text` alone; None where none were asked for.
        excluded: the validation texts and, where a teacher labels texts, the test texts.
    """

    labelled: list[LabelledRows]
    label_names: list[str]
    unlabelled: Dataset | None = None
    excluded: frozenset[str] = frozenset()

    def record(self, reading: Mapping[str, Any]) -> dict[str, Any]:
        """What `training.json` says of the data, and of the options that they were read with."""
        parts = [
            {
                "dataset": rows.name,
                "fingerprint": rows.train._fingerprint,
                "train_rows": len(rows.train),
                "validation_rows": len(rows.validation),
                **({"repeats": rows.repeats} if rows.repeats > 1 else {}),
                **rows.summary,
            }
            for rows in self.labelled
        ]
        return {
            "dataset": ", ".join(rows.name for rows in self.labelled),
            "revision": reading.get("revision"),
            **{name: value for name, value in reading.items() if value and name != "revision"},
            "fingerprint": parts[0]["fingerprint"],
            "train_rows": sum(len(rows.train) for rows in self.labelled),
            "validation_rows": sum(len(rows.validation) for rows in self.labelled),
            **({} if self.unlabelled is None else {"unlabelled_rows": len(self.unlabelled)}),
            **({"datasets": parts} if len(parts) > 1 else self.labelled[0].summary),
        }

    def log(self) -> None:
        """Says what will be learnt, before the first step."""
        for rows in self.labelled:
            about = rows.summary
            logger.info(
                "Learning %s from %d rows of %s (column %r for texts, %r for labels)%s; %d rows are"
                " held out.",
                ", ".join(f"{name!r} ({count})" for name, count in about["classes"].items()),
                len(rows.train), rows.name, about["columns"]["text"], about["columns"]["label"],
                f", {rows.repeats} times an epoch" if rows.repeats > 1 else "",
                len(rows.validation),
            )  # fmt: skip
            if left_out := [f"{count} {why}" for why, count in about["left_out"].items()]:
                logger.info("Rows of %s left out: %s.", rows.name, ", ".join(left_out))
            for oddity in about["oddities"]:
                logger.warning("%s: %s", rows.name, oddity)

    @property
    def training_texts(self) -> Dataset:
        """All texts that are trained on, labelled ones first."""
        parts = [rows.train.select_columns(["text"]) for rows in self.labelled]
        return concatenate_datasets(parts + ([] if self.unlabelled is None else [self.unlabelled]))


def read_training_rows(
    sources: Sequence[DatasetSource],
    unlabelled_splits: Sequence[str],
    seed: int,
    reading: Mapping[str, Any],
    *,
    is_taught: bool = False,
) -> TrainingRows:
    """Opens the split `train` of each data set, and its validation rows.

    Those are its own validation split where it has one with labels, and otherwise carved out of
    `train`; their texts are left out of all training rows. Of several data sets the smaller ones
    are repeated, at most 8 times, so that the largest does not drown them: each has about a quarter
    of its rows in an epoch, or more.

    Args:
        reading: the options of `load_reviews`; they hold for each data set.
        is_taught: whether a teacher labels texts; those of the test splits are then left out.

    Raises:
        SentimentError: there are no such splits, too few rows or labels, two data sets whose
            labels differ, or one data set twice.
    """
    if not sources:
        raise SentimentError("`dataset` names no data set to learn from.")
    _refuse_the_same_twice(sources)
    options = dict(reading)
    label_map = check_label_map("label_map", options.pop("label_map", None))
    opened = [_open(source, seed, options, label_map) for source in sources]
    _number_equal_names(opened)
    for name in filter(None, label_map.values()):
        if fault := label_fault(name):
            raise SentimentError(f"The name {name!r:.60} in `label_map` is {fault}.")
    for one in opened:
        _check_labels(one, label_map, is_sample=bool(options.get("max_samples")))
    _rename_labels(opened, label_map)
    names = _common_names(opened)
    parts = [_split(one, names, seed) for one in opened]
    held_out = {text for _, validation in parts for text in validation["text"]}
    labelled = [
        _labelled_rows(one, *part, held_out, names) for one, part in zip(opened, parts, strict=True)
    ]
    largest = max(len(rows.train) for rows in labelled)
    for number, rows in enumerate(labelled):
        wanted = round(LEAST_SHARE * largest / len(rows.train))
        labelled[number] = replace(rows, repeats=min(MOST_REPEATS, max(1, wanted)))
    unlabelled = None
    if unlabelled_splits or is_taught:
        texts = [
            open_texts(source, unlabelled_splits, one.columns, options)
            for source, one in zip(sources, opened, strict=True)
        ]
        held_out |= texts_of_test_splits(texts)
        if unlabelled_splits:
            unlabelled = unlabelled_texts(texts, unlabelled_splits, held_out)
    return TrainingRows(labelled, names, unlabelled, frozenset(held_out))


def _refuse_the_same_twice(sources: Sequence[DatasetSource]) -> None:
    seen = set()
    for source in sources:
        # One data set in memory, or one under several spellings of its path.
        place: Any = id(source)
        if isinstance(source, str | os.PathLike):
            place = Path(source).resolve() if Path(source).exists() else str(source)
        if place in seen:
            raise SentimentError(
                f"The data set {dataset_name(source)} is named twice; name it once."
            )
        seen.add(place)


@dataclass
class _Opened:
    """The split `train` of a data set and, where there is one, its validation split."""

    name: str
    splits: DatasetDict
    columns: Columns
    dropped: int = 0  # Training rows that the label map drops.

    @property
    def label_names(self) -> list[str]:
        """What the class ids are called; nothing where labels are soft, or where there are none."""
        kind = self.splits[TRAIN_SPLIT].features.get("label")
        return list(kind.names) if isinstance(kind, ClassLabel) else []


def _open(
    source: DatasetSource, seed: int, options: Mapping[str, Any], label_map: Mapping[str, str]
) -> _Opened:
    there: Any = open_dataset(
        source, config=options.get("config"), revision=options.get("revision")
    )
    features = there[TRAIN_SPLIT if TRAIN_SPLIT in there else next(iter(there))].features
    columns = find_columns(features, options.get("text_column"), options.get("label_column"))
    own = [name for name in VALIDATION_SPLITS if name in there]
    name = dataset_name(source)
    if len(there) == 1 and TRAIN_SPLIT not in there and TEST_SPLIT not in there:
        source = there = DatasetDict({TRAIN_SPLIT: next(iter(there.values()))})
        options = {**options, "config": None, "revision": None}
    splits = [TRAIN_SPLIT, *own[:1]]
    # Numbers that the map names are no soft labels; they are renamed with all others.
    read = [there[split] for split in splits if split in there]
    same = {name: name for name in named_numbers(read, columns.label, label_map)}
    reviews = load_reviews(source, splits=splits, seed=seed, label_map=same, **options)
    return _Opened(name, reviews, columns)


def _number_equal_names(opened: list[_Opened]) -> None:
    seen: Counter[str] = Counter()
    for one in opened:
        seen[name := one.name] += 1
        if seen[name] > 1:
            one.name = f"{name}-{seen[name]}"


def _rename_labels(opened: list[_Opened], label_map: Mapping[str, str]) -> None:
    """Each name of the map must be one of some data set."""
    names = [name for one in opened for name in one.label_names]
    label_map = spelled_as(names, label_map)
    rename_labels(names, label_map)
    for one in opened:
        own = {name: label_map[name] for name in one.label_names if name in label_map}
        if own:
            before = len(one.splits[TRAIN_SPLIT])
            one.splits = number_labels(one.splits, "label", own)
            one.dropped = before - len(one.splits[TRAIN_SPLIT])


def _check_labels(one: _Opened, label_map: Mapping[str, str], *, is_sample: bool) -> None:
    """Refuses labels that a checkpoint cannot hold, unless the map gives them other names."""
    for number, name in enumerate(one.label_names):
        if name not in label_map and (fault := label_fault(name)):
            there = one.splits[TRAIN_SPLIT]["label"]
            row = f"row {there.index(number) + 1} of " if number in there and not is_sample else ""
            raise SentimentError(
                f"The label {name!r:.60} in {row}the column {one.columns.label!r} of {one.name} is"
                f" {fault}; give it another name with `label_map`, or choose another column with"
                " `label_column`."
            )


def _common_names(opened: list[_Opened]) -> list[str]:
    """What the class ids are called: as in the first data set; the others must have the same."""
    for one in opened:
        if "label" not in one.splits[TRAIN_SPLIT].features:
            raise SentimentError(
                f"The data set {one.name} has no column of labels; name it with `label_column`."
            )
        if len(one.label_names) > MOST_LABELS:
            raise SentimentError(
                f"The column {one.columns.label!r} of {one.name} has {len(one.label_names):,}"
                f" different labels, more than {MOST_LABELS:,}: choose the column that holds the"
                " labels with `label_column`."
            )
    first = next((one.label_names for one in opened if one.label_names), SOFT_LABEL_NAMES)
    for one in opened:
        if one.label_names:
            pairs = [(one.label_names, one.name), (first, opened[0].name)]
            for (ours, here), (theirs, there) in (pairs, pairs[::-1]):
                match_labels(ours, theirs, whose=f"The labels of {here}", known=f"those of {there}")
        elif len(first) != 2:
            raise SentimentError(
                f"The data set {one.name} has soft labels, which are for two labels; the other data"
                f" sets have {len(first)}."
            )
    return first


def _split(one: _Opened, names: list[str], seed: int) -> tuple[Dataset, Dataset]:
    """The training rows and the validation rows, of which some texts may still stand in both."""
    train = _numbered_as(labelled_rows(one.splits[TRAIN_SPLIT]), names)
    if not len(train):
        raise SentimentError(f"No row of the data set {one.name} has both a text and a label.")
    _check_classes(one.name, train, names)
    own = next((split for split in VALIDATION_SPLITS if split in one.splits), None)
    if own is not None and any(map(is_labelled, one.splits[own]["label"])):
        return train, _numbered_as(labelled_rows(one.splits[own]), names)
    return _carve(train, names, seed)


def _labelled_rows(
    one: _Opened, train: Dataset, validation: Dataset, held_out: set[str], names: list[str]
) -> LabelledRows:
    kept = [i for i, text in enumerate(train["text"]) if text not in held_out]
    if not kept:
        raise SentimentError(f"Every training text of {one.name} is also a validation text.")
    others = {
        "of a label that the map drops": one.dropped,
        "whose text is also a validation text": len(train) - len(kept),
    }
    train = train if len(kept) == len(train) else train.select(kept)
    _check_classes(one.name, train, names)
    summary = summarize(one.splits[TRAIN_SPLIT], train, names, one.columns, others)
    return LabelledRows(one.name, train, validation, summary)


def _numbered_as(rows: Dataset, names: list[str]) -> Dataset:
    """The same rows with the class ids of the first data set."""
    kind = rows.features["label"]
    if not isinstance(kind, ClassLabel):
        return rows
    order = match_labels(kind.names, names)
    if order == list(range(len(order))):
        return rows
    rows = rows.remove_columns("label").add_column("label", [order[i] for i in rows["label"]])
    return rows.cast_column("label", ClassLabel(names=names))


def _carve(rows: Dataset, names: list[str], seed: int) -> tuple[Dataset, Dataset]:
    train, validation = split_validation(rows, seed)
    if len(train) and len(validation):
        return train, validation
    raise SentimentError(
        f"None of {len(rows)} rows with {len(names)} different labels can be held out for"
        " validation: they are too few, every text stands there twice, or another column holds the"
        " labels (`label_column`)."
    )


def _check_classes(name: str, train: Dataset, names: list[str]) -> None:
    if not isinstance(train.features["label"], ClassLabel):
        return
    found = set(train["label"])
    if len(found) < 2:
        only = ", ".join(repr(names[i]) for i in found) or "none"
        raise SentimentError(
            f"Training needs rows of at least two labels; the rows of the data set {name} have"
            f" {only}."
        )
