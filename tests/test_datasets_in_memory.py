"""A `Dataset` or a `DatasetDict` in place of a name."""

import json

import pytest
from datasets import Dataset, DatasetDict, IterableDatasetDict
from small_datasets import SMALL, split

from sentiment_hf import SentimentError, evaluate, load_reviews, pretrain, train


def test_a_dataset_or_dict_of_them_is_trained_on_and_measured(checkpoint, tmp_path):
    rows, test = split("film", 80), split("shown", 20)
    both = DatasetDict(train=rows, test=test)
    for number, source in enumerate((rows, both, [rows, split("good", 80)])):
        train(source, tmp_path / f"{number}", **SMALL)
    one, other, _ = (json.loads((tmp_path / f"{i}/training.json").read_text()) for i in range(3))
    assert one["data"] == other["data"]
    assert one["data"]["dataset"] == "in memory"
    found = evaluate(both, checkpoint)
    assert found["n"] == 20
    alone = evaluate(test, checkpoint, split="train")
    assert alone["confusion_matrix"] == found["confusion_matrix"]


def test_columns_and_labels_of_a_dataset_in_memory_are_found_by_name(tmp_path):
    rows = Dataset.from_dict(
        {"id": list(range(4)), "review": ["a", "b", "c", "d"], "sentiment": ["bad", "good"] * 2}
    )
    read_rows = load_reviews(rows)["train"]
    assert read_rows.column_names == ["text", "label"]
    assert read_rows.features["label"].names == ["bad", "good"]
    named = load_reviews(DatasetDict(extra=rows), label_map={"bad": "neg"})
    assert list(named) == ["extra"]
    assert named["extra"].features["label"].names == ["good", "neg"]
    assert rows.column_names == ["id", "review", "sentiment"], "the caller's own stays as it is"


FORMATS = {
    "torch": {"type": "torch"},
    "numpy": {"type": "numpy"},
    "pandas": {"type": "pandas"},
    "arrow": {"type": "arrow"},
    "some columns": {"type": None, "columns": ["id"]},
}


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_rows_are_read_alike_in_whatever_format_they_come(form, saved, checkpoint, tmp_path):
    columns = {"text": ["good", None, "bad", "film"], "label": [1, 0, 0, 1], "id": [1, 2, 3, 4]}
    plain = Dataset.from_dict(columns)
    rows = source = plain.with_format(**form)
    if saved:
        source = tmp_path / "rows"
        rows.save_to_disk(source)
    assert load_reviews(source)["train"].to_dict() == load_reviews(plain)["train"].to_dict()
    found = evaluate(source, checkpoint, split="train", label_map={"0": "neg", "1": "pos"})
    assert found["n"] == 3
    assert rows.format["columns"] == form.get("columns", list(columns)), "the caller's own stays"


def test_a_format_changes_nothing_that_is_trained(tmp_path):
    rows = split("film", 80)
    for number, source in enumerate((rows, rows.with_format("torch"))):
        train(source, tmp_path / f"{number}", **SMALL)
    one, other = (json.loads((tmp_path / f"{i}/training.json").read_text()) for i in range(2))
    assert one["history"][0]["train_loss"] == other["history"][0]["train_loss"]
    assert load_reviews(rows)["train"]._fingerprint == load_reviews(rows)["train"]._fingerprint


def test_pretraining_takes_a_dataset_in_memory(tmp_path):
    both = DatasetDict(train=split("film", 80), test=split("shown", 9))
    folder = pretrain(both, tmp_path / "out", epochs=1, show_progress=False)
    assert json.loads((folder / "training.json").read_text())["data"]["train_rows"] == 72


@pytest.mark.parametrize(
    "other",
    [{"": [7, 8]}, {"": ["x", "y"]}, {"meta": [{"x": 1}, {"x": 2}]}, {"parts": [["a"], ["b"]]}],
    ids=["an unnamed one", "an unnamed one of strings", "a nested one", "a list"],
)
def test_a_column_that_is_not_used_may_be_of_any_kind(other):
    rows = Dataset.from_dict({**other, "text": ["a", "b"], "label": [0, 1]})
    assert load_reviews(rows)["train"].to_dict() == {"text": ["a", "b"], "label": [0, 1]}


def test_few_labelled_rows_are_pretrained_on_all_the_same(tmp_path):
    folder = pretrain(split("film", 8), tmp_path / "out", epochs=1, show_progress=False)
    data = json.loads((folder / "training.json").read_text())["data"]
    assert (data["train_rows"], data["validation_rows"]) == (7, 1)


BAD = {
    "an empty one": (lambda: Dataset.from_dict({"text": [], "label": []}), "no rows"),
    "an empty dictionary": (DatasetDict, "no rows"),
    "no columns": (lambda: Dataset.from_dict({}), "no rows"),
    "an unnamed column": (lambda: Dataset.from_dict({"": ["x", "y"], "label": [0, 1]}), "no name"),
    "a nested column": (
        lambda: Dataset.from_dict({"text": [{"a": "x"}, {"a": "y"}], "label": [0, 1]}),
        "'text'.*not text",
    ),
    "a list of sentences": (
        lambda: Dataset.from_dict({"text": [["x"], ["y"]], "label": [0, 1]}), "'text'.*not text"
    ),
    "nested labels": (
        lambda: Dataset.from_dict({"text": ["x", "y"], "label": [{"a": 1}, {"a": 2}]}), "'label'"
    ),
    "a stream": (lambda: split("film", 9).to_iterable_dataset(), "IterableDataset"),
    "streams": (
        lambda: IterableDatasetDict(train=split("film", 9).to_iterable_dataset()),
        "IterableDatasetDict",
    ),
    "a number": (lambda: 7, "int"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "words"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("call", ["train", "pretrain", "evaluate", "load_reviews"])
def test_a_dataset_that_cannot_be_used_is_one_sentence(make, words, call, checkpoint, tmp_path):
    calls = {
        "train": lambda rows: train(rows, tmp_path / "out", **SMALL),
        "pretrain": lambda rows: pretrain(rows, tmp_path / "out", show_progress=False),
        "evaluate": lambda rows: evaluate(rows, checkpoint, split="train"),
        "load_reviews": load_reviews,
    }
    with pytest.raises(SentimentError, match=words) as caught:
        calls[call](make())
    assert caught.value.exit_status == 2
    assert not (tmp_path / "out").exists()
