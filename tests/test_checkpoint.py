"""A checkpoint folder: what is saved comes back bit for bit, what is damaged is refused."""

import json
import os
import pickle
import struct
import sys
from pathlib import Path

import pytest
import torch
from checkpoint_changes import CONFIG, TOKENIZER, WEIGHTS, config
from safetensors.torch import load_file, save_file

from sentiment_hf import LSTMForSequenceClassification, SentimentError, SentimentPipeline
from sentiment_hf.checkpoint.weights import weights_checksum
from sentiment_hf.data.tokenization import word_tokenizer
from sentiment_hf.errors import UNPRINTABLE

TEXTS = ["a good film", "not a bad film , warm and good and cold and bad", "", "cold zebra"]
FOUR_LABELS = dict(enumerate(["bad", "poor", "good", "great"]))
VARIANTS = [
    {},
    {"num_layers": 2, "bidirectional": False, "pooling": "last", "max_length": 3},
    {"id2label": FOUR_LABELS, "pooling": "max", "temperature": 1.7, "max_length": None},
    {"hidden_size": 7, "pooling": "mean", "dropout": 0.5, "word_dropout": 0.5, "temperature": 0.3},
]


@pytest.mark.parametrize("fields", VARIANTS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_predictions_come_back_bit_for_bit(make_pipeline, tmp_path, dtype, fields):
    pipe = make_pipeline(**fields, dtype=dtype)
    before = pipe.probabilities(TEXTS)
    pipe.save_pretrained(tmp_path / "once")
    once = SentimentPipeline.from_pretrained(tmp_path / "once")
    once.save_pretrained(tmp_path / "twice")
    twice = SentimentPipeline.from_pretrained(str(tmp_path / "twice"))
    assert once.config == twice.config == pipe.config
    assert once.probabilities(TEXTS).unique().numel() > 4
    assert torch.equal(once.probabilities(TEXTS), twice.probabilities(TEXTS))
    assert torch.equal(pipe.probabilities(TEXTS), before)
    if dtype == "float32":
        assert torch.equal(once.probabilities(TEXTS), before)
    else:
        torch.testing.assert_close(once.probabilities(TEXTS), before, atol=2e-3, rtol=0)
    weights = load_file(tmp_path / "once" / WEIGHTS)
    assert {str(tensor.dtype) for tensor in weights.values()} == {f"torch.{dtype}"}
    again = load_file(tmp_path / "twice" / WEIGHTS)
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    for name in (CONFIG, TOKENIZER, "tokenizer_config.json"):
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()


def test_the_same_network_is_the_same_file_every_time(make_pipeline, tmp_path):
    pipe = make_pipeline()
    contents = set()
    for _ in range(12):
        pipe.save_pretrained(tmp_path / "checkpoint")
        contents.add((tmp_path / "checkpoint" / WEIGHTS).read_bytes())
    assert len(contents) == 1


def test_a_saved_folder_holds_these_files_and_no_pickle_and_no_absolute_path(checkpoint):
    files = {file.name: file.read_bytes() for file in checkpoint.iterdir()}
    assert set(files) == {CONFIG, WEIGHTS, TOKENIZER, "tokenizer_config.json", "README.md"}
    weights = files[WEIGHTS]  # It begins with the length of its header, which may be any number.
    assert json.loads(weights[8 : 8 + struct.unpack("<Q", weights[:8])[0]])
    texts = [data for name, data in files.items() if name != WEIGHTS]
    assert not any(data.startswith((b"PK", b"\x80")) for data in texts)
    assert not any(str(checkpoint.parent).encode() in data for data in files.values())


def test_the_network_alone_is_saved_and_loaded(checkpoint, tmp_path):
    pipe, ids = SentimentPipeline.from_pretrained(checkpoint), torch.tensor([[2, 3, 4, 0]])
    network = LSTMForSequenceClassification.from_pretrained(checkpoint)
    assert type(network) is LSTMForSequenceClassification
    assert not network.training
    network.save_pretrained(tmp_path / "alone")
    again = LSTMForSequenceClassification.from_pretrained(tmp_path / "alone")
    assert torch.equal(network(ids), again(ids))
    assert torch.equal(network(ids), pipe.network(ids))
    with pytest.raises(SentimentError, match=TOKENIZER):
        SentimentPipeline.from_pretrained(tmp_path / "alone")


def test_a_network_does_not_vouch_for_the_tokenizer_of_another(checkpoint, make_pipeline, tmp_path):
    network = LSTMForSequenceClassification.from_pretrained(checkpoint)
    other = make_pipeline()
    words = list(json.loads(other.tokenizer.to_str())["model"]["vocab"])
    order = [*words[:2], *reversed(words[2:])]
    other.tokenizer = word_tokenizer({word: i for i, word in enumerate(order)})
    other.save_pretrained(tmp_path / "other")
    before = {path: path.read_bytes() for path in (tmp_path / "other").iterdir()}
    with pytest.raises(SentimentError, match="tokenizer of another network"):
        network.save_pretrained(tmp_path / "other")
    assert {path: path.read_bytes() for path in (tmp_path / "other").iterdir()} == before
    network.save_pretrained(checkpoint)
    assert SentimentPipeline.from_pretrained(checkpoint)(TEXTS)


def test_a_loaded_network_can_be_trained_on(checkpoint):
    network = LSTMForSequenceClassification.from_pretrained(checkpoint)
    ids = torch.tensor([[2, 3, 4]])
    before = network(ids)
    before.sum().backward()
    torch.optim.SGD([network.lstm.weight_hh_l0], lr=10.0).step()
    assert not torch.equal(network(ids), before)


def test_changing_the_weights_file_after_loading_does_not_change_predictions(checkpoint):
    pipe = SentimentPipeline.from_pretrained(checkpoint)
    before, size = pipe.probabilities(TEXTS), (checkpoint / WEIGHTS).stat().st_size
    with open(checkpoint / WEIGHTS, "r+b") as file:
        file.write(os.urandom(size))
    assert torch.equal(pipe.probabilities(TEXTS), before)


def test_a_checkpoint_is_found_from_inside_its_folder(checkpoint, monkeypatch):
    expected = SentimentPipeline.from_pretrained(checkpoint)(TEXTS)
    monkeypatch.chdir(checkpoint)
    assert SentimentPipeline.from_pretrained(".")(TEXTS) == expected


@pytest.mark.parametrize("model", ["no/such/folder", "a film " * 100, "nul\0byte", "", "/"])
def test_what_is_no_checkpoint_is_one_sentence(tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SentimentError):
        SentimentPipeline.from_pretrained(model)


def test_weights_that_could_not_be_loaded_again_are_not_saved(make_pipeline, tmp_path):
    pipe = make_pipeline(dtype="float16")
    with torch.no_grad():
        pipe.network.linear.weight.fill_(1e6)
    with pytest.raises(SentimentError, match=r"linear\.weight"):
        pipe.save_pretrained(tmp_path / "too large")


OPENED = []


def _watch(event: str, arguments: tuple) -> None:
    if event in ("open", "pickle.find_class"):
        OPENED.append(f"{event} {arguments[0]}")


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_is_refused_and_never_opened(checkpoint, tmp_path):
    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    (checkpoint / "pytorch_model.bin").write_bytes(trap)
    (checkpoint / WEIGHTS).unlink()
    sys.addaudithook(_watch)
    OPENED.clear()
    for loader in (SentimentPipeline, LSTMForSequenceClassification):
        with pytest.raises(SentimentError, match=WEIGHTS):
            loader.from_pretrained(checkpoint)
    assert any(CONFIG in event for event in OPENED)
    assert not any("pytorch_model.bin" in event or event.startswith("pickle.") for event in OPENED)
    (checkpoint / WEIGHTS).write_bytes(trap)
    with pytest.raises(SentimentError, match=WEIGHTS):
        SentimentPipeline.from_pretrained(checkpoint)
    assert not (tmp_path / "sprung").exists()


BAD_LABELS = {
    "an escape sequence": "\x1b]52;c;eA==\x07",
    "two lines": "good\nbad",
    "a tab": "good\tbad",
    "C1": "\x9b2J",
    "half a character": "\ud800",
    "another direction": "\u202egood",
    "201 characters": "x" * 201,
}


@pytest.mark.parametrize("label", BAD_LABELS.values(), ids=BAD_LABELS)
def test_a_label_is_one_short_printable_line_where_it_is_born_and_where_it_is_read(
    checkpoint, make_pipeline, label
):
    with pytest.raises(SentimentError, match="id2label"):
        make_pipeline(id2label={0: "bad", 1: label})
    config(id2label={"0": "bad", "1": label}, label2id={"bad": 0, label: 1})[1](checkpoint)
    with pytest.raises(SentimentError, match="id2label") as caught:
        SentimentPipeline.from_pretrained(checkpoint)
    assert not UNPRINTABLE.search(str(caught.value))


def test_a_thousand_labels_and_emoji_are_labels_and_one_more_is_not(make_pipeline):
    names = {i: f"👨\u200d👩 {i}" for i in range(1001)}
    with pytest.raises(SentimentError, match="1,000"):
        make_pipeline(id2label=names)
    del names[1000]
    assert make_pipeline(id2label=names)("a good film")[0]["label"] in names.values()


def test_line_ends_of_another_system_make_no_other_checkpoint(checkpoint):
    expected = SentimentPipeline.from_pretrained(checkpoint)(TEXTS)
    for name in (CONFIG, TOKENIZER):
        content = (checkpoint / name).read_bytes()
        (checkpoint / name).write_bytes(content.replace(b"\n", b"\r\n"))
    assert SentimentPipeline.from_pretrained(checkpoint)(TEXTS) == expected


def test_a_checkpoint_of_an_earlier_version_still_loads(checkpoint):
    expected = SentimentPipeline.from_pretrained(checkpoint)(TEXTS)
    tensors = load_file(checkpoint / WEIGHTS)
    for metadata in (None, {"sha256": weights_checksum(tensors)}):
        save_file(tensors, checkpoint / WEIGHTS, metadata)
        assert SentimentPipeline.from_pretrained(checkpoint)(TEXTS) == expected
