"""The benchmark runs and prints its tables; its figures are for a quiet machine."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "benchmark.py"


@pytest.mark.slow
def test_it_prints_its_tables(tmp_path):
    command = [
        sys.executable, SCRIPT, "--dataset", "sample", "--reviews", 40, "--peer-reviews", 4,
        "--repeats", 1, "--rows", 2_000,
    ]  # fmt: skip
    done = subprocess.run(
        list(map(str, command)), cwd=tmp_path, capture_output=True, text=True, timeout=400,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for row in (
        "| `sentiment-hf predict", "| 20 | cpu |", "| 2,000 | cpu |", "| this package,",
        "| tutorials, padded to 400 |", "| `aten::", "| share |", "| reference, bfloat16 |",
        "| its tokenization alone |", "| DistilBERT, float32 |",
    ):  # fmt: skip
        assert row in done.stdout, row
