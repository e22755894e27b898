"""Objectives: small functions `(model, batch) -> loss`, from which the loop makes its steps."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from sentiment_hf.batching import Batch
from sentiment_hf.network import LSTMClassifier

Objective = Callable[[nn.Module, Batch], Tensor]


def classification(label_smoothing: float = 0.0, class_weights: Tensor | None = None) -> Objective:
    """Cross-entropy against hard or soft labels.

    Args:
        label_smoothing: Szegedy et al. 2016, arXiv:1512.00567.
        class_weights: `(num_labels,)`, see `balanced_weights`.
    """

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, LSTMClassifier)
        assert batch.labels is not None
        even = label_smoothing / model.config.num_labels
        labels = batch.labels * (1 - label_smoothing) + even
        weights = None if class_weights is None else class_weights.to(labels.device)
        return model.loss(model(batch.input_ids, batch.attention_mask), labels, weights)

    return objective


def balanced_weights(labels: np.ndarray | None, num_labels: int) -> Tensor:
    """Weights that give every label the same say, `(num_labels,)`, one on average over the rows.

    Args:
        labels: as in `Batch`.
    """
    assert labels is not None
    probabilities = np.stack([1 - labels, labels], axis=-1) if labels.ndim == 1 else labels
    counts = probabilities.sum(axis=0)
    weights = counts.sum() / (num_labels * np.maximum(counts, 1))
    return torch.tensor(weights, dtype=torch.float32)
