"""A damaged state: the one before it leads to the same weights, or a sentence names the way out."""

import json
import os
import signal

import interrupted_training
import pytest
import torch
from interrupted_training import TEMPORARY, refused
from safetensors.torch import load_file, save_file

command = interrupted_training.command
train_again = interrupted_training.train_again
unfinished = interrupted_training.unfinished
whole = interrupted_training.whole


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


def a_pipe(folder):
    path = tensors_of(folder)
    path.unlink()
    os.mkfifo(path)


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
    "a score of another digit": lambda f: newest(f, lambda p: p.update(scores=[0.99])),
    "a sum that is no number": lambda f: newest(f, lambda p: p.update(loss_sum="x")),
    "an identity of nothing": lambda f: newest(f, lambda p: p.update(identity=None)),
    "a file that is not there": lambda f: tensors_of(f).unlink(),
    "a cut file": lambda f: tensors_of(f).write_bytes(tensors_of(f).read_bytes()[:999]),
    "weights of nothing": lambda f: save_file({"x": torch.ones(1)}, tensors_of(f)),
    "no best weights": without_best,
    "a pipe": a_pipe,
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


def test_the_state_before_a_damaged_one_stays_until_a_new_one_counts(command, unfinished, whole):
    # The next state has another name than the damaged one.
    path = tensors_of(unfinished)
    path.rename(path.with_name("step-9.safetensors"))
    newest(unfinished, lambda progress: progress.update(tensors="step-9.safetensors"))
    zero_eight_bytes(unfinished)
    previous = unfinished / "training_state/previous.json"
    before = previous.read_text()
    killed, _ = command("--resume", moment=("os.rename", f"state.json{TEMPORARY}", 1))
    assert killed == -signal.SIGKILL
    assert previous.read_text() == before
    resumed, log = command("--resume")
    assert resumed == 0, log
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
