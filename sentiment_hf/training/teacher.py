"""Soft labels from a teacher: its probabilities become a smaller network's targets.

Distillation (Hinton, Vinyals & Dean 2015, arXiv:1503.02531); on texts that nobody has labelled
it is self-training with soft labels. The teacher also labels single sentences of the reviews, so
that the student learns what a sentence says, and not what the review around it ends with.
"""

import re
from collections.abc import Sequence

import numpy as np
from datasets import Dataset, concatenate_datasets

from sentiment_hf.batching import target_probabilities
from sentiment_hf.labels import match_labels
from sentiment_hf.pipeline import SentimentPipeline

# Of the target of a row that has a label of its own.
TEACHER_SHARE = 0.5
MOST_SENTENCES = 3
TEXTS_AT_ONCE = 4096
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|<br\s*/?>")


def taught(
    teachers: Sequence[SentimentPipeline],
    labelled: Dataset,
    unlabelled: Dataset | None,
    names: dict[int, str],
    seed: int,
) -> tuple[Dataset, np.ndarray]:
    """Texts with target probabilities: labelled rows, unlabelled rows if any, pieces of both.

    Several teachers are asked for the mean of their probabilities.

    Returns:
        Rows with `text`, and targets as in `Batch.labels`, `(rows,)` or `(rows, num_labels)`.

    Raises:
        SentimentError: a teacher's labels are not those of the data set.
    """
    orders = [match_labels(list(names.values()), t.label_names) for t in teachers]
    given = labelled.select_columns(["text"])
    whole = concatenate_datasets([given, *([] if unlabelled is None else [unlabelled])])
    texts = concatenate_datasets([whole, _pieces(whole, seed)])
    answers = [
        _answers(teacher, texts)[:, order] for teacher, order in zip(teachers, orders, strict=True)
    ]
    targets = np.stack(answers).mean(axis=0)
    if len(names) == 2:
        targets = targets[:, 1]
    own = target_probabilities(np.asarray(labelled["label"]), len(names))
    targets[: len(own)] = TEACHER_SHARE * targets[: len(own)] + (1 - TEACHER_SHARE) * own
    return texts, targets


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


def _pieces(texts: Dataset, seed: int) -> Dataset:
    """One to three neighbouring sentences of each text."""
    dice = np.random.default_rng(seed)
    chosen = []
    for text in texts["text"]:
        sentences = [part.strip() for part in SENTENCE_END.split(text) if part and part.strip()]
        if len(sentences) > 1:
            start = int(dice.integers(len(sentences)))
            end = start + int(dice.integers(1, MOST_SENTENCES + 1))
            chosen.append(" ".join(sentences[start:end]))
    return Dataset.from_dict({"text": chosen}, features=texts.features)
