"""`train` says what it will learn, what it leaves out and what is odd."""

import json
import re

import written_files
from datasets import ClassLabel, Dataset, Features, Value

from sentiment_hf import train
from sentiment_hf.data.columns import Columns
from sentiment_hf.training.summary import summarize

own_csv = written_files.own_csv

MESSY = [
    "review,mood",
    *(f"a good film number {i},{('Positive', 'positive ')[i % 2]}" for i in range(20)),
    *(f"a bad film number {i},negative" for i in range(20)),
    "a good film number 0,negative",
    ",negative",
    *['" ",negative'] * 2,
    "a film,",
]


def test_train_says_what_it_will_learn_and_writes_it_down(run, write, tmp_path):
    path = write("messy.csv", *MESSY)
    columns = ["--text-column", "review", "--label-column", "mood"]
    sizes = ["--epochs", 1, "--vocab-size", 50, "--batch-size", 50]
    result = run("train", path, "--output", tmp_path / "out", *columns, *sizes)
    assert result.exit_code == 0, result.stderr
    data = json.loads((tmp_path / "out" / "training.json").read_text())["data"]
    assert data["columns"] == {"text": "review", "label": "mood"}
    assert sum(data["classes"].values()) == data["train_rows"]
    assert list(data["classes"]) == ["Positive", "negative", "positive "]
    assert data["left_out"] == {"without a text": 1, "without a label": 1}
    oddities = " ".join(data["oddities"])
    assert "'Positive', 'positive ' differ only by case or blanks" in oddities
    assert "Texts with more than one label: 1." in oddities
    assert "Empty texts: 2 of 43." in oddities
    said, _ = result.stderr.lower().split("epoch 1", 1)
    card = (tmp_path / "out" / "README.md").read_text()
    for word in ("'review' for texts", "'mood' for labels", "more than one label", "--label-map"):
        assert word in said
    assert "rows of messy.csv left out: 1 without a text, 1 without a label." in said
    for name, count in data["classes"].items():
        assert f"{name!r} ({count})".lower() in said
    for word in ("`review`", "`mood`", "rows without a label | 1", "more than one label"):
        assert word in card


def test_a_text_in_half_of_the_rows_is_worth_a_word(run, write, tmp_path, caplog):
    lines = [f"film {i},{('neg', 'pos')[i % 2]}" for i in range(30)]
    path = write("own.csv", "text,label", *lines, *["the same,pos"] * 30)
    sizes = {"epochs": 1, "vocab_size": 50, "batch_size": 50, "show_progress": False}
    train(path, tmp_path / "out", **sizes)
    data = json.loads((tmp_path / "out" / "training.json").read_text())["data"]
    assert data["oddities"] == ["Rows with the same text, 'the same': 30 of 60."]


def test_soft_labels_are_called_so_with_the_way_to_take_them_as_names(run, write, tmp_path):
    numbers = ["0", "0.5", "1"]
    path = write("own.csv", "text,label", *(f"film {i},{numbers[i % 3]}" for i in range(60)))
    command = ["train", path, "--epochs", 1, "--vocab-size", 50, "--batch-size", 50]
    result = run(*command, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    data = json.loads((tmp_path / "out" / "training.json").read_text())["data"]
    card = (tmp_path / "out" / "README.md").read_text()
    for said in (result.stderr, card, *data["oddities"]):
        assert "'label' holds soft labels" in said
        assert "probabilities of 'pos'" in said
    named = re.search(r"--label-map (\S+?)\.\n", result.stderr)[1]
    assert named == "0=0,0.5=0.5,1=1"
    for pairs, names in ((named, numbers), ("0=neg,0.5=,1=pos", ["neg", "pos"])):
        options = ["--output", tmp_path / "named", "--overwrite", "--label-map", pairs]
        assert run(*command, *options).exit_code == 0
        data = json.loads((tmp_path / "named" / "training.json").read_text())["data"]
        assert list(data["classes"]) == names
        assert data["oddities"] == []
    assert data["left_out"] == {"of a label that the map drops": 20}


def test_nothing_odd_is_said_of_clean_rows(run, own_csv, tmp_path):
    sizes = ["--epochs", 1, "--vocab-size", 50, "--batch-size", 50]
    result = run("train", own_csv, "--output", tmp_path / "out", *sizes)
    data = json.loads((tmp_path / "out" / "training.json").read_text())["data"]
    assert (data["oddities"], data["left_out"]) == ([], {})
    assert "'neg' (" in result.stderr


def test_labels_that_differ_by_characters_that_are_not_seen_are_odd():
    features = Features(
        {
            "text": Value("string"),
            "label": ClassLabel(names=["pos", "\ufeffpos", "p\u200bos", "neg"]),
        }
    )
    rows = Dataset.from_dict({"text": ["a", "b", "c", "d"], "label": [0, 1, 2, 3]}, features)
    names = features["label"].names
    (oddity,) = summarize(rows, rows, names, Columns("text", "label"), {})["oddities"]
    assert r"'pos', '\ufeffpos', 'p\u200bos' differ only by" in oddity
    assert "characters that are not seen" in oddity
