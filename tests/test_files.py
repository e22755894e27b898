"""Files: read with care, and written whole or not at all."""

import json
import os

import pytest
from killed_writers import run_killed_at

from sentiment_hf import SentimentError
from sentiment_hf.checkpoint.files import read_json, write_json

WRITE = """
write_json(target, {"value": "new"})
"""


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_has_no_end_is_not_read(tmp_path, kind):
    path = tmp_path / "values.json"
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    with pytest.raises(SentimentError, match="no regular file"):
        read_json(path)


def test_a_json_file_killed_while_it_is_written_is_the_old_or_the_new_one(tmp_path):
    found = []
    for step in range(20):
        target = tmp_path / str(step) / "values.json"
        target.parent.mkdir()
        write_json(target, {"value": "old"})
        finished = run_killed_at(step, WRITE, target)
        found.append(read_json(target)["value"])
        if finished:
            break
    assert finished
    assert found == sorted(found, reverse=True)
    assert (found[0], found[-1]) == ("old", "new")
    assert len(found) >= 3


@pytest.mark.parametrize("value", [float("nan"), object(), "\ud800"], ids=["nan", "object", "text"])
def test_what_cannot_be_written_leaves_the_old_json_file_and_nothing_beside(tmp_path, value):
    target = tmp_path / "values.json"
    write_json(target, {"value": "old"})
    with pytest.raises((ValueError, TypeError, SentimentError)):
        write_json(target, {"value": value})
    assert read_json(target) == {"value": "old"}
    assert os.listdir(tmp_path) == ["values.json"]


def test_json_comes_back_as_it_was_written(tmp_path):
    values = {"é": "čaj 🍵", "list": [1, 2.5, None, True], "nested": {"a": {"b": "\n\x00"}}}
    write_json(tmp_path / "values.json", values)
    assert read_json(tmp_path / "values.json") == values
    assert "čaj 🍵" in (tmp_path / "values.json").read_text(encoding="utf-8")


UNREADABLE = {
    "missing": None,
    "empty": b"",
    "cut off": b'{"a": ',
    "list": b"[1]",
    "number": b"3",
    "null": b"null",
    "latin-1": '{"a": "é"}'.encode("latin-1"),
    "BOM": b"\xef\xbb\xbf{}",
    "zeros": b"\0" * 1000,
    "nested": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "5000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "html": b"<!DOCTYPE html>",
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_file_that_is_no_json_object_is_one_sentence(tmp_path, name):
    path = tmp_path / "values.json"
    if UNREADABLE[name] is not None:
        path.write_bytes(UNREADABLE[name])
    with pytest.raises(SentimentError) as error:
        read_json(path)
    assert str(tmp_path) in str(error.value)
    assert "values.json" in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < len(str(path)) + 200


def test_a_json_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "values.json"
    path.write_text(json.dumps({"a": 1}))
    os.truncate(path, 10**12)
    with pytest.raises(SentimentError, match="larger"):
        read_json(path, 1_000_000)


def test_a_folder_in_place_of_a_json_file_is_one_sentence(tmp_path):
    (tmp_path / "values.json").mkdir()
    with pytest.raises(SentimentError, match=r"values\.json"):
        read_json(tmp_path / "values.json")
