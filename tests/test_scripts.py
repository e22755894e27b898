"""The scripts that a user copies: they run as they are."""

import json
import os
import subprocess
import sys
import tomllib

import pytest
from datasets import load_dataset, load_from_disk
from script_process import SCRIPTS, run_script

from sentiment_hf import SentimentPipeline
from sentiment_hf.checkpoint.folder import WEIGHTS_FILE
from sentiment_hf.data.tokenization import encode_texts


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
