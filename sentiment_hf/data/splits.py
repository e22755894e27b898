"""Rows: those with a text and a label, and the validation rows carved out of them."""

import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset

from sentiment_hf.errors import SentimentError

# In a `ClassLabel` column, and there alone; in a column of integers it is a label like others.
NO_LABEL = -1
TRAIN_SPLIT = "train"
TEST_SPLIT = "test"
VALIDATION_SPLITS = ("validation", "valid", "val", "dev")
VALIDATION_ROWS = 2_500
VALIDATION_SHARE = 0.1
LONGEST_BLOCK = 50

logger = logging.getLogger(__name__)


def rows_with_text(split: Dataset) -> Dataset:
    """Leaves out the rows whose text is null, and says how many."""
    return keep_rows(split, [text is not None for text in split["text"]], "without a text")


def labelled_rows(split: Dataset) -> Dataset:
    """Leaves out the rows that have no text or no label, and says how many."""
    if "label" not in split.features:
        raise SentimentError("The data set has no column of labels; name it with `label_column`.")
    split = rows_with_text(split)
    return keep_rows(split, [is_labelled(label) for label in split["label"]], "without a label")


def has_label(value: Any) -> bool:
    """Whether a cell holds a label; null is read as NaN from a column of floats."""
    return value is not None and not (isinstance(value, float) and np.isnan(value))


def is_labelled(label: float | None) -> bool:
    """Whether a row of `load_reviews` has a label: a class id, or a soft label."""
    return has_label(label) and label != NO_LABEL


def keep_rows(split: Dataset, kept: Sequence[bool], others: str) -> Dataset:
    """Leaves out some rows, and says how many and, by what the others are called, why."""
    if all(kept):
        return split
    rows = np.flatnonzero(kept)
    logger.warning("Left out %d of %d rows %s.", len(kept) - len(rows), len(kept), others)
    return split.select(rows)


def split_validation(split: Dataset, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Carves the validation rows out of the training rows.

    min(2,500, 10 %) of the rows, stratified, in random contiguous blocks of up to 50 rows per
    label, because neighbouring reviews speak of one film. A text that also stands in the rest
    stays in training, so that no validation text is ever trained on.

    Returns:
        The training rows and the validation rows, each in their old order.
    """
    labels = np.asarray(split["label"], dtype=float)
    classes = labels if isinstance(split.features["label"], ClassLabel) else np.round(labels)
    share = min(VALIDATION_ROWS / max(len(split), 1), VALIDATION_SHARE)
    generator = np.random.default_rng(seed)
    held_out = np.zeros(len(split), dtype=bool)
    for label in np.unique(classes):
        rows = np.flatnonzero(classes == label)
        wanted = round(share * len(rows))
        length = max(1, min(LONGEST_BLOCK, wanted // 5))
        blocks = np.array_split(rows, max(1, math.ceil(len(rows) / length)))
        order = generator.permutation(len(blocks))
        chosen = np.concatenate([blocks[i] for i in order])[:wanted]
        held_out[chosen] = True
    texts = split["text"]
    rest = {text for text, held in zip(texts, held_out, strict=True) if not held}
    held_out &= np.array([text not in rest for text in texts], dtype=bool)
    return split.select(np.flatnonzero(~held_out)), split.select(np.flatnonzero(held_out))
