"""What a stranger or a person has put where a writer writes is not taken for its own."""

import os
import shutil
from pathlib import Path

import pytest
from replaced_folders import NEW, OLD, content, fill, own, replaced_folder

from sentiment_hf import SentimentError, train
from sentiment_hf.checkpoint.staging import current_folder, locked, recover_folder
from sentiment_hf.export.transformers_folder import export_transformers


def left_after_the_mark(target: Path, new: dict[str, str]) -> Path:
    """The hidden folder of a writer that was killed before its files took their places."""
    staging = target / f".sentiment-hf-{'1' * 16}"
    fill(staging / "files", new)
    (staging / f"made-by-sentiment-hf-{staging.stat().st_ino}").touch()
    (staging / "complete").touch()
    return staging


@pytest.mark.parametrize("how", ["copied", "renamed"])
def test_a_hidden_folder_that_came_with_a_strangers_checkpoint_is_not_believed(tmp_path, how):
    target = tmp_path / "model"
    fill(target, OLD)
    staging = left_after_the_mark(target, NEW)
    assert current_folder(target) == staging / "files"
    if how == "copied":
        shutil.copytree(target, tmp_path / "copy", symlinks=True)
        target = tmp_path / "copy"
    else:
        staging.rename(target / ".sentiment-hf-notes")
    before = content(target)
    assert current_folder(target) == target
    with locked(target):
        recover_folder(target, own)
    assert content(target) == before
    with replaced_folder(target) as new:
        assert content(new) == {}
        fill(new, OLD)
    assert content(target) == before


def test_of_a_hidden_folder_only_files_of_the_checkpoint_are_taken_and_through_no_link(tmp_path):
    target, home = tmp_path / "model", tmp_path / "home"
    fill(target, OLD)
    fill(home, {".bashrc": "mine", "d": "mine"})
    (target / "link").symlink_to(home)
    left_after_the_mark(target, {**NEW, "link/.bashrc": "theirs", "other/x": "theirs"})
    with locked(target):
        recover_folder(target, own)
    assert content(home) == {".bashrc": "mine", "d": "mine"}
    assert {name: text for name, text in content(target).items() if "link" not in name} == NEW
    shutil.rmtree(target / "sub")
    (target / "sub").symlink_to(home)
    left_after_the_mark(target, NEW)
    with locked(target), pytest.raises(SentimentError, match=r"sub is a link"):
        recover_folder(target, own)
    assert content(home) == {".bashrc": "mine", "d": "mine"}


def test_a_hidden_folder_that_is_a_link_is_not_followed(tmp_path):
    target = tmp_path / "model"
    fill(target, OLD)
    staging = left_after_the_mark(target, NEW)
    (staging / "files").rename(tmp_path / "elsewhere")
    (staging / "files").symlink_to(tmp_path / "elsewhere")
    assert current_folder(target) == target
    with locked(target):
        recover_folder(target, own)
    assert content(target) == OLD
    assert content(tmp_path / "elsewhere") == NEW


@pytest.mark.parametrize("kind", ["folder", "linked folder", "file", "another's"])
def test_what_cannot_take_its_place_is_said_before_anything_changes(tmp_path, monkeypatch, kind):
    target = tmp_path / "model"
    fill(target, {"a": "old", "b": "old"})
    if kind == "folder":
        fill(target, {"sub/c/x": "mine"})
    elif kind == "linked folder":
        fill(tmp_path / "elsewhere", {"c": "mine"})
        (target / "sub").symlink_to(tmp_path / "elsewhere")
    elif kind == "file":
        fill(target, {"sub": "mine"})
    else:
        target.chmod(0o1777)
        user = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    before = content(tmp_path)

    def replace() -> None:
        with replaced_folder(target) as new:
            fill(new, NEW)

    with pytest.raises(SentimentError, match=r"remove it|another user"):
        replace()
    assert content(tmp_path) == before


def test_a_mounted_volume_may_bring_its_folder_along(checkpoint, easy_csv, tmp_path):
    for name in ("trained", "exported"):
        (tmp_path / name / "lost+found").mkdir(parents=True)
    train(easy_csv, tmp_path / "trained", epochs=1, show_progress=False)
    train(easy_csv, tmp_path / "trained", epochs=1, show_progress=False, overwrite=True)
    export_transformers(checkpoint, tmp_path / "exported")
    for name in ("trained", "exported"):
        assert {"lost+found", "README.md"} <= set(os.listdir(tmp_path / name))
    (tmp_path / "trained/figures/lost+found").mkdir()
    with pytest.raises(SentimentError, match=r"figures/lost\+found"):
        train(easy_csv, tmp_path / "trained", overwrite=True)
