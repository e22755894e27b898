"""What was measured of a network belongs to its weights, and is neither lost nor lent to others."""

import json
import os

import pytest
from safetensors.torch import load_file, save_file

from sentiment_hf import SentimentError, SentimentPipeline, evaluate, evaluation
from sentiment_hf.checkpoint import staging
from sentiment_hf.checkpoint.card import render_card
from sentiment_hf.checkpoint.records import read_record

EVALUATION = "eval_results.json"


def splits(folder) -> list[str]:
    saved = json.loads((folder / EVALUATION).read_text())
    return [saved["split"], *(one["split"] for one in saved.get("others", []))]


def accuracies(card: str) -> list[str]:
    return [line for line in card.splitlines() if line.startswith("| accuracy")]


@pytest.mark.parametrize("then", ["evaluate", "save_pretrained"])
def test_a_measurement_that_was_cut_off_after_its_mark_is_kept_by_the_next_writer(
    checkpoint, monkeypatch, then
):
    with monkeypatch.context() as patch:
        patch.setattr(staging, "_put_in_place", lambda *_: None)
        patch.setattr(staging, "_discard", lambda *_: None)
        evaluate("sample", checkpoint, save=True)
    assert not (checkpoint / EVALUATION).exists()
    if then == "evaluate":
        evaluate("sample", checkpoint, split="train", save=True)
        assert splits(checkpoint) == ["train", "test"]
    else:
        SentimentPipeline.from_pretrained(checkpoint).save_pretrained(checkpoint)
        assert splits(checkpoint) == ["test"]
        assert "reliability.png" in os.listdir(checkpoint / "figures")


def test_weights_that_are_replaced_while_they_are_measured_keep_their_own_measurement(
    checkpoint, make_pipeline, monkeypatch
):
    measured = evaluation.measure

    def measure_while_replaced(*arguments):
        monkeypatch.setattr(evaluation, "measure", measured)
        make_pipeline(seed=1).save_pretrained(checkpoint)
        evaluate("sample", checkpoint, save=True)
        return measured(*arguments)

    monkeypatch.setattr(evaluation, "measure", measure_while_replaced)
    with pytest.raises(SentimentError, match="were replaced while they were measured"):
        evaluate("sample", checkpoint, split="train", save=True)
    assert splits(checkpoint) == ["test"]
    assert len(accuracies((checkpoint / "README.md").read_text())) == 1


def test_figures_go_with_other_weights_also_where_their_records_are_gone(checkpoint, make_pipeline):
    evaluate("sample", checkpoint, save=True)
    (checkpoint / EVALUATION).unlink()
    make_pipeline(seed=1).save_pretrained(checkpoint)
    assert not list(checkpoint.glob("figures/*"))
    assert "figures/" not in (checkpoint / "README.md").read_text()


def test_weights_that_say_no_name_are_measured_under_the_one_they_have(checkpoint):
    path = checkpoint / "model.safetensors"
    tensors = load_file(path)
    save_file(tensors, path)
    evaluate("sample", checkpoint, save=True)
    assert accuracies((checkpoint / "README.md").read_text())
    save_file({name: -tensor for name, tensor in tensors.items()}, path)
    assert read_record(checkpoint, EVALUATION) == {}
    assert not accuracies(render_card(checkpoint))


def test_a_record_of_no_weights_is_believed_of_none(checkpoint):
    evaluate("sample", checkpoint, save=True)
    path = checkpoint / EVALUATION
    path.write_text(json.dumps(json.loads(path.read_text()) | {"weights": None}))
    (checkpoint / "model.safetensors").write_bytes(b"")
    assert read_record(checkpoint, EVALUATION) == {}


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "figures"])
def test_nothing_is_measured_for_a_folder_whose_files_lie_elsewhere(
    checkpoint, tmp_path, monkeypatch, name
):
    evaluate("sample", checkpoint, save=True)
    (checkpoint / name).rename(tmp_path / "elsewhere")
    (checkpoint / name).symlink_to(tmp_path / "elsewhere")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr(evaluation, "load_reviews", None)
    with pytest.raises(SentimentError, match=rf"{name} is a link"):
        evaluate("sample", checkpoint, split="train", save=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
