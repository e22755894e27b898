"""A teacher that is no network: a linear model over runs of one to three words."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sentiment_hf.batching import EncodedRows

NGRAMS = "ngrams"
LONGEST_RUN = 3
INVERSE_PENALTY = 30.0
FOLDS = 5
MANY_TEXTS = 1_000
# The logit of a label that every row has, or no row.
SURE = 9.0
# Neighbouring rows are often about one thing (IMDB's about one film), so they share a fold.
LONGEST_BLOCK = 50


def is_ngrams(teacher: str | Path) -> bool:
    """Whether a teacher's name means n-grams; a folder of that name wins, as everywhere."""
    return teacher == NGRAMS and not Path(teacher).is_dir()


def ngram_answers(
    rows: EncodedRows,
    own: np.ndarray,
    others: Sequence[np.ndarray],
    origins: np.ndarray,
    vocab_size: int,
) -> np.ndarray:
    """What runs of words say of each row, by models that have not learnt from its text.

    NB-SVM (Wang & Manning 2012, "Baselines and bigrams", ACL, P12-2018): logistic regression over
    n-grams that weigh what naive Bayes says of them, with trigrams and beside a recurrent network
    as in Mesnil et al. 2014 (arXiv:1412.5335). A first model learns from the labelled rows. Then
    texts without labels get the mean of its answer and those of the other teachers, and a model
    of all texts learns from that (co-training, Blum & Mitchell 1998), once for each fifth of
    the texts that it leaves out. Six models a label: minutes for 70,000 reviews.

    Args:
        rows: labelled texts, then those without labels, then pieces of both.
        own: targets of the labelled texts, as in `Batch.labels`.
        others: what the other teachers answer, `(rows,)` or `(rows, num_labels)` each.
        origins: `(rows,)`, the row of the whole text that each row is, or is a piece of.

    Returns:
        Probabilities of the same shape as the other teachers'.
    """
    whole = int(origins.max()) + 1
    counts = _count(rows, whole, vocab_size)
    even = 0.5 if own.ndim == 1 else 1 / own.shape[1]
    answers = np.full((len(rows), *own.shape[1:]), even, dtype=np.float32)
    targets = np.zeros((whole, *own.shape[1:]), dtype=np.float32)
    targets[: len(own)] = own
    if whole > len(own):
        first = _Model(counts[: len(own)], own).answer(counts[len(own) : whole])
        told = [answer[len(own) : whole] for answer in others]
        targets[len(own) :] = np.mean([first, *told], axis=0)
    folds = _folds(rows, own, whole)
    for fold in range(FOLDS):
        learnt, asked = np.flatnonzero(folds != fold), folds[origins] == fold
        if len(learnt) and asked.any():
            answers[asked] = _Model(counts[learnt], targets[learnt]).answer(counts[asked])
    return answers


def _folds(rows: EncodedRows, own: np.ndarray, whole: int) -> np.ndarray:
    """A fold for each whole text: neighbours of one label share it, and so do equal texts."""
    first: dict[bytes, int] = {}
    equal = np.array([first.setdefault(rows[row].tobytes(), row) for row in range(whole)])
    kinds = np.full(whole, -1)
    kinds[: len(own)] = own > 0.5 if own.ndim == 1 else own.argmax(axis=1)
    folds = np.empty(whole, dtype=np.int64)
    for kind in np.unique(kinds):
        places = np.flatnonzero((kinds == kind) & (equal == np.arange(whole)))
        block = min(LONGEST_BLOCK, max(1, len(places) // (FOLDS * 4)))
        folds[places] = np.arange(len(places)) // block % FOLDS
    return folds[equal]


def _count(rows: EncodedRows, whole: int, vocab_size: int) -> Any:
    """Which runs stand in which row, a sparse `(rows, runs)` of ones.

    Of many texts, runs that they hold only once or a few times in all teach nothing.
    """
    from scipy import sparse

    least = 1 if whole < MANY_TEXTS else 2 + whole // 30_000
    parts = [sparse.csr_matrix((len(rows), 1), dtype=np.float32)]  # For texts that share no run.
    for length in range(1, LONGEST_RUN + 1):
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


class _Model:
    """Learns from counts `(rows, runs)` and targets `(rows,)` or `(rows, num_labels)`.

    Of three labels or more, each has a model against all others.
    """

    def __init__(self, counts: Any, targets: np.ndarray) -> None:
        self.labels = targets.shape[1:]
        self.sides = [_Side(counts, share) for share in targets.reshape(len(targets), -1).T]

    def answer(self, counts: Any) -> np.ndarray:
        answers = np.stack([side.answer(counts) for side in self.sides], axis=1)
        if self.labels:
            return answers / answers.sum(axis=1, keepdims=True)
        return answers[:, 0]


class _Side:
    """One label against the others; `share` is how much of each row is its own, `(rows,)`."""

    def __init__(self, counts: Any, share: np.ndarray) -> None:
        from sklearn.linear_model import LogisticRegression

        own, other = counts.T @ share + 1, counts.T @ (1 - share) + 1
        self.ratios = np.log((own / own.sum()) / (other / other.sum())).astype(np.float32)
        # A soft label counts once for each side, by its share.
        own_rows, other_rows = np.flatnonzero(share), np.flatnonzero(share < 1)
        sides = np.repeat([1, 0], [len(own_rows), len(other_rows)])
        if not len(own_rows) or not len(other_rows):
            self.weights = np.zeros(len(self.ratios))
            self.bias = SURE if len(own_rows) else -SURE
            return
        regression = LogisticRegression(C=INVERSE_PENALTY, max_iter=200)
        regression.fit(
            self._weighted(counts)[np.concatenate([own_rows, other_rows])],
            sides,
            sample_weight=np.concatenate([share[own_rows], 1 - share[other_rows]]),
        )
        self.weights, self.bias = regression.coef_[0], float(regression.intercept_[0])

    def answer(self, counts: Any) -> np.ndarray:
        return 1 / (1 + np.exp(-(self._weighted(counts) @ self.weights + self.bias)))

    def _weighted(self, counts: Any) -> Any:
        from sklearn.preprocessing import normalize

        return normalize(counts.multiply(self.ratios).tocsr())
