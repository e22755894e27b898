"""Data as people have it: types of columns, several sources, and which split is measured."""

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import written_files
from datasets import Dataset, DatasetDict, Value
from written_files import LABELS, STRINGS, TEXTS, as_arrow, rows_of

from sentiment_hf import load_reviews, train

own_csv = written_files.own_csv


@pytest.mark.parametrize("kind", STRINGS, ids=str)
def test_every_type_of_text_that_arrow_has_is_text(tmp_path, kind):
    table = pa.table(as_arrow(kind), names=["text", "label"])
    pq.write_table(table, tmp_path / "own.parquet")
    for source in (
        tmp_path / "own.parquet",
        Dataset(table),
        Dataset.from_pandas(table.to_pandas()),
    ):
        reviews = load_reviews(source)
        assert reviews["train"].features["text"] == Value("string")
        assert rows_of(reviews) == list(zip(TEXTS, LABELS, strict=True))


def test_a_csv_file_is_learnt_from_together_with_other_kinds_of_data_sets(own_csv, tmp_path):
    frame = Dataset.from_pandas(pd.DataFrame({"text": TEXTS, "label": LABELS}))
    frame = frame.map(lambda row: {"text": row["text"] + " again"})
    options = {"epochs": 1, "vocab_size": 50, "show_progress": False}
    train(["sample", own_csv, frame], tmp_path / "out", max_samples=30, **options)
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    assert [part["dataset"] for part in record["data"]["datasets"]][:2] == ["sample", "own.csv"]


def test_evaluate_measures_the_only_split_of_a_file_and_says_which(run, checkpoint, own_csv):
    result = run("evaluate", own_csv, "--model", checkpoint, "--json")
    assert json.loads(result.stdout)["n"] == 30
    assert "30 rows of the split 'train' of own.csv: neg 15, pos 15." in result.stderr


def test_evaluate_measures_the_split_test_where_there_are_several(run, checkpoint):
    result = run("evaluate", "sample", "--model", checkpoint)
    assert "split 'test' of sample" in result.stderr


def test_of_several_splits_without_test_one_has_to_be_chosen(run, checkpoint, tmp_path):
    rows = Dataset.from_dict({"text": TEXTS, "label": LABELS})
    DatasetDict(train=rows, validation=rows).save_to_disk(tmp_path / "own")
    result = run("evaluate", tmp_path / "own", "--model", checkpoint)
    assert result.exit_code == 2
    assert "train, validation" in result.stderr
    assert "--split" in result.stderr
    assert "train, validation" in run("evaluate", tmp_path / "own", "--split", "x").stderr
    assert run("evaluate", tmp_path / "own", "--split", "validation").exit_code == 0


def test_a_cache_that_cannot_be_written_is_not_a_data_set_that_cannot_be_read(
    run, own_csv, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "file" / "cache")
    result = run("evaluate", own_csv)
    assert result.exit_code == 1
    assert "cache of data sets" in result.stderr
    assert "HF_DATASETS_CACHE" in result.stderr
    assert "could not be read" not in result.stderr


@pytest.mark.parametrize("home", ["/proc/nohome", "/dev/null/x"])
@pytest.mark.parametrize("dataset", ["sample", "own_csv"])
def test_a_home_that_cannot_be_written_is_not_the_data_sets_fault(
    run, request, tmp_path, monkeypatch, home, dataset
):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", Path(home, "datasets"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", home)
    if dataset == "own_csv":
        dataset = request.getfixturevalue(dataset)
    for command in (["evaluate"], ["annotate", "--output", tmp_path / "annotated"]):
        result = run(*command, dataset)
        assert result.exit_code == 1
        assert f"cache of data sets and models, {home}, cannot be written" in result.stderr
        assert "HF_HOME" in result.stderr
        assert "could not be read" not in result.stderr
