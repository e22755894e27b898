"""Files on disk: a folder or a JSON file is whole at every moment."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sentiment_hf import SentimentError, SentimentPipeline
from sentiment_hf.checkpoint.files import read_json, recover_folder, replaced_folder, write_json
from sentiment_hf.training.run import OutputFolder

OLD = {"a": "old", "b": "old", "sub/c": "old"}
NEW = {"a": "new", "sub/c": "new", "sub/d": "new"}

# Ends itself with SIGKILL right before its n-th step on the disk, so each moment is tried.
PROCESS = """
import os, signal, sys
from pathlib import Path
from sentiment_hf.checkpoint.files import replaced_folder, write_json

left = int(sys.argv[1])
STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir", "os.link"}

def die_in_time(event, arguments):
    global left
    if event in STEPS and working:
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

working = False
sys.addaudithook(die_in_time)
target = Path(sys.argv[2])
working = True
"""
REPLACE = """
with replaced_folder(target) as new:
    (new / "sub").mkdir()
    for name in ("a", "sub/c", "sub/d"):
        (new / name).write_text("new")
"""
WRITE = """
write_json(target, {"value": "new"})
"""


def fill(folder: Path, content: dict[str, str]) -> None:
    for name, text in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def content(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_text() for path in files}


def run_killed_at(step: int, program: str, target: Path) -> bool:
    """Whether the process got to its end before that step."""
    command = [sys.executable, "-c", PROCESS + program, str(step), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode == 0


@pytest.mark.parametrize(
    "kind",
    [
        "there was a folder",
        "there was none",
        pytest.param("there was a link", marks=pytest.mark.slow),
    ],
)
def test_killed_at_any_moment_one_whole_folder_is_found_again(tmp_path, kind):
    found = []
    before = None if kind == "there was none" else OLD
    for step in range(100):
        target = tmp_path / str(step) / "model"
        target.parent.mkdir()
        if kind == "there was a link":
            target.symlink_to(tmp_path / f"real {step}")
            fill(tmp_path / f"real {step}", OLD)
        elif before:
            fill(target, before)
        finished = run_killed_at(step, REPLACE, target)
        recover_folder(target)
        found.append(content(target) if target.exists() else None)
        assert found[-1] in (before, NEW)
        with replaced_folder(target) as new:
            assert content(new) == {}
            fill(new, {"x": "next"})
        assert content(target) == {"x": "next"}
        assert os.listdir(target.parent) == ["model"]
        if finished:
            break
    assert finished
    assert len(found) > (10 if before else 6)
    assert found == sorted(found, key=lambda folder: folder == NEW)
    assert found[-1] == NEW


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("before", [OLD, None], ids=["there was a folder", "there was none"])
def test_an_exception_inside_leaves_the_old_folder_whole_and_nothing_beside(
    tmp_path, before, error
):
    target = tmp_path / "model"
    if before:
        fill(target, before)

    def fail() -> None:
        with replaced_folder(target) as new:
            fill(new, NEW)
            raise error

    with pytest.raises(error):
        fail()
    assert os.listdir(tmp_path) == (["model"] if before else [])
    assert not before or content(target) == before


def test_the_new_folder_takes_the_place_of_the_old_one_only_at_the_end(tmp_path):
    target = tmp_path / "deep" / "below" / "model"
    with replaced_folder(target) as new:
        fill(new, OLD)
        assert not target.exists()
    with replaced_folder(target) as new:
        assert content(new) == {}
        fill(new, NEW)
        assert content(target) == OLD
    assert content(target) == NEW
    assert os.listdir(target.parent) == ["model"]


@pytest.mark.parametrize("name", ["model", "other/../model", "link"])
def test_a_folder_is_replaced_under_any_of_its_names_again_and_again(tmp_path, monkeypatch, name):
    fill(tmp_path / "model", OLD)
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    for text in ("first", "second", "third"):
        with replaced_folder(Path(name)) as new:
            fill(new, {"x": text})
        assert content(Path(name)) == {"x": text}
        assert sorted(os.listdir()) == ["link", "model", "other"]


def test_nothing_is_recovered_over_a_folder_that_is_there(tmp_path):
    target = tmp_path / "model"
    fill(target, NEW)
    fill(tmp_path / ".model.old", OLD)
    recover_folder(target)
    assert content(target) == NEW
    recover_folder(tmp_path / "other")
    assert not (tmp_path / "other").exists()


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
    assert found == ["old"] * (len(found) - 1) + ["new"]
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
        read_json(path)


def test_a_folder_in_place_of_a_json_file_is_one_sentence(tmp_path):
    (tmp_path / "values.json").mkdir()
    with pytest.raises(SentimentError, match=r"values\.json"):
        read_json(tmp_path / "values.json")


def test_after_a_swap_that_was_cut_off_reading_finds_the_old_folder_and_moves_nothing(
    checkpoint, tmp_path
):
    expected = SentimentPipeline.from_pretrained(checkpoint)("a good film")
    checkpoint.rename(tmp_path / ".checkpoint.old")
    names = sorted(os.listdir(tmp_path))
    assert SentimentPipeline.from_pretrained(checkpoint)("a good film") == expected
    assert sorted(os.listdir(tmp_path)) == names
    with pytest.raises(SentimentError, match="holds a checkpoint already"):
        OutputFolder(checkpoint).is_finished(resume=False, overwrite=False)
    assert os.listdir(tmp_path) == ["checkpoint"]
