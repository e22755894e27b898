"""Checkpoints and their ONNX exports."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sentiment_hf import SentimentPipeline
from sentiment_hf.checkpoint.folder import CONFIG_FILE, TOKENIZER_FILE
from sentiment_hf.export.onnx_folder import export_onnx

TEXTS = ["a good film", "", "cold [PAD]", "not a bad film , " * 300, "unheard ½ 😀 \ud800"]


def weights_of(network) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def sharpened(network):
    with torch.no_grad():  # So that texts differ as after a training.
        for weights in network.parameters():
            weights.mul_(3)
    return network.eval()


@pytest.fixture(params=[2, 3], ids=["2 labels", "3 labels"])
def checkpoint(request, make_pipeline, tmp_path) -> Path:
    names = {i: f"label {i}" for i in range(request.param)}
    pipe = make_pipeline(id2label=names, num_layers=2, max_length=100, temperature=1.3)
    sharpened(pipe.network)
    pipe.save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture
def exported(checkpoint, tmp_path) -> Path:
    return export_onnx(checkpoint, tmp_path / "exported")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def opened(model, backend="onnx", **options) -> SentimentPipeline:
    return SentimentPipeline.from_pretrained(model, backend=backend, **options)


def swap_labels(folder: Path) -> None:
    values = json.loads((folder / CONFIG_FILE).read_text())
    names = [*values["id2label"].values()][::-1]
    values["id2label"] = {str(i): name for i, name in enumerate(names)}
    values["label2id"] = {name: i for i, name in enumerate(names)}
    (folder / CONFIG_FILE).write_text(json.dumps(values))


def swap_words(folder: Path) -> None:
    content = json.loads((folder / TOKENIZER_FILE).read_text())
    ids = content["model"]["vocab"]
    ids["good"], ids["bad"] = ids["bad"], ids["good"]
    (folder / TOKENIZER_FILE).write_text(json.dumps(content))


CHANGES = {CONFIG_FILE: swap_labels, TOKENIZER_FILE: swap_words}
