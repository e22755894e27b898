"""Json files: the types of their columns."""

import json

import pytest

from sentiment_hf import SentimentError, load_reviews

PAD = " " * 10_000


def test_the_types_of_a_json_file_are_found_beyond_its_first_rows(write):
    rows = [{"text": f"a{PAD}", "label": 0}] * 1_200 + [{"text": "b", "label": 0.5, "more": 1}]
    labels = load_reviews(write("own.jsonl", *map(json.dumps, rows)))["train"]["label"]
    assert (labels[0], labels[1_200]) == (0, 0.5)
    rows = [{"text": f"a{PAD}", "label": 1}] * 1_200 + [{"text": "b", "label": "01"}]
    with pytest.raises(SentimentError, match="'label' holds values of several types"):
        load_reviews(write("mixed.jsonl", *map(json.dumps, rows)))


@pytest.mark.parametrize("labels", [["NaN", '"pos"', '"neg"'], ['"1"', "1", "0"]])
def test_labels_of_several_types_are_refused_with_the_way(write, labels):
    lines = [f'{{"text": "a", "label": {label}}}' for label in labels]
    with pytest.raises(SentimentError, match=r'"1" and 1, or NaN.* all of them in quotes'):
        load_reviews(write("own.jsonl", *lines))


NESTED = {
    "Label Studio": {"id": 1, "data": {"text": "a film"}},
    "a chat": {"messages": [{"role": "user", "content": "a film"}]},
    "one row of all": {"data": [{"text": "a film", "label": "pos"}]},
}


@pytest.mark.parametrize("row", NESTED.values(), ids=NESTED)
def test_a_nested_text_is_not_answered_with_advice_for_a_csv_file(run, write, row):
    result = run("evaluate", write("own.json", json.dumps([row])))
    assert result.exit_code == 2
    assert "none of its columns holds text" in result.stderr
    assert "a nested text is to be saved in a column of its own" in result.stderr
    assert "line of names" not in result.stderr


def test_columns_with_a_usual_name_are_not_said_to_be_a_row(run, write):
    result = run("evaluate", write("own.jsonl", '{"id": 1, "label": 1}'))
    assert "among id, label.\n" in result.stderr


@pytest.mark.parametrize("content", ["null", '[null, {"text": "a"}]', ' \n null\n{"text": "a"}'])
def test_a_json_file_that_begins_with_null_does_not_end_the_process(run_process, write, content):
    done = run_process("evaluate", write("own.json", content))
    assert done.returncode == 2
    assert "The first row of the file" in done.stderr
