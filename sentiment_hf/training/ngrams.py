"""A teacher that is no network: a linear model over runs of one to three words."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sentiment_hf.errors import SentimentError

NGRAMS = "ngrams"
LONGEST_RUN = 3
# From this many texts on, a run that stands in one text alone teaches nothing.
MANY_TEXTS = 1_000
INVERSE_PENALTY = 30.0


class NgramTeacher:
    """Logistic regression over n-grams that are weighted by what naive Bayes says of them.

    NB-SVM (Wang & Manning 2012, "Baselines and bigrams", ACL, P12-2018), with trigrams and beside
    a recurrent network as in Mesnil et al. 2014 (arXiv:1412.5335): the two err on different texts,
    so that the mean of their answers is better than either.

    Args:
        texts: what it learns from.
        targets: class probabilities as in `Batch.labels`, `(rows,)` or `(rows, num_labels)`.
        label_names: what the classes are called.

    Raises:
        SentimentError: there is no word in the texts.
    """

    def __init__(
        self, texts: Sequence[str], targets: np.ndarray, label_names: Sequence[str]
    ) -> None:
        from sklearn.feature_extraction.text import CountVectorizer

        self.label_names = list(label_names)
        self.counter = CountVectorizer(
            ngram_range=(1, LONGEST_RUN),
            min_df=2 if len(texts) >= MANY_TEXTS else 1,
            token_pattern=r"\w+|[!?]",
            binary=True,
            dtype=np.float32,
        )
        try:
            found = self.counter.fit_transform(texts)
        except ValueError as error:
            raise SentimentError("The texts have no words to teach with.") from error
        # Two labels share one model, as they share one logit of the network.
        shares = targets[:, None] if targets.ndim == 1 else targets
        self.models = [_Model(found, share) for share in shares.T]

    def probabilities(self, texts: Sequence[str]) -> Tensor:
        """Probabilities `(len(texts), num_labels)`; of three labels or more, each against all."""
        found = self.counter.transform(texts)
        answers = np.stack([model.answer(found) for model in self.models], axis=1)
        if len(self.models) == 1:
            answers = np.hstack([1 - answers, answers])
        return torch.from_numpy((answers / answers.sum(axis=1, keepdims=True)).astype(np.float32))


class _Model:
    """One label against the others; `share` is how much of each row is its own, `(rows,)`."""

    def __init__(self, found: Any, share: np.ndarray) -> None:
        from scipy import sparse
        from sklearn.linear_model import LogisticRegression

        own, other = found.T @ share + 1, found.T @ (1 - share) + 1
        self.ratios = np.log((own / own.sum()) / (other / other.sum())).astype(np.float32)
        # A soft label counts once for each side, by its share.
        own_rows, other_rows = np.flatnonzero(share), np.flatnonzero(share < 1)
        rows = np.concatenate([own_rows, other_rows])
        sides = np.repeat([1, 0], [len(own_rows), len(other_rows)])
        if len(set(sides)) < 2:  # A label that no row has.
            self.weights, self.bias = np.zeros(len(self.ratios)), float(np.where(sides[0], 9, -9))
            return
        regression = LogisticRegression(C=INVERSE_PENALTY, max_iter=200)
        regression.fit(
            sparse.csr_matrix(self._weighted(found))[rows],
            sides,
            sample_weight=np.concatenate([share[own_rows], 1 - share[other_rows]]),
        )
        self.weights, self.bias = regression.coef_[0], float(regression.intercept_[0])

    def answer(self, found: Any) -> np.ndarray:
        return 1 / (1 + np.exp(-(self._weighted(found) @ self.weights + self.bias)))

    def _weighted(self, found: Any) -> Any:
        from sklearn.preprocessing import normalize

        return normalize(found.multiply(self.ratios).tocsr())
