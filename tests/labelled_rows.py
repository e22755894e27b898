"""Rows to be labelled, and what `annotate` makes of them."""

from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Sequence, Value, load_dataset

WORDS = ["good", "bad", "warm", "cold", "film", "not", "and", "unheard"]


def text_of(number: int) -> str | None:
    if number % 10 == 7:
        return None
    return " ".join(WORDS[(number * 7 + i * i) % 8] for i in range(number % 13))


@pytest.fixture
def rows(tmp_path) -> Path:
    """90 rows in two splits, with columns of several kinds, on the disk as parquet."""
    features = Features({
        "id": Value("int32"), "body": Value("string"), "stars": ClassLabel(names=["one", "two"]),
        "tags": Sequence(Value("string")),
    })  # fmt: skip

    def split(numbers):
        return Dataset.from_dict(
            {
                "id": list(numbers),
                "body": [text_of(n) for n in numbers],
                "stars": [n % 2 for n in numbers],
                "tags": [["t"] * (n % 3) for n in numbers],
            },
            features=features,
        )

    (tmp_path / "rows").mkdir()
    split(range(70)).to_parquet(tmp_path / "rows" / "train.parquet")
    split(range(70, 90)).to_parquet(tmp_path / "rows" / "test.parquet")
    return tmp_path / "rows"


@pytest.fixture
def labelled(run, rows, checkpoint, tmp_path):
    """Runs `annotate rows --output tmp_path/NAME ...`."""

    def invoke(*options, name="out", dataset=rows):
        arguments = ["--output", tmp_path / name, "--model", checkpoint, "--text-column", "body"]
        return run("annotate", dataset, *arguments, "--quiet", *options)

    return invoke


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def read(folder: Path) -> DatasetDict:
    return load_dataset(str(folder), cache_dir=str(folder.parent / f"cache of {folder.name}"))
