"""In which precision a training computes, and why."""

import json
import os
import platform
import re

import pytest
import torch

from sentiment_hf.model import device


def record_of(folder):
    return json.loads((folder / "training.json").read_text())


@pytest.mark.parametrize(
    ("asked", "supported", "said"),
    [
        ("float32", True, "float32 on cpu: as asked for"),
        ("bfloat16", False, "bfloat16 on cpu: as asked for"),
        (None, True, "bfloat16 on cpu: the processor has bfloat16 instructions"),
        (None, False, "float32 on cpu: the processor has no bfloat16 instructions"),
    ],
)
def test_the_choice_of_precision_is_said_with_its_reason(
    easy_csv, tmp_path, run, monkeypatch, asked, supported, said
):
    if said.startswith("bfloat16") and not device._trains_in_bfloat16():
        pytest.skip("this processor does not train in bfloat16")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported)
    options = ["--epochs", 1, "--batch-size", 200, "--device", "cpu"]
    options += ["--dtype", asked] if asked else []
    result = run("train", easy_csv, "--output", tmp_path / "out", *options)
    assert said in result.stderr
    assert record_of(tmp_path / "out")["hardware"]["precision"] == said.split()[0]


def test_a_processor_that_cannot_train_in_bfloat16_is_never_made_to(
    easy_csv, tmp_path, run, monkeypatch
):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(device, "_trains_in_bfloat16", lambda: False)
    command = ["train", easy_csv, "--output", tmp_path / "out", "--device", "cpu", "--epochs", 1]
    refused = run(*command, "--dtype", "bfloat16")
    assert refused.exit_code == 2
    assert re.search("^error: .*processor.*bfloat16.*float32.*--dtype", refused.stderr)
    assert not (tmp_path / "out").exists()
    chosen = run(*command)
    assert chosen.exit_code == 0
    assert "float32 on cpu: the processor has no bfloat16 instructions" in chosen.stderr


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the variable is about x86")
def test_without_the_instructions_for_bfloat16_it_is_refused_and_not_chosen(
    easy_csv, tmp_path, run_process
):
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    command = ["train", easy_csv, "--output", tmp_path / "out", "--device", "cpu", "--epochs", 1]
    refused = run_process(*command, "--dtype", "bfloat16", env=environment)
    assert refused.returncode == 2
    assert re.fullmatch("error: .*processor.*bfloat16.*--dtype.*\n", refused.stderr)
    chosen = run_process(*command, env=environment)
    assert chosen.returncode == 0, chosen.stderr
    assert record_of(tmp_path / "out")["hardware"]["precision"] == "float32"


def test_the_probe_of_bfloat16_leaves_the_random_numbers_alone():
    before = torch.get_rng_state()
    device._trains_in_bfloat16()
    assert torch.equal(torch.get_rng_state(), before)
