"""`annotate` cut off, repeated, split into parts: every row once, and never those of other data."""

import signal
import subprocess
import sys

import labelled_rows
import pytest
from datasets import Dataset, Value
from labelled_rows import contents, read

from sentiment_hf import SentimentError
from sentiment_hf.annotated_folder import AnnotatedPart, push_annotation

labelled = labelled_rows.labelled
rows = labelled_rows.rows

KILL = """
import os, signal, sys
moment, count, seen = sys.argv.pop(1), int(sys.argv.pop(1)), 0
def watch(event, details):
    global seen
    if event == "os.rename" and moment in os.fspath(details[1]):
        seen += 1
        if seen == count:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
from sentiment_hf.cli import main
main()
"""


PAUSE = """
import sys
from sentiment_hf import SentimentPipeline
best = SentimentPipeline.best
def paused(*arguments, **options):
    SentimentPipeline.best = best
    print("writing", flush=True)
    sys.stdin.read()
    return best(*arguments, **options)
SentimentPipeline.best = paused
from sentiment_hf.cli import main
main()
"""


def test_two_processes_write_different_parts_and_never_the_same(
    labelled, rows, checkpoint, tmp_path
):
    parts = [["--num-shards", 2, "--shard-index", index] for index in (0, 1)]
    arguments = ["annotate", rows, "--output", tmp_path / "out", "--model", checkpoint]
    arguments += ["--text-column", "body", *parts[0]]
    first = subprocess.Popen(
        [sys.executable, "-c", PAUSE, *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert first.stdout.readline() == "writing\n"
        before = contents(tmp_path / "out")
        result = labelled(*parts[0])
        assert result.exit_code == 1
        assert f"Another process ({first.pid}) writes into {tmp_path / 'out'}" in result.stderr
        assert contents(tmp_path / "out") == before
        assert labelled(*parts[1]).exit_code == 0
        first.communicate(timeout=120)
    finally:
        first.kill()
        first.communicate()
    assert first.returncode == 0
    assert list(read(tmp_path / "out")["train"]["id"]) == list(range(70))
    assert not list((tmp_path / "out").glob("*.lock"))


@pytest.mark.parametrize("streaming", [[], ["--streaming"]], ids=["map", "stream"])
@pytest.mark.parametrize(
    ("moment", "count"), [(".parquet", 1), (".parquet", 3), (".json", 1), (".json", 4)]
)
def test_killed_and_started_again_it_goes_on_and_gives_the_same_bytes(
    labelled, rows, checkpoint, tmp_path, streaming, moment, count
):
    options = ["--rows-per-shard", 16, *streaming]
    labelled(*options, name="whole")
    arguments = ["annotate", rows, "--output", tmp_path / "out", "--model", checkpoint]
    arguments += ["--text-column", "body", "--quiet", *options]
    killed = subprocess.run(
        [sys.executable, "-c", KILL, moment, str(count), *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out/data").glob("*.parquet")}
    result = labelled(*options)
    assert result.exit_code == 0, result.stderr
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    again = [p for p, changed in before.items() if p.stat().st_mtime_ns != changed]
    assert len(again) <= 1, "at most the shard that was not noted yet"


@pytest.mark.parametrize("streaming", [[], ["--streaming"]], ids=["map", "stream"])
def test_a_finished_annotation_is_not_repeated(labelled, rows, tmp_path, streaming):
    numbers = Dataset.from_parquet(str(rows / "train.parquet"))
    # NaN is unlike itself, and yet the rows are the same.
    numbers = numbers.add_column("rating", [float("nan"), 0.5] * 35)
    numbers.to_parquet(rows / "train.parquet")
    options = ["--rows-per-shard", 16, "--split", "train", *streaming]
    assert labelled(*options).exit_code == 0
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out/data").iterdir()}
    assert labelled(*options).exit_code == 0
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out/data").iterdir()} == before


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_shard_that_was_damaged_between_runs_is_made_again(
    run, labelled, rows, checkpoint, tmp_path, damage
):
    labelled("--rows-per-shard", 16)
    whole = contents(tmp_path / "out")
    path = sorted((tmp_path / "out/data").iterdir())[2]
    content = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(content[:99] if damage == "cut" else content[:-1] + b"x")
    arguments = ["--output", tmp_path / "out", "--model", checkpoint, "--text-column", "body"]
    result = run("annotate", rows, *arguments, "--rows-per-shard", 16)
    assert path.name in result.stderr
    assert contents(tmp_path / "out") == whole


def test_the_folder_of_another_annotation_is_refused_with_the_difference(
    labelled, rows, make_pipeline, tmp_path
):
    labelled("--rows-per-shard", 16)
    before = contents(tmp_path / "out")
    make_pipeline(seed=1).save_pretrained(tmp_path / "other")
    for options, words in (
        (["--model", tmp_path / "other"], ["model", "checkpoint", "other"]),
        (["--rows-per-shard", 17], ["--rows-per-shard", "16", "17"]),
        (["--split", "test"], ["rows", "train"]),
        (["--dtype", "bfloat16"], ["dtype", "bfloat16"]),
        (["--num-shards", 2], ["--num-shards", "1", "2"]),
    ):
        result = labelled("--rows-per-shard", 16, *options)
        assert (result.exit_code, result.stdout) == (2, "")
        assert all(word in result.stderr for word in words), result.stderr
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("streaming", [[], ["--streaming"]], ids=["map", "stream"])
def test_texts_that_changed_between_runs_are_noticed(labelled, rows, tmp_path, streaming):
    labelled("--rows-per-shard", 16, *streaming)
    changed = Dataset.from_parquet(str(rows / "train.parquet"))
    changed = changed.map(lambda row: {"body": "changed" if row["id"] == 20 else row["body"]})
    changed.to_parquet(rows / "train.parquet")
    result = labelled("--rows-per-shard", 16, *streaming)
    assert result.exit_code == 2
    assert "no longer" in result.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda split: split.map(lambda row: {"id": row["id"] + 100}), ["no longer"]),
        (lambda split: split.cast_column("id", Value("string")), ["columns"]),
    ],
    ids=["another value", "another type"],
)
def test_other_columns_that_changed_between_runs_are_noticed(
    labelled, rows, tmp_path, change, words
):
    labelled()
    for name in ("train", "test"):
        path = str(rows / f"{name}.parquet")
        change(Dataset.from_parquet(path)).to_parquet(path)
    result = labelled()
    assert result.exit_code == 2
    assert all(word in result.stderr for word in words), result.stderr


def test_parts_of_different_annotations_that_begin_together_are_refused(tmp_path, monkeypatch):
    def part(name: str, model: str) -> AnnotatedPart:
        return AnnotatedPart(tmp_path, name, {"model": model, "num_shards": 2, "rows": {}})

    real = AnnotatedPart._write_record

    def beside_another(self) -> None:
        real(part("00001-of-00002", "another"))
        real(self)

    monkeypatch.setattr(AnnotatedPart, "_write_record", beside_another)
    with pytest.raises(SentimentError, match="holds another annotation: its `model`"):
        part("00000-of-00002", "own").resume()
    assert [path.name for path in tmp_path.glob("*.json")] == ["annotation-00001-of-00002.json"]
    real(part("00000-of-00002", "own"))
    with pytest.raises(SentimentError, match="those of different annotations"):
        push_annotation(tmp_path, "ann/labelled")
