"""Small things that many tests need. Nothing here touches the network but loopback."""

import logging
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

with socket.socket() as _probe:
    _probe.bind(("127.0.0.1", 0))
    HUB_PORT = _probe.getsockname()[1]

# The Hub's client reads these when it is imported. Nothing listens on that port but in tests
# that ask for the fixture `hub`.
os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{HUB_PORT}"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="hf-home-")
os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
for _name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
    os.environ.pop(_name, None)
os.environ.setdefault("OMP_NUM_THREADS", "2")
# A job in the background ignores these, and so would the processes that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
for _signal in (signal.SIGTERM, signal.SIGHUP) if hasattr(signal, "SIGHUP") else ():
    signal.signal(_signal, signal.SIG_DFL)

import numpy as np
import pytest
import torch
from browser import chromium_started
from click.testing import CliRunner, Result
from hub_server import Hub

from sentiment_hf import LSTMConfig, SentimentPipeline, train, train_tokenizer
from sentiment_hf.checkpoint.pretrained import LSTMForSequenceClassification
from sentiment_hf.cli import main
from sentiment_hf.data.batching import EncodedRows, TrainingBatches, target_probabilities
from sentiment_hf.training.loop import Trainer, TrainerSettings
from sentiment_hf.training.run import start_accelerator

ANN = "hf_annAnnannANN"

SENTENCES = [
    "a good film , good and warm",
    "a bad film , bad and cold",
    "not a good film",
    "not a bad film",
    "warm and good",
    "cold and bad",
]


@pytest.fixture(autouse=True)
def _own_messages():
    """A command that ran earlier in this process has kept its messages from `caplog`."""
    logger = logging.getLogger("sentiment_hf")
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


@pytest.fixture(autouse=True)
def _own_dataset_cache(tmp_path_factory, monkeypatch):
    """Each test starts with an empty cache of `datasets`."""
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))


@pytest.fixture
def write(tmp_path):
    """Writes a file: `write("own.csv", "text,label", "a film,pos")`."""

    def to_file(name, *lines, encoding="utf-8"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(("\n".join(lines) + "\n").encode(encoding))
        return path

    return to_file


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
    """A checkpoint folder as `train` writes it, from the sample corpus; only to be read."""
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


@pytest.fixture(scope="module")
def chromium():
    """A browser for the tests of one file; while it runs, no other event loop can."""
    with chromium_started() as browser:
        yield browser


@pytest.fixture(scope="session")
def easy_csv(tmp_path_factory) -> Path:
    """A csv file of 200 short rows that anyone can tell apart.

    Each row has a word that no other has, twice, so that a vocabulary tells which rows it saw.
    """
    dice = random.Random(0)
    words = {
        "neg": ["cold", "dull", "grim", "clumsy", "stale", "noisy"],
        "pos": ["warm", "lovely", "bright", "tender", "clever", "funny"],
        "": ["the", "film", "was", "a", "very", "long", "evening", "with", "some", "music"],
    }
    lines = ["text,label"]
    for number in range(200):
        label = ("neg", "pos")[number % 2]
        chosen = dice.choices(words[""], k=dice.randint(3, 10)) + dice.choices(words[label], k=2)
        dice.shuffle(chosen)
        lines.append(f"{' '.join(chosen)} row{number} row{number},{label}")
    path = tmp_path_factory.mktemp("easy") / "easy.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[Hub]:
    """A Hub on loopback that the real client talks to, with an empty cache and Ann logged in."""
    server = Hub()
    server.ports = [HUB_PORT, 0]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    monkeypatch.setenv("HF_TOKEN", ANN)
    with server:
        server.add_user("ann", ANN)
        yield server


@pytest.fixture
def make_network():
    """Builds a network of few weights over twelve words: `make_network(labels=3, dropout=0.5)`."""

    def make(seed: int = 0, labels: int = 2, kind: type = LSTMForSequenceClassification, **fields):
        names = {i: f"label {i}" for i in range(labels)}
        sizes = {"embedding_dim": 6, "hidden_size": 5, "id2label": names, **fields}
        torch.manual_seed(seed)
        return kind(LSTMConfig(12, **sizes))

    return make


@pytest.fixture
def make_batches():
    """Makes batches of rows of those words, drawn by lot like their labels unless given."""

    def make(batch_size: int = 4, rows: int = 10, seed: int = 0, labels: int = 2, texts=None):
        dice = np.random.default_rng(seed)
        texts = texts or [dice.integers(2, 12, dice.integers(2, 7)) for _ in range(rows)]
        tokens = np.concatenate(texts).astype(np.int32)
        lengths = np.array([len(text) for text in texts])
        ends = np.cumsum(lengths)
        targets = target_probabilities(dice.integers(0, labels, len(texts)), labels)
        return TrainingBatches(
            EncodedRows(tokens, ends - lengths, ends, targets), batch_size, seed=seed
        )

    return make


@pytest.fixture
def fit():
    """Trains a model: `fit(model, loss_function, batches, validate, epochs=3, ...)`.

    Gives the history.
    """

    def run(model, loss_function, batches, validate, state=None, **settings):
        return Trainer(
            model,
            loss_function,
            batches,
            TrainerSettings(**{"epochs": 3, "learning_rate": 0.01, **settings}),
            accelerator=start_accelerator("cpu", "float32"),
            validate=validate,
            state=state,
            show_progress=False,
        ).fit()

    return run
