"""Small things that many tests need. Nothing here touches the network but loopback."""

import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("OMP_NUM_THREADS", "2")

import pytest
import torch
from click.testing import CliRunner, Result

from sentiment_hf import LSTMConfig, SentimentPipeline, train, train_tokenizer
from sentiment_hf.cli import main
from sentiment_hf.pretrained import LSTMForSequenceClassification

SENTENCES = [
    "a good film , good and warm",
    "a bad film , bad and cold",
    "not a good film",
    "not a bad film",
    "warm and good",
    "cold and bad",
]


@pytest.fixture(autouse=True)
def _own_dataset_cache(tmp_path_factory, monkeypatch):
    """Each test starts with an empty cache of `datasets`."""
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))


@pytest.fixture
def make_pipeline():
    """Builds an untrained pipeline over a dozen words: `make_pipeline(hidden_size=7, ...)`."""

    def make(seed: int = 0, **fields) -> SentimentPipeline:
        tokenizer = train_tokenizer(SENTENCES, 50)
        sizes = {"embedding_dim": 5, "hidden_size": 4, **fields}
        torch.manual_seed(seed)
        config = LSTMConfig(tokenizer.get_vocab_size(), **sizes)
        return SentimentPipeline(LSTMForSequenceClassification(config).eval(), tokenizer)

    return make


@pytest.fixture
def checkpoint(make_pipeline, tmp_path) -> Path:
    """A folder with a small untrained checkpoint, to be damaged at will."""
    make_pipeline().save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """A checkpoint folder as `train` writes it, from the sample corpus; read it, do not change it."""
    folder = tmp_path_factory.mktemp("trained") / "small"
    train("sample", folder, epochs=2, batch_size=32, show_progress=False)
    return folder


@pytest.fixture
def run():
    """Runs a command in this process: `run("predict", "A text", stdin=None)`."""

    def invoke(*arguments: object, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)

    return invoke


@pytest.fixture
def run_process():
    """Runs a command in a process of its own, as a user does."""

    def invoke(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sentiment_hf.cli", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=240, check=False, **options
        )

    return invoke
