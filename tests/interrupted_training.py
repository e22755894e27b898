"""Trainings in processes of their own, to be cut off at any moment."""

import multiprocessing
import os
import re
import signal
import sys

import pytest

from sentiment_hf import train
from sentiment_hf.training import loop

# Each command is forked from a process that has imported everything and computed nothing: as
# fresh as one that a user starts, without the seconds of its imports.
PROCESSES = multiprocessing.get_context("forkserver")
PRELOADED = "sentiment_hf.cli sentiment_hf.training.train matplotlib.figure torch._dynamo"
PRELOADED += " torch.distributed.tensor sklearn.utils.extmath"
PROCESSES.set_forkserver_preload(PRELOADED.split())
SETTINGS = {"epochs": 2, "batch_size": 40, "max_length": 30}
TEXTS = ["a warm film", "a cold , dull film", "some music", ""]


def run_command(arguments, log, cache, sign, moment):
    """Runs `sentiment-hf ...`, saving after every step; sends itself `sign` at a moment.

    A moment is an audit event, a pattern for the end of its path, and how often it came.
    """
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    import datasets

    from sentiment_hf.cli import main

    datasets.config.HF_DATASETS_CACHE = cache
    loop.SAVE_EVERY_SECONDS = -1.0
    event, ending, count = moment
    seen = 0

    def watch(name, details):
        nonlocal seen
        if name == event and isinstance(details[0], str | os.PathLike):
            is_meant = bool(re.search(f"{ending}$", os.fspath(details[0])))
            seen += is_meant
            if seen == count and is_meant:
                os.kill(os.getpid(), sign)

    sys.addaudithook(watch)
    main([str(argument) for argument in arguments])


@pytest.fixture
def command(easy_csv, tmp_path):
    """Runs `train easy.csv --output tmp_path/out ...` in a process: its exit code and output."""

    def run(*options, sign=signal.SIGKILL, moment=("", "", 0), watch=lambda: False):
        arguments = ["train", easy_csv, "--output", tmp_path / "out", *options]
        for name, value in SETTINGS.items():
            arguments += [f"--{name.replace('_', '-')}", value]
        log, cache = tmp_path / "log", str(tmp_path / "cache")
        process = PROCESSES.Process(target=run_command, args=(arguments, log, cache, sign, moment))
        process.start()
        while process.is_alive():
            if watch():
                process.kill()
            process.join(0.005)
        return process.exitcode, log.read_text()

    return run


@pytest.fixture(scope="session")
def whole(easy_csv, tmp_path_factory):
    """The weights of the same training, never cut off."""
    folder = tmp_path_factory.mktemp("resume") / "whole"
    train(easy_csv, folder, show_progress=False, **SETTINGS)
    return (folder / "model.safetensors").read_bytes()


@pytest.fixture
def old(make_pipeline, tmp_path):
    """An older checkpoint in the output folder; what it answers."""
    pipe = make_pipeline()
    pipe.save_pretrained(tmp_path / "out")
    return pipe.probabilities(TEXTS).tolist()


TEMPORARY, STAGING = r"\.\w+\.tmp", r"/out/\.sentiment-hf-\w+"
MOMENTS = {
    "before the first state": ("os.mkdir", "out/training_state", 1),
    "while the first state is written": ("os.rename", rf"step-1.safetensors{TEMPORARY}", 1),
    "before the first state counts": ("os.rename", rf"state.json{TEMPORARY}", 1),
    "before the second state counts": ("os.rename", rf"state.json{TEMPORARY}", 2),
    "before an old state is removed": ("os.remove", "step-2.safetensors", 1),
    "while the end of an epoch is saved": ("os.rename", rf"step-5.safetensors{TEMPORARY}", 2),
    "in the second epoch": ("os.remove", "step-6.safetensors", 1),
    "while the checkpoint is written": ("open", rf"{STAGING}/files/training.json{TEMPORARY}", 1),
    "before it counts": ("open", rf"{STAGING}/complete", 1),
    "while its files take their places": ("os.rename", rf"{STAGING}/moving", 2),
    "while what was staged is removed": ("os.rmdir", STAGING, 1),
    "before the state is removed": ("os.remove", "training_state/state.json", 1),
}


@pytest.fixture
def unfinished(command, tmp_path):
    """The output folder of a training that was killed in its second epoch."""
    assert command(moment=MOMENTS["in the second epoch"])[0] == -signal.SIGKILL
    return tmp_path / "out"


@pytest.fixture
def train_again(run, easy_csv, tmp_path):
    def invoke(*flags, dataset=easy_csv, **changed):
        named = {f"--{key.replace('_', '-')}": v for key, v in (SETTINGS | changed).items()}
        options = [part for pair in named.items() for part in pair]
        return run("train", dataset, "--output", tmp_path / "out", *options, *flags)

    return invoke


def refused(result, *words):
    assert result.exit_code == 2
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    for word in words:
        assert word in last
    return True
