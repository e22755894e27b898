"""Which folder a training may write, and what it keeps of what is there."""

import json

import interrupted_training
import pytest
from interrupted_training import refused

from sentiment_hf.checkpoint.staging import LOCK_FILE

command = interrupted_training.command
old = interrupted_training.old
train_again = interrupted_training.train_again
unfinished = interrupted_training.unfinished
whole = interrupted_training.whole


def contents(folder):
    """What somebody could miss: not the mark of a writer that was killed."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != LOCK_FILE]
    return {path: path.read_bytes() for path in files}


def test_resuming_where_nothing_is_starts_afresh_and_says_so(train_again, tmp_path, whole):
    result = train_again("--resume")
    assert result.exit_code == 0
    assert "starting afresh" in result.stderr
    assert (tmp_path / "out/model.safetensors").read_bytes() == whole


def test_resuming_a_finished_training_says_so_and_changes_nothing(train_again, tmp_path):
    train_again()
    before = contents(tmp_path / "out")
    result = train_again("--resume", epochs=9)
    assert result.exit_code == 0
    assert "already finished" in result.stderr
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("record", ["of other weights", ""])
def test_a_record_that_does_not_belong_to_the_weights_finishes_nothing(
    train_again, old, tmp_path, record
):
    assert train_again("--overwrite").exit_code == 0
    path = tmp_path / "out/training.json"
    values = json.loads(path.read_text()) | {"weights": "0" * 64}
    path.write_text(json.dumps(values) if record else "")
    result = train_again("--resume")
    assert refused(result)
    assert "finished" not in result.stderr


def test_a_checkpoint_is_not_replaced_without_overwrite(train_again, old, tmp_path):
    before = contents(tmp_path)
    assert refused(train_again(), "--overwrite")
    assert contents(tmp_path) == before
    assert train_again("--overwrite").exit_code == 0
    assert (tmp_path / "out/training.json").exists()


@pytest.mark.parametrize("flags", [[], ["--overwrite"], ["--resume"]], ids=str)
@pytest.mark.parametrize("name", ["thesis.tex", "config.json"])
def test_a_folder_of_other_things_is_refused_and_left_as_it_is(train_again, tmp_path, flags, name):
    (tmp_path / "out/src").mkdir(parents=True)
    (tmp_path / "out/src/app.js").write_text("precious")
    (tmp_path / "out" / name).write_text('{"name": "an app"}')
    before = contents(tmp_path)
    assert refused(train_again(*flags))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["notes.txt", ".git/HEAD"])
def test_overwriting_a_checkpoint_keeps_or_refuses_what_is_not_its_own(
    train_again, old, tmp_path, name
):
    path = tmp_path / "out" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("precious")
    train_again("--overwrite")
    assert path.read_text() == "precious"


def test_an_output_folder_behind_a_link_is_replaced_twice(train_again, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    for _ in range(2):
        result = train_again("--overwrite")
        assert result.exit_code == 0, result.stderr
        assert (tmp_path / "out/training.json").exists()


def test_an_unfinished_training_is_gone_on_with_or_begun_again(
    train_again, unfinished, whole, easy_csv, tmp_path
):
    before = contents(unfinished)
    assert refused(train_again(), "--resume", "--overwrite")
    other = tmp_path / "other.csv"
    other.write_text(easy_csv.read_text().replace("film", "play"))
    assert refused(train_again("--resume", learning_rate=0.5), "learning_rate", "0.5", "0.002")
    assert refused(train_again("--resume", seed=9), "seed", "9", "0")
    assert refused(train_again("--resume", max_length=31), "max_length", "31", "30")
    assert refused(train_again("--resume", dataset=other), "easy.csv", "other.csv")
    assert contents(unfinished) == before
    assert train_again("--overwrite").exit_code == 0
    assert (unfinished / "model.safetensors").read_bytes() == whole


@pytest.mark.parametrize("command", ["train", "pretrain"])
@pytest.mark.parametrize("flags", [[], ["--overwrite"], ["--resume"]], ids=str)
@pytest.mark.parametrize("name", ["", ".", "..", "work/..", "missing/..", "../here/."])
def test_the_folder_one_is_in_and_those_above_are_refused(
    run, tmp_path, monkeypatch, command, flags, name
):
    here = tmp_path / "here"
    (here / "work").mkdir(parents=True)
    (here / "notes.txt").write_text("precious")
    monkeypatch.chdir(here)
    before = contents(tmp_path)
    assert refused(run(command, "sample", "--output", name, *flags), "--output")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("command", ["train", "pretrain"])
@pytest.mark.parametrize("name", ["victim/missing/..", "victim/.", "link", "missing/../victim"])
def test_a_folder_of_other_things_is_left_alone_under_any_of_its_names(
    run, tmp_path, monkeypatch, command, name
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "victim").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    (tmp_path / "victim" / "notes.txt").write_text("precious")
    for flags in ([], ["--overwrite"], ["--resume"]):
        assert refused(run(command, "sample", "--output", name, *flags), "notes.txt")
    assert list(contents(tmp_path / "victim").values()) == [b"precious"]


def test_a_path_that_climbs_back_names_one_folder_all_along(run, easy_csv, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--epochs", 1, "--quiet"]
    result = run("train", easy_csv, "--output", "missing/../out", *options)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("out\t")
    assert (tmp_path / "out" / "model.safetensors").exists()
    assert not (tmp_path / "missing").exists()
    assert refused(run("train", easy_csv, "--output", "out/../out", *options), "--overwrite")


def test_what_comes_into_the_folder_during_a_training_is_not_lost(
    train_again, tmp_path, monkeypatch, whole
):
    from sentiment_hf.training import run

    def drop_a_note(*arguments):
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out/notes.txt").write_text("precious")

    with monkeypatch.context() as patch:
        patch.setattr(run, "draw_training_curve", drop_a_note)
        assert refused(train_again(), "notes.txt")
    assert (tmp_path / "out/notes.txt").read_text() == "precious"
    (tmp_path / "out/notes.txt").unlink()
    assert train_again("--resume").exit_code == 0
    assert (tmp_path / "out/model.safetensors").read_bytes() == whole


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"dataset": "nowhere.csv"}, ["nowhere.csv"]),
        ({"preset": "huge"}, ["huge"]),
        ({"init_from": "nowhere/at/all"}, ["nowhere"]),
        ({"label_column": "nobody"}, ["nobody"]),
    ],
)
def test_overwriting_keeps_an_unfinished_training_until_nothing_can_be_refused(
    train_again, unfinished, wrong, words
):
    before = contents(unfinished)
    assert refused(train_again("--overwrite", **wrong), *words)
    assert contents(unfinished) == before


def test_overwriting_keeps_an_unfinished_pretraining_too(run, unfinished, tmp_path):
    before = contents(unfinished)
    (tmp_path / "short.csv").write_text("text\n" + "word\n" * 40)
    for dataset in ("nowhere.csv", tmp_path / "short.csv"):
        assert refused(run("pretrain", dataset, "--output", unfinished, "--overwrite"))
        assert contents(unfinished) == before
