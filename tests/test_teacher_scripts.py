"""The scripts that fine-tune a teacher, and that measure how many labels are enough."""

import json

import pytest
from datasets import Dataset, DatasetDict
from script_process import run_script
from tiny_bert import save_tiny_bert


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
