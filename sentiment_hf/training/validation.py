"""Validation: what the epochs are judged by, and the temperature that is fitted at the end."""

from dataclasses import replace

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from sentiment_hf.data.batching import EncodedRows
from sentiment_hf.model.inference import predict_logits
from sentiment_hf.model.network import LSTMClassifier
from sentiment_hf.training.rows import TrainingRows


class Validation:
    """The validation rows of all data sets, measured together and one by one.

    Args:
        choose_by: as in `Preset`.
    """

    def __init__(self, rows: TrainingRows, tokenizer: Tokenizer, choose_by: str) -> None:
        parts = [
            EncodedRows.from_split(one.validation, tokenizer, len(rows.label_names))
            for one in rows.labelled
        ]
        self.rows = EncodedRows.concatenated(parts)
        self.targets = torch.from_numpy(self.rows.labels)
        ends = np.cumsum([len(part) for part in parts])
        self.places = {
            one.name: slice(end - len(part), end)
            for one, part, end in zip(rows.labelled, parts, ends, strict=True)
        }
        self.choose_by = choose_by

    def __call__(self, model: nn.Module) -> tuple[float, dict[str, float]]:
        """For the trainer; of the loss at an epoch's own best temperature, less is better."""
        assert isinstance(model, LSTMClassifier)
        logits = predict_logits(model, self.rows)
        figures = {
            **self._accuracies(model, logits),
            "loss": float(model.loss(logits, self.targets)),
            "calibrated_loss": self._best_temperature(model, logits)[1],
        }
        by_accuracy = self.choose_by == "accuracy"
        return figures["accuracy"] if by_accuracy else -figures["calibrated_loss"], figures

    def calibrate(self, network: LSTMClassifier) -> dict[str, float]:
        """Fits the temperature on the weights as they will be saved; gives the accuracies."""
        if network.config.dtype == "float16":
            network.half().float()
        logits = predict_logits(network, self.rows)
        temperature, _ = self._best_temperature(network, logits)
        network.config = replace(network.config, temperature=round(temperature, 4))
        accuracies = self._accuracies(network, logits)
        return {f"validation_{name}": value for name, value in accuracies.items()}

    def _best_temperature(self, network: LSTMClassifier, logits: Tensor) -> tuple[float, float]:
        """The temperature with the smallest loss (Guo et al. 2017, arXiv:1706.04599), and this."""
        candidates = np.geomspace(0.1, 10, 401).tolist()
        losses = [float(network.loss(logits / t, self.targets)) for t in candidates]
        return min(zip(candidates, losses, strict=True), key=lambda pair: pair[1])

    def _accuracies(self, network: LSTMClassifier, logits: Tensor) -> dict[str, float]:
        """Of all rows and, where there are several data sets, of each one's."""
        targets = self.targets
        labels = (targets > 0.5).long() if targets.ndim == 1 else targets.argmax(dim=-1)
        correct = (network.probabilities(logits).argmax(dim=-1) == labels).float()
        accuracies = {"accuracy": float(correct.mean())}
        if len(self.places) > 1:
            for name, place in self.places.items():
                accuracies[f"accuracy_{name}"] = float(correct[place].mean())
        return accuracies
