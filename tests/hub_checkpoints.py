"""Checkpoints on a Hub on loopback."""

import shutil
from pathlib import Path

import pytest
import torch

from sentiment_hf import SentimentPipeline, evaluate
from sentiment_hf.checkpoint.upload import push_folder

TEXTS = ["a good film", "not a bad film, warm and cold", "", "unknown words"]
REPO = "ann/small"


@pytest.fixture
def shared(hub, checkpoint):
    """A checkpoint on the Hub; gives the pipeline that was shared."""
    push_folder(checkpoint, REPO)
    return SentimentPipeline.from_pretrained(checkpoint)


def same_answers(one: SentimentPipeline, other: SentimentPipeline) -> bool:
    return torch.equal(one.logits(TEXTS), other.logits(TEXTS))


def calls(hub, match: str) -> list:
    return [request for request in hub.calls(match) if request.side == "api"]


def answers(pipe: SentimentPipeline) -> torch.Tensor:
    return pipe.logits(TEXTS)


def loaded(**options) -> torch.Tensor:
    return answers(SentimentPipeline.from_pretrained(REPO, **options))


@pytest.fixture
def measured(trained, tmp_path) -> Path:
    """A checkpoint folder with training record, evaluation, figures and card."""
    folder = tmp_path / "measured"
    shutil.copytree(trained, folder)
    evaluate("sample", folder, save=True)
    return folder


@pytest.fixture
def bare(make_pipeline, tmp_path) -> Path:
    """A checkpoint folder of other weights without records."""
    make_pipeline(seed=5).save_pretrained(tmp_path / "bare")
    return tmp_path / "bare"
