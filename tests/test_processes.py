"""Training on several processes, as torchrun starts them: together they train as one does."""

import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file

from sentiment_hf.checkpoint import upload
from sentiment_hf.training.run import start_accelerator

OPTIONS = ("--epochs", "2", "--batch-size", "32", "--device", "cpu", "--dtype", "float32")


@pytest.fixture
def launch(tmp_path):
    """Runs the command in so many gloo processes."""

    def run(processes: int, *arguments, **variables):
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", processes]
        command += ["--master_port", 29517, "-m", "sentiment_hf.cli", *arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
        return subprocess.run(
            [str(part) for part in command], env={**environment, **variables}, cwd=tmp_path,
            capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip

    return run


def history(folder) -> list[dict]:
    return json.loads((folder / "training.json").read_text())["history"]


NO_DROPOUT = """
import sys
from dataclasses import replace
from sentiment_hf.training import presets
off = {"dropout": 0.0, "embedding_dropout": 0.0, "word_dropout": 0.0}
for name, preset in presets.PRESETS.items():
    presets.PRESETS[name] = replace(preset, network={**preset.network, **off})
presets.PRETRAINING = replace(
    presets.PRETRAINING,
    network={**presets.PRETRAINING.network, **off, "hidden_size": 32},
)
from sentiment_hf.training import pretrain
pretrain.CANDIDATES = None  # Each process would sample words of its own.
from sentiment_hf.cli import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "pretrain"])
def test_two_processes_train_as_one_does(tmp_path, command):
    (tmp_path / "still.py").write_text(NO_DROPOUT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}

    def run(processes: int, name: str):
        start = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
        start += ["--master_port", "29518", "still.py", command, "sample", "--output", name]
        finished = subprocess.run(
            [*start, *OPTIONS], cwd=tmp_path, env=environment, capture_output=True, text=True,
            timeout=240, check=False,
        )  # fmt: skip
        assert finished.returncode == 0, finished.stderr
        assert len(re.findall(r"^\S+\t(?:validation accuracy|perplexity)", finished.stdout, re.M))
        return history(tmp_path / name), load_file(tmp_path / name / "model.safetensors")

    one, weights = run(1, "one")
    two, weights_of_two = run(2, "two")
    for entry, other in zip(one, two, strict=True):
        for key in entry:
            if key != "seconds":
                assert other[key] == pytest.approx(entry[key], rel=1e-4), key
    for name, value in weights.items():
        assert (value.float() - weights_of_two[name].float()).abs().max() < 2e-3, name


@pytest.mark.slow
def test_several_processes_write_one_folder_and_say_one_result(launch, tmp_path):
    finished = launch(2, "train", "sample", "--output", "out", *OPTIONS)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("validation accuracy") == 1
    assert len(history(tmp_path / "out")) == 2
    assert not (tmp_path / "out/training_state").exists()


def test_of_several_processes_the_first_one_speaks_and_shares(run, easy_csv, tmp_path, monkeypatch):
    pushed = []
    monkeypatch.setattr(upload, "push_folder", lambda *args: pushed.append(args) or "address")
    monkeypatch.setattr(upload, "check_address", lambda *_: None)
    assert run("train", easy_csv, "--output", tmp_path / "out", *OPTIONS).exit_code == 0
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, said in (("1", ""), ("0", "address")):
        monkeypatch.setenv("RANK", rank)
        # What is finished needs no other process.
        options = ["--output", tmp_path / "out", "--push-to", "ann/small", "--resume", *OPTIONS]
        result = run("train", easy_csv, *options)
        assert result.exit_code == 0, result.stderr
        assert said in result.stdout
        assert bool(result.stdout) == bool(pushed) == bool(said)


def test_processes_that_do_not_see_each_other_stop(run, tmp_path, monkeypatch):
    """Each would do the whole work and write the same folder."""
    monkeypatch.setattr(
        "sentiment_hf.training.run.Accelerator", lambda **_: SimpleNamespace(num_processes=1)
    )
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = run("train", "sample", "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert "2 processes were started, but each sees 1" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "left",
    [
        {"LOCAL_RANK": "0"},
        {"RANK": "1", "WORLD_SIZE": "1", "LOCAL_RANK": "3"},
        {"PMI_SIZE": "4"},
        {"OMPI_COMM_WORLD_SIZE": "4"},
    ],
)
def test_what_another_launcher_left_behind_starts_no_processes(
    run, easy_csv, tmp_path, monkeypatch, left
):
    for name, value in left.items():
        monkeypatch.setenv(name, value)
    result = run("train", easy_csv, "--output", tmp_path / "out", *OPTIONS)
    assert result.exit_code == 0, result.stderr
    assert {name: os.environ[name] for name in left} == left


def test_steps_to_accumulate_that_were_left_behind_change_nothing(monkeypatch):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    assert start_accelerator("cpu", "float32").gradient_accumulation_steps == 1
    assert os.environ["ACCELERATE_GRADIENT_ACCUMULATION_STEPS"] == "4"


def test_a_number_of_processes_that_is_none_is_one_sentence(run, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "y")
    result = run("train", "sample", "--output", tmp_path / "out")
    assert (result.exit_code, result.stderr.count("WORLD_SIZE")) == (2, 1)
