"""Files with rows, written for a test."""

import pyarrow as pa
import pytest

TEXTS = [f"{word} film number {i}" for i in range(15) for word in ("a good", "a bad")]
LABELS = ["pos", "neg"] * 15


@pytest.fixture
def own_csv(write):
    return write("own.csv", "text,label", *map(",".join, zip(TEXTS, LABELS, strict=True)))


def rows_of(reviews, split="train"):
    rows = reviews[split]
    names = rows.features["label"].names
    return [(row["text"], None if row["label"] < 0 else names[row["label"]]) for row in rows]


def as_arrow(kind):
    if pa.types.is_dictionary(kind):
        return [pa.array(v, kind.value_type).dictionary_encode() for v in (TEXTS, LABELS)]
    return [pa.array(values, pa.string()).cast(kind) for values in (TEXTS, LABELS)]


STRINGS = [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.large_string())]
