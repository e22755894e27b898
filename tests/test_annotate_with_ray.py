"""The script that labels a data set on a Ray cluster."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from datasets import Dataset, load_dataset
from script_process import SCRIPTS, run_script

from sentiment_hf import SentimentPipeline


@pytest.fixture(scope="module")
def many_rows(tmp_path_factory):
    """45,000 rows as parquet: eleven batches for the actors, several files to write."""
    pytest.importorskip("ray", reason="the extra `ray` is not installed; not every system has it")
    folder = tmp_path_factory.mktemp("many")
    texts = [
        None if i % 97 == 0 else f"a good film {i} " + "bad " * (i % 15) for i in range(45_000)
    ]
    Dataset.from_dict({"review": texts, "n": range(len(texts))}).to_parquet(folder / "rows.parquet")
    return folder


def expected_answers(texts, checkpoint):
    ids, scores = SentimentPipeline.from_pretrained(checkpoint).best(texts)
    return ids, [None if score is None else pytest.approx(score, abs=1e-6) for score in scores]


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True], ids=["undisturbed", "an actor is killed"])
def test_annotate_with_ray(tmp_path, checkpoint, many_rows, killed):
    arguments = [many_rows, "labelled", "--model", checkpoint, "--text-column", "review"]
    environment = {**os.environ, "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
    command = [sys.executable, SCRIPTS / "annotate_with_ray.py", *arguments]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        if killed:
            os.kill(an_actor_of(running.pid), signal.SIGKILL)
        counted, said = running.communicate(timeout=200)
    assert running.returncode == 0, said.decode()
    rows = load_dataset(str(tmp_path / "labelled"), split="train")
    assert rows["n"][:] == list(range(45_000))
    assert rows.features["predicted_label"].names == ["neg", "pos"]
    ids, scores = expected_answers(rows["review"][:], checkpoint)
    assert rows["predicted_label"][:] == ids
    assert rows["predicted_score"][:] == scores
    assert len(list((tmp_path / "labelled").iterdir())) > 1
    # Ray tells of the dead actor on the same stream.
    assert counted.decode().endswith("45000 rows, 464 of them without a text\n")


def an_actor_of(pid):
    """The process of an actor that is answering; an actor's process is called after its class."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for child in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "MapWorker" in " ".join(child.cmdline()):
                    return child.pid
        time.sleep(0.02)
    raise AssertionError("no actor started")


@pytest.mark.slow
def test_annotate_with_ray_refuses_what_is_there(tmp_path, many_rows):
    (tmp_path / "labelled").mkdir()
    for output in ("labelled", (tmp_path / "labelled").as_uri()):
        done = run_script("annotate_with_ray.py", many_rows, output, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.strip().splitlines()[-1].startswith(f"error: {output} is there already")
