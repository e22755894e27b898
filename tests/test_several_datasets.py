"""Several data sets in one training, their own validation splits, and data sets in memory."""

import json

import numpy as np
import pytest
from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    IterableDatasetDict,
    Value,
    concatenate_datasets,
)

from sentiment_hf import SentimentError, evaluate, load_reviews, pretrain, train
from sentiment_hf.data.batching import TrainingBatches
from sentiment_hf.training.rows import MOST_REPEATS, read_training_rows

SMALL = {"epochs": 1, "batch_size": 64, "max_length": 30, "show_progress": False}


def texts_of(name, count):
    words = ("cold", "warm")
    return [f"a {words[i % 2]} {name} {name}{i} {name}{i}" for i in range(count)]


def split(name, count, labels=("neg", "pos"), no_label=False):
    """Rows of two labels by turns, with words that only this data set has."""
    features = Features({"text": Value("string"), "label": ClassLabel(names=list(labels))})
    values = [-1 if no_label else i % 2 for i in range(count)]
    return Dataset.from_dict({"text": texts_of(name, count), "label": values}, features=features)


def joined(*parts):
    return concatenate_datasets(parts)


@pytest.fixture
def save(tmp_path):
    """Writes a data set: `save("films", train=split(...), test=...)`; gives its path."""

    def write(name, **splits):
        DatasetDict(splits).save_to_disk(tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def csv(tmp_path):
    """Writes rows with labels of strings: `csv("goods", 60, "negative", "positive")`."""

    def write(name, count, *labels):
        lines = [f"{text},{labels[i % 2]}" for i, text in enumerate(texts_of(name, count))]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *lines]) + "\n")
        return tmp_path / f"{name}.csv"

    return write


def read(*sources, unlabelled=(), seed=0, **options):
    return read_training_rows(list(sources), list(unlabelled), seed, options)


def names_of(rows, split):
    return [rows.names[i] for i in split["label"]]


def refusal(result):
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    return last


# Several data sets.


def test_two_data_sets_are_learnt_together_and_measured_each_and_together(run, save, csv, tmp_path):
    films, goods = save("films", train=split("film", 200)), csv("goods", 60, "neg", "pos")
    options = ["--epochs", 4, "--batch-size", 16, "--learning-rate", 0.01, "--quiet"]
    result = run("train", films, goods, "--output", tmp_path / "out", *options)
    assert result.exit_code == 0, result.stderr
    record = json.loads((tmp_path / "out/training.json").read_text())
    parts = record["data"]["datasets"]
    assert [part["dataset"] for part in parts] == ["films", "goods.csv"]
    assert [part["train_rows"] for part in parts] == [180, 54]
    assert [part["validation_rows"] for part in parts] == [20, 6]
    assert record["data"]["dataset"] == "films, goods.csv"
    assert record["data"]["train_rows"] == 234
    assert record["validation_accuracy_films"] > 0.9
    assert record["validation_accuracy_goods.csv"] > 0.8
    each = [record["validation_accuracy_films"], record["validation_accuracy_goods.csv"]]
    assert record["validation_accuracy"] == pytest.approx(np.average(each, weights=[20, 6]))
    last = record["history"][-1]
    assert {"validation_accuracy", "validation_accuracy_films", "validation_loss"} <= set(last)
    vocabulary = json.loads((tmp_path / "out/tokenizer.json").read_text())["model"]["vocab"]
    assert {"film", "goods"} <= set(vocabulary)
    assert str(tmp_path) not in (tmp_path / "out/training.json").read_text()


@pytest.mark.parametrize("labels", [("pos", "neg"), ("NEG", "Pos")])
def test_labels_are_matched_by_name_and_never_by_number(save, labels):
    films = save("films", train=split("film", 40))
    goods = save("goods", train=split("good", 40, labels))
    rows = read(films, goods)
    assert rows.names == {0: "neg", 1: "pos"}
    first, second = rows.labelled
    for text, name in zip(second.train["text"], names_of(rows, second.train), strict=True):
        assert name == labels[text.startswith("a warm")].lower()
    for text, name in zip(first.train["text"], names_of(rows, first.train), strict=True):
        assert name == ("neg", "pos")[text.startswith("a warm")]


def test_a_label_map_is_for_the_data_set_that_has_the_names(run, save, csv, tmp_path):
    films = save("films", train=split("film", 40))
    goods = csv("goods", 40, "negative", "positive")
    arguments = ["train", films, goods, "--output", tmp_path / "out", "--epochs", 1]
    said = refusal(run(*arguments))
    for name in ("goods.csv", "'negative', 'positive'", "films", "'neg', 'pos'", "--label-map"):
        assert name in said
    said = refusal(run(*arguments, "--label-map", "negative=neg,good=pos"))
    assert "'good'" in said
    assert "'neg', 'pos', 'negative', 'positive'" in said
    result = run(*arguments, "--label-map", "negative=neg,positive=pos", "--quiet")
    assert result.exit_code == 0, result.stderr
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["id2label"] == {"0": "neg", "1": "pos"}


def test_labels_that_only_one_of_them_has_are_refused_and_both_lists_named(save):
    films = save("films", train=split("film", 40))
    goods = save("goods", train=split("good", 40, ("neg", "pos", "mixed")))
    for sources in ((films, goods), (goods, films)):
        with pytest.raises(SentimentError, match="'mixed'") as caught:
            read(*sources)
        assert caught.value.exit_status == 2
        assert "'neg', 'pos'" in str(caught.value)
        assert "films" in str(caught.value)
        assert "goods" in str(caught.value)


def test_soft_labels_stand_beside_hard_ones_where_there_are_two(save):
    soft = Dataset.from_dict({"text": texts_of("soft", 40), "label": [0.25, 0.75] * 20})
    films = save("films", train=split("film", 40))
    rows = read(films, save("soft", train=soft))
    assert rows.names == {0: "neg", 1: "pos"}
    assert set(rows.labelled[1].train["label"]) == {0.25, 0.75}
    three = save("three", train=split("good", 40, ("a", "b", "c")))
    with pytest.raises(SentimentError, match=r"soft labels.*two labels.*3"):
        read(three, save("more", train=soft))


@pytest.mark.parametrize(
    ("sizes", "repeats"),
    [((400, 40), (1, 2)), ((400, 400), (1, 1)), ((40, 2000), (8, 1)), ((400, 90), (1, 1))],
)
def test_a_small_data_set_is_repeated_until_it_has_a_quarter_of_the_largest(
    save, sizes, repeats, monkeypatch
):
    sources = [save(f"d{i}", train=split(f"d{i}", n)) for i, n in enumerate(sizes)]
    rows = read(*sources)
    assert tuple(one.repeats for one in rows.labelled) == repeats
    assert max(repeats) <= MOST_REPEATS
    assert len(rows.training_texts) == sum(len(one.train) for one in rows.labelled)


def test_repeated_rows_are_in_an_epoch_that_often_and_in_the_record(save, tmp_path, monkeypatch):
    seen = []

    class Counting(TrainingBatches):
        def __init__(self, rows, *arguments, **options):
            seen.append(len(rows))
            super().__init__(rows, *arguments, **options)

    monkeypatch.setattr("sentiment_hf.training.run.TrainingBatches", Counting)
    sources = [save("films", train=split("film", 400)), save("goods", train=split("good", 40))]
    train(sources, tmp_path / "out", **SMALL)
    assert seen == [360 + 2 * 36]
    parts = json.loads((tmp_path / "out/training.json").read_text())["data"]["datasets"]
    assert [part.get("repeats", 1) for part in parts] == [1, 2]


@pytest.mark.parametrize("second", ["films", "films/", "./films", "../here/films"])
def test_the_same_data_set_twice_is_refused(run, save, tmp_path, monkeypatch, second):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    save("here/films", train=split("film", 40))
    result = run("train", "films", second, "--output", "out", "--epochs", 1)
    assert "films is named twice" in refusal(result)
    assert not (tmp_path / "here/out").exists()


def test_the_same_data_set_in_memory_twice_is_refused(tmp_path):
    rows = split("film", 40)
    with pytest.raises(SentimentError, match="twice"):
        train([rows, rows], tmp_path / "out", **SMALL)


def test_data_sets_of_one_name_are_measured_apart(save, csv, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    sources = [save(f"{part}/reviews", train=split(part, 40)) for part in ("one", "two")]
    train(sources, tmp_path / "out", **SMALL)
    record = json.loads((tmp_path / "out/training.json").read_text())
    assert [part["dataset"] for part in record["data"]["datasets"]] == ["reviews", "reviews-2"]
    assert {"validation_accuracy_reviews", "validation_accuracy_reviews-2"} <= set(record)


def test_texts_without_labels_come_from_every_data_set_that_has_the_split(save):
    films = save("films", train=split("film", 40), test=split("shown", 9), extra=split("more", 20))
    unlabelled = split("other", 30, no_label=True)
    goods = save("goods", train=split("good", 40), extra=unlabelled, unsupervised=split("free", 7))
    rows = read(films, goods, unlabelled=["extra", "unsupervised"])
    texts = rows.unlabelled["text"][:]
    assert len(texts) == 20 + 30 + 7
    assert rows.unlabelled.column_names == ["text"]
    assert set(texts) == {*texts_of("more", 20), *texts_of("other", 30), *texts_of("free", 7)}
    with pytest.raises(SentimentError, match=r"'nothing'.*train.*extra.*unsupervised"):
        read(films, goods, unlabelled=["extra", "nothing"])


def test_no_held_out_text_of_any_data_set_is_among_those_without_labels(save):
    films = save("films", train=split("film", 40), test=split("shown", 9))
    other = joined(split("film", 40), split("shown", 9), split("good", 40), split("new", 5))
    goods = save("goods", train=split("good", 40), extra=other)
    rows = read(films, goods, unlabelled=["extra"])
    texts = set(rows.unlabelled["text"])
    for one in rows.labelled:
        assert not texts & set(one.validation["text"])
        assert set(one.train["text"]) <= texts
    assert not texts & set(texts_of("shown", 9))
    assert set(texts_of("new", 5)) <= texts


# The data set's own validation split.


@pytest.mark.parametrize("name", ["validation", "valid", "val", "dev"])
def test_the_data_sets_own_validation_split_is_used(save, tmp_path, name):
    films = save("films", train=split("film", 60), **{name: split("held", 14)})
    rows = read(films)
    (own,) = rows.labelled
    assert len(own.train) == 60
    assert own.validation["text"][:] == texts_of("held", 14)
    train(films, tmp_path / "out", **SMALL)
    record = json.loads((tmp_path / "out/training.json").read_text())
    assert (record["data"]["train_rows"], record["data"]["validation_rows"]) == (60, 14)
    vocabulary = json.loads((tmp_path / "out/tokenizer.json").read_text())["model"]["vocab"]
    assert not any(word.startswith("held") for word in vocabulary)


def test_texts_of_the_validation_split_are_left_out_of_training_and_counted(run, save, tmp_path):
    held = joined(split("held", 10), split("film", 6))
    films = save("films", train=split("film", 60), validation=held)
    result = run("train", films, "--output", tmp_path / "out", "--epochs", 1)
    assert result.exit_code == 0, result.stderr
    why = "whose text also stands in the split 'validation'"
    assert f"Rows of films left out: 6 {why}." in result.stderr.split("epoch 1")[0]
    data = json.loads((tmp_path / "out/training.json").read_text())["data"]
    assert (data["train_rows"], data["validation_rows"]) == (54, 16)
    assert data["left_out"] == {why: 6}
    assert f"| rows {why} | 6, left out |" in (tmp_path / "out/README.md").read_text()


def test_a_training_split_that_stands_in_the_validation_split_is_refused(save):
    films = save("films", train=split("film", 20), validation=split("film", 40))
    with pytest.raises(SentimentError, match=r"Every training text.*'validation'"):
        read(films)


def test_a_validation_split_without_labels_falls_back_to_rows_of_train(save):
    films = save("films", train=split("film", 60), validation=split("held", 9, no_label=True))
    (own,) = read(films).labelled
    assert (len(own.train), len(own.validation)) == (54, 6)
    assert not set(own.validation["text"]) & set(texts_of("held", 9))


def test_rows_of_the_validation_split_without_a_label_are_left_out(save):
    held = joined(split("held", 10), split("blank", 4, no_label=True))
    (own,) = read(save("films", train=split("film", 60), validation=held)).labelled
    assert own.validation["text"][:] == texts_of("held", 10)


def test_pretraining_holds_the_validation_split_out(save, tmp_path):
    films = save("films", train=split("film", 60), validation=split("held", 14))
    folder = pretrain(films, tmp_path / "out", epochs=1, show_progress=False)
    data = json.loads((folder / "training.json").read_text())["data"]
    assert (data["train_rows"], data["validation_rows"]) == (60, 14)


# Data sets in memory.


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


def test_the_only_split_is_trained_on_whatever_its_name_but_for_a_test_split(save):
    (own,) = read(save("films", reviews=split("film", 60))).labelled
    assert (len(own.train), len(own.validation)) == (54, 6)
    with pytest.raises(SentimentError, match=r"'train'.*test"):
        read(save("goods", test=split("good", 60)))
