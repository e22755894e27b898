"""`evaluate`: the figures are right, matched by label names, and saved where they belong."""

import json
import shutil

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from sklearn import metrics

from sentiment_hf import SentimentError, evaluate, evaluation
from sentiment_hf.checkpoint.folder import REFERENCE_FOLDER
from sentiment_hf.checkpoint.staging import locked
from sentiment_hf.evaluation import calibration_error, measure

KEYS = ["accuracy", "precision", "recall", "f1", "roc_auc", "log_loss", "ece"]
KEYS += ["confusion_matrix", "n", "seconds", "reviews_per_second"]
WORDS = ["good", "bad", "warm", "cold", "film", "not", "and", "unheard"]


@pytest.fixture
def labelled(tmp_path):
    """A csv file of rows drawn by lot, read as the split `train`: `labelled(["neg", "pos"])`."""

    def write(names, rows=40, seed=0):
        dice = np.random.default_rng(seed)
        texts = [" ".join(dice.choice(WORDS, dice.integers(1, 9))) for _ in range(rows)]
        answers = dice.choice(names, rows).tolist()
        path = tmp_path / f"{'-'.join(map(str, names))}.csv"
        lines = (f"{text},{answer}" for text, answer in zip(texts, answers, strict=True))
        path.write_text("\n".join(["text,label", *lines]) + "\n")
        return path, texts, answers

    return write


@pytest.mark.parametrize(
    ("names", "average"), [(["neg", "pos"], "binary"), (["bad", "mixed", "good"], "macro")]
)
def test_the_figures_are_those_of_scikit_learn(make_pipeline, labelled, tmp_path, names, average):
    data, texts, answers = labelled(names)
    pipe = make_pipeline(id2label=dict(enumerate(names)))
    with torch.no_grad():  # Untrained, it would give every text the same answer.
        pipe.network.linear.bias -= pipe.logits(texts).mean(dim=0)
        pipe.network.linear.weight *= 8
        pipe.network.linear.bias *= 8
    pipe.save_pretrained(tmp_path / "checkpoint")
    found = evaluate(data, tmp_path / "checkpoint", split="train")
    assert list(found) == KEYS

    true = [names.index(answer) for answer in answers]
    probabilities = pipe.probabilities(texts).double().numpy()
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    guessed = probabilities.argmax(axis=1)
    scores = {"average": average, "labels": range(len(names)), "zero_division": 0.0}
    assert len(set(guessed)) == len(names)
    assert found["n"] == 40
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(true, guessed))
    assert found["precision"] == pytest.approx(metrics.precision_score(true, guessed, **scores))
    assert found["recall"] == pytest.approx(metrics.recall_score(true, guessed, **scores))
    assert found["f1"] == pytest.approx(metrics.f1_score(true, guessed, **scores))
    assert found["log_loss"] == pytest.approx(metrics.log_loss(true, probabilities))
    areas = [
        metrics.roc_auc_score(np.equal(true, i), probabilities[:, i]) for i in range(len(names))
    ]
    assert found["roc_auc"] == pytest.approx(np.mean(areas))
    assert found["confusion_matrix"] == metrics.confusion_matrix(true, guessed).tolist()
    assert found["reviews_per_second"] > 0


def test_the_rows_of_the_confusion_matrix_are_the_true_labels():
    probabilities = np.array([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]])
    figures = measure(probabilities, np.array([0, 0, 1, 1]))
    assert figures["confusion_matrix"] == [[0, 2], [1, 1]]
    assert figures["precision"] == pytest.approx(1 / 3)
    assert figures["recall"] == pytest.approx(1 / 2)


def test_the_calibration_error_is_the_one_computed_by_hand():
    # Fifteen bins: 0.61 (right) and 0.69 (wrong) are apart, 0.95 and 1.0 (right) together.
    positive = np.array([0.61, 0.31, 0.95, 1.0])
    probabilities = np.stack([1 - positive, positive], axis=1)
    by_hand = (abs(0.61 - 1) + abs(0.69 - 0) + 2 * abs(0.975 - 1)) / 4
    assert calibration_error(probabilities, np.array([1, 1, 1, 1])) == pytest.approx(by_hand)


def test_labels_are_matched_by_name_whatever_their_order(make_pipeline, labelled, tmp_path):
    make_pipeline().save_pretrained(tmp_path / "checkpoint")
    _, texts, answers = labelled(["neg", "pos"])
    found = []
    for names in (["neg", "pos"], ["pos", "neg"]):
        features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
        split = Dataset.from_dict({"text": texts, "label": answers}, features)
        DatasetDict(test=split).save_to_disk(tmp_path / names[0])
        figures = evaluate(tmp_path / names[0], tmp_path / "checkpoint")
        found.append({key: figures[key] for key in KEYS[:9]})
    assert found[0] == found[1]


def test_other_label_names_are_an_error_that_lists_both_sides(checkpoint, labelled):
    data, *_ = labelled(["negative", "positive"])
    with pytest.raises(SentimentError) as caught:
        evaluate(data, checkpoint, split="train")
    assert caught.value.exit_status == 2
    for name in ("'negative'", "'positive'", "'neg'", "'pos'", "label_map"):
        assert name in str(caught.value)
    label_map = {"negative": "neg", "positive": "pos"}
    assert evaluate(data, checkpoint, split="train", label_map=label_map)["n"] == 40


def test_a_label_that_the_checkpoint_does_not_know_is_an_error(checkpoint, labelled):
    data, *_ = labelled(["neg", "pos", "mixed"])
    with pytest.raises(SentimentError, match=r"'mixed'.*'neg', 'pos'"):
        evaluate(data, checkpoint, split="train")


def test_soft_labels_are_refused(checkpoint, tmp_path):
    (tmp_path / "soft.csv").write_text("text,label\na film,0.25\nb film,0.75\n")
    with pytest.raises(SentimentError, match="Soft labels"):
        evaluate(tmp_path / "soft.csv", checkpoint, split="train")


@pytest.mark.parametrize("labels", [2, 3])
def test_where_a_label_never_occurs_the_area_under_the_curve_is_null(
    make_pipeline, labelled, tmp_path, run, labels
):
    names = ["neg", "pos", "mixed"][:labels]
    make_pipeline(id2label=dict(enumerate(names))).save_pretrained(tmp_path / "checkpoint")
    data, *_ = labelled(names[:-1])
    options = ["--model", tmp_path / "checkpoint", "--split", "train", "--json"]
    result = run("evaluate", data, *options)
    assert result.exit_code == 0
    figures = json.loads(result.stdout)
    assert figures["roc_auc"] is None
    assert [sum(row) > 0 for row in figures["confusion_matrix"]] == [True] * (labels - 1) + [False]
    assert np.isfinite(figures["log_loss"])


def test_rows_without_text_or_label_are_left_out_with_a_count(checkpoint, tmp_path, run):
    rows = [("a film", 1), (None, 0), ("cold", -1), ("warm", None), ("good", 0), ("", 1)]
    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    columns = dict(zip(["text", "label"], map(list, zip(*rows, strict=True)), strict=True))
    DatasetDict(test=Dataset.from_dict(columns, features)).save_to_disk(tmp_path / "data")
    result = run("evaluate", tmp_path / "data", "--model", checkpoint, "--json")
    assert json.loads(result.stdout)["n"] == 3
    assert "1 of 6 rows without a text" in result.stderr
    assert "2 of 5 rows without a label" in result.stderr


def test_json_is_one_object_on_stdout_and_nothing_else(checkpoint, run):
    result = run("evaluate", "sample", "--model", checkpoint, "--json")
    assert result.exit_code == 0
    assert result.stdout.count("\n") == 1
    assert list(json.loads(result.stdout)) == KEYS


def test_without_json_each_figure_has_a_line(checkpoint, run):
    result = run("evaluate", "sample", "--model", checkpoint)
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == KEYS


def test_save_writes_figures_card_and_results_and_nothing_else(checkpoint, run):
    (checkpoint / "README.md").unlink(missing_ok=True)
    before = {path: path.read_bytes() for path in checkpoint.iterdir()}
    result = run("evaluate", "sample", "--model", checkpoint, "--save", "--json")
    assert result.exit_code == 0
    new = {str(path.relative_to(checkpoint)) for path in checkpoint.rglob("*") if path.is_file()}
    new -= {path.name for path in before}
    pictures = {"figures/confusion_matrix.png", "figures/reliability.png"}
    assert new == {"README.md", "eval_results.json"} | pictures
    for path, content in before.items():
        assert path.read_bytes() == content
    for name in pictures:
        assert (checkpoint / name).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    figures = json.loads(result.stdout)
    saved = json.loads((checkpoint / "eval_results.json").read_text())
    assert {key: saved[key] for key in KEYS} == figures
    assert (saved["dataset"], saved["split"]) == ("sample", "test")
    assert str(checkpoint.parent) not in json.dumps(saved)
    card = (checkpoint / "README.md").read_text()
    assert f"| accuracy | {figures['accuracy']:.4f} |" in card
    assert f"| log loss | {figures['log_loss']:.4f} |" in card
    assert "figures/confusion_matrix.png" in card


def test_how_the_rows_were_read_is_saved_with_the_figures(checkpoint, tmp_path, run):
    data = tmp_path / "own.csv"
    data.write_text("body,mood,x\n" + "a good film,good,1\na bad film,bad,2\n" * 20)
    options = ["--text-column", "body", "--label-column", "mood", "--label-map", "good=pos,bad=neg"]
    options += ["--max-samples", 10, "--seed", 3, "--split", "train"]
    result = run("evaluate", data, "--model", checkpoint, "--save", *options)
    assert result.exit_code == 0, result.stderr
    saved = json.loads((checkpoint / "eval_results.json").read_text())
    assert saved["text_column"] == "body"
    assert saved["label_column"] == "mood"
    assert saved["label_map"] == {"good": "pos", "bad": "neg"}
    assert (saved["max_samples"], saved["seed"], saved["n"]) == (10, 3, 10)
    assert "10 texts drawn at random (seed 3)" in (checkpoint / "README.md").read_text()


@pytest.mark.parametrize("failing", ["draw_reliability", "write_card"])
def test_an_evaluation_is_saved_whole_or_not_at_all(checkpoint, run, monkeypatch, failing):
    assert run("evaluate", "sample", "--model", checkpoint, "--save").exit_code == 0
    before = {path: path.read_bytes() for path in checkpoint.rglob("*") if path.is_file()}

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"sentiment_hf.evaluation.{failing}", fail)
        options = ["--model", checkpoint, "--save", "--split", "train"]
        assert run("evaluate", "sample", *options).exit_code == 1
    assert {p: p.read_bytes() for p in checkpoint.rglob("*") if p.is_file()} == before


def test_what_another_process_has_saved_meanwhile_is_kept(checkpoint, monkeypatch):
    measured = evaluation.measure

    def measure_beside_another(*arguments):
        monkeypatch.setattr(evaluation, "measure", measured)
        evaluate("sample", checkpoint, split="train", save=True)
        return measured(*arguments)

    monkeypatch.setattr(evaluation, "measure", measure_beside_another)
    evaluate("sample", checkpoint, save=True)
    saved = json.loads((checkpoint / "eval_results.json").read_text())
    assert [saved["split"], *(one["split"] for one in saved["others"])] == ["test", "train"]


def test_a_folder_that_another_process_writes_is_refused_before_anything_is_measured(
    checkpoint, monkeypatch
):
    monkeypatch.setattr(evaluation, "load_reviews", None)
    with locked(checkpoint), pytest.raises(SentimentError, match=r"writes into .*checkpoint"):
        evaluate("sample", checkpoint, save=True)


def test_saving_again_replaces_the_figures_and_keeps_what_training_wrote(trained, tmp_path, run):
    folder = tmp_path / "copy"
    shutil.copytree(trained, folder)
    training = (folder / "training.json").read_bytes()
    for split in ("train", "test"):
        assert (
            run("evaluate", "sample", "--model", folder, "--split", split, "--save").exit_code == 0
        )
    assert json.loads((folder / "eval_results.json").read_text())["split"] == "test"
    assert (folder / "training.json").read_bytes() == training
    card = (folder / "README.md").read_text()
    assert "split `test`" in card
    assert "split `train`" not in card
    assert "training_curve.png" in card


@pytest.mark.parametrize("model", [None, "reference", REFERENCE_FOLDER])
def test_nothing_is_saved_into_the_built_in_reference(run, model):
    before = [path.stat().st_mtime_ns for path in REFERENCE_FOLDER.rglob("*")]
    options = [] if model is None else ["--model", model]
    result = run("evaluate", "sample", "--save", *options)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "--save" in result.stderr
    assert [path.stat().st_mtime_ns for path in REFERENCE_FOLDER.rglob("*")] == before


def test_max_samples_are_drawn_by_the_seed(checkpoint, run):
    def figures(seed):
        options = ["--model", checkpoint, "--max-samples", 30, "--seed", seed, "--json"]
        found = json.loads(run("evaluate", "sample", *options).stdout)
        return {key: found[key] for key in KEYS[:9]}

    assert figures(1) == figures(1)
    assert figures(1) != figures(2)
    assert figures(1)["n"] == 30
