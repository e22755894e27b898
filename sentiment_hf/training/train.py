"""`train`: from a labelled data set to a checkpoint folder."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn

from sentiment_hf.arguments import check_rate, check_whole
from sentiment_hf.checkpoint.card import write_card
from sentiment_hf.checkpoint.download import model_name
from sentiment_hf.checkpoint.figures import draw_training_curve
from sentiment_hf.checkpoint.files import write_json
from sentiment_hf.checkpoint.folder import TRAINING_FILE, read_encoder
from sentiment_hf.data.batching import Batch, EncodedRows, TrainingBatches
from sentiment_hf.data.loading import DEFAULT_DATASET, dataset_name
from sentiment_hf.data.tokenization import SMALLEST_VOCAB_SIZE
from sentiment_hf.errors import SentimentError
from sentiment_hf.model.config import LARGEST_SIZE
from sentiment_hf.model.inference import predict_logits
from sentiment_hf.model.network import LSTMClassifier
from sentiment_hf.pipeline import SentimentPipeline
from sentiment_hf.training import loop
from sentiment_hf.training.loop import Objective
from sentiment_hf.training.presets import Preset, get_preset
from sentiment_hf.training.rows import read_training_rows
from sentiment_hf.training.run import (
    OutputFolder,
    describe_run,
    find_source,
    precision_of,
    start_accelerator,
    words_and_sizes,
)
from sentiment_hf.training.teacher import is_linear, taught
from sentiment_hf.training.word_vectors import word_vectors

FEWEST_STEPS = 400
FEW_ROWS = 5_000
# The loss of fewer validation rows says less of an epoch than the falling learning rate does.
FEWEST_ROWS_TO_CHOOSE = 500

logger = logging.getLogger(__name__)


def train(
    dataset: str | Path = DEFAULT_DATASET,
    output: str | Path = "",
    *,
    preset: str = "fast",
    init_from: str | Path | None = None,
    teacher: str | Path | Sequence[str | Path] | None = None,
    unlabelled_split: str | None = None,
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

    Everything is chosen on validation rows carved from that split; where they are fewer than 500,
    the last epoch is taken. A test split is opened only with `unlabelled_split`, to leave its texts
    out.

    Args:
        dataset, config, revision, text_column, label_column, label_map, max_samples: as in
            `load_reviews`.
        output: the checkpoint folder to write.
        preset: `article`, `fast`, `best` or `student`; the other arguments change what it says.
        init_from: start from the words, embedding and LSTM of this MODEL: a checkpoint, or what
            `pretrain` made. The head is new where the labels differ.
        teacher: a MODEL whose answers become soft labels, also of single sentences (see
            `sentiment_hf.training.teacher`); of several, the mean. Train it with the same seed:
            another one's validation rows were among what it learnt from. `ngrams` and, for few
            labels and many texts, `lsa` are linear models that learn from the same rows first (see
            `sentiment_hf.training.ngrams` and `lsa`).
        unlabelled_split: texts for the teacher to label, beside the labelled ones.
        balanced: give rare labels the same say as frequent ones.
        max_length: words kept of a longer text.
        dtype: `float32` or `bfloat16`; by default what the hardware is fast at.
        resume: go on with a training that was cut off.
        overwrite: replace the checkpoint that is in `output`; it stays whole until then.

    Returns:
        The trained pipeline, as it was saved.

    Raises:
        SentimentError: unusable data or arguments, an occupied `output`, a loss that is no number.
    """
    reading: dict[str, Any] = {
        "config": config,
        "revision": revision,
        "text_column": text_column,
        "label_column": label_column,
        "label_map": label_map,
        "max_samples": max_samples,
    }
    settings = _settings(
        get_preset(preset), epochs, learning_rate, vocab_size, max_length, batch_size
    )
    source = find_source(init_from, vocab_size)
    teachers = [teacher] if isinstance(teacher, str | Path) else list(teacher or ())
    if unlabelled_split is not None and not teachers:
        raise SentimentError("`unlabelled_split` needs a `teacher`, which labels its texts.")
    target = OutputFolder(output)
    if target.is_finished(resume=resume, overwrite=overwrite):
        return SentimentPipeline.from_pretrained(target.path, device=device)
    started = time.monotonic()
    accelerator = start_accelerator(device, dtype)

    read = read_training_rows(dataset, unlabelled_split, seed, reading)
    if len(read.train) < FEW_ROWS and init_from is None and not teachers:
        logger.info(
            "With fewer than %d rows, `init_from` reference starts from a network that has read"
            " IMDB; it is usually better for English.",
            FEW_ROWS,
        )
    splits = [read.train] if read.unlabelled is None else [read.train, read.unlabelled]
    texts = chain.from_iterable(split["text"] for split in splits)
    tokenizer, network_config = words_and_sizes(source, texts, settings, id2label=read.names)
    if epochs is None:
        settings = with_enough_steps(settings, sum(map(len, splits)))
    if len(read.validation) < FEWEST_ROWS_TO_CHOOSE and settings.loop.schedule != "constant":
        settings = replace(settings, loop=replace(settings.loop, metric=None, patience=None))
    arguments = {
        "preset": preset,
        "init_from": None if init_from is None else model_name(init_from),
        "teacher": ", ".join(map(model_name, teachers)) or None,
        "unlabelled_split": unlabelled_split,
        **({"balanced": True} if balanced else {}),
        "epochs": settings.loop.epochs,
        "learning_rate": settings.loop.learning_rate,
        "batch_size": settings.batch_size,
        "seed": seed,
    }
    data = {
        "dataset": dataset_name(dataset),
        "revision": revision,
        **{name: value for name, value in reading.items() if value and name != "revision"},
        "fingerprint": read.train._fingerprint,
        "train_rows": len(read.train),
        "validation_rows": len(read.validation),
        **({} if read.unlabelled is None else {"unlabelled_rows": len(read.unlabelled)}),
    }
    if not teachers:
        rows = EncodedRows.from_split(read.train, tokenizer, network_config.num_labels)
    else:
        networks = [
            SentimentPipeline.from_pretrained(model, device=device, dtype=precision_of(accelerator))
            for model in teachers
            if not is_linear(model)
        ]
        rows = taught(
            networks,
            read.train,
            read.unlabelled,
            read.names,
            seed,
            tokenizer,
            linear=[str(model) for model in teachers if is_linear(model)],
        )
    validation = EncodedRows.from_split(read.validation, tokenizer, network_config.num_labels)
    batches = TrainingBatches(
        rows,
        settings.batch_size,
        max_length=network_config.max_length,
        crop_share=settings.crop_share,
        seed=seed,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )
    set_seed(seed)
    network = LSTMClassifier(network_config)
    if source is not None:
        read_encoder(source, network)
    target.begin(accelerator, resume=resume)
    if source is None and settings.word_vectors and not target.state.exists():
        vectors = word_vectors(rows, network_config.vocab_size, network_config.embedding_dim, seed)
        network.embedding.load_state_dict({"weight": vectors})
    smoothing = settings.label_smoothing if not teachers else 0.0
    weights = balanced_weights(rows.labels, network_config.num_labels) if balanced else None
    preparation = time.monotonic() - started
    history = loop.run(
        network,
        [loop.Task(classification(smoothing, weights), batches)],
        settings.loop,
        accelerator=accelerator,
        validate=_validator(validation, accelerator),
        state=target.state,
        identity={
            **arguments,
            "config": network_config.to_dict(),
            "data": data,
            "dtype": precision_of(accelerator),
        },
        show_progress=show_progress,
    )
    accuracy = _calibrate(network, validation)
    pipe = SentimentPipeline(network.eval(), tokenizer)
    record = {
        "arguments": arguments,
        "data": data,
        "validation_accuracy": accuracy,
        **describe_run(history, preparation, accelerator),
    }

    def write(folder: Path) -> None:
        pipe.save_pretrained(folder)
        write_json(folder / TRAINING_FILE, record)
        draw_training_curve(folder, history)
        write_card(folder)

    target.replace(accelerator, write)
    return pipe


def _calibrate(network: LSTMClassifier, validation: EncodedRows) -> float:
    """Fits the temperature on the weights as they will be saved; gives the accuracy."""
    if network.config.dtype == "float16":
        network.half().float()
    logits = predict_logits(network, validation)
    targets = torch.from_numpy(validation.labels)
    temperature = fit_temperature(network, logits, targets)
    network.config = replace(network.config, temperature=temperature)
    return _accuracy(network, logits, targets)


def _settings(
    preset: Preset,
    epochs: int | None,
    learning_rate: float | None,
    vocab_size: int | None,
    max_length: int | None,
    batch_size: int | None,
) -> Preset:
    check_whole("epochs", epochs)
    check_whole("vocab_size", vocab_size, least=SMALLEST_VOCAB_SIZE, most=LARGEST_SIZE)
    check_whole("max_length", max_length, most=LARGEST_SIZE)
    check_whole("batch_size", batch_size)
    check_rate("learning_rate", learning_rate)
    walk = replace(
        preset.loop,
        epochs=epochs or preset.loop.epochs,
        learning_rate=learning_rate or preset.loop.learning_rate,
    )
    network = preset.network | ({"max_length": max_length} if max_length else {})
    return replace(
        preset,
        loop=walk,
        network=network,
        vocab_size=vocab_size or preset.vocab_size,
        batch_size=batch_size or preset.batch_size,
    )


def with_enough_steps(settings: Preset, rows: int) -> Preset:
    """More epochs where the data is so small that the preset's would be a handful of steps."""
    steps_per_epoch = math.ceil(rows / settings.batch_size)
    epochs = max(settings.loop.epochs, math.ceil(FEWEST_STEPS / steps_per_epoch))
    walk = settings.loop
    if walk.patience is not None:
        patience = math.ceil(walk.patience * epochs / walk.epochs)
        walk = replace(walk, patience=patience)
    return replace(settings, loop=replace(walk, epochs=epochs))


def _validator(
    validation: EncodedRows, accelerator: Accelerator
) -> Callable[[nn.Module], dict[str, float]]:
    targets = torch.from_numpy(validation.labels)

    def validate(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, LSTMClassifier)
        with accelerator.autocast():
            logits = predict_logits(model, validation)
        return {
            "accuracy": _accuracy(model, logits, targets),
            "loss": float(model.loss(logits, targets)),
        }

    return validate


def _accuracy(network: LSTMClassifier, logits: Tensor, targets: Tensor) -> float:
    true = (targets > 0.5).long() if targets.ndim == 1 else targets.argmax(dim=-1)
    return float((network.probabilities(logits).argmax(dim=-1) == true).float().mean())


def fit_temperature(network: LSTMClassifier, logits: Tensor, targets: Tensor) -> float:
    """The temperature with the smallest loss on validation (Guo et al. 2017, arXiv:1706.04599)."""
    candidates = np.geomspace(0.1, 10, 401)
    losses = [float(network.loss(logits / float(t), targets)) for t in candidates]
    return round(float(candidates[int(np.argmin(losses))]), 4)


def classification(label_smoothing: float = 0.0, class_weights: Tensor | None = None) -> Objective:
    """Cross-entropy against hard or soft labels.

    Args:
        label_smoothing: Szegedy et al. 2016, arXiv:1512.00567.
        class_weights: `(num_labels,)`, see `balanced_weights`.
    """

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, LSTMClassifier)
        assert batch.labels is not None
        even = label_smoothing / model.config.num_labels
        labels = batch.labels * (1 - label_smoothing) + even
        weights = None if class_weights is None else class_weights.to(labels.device)
        return model.loss(model(batch.input_ids, batch.attention_mask), labels, weights)

    return objective


def balanced_weights(labels: np.ndarray | None, num_labels: int) -> Tensor:
    """Weights that give every label the same say, `(num_labels,)`, one on average over the rows.

    Args:
        labels: as in `Batch`.
    """
    assert labels is not None
    probabilities = np.stack([1 - labels, labels], axis=-1) if labels.ndim == 1 else labels
    counts = probabilities.sum(axis=0)
    weights = counts.sum() / (num_labels * np.maximum(counts, 1))
    return torch.tensor(weights, dtype=torch.float32)
