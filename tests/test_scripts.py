"""The scripts that a user copies: they run as they are."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import psutil
import pytest
from datasets import Dataset, DatasetDict, load_dataset, load_from_disk
from tiny_bert import save_tiny_bert

from sentiment_hf import SentimentPipeline
from sentiment_hf.checkpoint.folder import WEIGHTS_FILE
from sentiment_hf.data.tokenization import encode_texts

SCRIPTS = Path(__file__).parent.parent / "scripts"


def run_script(name, *arguments, cwd):
    return subprocess.run(
        [sys.executable, SCRIPTS / name, *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("options", [[], ["--num-proc", 2]], ids=["one process", "two"])
def test_annotate_dataset(tmp_path, checkpoint, options):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/my.csv").write_text("body,n\n" + "a good film,1\n,2\nbad,3\n" * 5)
    arguments = ["mine", "out", "--text-column", "body", "--model", checkpoint, *options]
    done = run_script("annotate_dataset.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "num_rows: 15" in done.stdout
    rows = load_from_disk(tmp_path / "out")["train"]
    assert rows.column_names == ["body", "n", "predicted_label", "predicted_score"]
    assert rows.features["predicted_label"].names == ["neg", "pos"]
    assert rows["predicted_label"][1] is None
    answer = SentimentPipeline.from_pretrained(checkpoint)("a good film")[0]
    assert rows.features["predicted_label"].int2str(rows["predicted_label"][0]) == answer["label"]
    assert rows["predicted_score"][0] == pytest.approx(answer["score"], abs=1e-6)


def test_annotate_dataset_is_short_and_needs_public_names_alone():
    lines = (SCRIPTS / "annotate_dataset.py").read_text().split('"""')[2].splitlines()
    assert len([line for line in lines if line.strip()]) <= 30
    assert [line for line in lines if "sentiment_hf" in line] == [
        "from sentiment_hf import SentimentPipeline"
    ]


def test_what_is_there_is_not_overwritten(tmp_path, checkpoint):
    name = "tokenize_dataset.py"
    (tmp_path / "my.csv").write_text("text\ngood\nbad\n")
    assert run_script(name, "my.csv", "out", "--model", checkpoint, cwd=tmp_path).returncode == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    again = run_script(name, "out", "again", "--model", checkpoint, cwd=tmp_path)
    assert again.returncode == 2
    assert "already" in again.stderr
    once_more = run_script(name, "sample", "out", "--model", checkpoint, cwd=tmp_path)
    assert once_more.returncode == 2
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")} == before


def test_a_full_disk_is_one_sentence(tmp_path, checkpoint):
    script = SCRIPTS / "tokenize_dataset.py"
    command = f"ulimit -f 20; exec {sys.executable} {script} sample out --model {checkpoint}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=100,
        check=False, env={**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr


def test_its_own_metadata_names_what_it_needs():
    for path in [*SCRIPTS.glob("*_dataset.py"), SCRIPTS / "annotate_with_ray.py"]:
        lines = path.read_text().split("# /// script\n")[1].split("# ///")[0].splitlines()
        metadata = tomllib.loads("\n".join(line.removeprefix("# ") for line in lines))
        assert metadata["requires-python"] == ">=3.11"
        assert any(name.startswith("sentiment-hf") for name in metadata["dependencies"])


def test_tokenize_dataset_is_taken_by_train_and_evaluate(tmp_path, checkpoint, run, caplog):
    arguments = ["sample", "tokenized", "--model", checkpoint]
    done = run_script("tokenize_dataset.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("train: 248 rows, ")
    rows = load_dataset(str(tmp_path / "tokenized"), split="train")
    assert rows.column_names == ["text", "label", "input_ids", "length"]
    assert rows.features["label"].names == ["neg", "pos"]
    tokenizer = SentimentPipeline.from_pretrained(checkpoint).tokenizer
    assert rows["input_ids"][:] == encode_texts(tokenizer, rows["text"][:])
    assert rows["length"][:] == [len(ids) for ids in rows["input_ids"]]

    options = ["--init-from", checkpoint, "--epochs", 1]
    for name in ("tokenized", "sample"):
        dataset = tmp_path / name if name == "tokenized" else name
        trained = run("train", dataset, "--output", tmp_path / f"from {name}", *options)
        assert trained.exit_code == 0, trained.stderr
    assert "another tokenizer's" not in caplog.text
    weights = [
        (tmp_path / f"from {n}" / WEIGHTS_FILE).read_bytes() for n in ("tokenized", "sample")
    ]
    assert weights[0] == weights[1]
    measured = [run("evaluate", name, "--model", checkpoint, "--json").stdout
                for name in (tmp_path / "tokenized", "sample")]  # fmt: skip
    assert json.loads(measured[0])["log_loss"] == json.loads(measured[1])["log_loss"]


def test_bad_input_is_one_sentence(tmp_path, checkpoint):
    (tmp_path / "my.csv").write_text("body,n\ngood,1\n")
    for arguments in (["nowhere.csv", "out"], ["my.csv", "out", "--text-column", "review"]):
        done = run_script("tokenize_dataset.py", *arguments, "--model", checkpoint, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
        assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("script", ["finetune_teacher.py", "adapt_encoder.py"])
def test_an_encoder_that_cannot_be_reached_is_one_sentence(tmp_path, script):
    done = run_script(script, "sample", "--output", "out", "--base", "user/encoder", cwd=tmp_path)
    assert done.returncode == 1
    *_, last = done.stderr.splitlines()
    assert last.startswith("error: The encoder 'user/encoder' could not be had: the Hub cannot")
    assert "Retrying" not in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


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


@pytest.fixture
def short_reviews():
    """Short rows of two labels, some without one, that a network of any size learns."""

    def split(count, labelled=True):
        texts = [f"{i} {('a dull', 'a warm')[i % 2]} film" for i in range(count)]
        labels = [("neg", "pos")[i % 2] for i in range(count)]
        return Dataset.from_dict({"text": texts, "label": labels if labelled else [None] * count})

    features = split(80).features
    return DatasetDict(
        train=split(80), test=split(30), unsupervised=split(200, False).cast(features)
    )


@pytest.mark.slow
def test_few_labels_writes_its_page(tmp_path, checkpoint, short_reviews):
    short_reviews.save_to_disk(tmp_path / "reviews")
    save_tiny_bert(tmp_path / "base", ["a", "dull", "warm", "film"], kind="BertModel")
    arguments = ["--dataset", "reviews", "--encoder", checkpoint, "--labels", 60]
    arguments += ["--base", "base", "--docs", tmp_path]
    done = run_script("few_labels.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "few_labels.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith("| 60 |"))
    accuracies = [float(cell) for cell in row.split("|")[2:-1]]
    assert len(accuracies) == 4
    assert all(0 < accuracy <= 1 for accuracy in accuracies)
    assert (tmp_path / "few_labels.png").read_bytes().startswith(b"\x89PNG")
    for way in ("fast", "best", "student"):
        record = json.loads((tmp_path / f"runs/few/60/{way}/training.json").read_text())
        assert record["data"]["train_rows"] + record["data"]["validation_rows"] == 60
    # The student is taught by both, and reads the texts that are not in the test split.
    assert record["arguments"]["teacher"] == "best, transformer"
    assert 100 < record["data"]["unlabelled_rows"] <= 170


@pytest.mark.slow
def test_a_teacher_is_fine_tuned_on_several_data_sets_and_teaches(tmp_path, short_reviews, run):
    short_reviews.save_to_disk(tmp_path / "films")
    short_reviews.save_to_disk(tmp_path / "goods")
    save_tiny_bert(tmp_path / "base", ["a", "dull", "warm", "film"], kind="BertModel")
    arguments = ["films", "goods", "--base", "base", "--epochs", 10, "--learning-rate", 0.02]
    arguments += ["--batch-size", 8]
    done = run_script("finetune_teacher.py", *arguments, "--output", "teacher", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    measured = json.loads((tmp_path / "teacher/validation.json").read_text())
    assert list(measured) == ["films", "goods"]
    assert min(measured.values()) > 0.9
    options = ["--output", tmp_path / "student", "--teacher", tmp_path / "teacher", "--epochs", 1]
    taught = run("train", tmp_path / "films", *options)
    assert taught.exit_code == 0, taught.stderr
