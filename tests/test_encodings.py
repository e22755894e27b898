"""Files and standard input in other encodings are decoded or refused with the way out."""

import gzip
import json
import subprocess
import sys

import pytest

from sentiment_hf import load_reviews

NAMED = {"latin-1": "LATIN1", "utf-32": "UTF-32"}


@pytest.mark.parametrize("name", ["own.csv", "own.tsv", "own.jsonl", "own.json", "own.csv.gz"])
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-32"])
def test_a_file_in_another_encoding_is_refused_with_how_to_convert_it(
    run, write, tmp_path, name, encoding
):
    row = {"text": "caf\u00e9", "label": "pos"}
    content = {
        "csv": "text,label\na,pos\ncaf\u00e9,pos\n",
        "tsv": "text\tlabel\na\tpos\ncaf\u00e9\tpos\n",
        "jsonl": f"{json.dumps(row)}\n{json.dumps(row, ensure_ascii=False)}\n",
        "json": json.dumps([row], ensure_ascii=False),
    }[name.removesuffix(".gz").split(".")[1]]
    data = content.encode(encoding)
    path = write(f"folder/{name}")
    path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    for source in (path, path.parent):
        result = run("annotate", source, "--output", tmp_path / "out")
        assert result.exit_code == 2
        assert name in result.stderr
        assert "not in UTF-8" in result.stderr
        assert f"iconv -f {NAMED.get(encoding, 'UTF-16')}" in result.stderr
    if encoding == "latin-1":
        assert f"line {content.count(chr(10)) or 1}" in result.stderr


OTHERS = {
    "gzip": (
        gzip.compress(b"text,label\na,pos\n", mtime=0),
        "compressed by gzip: give its name the ending .gz",
    ),
    "xlsx": (
        b"PK\x03\x04\x14\0\x06\0\x08\0\0\0!\0\xbe",
        "a spreadsheet (xlsx): unpack it, or save",
    ),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a spreadsheet (xls): save the sheet as csv"),
    "parquet": (b"PAR1\x15\x04\x15", "a parquet file: give its name the ending .parquet"),
}


@pytest.mark.parametrize(("content", "kind"), OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("name", ["own.csv", "own.jsonl"])
def test_a_file_that_is_no_text_is_called_what_it_is(run, write, tmp_path, name, content, kind):
    path = write(name)
    path.write_bytes(content)
    result = run("annotate", path, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert kind in result.stderr
    assert "iconv" not in result.stderr


def test_a_byte_order_mark_is_no_word_of_a_text(tmp_path):
    for label in ("neg", "pos"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "0.txt").write_text("a\r\nfilm", encoding="utf-8-sig", newline="")
    assert load_reviews(tmp_path)["train"]["text"][:] == ["a\nfilm"] * 2


LINES = "a good film\ncaf\u00e9, bad\nwarm"


@pytest.mark.parametrize("encoding", ["utf-32", "utf-32-le", "utf-32-be"])
def test_standard_input_in_utf_32_is_decoded(run, checkpoint, encoding):
    result = run("predict", "--model", checkpoint, "--json", stdin=LINES.encode(encoding))
    answers = [json.loads(line)["text"] for line in result.stdout.splitlines()]
    assert answers == LINES.split("\n")


@pytest.mark.parametrize("before", [0, 200_000])
def test_a_file_as_standard_input_is_refused_before_a_line_is_answered(run, checkpoint, before):
    content = b"a film\n" * before + LINES.encode("latin-1")
    result = run("predict", "--model", checkpoint, stdin=content)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert f"Line {before + 2} of standard input is not in UTF-8" in result.stderr
    assert "iconv" in result.stderr


@pytest.mark.parametrize("content", [LINES.encode("latin-1"), LINES.encode() + b"\xc3"])
def test_a_pipe_that_is_not_in_utf_8_is_refused(checkpoint, content):
    command = [sys.executable, "-m", "sentiment_hf.cli", "predict", "--model", checkpoint]
    done = subprocess.run(command, input=content, capture_output=True, check=False, timeout=240)
    assert done.returncode == 2
    assert b"standard input is not in UTF-8" in done.stderr
    assert b"caf" not in done.stdout or content.endswith(b"\xc3")
