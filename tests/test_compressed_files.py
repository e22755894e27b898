"""Compressed files are read whole, or not at all."""

import json

import pytest
from written_files import rows_of

from sentiment_hf import load_reviews

COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma", ".zst": "zstandard"}


@pytest.mark.parametrize("ending", COMPRESSED)
@pytest.mark.parametrize("kind", [".csv", ".tsv", ".jsonl", ".json"])
def test_compressed_files_are_read(write, tmp_path, kind, ending):
    library = pytest.importorskip(
        COMPRESSED[ending], reason=f"reading {ending} needs {COMPRESSED[ending]}"
    )
    rows = [("n/a", "pos"), ("bad", "neg")]
    separator = {".csv": ",", ".tsv": "\t"}.get(kind)
    if separator:
        lines = [separator.join(row) for row in [("text", "label"), *rows]]
    else:
        lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    path = write(f"own{kind}{ending}", *lines)
    path.write_bytes(library.compress(path.read_bytes()))
    assert rows_of(load_reviews(path)) == rows


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("ending", COMPRESSED)
@pytest.mark.parametrize("kind", [".csv", ".jsonl"])
def test_a_compressed_file_that_is_not_whole_is_a_sentence(
    run, checkpoint, tmp_path, kind, ending, streaming
):
    library = pytest.importorskip(
        COMPRESSED[ending], reason=f"reading {ending} needs {COMPRESSED[ending]}"
    )
    rows = [f"{number * 7919 % 1000} films" for number in range(500)]
    lines = ["text", *rows] if kind == ".csv" else [json.dumps({"text": row}) for row in rows]
    text = "\n".join(lines).encode()
    for content in (library.compress(text)[:300], text):
        path = tmp_path / f"own{kind}{ending}"
        path.write_bytes(content)
        options = ["--output", tmp_path / "out", *(["--streaming"] if streaming else [])]
        result = run("annotate", path, "--model", checkpoint, *options)
        assert result.exit_code == 2, result.output
        assert f"own{kind}{ending} could not be read" in result.stderr
        if ending != ".zst":
            assert "cut off or damaged" in result.stderr


def test_a_compression_that_needs_a_package_names_it(run, write, monkeypatch):
    monkeypatch.setattr("sentiment_hf.data.files.find_spec", lambda _: None)
    result = run("evaluate", write("own.json.zst", "x"))
    assert result.exit_code == 2
    assert "pip install zstandard" in result.stderr
