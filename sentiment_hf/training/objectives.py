"""Objectives: small functions `(model, batch) -> loss`, from which the loop makes its steps."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sentiment_hf.batching import Batch
from sentiment_hf.network import LSTMClassifier

Objective = Callable[[nn.Module, Batch], Tensor]


def classification(label_smoothing: float = 0.0, class_weights: Tensor | None = None) -> Objective:
    """Cross-entropy against hard or soft labels.

    Label smoothing: Szegedy et al. 2016, arXiv:1512.00567.
    """

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, LSTMClassifier)
        targets, weights = _targets(model, batch, label_smoothing, class_weights)
        return model.loss(model(batch.input_ids, batch.attention_mask), targets, weights)

    return objective


def _targets(
    model: LSTMClassifier, batch: Batch, label_smoothing: float, class_weights: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    assert batch.labels is not None
    labels = batch.labels * (1 - label_smoothing) + label_smoothing / model.config.num_labels
    return labels, None if class_weights is None else class_weights.to(labels.device)


def adversarial(
    epsilon: float = 0.3, label_smoothing: float = 0.0, class_weights: Tensor | None = None
) -> Objective:
    """Cross-entropy on the texts and on the same texts with their word vectors moved against them.

    Miyato, Dai & Goodfellow 2017, arXiv:1605.07725: the change is along the gradient of the loss,
    measured over the whole text.

    Args:
        epsilon: the length of the change, in lengths of an average word vector.
    """

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, LSTMClassifier)
        targets, weights = _targets(model, batch, label_smoothing, class_weights)
        embedded, lengths = model.embed(batch.input_ids, batch.attention_mask)
        loss = model.loss(model.classify(embedded, lengths), targets, weights)
        (gradient,) = torch.autograd.grad(loss, embedded, retain_graph=True)
        worst = epsilon * _word_length(embedded, lengths) * _unit(gradient)
        moved = model.classify(embedded + worst, lengths)
        return (loss + model.loss(moved, targets, weights)) / 2

    return objective


def virtual_adversarial(epsilon: float = 0.3, probe: float = 0.03) -> Objective:
    """Keeps the answer steady under the worst small change of the word vectors.

    Miyato, Dai & Goodfellow 2017, arXiv:1605.07725: one power iteration, the change measured
    over the whole text; it needs no labels.

    Args:
        epsilon: the length of the change, in lengths of an average word vector.
        probe: the length of the trial change that finds the worst direction.
    """

    def divergence(model: LSTMClassifier, logits: Tensor, clean: Tensor) -> Tensor:
        # Up to a constant, the Kullback-Leibler divergence is the loss against soft labels.
        return model.loss(logits, clean)

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, LSTMClassifier)
        embedded, lengths = model.embed(batch.input_ids, batch.attention_mask)
        real = (torch.arange(embedded.shape[1], device=lengths.device) < lengths[:, None])[
            ..., None
        ]
        word_length = _word_length(embedded, lengths)
        with torch.no_grad():
            logits = model.classify(embedded, lengths).float()
            clean = (
                torch.sigmoid(logits)
                if model.config.num_outputs == 1
                else torch.softmax(logits, -1)
            )
        direction = _unit(torch.randn_like(embedded, dtype=torch.float32) * real)
        direction.requires_grad_()
        trial = embedded.detach() + probe * word_length * direction
        distance = divergence(model, model.classify(trial, lengths), clean)
        (gradient,) = torch.autograd.grad(distance, direction)
        worst = epsilon * word_length * _unit(gradient * real)
        moved = model.classify(embedded + worst.detach(), lengths)
        return divergence(model, moved, clean)

    return objective


def _word_length(embedded: Tensor, lengths: Tensor) -> Tensor:
    """The mean length of the word vectors of a batch; padding is embedded as zeros or not read."""
    real = torch.arange(embedded.shape[1], device=lengths.device) < lengths[:, None]
    return (embedded.detach().float().norm(dim=-1) * real).sum() / lengths.sum()


def _unit(change: Tensor) -> Tensor:
    """Changes `(batch, seq, features)` scaled to length 1 over each whole text."""
    return nn.functional.normalize(change.float().flatten(1), dim=1).view_as(change)


def entropy(model: nn.Module, batch: Batch) -> Tensor:
    """Pushes the answers on unlabelled text away from the fence.

    Grandvalet & Bengio 2005, "Semi-supervised learning by entropy minimization".
    """
    assert isinstance(model, LSTMClassifier)
    logits = model(batch.input_ids, batch.attention_mask).float()
    certain = torch.sigmoid(logits) if model.config.num_outputs == 1 else torch.softmax(logits, -1)
    return model.loss(logits, certain)
