"""transformers opens our checkpoints, trains them, and writes what we read."""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
import transformers

import sentiment_hf.transformers
from sentiment_hf import LSTMForSequenceClassification, SentimentError, SentimentPipeline
from sentiment_hf.export.transformers_folder import MODELLING_FILE, export_transformers

TEXTS = ["a good film", "", "cold [PAD] [UNK]", "not a bad film , " * 300, "unheard ½ 😀"]
POOLINGS = ["last", "mean", "max", "mean_max"]


@pytest.fixture(params=[2, 3], ids=["2 labels", "3 labels"])
def checkpoint(request, make_pipeline, tmp_path) -> Path:
    names = {i: f"label {i}" for i in range(request.param)}
    pipe = make_pipeline(id2label=names, max_length=20, temperature=1.3, dtype="float16")
    with torch.no_grad():
        for weights in pipe.network.parameters():
            weights.mul_(3)
    pipe.save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture
def exported(checkpoint, tmp_path) -> Path:
    return export_transformers(checkpoint, tmp_path / "exported")


def scores(pipe, **options) -> np.ndarray:
    answers = pipe(TEXTS, top_k=None, **options)
    return np.array(
        [[one["score"] for one in sorted(a, key=lambda one: one["label"])] for a in answers]
    )


def assert_same_answers(folder, expected, **options) -> None:
    pipe = transformers.pipeline("text-classification", model=str(folder), **options)
    assert pipe.model.dtype == torch.float32
    for batch_size in (1, 3):
        np.testing.assert_allclose(scores(pipe, batch_size=batch_size), expected, atol=1e-6)
    # With `truncation` too a long text keeps head and tail.
    np.testing.assert_allclose(scores(pipe, truncation=True), expected, atol=1e-6)


def test_the_pipeline_of_transformers_answers_as_ours(checkpoint, exported):
    expected = scores(SentimentPipeline.from_pretrained(checkpoint))
    assert expected.std(axis=0).max() > 0.05
    assert_same_answers(checkpoint, expected)
    assert_same_answers(exported, expected)
    np.testing.assert_array_equal(scores(SentimentPipeline.from_pretrained(exported)), expected)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(
    ("pooling", "bidirectional", "layers", "labels"),
    itertools.product(POOLINGS, [True, False], [1, 2], [2, 4]),
)
@torch.inference_mode()
def test_the_network_answers_as_ours_does(
    make_network, tmp_path, pooling, bidirectional, layers, labels, side
):
    sizes = {"pooling": pooling, "bidirectional": bidirectional, "num_layers": layers}
    ours = make_network(labels=labels, max_length=None, temperature=0.7, **sizes).eval()
    ours.save_pretrained(tmp_path)
    network = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    ids, mask = torch.randint(2, 12, (4, 9)), torch.zeros(4, 9, dtype=torch.long)
    for row, length in enumerate([5, 0, 9, 1]):
        mask[row, :length] = 1
    mask = mask if side == "right" else mask.flip(1)
    expected = ours(ids, mask) / ours.config.temperature
    found = network(input_ids=ids, attention_mask=mask).logits
    if labels == 2:
        assert not found[:, 0].any()
        found = found[:, 1]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("checkpoint", [2], indirect=True)
def test_the_export_needs_transformers_alone(exported, tmp_path):
    expected = SentimentPipeline.from_pretrained(exported)("A film I will remember.")[0]
    code = re.findall("```python\n(.+?)```", (exported / "README.md").read_text(), re.DOTALL)[0]
    finished = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print('sentiment_hf' in sys.modules)"],
        capture_output=True, text=True, cwd=exported, check=False, timeout=120,
        env={**os.environ, "HF_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.endswith("False\n")
    found = float(re.search(r"'score': (\d\.\d+)", finished.stdout)[1])
    assert found == pytest.approx(expected["score"], abs=1e-5)
    assert "sentiment_hf" not in re.sub('"""(.+?)"""', "", MODELLING_FILE.read_text(), flags=re.S)


@pytest.mark.parametrize("kind", ["checkpoint", "exported"])
def test_trainer_fine_tunes_and_both_libraries_read_what_it_saves(
    checkpoint, exported, tmp_path, kind
):
    folder = {"checkpoint": checkpoint, "exported": exported}[kind]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    network = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    rows = [{**tokenizer(text), "labels": i % 2} for i, text in enumerate(TEXTS)]
    options = transformers.TrainingArguments(
        tmp_path / "run", max_steps=1, learning_rate=0.1, report_to=[], use_cpu=True,
        disable_tqdm=True, save_strategy="no",
    )  # fmt: skip
    trainer = transformers.Trainer(
        network, options, train_dataset=rows, processing_class=tokenizer,
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
    )  # fmt: skip
    trainer.train()
    after = network.state_dict()
    assert all(not torch.equal(before[name], after[name]) for name in before)
    trainer.save_model(tmp_path / "saved")
    expected = scores(SentimentPipeline.from_pretrained(tmp_path / "saved"))
    assert abs(expected - scores(SentimentPipeline.from_pretrained(folder))).max() > 0.01
    assert_same_answers(tmp_path / "saved", expected)
    kept = LSTMForSequenceClassification.from_pretrained(tmp_path / "saved").config
    ours = LSTMForSequenceClassification.from_pretrained(folder).config
    assert {**kept.to_dict(), "dtype": "float16"} == ours.to_dict()


def test_every_setting_is_kept_also_where_it_is_a_default_of_transformers(make_network, tmp_path):
    for fields in ({"max_length": 20}, {"max_length": None}, {"temperature": 1.0, "dropout": 0.3}):
        ours = make_network(**fields)
        ours.save_pretrained(tmp_path / "ours")
        config = transformers.AutoConfig.from_pretrained(tmp_path / "ours")
        network = sentiment_hf.transformers.SentimentLSTMForSequenceClassification(config)
        network.save_pretrained(tmp_path / "theirs")
        found = LSTMForSequenceClassification.from_pretrained(tmp_path / "theirs")
        assert found.config == ours.config


def test_two_exports_are_equal_byte_for_byte(checkpoint, exported, tmp_path):
    again = export_transformers(checkpoint, tmp_path / "again")
    for path in exported.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes()


def test_the_command_exports_and_refuses(run, checkpoint, tmp_path):
    arguments = ["export", checkpoint, "--format", "transformers", "--output", tmp_path / "out"]
    assert "--dtype" in run(*arguments, "--dtype", "float16").stderr
    assert run(*arguments).stdout == f"{tmp_path / 'out'}\n"
    assert json.loads((tmp_path / "out/config.json").read_text())["auto_map"]
    refused = run(*arguments)
    assert refused.exit_code == 2
    assert "--output" in refused.stderr


def test_without_transformers_the_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(sys.modules, "sentiment_hf.transformers")
    with pytest.raises(SentimentError, match=r"pip install 'sentiment-hf\[transformers\]'"):
        import sentiment_hf.transformers  # noqa: F401
