"""`serve` under load, as scripts/load_test.py measures it."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

LOAD_TEST = Path(__file__).parent.parent / "scripts" / "load_test.py"


@pytest.mark.slow
def test_under_load_every_answer_is_there_and_is_its_own():
    command = [sys.executable, LOAD_TEST, "--clients", "8", "--seconds", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()[2:]]
    assert [row[0] for row in rows] == ["8", "1"]
    for _, requests, lost, wrong, *_ in rows:
        assert int(requests.replace(",", "")) > 0
        assert (lost, wrong) == ("0", "0")


def test_the_load_test_notices_an_answer_that_is_not_its_own():
    right = runpy.run_path(str(LOAD_TEST))["right"]
    answers = {"a": {"label": "pos", "score": 0.9}, "b": {"label": "pos", "score": 0.8}}
    rows = [{"text": text, **answer} for text, answer in answers.items()]
    assert right(rows, ["a", "b"], answers)
    assert not right(rows[::-1], ["a", "b"], answers)
    assert not right(rows[:1], ["a", "b"], answers)
    assert not right([{**rows[0], "score": 0.8}, rows[1]], ["a", "b"], answers)
    assert not right([{**rows[0], "label": "neg"}, rows[1]], ["a", "b"], answers)
