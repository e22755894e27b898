"""Labels that cannot be: shown where they stand, and how they have to be typed."""

import json
import unicodedata

import pytest
from datasets import Dataset

from sentiment_hf.checkpoint.figures import draw_trajectory
from sentiment_hf.data.label_map import match_labels


def test_labels_match_whatever_way_their_letters_are_encoded():
    names = [unicodedata.normalize(form, "n\u00e9gatif") for form in ("NFC", "NFD")]
    assert names[0] != names[1]
    assert match_labels([names[1], "pos"], ["pos", names[0]]) == [1, 0]


BAD_LABELS = [
    ("not one printable line", "a\x1bb"),
    ("longer than 200 characters", "a" * 201),
    ("empty", ""),
    ("empty", " \xa0"),
    ("empty", "\u200b\ufeff"),
]


@pytest.mark.parametrize(("fault", "label"), BAD_LABELS, ids=ascii)
def test_a_label_that_no_checkpoint_can_hold_is_shown_where_it_stands(run, tmp_path, fault, label):
    labels = ["neg", "pos"] * 20 + [label]
    columns = {"text": [f"film {i}" for i in range(41)], "mood": labels}
    Dataset.from_dict(columns).to_parquet(tmp_path / "own.parquet")
    command = ["train", tmp_path / "own.parquet", "--label-column", "mood"]
    result = run(*command, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert "row 41 of the column 'mood' of own.parquet" in result.stderr
    assert f"is {fault}; give it another name with --label-map" in result.stderr
    assert "id2label" not in result.stderr
    sample = run(*command, "--output", tmp_path / "out", "--max-samples", 41)
    assert "in the column 'mood'" in sample.stderr
    mapped = run(*command, "--output", tmp_path / "out", "--label-map", "pos=a\x1bb")
    assert "in --label-map is not one printable line" in mapped.stderr


def test_too_many_labels_are_a_sentence_about_their_column(run, write, tmp_path):
    lines = [f"film {number},label {number % 1_001}" for number in range(2_002)]
    result = run("train", write("own.csv", "text,label", *lines), "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert "The column 'label' of own.csv has 1,001 different labels" in result.stderr


def test_rows_that_the_map_drops_are_counted_apart_from_those_without_a_label(run, write, tmp_path):
    lines = [f"film number {number},{number % 3}" for number in range(60)] + ["unsaid,"]
    path = write("own.csv", "text,label", *lines)
    sizes = ["--epochs", 1, "--vocab-size", 50, "--batch-size", 50, "--label-map", "1="]
    result = run("train", path, "--output", tmp_path / "out", *sizes)
    assert result.exit_code == 0, result.stderr
    data = json.loads((tmp_path / "out" / "training.json").read_text())["data"]
    assert data["left_out"] == {"without a label": 1, "of a label that the map drops": 20}
    assert "1 without a label, 20 of a label that the map drops." in result.stderr
    card = (tmp_path / "out" / "README.md").read_text()
    assert "rows of a label that the map drops | 20" in card


def test_a_label_that_differs_by_a_blank_is_named_as_it_has_to_be_typed(run, write, tmp_path):
    lines = [f"film number {number},{('neg', 'pos', 'pos ')[number % 3]}" for number in range(60)]
    path = write("own.csv", "text,label", *lines)
    command = ["train", path, "--epochs", 1, "--vocab-size", 50, "--output"]
    assert r"--label-map 'pos\ =pos'." in run(*command, tmp_path / "out").stderr
    result = run(*command, tmp_path / "mapped", "--label-map", r"pos\ =pos")
    assert "'neg' (18), 'pos' (36)" in result.stderr


def test_a_label_in_other_letters_is_drawn_without_a_word(recwarn, tmp_path):
    draw_trajectory(tmp_path / "curve.png", [0.1, 0.9], "\u65e5\u672c")
    assert [str(one.message) for one in recwarn if "Glyph" in str(one.message)] == []
    assert (tmp_path / "curve.png").exists()
