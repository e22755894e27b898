"""`annotate`: every row once, in order, whatever is cut off, split up or null."""

import json
from pathlib import Path

import labelled_rows
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value, load_dataset
from labelled_rows import contents, read

from sentiment_hf import SentimentError, SentimentPipeline
from sentiment_hf.annotation import annotate, rows_of_part

labelled = labelled_rows.labelled
rows = labelled_rows.rows


def test_all_columns_stay_and_two_are_added(labelled, rows, checkpoint, tmp_path):
    result = labelled("--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == {"rows": 90, "nulls": 9, "shards": 2}
    found, given = read(tmp_path / "out"), load_dataset(str(rows))
    pipe = SentimentPipeline.from_pretrained(checkpoint)
    for name, split in given.items():
        added = {"predicted_label": ClassLabel(names=["neg", "pos"]),
                 "predicted_score": Value("float32")}  # fmt: skip
        assert found[name].features == Features({**split.features, **added})
        for column in split.column_names:
            assert list(found[name][column]) == list(split[column])
        for row in found[name]:
            if row["body"] is None:
                assert row["predicted_label"] is row["predicted_score"] is None
            else:
                answer = pipe(row["body"])[0]
                assert pipe.config.label_names[row["predicted_label"]] == answer["label"]
                assert row["predicted_score"] == pytest.approx(answer["score"], abs=1e-6)


def test_a_data_set_in_memory_is_annotated_and_resumed(checkpoint, tmp_path):
    rows = Dataset.from_dict({"text": ["good", None, "bad film"]})
    for _ in range(2):
        annotate(rows, tmp_path / "out", model=checkpoint, show_progress=False)
    assert list(read(tmp_path / "out")["train"]["text"]) == ["good", None, "bad film"]
    with pytest.raises(SentimentError, match="no longer"):
        annotate(rows.select([2, 1, 0]), tmp_path / "out", model=checkpoint)


def test_one_split_alone(labelled, tmp_path):
    assert labelled("--split", "test").exit_code == 0
    assert list(read(tmp_path / "out")) == ["test"]


@pytest.mark.parametrize("streaming", [[], ["--streaming"]], ids=["map", "stream"])
def test_shards_are_of_bounded_size_and_in_order(labelled, tmp_path, streaming):
    assert labelled("--rows-per-shard", 16, *streaming).exit_code == 0
    sizes = [pq.read_metadata(p).num_rows for p in sorted((tmp_path / "out/data").iterdir())]
    assert sizes == [16, 4, 16, 16, 16, 16, 6]
    assert list(read(tmp_path / "out")["train"]["id"]) == list(range(70))


def test_a_stream_gives_what_the_map_gives(labelled, tmp_path):
    labelled("--rows-per-shard", 16)
    labelled("--rows-per-shard", 16, "--streaming", name="stream")
    assert contents(tmp_path / "out/data") == contents(tmp_path / "stream/data")


@pytest.mark.parametrize("streaming", [[], ["--streaming"]], ids=["map", "stream"])
@pytest.mark.parametrize("count", [1, 3, 7])
def test_parts_hold_every_row_once_in_order(labelled, tmp_path, streaming, count):
    for index in reversed(range(count)):
        options = ["--num-shards", count, "--shard-index", index, "--rows-per-shard", 16]
        result = labelled(*options, *streaming)
        assert result.exit_code == 0, result.stderr
    found = read(tmp_path / "out")
    assert list(found["train"]["id"]) == list(range(70))
    assert list(found["test"]["id"]) == list(range(70, 90))


@pytest.mark.parametrize("total", [0, 1, 5, 90, 1000])
@pytest.mark.parametrize("count", [1, 2, 7, 13])
def test_parts_are_even(total, count):
    parts = [rows_of_part(total, i, count) for i in range(count)]
    assert [row for part in parts for row in part] == list(range(total))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def count_in_card(rows, count):
    """A card that says how many rows there are, as `push_to_hub` writes it."""
    (rows / "test.parquet").unlink()
    (rows / "README.md").write_text(
        f"---\ndataset_info:\n  splits:\n  - name: train\n    num_examples: {count}\n---\n"
    )


@pytest.mark.parametrize(("said", "words"), [(69, "more rows"), (71, "fewer rows")])
@pytest.mark.parametrize("parts", [1, 3])
def test_a_card_that_counts_wrongly_loses_no_row_in_silence(labelled, rows, said, words, parts):
    count_in_card(rows, said)
    results = [
        labelled("--streaming", "--num-shards", parts, "--shard-index", index)
        for index in range(parts)
    ]
    assert [result.exit_code for result in results] == [0] * (parts - 1) + [2]
    assert words in results[-1].stderr


def test_a_card_that_counts_rightly_is_believed(labelled, rows, tmp_path):
    count_in_card(rows, 70)
    assert labelled("--streaming", "--rows-per-shard", 16).exit_code == 0
    assert list(read(tmp_path / "out")["train"]["id"]) == list(range(70))


def test_more_parts_than_rows(labelled, tmp_path):
    (tmp_path / "two.csv").write_text("body\ngood\nbad\n")
    for index in range(3):
        parts = ["--num-shards", 3, "--shard-index", index]
        assert labelled(*parts, dataset=tmp_path / "two.csv").exit_code == 0
    assert list(read(tmp_path / "out")["train"]["body"]) == ["good", "bad"]


def test_a_stream_whose_first_texts_are_null(labelled, tmp_path):
    (tmp_path / "late.csv").write_text("n,body\n" + "1,\n" * 30 + "2,good\n")
    result = labelled("--streaming", dataset=tmp_path / "late.csv")
    assert result.exit_code == 0, result.stderr
    assert list(read(tmp_path / "out")["train"]["body"]) == [None] * 30 + ["good"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"body\n" + "sch\u00f6n\n".encode("latin-1"), "UTF-8"),
        (b"body\ngood\nbad,1,2\n", "line 3: the row has 3 fields"),
    ],
    ids=["another encoding", "a row of more columns"],
)
def test_a_stream_that_cannot_be_read_is_one_sentence(labelled, tmp_path, content, words):
    (tmp_path / "bad.csv").write_bytes(content)
    result = labelled("--streaming", dataset=tmp_path / "bad.csv")
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_every_split_needs_the_column(labelled, rows, tmp_path):
    folder = tmp_path / "uneven"
    DatasetDict(
        train=Dataset.from_dict({"body": ["good"]}), test=Dataset.from_dict({"text": ["good"]})
    ).save_to_disk(folder)
    result = labelled(dataset=folder)
    assert result.exit_code == 2
    assert "'body'" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_named_column_may_be_called_as_labels_are(run, checkpoint, tmp_path):
    (tmp_path / "my.csv").write_text("target,text\ngood,bad\n")
    arguments = ["--output", tmp_path / "out", "--model", checkpoint, "--text-column", "target"]
    assert run("annotate", tmp_path / "my.csv", *arguments).exit_code == 0
    record = json.loads((tmp_path / "out/annotation-00000-of-00001.json").read_text())
    assert record["identity"]["text_column"] == "target"


def test_a_file_in_the_place_of_the_folder(labelled, tmp_path):
    (tmp_path / "out").write_text("precious")
    result = labelled()
    assert result.exit_code == 2
    assert "leads to a file" in result.stderr
    assert (tmp_path / "out").read_text() == "precious"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--text-column", "nothing"], ["'nothing'", "body"]),
        (["--text-column", "id"], ["'id'", "int32"]),
        (["--split", "valid"], ["'valid'", "train"]),
        (["--num-shards", 2, "--shard-index", 2], ["--shard-index"]),
        (["--model", "nowhere/at/all"], ["nowhere"]),
        (["--push-to", "a/b/c"], ["a/b/c"]),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(labelled, tmp_path, options, words):
    result = labelled(*options)
    assert (result.exit_code, result.stdout) == (2, "")
    sentence = result.stderr.splitlines()[-1]
    assert sentence.startswith("error: ")
    assert all(word in sentence for word in words), sentence
    assert not (tmp_path / "out").exists()


def test_a_data_set_without_rows_is_refused(labelled, tmp_path):
    empty = Dataset.from_dict({"body": []}, features=Features({"body": Value("string")}))
    DatasetDict(train=empty).save_to_disk(tmp_path / "empty")
    result = labelled(dataset=tmp_path / "empty")
    assert result.exit_code == 2
    assert "no rows" in result.stderr


def test_a_column_of_answers_is_not_overwritten(labelled, tmp_path):
    labelled()
    result = labelled(dataset=tmp_path / "out", name="again")
    assert result.exit_code == 2
    assert "'predicted_label' already" in result.stderr
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("name", ["../../evil", "a/b", "..", "/evil", "a\\b", ""])
def test_a_split_that_is_called_like_a_path_is_refused(run, checkpoint, tmp_path, name):
    split = Dataset.from_dict({"text": ["good", "bad"]})
    DatasetDict(train=split).save_to_disk(tmp_path / "saved")
    (tmp_path / "saved/dataset_dict.json").write_text(json.dumps({"splits": [name]}))
    before = contents(tmp_path)
    result = run("annotate", tmp_path / "saved", "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert "no plain name" in result.stderr
    with pytest.raises(SentimentError, match="no plain name"):
        annotate(DatasetDict({name: split}), tmp_path / "out", model=checkpoint)
    assert contents(tmp_path) == before


def test_a_folder_of_other_things_is_refused(labelled, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.txt").write_text("precious")
    assert labelled().exit_code == 2
    assert contents(tmp_path / "out") == {"notes.txt": b"precious"}


@pytest.mark.parametrize("name", ["diary.parquet", "train-00000-of-00001.parquet"])
def test_foreign_files_among_the_shards_are_refused(labelled, tmp_path, name):
    (tmp_path / "out/data").mkdir(parents=True)
    (tmp_path / "out/data" / name).write_bytes(b"precious")
    result = labelled()
    assert result.exit_code == 2
    assert name in result.stderr
    assert contents(tmp_path / "out") == {name: b"precious"}


def test_a_full_disk_is_a_sentence_and_the_same_command_goes_on(labelled, tmp_path, monkeypatch):
    labelled("--rows-per-shard", 16, name="whole")
    to_parquet, calls = Dataset.to_parquet, []

    def fill(self, path, **options):
        calls.append(1)
        if len(calls) == 3:
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device", str(path))
        return to_parquet(self, path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Dataset, "to_parquet", fill)
        result = labelled("--rows-per-shard", 16)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "No space left" in result.stderr
    assert len(contents(tmp_path / "out/data")) == 2
    assert labelled("--rows-per-shard", 16).exit_code == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_null_texts_are_counted(run, rows, checkpoint, tmp_path):
    arguments = ["--output", tmp_path / "out", "--model", checkpoint, "--text-column", "body"]
    assert "9 rows have no text" in run("annotate", rows, *arguments).stderr


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("streaming", [[], ["--streaming"]], ids=["map", "stream"])
def test_a_file_without_a_split_of_its_own(run, checkpoint, tmp_path, kind, streaming):
    path = tmp_path / f"mine.{kind}"
    lines = {
        "csv": "text,n\n" + "".join(f"a good film,{i}\n" for i in range(9)),
        "jsonl": "".join(json.dumps({"text": "a good film", "n": i}) + "\n" for i in range(9)),
    }
    path.write_text(lines[kind])
    out = tmp_path / "out"
    result = run("annotate", path, "--output", out, "--model", checkpoint, *streaming)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{out}\t9 rows\n"
    assert list(read(out)["train"]["n"]) == list(range(9))
