"""A damaged or hostile checkpoint folder: one sentence, in little memory and time."""

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
from checkpoint_changes import CONFIG, TOKENIZER, WEIGHTS, changed, config, weights
from safetensors.torch import load_file, save_file

from sentiment_hf import LSTMForSequenceClassification, SentimentError, SentimentPipeline
from sentiment_hf.checkpoint.tokenizer_file import read_tokenizer
from sentiment_hf.checkpoint.weights import checksum_of_weights
from sentiment_hf.data.tokenization import word_tokenizer


def removed(file: str):
    return file, lambda folder: (folder / file).unlink()


def written(file: str, content: str | bytes):
    data = content.encode() if isinstance(content, str) else content
    return file, lambda folder: (folder / file).write_bytes(data)


def tokenizer(**fields):
    return changed(TOKENIZER, lambda data: json.dumps(json.loads(data) | fields).encode())


def vocabulary(**fields):
    def change(data: bytes) -> bytes:
        content = json.loads(data)
        words = content["model"]["vocab"] | fields.pop("vocab", {})
        content["model"] |= {"vocab": {w: i for w, i in words.items() if i is not None}} | fields
        return json.dumps(content).encode()

    return changed(TOKENIZER, change)


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
    "weights no tensor": (header(2), "the file has none"),
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
        assert checksum_of_weights(checkpoint) is None


def test_a_large_header_is_not_read(checkpoint):
    metadata = {str(number): "" for number in range(100_000)}
    save_file(load_file(checkpoint / WEIGHTS), checkpoint / WEIGHTS, metadata)
    with pytest.raises(SentimentError, match=f"{WEIGHTS}.*header"):
        SentimentPipeline.from_pretrained(checkpoint)
    assert checksum_of_weights(checkpoint) is None
