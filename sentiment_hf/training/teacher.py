"""Soft labels from a teacher: its probabilities become a smaller network's targets.

Distillation (Hinton, Vinyals & Dean 2015, arXiv:1503.02531); on texts that nobody has labelled
it is self-training with soft labels. The teacher also labels single sentences of the reviews, so
that the student learns what a sentence says, and not what the review around it ends with.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from datasets import Dataset, concatenate_datasets
from tokenizers import Tokenizer

from sentiment_hf.data.batching import EncodedRows, target_probabilities
from sentiment_hf.data.columns import match_labels
from sentiment_hf.pipeline import SentimentPipeline
from sentiment_hf.training.lsa import LSA, lsa_answers
from sentiment_hf.training.ngrams import NGRAMS, ngram_answers

# The names of teachers that are no network, and learn from the labelled rows first.
LINEAR_TEACHERS = (LSA, NGRAMS)
# Of the target of a row that has a label of its own.
TEACHER_SHARE = 0.5
MOST_SENTENCES = 3
TEXTS_AT_ONCE = 4096
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|<br\s*/?>")


def is_linear(teacher: str | Path) -> bool:
    """Whether a name means one of LINEAR_TEACHERS; a folder of that name wins, as everywhere."""
    return teacher in LINEAR_TEACHERS and not Path(teacher).is_dir()


def taught(
    teachers: Sequence[SentimentPipeline],
    labelled: Dataset,
    unlabelled: Dataset | None,
    names: dict[int, str],
    seed: int,
    tokenizer: Tokenizer,
    *,
    linear: Sequence[str] = (),
) -> EncodedRows:
    """Labelled rows, unlabelled rows if any, and pieces of both, with target probabilities.

    Several teachers are asked for the mean of their probabilities.

    Args:
        linear: which of LINEAR_TEACHERS to ask, too.

    Returns:
        Their words, with targets as in `Batch.labels`.

    Raises:
        SentimentError: a teacher's labels are not those of the data set.
    """
    orders = [match_labels(list(names.values()), t.label_names) for t in teachers]
    given = labelled.select_columns(["text"])
    whole = concatenate_datasets([given, *([] if unlabelled is None else [unlabelled])])
    pieces, origins = _pieces(whole, seed)
    texts = concatenate_datasets([whole, pieces])
    rows = EncodedRows.from_split(texts, tokenizer, None)
    own = target_probabilities(np.asarray(labelled["label"]), len(names))
    answers = [
        _answers(teacher, texts)[:, order] for teacher, order in zip(teachers, orders, strict=True)
    ]
    if len(names) == 2:
        answers = [answer[:, 1] for answer in answers]
    everything = np.concatenate([np.arange(len(whole)), origins])
    size = tokenizer.get_vocab_size()
    if LSA in linear:
        answers.append(lsa_answers(rows, own, everything, size))
    if NGRAMS in linear:
        answers.append(ngram_answers(rows, own, answers, everything, size))
    targets = np.stack(answers).mean(axis=0)
    targets[: len(own)] = TEACHER_SHARE * targets[: len(own)] + (1 - TEACHER_SHARE) * own
    return replace(rows, labels=targets)


def _answers(teacher: SentimentPipeline, texts: Dataset) -> np.ndarray:
    """One row of probabilities per text, `(rows, num_labels)`."""
    # Kept in the cache of `datasets`: a training that goes on does not ask again.
    answered = texts.map(
        _answer,
        batched=True,
        batch_size=TEXTS_AT_ONCE,
        input_columns=["text"],
        remove_columns=["text"],
        fn_kwargs={"teacher": teacher},
        desc="Asking the teacher",
    )
    return np.asarray(answered.with_format("numpy")["probabilities"], dtype=np.float32)


def _answer(texts: list[str], teacher: SentimentPipeline) -> dict[str, np.ndarray]:
    return {"probabilities": teacher.probabilities(texts).numpy()}


def _pieces(texts: Dataset, seed: int) -> tuple[Dataset, np.ndarray]:
    """One to three neighbouring sentences of each text, and the number of that text."""
    dice = np.random.default_rng(seed)
    chosen, origins = [], []
    for number, text in enumerate(texts["text"]):
        sentences = [part.strip() for part in SENTENCE_END.split(text) if part and part.strip()]
        if len(sentences) > 1:
            start = int(dice.integers(len(sentences)))
            end = start + int(dice.integers(1, MOST_SENTENCES + 1))
            chosen.append(" ".join(sentences[start:end]))
            origins.append(number)
    pieces = Dataset.from_dict({"text": chosen}, features=texts.features)
    return pieces, np.array(origins, dtype=np.int64)
