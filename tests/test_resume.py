"""A training that is killed, interrupted or repeated: nothing is lost, nothing half-written."""

import json
import re
import signal

import interrupted_training
import pytest
import torch
from interrupted_training import MOMENTS, TEMPORARY, TEXTS
from torch.optim.optimizer import register_optimizer_step_post_hook

from sentiment_hf import SentimentPipeline
from sentiment_hf.training import loop
from sentiment_hf.training.state import StateFolder
from sentiment_hf.training.train import classification_loss

command = interrupted_training.command
old = interrupted_training.old
whole = interrupted_training.whole

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
