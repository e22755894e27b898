"""The loss of `train`: smoothed labels and the weights of rare ones."""

import numpy as np
import pytest
import torch
from torch import nn

from sentiment_hf import SentimentPipeline
from sentiment_hf.training.train import balanced_weights, classification_loss


@pytest.mark.parametrize("labels", [2, 3])
def test_label_smoothing_moves_the_targets_towards_even(make_network, make_batches, labels):
    model = make_network(labels=labels).eval()
    batch = next(make_batches(labels=labels).epoch(0))
    logits, answers = model(batch.input_ids, batch.attention_mask), batch.labels
    if labels == 2:
        logits = torch.stack([torch.zeros_like(logits), logits], dim=1)
        answers = torch.stack([1 - answers, answers], dim=1)
    expected = nn.functional.cross_entropy(logits, answers.argmax(dim=1), label_smoothing=0.2)
    assert classification_loss(0.2)(model, batch).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([1, 0, 0, 0], dtype=np.float32), [4 / 6, 2.0]),
        (np.array([0.5, 0.5], dtype=np.float32), [1.0, 1.0]),
        (np.eye(3, dtype=np.float32)[[0, 0, 1, 2]], [4 / 6, 4 / 3, 4 / 3]),
        (np.eye(3, dtype=np.float32)[[0, 0, 0, 1]], [4 / 9, 4 / 3, 4 / 3]),
    ],
)
def test_rare_labels_get_the_same_say(labels, expected):
    weights = balanced_weights(labels, len(expected))
    assert weights.tolist() == pytest.approx(expected)


def test_class_weights_weigh_each_rows_loss(make_network, make_batches):
    network = make_network(labels=3)
    batch = next(make_batches(labels=3).epoch(0))
    weights = torch.tensor([0.5, 2.0, 1.0])
    logits = network(batch.input_ids, batch.attention_mask)
    by_row = torch.nn.functional.cross_entropy(logits, batch.labels, reduction="none")
    expected = (by_row * weights[batch.labels.argmax(dim=1)]).mean()
    loss = classification_loss(class_weights=weights)(network, batch)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_rare_label_is_found_where_labels_are_balanced(tmp_path, run):
    dice = np.random.default_rng(0)
    lines = ["text,label"]
    for i in range(300):
        rare = i % 15 == 0
        words = dice.choice(["film", "cast", "plot", "the", "a"], 6).tolist()
        words.insert(3, "odd" if rare or dice.random() < 0.12 else "plain")
        lines.append(f"{' '.join(words)},{'rare' if rare else 'usual'}")
    (tmp_path / "data.csv").write_text("\n".join(lines) + "\n")
    found = {}
    for flags in ([], ["--balanced"]):
        options = ["--epochs", 8, "--learning-rate", 0.01, "--seed", 1, "--quiet", *flags]
        folder = tmp_path / f"out{len(flags)}"
        assert run("train", tmp_path / "data.csv", "--output", folder, *options).exit_code == 0
        answer = SentimentPipeline.from_pretrained(folder)("the odd film", top_k=None)
        found[bool(flags)] = {a["label"]: a["score"] for a in answer}["rare"]
    assert found[True] > found[False] + 0.1
