"""A training that is killed, interrupted or repeated: nothing is lost, nothing half-written."""

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import time

import pytest
import torch

from sentiment_hf import SentimentError, SentimentPipeline, train
from sentiment_hf.checkpoint import is_checkpoint
from sentiment_hf.network import LSTMClassifier, LSTMConfig
from sentiment_hf.training import loop
from sentiment_hf.training.classifier import make_accelerator
from sentiment_hf.training.objectives import classification
from sentiment_hf.training.state import StateFolder

# Processes are forked from one that has imported everything and computed nothing: each is as
# fresh as a command, without the seconds of its imports.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(
    ["sentiment_hf.training.classifier", "sentiment_hf.cli", "matplotlib.pyplot"]
    + ["torch._dynamo", "torch.distributed.tensor", "sklearn.utils.extmath", "scipy.stats"]
)

OPTIONS = ["--epochs", 2, "--batch-size", 40, "--max-length", 30]


def command(arguments, log, cache, killed_at):
    """Runs in the forked process: saves after every step, dies at file operation `killed_at`."""
    stream = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    import datasets

    datasets.config.HF_DATASETS_CACHE = cache
    datasets.disable_progress_bars()
    loop.SAVE_EVERY_SECONDS = -1.0
    output = str(arguments[arguments.index("--output") + 1])
    parent, name = os.path.split(output)
    changes = 0; log2=[]

    def count(event, details):
        nonlocal changes
        if event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "open"):
            path = os.fsdecode(details[0]) if isinstance(details[0], str | bytes) else ""
            if path.startswith((output, f"{parent}/.{name}")):
                changes += 1; log2.append((event, path[len(parent):]))
                if changes == killed_at:
                    os.kill(os.getpid(), signal.SIGKILL)

    if killed_at:
        sys.addaudithook(count)
    from sentiment_hf.cli import main

    try:
        main([str(argument) for argument in arguments])
    finally:
        if os.environ.get("COUNT"):
            print("CHANGES", changes); import resource; print("RU", resource.getrusage(resource.RUSAGE_SELF)[:2]); print(*log2,sep="\n")


@pytest.fixture
def start(tmp_path, easy_csv):
    """Starts `train easy.csv --output tmp_path/out ...` in a process of its own."""

    def begin(*arguments, killed_at=None):
        arguments = ["train", easy_csv, "--output", tmp_path / "out", *OPTIONS, *arguments]
        cache = str(tmp_path / "cache")
        process = processes.Process(
            target=command, args=(arguments, tmp_path / "log", cache, killed_at)
        )
        process.start()
        return process

    return begin

def test_x(start, tmp_path):
    t=time.time()
    p=start(); p.join(); print("T", time.time()-t, p.exitcode); print((tmp_path/"log").read_text())
    for i in (5,):
        t=time.time()
        p=start("--overwrite", killed_at=100000); p.join(); print("T", time.time()-t, p.exitcode); print((tmp_path/"log").read_text())
    assert 0
