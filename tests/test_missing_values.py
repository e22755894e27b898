"""What is missing, what only looks so, and which rows a label map drops."""

import json

import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from written_files import TEXTS, rows_of

from sentiment_hf import load_reviews


def test_a_split_whose_labels_are_all_missing_is_refused_with_the_splits_there_are(
    run, checkpoint, tmp_path
):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    labels = {"train": [0, 1], "test": [-1, -1]}
    splits = {
        split: Dataset.from_dict({"text": TEXTS[:2], "label": ids}, features)
        for split, ids in labels.items()
    }
    DatasetDict(splits).save_to_disk(tmp_path / "own")
    result = run("evaluate", tmp_path / "own", "--model", checkpoint)
    assert result.exit_code == 2
    assert "All labels of the split 'test' of own are -1, which means" in result.stderr
    assert "train, test" in result.stderr


def test_a_column_of_no_label_at_all_is_not_taken_for_soft_labels(run, checkpoint, write, tmp_path):
    path = write("own.csv", "text,label", "a film,", "b film,")
    result = run("evaluate", path, "--model", checkpoint)
    assert result.exit_code == 2
    assert "No row of the split 'train' of own.csv has both a text and a label" in result.stderr
    result = run("train", path, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert "No row of the data set own.csv has both a text and a label" in result.stderr
    assert "oft label" not in run("train", "sample", path, "--output", tmp_path / "out").stderr


SPELLINGS = ["None", "n/a", "null", "NA", "nan", "NULL", "#N/A", "-1"]


def test_a_text_or_label_that_is_spelled_like_a_missing_value_is_kept(write, tmp_path):
    path = write("own.csv", "text,label", *(f"{word},{word}" for word in SPELLINGS), ",pos")
    rows = [(word, word) for word in SPELLINGS]
    assert rows_of(load_reviews(path)) == [*rows, (None, "pos")]
    folder = tmp_path / "folder"
    folder.mkdir()
    path.rename(folder / "train.csv")
    assert rows_of(load_reviews(folder)) == [*rows, (None, "pos")]


def test_a_csv_file_on_the_hub_is_read_like_a_local_one(hub, monkeypatch):
    hub.create("ann/reviews", "dataset")
    hub.commit("ann/reviews", {"train.csv": b"text,label\nn/a,None\nx,1\n"}, repo_type="dataset")
    assert rows_of(load_reviews("ann/reviews")) == [("n/a", "None"), ("x", "1")]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    assert rows_of(load_reviews("ann/reviews")) == [("n/a", "None"), ("x", "1")]


CODES = [-1, 0, 1, None]


def test_minus_one_is_a_label_in_every_kind_of_file(write, tmp_path):
    rows = [{"text": f"text {code}", "label": code} for code in CODES]
    data = Dataset.from_list(rows)
    data.to_parquet(tmp_path / "own.parquet")
    lines = (f"text {code},{'' if code is None else code}" for code in CODES)
    sources = [
        write("own.csv", "text,label", *lines),
        write("own.jsonl", *map(json.dumps, rows)),
        tmp_path / "own.parquet",
        data,
        pd.DataFrame(rows).pipe(Dataset.from_pandas),
    ]
    for source in sources:
        reviews = load_reviews(source)
        assert reviews["train"].features["label"].names == ["-1", "0", "1"]
        labels = [None if code is None else str(code) for code in CODES]
        assert [label for _, label in rows_of(reviews)] == labels


def test_minus_one_means_no_label_in_a_column_of_classes_wherever_it_comes_from(tmp_path):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    data = Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, 1, -1]}, features)
    data.to_parquet(tmp_path / "own.parquet")
    data.save_to_disk(tmp_path / "own")
    for source in (data, tmp_path / "own.parquet", tmp_path / "own"):
        assert [label for _, label in rows_of(load_reviews(source))] == ["neg", "pos", None]


@pytest.mark.parametrize("options", [["--label-map=-1=neg,1=pos"], ["--label-map", "-1=neg,1=pos"]])
def test_the_label_minus_one_can_be_named_in_a_label_map(run, checkpoint, write, options):
    path = write("own.csv", "text,label", *(f"a film,{code}" for code in (-1, 1) * 10))
    result = run("evaluate", path, "--model", checkpoint, "--json", *options)
    assert json.loads(result.stdout)["n"] == 20, result.stderr


def test_the_middle_of_five_stars_can_be_dropped(run, checkpoint, write):
    path = write("own.csv", "text,label", *(f"a film,{star}" for star in (1, 2, 3, 4, 5) * 4))
    stars = "1=neg,2=neg,3=,4=pos,5=pos"
    result = run("evaluate", path, "--model", checkpoint, "--json", "--label-map", stars)
    assert json.loads(result.stdout)["n"] == 16, result.stderr
    assert "Left out 4 of 20 rows of the split 'train': the label map drops '3'." in result.stderr
    assert "without a label" not in result.stderr
    partly = run("evaluate", path, "--model", checkpoint, "--label-map", "1=neg,5=pos")
    assert "does not name '2', '3', '4'" in partly.stderr
