"""Which rows a training reads: labelled ones, validation rows, texts without labels.

No validation text is ever trained on, and no test text enters the texts without labels.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, concatenate_datasets

from sentiment_hf.data.columns import NO_LABEL
from sentiment_hf.data.loading import load_reviews
from sentiment_hf.data.splits import (
    VALIDATION_ROWS,
    VALIDATION_SHARE,
    labelled_rows,
    rows_with_text,
    split_validation,
)
from sentiment_hf.errors import SentimentError

TEST_SPLIT = "test"
TRAIN_SPLIT = "train"
SOFT_LABEL_NAMES = {0: "neg", 1: "pos"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingRows:
    """What `train` reads.

    Attributes:
        train, validation: rows with `text` and `label`.
        unlabelled: rows with `text` alone; None where none were asked for.
        names: what the class ids are called.
    """

    train: Dataset
    validation: Dataset
    unlabelled: Dataset | None
    names: dict[int, str]


def read_training_rows(
    dataset: str | Path,
    unlabelled_split: str | None,
    seed: int,
    reading: Mapping[str, Any],
) -> TrainingRows:
    """Opens the split `train` and carves the validation rows out of it.

    Raises:
        SentimentError: there are no such splits, or too few rows or labels.
    """
    # A test split is opened only to leave its texts out of those without labels.
    splits = [TRAIN_SPLIT] if unlabelled_split is None else None
    opened = load_reviews(dataset, splits=splits, seed=seed, **reading)
    if TRAIN_SPLIT not in opened:
        opened = load_reviews(dataset, splits=[TRAIN_SPLIT], seed=seed, **reading)
    reviews = labelled_rows(opened[TRAIN_SPLIT])
    if not len(reviews):
        raise SentimentError("No row of the data set has both a text and a label.")
    names = _label_names(reviews)
    train, validation = split_validation(reviews, seed)
    if not len(train) or not len(validation):
        if len(names) > max(2, len(reviews) / 2):
            raise SentimentError(
                f"The {len(reviews)} rows have {len(names)} different labels: choose the column"
                " that holds the labels with `label_column`."
            )
        raise SentimentError(
            f"None of {len(reviews)} labelled rows can be held out for validation: they are too"
            " few, or every text stands there twice."
        )
    unlabelled = None
    if unlabelled_split is not None:
        unlabelled = _texts(opened, [unlabelled_split], validation)
    return TrainingRows(train, validation, unlabelled, names)


def texts_to_read(
    reviews: DatasetDict, splits: Sequence[str] | None, seed: int
) -> tuple[Dataset, Dataset]:
    """The texts to pretrain on, and those held out, which stand nowhere among the first."""
    chosen = list(splits) if splits else [name for name in reviews if name != TEST_SPLIT]
    _check_splits(reviews, chosen)
    held_out = _held_out(reviews, chosen, seed)
    return _texts(reviews, chosen, held_out), held_out


def _check_splits(reviews: DatasetDict, chosen: Sequence[str]) -> None:
    for name in chosen:
        if name not in reviews:
            raise SentimentError(f"There is no split {name!r}; there are {', '.join(reviews)}.")


def _texts(reviews: DatasetDict, chosen: Sequence[str], held_out: Dataset) -> Dataset:
    """The texts of some splits, without those that are held out or also stand in the test split."""
    _check_splits(reviews, chosen)
    barred = set(held_out["text"])
    if TEST_SPLIT in reviews and TEST_SPLIT not in chosen:
        barred |= set(reviews[TEST_SPLIT]["text"])
    parts = [rows_with_text(reviews[name].select_columns(["text"])) for name in chosen]
    texts = concatenate_datasets(parts)
    kept = [i for i, text in enumerate(texts["text"]) if text not in barred]
    logger.info(
        "Reading %d texts; %d also stand in the test split or are held out.",
        len(kept), len(texts) - len(kept),
    )  # fmt: skip
    if not kept:
        raise SentimentError(f"There is no text to read in {', '.join(chosen)}.")
    return texts.select(kept)


def _held_out(reviews: DatasetDict, chosen: list[str], seed: int) -> Dataset:
    """The validation rows of `train` where it is labelled, else a random sample of the texts."""
    train = reviews.get(TRAIN_SPLIT)
    if train is not None and isinstance(train.features.get("label"), ClassLabel):
        kept = [
            i
            for i, (text, label) in enumerate(zip(train["text"], train["label"], strict=True))
            if text is not None and label not in (None, NO_LABEL)
        ]
        if kept:
            return split_validation(train.select(kept), seed)[1].select_columns(["text"])
    first = rows_with_text(reviews[chosen[0]].select_columns(["text"]))
    count = min(VALIDATION_ROWS, math.ceil(VALIDATION_SHARE * len(first)))
    order = np.random.default_rng(seed).permutation(len(first))
    return first.select(np.sort(order[:count]))


def _label_names(reviews: Dataset) -> dict[int, str]:
    kind = reviews.features["label"]
    if not isinstance(kind, ClassLabel):
        return SOFT_LABEL_NAMES
    if "" in kind.names:
        raise SentimentError("One of the labels is an empty text; each label needs a name.")
    found = set(reviews["label"])
    if len(found) < 2:
        only = ", ".join(repr(kind.names[i]) for i in found) or "none"
        raise SentimentError(
            f"Training needs rows of at least two labels; the data set's rows have {only}."
        )
    return dict(enumerate(kind.names))
