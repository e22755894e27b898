"""`dataset.map(pipe.annotate)`: names, scores, and the cache of `datasets`."""

import os
import subprocess
import sys

import labelled_rows
import pytest
from datasets import Dataset

from sentiment_hf import SentimentError, SentimentPipeline

rows = labelled_rows.rows


def mapped(rows, pipe, **options) -> Dataset:
    split = Dataset.from_parquet(str(rows / "train.parquet"))
    return split.map(pipe.annotate, batched=True, fn_kwargs={"text_column": "body"}, **options)


def test_map_adds_names_and_scores(rows, checkpoint):
    pipe = SentimentPipeline.from_pretrained(checkpoint)
    found = mapped(rows, pipe)
    for row in found:
        if row["body"] is None:
            assert row["predicted_label"] is None
        else:
            answer = pipe(row["body"])[0]
            assert row["predicted_label"] == answer["label"]
            assert row["predicted_score"] == pytest.approx(answer["score"], abs=1e-6)


@pytest.mark.parametrize("column", ["predicted_label", "predicted_score"])
def test_map_does_not_replace_answers_that_are_there(checkpoint, column):
    pipe = SentimentPipeline.from_pretrained(checkpoint)
    rows = Dataset.from_dict({"text": ["good"], column: [0]})
    with pytest.raises(SentimentError, match=f"'{column}' already"):
        rows.map(pipe.annotate, batched=True)


def test_a_missing_column_names_the_way(rows, checkpoint):
    pipe = SentimentPipeline.from_pretrained(checkpoint)
    split = Dataset.from_parquet(str(rows / "train.parquet"))
    with pytest.raises(Exception, match=r"fn_kwargs=.*text_column"):
        split.map(pipe.annotate, batched=True)


@pytest.mark.parametrize("kind", ["torch", "numpy", "pandas", "arrow"])
def test_rows_in_any_format_keep_their_columns_and_nulls(rows, checkpoint, kind):
    pipe = SentimentPipeline.from_pretrained(checkpoint)
    plain = Dataset.from_parquet(str(rows / "train.parquet")).remove_columns("stars")
    options = {"batched": True, "batch_size": 16, "fn_kwargs": {"text_column": "body"}}
    found = plain.with_format(kind).map(pipe.annotate, **options).with_format(None)
    expected = plain.map(pipe.annotate, **options)
    assert None in expected["predicted_label"]
    assert found.to_dict() == expected.to_dict()
    with pytest.raises(SentimentError, match="'predicted_label' already"):
        found.with_format(kind).map(pipe.annotate, **options)


@pytest.mark.parametrize("more", ["with_indices", "with_rank"])
def test_what_map_hands_over_beside_the_rows_is_refused(rows, checkpoint, more):
    pipe = SentimentPipeline.from_pretrained(checkpoint)
    split = Dataset.from_parquet(str(rows / "train.parquet"))
    with pytest.raises(SentimentError, match="no with_indices, with_rank"):
        split.map(pipe.annotate, batched=True, **{more: True})


SCRIPT = """
import sys
from datasets import Dataset
from sentiment_hf import SentimentPipeline
best = SentimentPipeline.best
def counted(*args, **options):
    with open("asked", "a") as file:  # The processes of `map` count together.
        file.write(".")
    return best(*args, **options)
SentimentPipeline.best = counted
pipe = SentimentPipeline.from_pretrained(sys.argv[2])
pipe("warm it up")
rows = Dataset.from_parquet(sys.argv[1] + "/train.parquet", cache_dir=sys.argv[3])
found = rows.map(
    pipe.annotate, batched=True, num_proc=int(sys.argv[4]) or None,
    fn_kwargs={"text_column": "body"},
)
print(found._fingerprint, [round(s, 5) for s in found["predicted_score"] if s])
"""


@pytest.mark.parametrize("processes", [0, 2])
def test_another_process_finds_the_answers_in_the_cache(
    rows, checkpoint, make_pipeline, tmp_path, processes
):
    def answers(model) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, rows, model, tmp_path / "cache", str(processes)],
            capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path,
            env={**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "cache")},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.split(" ", 1)

    def asked() -> int:
        return (tmp_path / "asked").stat().st_size

    first, calls = answers(checkpoint), asked()
    assert calls == max(processes, 1)
    assert answers(checkpoint) == first
    assert asked() == calls, "the second run found the answers"
    make_pipeline(seed=1).save_pretrained(tmp_path / "other")
    assert answers(tmp_path / "other")[0] != first[0]
    assert asked() == 2 * calls
