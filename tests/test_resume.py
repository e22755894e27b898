"""A training that is killed, interrupted or repeated: nothing is lost, nothing half-written."""

import json
import multiprocessing
import os
import re
import signal
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.optim.optimizer import register_optimizer_step_post_hook

from sentiment_hf import SentimentPipeline, train
from sentiment_hf.checkpoint.staging import LOCK_FILE
from sentiment_hf.training import loop
from sentiment_hf.training.state import StateFolder
from sentiment_hf.training.train import classification_loss

# Each command is forked from a process that has imported everything and computed nothing: as
# fresh as one that a user starts, without the seconds of its imports.
PROCESSES = multiprocessing.get_context("forkserver")
PRELOADED = "sentiment_hf.cli sentiment_hf.training.train matplotlib.pyplot torch._dynamo"
PRELOADED += " torch.distributed.tensor sklearn.utils.extmath"
PROCESSES.set_forkserver_preload(PRELOADED.split())
SETTINGS = {"epochs": 2, "batch_size": 40, "max_length": 30}
TEXTS = ["a warm film", "a cold , dull film", "some music", ""]


def run_command(arguments, log, cache, sign, moment):
    """Runs `sentiment-hf ...`, saving after every step; sends itself `sign` at a moment.

    A moment is an audit event, a pattern for the end of its path, and how often it came.
    """
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    import datasets

    from sentiment_hf.cli import main

    datasets.config.HF_DATASETS_CACHE = cache
    loop.SAVE_EVERY_SECONDS = -1.0
    event, ending, count = moment
    seen = 0

    def watch(name, details):
        nonlocal seen
        if name == event and isinstance(details[0], str | os.PathLike):
            is_meant = bool(re.search(f"{ending}$", os.fspath(details[0])))
            seen += is_meant
            if seen == count and is_meant:
                os.kill(os.getpid(), sign)

    sys.addaudithook(watch)
    main([str(argument) for argument in arguments])


@pytest.fixture
def command(easy_csv, tmp_path):
    """Runs `train easy.csv --output tmp_path/out ...` in a process: its exit code and output."""

    def run(*options, sign=signal.SIGKILL, moment=("", "", 0), watch=lambda: False):
        arguments = ["train", easy_csv, "--output", tmp_path / "out", *options]
        for name, value in SETTINGS.items():
            arguments += [f"--{name.replace('_', '-')}", value]
        log, cache = tmp_path / "log", str(tmp_path / "cache")
        process = PROCESSES.Process(target=run_command, args=(arguments, log, cache, sign, moment))
        process.start()
        while process.is_alive():
            if watch():
                process.kill()
            process.join(0.005)
        return process.exitcode, log.read_text()

    return run


@pytest.fixture(scope="module")
def whole(easy_csv, tmp_path_factory):
    """The weights of the same training, never cut off."""
    folder = tmp_path_factory.mktemp("resume") / "whole"
    train(easy_csv, folder, show_progress=False, **SETTINGS)
    return (folder / "model.safetensors").read_bytes()


@pytest.fixture
def old(make_pipeline, tmp_path):
    """An older checkpoint in the output folder; what it answers."""
    pipe = make_pipeline()
    pipe.save_pretrained(tmp_path / "out")
    return pipe.probabilities(TEXTS).tolist()


def contents(folder):
    """What somebody could miss: not the mark of a writer that was killed."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != LOCK_FILE]
    return {path: path.read_bytes() for path in files}


TEMPORARY, STAGING = r"\.\w+\.tmp", r"/out/\.sentiment-hf-\w+"
MOMENTS = {
    "before the first state": ("os.mkdir", "out/training_state", 1),
    "while the first state is written": ("os.rename", rf"step-1.safetensors{TEMPORARY}", 1),
    "before the first state counts": ("os.rename", rf"state.json{TEMPORARY}", 1),
    "before the second state counts": ("os.rename", rf"state.json{TEMPORARY}", 2),
    "before an old state is removed": ("os.remove", "step-2.safetensors", 1),
    "while the end of an epoch is saved": ("os.rename", rf"step-5.safetensors{TEMPORARY}", 2),
    "in the second epoch": ("os.remove", "step-6.safetensors", 1),
    "while the checkpoint is written": ("open", rf"{STAGING}/files/training.json{TEMPORARY}", 1),
    "before it counts": ("open", rf"{STAGING}/complete", 1),
    "while its files take their places": ("os.rename", rf"{STAGING}/moving", 2),
    "while what was staged is removed": ("os.rmdir", STAGING, 1),
    "before the state is removed": ("os.remove", "training_state/state.json", 1),
}
IN_PLACE = list(MOMENTS)[-3:]
FEW = (
    "while the first state is written",
    "in the second epoch",
    "while its files take their places",
)
SOME_MOMENTS = [
    pytest.param(moment, id=name, marks=[] if name in FEW else [pytest.mark.slow])
    for name, moment in MOMENTS.items()
]


@pytest.mark.parametrize("moment", SOME_MOMENTS)
def test_killed_at_any_moment_and_resumed_the_weights_are_those_of_a_run_never_killed(
    command, whole, tmp_path, moment
):
    killed, _ = command(moment=moment)
    assert killed == -signal.SIGKILL
    states = list(tmp_path.glob("*out*/training_state/*"))
    assert {re.sub(TEMPORARY, "", path.name).split(".")[-1] for path in states} <= {
        "json",
        "safetensors",
    }
    resumed, log = command("--resume")
    assert resumed == 0, log
    assert (tmp_path / "out/model.safetensors").read_bytes() == whole
    assert not (tmp_path / "out/training_state").exists()


@pytest.mark.slow
def test_killed_from_outside_again_and_again_it_comes_to_the_same_end(command, whole, tmp_path):
    state = tmp_path / "out/training_state/state.json"
    last_steps = [0]

    def two_steps_further():
        step = json.loads(state.read_text())["step"] if state.exists() else 0
        return step >= last_steps[-1] + 2

    while not (tmp_path / "out/config.json").exists():
        code, log = command("--resume", watch=two_steps_further)
        assert code in (0, -signal.SIGKILL), log
        if state.exists():
            last_steps.append(json.loads(state.read_text())["step"])
    assert len(last_steps) > 3
    assert (tmp_path / "out/model.safetensors").read_bytes() == whole


@pytest.mark.parametrize("moment", SOME_MOMENTS)
def test_overwriting_killed_at_any_moment_leaves_a_whole_checkpoint(
    command, whole, old, tmp_path, moment
):
    killed, _ = command("--overwrite", moment=moment)
    assert killed == -signal.SIGKILL
    found = SentimentPipeline.from_pretrained(tmp_path / "out").probabilities(TEXTS).tolist()
    if moment not in [MOMENTS[name] for name in IN_PLACE]:
        assert found == old
    goes_on = (tmp_path / "out/training_state/state.json").exists()
    ended, log = command("--resume" if goes_on else "--overwrite")
    assert ended == 0, log
    assert (tmp_path / "out/model.safetensors").read_bytes() == whole


@pytest.mark.parametrize(
    "sign",
    [
        signal.SIGINT,
        *(pytest.param(s, marks=pytest.mark.slow) for s in (signal.SIGTERM, signal.SIGHUP)),
    ],
)
def test_a_signal_to_end_saves_says_how_to_go_on_and_loses_nothing(command, whole, tmp_path, sign):
    moment = ("os.remove", "step-3.safetensors", 1)
    interrupted, log = command(sign=sign, moment=moment)
    assert interrupted == 130
    last = log.splitlines()[-1]
    assert last.startswith("error: ")
    assert "--resume" in last
    assert "Traceback" not in log
    assert (tmp_path / "out/training_state/state.json").exists()
    resumed, log = command("--resume")
    assert resumed == 0, log
    assert (tmp_path / "out/model.safetensors").read_bytes() == whole


# What is said and refused before a training begins.


@pytest.fixture
def unfinished(command, tmp_path):
    """The output folder of a training that was killed in its second epoch."""
    assert command(moment=MOMENTS["in the second epoch"])[0] == -signal.SIGKILL
    return tmp_path / "out"


@pytest.fixture
def train_again(run, easy_csv, tmp_path):
    def invoke(*flags, dataset=easy_csv, **changed):
        named = {f"--{key.replace('_', '-')}": v for key, v in (SETTINGS | changed).items()}
        options = [part for pair in named.items() for part in pair]
        return run("train", dataset, "--output", tmp_path / "out", *options, *flags)

    return invoke


def refused(result, *words):
    assert result.exit_code == 2
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    for word in words:
        assert word in last
    return True


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


# The trainer alone, cut off where a process is hard to hit.


class CutError(Exception):
    """Ends the training as a kill would: nothing more is saved."""


def cut():
    raise CutError


def ctrl_c():
    signal.raise_signal(signal.SIGINT)


def ctrl_c_twice():
    ctrl_c()
    ctrl_c()


@pytest.mark.parametrize("end", [cut, ctrl_c, ctrl_c_twice])
@pytest.mark.parametrize("place", ["step 2", "update 5", "validation 1", "validation 2"])
def test_cut_off_within_a_step_or_a_validation_nothing_is_lost(
    make_network, make_batches, fit, tmp_path, monkeypatch, end, place
):
    monkeypatch.setattr(loop, "SAVE_EVERY_SECONDS", -1.0)

    def go(state=None, end_at=None):
        calls = {"step": 0, "update": 0, "validation": 0}

        def count(what):
            calls[what] += 1
            if f"{what} {calls[what]}" == end_at:
                end()

        def loss_function(model, batch):
            loss = classification_loss()(model, batch)  # Draws from the random numbers.
            count("step")
            return loss

        def validate(model):
            count("validation")
            score = model.linear.weight.sin().mean().item()
            return score, {"score": score}

        model = make_network(dropout=0.5, word_dropout=0.3)
        hook = register_optimizer_step_post_hook(lambda *_: count("update"))
        try:
            history = fit(
                model, loss_function, make_batches(), validate, state=state, ema_decay=0.9
            )
        finally:
            hook.remove()
        for entry in history:
            del entry["seconds"]
        return history, model.state_dict()

    history, weights = go()
    state = StateFolder(tmp_path / "state")
    with pytest.raises((CutError, KeyboardInterrupt)):
        go(state, place)
    torch.manual_seed(99)
    history_again, weights_again = go(state)
    assert history_again == history
    for name, value in weights.items():
        assert torch.equal(weights_again[name], value), name


# The folder to write, under any of its names.


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


# What an unfinished training must survive.


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


def newest(folder, change):
    path = folder / "training_state/state.json"
    progress = json.loads(path.read_text())
    change(progress)
    path.write_text(json.dumps(progress))


def tensors_of(folder):
    path = folder / "training_state"
    return path / json.loads((path / "state.json").read_text())["tensors"]


def without_best(folder):
    tensors = load_file(tensors_of(folder))
    kept = {name: value for name, value in tensors.items() if not name.startswith("best/")}
    save_file(kept, tensors_of(folder))


def zero_eight_bytes(folder):
    with open(tensors_of(folder), "r+b") as file:
        file.seek(-5000, os.SEEK_END)
        file.write(bytes(8))


DAMAGES = {
    "no JSON": lambda f: (f / "training_state/state.json").write_text("{"),
    "an empty object": lambda f: (f / "training_state/state.json").write_text("{}"),
    "no step": lambda f: newest(f, lambda p: p.pop("step")),
    "a step beyond the end": lambda f: newest(f, lambda p: p.update(step=10**6)),
    "a step that is no number": lambda f: newest(f, lambda p: p.update(step="soon")),
    "a history of nothing": lambda f: newest(f, lambda p: p.update(history=[{}])),
    "an identity of nothing": lambda f: newest(f, lambda p: p.update(identity=None)),
    "a file that is not there": lambda f: tensors_of(f).unlink(),
    "a cut file": lambda f: tensors_of(f).write_bytes(tensors_of(f).read_bytes()[:999]),
    "weights of nothing": lambda f: save_file({"x": torch.ones(1)}, tensors_of(f)),
    "no best weights": without_best,
}


@pytest.mark.parametrize("damage", [*DAMAGES.values(), zero_eight_bytes], ids=[*DAMAGES, "zeros"])
def test_where_the_newest_state_is_damaged_the_one_before_leads_to_the_same_weights(
    train_again, unfinished, whole, damage
):
    damage(unfinished)
    result = train_again("--resume")
    assert result.exit_code == 0, result.stderr
    assert "state before" in result.stderr
    assert (unfinished / "model.safetensors").read_bytes() == whole


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_state_is_one_sentence_that_names_the_way_out(
    train_again, unfinished, whole, damage
):
    damage(unfinished)
    (unfinished / "training_state/previous.json").unlink()
    assert refused(train_again("--resume"), "--overwrite")
    assert train_again("--overwrite").exit_code == 0
    assert (unfinished / "model.safetensors").read_bytes() == whole
