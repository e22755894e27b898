"""Names of files and folders: taken literally, and what they tell of splits."""

import os

import pytest
from datasets import Dataset
from written_files import rows_of

from sentiment_hf import SentimentError, load_reviews
from sentiment_hf.data.loading import open_dataset

NAMES = ["a::b", "zip::a", "a [1]", "a*", "a?b", "a b", "a%20b", "a#b", "{a,b}", "a\\b", "d::e [1]"]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_any_name_that_a_file_or_folder_can_have_is_taken_literally(write, name, streaming):
    csv = ["text,label", "right,pos"]
    jsonl = ['{"text": "right", "label": "pos"}']
    paths = [
        write(f"{name}.csv", *csv),
        write(f"{name}.jsonl", *jsonl),
        write(f"{name}/train.csv", *csv),
        write(f"{name}/train.csv", *csv).parent,
    ]
    for path in paths:
        opened = open_dataset(str(path), streaming=streaming)
        assert list(opened["train"]) == [{"text": "right", "label": "pos"}]


@pytest.mark.parametrize("name", ["plain", "a [1]", "a::b"])
@pytest.mark.parametrize("rows", ["rows.csv", "train.jsonl"])
def test_what_else_lies_in_a_folder_is_not_read_whatever_its_name(write, name, rows):
    lines = ["text,label", "a,pos"] if "csv" in rows else ['{"text": "a", "label": "pos"}']
    write(f"{name}/README.md", "A card, without, rows")
    write(f"{name}/LICENSE", "caf\u00e9", encoding="latin-1")
    path = write(f"{name}/{rows}", *lines)
    assert rows_of(load_reviews(path.parent)) == [("a", "pos")]


def test_a_saved_data_set_may_have_any_name(tmp_path):
    rows = Dataset.from_dict({"text": ["a"], "label": ["pos"]})
    rows.save_to_disk(tmp_path / "plain")
    (tmp_path / "plain").rename(tmp_path / "a::b")
    assert rows_of(load_reviews(tmp_path / "a::b")) == [("a", "pos")]


def test_a_path_with_colons_is_the_same_data_set_each_time(write):
    path = write("a::b.csv", "text,label", "a,pos")
    prints = {load_reviews(path)["train"]._fingerprint for _ in range(2)}
    assert len(prints) == 1


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_there_but_no_file_is_not_said_to_be_missing(run, tmp_path, kind):
    path = tmp_path / "own.csv"
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    result = run("evaluate", path)
    assert result.exit_code == 2
    assert "is no file or folder" in result.stderr


@pytest.mark.parametrize(
    ("names", "odd"),
    [
        (["TRAIN.csv", "Test.csv"], "TRAIN.csv"),
        (["reviews_Train.csv", "reviews_TEST.csv"], "reviews_TEST.csv"),
        (["Train/a.csv", "Test/b.csv"], "Test/b.csv"),
        (["train.csv", "train.csv.bak"], "train.csv.bak"),
        (["train_test.csv"], "train_test.csv"),
    ],
)
def test_a_file_that_would_be_read_as_another_split_is_named(write, tmp_path, names, odd):
    for name in names:
        write(f"own/{name}", "text,label", "a,pos")
    with pytest.raises(SentimentError, match=rf"/own, {odd} would be read where it does not"):
        load_reviews(tmp_path / "own")


@pytest.mark.parametrize("names", [["Train.csv"], ["Latest.csv", "Testament.csv"], ["A.csv"]])
def test_names_in_capitals_that_tell_no_other_split_are_read(write, tmp_path, names):
    for name in names:
        write(f"own/{name}", "text,label", "a,pos")
    assert len(load_reviews(tmp_path / "own")["train"]) == len(names)


@pytest.mark.parametrize("rows", [1, 20_000])
def test_files_of_which_the_columns_differ_are_told_so(write, rows):
    write("own/train_1.csv", "text,label", "a,pos")
    path = write("own/train_2.csv", "text,label,id", *["b,neg,1"] * rows)
    with pytest.raises(SentimentError, match="own have different columns"):
        load_reviews(path.parent)
