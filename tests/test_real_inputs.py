"""What people bring: files and labels as they are, and what a user sees of each."""

import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Value

from sentiment_hf import load_reviews, train

TEXTS = [f"{word} film number {i}" for i in range(15) for word in ("a good", "a bad")]
LABELS = ["pos", "neg"] * 15


@pytest.fixture
def write(tmp_path):
    """Writes a file: `write("own.csv", "text,label", "a film,pos")`."""

    def to_file(name, *lines, encoding="utf-8"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(("\n".join(lines) + "\n").encode(encoding))
        return path

    return to_file


@pytest.fixture
def own_csv(write):
    return write("own.csv", "text,label", *map(",".join, zip(TEXTS, LABELS, strict=True)))


def rows_of(reviews, split="train"):
    rows = reviews[split]
    names = rows.features["label"].names
    return [(row["text"], None if row["label"] < 0 else names[row["label"]]) for row in rows]


# Types of text


def as_arrow(kind):
    if pa.types.is_dictionary(kind):
        return [pa.array(v, kind.value_type).dictionary_encode() for v in (TEXTS, LABELS)]
    return [pa.array(values, pa.string()).cast(kind) for values in (TEXTS, LABELS)]


STRINGS = [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.large_string())]


@pytest.mark.parametrize("kind", STRINGS, ids=str)
def test_every_type_of_text_that_arrow_has_is_text(tmp_path, kind):
    table = pa.table(as_arrow(kind), names=["text", "label"])
    pq.write_table(table, tmp_path / "own.parquet")
    for source in (
        tmp_path / "own.parquet",
        Dataset(table),
        Dataset.from_pandas(table.to_pandas()),
    ):
        reviews = load_reviews(source)
        assert reviews["train"].features["text"] == Value("string")
        assert rows_of(reviews) == list(zip(TEXTS, LABELS, strict=True))


def test_a_csv_file_is_learnt_from_together_with_other_kinds_of_data_sets(own_csv, tmp_path):
    frame = Dataset.from_pandas(pd.DataFrame({"text": TEXTS, "label": LABELS}))
    frame = frame.map(lambda row: {"text": row["text"] + " again"})
    options = {"epochs": 1, "vocab_size": 50, "show_progress": False}
    train(["sample", own_csv, frame], tmp_path / "out", max_samples=30, **options)
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    assert [part["dataset"] for part in record["data"]["datasets"]][:2] == ["sample", "own.csv"]
