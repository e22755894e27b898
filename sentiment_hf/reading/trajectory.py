"""The answer after each word of a text."""

from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

from sentiment_hf.data.tokenization import UNK_ID
from sentiment_hf.model.inference import predict_logits
from sentiment_hf.model.network import LSTMClassifier

MOST_POINTS = 200
# Few enough that prefixes of one batch are of like length.
PREFIXES_AT_ONCE = 32


class Point(NamedTuple):
    """A word and the probability after it."""

    word: str
    probability: float


def trajectory(network: LSTMClassifier, tokenizer: Tokenizer, text: str) -> list[Point]:
    """The answer to the first t words of a text, for every t.

    Prefixes in one batch through the ordinary forward pass, so it ends at the text's own answer.
    A text of more than 200 words gives 200 points, evenly spaced; a point's word is then all that
    was read since the point before.

    Returns:
        Words as they stand in the text, each with the probability of the second label after it
        (with more than two labels: of the label that the whole text gets).
    """
    encoding = tokenizer.encode(text, add_special_tokens=False)
    ids = np.asarray(encoding.ids or [UNK_ID], dtype=np.int32)
    count = min(len(ids), MOST_POINTS)
    ends = np.unique(np.linspace(1, len(ids), count).round().astype(int))
    logits = predict_logits(network, [ids[:end] for end in ends], batch_size=PREFIXES_AT_ONCE)
    probabilities = network.probabilities(logits)
    label = 1 if network.config.num_labels == 2 else int(probabilities[-1].argmax())
    values = probabilities[:, label].tolist()
    if not encoding.ids:
        return [Point(text, values[0])]
    starts = [0, *ends[:-1]]
    return [
        Point(between(text, encoding.offsets, start, end), value)
        for start, end, value in zip(starts, ends, values, strict=True)
    ]


def between(text: str, offsets: list[tuple[int, int]], start: int, end: int) -> str:
    before = offsets[start - 1][1] if start else 0  # One sign may be read as several words: ½.
    return text[max(offsets[start][0], before) : offsets[end - 1][1]]
