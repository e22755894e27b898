"""Labels of every kind, maps between their names, and rows without any."""

import json
import logging
import re
import shlex
from decimal import Decimal

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from sentiment_hf import SentimentError, evaluate, load_reviews, train
from sentiment_hf.data.label_map import (
    label_map_argument,
    match_labels,
    parse_label_map,
    suggested_pairs,
)
from sentiment_hf.data.splits import labelled_rows, rows_with_text
from sentiment_hf.training.rows import read_training_rows

NAN = float("nan")


@pytest.fixture
def read(tmp_path):
    """Reads a column of labels from a parquet file, with a text for each."""

    def load(values, kind=None, **options):
        features = Features({"text": Value("string"), "label": kind}) if kind else None
        columns = {"text": [f"text {i}" for i in range(len(values))], "label": values}
        Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "own.parquet")
        return load_reviews(tmp_path / "own.parquet", **options)["train"]

    return load


@pytest.fixture
def messages(caplog):
    caplog.set_level(logging.INFO, logger="sentiment_hf")
    return caplog


def names_of(split):
    """The label name of each row, None where it has none."""
    names = split.features["label"].names
    return [names[i] if i is not None and i >= 0 else None for i in split["label"]]


@pytest.mark.parametrize(
    ("kind", "values", "names", "labels"),
    [
        (ClassLabel(names=["pos", "neg"]), [0, 1, -1], ["pos", "neg"], ["pos", "neg", None]),
        (ClassLabel(names=["a", "b", "c"]), [2, 0, 0], ["a", "b", "c"], ["c", "a", "a"]),
        (None, ["pos", "neg", None], ["neg", "pos"], ["pos", "neg", None]),
        (None, [10, 9, -1, 1], ["-1", "1", "9", "10"], ["10", "9", "-1", "1"]),
        (None, [0, None, 1], ["0", "1"], ["0", None, "1"]),
        (None, [True, False, None], ["False", "True"], ["True", "False", None]),
        (None, [1.0, 0.0, NAN, None], ["0", "1"], ["1", "0", None, None]),
        (None, [4.0, 0.0, -1.0], ["-1", "0", "4"], ["4", "0", "-1"]),
    ],
)
def test_class_ids_and_strings_and_whole_numbers_are_labels_with_names(
    read, kind, values, names, labels
):
    split = read(values, kind)
    assert split.features["label"].names == names
    assert names_of(split) == labels


def test_a_csv_column_of_zeros_and_ones_with_a_gap_holds_class_ids(tmp_path):
    (tmp_path / "own.csv").write_text("text,label\nbad,0\ngood,1\nwho knows,\n")
    split = load_reviews(tmp_path / "own.csv")["train"]
    assert names_of(split) == ["0", "1", None]
    assert labelled_rows(split)["text"][:] == ["bad", "good"]


def test_floats_between_zero_and_one_are_soft_labels(read):
    split = labelled_rows(read([0.25, 1.0, None, NAN, 0.0]))
    assert split.features["label"].dtype.startswith("float")
    assert split["label"][:] == [0.25, 1.0, 0.0]


@pytest.mark.parametrize(
    ("values", "options", "sentence"),
    [
        ([0.5, 1.5], {}, r"'label'.*\[0, 1\]"),
        ([-0.5, 0.5], {}, r"'label'.*\[0, 1\]"),
        ([0.5, float("inf")], {}, r"'label'.*\[0, 1\]"),
        ([0.0, 1.0, float("inf")], {}, "'label'"),
        ([[0], [1]], {}, r"'label'.*List"),
        (["neg", "pos"], {"label_map": {"good": "pos", "neg": "n"}}, r"'good'.*'neg', 'pos'"),
        ([0, 1], {"label_map": {"2": "pos"}}, r"'2'.*'0', '1'"),
        ([0.25, 0.75], {"label_map": {"neg": "pos"}}, r"label.map"),
        ([0.5, 3.5, 5.0], {}, r"Ratings become labels with `label_map` 0\.5=neg,5=pos"),
    ],
)
def test_labels_of_a_wrong_kind_or_with_a_wrong_map_are_one_sentence(
    read, values, options, sentence
):
    with pytest.raises(SentimentError, match=sentence) as error:
        read(values, **options)
    assert error.value.exit_status == 2


@pytest.mark.parametrize(
    ("values", "kind", "label_map", "labels"),
    [
        (["good", "bad"], None, {"good": "pos", "bad": "neg"}, ["pos", "neg"]),
        ([5, 1, None, 4], None, {"1": "neg", "4": "pos", "5": "pos"}, ["pos", "neg", None, "pos"]),
        (["a", "b", "c"], None, {"a": "c"}, ["c", "b", "c"]),
        ([0, 1, -1], ClassLabel(names=["x", "y"]), {"x": "y", "y": "x"}, ["y", "x", None]),
        ([0, 1, 2], ClassLabel(names=["1", "2", "3"]), {"2": "1"}, ["1", "1", "3"]),
        ([0, 0.5, 1], None, {"0": "neg", "0.5": "mixed", "1": "pos"}, ["neg", "mixed", "pos"]),
        ([0.0, 1.0, 0.0], None, {"0.0": "neg", "1.0": "pos"}, ["neg", "pos", "neg"]),
        ([0, 0.5, 1], None, {"0.0": "neg", "0.50": "", "1.0": "pos"}, ["neg", "pos"]),
        ([0.5, 1, 5], None, {"0.5": "neg", "1": "neg", "5": "pos"}, ["neg", "neg", "pos"]),
        ([0.1, -1, 0.7], Value("float32"), {"0.1": "a"}, ["a", "-1", "0.7"]),
        ([Decimal("0.50"), Decimal(3)], Value("decimal128(5, 2)"), {"0.5": "x"}, ["x", "3"]),
        ([Decimal(1), None], Value("decimal128(5, 2)"), {}, ["1", None]),
    ],
)
def test_a_label_map_renames_and_merges(read, values, kind, label_map, labels):
    split = read(values, kind, label_map=label_map)
    assert names_of(split) == labels
    assert sorted(split.features["label"].names) == sorted(set(labels) - {None})


def test_a_label_map_is_read_from_the_command_line():
    expected = {"positive": "pos", "negative": "neg"}
    assert parse_label_map("positive=pos, negative = neg") == expected


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("-1=neg,1=pos", {"-1": "neg", "1": "pos"}),
        ("1=neg,3=,5=pos", {"1": "neg", "3": "", "5": "pos"}),
        (r"good\, or so=pos,score\=1=neg", {"good, or so": "pos", "score=1": "neg"}),
        (r"a\\=b\,c", {"a\\": "b,c"}),
        (r"\ pos =pos,neg\  = \ neg", {" pos": "pos", "neg ": " neg"}),
    ],
)
def test_a_label_map_can_name_any_label_and_drop_one(text, pairs):
    assert parse_label_map(text) == pairs


def test_a_dropped_label_has_no_rows_and_what_the_map_leaves_over_is_listed(read, messages):
    split = read([1, 3, 5, 2, None], label_map={"1": "neg", "3": "", "5": "pos"})
    assert names_of(split) == ["neg", "pos", "2", None]
    assert "1 of 5 rows of the split 'train': the label map drops '3'" in messages.text
    assert "does not name '2'" in messages.text
    assert len(labelled_rows(split)) == 3
    assert "1 of 4 rows without a label" in messages.text
    assert names_of(read([0, 1], ClassLabel(names=["x", "y"]), label_map={"y": ""})) == ["x"]


@pytest.mark.parametrize("kind", [None, ClassLabel(names=["x", "y"])])
def test_a_map_that_drops_every_label_leaves_no_rows(read, kind):
    values = [0, 1] if kind else ["x", "y"]
    assert not len(labelled_rows(read(values, kind, label_map={"x": "", "y": ""})))


NO_MAPS = [{"pos": 1}, {0: "neg"}, {"pos": None}, "a=b", ["a"], 5]


@pytest.mark.parametrize("wrong", NO_MAPS, ids=repr)
def test_what_is_no_label_map_is_refused_everywhere(wrong, checkpoint, tmp_path):
    calls = [
        lambda: load_reviews("sample", label_map=wrong),
        lambda: evaluate("sample", checkpoint, label_map=wrong),
        lambda: train("sample", tmp_path / "out", label_map=wrong),
    ]
    for call in calls:
        with pytest.raises(SentimentError, match="`label_map` must be a dictionary from names to"):
            call()
    with pytest.raises(SentimentError, match="`teacher_label_map` must be a dictionary"):
        train("sample", tmp_path / "out", teacher=checkpoint, teacher_label_map=wrong)
    assert not (tmp_path / "out").exists()


def test_a_label_beside_those_of_the_checkpoint_may_be_dropped_as_the_message_says(
    run, checkpoint, tmp_path
):
    path = tmp_path / "own.csv"
    path.write_text("text,label\n" + "good,pos\nso,so so\nbad,neg\n" * 5)
    command = ["evaluate", path, "--model", checkpoint, "--json"]
    [said] = shlex.split(re.search(r"or drop a label's rows: (.+)\.\n", run(*command).stderr)[1])
    assert said == "so so="
    result = run(*command, "--label-map", said)
    assert sum(map(sum, json.loads(result.stdout)["confusion_matrix"])) == 10


def test_a_number_is_named_in_a_label_map_as_it_stands_in_the_file(write):
    for numbers, names in (
        (["0.0", "1.0"], ["neg", "pos"]),
        (["0.0", "0.5", "1.0"], ["neg", "pos", "so so"]),
    ):
        lines = [f"film {i},{numbers[i % len(numbers)]}" for i in range(60)]
        path = write(f"{len(numbers)}.csv", "text,label", *lines)
        pairs = {"0.0": "neg", "0.5": "so so", "1.0": "pos"}
        given = {number: pairs[number] for number in numbers}
        assert read_training_rows([path], [], 0, {"label_map": given}).label_names == names


def test_a_name_that_stands_twice_in_a_label_map_is_named():
    with pytest.raises(SentimentError, match=r"names '1' twice"):
        parse_label_map("1=neg,1=pos")


BLANKS = [" pos", "pos ", "\tpos", "pos\n", "a\\", " ", "a b", "=", ",", "\\ "]


@pytest.mark.parametrize("name", BLANKS)
def test_what_a_message_says_to_type_is_read_as_the_label_map_it_means(name):
    pairs = {name: "neg", f"{name}x": name}
    [argument] = shlex.split(label_map_argument(pairs))
    assert parse_label_map(argument) == pairs


def test_a_label_with_a_blank_at_its_end_is_mapped_as_the_message_says(run, checkpoint, tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("text,label\n" + "good,positive \nbad,neg\n" * 5)
    command = ["evaluate", path, "--model", checkpoint, "--json"]
    said = re.search(r"--label-map '(.+?)', or", run(*command).stderr)[1]
    assert said == r"positive\ =pos"
    result = run(*command, "--label-map", said)
    assert sum(map(sum, json.loads(result.stdout)["confusion_matrix"])) == 10


@pytest.mark.parametrize("text", ["positive", "=pos", "a=b,", "a=b,a=c", ",", "a:b", "a=b=c"])
def test_a_malformed_label_map_is_one_sentence_that_shows_the_form(run, tmp_path, text):
    result = run("train", "sample", "--output", tmp_path / "out", "--label-map", text)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "positive=pos,negative=neg" in result.stderr
    assert text in result.stderr


def test_rows_without_text_or_label_are_left_out_with_a_count(read, tmp_path, messages):
    columns = {"text": ["a", None, "c", None, ""], "label": ["x", "y", None, None, "x"]}
    Dataset.from_dict(columns).to_parquet(tmp_path / "gaps.parquet")
    split = load_reviews(tmp_path / "gaps.parquet")["train"]
    kept = labelled_rows(split)
    assert (kept["text"][:], names_of(kept)) == (["a", ""], ["x", "x"])
    assert "2 of 5 rows without a text" in messages.text
    assert "1 of 3 rows without a label" in messages.text
    assert rows_with_text(split)["text"][:] == ["a", "c", ""]


def test_nothing_is_said_where_nothing_is_left_out(read, messages):
    assert len(labelled_rows(read(["x", "y"]))) == 2
    assert not messages.text


def test_a_split_without_any_label_has_text_and_no_labelled_rows(read, messages):
    for values, kind in (([-1, -1], ClassLabel(names=["neg", "pos"])), ([None, None], None)):
        split = read(values, kind)
        assert len(rows_with_text(split)) == 2
        assert not len(labelled_rows(split))
    assert messages.text.count("2 of 2 rows without a label") == 2


def test_a_label_is_matched_by_its_name_never_by_its_place():
    assert match_labels(["pos", "neg"], ["neg", "pos"]) == [1, 0]
    assert match_labels(["pos"], ["neg", "pos"]) == [1]
    with pytest.raises(SentimentError, match=r"'bad', 'pos'.*'neg', 'pos'.*label_map") as error:
        match_labels(["bad", "pos"], ["neg", "pos"])
    assert error.value.exit_status == 2


@pytest.mark.parametrize(
    ("names", "known", "pairs"),
    [
        (["POSITIVE", "NEGATIVE"], ["neg", "pos"], "POSITIVE=pos,NEGATIVE=neg"),
        (["POS", "NEG"], ["Negative", "Positive"], "POS=Positive,NEG=Negative"),
        (["LABEL_0", "LABEL_1"], ["neg", "pos"], "LABEL_0=NAME,LABEL_1=NAME"),
        (["negative", "neutral", "pos"], ["neg", "pos"], "negative=neg,neutral=NAME"),
        (["pos strong"], ["pos", "pos s", "neg"], "pos strong=pos s"),
        (["p"], ["pos", "plus"], "p=NAME"),
    ],
)
def test_a_hint_pairs_forms_of_the_same_word_and_never_guesses(names, known, pairs):
    with pytest.raises(SentimentError) as error:
        match_labels(names, known)
    said = re.search(r"`label_map` (.+?), or drop", str(error.value))[1]
    assert said.strip("'") == pairs


def test_ids_and_strings_and_either_order_of_names_measure_the_same(checkpoint, tmp_path):
    texts = ["good and warm", "bad and cold", "not a good film", "warm", "cold film"]
    names = ["pos", "neg", "neg", "pos", "pos"]
    accuracies = []
    for kind in (Value("string"), *(ClassLabel(names=n) for n in (["neg", "pos"], ["pos", "neg"]))):
        labels = [kind.str2int(name) for name in names] if kind.dtype == "int64" else names
        features = Features({"text": Value("string"), "label": kind})
        path = tmp_path / f"{len(accuracies)}.parquet"
        Dataset.from_dict({"text": texts, "label": labels}, features=features).to_parquet(path)
        accuracies.append(evaluate(path, checkpoint, split="train")["confusion_matrix"])
    assert accuracies[0] == accuracies[1] == accuracies[2]
    assert np.sum(accuracies[0]) == 5


@pytest.mark.parametrize("values", [["good", "bad"], ["neg", "pos", "mixed"], [0, 1]])
def test_labels_that_a_checkpoint_does_not_know_are_listed_beside_its_own(
    read, run, checkpoint, tmp_path, values
):
    read(values)
    path = tmp_path / "own.parquet"
    result = run("evaluate", path, "--model", checkpoint, "--split", "train")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    for name in (*map(str, values), "neg", "pos"):
        assert repr(name) in result.stderr


def test_a_number_is_no_form_of_another_in_a_suggestion():
    known = [str(stars) for stars in range(1, 6)]
    assert suggested_pairs(["6", "10"], known) == "6=NAME,10=NAME"
    assert suggested_pairs(["1 star", "POSITIVE"], ["1", "pos"]) == "'1 star=1,POSITIVE=pos'"
