"""A folder whose files change together, under a lock."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from killed_writers import run_killed_at
from replaced_folders import NEW, OLD, content, fill, own, replaced_folder

from sentiment_hf import SentimentError
from sentiment_hf.checkpoint.files import write_json
from sentiment_hf.checkpoint.staging import (
    current_folder,
    locked,
    new_folder,
    recover_folder,
    staged_folder,
)

REPLACE = """
def own(folder):
    return [path for path in folder.glob("[a-z]*") if path.is_file()] + list(folder.glob("sub/*"))

with locked(target), staged_folder(target, own) as new:
    (new / "sub").mkdir()
    for name in ("a", "sub/c", "sub/d"):
        (new / name).write_text("new")
"""


def all_names(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


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
    before = {} if kind == "there was none" else OLD
    for step in range(200):
        target = tmp_path / str(step) / "model"
        target.parent.mkdir()
        if kind == "there was a link":
            target.symlink_to(tmp_path / f"real {step}")
            fill(tmp_path / f"real {step}", OLD)
        elif before:
            fill(target, before)
        finished = run_killed_at(step, REPLACE, target)
        left = all_names(target)
        read = {
            name: text for name, text in content(current_folder(target)).items() if name[0] != "."
        }
        assert all_names(target) == left, "who reads moves nothing"
        assert read in (before, NEW)
        with locked(target):
            recover_folder(target, own)
        found.append(content(target))
        assert found[-1] == read
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
        assert content(current_folder(target)) == content(target)
        assert not list(own(target))
    with replaced_folder(target) as new:
        assert content(new) == {}
        fill(new, NEW)
        assert {path.name: path.read_text() for path in own(target)} == {
            "a": "old",
            "b": "old",
            "c": "old",
        }
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


@pytest.mark.parametrize(
    "name",
    [
        ".model.old",
        ".model.new",
        "model/.sentiment-hf-1",
        f"model/.sentiment-hf-{'0' * 16}",
        "a.new",
    ],
)
def test_what_a_person_has_put_there_is_not_ours_by_its_name(tmp_path, name):
    target = tmp_path / "model"
    fill(target, OLD)
    fill(tmp_path / name, {"complete": "", "files/a": "theirs"})
    before = content(tmp_path)
    assert current_folder(target) == target
    with locked(target):
        recover_folder(target, own)
    assert content(tmp_path) == before
    with replaced_folder(target) as new:
        fill(new, OLD)
    assert content(tmp_path) == before


def test_a_folder_that_a_person_has_deleted_does_not_come_back(tmp_path):
    fill(tmp_path / ".model.old", OLD)
    assert not current_folder(tmp_path / "model").exists()
    with replaced_folder(tmp_path / "model") as new:
        fill(new, {"x": "new"})
    assert content(tmp_path / "model") == {"x": "new"}
    assert content(tmp_path / ".model.old") == OLD


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_temporary_name_meets_nothing_that_is_there(tmp_path, kind):
    target, own_new = tmp_path / "values.json", tmp_path / "values.json.new"
    victim = tmp_path / "victim"
    victim.write_text("precious")
    own_new.write_text("mine") if kind == "file" else own_new.symlink_to(victim)
    write_json(target, {"value": 1})
    assert victim.read_text() == "precious"
    assert own_new.read_text() == ("mine" if kind == "file" else "precious")
    assert own_new.is_symlink() == (kind == "link")


def test_modes_are_kept_and_new_ones_are_those_of_the_umask(tmp_path):
    target = tmp_path / "model"
    fill(target, {"a": "old", "sub/c": "old"})
    target.chmod(0o700)
    (target / "sub").chmod(0o750)
    (target / "a").chmod(0o600)
    before = os.umask(0o027)
    try:
        with replaced_folder(target) as new:
            for name in ("a", "b"):
                write_json(new / f"{name}", {})
            fill(new, {"sub/c": "new"})
    finally:
        os.umask(before)
    modes = {name: (target / name).stat().st_mode & 0o777 for name in (".", "sub", "a", "b")}
    assert modes == {".": 0o700, "sub": 0o750, "a": 0o600, "b": 0o640}


def test_the_disk_has_everything_before_it_counts_and_before_anything_goes(tmp_path, monkeypatch):
    target, events = tmp_path / "model", []
    fill(target, {"a": "old", "b": "old"})

    def note(name, real, which):
        def call(*arguments, **options):
            place = arguments[which]
            place = os.readlink(f"/proc/self/fd/{place}") if isinstance(place, int) else str(place)
            events.append(
                (name, re.sub(r"\.sentiment-hf-\w+", "STAGING", place[len(str(target)) :]))
            )
            return real(*arguments, **options)

        monkeypatch.setattr(os, name, call)

    with locked(target):
        note("fsync", os.fsync, 0)
        note("replace", os.replace, 1)
        note("unlink", os.unlink, 0)
        with staged_folder(target, own) as new:
            fill(new, {"a": "new"})
    counts = events.index(("fsync", "/STAGING"), events.index(("fsync", "")))
    assert events.index(("fsync", "/STAGING/files/a")) < counts
    assert events.index(("fsync", "/STAGING/files")) < counts
    in_place = events.index(("replace", "/a"))
    assert counts < in_place < events.index(("fsync", ""), in_place)
    over = events.index(("unlink", "/STAGING/complete"))
    assert events.index(("fsync", ""), in_place) < over


def test_a_second_process_is_refused_with_the_number_of_the_first(tmp_path):
    code = """
import sys
from pathlib import Path
from sentiment_hf.checkpoint.staging import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", code, str(tmp_path / "model")]
    first = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout.readline() == "locked\n"
        with pytest.raises(SentimentError, match=rf"\({first.pid}\) writes into .*model"):
            fill_locked(tmp_path / "model")
        first.kill()
        first.wait()
        fill_locked(tmp_path / "model")
    finally:
        first.kill()
        first.communicate()
    assert os.listdir(tmp_path / "model") == ["x"]


def test_a_second_thread_is_refused_too_and_another_name_is_another_lock(tmp_path):
    def write(name: str) -> str:
        try:
            with locked(tmp_path, name):
                return "written"
        except SentimentError as error:
            return str(error)

    with locked(tmp_path, "a.lock"), ThreadPoolExecutor() as threads:
        assert "Another thread of this process" in threads.submit(write, "a.lock").result()
        assert "Another thread of this process" in threads.submit(write, "a.lock").result()
        assert threads.submit(write, "b.lock").result() == "written"
    assert write("a.lock") == "written"
    assert not list(tmp_path.iterdir())


def fill_locked(folder: Path) -> None:
    with replaced_folder(folder) as new:
        fill(new, {"x": ""})


def test_a_mounted_volume_is_replaced_without_touching_what_is_beside_it(tmp_path):
    """A folder that cannot be renamed, in a parent that nobody may write."""
    target = tmp_path / "volume"
    fill(target, OLD)
    tried = []

    def watch(event, arguments):
        if event in ("os.rename", "os.mkdir", "os.link", "open") and watching:
            paths = [str(path) for path in arguments if isinstance(path, str | Path)]
            tried.extend(path for path in paths if path.startswith(str(tmp_path)))

    watching = True
    sys.addaudithook(watch)
    with replaced_folder(target) as new:
        fill(new, NEW)
    watching = False
    assert tried
    assert all(path.startswith(f"{target}/") for path in tried if path != str(target))
    assert content(target) == NEW


def test_a_checkpoint_that_was_saved_meanwhile_is_not_overwritten(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    fill(target, OLD)
    with pytest.raises(SentimentError, match="is there already"), new_folder(target):
        raise AssertionError("filled")
    assert content(target) == OLD
