"""Rare labels get the same say, and do not drown the others."""

import numpy as np
import pytest
import torch
from datasets import Dataset

from sentiment_hf import evaluate, train
from sentiment_hf.data.batching import Batch
from sentiment_hf.training.train import classification_loss


def lopsided(rows, rare):
    """Short rows that a word tells apart, of which some have a rare label."""
    words = {"rare": ["cold", "dull", "grim"], "usual": ["warm", "bright", "tender"]}
    dice = np.random.default_rng(0)
    lines = []
    for number in range(rows):
        label = "rare" if number % (rows // rare) == 7 else "usual"
        chosen = [*dice.choice(["the", "film", "was", "long"], 5), *dice.choice(words[label], 2)]
        lines.append({"text": f"{' '.join(chosen)} row{number}", "label": label})
    return Dataset.from_list(lines)


def usual_recall(data, folder, **options):
    sizes = {"vocab_size": 60, "batch_size": 64, "dtype": "float32", "show_progress": False}
    train(data, folder, balanced=True, **sizes, **options)
    found = evaluate(data, folder)
    return found["confusion_matrix"][1][1] / sum(found["confusion_matrix"][1])


def test_balanced_weights_do_not_drown_the_usual_label(tmp_path):
    assert usual_recall(lopsided(240, 2), tmp_path / "out", epochs=10) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_one_row_in_a_thousand_does_not_drown_the_others(tmp_path, seed):
    data = lopsided(3_000, 3)
    assert usual_recall(data, tmp_path / "out", epochs=4, seed=seed) > 0.95


@pytest.mark.parametrize("labels", [2, 3])
def test_a_row_counts_as_its_own_label_does_whatever_is_smoothed(make_network, labels):
    network = make_network(labels=labels)
    ids = torch.tensor([[2, 3, 4]])
    own = torch.tensor([1.0]) if labels == 2 else torch.eye(3)[1:2]
    batch = Batch(ids, torch.ones_like(ids, dtype=torch.bool), own)
    weights = torch.tensor([60.0, 0.5, 1.0][:labels])
    plain = classification_loss(0.1)(network, batch)
    weighted = classification_loss(0.1, weights)(network, batch)
    assert weighted.item() == pytest.approx(0.5 * plain.item())
