"""`annotate`: every row once, in order, whatever is cut off, split up or null."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    Sequence,
    Value,
    load_dataset,
)
from huggingface_hub import DatasetCard

from sentiment_hf import SentimentError, SentimentPipeline
from sentiment_hf.annotated_folder import push_annotation
from sentiment_hf.annotation import annotate, rows_of_part

WORDS = ["good", "bad", "warm", "cold", "film", "not", "and", "unheard"]


def text_of(number: int) -> str | None:
    if number % 10 == 7:
        return None
    return " ".join(WORDS[(number * 7 + i * i) % 8] for i in range(number % 13))


@pytest.fixture
def rows(tmp_path) -> Path:
    """90 rows in two splits, with columns of several kinds, on the disk as parquet."""
    features = Features({
        "id": Value("int32"), "body": Value("string"), "stars": ClassLabel(names=["one", "two"]),
        "tags": Sequence(Value("string")),
    })  # fmt: skip

    def split(numbers):
        return Dataset.from_dict(
            {
                "id": list(numbers),
                "body": [text_of(n) for n in numbers],
                "stars": [n % 2 for n in numbers],
                "tags": [["t"] * (n % 3) for n in numbers],
            },
            features=features,
        )

    (tmp_path / "rows").mkdir()
    split(range(70)).to_parquet(tmp_path / "rows" / "train.parquet")
    split(range(70, 90)).to_parquet(tmp_path / "rows" / "test.parquet")
    return tmp_path / "rows"


@pytest.fixture
def labelled(run, rows, checkpoint, tmp_path):
    """Runs `annotate rows --output tmp_path/NAME ...`."""

    def invoke(*options, name="out", dataset=rows):
        arguments = ["--output", tmp_path / name, "--model", checkpoint, "--text-column", "body"]
        return run("annotate", dataset, *arguments, "--quiet", *options)

    return invoke


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def read(folder: Path) -> DatasetDict:
    return load_dataset(str(folder), cache_dir=str(folder.parent / f"cache of {folder.name}"))


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


# As a function for `dataset.map`.


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


class TestSharing:
    def test_the_labelled_data_set_is_shared_with_a_card_that_names_its_model(
        self, hub, labelled, tmp_path
    ):
        result = labelled("--push-to", "ann/labelled", "--rows-per-shard", 16)
        assert result.exit_code == 0, result.stderr
        assert result.stdout.splitlines()[1] == f"{hub.endpoint}/datasets/ann/labelled"
        files = hub.files("ann/labelled", repo_type="dataset")
        assert len([name for name in files if name.endswith(".parquet")]) == 7
        card = files["README.md"].decode()
        record = json.loads((tmp_path / "out/annotation-00000-of-00001.json").read_text())
        assert "labelled by `checkpoint`" in card
        assert record["identity"]["model_checksum"] in card
        assert "90 rows, 9 of them without a text" in card
        assert str(tmp_path) not in card
        found = load_dataset("ann/labelled", cache_dir=str(tmp_path / "cache"))
        assert list(found["train"]["id"]) == list(range(70))

    def test_parts_are_shared_when_all_are_there(self, hub, labelled, tmp_path):
        parts = [["--num-shards", 2, "--shard-index", i] for i in (0, 1)]
        early = labelled(*parts[0], "--push-to", "ann/labelled")
        assert early.exit_code == 2
        assert "1 of 2 parts" in early.stderr
        assert labelled(*parts[1], "--push-to", "ann/labelled").exit_code == 0
        found = load_dataset("ann/labelled", cache_dir=str(tmp_path / "cache"))
        assert list(found["train"]["id"]) == list(range(70))

    def test_a_shard_that_is_missing_is_not_passed_over(self, hub, labelled, tmp_path):
        parts = [["--num-shards", 2, "--shard-index", i] for i in (0, 1)]
        assert [labelled(*part).exit_code for part in parts] == [0, 0]
        lost = "train-00000-of-00002-00000.parquet"
        (tmp_path / "out/data" / lost).unlink()
        result = labelled(*parts[1], "--push-to", "ann/labelled")
        assert result.exit_code == 2
        assert lost in result.stderr
        assert labelled(*parts[0], "--push-to", "ann/labelled").exit_code == 0

    def test_the_card_names_its_source_only_where_that_is_on_the_hub(self, hub, run, checkpoint):
        def source() -> list | None:
            card = hub.files("ann/labelled", repo_type="dataset")["README.md"].decode()
            return DatasetCard(card).data.get("source_datasets")

        rows = Dataset.from_dict({"text": ["good", "bad"]})
        for number, dataset in enumerate([rows, "sample"]):
            folder = annotate(dataset, checkpoint.parent / f"{number}", model=checkpoint)
            push_annotation(folder, "ann/labelled")
            assert source() is None
        hub.create("ann/reviews", "dataset")
        hub.commit("ann/reviews", {"train.csv": b"text\ngood\n"}, repo_type="dataset")
        folder = annotate("ann/reviews", checkpoint.parent / "hub", model=checkpoint)
        push_annotation(folder, "ann/labelled")
        assert source() == ["ann/reviews"]

    def test_nothing_in_a_card_breaks_out_of_its_place(self, hub, make_pipeline, tmp_path):
        labels = {0: "a|b`c", 1: "<b>[x](http://localhost)"}
        make_pipeline(id2label=labels).save_pretrained(tmp_path / "checkpoint")
        column = "a|`\nconfigs: \x1b"
        rows = Dataset.from_dict({column: ["good", "bad"]})
        folder = annotate(rows, tmp_path / "out", model=tmp_path / "checkpoint")
        push_annotation(folder, "ann/labelled")
        card = hub.files("ann/labelled", repo_type="dataset")["README.md"].decode()
        assert "\x1b" not in card
        (line,) = [line for line in card.splitlines() if line.startswith("| `predicted_label`")]
        assert r"`` a\|`\nconfigs: \x1b ``" in line
        assert r"`` a\|b`c ``, `<b>[x](http://localhost)` |" in line

    def test_json_stays_one_object(self, hub, labelled):
        result = labelled("--push-to", "ann/labelled", "--json")
        assert json.loads(result.stdout)["rows"] == 90
        assert f"{hub.endpoint}/datasets/ann/labelled" in result.stderr

    def test_the_map_script_shares_what_it_labelled(self, hub, rows, checkpoint, tmp_path):
        script = Path(__file__).parent.parent / "scripts/annotate_dataset.py"
        arguments = [rows, "labelled", "--model", checkpoint, "--push-to", "ann/mapped"]
        arguments += ["--text-column", "body"]
        done = subprocess.run(
            [sys.executable, script, *map(str, arguments)],
            cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found = load_dataset("ann/mapped", split="test", cache_dir=str(tmp_path / "cache"))
        assert found.features["predicted_label"].names == ["neg", "pos"]

    def test_a_model_of_the_hub_is_named_with_its_commit(
        self, hub, run, rows, checkpoint, tmp_path
    ):
        run("push", checkpoint, "ann/small", "--tag", "v1")
        options = ["--output", tmp_path / "out", "--text-column", "body", "--quiet"]
        options += ["--model", "ann/small@v1", "--push-to", "ann/labelled"]
        assert run("annotate", rows, *options).exit_code == 0
        card = hub.files("ann/labelled", repo_type="dataset")["README.md"].decode()
        assert f"`ann/small@v1`, revision `{hub.head('ann/small')}`" in card
