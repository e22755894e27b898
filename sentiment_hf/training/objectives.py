"""Objectives: small functions `(model, batch) -> loss`, from which the loop makes its steps."""

from collections.abc import Callable

from torch import Tensor, nn

from sentiment_hf.batching import Batch
from sentiment_hf.network import LSTMClassifier

Objective = Callable[[nn.Module, Batch], Tensor]


def classification(label_smoothing: float = 0.0) -> Objective:
    """Cross-entropy against hard or soft labels.

    Label smoothing: Szegedy et al. 2016, arXiv:1512.00567.
    """

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, LSTMClassifier)
        assert batch.labels is not None
        even = label_smoothing / model.config.num_labels
        labels = batch.labels * (1 - label_smoothing) + even
        return model.loss(model(batch.input_ids, batch.attention_mask), labels)

    return objective
