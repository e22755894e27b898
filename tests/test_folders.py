"""Folders: taken literally, with a card or one text a file, and never files elsewhere."""

import json
import re
import shutil
from itertools import product

import pytest
from datasets import Dataset, DatasetDict
from written_files import rows_of

from sentiment_hf import SentimentError, load_reviews


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


def test_nothing_is_written_beside_a_saved_data_set(run, tmp_path):
    """The folder may be read-only, as those that a notebook is lent."""
    splits = DatasetDict()
    for split in ("train", "test", "more"):
        texts = [f"A {split} film, number {i}." for i in range(40)]
        splits[split] = Dataset.from_dict({"text": texts, "label": ["pos", "neg"] * 20})
    own, out = tmp_path / "own", tmp_path / "out"
    splits.save_to_disk(own)
    before = sorted(own.rglob("*"))
    teacher = ["--teacher", "reference", "--unlabelled-split", "more", "--sentences", 5]
    assert run("train", own, "--output", out, "--epochs", 1, *teacher).exit_code == 0
    for command in (["evaluate", own], ["annotate", own, "--output", tmp_path / "labelled"]):
        assert run(*command, "--model", out).exit_code == 0
    assert sorted(own.rglob("*")) == before
    # Another data set in the same place is another one.
    shutil.rmtree(own)
    DatasetDict(train=Dataset.from_dict({"text": ["new"], "label": ["pos"]})).save_to_disk(own)
    assert rows_of(load_reviews(own)) == [("new", "pos")]


@pytest.mark.parametrize("linked", ["train", "train/data-00000-of-00001.arrow"])
def test_a_saved_data_set_cannot_link_to_files_elsewhere(run, tmp_path, linked):
    for name in ("other", "own"):
        rows = Dataset.from_dict({"text": [name], "label": ["pos"]})
        DatasetDict(train=rows).save_to_disk(tmp_path / name)
    own = tmp_path / "own" / linked
    shutil.rmtree(own) if own.is_dir() else own.unlink()
    own.symlink_to(tmp_path / "other" / linked)
    result = run("annotate", tmp_path / "own", "--output", tmp_path / "out")
    assert result.exit_code == 2, result.output
    assert "outside its folder" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["state.json", "dataset_dict.json", ".huggingface.yaml"])
def test_what_has_no_end_is_not_read_for_a_data_set(run, write, name):
    folder = write("own/train.csv", "text,label", "good,pos").parent
    (folder / name).symlink_to("/dev/zero")
    result = run("evaluate", folder)
    assert result.exit_code == 2
    assert f"{name} is no regular file." in result.stderr


def test_a_card_that_cannot_be_read_is_a_sentence(run, write):
    folder = with_card(write("own/train.csv", "text,label", "good,pos").parent, "\na: [\n")
    result = run("evaluate", folder)
    assert result.exit_code == 2
    assert "The card of the data set" in result.stderr


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


def test_hidden_files_beside_the_texts_are_no_texts(imdb_folder, write):
    write("aclImdb/train/pos/._2_7.txt", "Mac OS X")
    write("aclImdb/__MACOSX/pos/1_7.txt", "Mac OS X")
    write("aclImdb/__MACOSX/neg/1_7.txt", "Mac OS X")
    reviews = load_reviews(imdb_folder)
    assert {name: len(rows) for name, rows in reviews.items()} == {
        "train": 6, "test": 6, "unsupervised": 3,
    }  # fmt: skip


def test_texts_one_folder_deeper_are_read(imdb_folder, write, tmp_path):
    expected = rows_of(load_reviews(imdb_folder))
    # IMDB has lists of addresses beside the folders of its labels.
    write("aclImdb/test/urls_pos.txt", "http://localhost")
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    imdb_folder.rename(tmp_path / "deep" / "deeper" / "aclImdb")
    for folder in ("deep", "deep/deeper", "deep/deeper/aclImdb"):
        assert rows_of(load_reviews(tmp_path / folder)) == expected


def test_a_json_file_tells_of_the_texts_beside_it_and_rows_are_refused(imdb_folder, write):
    expected = rows_of(load_reviews(imdb_folder))
    write("aclImdb/about.json", '{"made": "by hand"}')
    assert rows_of(load_reviews(imdb_folder)) == expected
    for name in ("more.csv", "train/more.jsonl"):
        path = write(f"aclImdb/{name}", "text,label", "good,pos")
        with pytest.raises(SentimentError, match=rf"folders of neg, pos, and rows in {name}"):
            load_reviews(imdb_folder)
        path.unlink()


def test_rows_are_read_that_have_some_texts_in_folders_beside(write, tmp_path):
    for name in ("own/train_1.csv", "own/train_2.csv", "own/train_3.csv"):
        write(name, "text,label", "good,pos")
    write("own/notes/a/1.txt", "a note")
    write("own/notes/b/1.txt", "a note")
    assert len(load_reviews(tmp_path / "own")["train"]) == 3
    with_card(tmp_path / "own", "\nconfigs:\n- config_name: default\n  data_files: train_1.csv\n")
    for number in range(9):
        write(f"own/notes/a/{number}.txt", "a note")
    assert len(load_reviews(tmp_path / "own")["train"]) == 1


@pytest.mark.parametrize(
    "names",
    [
        ["pos.txt", "neg.txt"],
        ["train/1.txt", "train/2.txt", "test/1.txt", "test/2.txt"],
        ["a/train/pos/1.txt", "a/train/neg/1.txt", "b/train/pos/1.txt", "b/train/neg/1.txt"],
    ],
)
def test_texts_of_which_the_labels_are_not_clear_are_refused(run, write, tmp_path, names):
    for name in names:
        write(f"own/{name}", "a film", "another film")
    result = run("annotate", tmp_path / "own", "--output", tmp_path / "out")
    assert result.exit_code == 2, result.output
    assert "own has the texts " in result.stderr
    assert "train/pos/1.txt" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_text_in_another_encoding_is_named(imdb_folder):
    (imdb_folder / "train" / "pos" / "3_9.txt").write_bytes("caf\u00e9".encode("latin-1"))
    with pytest.raises(SentimentError, match=r"3_9\.txt is not in UTF-8"):
        load_reviews(imdb_folder)
