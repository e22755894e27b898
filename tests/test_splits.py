"""Validation rows carved out of the training rows."""

from itertools import pairwise

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from sentiment_hf.data.splits import split_validation


def numbered(labels, kind=None):
    """Rows whose text is their number."""
    features = Features({"text": Value("string"), "label": kind or ClassLabel(names=["a", "b"])})
    columns = {"text": [str(i) for i in range(len(labels))], "label": labels}
    return Dataset.from_dict(columns, features=features)


def numbers(split):
    return np.array([int(text) for text in split["text"]])


def runs(places):
    """Lengths of the stretches of neighbours."""
    ends = [i for i, (a, b) in enumerate(pairwise(places), 1) if b != a + 1]
    return np.diff([0, *ends, len(places)]).tolist()


@pytest.mark.parametrize(
    ("counts", "held_out"),
    [((50, 50), (5, 5)), ((900, 100), (90, 10)), ((22_500, 7_500), (1_875, 625))],
)
def test_validation_is_a_tenth_at_most_2500_and_has_the_shares_of_the_labels(counts, held_out):
    rest, validation = split_validation(numbered([0] * counts[0] + [1] * counts[1]))
    assert tuple(np.bincount(validation["label"])) == held_out
    rest, validation = numbers(rest), numbers(validation)
    assert sorted([*rest, *validation]) == list(range(sum(counts)))
    for part in (rest, validation):
        assert np.all(np.diff(part) > 0), "the old order is kept"


def test_validation_is_made_of_random_blocks_of_fifty_neighbours_per_label():
    labels = np.arange(25_000) % 2
    _, validation = split_validation(numbered(labels), seed=3)
    for label in (0, 1):
        places = numbers(validation)[np.asarray(validation["label"]) == label] // 2
        lengths = runs(places)
        assert all(length % 50 == 0 for length in lengths)
        assert sum(lengths) == 1_250
        assert len(lengths) > 12
        assert places.min() < 2_500
        assert places.max() > 10_000


def test_no_block_is_longer_than_fifty_rows():
    _, validation = split_validation(numbered([0] * 12_549 + [1] * 12_549))
    # Two blocks side by side are about a hundred; one block is cut to the size that is wanted.
    for label in (0, 1):
        lengths = runs(numbers(validation)[np.asarray(validation["label"]) == label])
        assert sum(50 < length < 98 for length in lengths) <= 1


@pytest.mark.parametrize("rows", [100, 500, 2_000])
@pytest.mark.parametrize("seed", range(3))
def test_blocks_are_shorter_where_there_are_fewer_rows(rows, seed):
    _, validation = split_validation(numbered([0] * rows + [1] * rows), seed)
    lengths = runs(numbers(validation)[: rows // 10])
    assert 3 <= len(lengths) <= 10
    assert np.mean(lengths) > 1


def test_the_seed_chooses_the_rows():
    rows = numbered([0, 1] * 500)
    chosen = [set(numbers(split_validation(rows, seed)[1])) for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_no_validation_text_stands_in_the_rest():
    texts = [str(number % 1_800) for number in range(2_000)]
    rows = numbered([0, 1] * 1_000).remove_columns("text").add_column("text", texts)
    rest, validation = split_validation(rows)
    assert len(rest) + len(validation) == 2_000
    assert 140 <= len(validation) <= 200
    assert not set(rest["text"]) & set(validation["text"])


def test_soft_labels_are_split_by_the_label_they_lean_to():
    labels = np.concatenate([np.linspace(0, 0.4, 300), np.linspace(0.6, 1, 100)])
    rest, validation = split_validation(numbered(labels, Value("float32")))
    leaning = np.asarray(validation["label"]) > 0.5
    assert (len(validation), leaning.sum()) == (40, 10)
    assert np.array_equal(validation["label"], labels[numbers(validation)].astype("float32"))
    assert len(rest) == 360
