"""A teacher that is no network: a linear model over runs of one to three words."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sentiment_hf.data.batching import EncodedRows
from sentiment_hf.training.linear import LinearModel, SoftRegression, count_runs

NGRAMS = "ngrams"
LONGEST_RUN = 3
INVERSE_PENALTY = 30.0
FOLDS = 5
MANY_TEXTS = 1_000
# Neighbouring rows are often about one thing (IMDB's about one film), so they share a fold.
LONGEST_BLOCK = 50


def ngram_answers(
    rows: EncodedRows,
    own: np.ndarray,
    others: Sequence[np.ndarray],
    origins: np.ndarray,
    vocab_size: int,
) -> np.ndarray:
    """What runs of words say of each row, by models that have not learnt from its text, except
    through what is said of texts without labels.

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
    # Of many texts, runs that they hold only once or a few times in all teach nothing.
    least = 1 if whole < MANY_TEXTS else 2 + whole // 30_000
    counts = count_runs(rows, whole, vocab_size, LONGEST_RUN, least)
    even = 0.5 if own.ndim == 1 else 1 / own.shape[1]
    answers = np.full((len(rows), *own.shape[1:]), even, dtype=np.float32)
    targets = np.zeros((whole, *own.shape[1:]), dtype=np.float32)
    targets[: len(own)] = own
    if whole > len(own):
        first = LinearModel(counts[: len(own)], own, _Side).answer(counts[len(own) : whole])
        told = [answer[len(own) : whole] for answer in others]
        targets[len(own) :] = np.mean([first, *told], axis=0)
    folds = _folds(rows, own, whole)
    for fold in range(FOLDS):
        learnt, asked = np.flatnonzero(folds != fold), folds[origins] == fold
        if len(learnt) and asked.any():
            model = LinearModel(counts[learnt], targets[learnt], _Side)
            answers[asked] = model.answer(counts[asked])
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


class _Side:
    """One label against the others, by runs that weigh what naive Bayes says of them."""

    def __init__(self, counts: Any, share: np.ndarray) -> None:
        own, other = counts.T @ share + 1, counts.T @ (1 - share) + 1
        self.ratios = np.log((own / own.sum()) / (other / other.sum())).astype(np.float32)
        self.regression = SoftRegression(self._weighted(counts), share, INVERSE_PENALTY)

    def answer(self, counts: Any) -> np.ndarray:
        return self.regression.answer(self._weighted(counts))

    def _weighted(self, counts: Any) -> Any:
        from sklearn.preprocessing import normalize

        return normalize(counts.multiply(self.ratios).tocsr())
