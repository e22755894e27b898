"""A validation split that a data set brings is used, and its texts are not trained on."""

import json

import pytest
import small_datasets
from small_datasets import SMALL, joined, read, split, texts_of

from sentiment_hf import SentimentError, pretrain, train

save = small_datasets.save


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
    why = "whose text is also a validation text"
    assert f"Rows of films left out: 6 {why}." in result.stderr.split("epoch 1")[0]
    data = json.loads((tmp_path / "out/training.json").read_text())["data"]
    assert (data["train_rows"], data["validation_rows"]) == (54, 16)
    assert data["left_out"] == {why: 6}
    assert f"| rows {why} | 6, left out |" in (tmp_path / "out/README.md").read_text()


def test_a_training_split_that_stands_in_the_validation_split_is_refused(save):
    films = save("films", train=split("film", 20), validation=split("film", 40))
    with pytest.raises(SentimentError, match=r"Every training text of films is also a validation"):
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
