"""A writer that is killed, meets another one, or is told to end: nothing lost, nothing believed."""

import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from sentiment_hf import LSTMForSequenceClassification, SentimentError, SentimentPipeline, evaluate
from sentiment_hf import train as run_training
from sentiment_hf.checkpoint.card import render_card
from sentiment_hf.checkpoint.files import read_json
from sentiment_hf.checkpoint.folder import CARD_FILE, published
from sentiment_hf.checkpoint.records import read_record
from sentiment_hf.checkpoint.staging import locked
from sentiment_hf.checkpoint.upload import push_folder
from sentiment_hf.training.output import OutputFolder

TEXTS = ["a good film", "not a bad film", "cold zebra"]
EVALUATION = "eval_results.json"


class KilledError(BaseException):
    """Ends a writer as a kill does: nothing that it would still do is done."""


class Kill:
    """Ends what is done inside a folder right before its n-th step on the disk."""

    steps = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link")

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.left = 0
        sys.addaudithook(self.watch)

    def watch(self, event: str, arguments: tuple) -> None:
        if self.folder is None or event not in self.steps or not self.is_inside(arguments):
            return
        if event == "open" and not isinstance(arguments[2], int):
            return
        if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) == 0:
            return
        self.left -= 1
        if self.left < 0:
            raise KilledError

    def is_inside(self, arguments: tuple) -> bool:
        return any(str(self.folder) in str(argument) for argument in arguments[:2])

    def at(self, step: int, folder: Path, action) -> bool:
        """Whether the action came to its end before that step."""
        self.folder, self.left = folder, step
        try:
            action()
        except KilledError:
            return False
        finally:
            self.folder = None
        return True


@pytest.fixture(scope="module")
def kill():
    return Kill()


def answers(folder):
    return SentimentPipeline.from_pretrained(folder).probabilities(TEXTS).tolist()


@pytest.mark.parametrize(
    "first", [0, *(pytest.param(first, marks=pytest.mark.slow) for first in (1, 2, 3))]
)
def test_a_checkpoint_saved_over_another_is_the_old_or_the_new_one_at_every_moment(
    make_pipeline, tmp_path, kill, first
):
    old = make_pipeline()
    new = make_pipeline(seed=1, id2label={0: "pos", 1: "neg"})
    expected = [pipe.probabilities(TEXTS).tolist() for pipe in (old, new)]
    found = []
    for step in range(first, 300, 4):
        folder = tmp_path / str(step)
        old.save_pretrained(folder)
        finished = kill.at(step, folder, partial(new.save_pretrained, folder))
        found.append(expected.index(answers(folder)))
        names = SentimentPipeline.from_pretrained(folder).label_names
        assert names == (old, new)[found[-1]].label_names
        old.save_pretrained(folder)
        assert answers(folder) == expected[0]
        assert not [path for path in os.listdir(folder) if path.startswith(".")]
        if finished:
            break
    assert finished
    assert found == sorted(found)
    assert (found[0], found[-1]) == (0, 1)


def test_a_reader_between_the_writers_steps_notices(make_pipeline, tmp_path):
    folder = tmp_path / "model"
    make_pipeline().save_pretrained(folder)
    other = make_pipeline(seed=1, id2label={0: "pos", 1: "neg"})
    other.save_pretrained(tmp_path / "other")
    os.replace(tmp_path / "other/config.json", folder / "config.json")
    for kind in (SentimentPipeline, LSTMForSequenceClassification):
        with pytest.raises(SentimentError, match=r"another config\.json"):
            kind.from_pretrained(folder)


@pytest.fixture
def measured(checkpoint):
    evaluate("sample", checkpoint, save=True)
    assert "## Evaluation" in (checkpoint / CARD_FILE).read_text()
    return checkpoint


def test_what_was_measured_of_other_weights_is_gone_with_them(make_pipeline, measured):
    make_pipeline(seed=1).save_pretrained(measured)
    assert "## Evaluation" not in (measured / CARD_FILE).read_text()
    assert not (measured / EVALUATION).exists()
    assert not (measured / "figures").exists() or not os.listdir(measured / "figures")


def test_what_was_measured_of_the_same_weights_stays(measured):
    before = {path: path.read_bytes() for path in published(measured)}
    SentimentPipeline.from_pretrained(measured).save_pretrained(measured)
    assert {path: path.read_bytes() for path in published(measured)} == before


def test_weights_copied_by_hand_bring_no_figures_into_the_card_and_are_not_pushed(
    make_pipeline, measured, tmp_path
):
    make_pipeline(seed=1).save_pretrained(tmp_path / "other")
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (measured / name).write_bytes((tmp_path / "other" / name).read_bytes())
    assert read_record(measured, EVALUATION) == {}
    assert "## Evaluation" not in render_card(measured)
    with pytest.raises(SentimentError, match=r"eval_results\.json was measured on other weights"):
        push_folder(measured, "ann/model", token="hf_x")


def test_an_evaluation_killed_at_any_moment_has_the_card_of_its_results(
    trained, tmp_path, kill, monkeypatch
):
    import sentiment_hf.evaluation as module

    for name in ("draw_confusion_matrix", "draw_reliability"):
        monkeypatch.setattr(module, name, lambda *_: None)
    pipe = SentimentPipeline.from_pretrained(trained)
    monkeypatch.setattr(module.SentimentPipeline, "from_pretrained", lambda *_, **__: pipe)
    folder = tmp_path / "model"
    pipe.save_pretrained(folder)
    sizes = set()
    for step in range(0, 300, 5):
        size = 20 + step % 7
        finished = kill.at(
            step, folder, lambda size=size: evaluate("sample", folder, save=True, max_samples=size)
        )
        shown = module.current_folder(folder)
        text = (shown / CARD_FILE).read_text()
        assert text == render_card(shown)
        sizes.add(read_record(shown, EVALUATION).get("n"))
        if finished:
            break
    assert finished
    assert len(sizes) > 1


def test_a_card_that_a_person_wrote_stays_with_its_metadata_brought_up_to_date(checkpoint, hub):
    path = checkpoint / CARD_FILE
    path.write_text(path.read_text().replace("# checkpoint", "# My own words"))
    evaluate("sample", checkpoint, save=True)
    text = path.read_text()
    assert "# My own words" in text
    assert "model-index" in text
    push_folder(checkpoint, "ann/model")
    assert b"# My own words" in hub.files("ann/model")[CARD_FILE]


def test_two_processes_on_one_folder(checkpoint, easy_csv, tmp_path):
    code = (
        "import sys; from pathlib import Path;"
        "from sentiment_hf.checkpoint.staging import locked\n"
        "with locked(Path(sys.argv[1])): print('locked', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(checkpoint)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert other.stdout.readline()
    try:
        expected = rf"\({other.pid}\) writes into"
        with pytest.raises(SentimentError, match=expected):
            run_training(easy_csv, checkpoint, overwrite=True, epochs=1, show_progress=False)
        with pytest.raises(SentimentError, match=expected):
            evaluate("sample", checkpoint, save=True)
        with pytest.raises(SentimentError, match=expected):
            SentimentPipeline.from_pretrained(checkpoint).save_pretrained(checkpoint)
    finally:
        other.communicate()
    with locked(checkpoint):
        pass


@pytest.mark.parametrize(
    "name", ["figures/mine.svg", "training_state/notes.txt", ".vim.old/x", "a.new"]
)
def test_strangers_are_found_at_every_depth(checkpoint, name):
    OutputFolder(checkpoint, resume=False, overwrite=True).is_finished()
    path = checkpoint / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("precious")
    with pytest.raises(SentimentError, match=re.escape(name.split("/x")[0])):
        OutputFolder(checkpoint, resume=False, overwrite=True).is_finished()
    assert path.read_text() == "precious"


def test_a_folder_that_nobody_may_write_is_refused_before_the_data_set_is_read(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(tmp_path))
    with pytest.raises(SentimentError, match="cannot be written"):
        run_training("no/such/data", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["README.md", "training.json", "figures"])
def test_what_the_last_step_could_not_replace_is_refused_before_the_first(
    tmp_path, monkeypatch, name
):
    (tmp_path / "out" / name).mkdir(parents=True)
    if name == "figures":  # Of another user.
        real = os.access
        monkeypatch.setattr(
            os, "access", lambda path, mode: Path(path).name != name and real(path, mode)
        )
    with pytest.raises(SentimentError, match=rf"{name} is a folder|belongs to another user"):
        run_training("no/such/data", tmp_path / "out")
    assert os.listdir(tmp_path / "out") == [name]


def test_resuming_a_checkpoint_that_no_training_wrote_is_not_finished(checkpoint, run, easy_csv):
    before = {path: path.read_bytes() for path in checkpoint.iterdir()}
    result = run("train", easy_csv, "--output", checkpoint, "--resume")
    assert result.exit_code == 2
    assert "finished" not in result.stderr
    assert "--overwrite" in result.stderr
    assert {path: path.read_bytes() for path in checkpoint.iterdir()} == before


def test_a_finished_training_whose_files_had_not_all_taken_their_places_is_finished(
    trained, tmp_path
):
    folder = tmp_path / "out"
    staging = folder / ".sentiment-hf-0123456789abcdef"
    (staging / "files").mkdir(parents=True)
    (staging / f"made-by-sentiment-hf-{staging.stat().st_ino}").touch()
    for path in published(trained):
        copy = staging / "files" / path.relative_to(trained)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
    assert not (folder / "config.json").exists()
    (staging / "complete").touch()
    assert answers(folder) == answers(trained)
    assert OutputFolder(folder, resume=True, overwrite=False).is_finished()
    assert (folder / "training.json").exists()
    assert not staging.exists()


@pytest.mark.parametrize("repo_id", ["a/..", "a/../..", "../x"])
def test_a_name_that_leads_elsewhere_is_refused_before_anything_is_written(
    make_pipeline, repo_id, monkeypatch
):
    pipe = make_pipeline()
    monkeypatch.setattr(
        type(pipe), "save_pretrained", lambda *_: pytest.fail("something was written")
    )
    with pytest.raises(SentimentError):
        pipe.push_to_hub(repo_id, token="hf_x")


@pytest.mark.parametrize("revision", ["../../x", "a/../../../x", "/x"])
def test_a_revision_does_not_leave_the_cache(hub, checkpoint, tmp_path, revision):
    push_folder(checkpoint, "ann/model")
    with pytest.raises(SentimentError, match="revision"):
        SentimentPipeline.from_pretrained("ann/model", revision=revision)
    assert not list((tmp_path / "hub-cache").rglob("x"))


def test_others_may_read_what_the_cache_remembers_of_a_revision(hub, checkpoint, tmp_path):
    push_folder(checkpoint, "ann/model")
    SentimentPipeline.from_pretrained("ann/model")
    (path,) = (tmp_path / "hub-cache").rglob("refs/main")
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_state_names_the_checksum_of_its_tensors(make_network, make_batches, fit, tmp_path):
    from sentiment_hf.training.state import StateFolder
    from sentiment_hf.training.train import classification_loss

    state = StateFolder(tmp_path / "training_state")
    network = make_network()
    fit(network, classification_loss(), make_batches(), lambda _: (0.0, {}), state=state)
    newest, previous = (read_json(state.path / name) for name in ("state.json", "previous.json"))
    assert newest["step"] > previous["step"]
    assert len(newest["sha256"]) == 64
    assert {path.name for path in state.path.iterdir()} == {
        "state.json", "previous.json", newest["tensors"], previous["tensors"],
    }  # fmt: skip
