"""`train`: from labelled data sets to a checkpoint folder."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sentiment_hf.data.batching import Batch
from sentiment_hf.data.label_map import check_label_map
from sentiment_hf.data.loading import DatasetSource
from sentiment_hf.model.device import plain_torch
from sentiment_hf.model.network import LSTMClassifier
from sentiment_hf.pipeline import SentimentPipeline
from sentiment_hf.training.loop import LossFunction
from sentiment_hf.training.presets import Preset, get_preset
from sentiment_hf.training.rows import TrainingRows, read_training_rows
from sentiment_hf.training.run import TrainingRun
from sentiment_hf.training.teacher import Teaching, rows_with_targets
from sentiment_hf.training.validation import Validation

FEWEST_STEPS = 400
FEW_ROWS = 5_000
# The loss of fewer validation rows says less of an epoch than the falling learning rate does.
FEWEST_ROWS_TO_CHOOSE = 500
FEW_ROWS_HINT = (
    "With fewer than %d rows, `init_from` reference starts from a network that has read reviews; it"
    " is usually better for English."
)

logger = logging.getLogger(__name__)


@plain_torch()
def train(
    dataset: DatasetSource | Sequence[DatasetSource],
    output: str | Path,
    *,
    preset: str = "fast",
    init_from: str | Path | None = None,
    teacher: str | Path | Sequence[str | Path] | None = None,
    teacher_label_map: Mapping[str, str] | None = None,
    unlabelled_split: str | Sequence[str] | None = None,
    sentences: int | None = None,
    balanced: bool = False,
    epochs: int | None = None,
    learning_rate: float | None = None,
    vocab_size: int | None = None,
    max_length: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    device: str | None = None,
    dtype: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    show_progress: bool = True,
    config: str | None = None,
    revision: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    label_map: Mapping[str, str] | None = None,
    max_samples: int | None = None,
) -> SentimentPipeline:
    """Trains tokenizer and network on the split `train` and writes a checkpoint folder.

    Everything is chosen on validation rows: the data set's own validation split, or rows carved
    from `train`; where they are fewer than 500, the last epoch is taken. A test split is opened
    only where a teacher labels texts, to leave its texts out.

    Args:
        dataset: one data set as in `load_reviews`, or several whose labels have the same names;
            the options `config`, `revision`, `text_column`, `label_column` and `max_samples` hold
            for each of them. See `read_training_rows` for how their sizes are balanced.
        output: the checkpoint folder to write.
        preset: `article`, `fast`, `best` or `student`; the other arguments change what it says.
        init_from: start from the words, embedding and LSTM of this MODEL: a checkpoint, or what
            `pretrain` made. The head is new where the labels differ.
        teacher: a MODEL or a text classifier of `transformers` (a folder or a Hub id) whose answers
            become soft labels, also of single sentences (see `rows_with_targets`); of several, the
            mean. Train it with the same seed: another one's validation rows were among what it
            learnt from.
        teacher_label_map: from the teacher's names of the labels to those of the data; what becomes
            one label is added, and '' drops a label (what is left is normalised).
        unlabelled_split: one or several splits of texts for the teacher to label, beside the
            labelled ones.
        sentences: how many sentences and pieces of the texts the teacher labels, 200,000 at most
            by default.
        balanced: weigh errors so that rare labels count as much as frequent ones.
        max_length: words kept of a longer text.
        dtype: `float32` or `bfloat16`; by default what the hardware is fast at.
        resume: resume a training that was cut off.
        overwrite: replace the checkpoint that is in `output`; it stays whole until then.
        label_map: from label names of the data sets to others.

    Returns:
        The trained pipeline, as it was saved.

    Raises:
        SentimentError: unusable data or arguments, an occupied `output`, a loss that is no number.
    """
    settings = get_preset(preset).changed(
        epochs=epochs, learning_rate=learning_rate, vocab_size=vocab_size, max_length=max_length,
        batch_size=batch_size,
    )  # fmt: skip
    teaching = Teaching(
        _listed(teacher),
        _listed(unlabelled_split),
        sentences,
        check_label_map("teacher_label_map", teacher_label_map),
    )
    run = TrainingRun(
        output, settings, init_from=init_from, vocab_size=vocab_size, resume=resume,
        overwrite=overwrite, device=device, dtype=dtype, seed=seed, show_progress=show_progress,
    )  # fmt: skip
    if run.is_finished:
        return SentimentPipeline.from_pretrained(run.folder.path, device=device)
    reading = {
        "config": config, "revision": revision, "text_column": text_column,
        "label_column": label_column, "label_map": label_map, "max_samples": max_samples,
    }  # fmt: skip
    rows = read_training_rows(
        _listed(dataset), teaching.unlabelled_splits, seed, reading,
        is_taught=bool(teaching.teachers),
    )  # fmt: skip
    rows.log()
    texts = rows.training_texts
    if len(texts) < FEW_ROWS and init_from is None and not teaching.teachers:
        logger.info(FEW_ROWS_HINT, FEW_ROWS)
    id2label = dict(enumerate(rows.label_names))
    tokenizer, network_config = run.tokenizer_and_config(texts["text"], id2label=id2label)
    run.settings = _fit_to_size(settings, rows, fixed_epochs=epochs is not None)
    encoded = rows_with_targets(
        teaching, rows, tokenizer, seed, device=str(run.accelerator.device), dtype=run.precision
    )
    arguments = {"preset": preset, **teaching.record(), **({"balanced": True} if balanced else {})}
    run.begin(arguments, rows.record(reading), network_config)
    network = run.new_network(network_config, encoded)
    smoothing = 0.0 if teaching.teachers else settings.label_smoothing
    weights = balanced_weights(encoded.labels, network_config.num_labels) if balanced else None
    validation = Validation(rows, tokenizer, settings.choose_by)
    run.fit(
        network, classification_loss(smoothing, weights), encoded, validation,
        max_length=network_config.max_length,
    )  # fmt: skip
    figures = validation.calibrate(network)
    pipe = SentimentPipeline(network.eval(), tokenizer)
    run.write(figures, pipe.write)
    return pipe


def _listed(value: Any) -> list[Any]:
    """One value or several as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _fit_to_size(settings: Preset, rows: TrainingRows, *, fixed_epochs: bool) -> Preset:
    """More epochs where the preset's would be a handful of steps; no choice of an epoch where
    there are few validation rows to choose it on."""
    if not fixed_epochs:
        steps_per_epoch = math.ceil(len(rows.training_texts) / settings.batch_size)
        epochs = max(settings.epochs, math.ceil(FEWEST_STEPS / steps_per_epoch))
        patience = settings.patience and math.ceil(settings.patience * epochs / settings.epochs)
        settings = replace(settings, epochs=epochs, patience=patience)
    validation_rows = sum(len(one.validation) for one in rows.labelled)
    if validation_rows < FEWEST_ROWS_TO_CHOOSE and settings.schedule != "constant":
        settings = replace(settings, keep_best=False, patience=None)
    return settings


def classification_loss(
    label_smoothing: float = 0.0, class_weights: Tensor | None = None
) -> LossFunction:
    """Cross-entropy against hard or soft labels.

    Args:
        label_smoothing: Szegedy et al. 2016, arXiv:1512.00567.
        class_weights: `(num_labels,)`, see `balanced_weights`.
    """

    def loss_function(model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, LSTMClassifier)
        assert batch.labels is not None
        even = label_smoothing / model.config.num_labels
        labels = batch.labels * (1 - label_smoothing) + even
        weights = None
        if class_weights is not None:
            # A row's weight is that of its label alone: what smoothing gives to a rare label in
            # every other row would outweigh those rows' own labels.
            both = batch.labels
            if both.ndim == 1:
                both = torch.stack([1 - both, both], dim=-1)
            weights = both @ class_weights.to(both.device, both.dtype)
        return model.loss(model(batch.input_ids, batch.attention_mask), labels, weights)

    return loss_function


def balanced_weights(labels: np.ndarray | None, num_labels: int) -> Tensor:
    """Weights with which all labels count the same, `(num_labels,)`; their mean over rows is one.

    Args:
        labels: as in `Batch`.
    """
    assert labels is not None
    probabilities = np.stack([1 - labels, labels], axis=-1) if labels.ndim == 1 else labels
    counts = probabilities.sum(axis=0)
    weights = counts.sum() / (num_labels * np.maximum(counts, 1))
    return torch.tensor(weights, dtype=torch.float32)
