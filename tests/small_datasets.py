"""Small data sets of labelled texts, as files and in memory."""

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value, concatenate_datasets

from sentiment_hf.training.rows import read_training_rows

SMALL = {"epochs": 1, "batch_size": 64, "max_length": 30, "show_progress": False}


def texts_of(name, count):
    words = ("cold", "warm")
    return [f"a {words[i % 2]} {name} {name}{i} {name}{i}" for i in range(count)]


def split(name, count, labels=("neg", "pos"), no_label=False):
    """Rows of two labels by turns, with words that only this data set has."""
    features = Features({"text": Value("string"), "label": ClassLabel(names=list(labels))})
    values = [-1 if no_label else i % 2 for i in range(count)]
    return Dataset.from_dict({"text": texts_of(name, count), "label": values}, features=features)


def joined(*parts):
    return concatenate_datasets(parts)


@pytest.fixture
def save(tmp_path):
    """Writes a data set: `save("films", train=split(...), test=...)`; gives its path."""

    def write(name, **splits):
        DatasetDict(splits).save_to_disk(tmp_path / name)
        return tmp_path / name

    return write


def read(*sources, unlabelled=(), seed=0, **options):
    return read_training_rows(list(sources), list(unlabelled), seed, options)
