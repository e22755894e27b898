"""Pretraining on text without labels, and training that starts from it."""

import json

import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from sentiment_hf import SentimentError, SentimentPipeline, pretrain, train
from sentiment_hf.checkpoint.folder import REFERENCE_FOLDER, read_config
from sentiment_hf.checkpoint.pretrained import LSTMForSequenceClassification
from sentiment_hf.checkpoint.weights import read_encoder
from sentiment_hf.data.splits import split_validation
from sentiment_hf.training.texts import pretraining_texts

SMALL = {"epochs": 1, "batch_size": 32, "show_progress": False}
WORDS = ("good", "bad", "film", "plot", "cast", "end")


@pytest.fixture
def reviews() -> DatasetDict:
    """200 labelled rows, 40 test rows and 60 rows without labels that repeat some of both."""
    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})

    def split(texts, labels):
        return Dataset.from_dict({"text": texts, "label": labels}, features=features)

    train_texts = [f"train {i} {WORDS[i % 6]}" for i in range(200)]
    test_texts = [f"test {i} {WORDS[i % 6]}" for i in range(40)]
    more = [f"more {i}" for i in range(20)] + test_texts[:20] + train_texts[:20]
    return DatasetDict(
        train=split(train_texts, [i % 2 for i in range(200)]),
        test=split(test_texts, [i % 2 for i in range(40)]),
        unsupervised=split(more, [-1] * 60),
    )


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return pretrain("sample", tmp_path_factory.mktemp("pretrained") / "encoder", **SMALL)


def test_no_test_text_and_no_validation_text_is_read(reviews):
    texts, held_out = pretraining_texts(reviews, None, seed=0)
    validation = split_validation(reviews["train"], 0)[1]["text"]
    assert sorted(held_out["text"]) == sorted(validation)
    assert not set(texts["text"]) & (set(validation) | set(reviews["test"]["text"]))
    barred = 20 + len(set(validation) & set(reviews["unsupervised"]["text"]))
    assert len(texts) == 200 - len(validation) + 60 - barred


def test_only_the_named_splits_are_read(reviews):
    texts, _ = pretraining_texts(reviews, ["unsupervised"], seed=0)
    assert not any(text.startswith("test") for text in texts["text"])
    assert any(text.startswith("more") for text in texts["text"])
    assert len(texts) <= 40


def test_an_unknown_split_is_one_sentence_that_lists_the_others(reviews):
    with pytest.raises(SentimentError, match="no split 'nothing'; there are train, test"):
        pretraining_texts(reviews, ["nothing"], seed=0)
    with pytest.raises(SentimentError, match="no split but 'test'; name it"):
        pretraining_texts(DatasetDict(test=reviews["test"]), None, seed=0)


def test_texts_without_labels_are_enough():
    texts = Dataset.from_dict({"text": [f"words of text {i}" for i in range(50)]})
    read, held_out = pretraining_texts(DatasetDict(train=texts), None, seed=0)
    assert len(held_out) == 5
    assert len(read) == 45


def test_the_folder_holds_an_encoder_its_words_and_its_record(encoder):
    names = {path.name for path in encoder.iterdir()}
    assert names == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        "training.json",
    }  # fmt: skip
    record = json.loads((encoder / "training.json").read_text())
    assert record["perplexity"] == min(e["validation_perplexity"] for e in record["history"])
    assert record["perplexity"] < read_config(encoder).vocab_size
    assert record["data"]["dataset"] == "sample"


def test_an_encoder_alone_does_not_predict(encoder):
    with pytest.raises(SentimentError, match=r"train.*init_from"):
        SentimentPipeline.from_pretrained(encoder)


def test_training_from_an_encoder_starts_with_its_words_and_weights(encoder, tmp_path):
    pipe = train("sample", tmp_path / "out", init_from=encoder, learning_rate=1e-9, **SMALL)
    config = read_config(encoder)
    assert pipe.config.hidden_size == config.hidden_size == 160
    assert pipe.tokenizer.get_vocab_size() == config.vocab_size
    fresh = LSTMForSequenceClassification(config)
    read_encoder(encoder, fresh)
    torch.testing.assert_close(
        pipe.network.lstm.weight_ih_l0, fresh.lstm.weight_ih_l0, atol=2e-3, rtol=1e-2
    )
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    assert record["arguments"]["init_from"] == "encoder"


def test_pretraining_goes_on_with_the_words_and_weights_of_a_model(run, tmp_path):
    arguments = ["--init-from", "reference", "--epochs", 1, "--learning-rate", 1e-9, "--quiet"]
    result = run("pretrain", "sample", "--output", tmp_path / "out", *arguments)
    assert result.exit_code == 0, result.stderr
    reference = SentimentPipeline.from_pretrained()
    config = read_config(tmp_path / "out")
    assert (config.vocab_size, config.hidden_size) == (30_000, reference.config.hidden_size)
    assert (tmp_path / "out/tokenizer.json").read_bytes() == (
        REFERENCE_FOLDER / "tokenizer.json"
    ).read_bytes()
    fresh = LSTMForSequenceClassification(config)
    read_encoder(tmp_path / "out", fresh)
    assert torch.allclose(fresh.embedding.weight, reference.network.embedding.weight, atol=2e-3)
    assert torch.allclose(fresh.lstm.weight_hh_l0, reference.network.lstm.weight_hh_l0, atol=2e-3)
    record = json.loads((tmp_path / "out/training.json").read_text())
    assert record["arguments"]["init_from"] == "reference"


def test_training_from_a_checkpoint_keeps_its_head_for_the_same_labels(tmp_path):
    reference = SentimentPipeline.from_pretrained()
    pipe = train("sample", tmp_path / "a", init_from="reference", learning_rate=1e-9, **SMALL)
    assert torch.allclose(pipe.network.linear.weight, reference.network.linear.weight, atol=2e-3)
    renamed = {"neg": "bad", "pos": "good"}
    other = train(
        "sample", tmp_path / "b", init_from="reference", label_map=renamed,
        learning_rate=1e-9, **SMALL,
    )  # fmt: skip
    assert other.config.label_names == ["bad", "good"]
    assert not torch.allclose(
        other.network.linear.weight, reference.network.linear.weight, atol=2e-3
    )
    assert torch.allclose(
        other.network.embedding.weight, reference.network.embedding.weight, atol=2e-3
    )


def test_a_finished_pretraining_is_not_repeated(encoder, run):
    before = (encoder / "model.safetensors").read_bytes()
    finished = run("pretrain", "sample", "--output", encoder, "--resume")
    assert finished.exit_code == 0
    assert "already finished" in finished.stderr
    assert (encoder / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pretrain", "sample", "--output", "out", "--splits", "train,dev"), "no split 'dev'"),
        (("pretrain", "sample", "--output", "out", "--epochs", "0"), "--epochs"),
        (("pretrain", "nothing.csv", "--output", "out"), "does not exist"),
        (("train", "sample", "--output", "out", "--init-from", "nothing"), "nothing"),
        (
            ("train", "sample", "--output", "out", "--init-from", "reference", "--vocab-size", "9"),
            "--vocab-size",
        ),
        (("pretrain", "sample", "--output", "out", "--init-from", "nothing"), "nothing"),
        (
            (
                "pretrain",
                "sample",
                "--output",
                "out",
                "--init-from",
                "reference",
                "--vocab-size",
                "9",
            ),
            "--vocab-size",
        ),
    ],
)
def test_wrong_usage_is_one_sentence(run, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    finished = run(*arguments)
    assert finished.exit_code == 2
    assert words in finished.stderr.splitlines()[-1]
    assert finished.stderr.splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "out").exists()
