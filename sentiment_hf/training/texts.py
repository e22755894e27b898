"""Texts without labels: none of them is a validation text, and none stands in a test split."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, concatenate_datasets

from sentiment_hf.data.columns import Columns, find_text_column, with_plain_strings
from sentiment_hf.data.loading import DatasetSource, open_dataset
from sentiment_hf.data.splits import (
    TEST_SPLIT,
    TRAIN_SPLIT,
    VALIDATION_ROWS,
    VALIDATION_SHARE,
    VALIDATION_SPLITS,
    is_labelled,
    rows_with_text,
    split_validation,
)
from sentiment_hf.errors import SentimentError

logger = logging.getLogger(__name__)


def unlabelled_texts(
    opened: Sequence[DatasetDict], splits: Sequence[str], excluded: set[str]
) -> Dataset:
    """The texts of some splits of all data sets, without those that may not be trained on."""
    if TEST_SPLIT in splits:
        raise SentimentError(
            f"`unlabelled_split` cannot be {TEST_SPLIT!r}: no test text is trained on."
        )
    return _allowed_texts(_texts_of(opened, splits), excluded, splits)


def texts_of_test_splits(opened: Sequence[DatasetDict]) -> set[str]:
    tests = [one[TEST_SPLIT] for one in opened if TEST_SPLIT in one]
    return {text for test in tests if "text" in test.column_names for text in test["text"]}


def open_texts(
    source: DatasetSource, splits: Sequence[str], columns: Columns, options: Mapping[str, Any]
) -> DatasetDict:
    """All splits of a data set; of some, and of the test split, the column `text` alone.

    Args:
        columns: those of the labelled splits; the others may have others.
    """
    opened: Any = open_dataset(
        source, config=options.get("config"), revision=options.get("revision")
    )
    labels = None if columns.label is None else [columns.label]
    for name, split in opened.items():
        column: str | None = columns.text if columns.text in split.features else None
        if column is None and name in splits:
            column = find_text_column(split.features, labels=labels)
        if column is not None and name in (*splits, TEST_SPLIT):
            texts = split.select_columns([column])
            texts = texts if column == "text" else texts.rename_column(column, "text")
            opened[name] = with_plain_strings(DatasetDict({name: texts}))[name]
    return opened


def pretraining_texts(
    reviews: DatasetDict, splits: Sequence[str] | None, seed: int
) -> tuple[Dataset, Dataset]:
    """The texts to pretrain on, and those held out, which stand nowhere among the first."""
    splits = [splits] if isinstance(splits, str) else splits
    chosen = list(splits) if splits else [name for name in reviews if name != TEST_SPLIT]
    if not chosen:
        raise SentimentError("There is no split but 'test'; name it with `splits`.")
    texts = _texts_of([reviews], chosen)
    held_out = _held_out_texts(reviews, texts[0], seed)
    tests = set() if TEST_SPLIT in chosen else texts_of_test_splits([reviews])
    return _allowed_texts(texts, tests.union(held_out["text"]), chosen), held_out


def _texts_of(opened: Sequence[DatasetDict], splits: Sequence[str]) -> list[Dataset]:
    there = list(dict.fromkeys(name for one in opened for name in one))
    for name in splits:
        if name not in there:
            raise SentimentError(f"There is no split {name!r}; there are {', '.join(there)}.")
    return [
        rows_with_text(one[name].select_columns(["text"]))
        for one in opened
        for name in splits
        if name in one
    ]


def _allowed_texts(parts: list[Dataset], excluded: set[str], splits: Sequence[str]) -> Dataset:
    texts = concatenate_datasets(parts)
    kept = [i for i, text in enumerate(texts["text"]) if text not in excluded]
    logger.info(
        "Using %d texts; %d also stand in the test split or are held out.",
        len(kept), len(texts) - len(kept),
    )  # fmt: skip
    if not kept:
        raise SentimentError(f"There is no text in {', '.join(splits)}.")
    return texts.select(kept)


def _held_out_texts(reviews: DatasetDict, texts: Dataset, seed: int) -> Dataset:
    """The validation rows that `train` will use, else a random sample of some texts."""
    for name in VALIDATION_SPLITS:
        if name in reviews:
            own = reviews[name]
            if "label" not in own.column_names or any(map(is_labelled, own["label"])):
                return rows_with_text(own.select_columns(["text"]))
    train = reviews.get(TRAIN_SPLIT)
    if train is not None and isinstance(train.features.get("label"), ClassLabel):
        labelled = [
            i
            for i, (text, label) in enumerate(zip(train["text"], train["label"], strict=True))
            if text is not None and is_labelled(label)
        ]
        held_out = split_validation(train.select(labelled), seed)[1]
        if len(held_out):
            return held_out.select_columns(["text"])
    count = min(VALIDATION_ROWS, math.ceil(VALIDATION_SHARE * len(texts)))
    order = np.random.default_rng(seed).permutation(len(texts))
    return texts.select(np.sort(order[:count]))
