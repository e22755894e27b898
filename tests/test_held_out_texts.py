"""No validation text and no test text is trained on, whichever way it could come in."""

import json

import pytest
import small_datasets
from datasets import Dataset, DatasetDict
from small_datasets import joined, read, split, texts_of

from sentiment_hf import SentimentError
from sentiment_hf.training.rows import read_training_rows
from sentiment_hf.training.transfer_set import transfer_set

save = small_datasets.save


def held_out_of(rows):
    return {text for one in rows.labelled for text in one.validation["text"]}


def test_the_validation_rows_of_one_data_set_are_left_out_of_the_others(save):
    films = save("films", train=split("film", 200))
    more = save("more", train=joined(split("film", 200), split("goods", 100)))
    rows = read(films, more)
    assert not held_out_of(rows) & set(rows.training_texts["text"])
    left_out = [one.summary["left_out"] for one in rows.labelled]
    assert all(list(reasons) == ["whose text is also a validation text"] for reasons in left_out)
    counts = [sum(reasons.values()) for reasons in left_out]
    lengths = [len(one.train) + len(one.validation) for one in rows.labelled]
    assert [a + b for a, b in zip(counts, lengths, strict=True)] == [200, 300]


def test_a_validation_split_is_left_out_of_the_other_data_sets(save):
    films = save("films", train=split("film", 60), validation=split("held", 20))
    more = save("more", train=joined(split("held", 20), split("goods", 60)))
    rows = read(films, more)
    assert not set(texts_of("held", 20)) & set(rows.training_texts["text"])
    assert "left_out" in rows.labelled[0].summary
    assert not rows.labelled[0].summary["left_out"]


def test_a_data_set_that_stands_in_the_validation_split_of_another_is_refused(save):
    films = save("films", train=split("film", 60), validation=split("held", 20))
    held = save("held", train=split("held", 10), validation=split("goods", 10))
    with pytest.raises(SentimentError, match="Every training text of held is also a validation"):
        read(films, held)


def test_no_sentence_of_a_training_text_that_is_a_held_out_text_is_taught():
    held, test, own = "It was long.", "It was cold.", "It was warm."
    texts = [f"{held} {test} {own} Film {i}." for i in range(30)]
    labels = ["neg", "pos"]
    train = Dataset.from_dict({"text": texts, "label": labels * 15})
    reviews = DatasetDict(
        train=train,
        validation=Dataset.from_dict({"text": [held, "b"], "label": labels}),
        test=Dataset.from_dict({"text": [test, "d"], "label": labels}),
    )
    rows = read_training_rows([reviews], [], 0, {}, is_taught=True)
    pieces = transfer_set(rows.training_texts, 1_000, 0, rows.excluded)["text"][:]
    assert own in pieces
    assert not {held, test} & set(pieces)
    assert test not in read(reviews).excluded, "without a teacher no test split is opened"


def test_the_teacher_of_a_training_sees_no_held_out_text(run, checkpoint, tmp_path, monkeypatch):
    from sentiment_hf import SentimentPipeline

    asked = []

    def probabilities(self, texts, **options):
        asked.extend(texts)
        return original(self, texts, **options)

    original = SentimentPipeline.probabilities
    monkeypatch.setattr(SentimentPipeline, "probabilities", probabilities)
    texts = [f"It was cold. It was warm. Film {i}." for i in range(40)]
    labels = ["neg", "pos"] * 20
    DatasetDict(
        train=Dataset.from_dict({"text": texts, "label": labels}),
        test=Dataset.from_dict({"text": ["It was cold."], "label": ["neg"]}),
    ).save_to_disk(tmp_path / "own")
    options = ["--output", tmp_path / "out", "--teacher", checkpoint, "--epochs", 1]
    result = run("train", tmp_path / "own", *options)
    assert result.exit_code == 0, result.stderr
    assert "It was warm." in asked
    assert "It was cold." not in asked


def test_a_test_split_is_no_unlabelled_split(run, checkpoint, save, tmp_path):
    films = save("films", train=split("film", 60), test=split("last", 20))
    options = ["--output", tmp_path / "out", "--teacher", checkpoint, "--unlabelled-split", "test"]
    result = run("train", films, *options)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        "error: --unlabelled-split cannot be 'test': no test text is trained on."
    )
    assert not (tmp_path / "out").exists()


def test_splits_may_have_more_columns_than_are_read(save):
    held = split("held", 20)
    held = held.add_column("source", ["web"] * 20)
    rows = read(DatasetDict(train=split("film", 60), validation=held))
    assert rows.labelled[0].validation["text"][:] == texts_of("held", 20)
    with pytest.raises(SentimentError, match="differ in the column 'label'"):
        read(DatasetDict(train=split("film", 60), validation=split("held", 20, ("a", "b"))))


def test_a_label_that_only_validation_rows_have_is_named(run, tmp_path):
    (tmp_path / "own").mkdir()
    rows = {"train": ["cold,neg", "warm,pos"] * 20, "dev": ["cold day,neg", "warm day,positive"]}
    for name, lines in rows.items():
        numbered = [f"{i} {line}" for i, line in enumerate(lines)]
        (tmp_path / f"own/{name}.csv").write_text("\n".join(["text,label", *numbered]))
    result = run("train", tmp_path / "own", "--output", tmp_path / "out", "--epochs", 1)
    assert result.exit_code == 0, result.stderr
    assert "own: No training row has the label 'positive'." in result.stderr


def test_how_often_a_small_data_set_is_repeated_is_said(run, save, tmp_path):
    films, goods = save("films", train=split("film", 400)), save("goods", train=split("goods", 40))
    result = run("train", films, goods, "--output", tmp_path / "out", "--epochs", 1)
    assert result.exit_code == 0, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if "rows of goods" in line]
    assert ", 2 times an epoch; 4 rows are held out." in line
    (first, _) = json.loads((tmp_path / "out/training.json").read_text())["data"]["datasets"]
    assert "repeats" not in first


def test_with_a_teacher_other_splits_may_have_other_columns(tmp_path):
    rows = {"body": texts_of("film", 60), "verdict": ["neg", "pos"] * 30}
    reviews = DatasetDict(
        test=Dataset.from_dict({"id": [1, 2], "n": [3, 4]}),
        train=Dataset.from_dict(rows),
        extra=Dataset.from_dict({"note": ["a", "b"]}),
    )
    options = {"label_column": "verdict"}
    read_rows = read_training_rows([reviews], ["extra"], 0, options, is_taught=True)
    assert read_rows.unlabelled["text"][:] == ["a", "b"]
    path = tmp_path / "own.csv"
    reviews["train"].to_csv(path, index=False)
    named = {"label_column": "verdict"}
    assert len(read_training_rows([path], [], 0, named, is_taught=True).labelled[0].train) == 54
