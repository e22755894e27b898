"""Property-based: whatever is damaged in a checkpoint, a load is right or refuses cleanly."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sentiment_hf import evaluate


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_mutated_checkpoints_load_the_same_or_are_refused(
    checkpoint, trained, count, record_property
):
    shutil.copy(trained / "training.json", checkpoint)
    evaluate("sample", checkpoint, save=True)
    script = Path(__file__).with_name("mutations.py")
    finished = subprocess.run(
        [sys.executable, script, checkpoint, str(count)],
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-2000:]
    counts = json.loads(finished.stdout)
    print(f"{counts}")
    record_property("mutations", counts)
    assert counts["mutations"] >= count
    assert counts["refused"] > count / 4
