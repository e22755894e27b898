"""Property-based: whatever is damaged in a checkpoint, a load is right or refuses cleanly."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sentiment_hf import evaluate
from sentiment_hf.checkpoint.records import write_record
from sentiment_hf.checkpoint.weights import checksum_of_weights
from sentiment_hf.data.tokenization import word_tokenizer


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_mutated_checkpoints_load_the_same_or_are_refused(
    checkpoint, make_pipeline, trained, count, record_property
):
    record = json.loads((trained / "training.json").read_text())
    write_record(checkpoint, "training.json", record, checksum_of_weights(checkpoint))
    evaluate("sample", checkpoint, save=True)
    labels = {0: "pos", 1: "neg"}
    other = make_pipeline(seed=1, id2label=labels)
    words = list(json.loads(other.tokenizer.to_str())["model"]["vocab"])
    order = [*words[:2], *reversed(words[2:])]
    other.tokenizer = word_tokenizer({word: i for i, word in enumerate(order)})
    other.save_pretrained(checkpoint / "other")
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
