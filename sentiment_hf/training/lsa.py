"""A teacher for few labels: a linear model over what texts are about, learnt from all of them."""

from functools import partial

import numpy as np

from sentiment_hf.data.batching import EncodedRows
from sentiment_hf.training.linear import LinearModel, SoftRegression, count_runs

LSA = "lsa"
LONGEST_RUN = 2
DIMENSIONS = 100
INVERSE_PENALTY = 10.0
# Of the strongest direction's.
NO_STRENGTH = 1e-4
# Against a division by zero.
SMALL = 1e-6


def lsa_answers(
    rows: EncodedRows, own: np.ndarray, origins: np.ndarray, vocab_size: int
) -> np.ndarray:
    """What the labelled rows say of each row, by their place in a space made of all texts.

    Latent semantic analysis (Deerwester et al. 1990, "Indexing by latent semantic analysis"): a
    singular value decomposition of which words and pairs of words stand in which text, weighted by
    inverse document frequency. So few numbers a text need few labels; what is known of the
    labelled rows themselves it partly knows by heart, so it is for telling of others.

    Args:
        rows, own, origins: as in `ngram_answers`.

    Returns:
        Probabilities, `(rows,)` or `(rows, num_labels)`, as `own` has them.
    """
    from sklearn.preprocessing import normalize
    from sklearn.utils.extmath import randomized_svd

    whole = int(origins.max()) + 1
    counts = count_runs(rows, whole, vocab_size, LONGEST_RUN, least=2 + whole // 10_000)
    texts = np.asarray(counts[:whole].sum(axis=0)).ravel()
    rarity = np.log(whole / np.maximum(texts, 1)).astype(np.float32)
    weighted = normalize(counts.multiply(rarity).tocsr())
    dimensions = min(DIMENSIONS, whole, counts.shape[1])
    _, strengths, directions = randomized_svd(
        weighted[:whole], dimensions, n_iter=2, random_state=0
    )
    # Where few texts span fewer directions, the rest are noise, which the scale would raise.
    directions[strengths <= NO_STRENGTH * strengths[0]] = 0
    places = weighted @ (directions / np.sqrt(strengths[:, None] + SMALL)).T
    places /= np.linalg.norm(places, axis=1, keepdims=True) + SMALL
    one_label = partial(SoftRegression, inverse_penalty=INVERSE_PENALTY)
    return LinearModel(places[: len(own)], own, one_label).answer(places).astype(np.float32)
