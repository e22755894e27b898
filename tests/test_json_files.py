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


@pytest.mark.parametrize("content", ["null", '[null, {"text": "a"}]', ' \n null\n{"text": "a"}'])
def test_a_json_file_that_begins_with_null_does_not_end_the_process(run_process, write, content):
    done = run_process("evaluate", write("own.json", content))
    assert done.returncode == 2
    assert "The first row of the file" in done.stderr
