"""A checkpoint folder: what is saved comes back bit for bit, what is damaged is refused."""

import json
import os
import pickle
import resource
import shutil
import struct
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sentiment_hf import LSTMForSequenceClassification, SentimentError, SentimentPipeline
from sentiment_hf.checkpoint.tokenizer_file import read_tokenizer
from sentiment_hf.checkpoint.weights import weights_checksum, weights_named
from sentiment_hf.data.tokenization import word_tokenizer
from sentiment_hf.errors import UNPRINTABLE

TEXTS = ["a good film", "not a bad film , warm and good and cold and bad", "", "cold zebra"]
CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
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


def removed(file: str):
    return file, lambda folder: (folder / file).unlink()


def written(file: str, content: str | bytes):
    data = content.encode() if isinstance(content, str) else content
    return file, lambda folder: (folder / file).write_bytes(data)


def changed(file: str, change):
    def damage(folder: Path) -> None:
        (folder / file).write_bytes(change((folder / file).read_bytes()))

    return file, damage


def config(**fields):
    return changed(CONFIG, lambda data: json.dumps(json.loads(data) | fields).encode())


def tokenizer(**fields):
    return changed(TOKENIZER, lambda data: json.dumps(json.loads(data) | fields).encode())


def vocabulary(**fields):
    def change(data: bytes) -> bytes:
        content = json.loads(data)
        words = content["model"]["vocab"] | fields.pop("vocab", {})
        content["model"] |= {"vocab": {w: i for w, i in words.items() if i is not None}} | fields
        return json.dumps(content).encode()

    return changed(TOKENIZER, change)


def weights(change):
    def damage(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS)

    return WEIGHTS, damage


def header(length: int, content: str = "{}") -> tuple:
    return written(WEIGHTS, struct.pack("<Q", length) + content.encode())


def deep(file: str, key: str, opening: str, closing: str, levels: int) -> tuple:
    nested = (opening * levels + closing * levels).encode()

    def change(data: bytes) -> bytes:
        return json.dumps(json.loads(data) | {key: "HERE"}).encode().replace(b'"HERE"', nested)

    return changed(file, change)


BIAS, HEAD = "linear.bias", "linear.weight"
FIXED = {"strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None}
FIXED |= {"pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}
ADDED = [{"id": 2, "content": "film", "special": True, "single_word": False, "lstrip": False}]
NUMBERS = {"text": "14", "float": 11.0, "null": None, "true": True, "-1": -1, "0": 0}
NUMBERS |= {"10**12": 10**12, "2**63": 2**63, "10**4000": 10**4000}
DAMAGES = {
    "config missing": (removed(CONFIG), ""),
    "config empty": (written(CONFIG, ""), ""),
    "config cut off": (written(CONFIG, "{"), ""),
    "config a list": (written(CONFIG, "[1]"), "list"),
    "config null": (written(CONFIG, "null"), "object"),
    "config latin-1": (written(CONFIG, '{"model_type": "caf\xe9"}'.encode("latin-1")), "utf-8"),
    "config BOM": (changed(CONFIG, lambda data: b"\xef\xbb\xbf" + data), "BOM"),
    "config UTF-16": (changed(CONFIG, lambda data: data.decode().encode("utf-16")), "utf-8"),
    "config nested": (written(CONFIG, '{"a":' * 100_000), ""),
    **{
        f"model_type nested {n}": (deep(CONFIG, "model_type", "[", "]", n), "")
        for n in (970, 985, 9000)
    },
    "config 5000 digits": (changed(CONFIG, lambda data: b'{"vocab_size": ' + b"9" * 5000), "digit"),
    "config too large": ((CONFIG, lambda f: os.truncate(f / CONFIG, 1_000_001)), "larger"),
    "config of bert": (config(model_type="bert"), "model_type"),
    "config no type": (written(CONFIG, "{}"), "model_type"),
    "config no size": (written(CONFIG, '{"model_type": "sentiment-lstm"}'), "vocab_size"),
    **{f"vocab_size {k}": (config(vocab_size=value), "vocab_size") for k, value in NUMBERS.items()},
    **{f"hidden_size {k}": (config(hidden_size=v), "hidden_size") for k, v in NUMBERS.items()},
    "vocab_size other": (config(vocab_size=12), "vocab_size"),
    "vocab_size large": (config(vocab_size=10**7), "vocab_size"),
    "sizes large": (config(hidden_size=10**7, embedding_dim=10**7, num_layers=64), "shape"),
    "num_layers 10**6": (config(num_layers=10**6), "num_layers"),
    "temperature NaN": (config(temperature=float("nan")), "temperature"),
    "pad_token_id": (config(pad_token_id=5), "[PAD]"),
    "unk_token_id": (config(unk_token_id=5), "[UNK]"),
    "label2id": (config(label2id={"neg": 1, "pos": 0}), "label2id"),
    "label2id null": (config(label2id=None), "label2id"),
    "num_labels": (config(num_labels=3), "num_labels"),
    "id2label list": (config(id2label=["neg", "pos"]), "id2label"),
    "id2label words": (config(id2label={"neg": 0, "pos": 1}), "id2label"),
    "id2label from 1": (config(id2label={"1": "neg", "2": "pos"}), "id2label"),
    "weights missing": (removed(WEIGHTS), ""),
    "weights empty": (written(WEIGHTS, b""), ""),
    "weights cut off": (changed(WEIGHTS, lambda data: data[:-7]), ""),
    "weights one bit": (
        changed(WEIGHTS, lambda data: data[:-4] + bytes([data[-4] ^ 1]) + data[-3:]),
        "",
    ),
    "weights half a header": (changed(WEIGHTS, lambda data: data[:60]), ""),
    "weights html": (written(WEIGHTS, "<!DOCTYPE html><title>404</title>" * 9), ""),
    "weights LFS pointer": (written(WEIGHTS, "version https://git-lfs.github.com/spec/v1\n"), ""),
    "weights pickle": (written(WEIGHTS, pickle.dumps({"linear.weight": [1.0]}) * 9), ""),
    "weights huge header": (header(2**63 - 1), ""),
    "weights 10**9 header": (header(10**9), ""),
    "weights no tensor": (header(2), "no tensor"),
    "weights one missing": (weights(lambda t: t.pop(BIAS)), BIAS),
    "weights one too many": (weights(lambda t: t.update(extra=torch.zeros(1))), "extra"),
    "weights renamed": (weights(lambda t: t.update(bias=t.pop(BIAS))), BIAS),
    "weights transposed": (weights(lambda t: t.update({HEAD: t[HEAD].T})), HEAD),
    "weights shorter": (weights(lambda t: t.update({HEAD: t[HEAD][:, 1:]})), HEAD),
    "weights integers": (weights(lambda t: t.update({HEAD: t[HEAD].int()})), HEAD),
    "weights NaN": (weights(lambda t: t[HEAD].fill_(torch.nan)), HEAD),
    "weights inf": (weights(lambda t: t[BIAS].fill_(torch.inf)), BIAS),
    "tokenizer missing": (removed(TOKENIZER), ""),
    "tokenizer {}": (written(TOKENIZER, "{}"), "model"),
    "tokenizer cut off": (changed(TOKENIZER, lambda data: data[:-90]), ""),
    "tokenizer nested": (written(TOKENIZER, '{"a":' * 100_000), ""),
    **{
        f"normalizer nested {n}": (
            deep(TOKENIZER, "normalizer", '{"type": "Sequence", "normalizers": [', "]}", n),
            "",
        )
        for n in (200, 480, 2000)
    },
    "BPE": (tokenizer(model={"type": "BPE", "vocab": {}, "merges": []}), "WordLevel"),
    "model a list": (tokenizer(model=[]), "model"),
    "vocab a list": (tokenizer(model={"type": "WordLevel", "vocab": ["film"]}), "vocab"),
    "ids beyond": (vocabulary(vocab={"film": 10**6}), "vocab"),
    "id negative": (vocabulary(vocab={"film": -1}), "vocab"),
    "id a text": (vocabulary(vocab={"film": "3"}), "vocab"),
    "ids twice": (vocabulary(vocab={"film": 3, "good": 3}), "vocab"),
    "ids with a gap": (vocabulary(vocab={"film": None}), "vocab"),
    "a word more": (vocabulary(vocab={"more": 11}), "vocab_size"),
    "unk_token": (vocabulary(unk_token="<unk>"), "unk_token"),
    "padding": (tokenizer(padding=FIXED), "padding"),
    "truncation": (tokenizer(truncation={"max_length": 0}), "truncation"),
    "added tokens": (tokenizer(added_tokens=ADDED), "added_tokens"),
    "FixedLength": (tokenizer(pre_tokenizer={"type": "FixedLength", "length": 0}), "pre_tokenizer"),
    "Precompiled": (
        tokenizer(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        "normalizer",
    ),
    "Precompiled inside": (
        tokenizer(normalizer={"type": "Sequence", "normalizers": [{"type": "Precompiled"}]}),
        "normalizer",
    ),
    "normalizer a list": (tokenizer(normalizer=[1]), "normalizer"),
    "normalizer no text": (tokenizer(normalizer={"type": ["NFC"]}), "normalizer"),
    "pre_tokenizer empty": (tokenizer(pre_tokenizer={}), "pre_tokenizer"),
    "bad pattern": (
        tokenizer(normalizer={"type": "Replace", "pattern": {"Regex": "("}, "content": ""}),
        "",
    ),
}


@contextmanager
def little_memory_and_time():
    """Half a gigabyte more than now, and a second."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + 2**29
        resource.setrlimit(resource.RLIMIT_AS, (most, limits[1]))
    start = time.perf_counter()
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_folder_is_one_sentence_that_names_file_and_field(checkpoint, run, name):
    (file, damage), field = DAMAGES[name]
    damage(checkpoint)
    with little_memory_and_time(), pytest.raises(SentimentError) as error:
        SentimentPipeline.from_pretrained(checkpoint)
    assert str(checkpoint) in str(error.value)
    assert file in str(error.value)
    assert field in str(error.value).replace(str(checkpoint), "")
    assert len(str(error.value)) < len(str(checkpoint)) * 2 + 300
    assert error.value.exit_status == 2
    if file != TOKENIZER and field not in ("[PAD]", "[UNK]"):
        with little_memory_and_time(), pytest.raises(SentimentError, match=str(checkpoint)):
            LSTMForSequenceClassification.from_pretrained(checkpoint)
    result = run("predict", "a text", "--model", checkpoint)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_a_sentence_stays_on_one_line_whatever_it_quotes(checkpoint):
    path = checkpoint / CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), "pooling": "\n\r\x1b[2J\u2028"}))
    with pytest.raises(SentimentError, match="pooling") as caught:
        SentimentPipeline.from_pretrained(checkpoint)
    assert len(str(caught.value).splitlines()) == 1


def test_of_a_tokenizer_file_nothing_but_the_vocabulary_is_taken(checkpoint, make_pipeline):
    path = checkpoint / TOKENIZER
    expected = SentimentPipeline.from_pretrained(checkpoint).tokenizer.to_str()
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": "9", "else": [1]}))
    assert read_tokenizer(checkpoint, make_pipeline().config).to_str() == expected


A_LETTER_TO_A_MILLION = [
    {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 100} for _ in range(4)
]
HARMFUL = {
    "multiplies": {"normalizer": {"type": "Sequence", "normalizers": A_LETTER_TO_A_MILLION}},
    "never ends": {
        "normalizer": {
            "type": "Replace",
            "pattern": {"Regex": "(a|a|b?)*c" * 9},
            "content": "",
        }
    },
    "a hidden list": {
        "pre_tokenizer": {
            "type": "Sequence",
            "normalizers": [{"type": "Whitespace"}],
            "pretokenizers": [{"type": "FixedLength", "length": 0}],
        }
    },
    "another recipe": {"normalizer": {"type": "Lowercase"}},
    "none": {"pre_tokenizer": None},
}


@pytest.mark.parametrize("fields", HARMFUL.values(), ids=HARMFUL)
def test_a_tokenizer_of_another_recipe_is_refused_before_it_reads_a_text(checkpoint, fields):
    tokenizer(**fields)[1](checkpoint)
    with little_memory_and_time(), pytest.raises(SentimentError, match="train_tokenizer"):
        SentimentPipeline.from_pretrained(checkpoint)("a" * 100)


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


PAIRS = {
    "labels": {"id2label": {0: "pos", 1: "neg"}},
    "temperature": {"temperature": 2.0},
    "max_length": {"max_length": 3},
}


@pytest.mark.parametrize("name", [CONFIG, TOKENIZER, WEIGHTS])
@pytest.mark.parametrize("fields", PAIRS.values(), ids=PAIRS)
def test_files_of_two_checkpoints_are_not_taken_for_one(make_pipeline, tmp_path, name, fields):
    make_pipeline().save_pretrained(tmp_path / "one")
    other = make_pipeline(seed=1, **fields)
    words = [*json.loads(other.tokenizer.to_str())["model"]["vocab"]]
    words[2], words[3] = words[3], words[2]
    other.tokenizer = word_tokenizer({word: i for i, word in enumerate(words)})
    other.save_pretrained(tmp_path / "other")
    shutil.copy(tmp_path / "other" / name, tmp_path / "one")
    with pytest.raises(SentimentError, match="belongs to another"):
        SentimentPipeline.from_pretrained(tmp_path / "one")


def test_line_ends_of_another_system_make_no_other_checkpoint(checkpoint):
    expected = SentimentPipeline.from_pretrained(checkpoint)(TEXTS)
    for name in (CONFIG, TOKENIZER):
        content = (checkpoint / name).read_bytes()
        (checkpoint / name).write_bytes(content.replace(b"\n", b"\r\n"))
    assert SentimentPipeline.from_pretrained(checkpoint)(TEXTS) == expected


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, TOKENIZER])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_has_no_end_is_not_read(checkpoint, name, kind):
    path = checkpoint / name
    path.unlink()
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    with little_memory_and_time(), pytest.raises(SentimentError, match=f"{name}.*no regular file"):
        SentimentPipeline.from_pretrained(checkpoint)


def test_a_record_of_weights_that_have_no_end_is_not_waited_for(checkpoint):
    (checkpoint / WEIGHTS).unlink()
    os.mkfifo(checkpoint / WEIGHTS)
    with little_memory_and_time():
        assert weights_named(checkpoint) is None


def test_a_large_header_is_not_read(checkpoint):
    metadata = {str(number): "" for number in range(100_000)}
    save_file(load_file(checkpoint / WEIGHTS), checkpoint / WEIGHTS, metadata)
    with pytest.raises(SentimentError, match=f"{WEIGHTS}.*header"):
        SentimentPipeline.from_pretrained(checkpoint)
    assert weights_named(checkpoint) is None


def test_a_checkpoint_of_an_earlier_version_still_loads(checkpoint):
    expected = SentimentPipeline.from_pretrained(checkpoint)(TEXTS)
    tensors = load_file(checkpoint / WEIGHTS)
    for metadata in (None, {"sha256": weights_checksum(tensors)}):
        save_file(tensors, checkpoint / WEIGHTS, metadata)
        assert SentimentPipeline.from_pretrained(checkpoint)(TEXTS) == expected
