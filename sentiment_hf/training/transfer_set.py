"""The transfer set: the texts that a teacher labels for its student, beside whole reviews.

What a word-level network has to learn of short texts (negation, contrast, praise in three words)
stands in the sentences of long ones, and in pieces of these.
"""

import re
from collections.abc import Iterator, Set
from itertools import chain

import numpy as np
from datasets import Dataset

# The most sentences and pieces that are taken unless somebody asks for another number.
DEFAULT_SENTENCES = 200_000
SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+|(?:<br\s*/?>)+|\n+")
CLAUSE_END = re.compile(r"\s*[,;:()]\s*|\s+-+\s+|\s+(?=(?:but|and|although|though|because)\s)")
LETTER = re.compile(r"[^\W\d_]")
# Characters; what has more without an end of a sentence is a list or a table.
LONGEST_SENTENCE = 400


def sentences_of(text: str) -> list[str]:
    """The sentences of a text, in order."""
    return [part.strip() for part in SENTENCE_END.split(text) if part and part.strip()]


def transfer_set(
    texts: Dataset, count: int, seed: int = 0, excluded: Set[str] = frozenset()
) -> Dataset:
    """Different sentences, clauses and pairs of neighbouring sentences of some texts.

    Args:
        texts: with the column `text`.
        count: at most that many, drawn at random from all that there are.
        excluded: validation and test texts, of which a training text may hold one.

    Returns:
        Rows with `text`, in the order of the texts; none is one of the texts itself.
    """
    # Through `map`, in whose cache they are kept.
    pieces = texts.map(
        _pieces_of_batch, batched=True, input_columns=["text"], desc="Splitting into sentences"
    )
    seen = {hash(text) for text in chain(texts["text"], excluded)}
    chosen = []
    for number, piece in enumerate(pieces["text"]):
        if hash(piece) not in seen:
            seen.add(hash(piece))
            chosen.append(number)
    rows = np.array(chosen, dtype=np.int64)
    if len(rows) > count:
        rows = np.sort(np.random.default_rng(seed).choice(rows, count, replace=False))
    return pieces.select(rows)


def _pieces_of_batch(texts: list[str]) -> dict[str, list[str]]:
    pieces = [piece for text in texts for piece in _pieces(sentences_of(text))]
    return {"text": [piece for piece in pieces if LETTER.search(piece)]}


def _pieces(sentences: list[str]) -> Iterator[str]:
    for sentence in sentences:
        if len(sentence) <= LONGEST_SENTENCE:
            yield sentence
            clauses = [part for part in CLAUSE_END.split(sentence) if part]
            if len(clauses) > 1:
                yield from clauses
    if len(sentences) > 2:
        middle = len(sentences) // 2
        yield " ".join(sentences[middle - 1 : middle + 1])
