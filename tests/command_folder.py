"""A working folder for tests of the command."""

import shutil

import pytest
from huggingface_hub import constants

TRAIN = ["train", "data.csv", "--output", "out", "--epochs", "1", "--batch-size", "64"]
EVALUATE = ["evaluate", "data.csv", "--model", "checkpoint", "--split", "train"]
PREDICT = ["predict", "--model", "checkpoint"]


@pytest.fixture
def here(tmp_path, monkeypatch, easy_csv, checkpoint):
    """A working folder with `data.csv` and `checkpoint`, and a Hub that cannot be reached."""
    import datasets

    datasets.disable_progress_bars()
    shutil.copy(easy_csv, tmp_path / "data.csv")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    yield tmp_path
    datasets.enable_progress_bars()
