"""What people bring: files and labels as they are, and what a user sees of each."""

import csv
import json
import re
import subprocess
import sys
from itertools import product

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiment_hf import SentimentError, evaluate, load_reviews, train, train_tokenizer
from sentiment_hf.data.batching import Batch
from sentiment_hf.training.train import classification_loss

TEXTS = [f"{word} film number {i}" for i in range(15) for word in ("a good", "a bad")]
LABELS = ["pos", "neg"] * 15


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


# What `evaluate` measures


def test_evaluate_measures_the_only_split_of_a_file_and_says_which(run, checkpoint, own_csv):
    result = run("evaluate", own_csv, "--model", checkpoint, "--json")
    assert json.loads(result.stdout)["n"] == 30
    assert "30 rows of the split 'train' of own.csv: neg 15, pos 15." in result.stderr


def test_evaluate_measures_the_split_test_where_there_are_several(run, checkpoint):
    result = run("evaluate", "sample", "--model", checkpoint)
    assert "split 'test' of sample" in result.stderr


def test_of_several_splits_without_test_one_has_to_be_chosen(run, checkpoint, tmp_path):
    rows = Dataset.from_dict({"text": TEXTS, "label": LABELS})
    DatasetDict(train=rows, validation=rows).save_to_disk(tmp_path / "own")
    result = run("evaluate", tmp_path / "own", "--model", checkpoint)
    assert result.exit_code == 2
    assert "train, validation" in result.stderr
    assert "--split" in result.stderr
    assert "train, validation" in run("evaluate", tmp_path / "own", "--split", "x").stderr
    assert run("evaluate", tmp_path / "own", "--split", "validation").exit_code == 0


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
    assert "No row of the split 'test' of own has both a text and a label" in result.stderr
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


# Nothing disappears because of how it is spelled

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


# Minus one is a label unless the features say otherwise

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


# What `train` says before its first step

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


def test_nothing_odd_is_said_of_clean_rows(run, own_csv, tmp_path):
    sizes = ["--epochs", 1, "--vocab-size", 50, "--batch-size", 50]
    result = run("train", own_csv, "--output", tmp_path / "out", *sizes)
    data = json.loads((tmp_path / "out" / "training.json").read_text())["data"]
    assert (data["oddities"], data["left_out"]) == ([], {})
    assert "'neg' (" in result.stderr


# What is read is what was named


def test_a_path_that_exists_is_taken_literally(write, tmp_path, monkeypatch):
    lines = ["text,label", "right,pos", "right too,neg"]
    wrong = ["text,label", "wrong,neg"]
    for name in ("reviews[1].csv", "reviews*.csv", "reviews?.csv", "data [v2]/train.csv"):
        path = write(name, *lines)
        write("reviews1.csv", *wrong)
        write("data v/train.csv", *wrong)
        assert [text for text, _ in rows_of(load_reviews(path))] == ["right", "right too"]
        monkeypatch.chdir(path.parent)
        assert len(load_reviews(path.name)["train"]) == 2
    assert len(load_reviews(tmp_path / "data [v2]")["train"]) == 2
    monkeypatch.chdir(tmp_path)
    assert len(load_reviews("data [v2]")["train"]) == 2


CONFIGS = """
configs:
- config_name: first
  default: true
  sep: "|"
  data_files:
  - {split: train, path: "part*.csv"}
  - {split: test, path: [more/test.csv]}
- config_name: second
  data_dir: more
  data_files: "test.csv"
"""


def with_card(folder, configs):
    (folder / "README.md").write_text(f"---{configs}---\nA card.\n")
    return folder


@pytest.mark.parametrize("name", ["plain", "data [v2]", "data*", "what?"])
def test_a_folder_with_brackets_and_a_card_is_read_as_named(write, tmp_path, name):
    write(f"{name}/part1.csv", "text|label", "right|pos")
    write(f"{name}/part2.csv", "text|label", "right too|neg")
    write(f"{name}/more/test.csv", "text|label", "other|neg")
    write("data v/part1.csv", "text|label", "wrong|neg")
    write("data v/more/test.csv", "text|label", "wrong|neg")
    folder = with_card(tmp_path / name, CONFIGS)
    reviews = load_reviews(folder)
    assert rows_of(reviews) == [("right", "pos"), ("right too", "neg")]
    assert rows_of(reviews, "test") == [("other", "neg")]
    assert rows_of(load_reviews(folder, config="second")) == [("other", "neg")]


ELSEWHERE = ["../other/*.csv", "/etc/*.csv", "a/../../other/a.csv", "http://127.0.0.1:1/a.csv"]
ELSEWHERE += ["hf://datasets/ann/a/a.csv", "zip://a.csv::../other/a.zip", "own.csv"]
# Where the folder has brackets, links to folders are not followed at all.
PLACES = [*product(["plain", "data [v2]"], ELSEWHERE), ("plain", "linked/*.csv")]


@pytest.mark.parametrize(("name", "pattern"), PLACES)
def test_files_outside_the_folder_that_its_card_names_are_not_read(
    run, write, tmp_path, name, pattern
):
    other = write("other/a.csv", "text,label", "secret,pos")
    folder = write(f"{name}/train.csv", "text,label", "good,pos").parent
    (folder / "linked").symlink_to(other.parent)
    (folder / "own.csv").symlink_to(other)
    split = "\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: "
    for configs in (
        f"{split}{pattern!r}\n",
        f"{split}[train.csv, {pattern!r}]\n",
    ):
        with_card(folder, configs)
        result = run("annotate", folder, "--output", tmp_path / "out")
        assert result.exit_code == 2, result.output
        assert "names files outside its folder" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("folder", ["plain", "data [v2]"])
@pytest.mark.parametrize(
    ("names", "left_out"),
    [
        (["train.csv", "more.csv"], "more.csv"),
        (["a.csv", "b.jsonl"], "a.csv|b.jsonl"),
        (["train.csv", "train.jsonl"], "train.csv|train.jsonl"),
        (["data/train-00000-of-00001.csv", "sub/new.csv.gz"], "sub/new.csv.gz"),
    ],
)
def test_a_file_of_a_folder_that_would_not_be_read_is_named(run, write, folder, names, left_out):
    for name in names:
        lines = ["text,label", "good,pos"] if "csv" in name else ['{"text": "bad", "label": "neg"}']
        path = write(f"{folder}/{name}", *lines)
    result = run("evaluate", path.parents[1] if "/" in names[0] else path.parent)
    assert result.exit_code == 2, result.output
    assert re.search(f", ({left_out}) would not be read", result.stderr)
    assert "`data_files`" in result.stderr


def test_a_folder_is_read_whose_other_files_hold_no_rows(write, tmp_path):
    rows = ["text,label", "good,pos"]
    for name in ("train_1.csv", "train_2.csv", "test.csv", ".hidden/old.csv", "__old/old.csv"):
        write(f"own/{name}", *rows)
    for name in ("README.md", "LICENSE", "notes.txt", "dataset_infos.json", "label2id.json"):
        write(f"own/{name}", "{}")
    assert len(load_reviews(tmp_path / "own")["train"]) == 2
    # Where a card names the files, the others are left out on purpose.
    write("own/more.csv", *rows)
    with_card(tmp_path / "own", "\nconfigs:\n- config_name: default\n  data_files: train_1.csv\n")
    assert len(load_reviews(tmp_path / "own")["train"]) == 1


def test_a_folder_in_the_cache_of_the_hubs_client_is_read(hub):
    from huggingface_hub import snapshot_download

    configs = b"---\nconfigs:\n- config_name: default\n  data_files: a.csv\n---\n"
    files = {"a.csv": b"text,label\ngood,pos\n", "README.md": configs}
    hub.create("ann/reviews", "dataset")
    hub.commit("ann/reviews", files, repo_type="dataset")
    folder = snapshot_download("ann/reviews", repo_type="dataset")
    assert rows_of(load_reviews(folder)) == [("good", "pos")]


def test_a_data_set_of_the_hub_cannot_name_files_of_this_machine(hub, run, write, tmp_path):
    secret = write("secret.csv", "text,label", "secret,pos")
    configs = f"---\nconfigs:\n- config_name: default\n  data_files: {secret}\n---\n"
    hub.create("ann/reviews", "dataset")
    hub.commit("ann/reviews", {"README.md": configs.encode()}, repo_type="dataset")
    result = run("annotate", "ann/reviews", "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert "They should be relative paths" in result.stderr


def test_a_saved_data_set_cannot_name_files_elsewhere(run, tmp_path):
    Dataset.from_dict({"text": ["secret"], "label": ["pos"]}).save_to_disk(tmp_path / "other")
    Dataset.from_dict({"text": ["good"], "label": ["pos"]}).save_to_disk(tmp_path / "own")
    state = json.loads((tmp_path / "own/state.json").read_text())
    for files in ([{"filename": "../other/data-00000-of-00001.arrow"}], [{}], None):
        (tmp_path / "own/state.json").write_text(json.dumps({**state, "_data_files": files}))
        result = run("annotate", tmp_path / "own", "--output", tmp_path / "out")
        assert result.exit_code == 2, result.output
        assert ("outside its folder" if files and files[0] else "damaged") in result.stderr


def test_a_card_that_cannot_be_read_is_a_sentence(run, write):
    folder = with_card(write("own/train.csv", "text,label", "good,pos").parent, "\na: [\n")
    result = run("evaluate", folder)
    assert result.exit_code == 2
    assert "The card of the data set" in result.stderr


@pytest.mark.parametrize(
    ("lines", "line", "fields"),
    [
        (["text,label", "good,pos,", "bad,neg,"], 2, 3),
        (["text,label", "good,pos", "bad, and dull,neg"], 3, 3),
        (["text,label,id", "good,pos,1", '"bad\nand dull",neg', "fine,pos,2"], 3, 2),
        (["text", "good, and warm"], 2, 2),
        (["label,text,source", "pos,good,web,", "neg,bad,web,"], 2, 4),
    ],
)
def test_a_csv_row_that_does_not_fit_the_header_is_refused_with_its_line(
    run, write, tmp_path, lines, line, fields
):
    path = write("own.csv", *lines)
    folder = write("folder/train.csv", *lines).parent
    for command in (
        ["train", path, "--output", tmp_path / "out"],
        ["annotate", path, "--output", tmp_path / "out"],
        ["annotate", folder, "--output", tmp_path / "out"],
        ["evaluate", path],
    ):
        result = run(*command)
        assert result.exit_code == 2, result.output
        assert f"line {line}: the row has {fields} fields" in result.stderr
    assert not (tmp_path / "out").exists()


def test_empty_lines_and_lines_within_quotes_are_no_fault_of_a_csv_file(write):
    poem = "Rose, oh rose,\nred, very red,\nthorn, thorn,\nend"
    rows = [(poem, "pos"), ('a "good", film', "pos"), ("bad", "neg"), ("", "neg")]
    table = [f'"{text.replace(chr(34), chr(34) * 2)}",{label}' for text, label in rows]
    path = write("own.csv", "text,label", "", *table, "", "  ", encoding="utf-8-sig")
    found = rows_of(load_reviews(path))
    assert found[:3] == rows[:3]
    assert len(found) == 4


HEADERS = [("Text", " label "), ("REVIEW ", "Sentiment"), (" Sentence", "TARGET")]


@pytest.mark.parametrize("header", HEADERS)
def test_case_and_blanks_of_column_names_make_no_difference(
    run, checkpoint, write, tmp_path, header
):
    rows = [("good", "pos"), ("bad", "neg")]
    table = [dict(zip(header, row, strict=True)) for row in rows]
    Dataset.from_list(table).to_parquet(tmp_path / "own.parquet")
    sources = [
        write("own.csv", ",".join(header), *map(",".join, rows)),
        write("bars.csv", "|".join(header), *map("|".join, rows)),
        write("own.jsonl", *map(json.dumps, table)),
        tmp_path / "own.parquet",
        Dataset.from_list(table),
    ]
    for source in sources:
        assert rows_of(load_reviews(source)) == rows
    result = run("annotate", sources[0], "--output", tmp_path / "out", "--model", checkpoint)
    assert f"column {header[0]!r} of own.csv" in result.stderr


@pytest.mark.parametrize(("separator", "name"), [(";", "csv"), ("\t", "csv"), ("|", "csv")])
def test_another_separator_is_seen_where_the_header_splits_into_known_names(
    run, write, separator, name
):
    lines = [["text", "label"], ["good, warm", "pos"], ["bad, cold", "neg"]]
    path = write(f"own.{name}", *map(separator.join, lines))
    assert rows_of(load_reviews(path)) == [("good, warm", "pos"), ("bad, cold", "neg")]


def test_a_tsv_file_is_separated_by_tabs_whatever_its_header(write):
    path = write("own.tsv", "body\tmood", "good, warm\tpos", "bad, cold\tneg")
    reviews = load_reviews(path, text_column="body", label_column="mood")
    assert rows_of(reviews) == [("good, warm", "pos"), ("bad, cold", "neg")]


@pytest.mark.parametrize("header", ["body;mood", "body|mood", "sep=;"])
def test_a_separator_that_is_not_clear_is_refused_with_what_to_do(run, write, tmp_path, header):
    path = write("own.csv", header, "good;pos", "bad;neg")
    for command in ("train", "annotate"):
        result = run(command, path, "--output", tmp_path / "out")
        assert result.exit_code == 2
        assert repr(header) in result.stderr
        assert "save it with commas" in result.stderr


ROWS = [f"film {word},{('neg', 'pos')[i % 2]}" for i, word in enumerate("abcdefghij")]
CODED = ["pos,film of 3", "neg,film of 5", "pos,film of 7"]
SWALLOWED = {
    "many": ['"an open quote,pos', *ROWS, '"end",neg'],
    "one": ['"an open quote,pos', 'a screen of 6",neg'],
    "two": ['"an open quote,pos', "a film,neg", 'a screen of 6",neg'],
    "one, to the next quoted text": ['"an open quote,pos', '"a film",neg'],
    "two, of numbers, to the next quoted text": ['"part 1,0', "part 2,1", '"part 3",0'],
    "to the next quoted text with a comma": ['"an open quote,pos', '"a film, good",neg'],
    "to the end": ['"an open quote,pos', "a film,neg", "a play,pos"],
    "in a label": ['a film,"pos', "a play,neg", 'a show,pos"'],
}


@pytest.mark.parametrize("lines", SWALLOWED.values(), ids=SWALLOWED)
@pytest.mark.parametrize("line_end", ["", "\r"])
def test_a_quote_that_swallows_rows_is_noticed(run, write, lines, line_end):
    table = ["text,label", *ROWS[:3], "old 1,0", "old 2,1", *lines, *ROWS[3:]]
    if lines is SWALLOWED["to the end"]:
        table = table[: -len(ROWS[3:])]
    result = run("evaluate", write("own.csv", *(line + line_end for line in table)))
    assert result.exit_code == 2
    assert "own.csv, line 7: a quote that is not closed" in result.stderr


def test_a_quote_that_swallows_rows_is_noticed_wherever_the_labels_stand(run, write):
    for header in ("label,text", "stars,body", "Label ,text"):
        path = write("own.csv", header, *CODED, 'pos,"an open quote', 'neg,a screen of 6"', *CODED)
        result = run("annotate", path, "--output", path.parent / "out")
        assert result.exit_code == 2
        assert "own.csv, line 5: a quote that is not closed" in result.stderr


LONG_TEXTS = [
    "It begins well, with rain\nand ends, alas, badly",
    "A poem,\nof roses,\nof thorns,\nof rain",
    "Good, bad\nor ugly, pos",
    'He said "good, pos"\nand left',
    "The first paragraph, with commas.\n\nThe second, too.\n\nThe third.",
    "Acting 4,5\nPlot 3,4\n",
    "neg\npos",
    "\nIt begins late, pos\n",
    "pos, neg\npos, neg",
]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("labels", [("neg", "pos"), ("4", "5")])
def test_texts_of_several_lines_and_paragraphs_are_read(tmp_path, labels, line_end):
    texts = [text.replace("\n", line_end) for text in LONG_TEXTS]
    rows = [(text, labels[i % 2]) for i, text in enumerate(texts * 4)]
    for order in (1, -1):
        with open(tmp_path / "own.csv", "w", newline="") as file:
            table = csv.writer(file, lineterminator=line_end)
            table.writerows([("text", "label")[::order], *(row[::order] for row in rows)])
        assert rows_of(load_reviews(tmp_path / "own.csv")) == rows


CELLS = st.text(
    st.sampled_from('ab ,;|\t"\n\r\u00e9\u2028\ufeff\U0001f600'), max_size=12
) | st.sampled_from(
    ["null", "NA", "None", "n/a", "nan", "-1", "1,5", "#", "pos", "a,pos", '"', '""']
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    table=st.lists(st.tuples(CELLS, st.sampled_from(["pos", "neg", "None", "a, b"])), min_size=1),
    line_end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_what_pythons_csv_module_writes_comes_back(tmp_path_factory, table, line_end, quoting):
    path = tmp_path_factory.mktemp("csv") / "own.csv"
    if any("\r" in text for text, _ in table):
        quoting = csv.QUOTE_ALL  # Otherwise some versions of Python leave it bare, as a line end.
    with open(path, "w", newline="", encoding="utf-8") as file:
        written = csv.writer(file, lineterminator=line_end, quoting=quoting)
        table = [*table, ("a film", "pos")]  # A column without any text would be none of texts.
        written.writerows([("text", "label"), *table])
    assert rows_of(load_reviews(path)) == [(text or None, label) for text, label in table]


COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma", ".zst": "zstandard"}


@pytest.mark.parametrize("ending", COMPRESSED)
@pytest.mark.parametrize("kind", [".csv", ".tsv", ".jsonl", ".json"])
def test_compressed_files_are_read(write, tmp_path, kind, ending):
    library = pytest.importorskip(
        COMPRESSED[ending], reason=f"reading {ending} needs {COMPRESSED[ending]}"
    )
    rows = [("n/a", "pos"), ("bad", "neg")]
    separator = {".csv": ",", ".tsv": "\t"}.get(kind)
    if separator:
        lines = [separator.join(row) for row in [("text", "label"), *rows]]
    else:
        lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    path = write(f"own{kind}{ending}", *lines)
    path.write_bytes(library.compress(path.read_bytes()))
    assert rows_of(load_reviews(path)) == rows


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("ending", COMPRESSED)
@pytest.mark.parametrize("kind", [".csv", ".jsonl"])
def test_a_compressed_file_that_is_not_whole_is_a_sentence(
    run, checkpoint, tmp_path, kind, ending, streaming
):
    library = pytest.importorskip(
        COMPRESSED[ending], reason=f"reading {ending} needs {COMPRESSED[ending]}"
    )
    rows = [f"{number * 7919 % 1000} films" for number in range(500)]
    lines = ["text", *rows] if kind == ".csv" else [json.dumps({"text": row}) for row in rows]
    text = "\n".join(lines).encode()
    for content in (library.compress(text)[:300], text):
        path = tmp_path / f"own{kind}{ending}"
        path.write_bytes(content)
        options = ["--output", tmp_path / "out", *(["--streaming"] if streaming else [])]
        result = run("annotate", path, "--model", checkpoint, *options)
        assert result.exit_code == 2, result.output
        assert f"own{kind}{ending} could not be read" in result.stderr
        if ending != ".zst":
            assert "cut off or damaged" in result.stderr


def test_a_compression_that_needs_a_package_names_it(run, write, monkeypatch):
    monkeypatch.setattr("sentiment_hf.data.files.find_spec", lambda _: None)
    result = run("evaluate", write("own.json.zst", "x"))
    assert result.exit_code == 2
    assert "pip install zstandard" in result.stderr


@pytest.fixture
def imdb_folder(write, tmp_path):
    """Reviews one a file, as IMDB was first handed out."""
    for split, labels in (("train", ("neg", "pos", "unsup")), ("test", ("neg", "pos"))):
        for label in labels:
            for number in (0, 2, 10):
                text = f"{split} {label} {number}"
                write(f"aclImdb/{split}/{label}/{number}_7.txt", text)
    write("aclImdb/imdb.vocab", "the")
    write("aclImdb/train/urls_pos.txt", "http://localhost")
    return tmp_path / "aclImdb"


def test_imdb_in_its_original_folders_is_read(imdb_folder, run, checkpoint, tmp_path):
    reviews = load_reviews(imdb_folder)
    assert {name: len(rows) for name, rows in reviews.items()} == {
        "train": 6, "test": 6, "unsupervised": 3,
    }  # fmt: skip
    assert reviews["train"].features["label"].names == ["neg", "pos"]
    train_rows = [(text.strip(), label) for text, label in rows_of(reviews)]
    assert train_rows[:3] == [(f"train neg {number}", "neg") for number in (0, 2, 10)]
    assert [label for _, label in rows_of(reviews, "unsupervised")] == [None] * 3
    assert load_reviews(imdb_folder)["test"]._fingerprint == reviews["test"]._fingerprint
    result = run("evaluate", imdb_folder, "--model", checkpoint, "--json")
    assert json.loads(result.stdout)["n"] == 6
    result = run("annotate", imdb_folder, "--output", tmp_path / "out", "--streaming")
    assert result.exit_code == 0, result.stderr


def test_folders_of_texts_without_splits_are_rows_to_train_on(imdb_folder):
    reviews = load_reviews(imdb_folder / "test")
    assert list(reviews) == ["train"]
    assert [label for _, label in rows_of(reviews)] == ["neg"] * 3 + ["pos"] * 3


def test_a_text_in_another_encoding_is_named(imdb_folder):
    (imdb_folder / "train" / "pos" / "3_9.txt").write_bytes("caf\u00e9".encode("latin-1"))
    with pytest.raises(SentimentError, match=r"3_9\.txt is not in UTF-8"):
        load_reviews(imdb_folder)


# What `annotate` reads where nobody told it


@pytest.mark.parametrize("streaming", [[], ["--streaming"]])
def test_annotate_says_which_column_it_reads(run, write, checkpoint, tmp_path, streaming):
    path = write("own.csv", "id,body", "1,a good film", "2,a bad film")
    command = ["annotate", path, "--model", checkpoint, "--output", tmp_path / "out", *streaming]
    result = run(*command)
    assert result.exit_code == 0, result.stderr
    assert "Reading the texts in the column 'body' of own.csv." in result.stderr


@pytest.mark.parametrize("streaming", [[], ["--streaming"]])
@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (['{"source": "web", "id": 1}'] * 3, "the same text, 'web', in 3 rows"),
        (['{"text;label": "a film;pos"}', '{"text;label": "b;neg"}'], "several that were read as"),
    ],
)
def test_annotate_refuses_a_guess_that_is_no_text(
    run, write, checkpoint, tmp_path, lines, said, streaming
):
    path = write("own.jsonl", *lines)
    command = ["annotate", path, "--model", checkpoint, "--output", tmp_path / "out", *streaming]
    result = run(*command)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "--text-column" in result.stderr
    assert not (tmp_path / "out").exists()
    named = next(iter(json.loads(lines[0])))
    assert run(*command, "--text-column", named).exit_code == 0


@pytest.mark.parametrize("kind", STRINGS, ids=str)
def test_annotate_labels_every_type_of_text(run, checkpoint, tmp_path, kind):
    table = pa.table(as_arrow(kind), names=["text", "label"])
    pq.write_table(table, tmp_path / "own.parquet")
    command = ["annotate", tmp_path / "own.parquet", "--model", checkpoint]
    result = run(*command, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert load_reviews(tmp_path / "out" / "data")["train"]["text"][:] == TEXTS


# Texts from Python

SAME = ["a good film", "a bad film", "warm and good"]


@pytest.mark.parametrize(
    "texts",
    [
        tuple(SAME),
        np.array(SAME),
        np.array(SAME, dtype=object),
        pd.Series(SAME, index=[7, 8, 9]),
        pd.Series(SAME, dtype="category"),
        Dataset.from_dict({"text": SAME})["text"],
        (text for text in SAME),
    ],
    ids=["tuple", "array", "objects", "Series", "categories", "column", "generator"],
)
def test_texts_come_in_every_kind_of_list(make_pipeline, texts):
    pipe = make_pipeline()
    assert pipe(texts) == pipe(SAME)


TABLE = {"text": SAME}
NO_TEXTS = [TABLE, pd.DataFrame(TABLE), Dataset.from_dict(TABLE), pa.table(TABLE), set(SAME)]
NO_TEXTS += [b"a good film", np.array("a good film"), None, 5]


@pytest.mark.parametrize("texts", NO_TEXTS, ids=lambda texts: type(texts).__name__)
def test_what_would_be_iterated_into_something_else_is_refused(make_pipeline, texts):
    pipe = make_pipeline()
    for read in (pipe, pipe.probabilities, pipe.logits, pipe.trace, pipe.best, train_tokenizer):
        with pytest.raises(SentimentError, match=rf"text.*{type(texts).__name__}"):
            read(texts)


@pytest.mark.parametrize("texts", NO_TEXTS[:2], ids=["dict", "DataFrame"])
def test_a_table_is_no_data_set(texts, tmp_path):
    for read in (load_reviews, evaluate, lambda rows: train(rows, tmp_path / "out")):
        with pytest.raises(SentimentError, match=type(texts).__name__):
            read(texts)


def test_one_text_where_a_batch_is_meant_is_refused(make_pipeline):
    pipe = make_pipeline()
    with pytest.raises(SentimentError, match="not one text"):
        pipe.best("good")
    rows = Dataset.from_dict({"text": [*SAME, None]})
    with pytest.raises(SentimentError, match="batched=True"):
        rows.map(pipe.annotate)
    assert rows.map(pipe.annotate, batched=True)["predicted_label"][3] is None


def test_one_split_may_be_named_as_it_is():
    assert list(load_reviews("sample", splits="test")) == ["test"]


def test_a_tokenizer_is_not_trained_on_numbers():
    with pytest.raises(SentimentError, match="texts"):
        train_tokenizer([1, 2])


# Standard input

LINES = ["a good film", "caf\u00e9, bad", "warm"]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-16-be-bom"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_standard_input_is_decoded_and_a_byte_order_mark_is_no_word(run, checkpoint, encoding, end):
    content = end.join(LINES)
    if encoding.endswith("-bom"):
        content, encoding = f"\ufeff{content}", encoding.removesuffix("-bom")
    command = ["predict", "--model", checkpoint, "--json"]
    result = run(*command, stdin=content.encode(encoding))
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer["text"] for answer in answers] == LINES
    expected = run(*command, *LINES).stdout
    assert result.stdout == expected


@pytest.mark.parametrize("content", ["", "a", "\n", "a\n\nb\n"])
def test_short_input_has_an_answer_a_line(run, checkpoint, content):
    result = run("predict", "--model", checkpoint, "--json", stdin=content)
    texts = [json.loads(line)["text"] for line in result.stdout.splitlines()]
    assert texts == content.split("\n")[: content.count("\n") + (content[-1:] not in ("", "\n"))]


def test_each_line_is_answered_when_it_comes(checkpoint):
    command = [sys.executable, "-m", "sentiment_hf.cli", "predict", "--model", checkpoint]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        for line in LINES:
            process.stdin.write(f"{line}\n")
            assert process.stdout.readline().rstrip("\n").split("\t")[2] == line
        process.stdin.close()
        assert process.stdout.read() == ""


# Rare labels


def lopsided(rows, rare):
    """Short rows that a word tells apart, of which some have a rare label."""
    words = {"rare": ["cold", "dull", "grim"], "usual": ["warm", "bright", "tender"]}
    dice = np.random.default_rng(0)
    lines = []
    for number in range(rows):
        label = "rare" if number % (rows // rare) == 7 else "usual"
        chosen = [*dice.choice(["the", "film", "was", "long"], 5), *dice.choice(words[label], 2)]
        lines.append({"text": f"{' '.join(chosen)} row{number}", "label": label})
    return Dataset.from_list(lines)


def usual_recall(data, folder, **options):
    sizes = {"vocab_size": 60, "batch_size": 64, "dtype": "float32", "show_progress": False}
    train(data, folder, balanced=True, **sizes, **options)
    found = evaluate(data, folder)
    return found["confusion_matrix"][1][1] / sum(found["confusion_matrix"][1])


def test_balanced_weights_do_not_drown_the_usual_label(tmp_path):
    assert usual_recall(lopsided(240, 2), tmp_path / "out", epochs=10) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_one_row_in_a_thousand_does_not_drown_the_others(tmp_path, seed):
    data = lopsided(3_000, 3)
    assert usual_recall(data, tmp_path / "out", epochs=4, seed=seed) > 0.95


@pytest.mark.parametrize("labels", [2, 3])
def test_a_row_counts_as_its_own_label_does_whatever_is_smoothed(make_network, labels):
    network = make_network(labels=labels)
    ids = torch.tensor([[2, 3, 4]])
    own = torch.tensor([1.0]) if labels == 2 else torch.eye(3)[1:2]
    batch = Batch(ids, torch.ones_like(ids, dtype=torch.bool), own)
    weights = torch.tensor([60.0, 0.5, 1.0][:labels])
    plain = classification_loss(0.1)(network, batch)
    weighted = classification_loss(0.1, weights)(network, batch)
    assert weighted.item() == pytest.approx(0.5 * plain.item())


def test_a_cache_that_cannot_be_written_is_not_a_data_set_that_cannot_be_read(
    run, own_csv, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "file" / "cache")
    result = run("evaluate", own_csv)
    assert result.exit_code == 1
    assert "cache of data sets" in result.stderr
    assert "HF_DATASETS_CACHE" in result.stderr
    assert "could not be read" not in result.stderr
