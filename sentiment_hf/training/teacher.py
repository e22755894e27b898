"""Soft labels from teachers: their probabilities become a smaller network's targets.

Distillation (Hinton, Vinyals & Dean 2015, arXiv:1503.02531); on texts that nobody has labelled
it is self-training with soft labels. A teacher is a checkpoint of this package or a text classifier
of `transformers`.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import datasets
import numpy as np
import torch
from datasets import Dataset
from tokenizers import Tokenizer

from sentiment_hf.arguments import check_whole
from sentiment_hf.checkpoint.download import find_checkpoint, model_name
from sentiment_hf.checkpoint.files import read_json, write_tensors
from sentiment_hf.checkpoint.folder import CONFIG_FILE
from sentiment_hf.checkpoint.weights import CHECKSUM_KEY, read_tensors, weights_checksum
from sentiment_hf.data.batching import EncodedRows, target_probabilities
from sentiment_hf.data.label_map import (
    label_id,
    label_map_argument,
    listed,
    rename_labels,
    suggested_pairs,
)
from sentiment_hf.errors import SentimentError, cache_error
from sentiment_hf.model.config import MODEL_TYPE
from sentiment_hf.pipeline import SentimentPipeline
from sentiment_hf.training.rows import TrainingRows
from sentiment_hf.training.transfer_set import DEFAULT_SENTENCES, transfer_set

if TYPE_CHECKING:
    from sentiment_hf.training.transformers_teacher import TransformersTeacher

Teacher: TypeAlias = "SentimentPipeline | TransformersTeacher"
# The teacher's part in the target of a row that has a label of its own.
TEACHER_SHARE = 0.5
ANSWERS = "answers"
# Another one where teachers are asked in another way.
ANSWERS_VERSION = 1
TEXTS_AT_ONCE = 2048

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Teaching:
    """Who teaches what, as the arguments of `train` say; without teachers there is nothing."""

    teachers: list[str | Path]
    unlabelled_splits: list[str]
    sentences: int | None
    label_map: dict[str, str]

    def __post_init__(self) -> None:
        check_whole("sentences", self.sentences, least=0)
        for name, is_given in (
            ("unlabelled_split", self.unlabelled_splits),
            ("sentences", self.sentences is not None),
            ("teacher_label_map", self.label_map),
        ):
            if is_given and not self.teachers:
                raise SentimentError(f"`{name}` needs a `teacher`, which labels texts.")

    def record(self) -> dict[str, Any]:
        """What `training.json` says of it."""
        return {
            "teacher": ", ".join(map(model_name, self.teachers)) or None,
            "unlabelled_split": ", ".join(self.unlabelled_splits) or None,
            **({} if self.sentences is None else {"sentences": self.sentences}),
            **({"teacher_label_map": self.label_map} if self.label_map else {}),
        }


def load_teacher(
    model: str | Path, *, device: str | None = None, dtype: str | None = None
) -> Teacher:
    """A checkpoint of this package, or a text classifier of `transformers`."""
    folder = find_checkpoint(model, (CONFIG_FILE,))
    if read_json(folder / CONFIG_FILE).get("model_type") == MODEL_TYPE:
        return SentimentPipeline.from_pretrained(model, device=device, dtype=dtype)
    from sentiment_hf.training.transformers_teacher import TransformersTeacher

    return TransformersTeacher(model, device=device, dtype=dtype)


def rows_with_targets(
    teaching: Teaching,
    rows: TrainingRows,
    tokenizer: Tokenizer,
    seed: int = 0,
    *,
    device: str | None = None,
    dtype: str | None = None,
) -> EncodedRows:
    """The words that are trained on, with targets as in `Batch.labels`.

    Without a teacher these are the labelled rows. Teachers are asked about all texts of a training
    and a transfer set of their sentences, several for the mean of their probabilities; the target
    of a row with a label of its own is the mean of that label and the answer.

    Raises:
        SentimentError: a teacher cannot be loaded, or its labels are not those of the data.
    """
    names = rows.label_names
    # Texts, their own targets, and how often they stand in an epoch.
    parts: list[tuple[Dataset, np.ndarray | None, int]] = [
        (one.train, target_probabilities(np.asarray(one.train["label"]), len(names)), one.repeats)
        for one in rows.labelled
    ]
    teachers = [load_teacher(model, device=device, dtype=dtype) for model in teaching.teachers]
    matrices = [_label_matrix(teacher, names, teaching.label_map) for teacher in teachers]
    # All that the answers depend on; the precision is no part of what a teacher is.
    checksums = [f"{ANSWERS_VERSION} {dtype} {teacher.checksum()}" for teacher in teachers]
    if teachers:
        whole = rows.training_texts
        sentences = DEFAULT_SENTENCES if teaching.sentences is None else teaching.sentences
        pieces = transfer_set(whole, sentences, seed, rows.excluded)
        logger.info(
            "Asking the teacher about %d texts and %d sentences and pieces of them.",
            len(whole), len(pieces),
        )  # fmt: skip
        parts += [(texts, None, 1) for texts in (rows.unlabelled, pieces) if texts]
    encoded = []
    for texts, own, _ in parts:
        targets = own
        if teachers:
            answers = [
                _in_our_labels(kept_answers(teacher, checksum, texts), matrix)
                for teacher, checksum, matrix in zip(teachers, checksums, matrices, strict=True)
            ]
            targets = np.mean(answers, axis=0)
            targets = targets[:, 1] if len(names) == 2 else targets
            if own is not None:
                targets = TEACHER_SHARE * targets + (1 - TEACHER_SHARE) * own
        encoded.append(replace(EncodedRows.from_split(texts, tokenizer), labels=targets))
    return EncodedRows.concatenated(encoded, [repeats for *_, repeats in parts])


def _label_matrix(
    teacher: Teacher, names: Sequence[str], label_map: Mapping[str, str]
) -> np.ndarray:
    """1 where a label of the teacher stands for one of ours, `(teacher's labels, our labels)`."""
    theirs = teacher.label_names
    renamed = rename_labels(theirs, label_map, whose="the teacher's labels")
    ids = [label_id(name, names) for name in renamed]
    unknown = [
        name
        for name, i in zip(theirs, ids, strict=True)
        if i is None and label_map.get(name) != ""  # An empty name drops a label.
    ]
    missing = [name for i, name in enumerate(names) if i not in ids]
    if unknown or missing:
        left = [name for name in renamed if name] or theirs
        hint = (
            f"; name the pairs with `teacher_label_map` {suggested_pairs(unknown, names)}, or drop"
            f" a label: {label_map_argument({unknown[0]: ''})}."
            if unknown
            else f": none of them stands for {listed(missing)}, whose rows `label_map` can drop."
        )
        raise SentimentError(
            f"The teacher's labels {listed(left)} do not match the data's {listed(names)}{hint}"
        )
    return np.array([[i == ours for ours in range(len(names))] for i in ids], dtype=np.float32)


def _in_our_labels(answers: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Adds what stands for the same label; what is left without dropped labels has the sum 1."""
    shares = answers @ matrix
    totals = shares.sum(axis=1, keepdims=True)
    even = np.full_like(shares, 1 / shares.shape[1])
    return np.divide(shares, totals, out=even, where=totals != 0)


def kept_answers(teacher: Teacher, checksum: str, texts: Dataset) -> np.ndarray:
    """One row of probabilities per text, `(rows, num_labels)`.

    They are kept beside the cache of `datasets`, a file for some thousand texts, so that a training
    that resumes asks only about the rest, and another one of the same texts about none.
    """
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "teacher_answers"
    answers = [np.empty((0, len(teacher.label_names)), dtype=np.float32)]
    with datasets.utils.tqdm(total=len(texts), desc="Asking the teacher", unit="text") as progress:
        for piece in texts.select_columns(["text"]).iter(TEXTS_AT_ONCE):
            content = json.dumps([checksum, piece["text"]]).encode()
            path = folder / f"{hashlib.sha256(content).hexdigest()}.safetensors"
            shape = len(piece["text"]), len(teacher.label_names)
            kept = _read_answers(path, shape)
            if kept is None:
                kept = np.ascontiguousarray(teacher.probabilities(piece["text"]), np.float32)
                _write_answers(path, kept)
            answers.append(kept)
            progress.update(len(kept))
    return np.concatenate(answers)


def _read_answers(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    try:
        return read_tensors(path, {ANSWERS: shape})[ANSWERS]
    except SentimentError:  # There are none, or they are damaged.
        return None


def _write_answers(path: Path, answers: np.ndarray) -> None:
    checksum = {CHECKSUM_KEY: weights_checksum({ANSWERS: answers})}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, {ANSWERS: torch.from_numpy(answers)}, checksum)
    except OSError as error:
        if unwritable := cache_error(error):
            raise unwritable from error
        raise
