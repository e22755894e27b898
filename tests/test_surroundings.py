"""Where it runs: disks that can do less, notebooks that have changed torch, no console."""

import errno
import json
import os
import pickle
import shutil
import stat
import subprocess
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import datasets
import joblib
import pytest
import torch
from datasets import Dataset

from sentiment_hf import SentimentPipeline, evaluate, load_reviews, train
from sentiment_hf.checkpoint.files import write_text
from sentiment_hf.errors import message_and_status

TEXTS = ["a good film", "not a bad film", "warm and good", ""]
ROWS = Dataset.from_dict(
    {"text": [f"{t} {i}" for i in range(12) for t in TEXTS], "label": ["neg", "pos"] * 24}
)


def refuse(number):
    def refused(*_, **__):
        raise OSError(number, os.strerror(number))

    return refused


# Disks


@pytest.mark.parametrize("has_no_links", [False, True])
def test_a_disk_that_knows_no_modes_takes_a_checkpoint(
    checkpoint, make_pipeline, monkeypatch, has_no_links
):
    refused = [(os, "chmod"), (Path, "chmod"), (shutil, "copymode"), *[(os, "link")] * has_no_links]
    for owner, name in refused:
        monkeypatch.setattr(owner, name, refuse(errno.EPERM))
    make_pipeline(seed=1).save_pretrained(checkpoint)
    there = SentimentPipeline.from_pretrained(checkpoint)
    assert there(TEXTS) == make_pipeline(seed=1)(TEXTS)


def test_a_disk_that_cannot_wait_for_a_folder_takes_a_checkpoint(
    make_pipeline, tmp_path, monkeypatch
):
    fsync, refused = os.fsync, []

    def wait(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            refused.append(descriptor)
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", wait)
    number = errno.EINVAL
    make_pipeline().save_pretrained(tmp_path / "out")
    assert refused
    number = errno.EIO  # A disk that fails is another thing.
    with pytest.raises(OSError, match="Input/output error"):
        make_pipeline().save_pretrained(tmp_path / "out")


def test_a_saved_data_set_is_opened_wherever_the_cache_is(tmp_path, monkeypatch):
    ROWS.save_to_disk(tmp_path / "there" / "own")
    (tmp_path / "link").symlink_to(tmp_path / "there" / "more")
    (tmp_path / "there" / "more").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    for cache in ("~/cache", str(tmp_path / "a::b")):
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
        for folder in (tmp_path / "there" / "own", tmp_path / "link" / ".." / "own"):
            assert load_reviews(folder)["train"]["text"][:] == ROWS["text"][:]
    assert not Path("~").exists()
    for link in (tmp_path / "cache").rglob("*.arrow"):
        link.unlink()
        link.symlink_to("/nowhere")  # Somebody else's link is not followed.
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    assert load_reviews(tmp_path / "there" / "own")["train"]["text"][:] == ROWS["text"][:]


@pytest.mark.parametrize("call", ["symlink_to", "mkdir"])
def test_a_saved_data_set_is_opened_where_the_cache_can_hold_no_links(tmp_path, monkeypatch, call):
    ROWS.save_to_disk(tmp_path / "own")
    monkeypatch.setattr(Path, call, refuse(errno.ENOTSUP))
    assert load_reviews(tmp_path / "own")["train"]["text"][:] == ROWS["text"][:]


def test_what_cannot_be_written_is_named_as_the_user_knows_it(run, tmp_path, monkeypatch):
    with pytest.raises(OSError, match=r"\.tmp") as caught:
        write_text(tmp_path / "no folder" / "page.html", "")
    assert message_and_status(caught.value) == ("No such file or directory: page.html", 1)
    mkdir = Path.mkdir

    def refused(path, *arguments, **options):
        if path.name.startswith(".sentiment-hf-"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        mkdir(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", refused)
    result = run("export", "reference", "--format", "transformers", "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert f"{tmp_path / 'out'} cannot be written: Read-only file system." in result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text on this system")
def test_a_data_set_and_a_model_may_have_names_that_are_no_text(run, checkpoint, tmp_path):
    own, model = (os.fsdecode(os.fsencode(tmp_path) + name) for name in (b"/m\xe9.csv", b"/m\xe9"))
    ROWS.to_csv(own)
    shutil.copytree(checkpoint, model)
    out = tmp_path / "out"
    result = run("train", own, "--output", out, "--init-from", model, "--epochs", 1)
    assert result.exit_code == 0, result.stderr
    record = json.loads((out / "training.json").read_text())
    assert record["data"]["dataset"] == "m\N{REPLACEMENT CHARACTER}.csv"
    labelled = run("annotate", own, "--model", model, "--output", tmp_path / "labelled")
    assert labelled.exit_code == 0, labelled.stderr


# Torch as somebody has set it


@contextmanager
def torch_set_to(what):
    """A notebook that changed torch for the whole process."""
    dtype = getattr(torch, what, None)
    ways = {"meta": torch.device("meta"), "no gradients": torch.no_grad()}
    if isinstance(dtype, torch.dtype):
        torch.set_default_dtype(dtype)
    try:
        with ways.get(what) or torch.inference_mode(what == "inference"):
            yield
    finally:
        torch.set_default_dtype(torch.float32)


SETTINGS = ["float64", "bfloat16", "meta", "no gradients", "inference"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_pipeline_answers_whatever_torch_was_set_to(checkpoint, setting, dtype):
    answers = SentimentPipeline.from_pretrained(checkpoint, dtype=dtype).probabilities(TEXTS)
    with torch_set_to(setting):
        pipe = SentimentPipeline.from_pretrained(checkpoint, dtype=dtype)
        for one in (pipe, pickle.loads(pickle.dumps(pipe))):
            assert (one.probabilities(TEXTS) == answers).all()
            assert one.explain("a good film").completeness_error >= 0
        assert pipe.trace(TEXTS)
        assert 0 <= evaluate(ROWS, checkpoint, split="train")["accuracy"] <= 1


def test_a_training_is_the_same_whatever_torch_was_set_to(tmp_path):
    options = {"epochs": 1, "dtype": "float32", "show_progress": False}
    expected = train(ROWS, tmp_path / "plain", **options).probabilities(TEXTS)
    for setting in SETTINGS:
        with torch_set_to(setting):
            before = torch.get_default_dtype(), torch.is_grad_enabled()
            pipe = train(ROWS, tmp_path / setting, **options)
            assert (torch.get_default_dtype(), torch.is_grad_enabled()) == before
        assert (pipe.probabilities(TEXTS) == expected).all(), setting


# Processes


def test_memory_that_cannot_be_written_is_no_reason_to_warn(make_pipeline, tmp_path):
    pipe = make_pipeline(hidden_size=64)
    joblib.dump(pipe, tmp_path / "pipe")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        there = joblib.load(tmp_path / "pipe", mmap_mode="r")
    assert (there.probabilities(TEXTS) == pipe.probabilities(TEXTS)).all()


@pytest.mark.skipif(os.name == "nt", reason="needs a shell of POSIX")
def test_a_command_needs_no_console(checkpoint, tmp_path):
    ROWS.to_csv(tmp_path / "own.csv")
    command = [sys.executable, "-m", "sentiment_hf.cli"]
    for arguments in (
        ["predict", "a film", "--model", checkpoint, "--backend", "torch"],
        ["train", tmp_path / "own.csv", "--output", tmp_path / "out", "--epochs", 1],
        ["annotate", tmp_path / "own.csv", "--output", tmp_path / "labelled"],
    ):
        closed = ["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *command, *map(str, arguments)]
        assert subprocess.run(closed, timeout=120, check=False).returncode == 0, arguments
    assert (tmp_path / "out/model.safetensors").exists()


def test_memory_that_does_not_suffice_is_one_sentence():
    assert message_and_status(MemoryError()) == ("There is not enough memory.", 1)
