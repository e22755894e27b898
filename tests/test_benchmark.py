"""The benchmark runs and prints its tables; its figures are for a quiet machine."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"


@pytest.mark.slow
def test_prediction_is_measured_beside_its_peers(tmp_path):
    printed = run(
        tmp_path, "benchmark.py", "--reviews", 40, "--peer-reviews", 4, "--repeats", 1,
        "--rows", 2_000,
    )  # fmt: skip
    for row in (
        "| `predict --backend onnx`", "| 20 | cpu |", "| 2,000 | cpu |", "| reference, bfloat16 |",
        "| reference, ONNX Runtime, int8 |", "| its tokenization alone |",
        "| DistilBERT, float32 |",
    ):  # fmt: skip
        assert row in printed, row


@pytest.mark.slow
def test_training_is_measured_beside_its_peers(tmp_path):
    printed = run(tmp_path, "benchmark_training.py")
    for row in (
        "| this package,", "| tutorials, padded to 400 |", "| `aten::", "| share |",
    ):  # fmt: skip
        assert row in printed, row


def run(folder, script, *options):
    command = [sys.executable, SCRIPTS / script, "--dataset", "sample", *options]
    done = subprocess.run(
        list(map(str, command)), cwd=folder, capture_output=True, text=True, timeout=400,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
