"""Several data sets in one training."""

import json

import numpy as np
import pytest
import small_datasets
from datasets import Dataset
from small_datasets import SMALL, joined, read, split, texts_of

from sentiment_hf import SentimentError, train
from sentiment_hf.data.batching import TrainingBatches
from sentiment_hf.training.rows import MOST_REPEATS

save = small_datasets.save


@pytest.fixture
def csv(tmp_path):
    """Writes rows with labels of strings: `csv("goods", 60, "negative", "positive")`."""

    def write(name, count, *labels):
        lines = [f"{text},{labels[i % 2]}" for i, text in enumerate(texts_of(name, count))]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *lines]) + "\n")
        return tmp_path / f"{name}.csv"

    return write


def names_of(rows, split):
    return [rows.label_names[i] for i in split["label"]]


def refusal(result):
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    return last


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
    assert rows.label_names == ["neg", "pos"]
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
    assert rows.label_names == ["neg", "pos"]
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


def test_the_only_split_is_trained_on_whatever_its_name_but_for_a_test_split(save):
    (own,) = read(save("films", reviews=split("film", 60))).labelled
    assert (len(own.train), len(own.validation)) == (54, 6)
    with pytest.raises(SentimentError, match=r"'train'.*test"):
        read(save("goods", test=split("good", 60)))
