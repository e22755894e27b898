"""The benchmark runs and writes its pages; its figures are for a quiet machine."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "benchmark.py"


@pytest.mark.slow
def test_it_writes_its_pages(tmp_path):
    command = [
        sys.executable, SCRIPT, "--dataset", "sample", "--reviews", 40, "--peer-reviews", 4,
        "--repeats", 1, "--rows", 2_000, "--docs", tmp_path,
    ]  # fmt: skip
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
    benchmarks = (tmp_path / "benchmarks.md").read_text()
    for row in (
        "| reference, bfloat16 |", "| DistilBERT, float32 |", "| 20 |", "| 2,000 |",
        "| tutorials, padded to 400 |", "| `sentiment-hf predict", "| `aten::",
    ):  # fmt: skip
        assert row in benchmarks, row
    scaling = (tmp_path / "scaling.md").read_text()
    assert "| 1,000,000,000 |" in scaling
    assert "{" not in scaling
