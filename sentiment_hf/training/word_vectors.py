"""Word vectors from counts of words that stand near each other: a start for the embedding."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sentiment_hf.data.batching import EncodedRows
from sentiment_hf.data.tokenization import UNK_ID

WINDOW = 8
SMOOTHING = 0.75


def word_vectors(rows: EncodedRows, vocab_size: int, dim: int, seed: int = 0) -> Tensor:
    """Vectors `(vocab_size, dim)` of mean length 1, from the texts alone.

    A factorisation of positive pointwise mutual information, counted in a window of 8 words to
    each side that weighs near words more (Levy & Goldberg 2014, "Neural word embedding as implicit
    matrix factorization"; Levy, Goldberg & Dagan 2015 for the smoothing and the square root).
    """
    from sklearn.utils.extmath import randomized_svd

    information = _mutual_information(rows, vocab_size)
    u, s, _ = randomized_svd(information, min(dim, vocab_size - 1), n_iter=4, random_state=seed)
    vectors = np.zeros((vocab_size, dim), dtype=np.float32)
    vectors[:, : u.shape[1]] = u * np.sqrt(s)
    if not vectors.any():  # No two words stand together anywhere.
        vectors = np.random.default_rng(seed).standard_normal(vectors.shape, np.float32)
    lengths = np.linalg.norm(vectors, axis=1)
    return torch.from_numpy(vectors / lengths[lengths > 0].mean())


def _mutual_information(rows: EncodedRows, vocab_size: int) -> Any:
    from scipy import sparse

    tokens = rows.tokens.astype(np.int64)
    # A row that is repeated in the epochs stands among the tokens once.
    text = np.searchsorted(np.unique(rows.starts), np.arange(len(tokens)), side="right")
    counts = sparse.csr_matrix((vocab_size, vocab_size), dtype=np.float32)
    for distance in range(1, WINDOW + 1):
        left, right = tokens[:-distance], tokens[distance:]
        near = (text[:-distance] == text[distance:]) & (left != UNK_ID) & (right != UNK_ID)
        weights = np.full(int(near.sum()), 1 / distance, dtype=np.float32)
        pairs = sparse.coo_matrix((weights, (left[near], right[near])), counts.shape).tocsr()
        counts = counts + pairs + pairs.T
    total = counts.sum()
    words = np.asarray(counts.sum(axis=1)).ravel()
    contexts = words**SMOOTHING
    contexts *= total / max(contexts.sum(), 1e-12)
    cells = counts.tocoo()
    information = np.log(cells.data * total / (words[cells.row] * contexts[cells.col]))
    kept = information > 0
    return sparse.csr_matrix(
        (information[kept].astype(np.float32), (cells.row[kept], cells.col[kept])), counts.shape
    )
