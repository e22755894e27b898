"""Opening data sets, finding their columns, choosing rows."""

import json
import os
import shutil
import socket
import time

import pytest
from conftest import HUB_PORT
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

from sentiment_hf import SentimentError, load_reviews
from sentiment_hf.data.columns import find_columns
from sentiment_hf.data.loading import dataset_name

TEXTS = ["A good film.", "A bad film, a dull one.", "Fine."]
COLUMNS = {"text": TEXTS, "label": ["pos", "neg", "pos"]}
CSV = 'text,label\nA good film.,pos\n"A bad film, a dull one.",neg\nFine.,pos\n'


def rows_of(split):
    names = split.features["label"].names
    return [(row["text"], names[row["label"]]) for row in split]


ROWS = list(zip(TEXTS, COLUMNS["label"], strict=True))


def assert_one_sentence(result, exit_status, *mentioned):
    assert result.exit_code == exit_status, result.output
    assert result.stdout == ""
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert result.stderr.splitlines()[-1] == errors[0]
    assert "Traceback" not in result.stderr
    for word in mentioned:
        assert word in errors[0]


def test_the_sample_corpus_opens_by_its_name():
    reviews = load_reviews("sample")
    assert list(reviews) == ["train", "test"]
    assert sum(map(len, reviews.values())) >= 300
    for split in reviews.values():
        assert split.features["label"].names == ["neg", "pos"]
        assert set(split["label"]) == {0, 1}
        assert all(split["text"])
    assert not set(reviews["train"]["text"]) & set(reviews["test"]["text"])


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("reviews.csv", lambda path: path.write_text(CSV)),
        ("reviews.jsonl", lambda path: Dataset.from_dict(COLUMNS).to_json(path)),
        ("reviews.json", lambda path: Dataset.from_dict(COLUMNS).to_json(path, lines=False)),
        ("reviews.parquet", lambda path: Dataset.from_dict(COLUMNS).to_parquet(path)),
        ("saved split", lambda path: Dataset.from_dict(COLUMNS).save_to_disk(path)),
    ],
)
def test_a_file_or_saved_split_is_the_split_train(tmp_path, name, write):
    write(tmp_path / name)
    for dataset in (tmp_path / name, str(tmp_path / name)):
        reviews = load_reviews(dataset)
        assert list(reviews) == ["train"]
        assert rows_of(reviews["train"]) == ROWS


OTHER_LABELS = {"text": TEXTS, "label": ["neg", "pos", "neg"]}


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
@pytest.mark.parametrize("in_folder", [False, True])
def test_a_file_put_in_the_place_of_one_with_its_time_is_read(tmp_path, form, in_folder):
    (tmp_path / "own").mkdir()
    path = tmp_path / "own" / f"train.{form}"
    read, prints = [], []
    for rows in (Dataset.from_dict(COLUMNS), Dataset.from_dict(OTHER_LABELS), None):
        # The third time the second file is copied, which is no other file.
        if rows is not None:
            getattr(rows, f"to_{form}")(path)
        else:
            shutil.copyfile(path, tmp_path / "copy")
            (tmp_path / "copy").replace(path)
        os.utime(path, (1_577_836_800,) * 2)
        split = load_reviews(path.parent if in_folder else path)["train"]
        read.append([label for _, label in rows_of(split)])
        prints.append(split._fingerprint)
    assert read == [["pos", "neg", "pos"], *[["neg", "pos", "neg"]] * 2]
    assert prints[0] != prints[1] == prints[2], "a training that was cut off goes on with a copy"


def test_a_folder_of_files_has_the_splits_that_their_names_tell(tmp_path):
    for split in ("train", "test", "unsupervised"):
        columns = {**COLUMNS, "text": [f"{split}: {text}" for text in TEXTS]}
        Dataset.from_dict(columns).to_parquet(tmp_path / f"data/{split}-00000-of-00001.parquet")
    reviews = load_reviews(tmp_path)
    assert set(reviews) == {"train", "test", "unsupervised"}
    assert reviews["test"]["text"][0] == "test: A good film."
    assert list(load_reviews(tmp_path, splits=["test"])) == ["test"]


def test_a_saved_dictionary_of_splits_keeps_them(tmp_path):
    columns = Dataset.from_dict(COLUMNS)
    DatasetDict(train=columns, other=columns.select([1])).save_to_disk(tmp_path / "saved")
    reviews = load_reviews(tmp_path / "saved")
    assert rows_of(reviews["train"]) == ROWS
    assert rows_of(reviews["other"]) == ROWS[1:2]


def test_a_hub_id_is_read_from_the_hub_at_the_revision_named(hub):
    hub.create("ann/reviews", "dataset")
    first = hub.commit("ann/reviews", {"train.csv": CSV.encode()}, repo_type="dataset")
    both = {"train.csv": b"text,label\nNew,neg\nNewer,pos\n"}
    hub.commit("ann/reviews", both, repo_type="dataset")
    assert load_reviews("ann/reviews")["train"]["text"][:] == ["New", "Newer"]
    assert rows_of(load_reviews("ann/reviews", revision=first)["train"]) == ROWS
    with pytest.raises(SentimentError, match="revision"):
        load_reviews("ann/reviews", revision="v9")


def test_a_local_folder_wins_over_a_hub_id_and_the_hub_is_not_asked(hub, tmp_path, monkeypatch):
    hub.create("ann/reviews", "dataset")
    hub.commit("ann/reviews", {"train.csv": b"text,label\nHub,pos\n"}, repo_type="dataset")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ann/reviews").mkdir(parents=True)
    (tmp_path / "ann/reviews/train.csv").write_text(CSV)
    assert rows_of(load_reviews("ann/reviews")["train"]) == ROWS
    assert not hub.calls(".*")


def test_a_data_set_that_is_neither_here_nor_on_the_hub_is_one_sentence(hub, run, tmp_path):
    result = run("train", "ann/nothing", "--output", tmp_path / "out")
    assert_one_sentence(result, 2, "ann/nothing", "Hub")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["no.csv", "./no", "a/b/c", "/no/where", "~/no", "", " ", "a b"])
def test_a_name_of_nothing_is_one_sentence(run, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert_one_sentence(run("train", name, "--output", "out"), 2, repr(name))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("https://some.where/own.csv", "download it first"),
        ("s3://bucket/own.csv", "download it first"),
        ("~/own.csv", "write the whole path"),
        ("own/*.csv", "name the folder"),
    ],
)
def test_a_name_of_no_file_comes_with_the_way(run, tmp_path, monkeypatch, name, hint):
    monkeypatch.chdir(tmp_path)
    assert_one_sentence(run("evaluate", name), 2, repr(name), hint)
    assert "*" in name or "a pattern" not in run("evaluate", name).stderr


def test_a_file_in_place_of_a_model_is_said_to_be_one(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own/own.csv").write_text(CSV)
    result = run("predict", "a film", "--model", "own/own.csv")
    assert_one_sentence(result, 2, "'own/own.csv' is a file", "checkpoint")


def test_a_hub_out_of_reach_is_told_at_once_with_what_works_without(run, tmp_path):
    start = time.perf_counter()
    result = run("train", "some/reviews", "--output", tmp_path / "out")
    assert time.perf_counter() - start < 5
    assert_one_sentence(result, 1, "some/reviews", "Hub", "folder", "file", "sample")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_hub_that_never_answers_is_given_up_within_ten_seconds():
    with socket.create_server(("127.0.0.1", HUB_PORT)):
        start = time.perf_counter()
        with pytest.raises(SentimentError, match=r"folder.*file.*sample") as error:
            load_reviews("some/reviews")
        # A command that is just starting needs up to three seconds more.
        assert time.perf_counter() - start < 7
    assert error.value.exit_status == 1


def test_offline_a_data_set_that_is_not_in_the_cache_is_told_with_what_works(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SentimentError, match=r"some/reviews.*folder.*file.*sample") as error:
        load_reviews("some/reviews")
    assert error.value.exit_status == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("latin1.csv", "text,label\ncaf\u00e9,1\n".encode("latin-1")),
        ("ragged.csv", b"text,label\na,1\nb,2,3,4\n"),
        ("header.csv", b"text,label\n"),
        ("empty.csv", b""),
        ("empty.jsonl", b""),
        ("cut.jsonl", b'{"text": "a", "label": 1}\n{"text": "b", "la'),
        ("cut.parquet", b"PAR1 and nothing else"),
        ("review.txt", b"A good film.\n"),
        ("folder", None),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence_that_names_it(run, tmp_path, name, content):
    path = tmp_path / name
    path.mkdir() if content is None else path.write_bytes(content)
    assert_one_sentence(run("train", path, "--output", tmp_path / "out"), 2, name)
    assert not (tmp_path / "out").exists()


def test_a_split_that_is_not_there_is_told_with_those_that_are():
    with pytest.raises(SentimentError, match=r"'validation'.*train, test"):
        load_reviews("sample", splits=["validation"])


def test_what_is_written_about_a_data_set_is_its_id_or_base_name(tmp_path):
    (tmp_path / "own.csv").write_text(CSV)
    names = ["sample", "stanfordnlp/imdb", tmp_path / "own.csv", f"{tmp_path}/"]
    written = ["sample", "stanfordnlp/imdb", "own.csv", tmp_path.name]
    assert [dataset_name(name) for name in names] == written


STRING, NUMBER, NAMES = Value("string"), Value("int64"), ClassLabel(names=["neg", "pos"])
BODY = {"id": NUMBER, "body": STRING, "verdict": NAMES}
TWO = {"title": STRING, "body": STRING, "label": NUMBER}
TURNED = {"text": STRING, "review": STRING}


@pytest.mark.parametrize(
    ("columns", "named", "found"),
    [
        ({"text": STRING, "label": NAMES}, {}, ("text", "label")),
        ({"sentiment": STRING, "review": STRING}, {}, ("review", "sentiment")),
        ({"stars": NUMBER, "text": STRING, "title": STRING}, {}, ("text", None)),
        (BODY, {}, ("body", "verdict")),
        ({"body": Value("large_string"), "label": STRING}, {}, ("body", "label")),
        ({"text": Value("null"), "label": NUMBER}, {}, ("text", "label")),
        (TWO, {"text_column": "title"}, ("title", "label")),
        (TWO, {"text_column": "body", "label_column": "title"}, ("body", "title")),
        (BODY, {"label_column": "id"}, ("body", "id")),
        (TURNED, {"label_column": "text"}, ("review", "text")),
        ({"Text": STRING, " label ": STRING}, {}, ("Text", " label ")),
        ({"SENTIMENT": STRING, "Review": STRING, "Id": STRING}, {}, ("Review", "SENTIMENT")),
        ({"body": STRING, "Label": STRING}, {}, ("body", "Label")),
        ({"Text": STRING, "text": STRING}, {"text_column": "text"}, ("text", None)),
        ({"Text": STRING, "text": STRING}, {"label_column": "text"}, ("Text", "text")),
    ],
)
def test_columns_are_found_by_name_and_type_or_told(columns, named, found):
    assert tuple(find_columns(Features(columns), **named)) == found


@pytest.mark.parametrize(
    ("columns", "named", "sentence"),
    [
        (BODY, {"text_column": "txt"}, r"text_column.*'txt'.*id, body, verdict"),
        (BODY, {"label_column": "lab"}, r"label_column.*'lab'.*id, body, verdict"),
        (TWO, {}, r"title, body.*text_column"),
        ({"id": NUMBER, "label": NAMES}, {}, r"text.*text_column.*id, label"),
        ({"text": NUMBER, "label": NAMES}, {}, r"'text'.*int64.*text_column"),
        (BODY, {"text_column": "id"}, r"'id'.*int64"),
        ({"text": List(STRING), "label": NAMES}, {}, r"'text'.*List"),
        ({"text": STRING, "a": NAMES, "b": NAMES}, {}, "'a', 'b'.*label_column"),
        (TURNED, {"text_column": "text", "label_column": "text"}, "text"),
        ({"text": STRING, " Text": STRING}, {}, r"'text', ' Text'.*text_column"),
        ({"text": STRING, "Label": STRING, "label": STRING}, {}, "'Label', 'label'.*label_column"),
        ({"Text;Label": STRING}, {}, "read as one"),
    ],
)
def test_columns_that_are_missing_or_ambiguous_or_no_text_are_one_sentence(
    columns, named, sentence
):
    with pytest.raises(SentimentError, match=sentence) as error:
        find_columns(Features(columns), **named)
    assert error.value.exit_status == 2


@pytest.mark.parametrize(
    ("content", "options", "mentioned"),
    [
        ("text,label\n1,0\n2,1\n", [], "--text-column"),
        ("a,b,label\nx,y,1\n", [], "--text-column"),
        ("text,label\nx,1\n", ["--label-column", "stars"], "stars"),
        ("text,stars\nx,1\n", [], "--label-column"),
    ],
)
def test_the_command_names_the_option_that_helps(run, tmp_path, content, options, mentioned):
    (tmp_path / "own.csv").write_text(content)
    command = ["train", tmp_path / "own.csv", "--output", tmp_path / "out", *options]
    assert_one_sentence(run(*command), 2, mentioned)
    assert not (tmp_path / "out").exists()


def test_columns_told_by_option_arrive_as_text_and_label(tmp_path):
    rows = {"title": ["t"], "body": ["b"], "stars": [5], "label": [0]}
    (tmp_path / "own.json").write_text(json.dumps([{k: v[0] for k, v in rows.items()}]))
    reviews = load_reviews(tmp_path / "own.json", text_column="body", label_column="stars")
    assert set(reviews["train"].features) == {"text", "label"}
    assert rows_of(reviews["train"]) == [("b", "5")]


def test_a_random_sample_is_the_same_for_the_same_seed_and_keeps_the_order():
    whole = load_reviews("sample")
    some, same, others = (load_reviews("sample", max_samples=40, seed=s) for s in (0, 0, 1))
    for split in ("train", "test"):
        chosen = [whole[split]["text"][:].index(text) for text in some[split]["text"]]
        assert len(chosen) == 40
        assert chosen == sorted(set(chosen))
        assert max(chosen) > 60
        assert some[split]["text"][:] == same[split]["text"][:] != others[split]["text"][:]
    assert len(load_reviews("sample", max_samples=10**9)["test"]) == len(whole["test"])


@pytest.mark.parametrize("number", [0, -1])
def test_a_sample_of_no_rows_is_refused(run, tmp_path, number):
    result = run("train", "sample", "--output", tmp_path / "out", "--max-samples", number)
    assert_one_sentence(result, 2, "--max-samples")
    with pytest.raises(SentimentError, match=r"max.samples"):
        load_reviews("sample", max_samples=number)
