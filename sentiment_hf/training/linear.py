"""Logistic regression on soft labels, and the word runs that linear teachers read."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from sentiment_hf.data.batching import EncodedRows

# The logit of a label that every row has, or no row.
SURE = 9.0


class OneLabel(Protocol):
    """What knows one label from the others."""

    def answer(self, features: Any) -> np.ndarray:
        """How probable the label is for each row, `(rows,)`."""


class SoftRegression:
    """One label against the others; `share` is how much of each row is its own, `(rows,)`."""

    def __init__(self, features: Any, share: np.ndarray, inverse_penalty: float) -> None:
        from sklearn.linear_model import LogisticRegression

        # A soft label counts once for each side, by its share.
        own_rows, other_rows = np.flatnonzero(share), np.flatnonzero(share < 1)
        if not len(own_rows) or not len(other_rows):
            self.weights = np.zeros(features.shape[1])
            self.bias = SURE if len(own_rows) else -SURE
            return
        regression = LogisticRegression(C=inverse_penalty, max_iter=200)
        regression.fit(
            features[np.concatenate([own_rows, other_rows])],
            np.repeat([1, 0], [len(own_rows), len(other_rows)]),
            sample_weight=np.concatenate([share[own_rows], 1 - share[other_rows]]),
        )
        self.weights, self.bias = regression.coef_[0], float(regression.intercept_[0])

    def answer(self, features: Any) -> np.ndarray:
        return 1 / (1 + np.exp(-(features @ self.weights + self.bias)))


class LinearModel:
    """Learns from features `(rows, features)` and targets `(rows,)` or `(rows, num_labels)`.

    Of three labels or more, each has a model against all others, which `one_label` fits.
    """

    def __init__(
        self, features: Any, targets: np.ndarray, one_label: Callable[[Any, np.ndarray], OneLabel]
    ) -> None:
        self.labels = targets.shape[1:]
        self.sides = [one_label(features, share) for share in targets.reshape(len(targets), -1).T]

    def answer(self, features: Any) -> np.ndarray:
        answers = np.stack([side.answer(features) for side in self.sides], axis=1)
        if self.labels:
            return answers / answers.sum(axis=1, keepdims=True)
        return answers[:, 0]


def count_runs(rows: EncodedRows, whole: int, vocab_size: int, longest: int, least: int) -> Any:
    """Which runs of up to `longest` words stand in which row, a sparse `(rows, runs)` of ones.

    Runs that the first `whole` rows hold fewer than `least` times in all are left out.
    """
    from scipy import sparse

    parts = [sparse.csr_matrix((len(rows), 1), dtype=np.float32)]  # For texts that share no run.
    for length in range(1, longest + 1):
        runs, places = _runs(rows, length, vocab_size)
        known, times = np.unique(runs[places < whole], return_counts=True)
        known = known[times >= least]
        if not len(known):
            continue
        columns = np.searchsorted(known, runs).clip(max=len(known) - 1)
        hits = known[columns] == runs
        ones = np.ones(int(hits.sum()), dtype=np.float32)
        part = sparse.csr_matrix((ones, (places[hits], columns[hits])), (len(rows), len(known)))
        part.sum_duplicates()
        part.data[:] = 1
        parts.append(part)
    return sparse.hstack(parts, format="csr", dtype=np.float32)


def _runs(rows: EncodedRows, length: int, vocab_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Every run of that many words as one number, and the row that it stands in.

    Beyond two million words the numbers of trigrams wrap around: some then share one.
    """
    tokens = rows.tokens.astype(np.int64)
    text = np.repeat(np.arange(len(rows)), rows.lengths)
    count = max(0, len(tokens) - length + 1)
    runs = np.zeros(count, dtype=np.int64)
    for offset in range(length):
        runs = runs * vocab_size + tokens[offset : offset + count]
    inside = text[:count] == text[length - 1 :]
    return runs[inside], text[:count][inside]
