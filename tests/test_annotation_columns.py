"""Which column `annotate` reads where none is named."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from written_files import STRINGS, TEXTS, as_arrow

from sentiment_hf import load_reviews


@pytest.mark.parametrize("streaming", [[], ["--streaming"]])
def test_annotate_says_which_column_it_reads(run, write, checkpoint, tmp_path, streaming):
    path = write("own.csv", "id,body", "1,a good film", "2,a bad film")
    command = ["annotate", path, "--model", checkpoint, "--output", tmp_path / "out", *streaming]
    result = run(*command)
    assert result.exit_code == 0, result.stderr
    assert "Reading the texts in the column 'body' of own.csv." in result.stderr


@pytest.mark.parametrize("streaming", [[], ["--streaming"]])
@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (['{"source": "web", "id": 1}'] * 3, "the same text, 'web', in 3 rows"),
        (['{"text;label": "a film;pos"}', '{"text;label": "b;neg"}'], "several that were read as"),
    ],
)
def test_annotate_refuses_a_guess_that_is_no_text(
    run, write, checkpoint, tmp_path, lines, said, streaming
):
    path = write("own.jsonl", *lines)
    command = ["annotate", path, "--model", checkpoint, "--output", tmp_path / "out", *streaming]
    result = run(*command)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "--text-column" in result.stderr
    assert not (tmp_path / "out").exists()
    named = next(iter(json.loads(lines[0])))
    assert run(*command, "--text-column", named).exit_code == 0


@pytest.mark.parametrize("kind", STRINGS, ids=str)
def test_annotate_labels_every_type_of_text(run, checkpoint, tmp_path, kind):
    table = pa.table(as_arrow(kind), names=["text", "label"])
    pq.write_table(table, tmp_path / "own.parquet")
    command = ["annotate", tmp_path / "own.parquet", "--model", checkpoint]
    result = run(*command, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert load_reviews(tmp_path / "out" / "data")["train"]["text"][:] == TEXTS
