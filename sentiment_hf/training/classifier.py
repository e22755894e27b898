"""`train`: from a labelled data set to a checkpoint folder."""

import dataclasses
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from datasets import ClassLabel, Dataset
from tokenizers import Tokenizer
from torch import Tensor, nn

from sentiment_hf.arguments import check_rate, check_whole
from sentiment_hf.batching import EncodedRows, TrainingBatches
from sentiment_hf.card import write_card
from sentiment_hf.checkpoint import TRAINING_FILE, read_config, read_encoder, read_tokenizer
from sentiment_hf.data import (
    DEFAULT_DATASET,
    ReadingOptions,
    dataset_name,
    labelled_rows,
    load_reviews,
    split_validation,
)
from sentiment_hf.errors import SentimentError
from sentiment_hf.figures import draw_training_curve
from sentiment_hf.files import write_json
from sentiment_hf.hub import find_checkpoint, model_name
from sentiment_hf.inference import predict_logits
from sentiment_hf.network import LARGEST_SIZE, LSTMClassifier, LSTMConfig
from sentiment_hf.pipeline import SentimentPipeline
from sentiment_hf.tokenization import SMALLEST_VOCAB_SIZE, train_tokenizer
from sentiment_hf.training import loop
from sentiment_hf.training.objectives import classification
from sentiment_hf.training.presets import Preset, get_preset
from sentiment_hf.training.session import (
    OutputFolder,
    describe_run,
    precision_of,
    start_accelerator,
)
from sentiment_hf.training.word_vectors import word_vectors

TRAIN_SPLIT = "train"
SIZES_OF_AN_ENCODER = (
    "vocab_size", "embedding_dim", "hidden_size", "num_layers", "bidirectional",
)  # fmt: skip
FEWEST_STEPS = 400
SOFT_LABEL_NAMES = {0: "neg", 1: "pos"}

logger = logging.getLogger(__name__)


def train(
    dataset: str | Path = DEFAULT_DATASET,
    output: str | Path = "",
    *,
    preset: str = "fast",
    init_from: str | Path | None = None,
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
    **options: Unpack[ReadingOptions],
) -> SentimentPipeline:
    """Trains tokenizer and network on the split `train` and writes a checkpoint folder.

    Everything is chosen on validation rows carved from that split; a test split is not opened.

    Args:
        dataset, options: as in `load_reviews`.
        output: the checkpoint folder to write.
        preset: `article` or `fast`; the other arguments change what it says.
        init_from: start from the words, embedding and LSTM of this MODEL: a checkpoint, or what
            `pretrain` made. The head is new where the labels differ.
        max_length: words kept of a longer text.
        dtype: `float32` or `bfloat16`; by default what the hardware is fast at.
        resume: go on with a training that was cut off.
        overwrite: replace the checkpoint that is in `output`; it stays whole until then.

    Returns:
        The trained pipeline, as it was saved.

    Raises:
        SentimentError: unusable data or arguments, an occupied `output`, a loss that is no number.
    """
    settings = _settings(
        get_preset(preset), epochs, learning_rate, vocab_size, max_length, batch_size
    )
    if init_from is not None and vocab_size is not None:
        raise SentimentError("--vocab-size has no use with --init-from: the words come along.")
    target = OutputFolder(output)
    if target.is_finished(resume=resume, overwrite=overwrite):
        return SentimentPipeline.from_pretrained(target.path, device=device)
    started = time.monotonic()
    accelerator = start_accelerator(device, dtype)

    reviews = labelled_rows(
        load_reviews(dataset, splits=[TRAIN_SPLIT], seed=seed, **options)[TRAIN_SPLIT]
    )
    if not len(reviews):
        raise SentimentError("No row of the data set has both a text and a label.")
    names = _label_names(reviews)
    train_rows, validation_rows = split_validation(reviews, seed)
    if not len(train_rows) or not len(validation_rows):
        if len(names) > max(2, len(reviews) / 2):
            raise SentimentError(
                f"The {len(reviews)} rows have {len(names)} different labels: choose the column"
                " that holds the labels with --label-column."
            )
        raise SentimentError(
            f"None of {len(reviews)} labelled rows can be held out for validation: they are too"
            " few, or every text stands there twice."
        )
    source = None if init_from is None else find_checkpoint(init_from)
    tokenizer, config = _words_and_sizes(source, train_rows, settings, names)
    if epochs is None:
        settings = with_enough_steps(settings, len(train_rows))
    arguments = {
        "preset": preset,
        "init_from": None if init_from is None else model_name(init_from),
        "epochs": settings.loop.epochs,
        "learning_rate": settings.loop.learning_rate,
        "batch_size": settings.batch_size,
        "seed": seed,
    }
    data = {
        "dataset": dataset_name(dataset),
        "revision": options.get("revision"),
        **{name: value for name, value in options.items() if value and name != "revision"},
        "fingerprint": reviews._fingerprint,
        "train_rows": len(train_rows),
        "validation_rows": len(validation_rows),
    }
    rows = EncodedRows.from_split(train_rows, tokenizer, config.num_labels)
    validation = EncodedRows.from_split(validation_rows, tokenizer, config.num_labels)
    batches = TrainingBatches(
        rows,
        settings.batch_size,
        max_length=config.max_length,
        crop_share=settings.crop_share,
        seed=seed,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )
    set_seed(seed)
    network = LSTMClassifier(config)
    if source is not None:
        read_encoder(source, network)
    target.begin(resume=resume)
    if source is None and settings.word_vectors and not target.state.exists():
        vectors = word_vectors(rows, config.vocab_size, config.embedding_dim, seed)
        network.embedding.load_state_dict({"weight": vectors})
    preparation = time.monotonic() - started
    history = loop.run(
        network,
        [loop.Task(classification(settings.label_smoothing), batches)],
        settings.loop,
        accelerator=accelerator,
        validate=_validator(validation, accelerator),
        state=target.state,
        identity={
            **arguments,
            "config": config.to_dict(),
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
    with target.replaced() as new:
        pipe.save_pretrained(new)
        write_json(new / TRAINING_FILE, record)
        draw_training_curve(new, history)
        write_card(new)
    return pipe


def _words_and_sizes(
    source: Path | None, train_rows: Dataset, settings: Preset, names: dict[int, str]
) -> tuple[Tokenizer, LSTMConfig]:
    """Tokenizer and configuration: from the training texts, or those of a pretrained source."""
    if source is None:
        tokenizer = train_tokenizer(train_rows["text"], settings.vocab_size)
        sizes: dict[str, Any] = {"vocab_size": tokenizer.get_vocab_size()}
    else:
        base = read_config(source)
        tokenizer = read_tokenizer(source, base)
        sizes = {name: getattr(base, name) for name in SIZES_OF_AN_ENCODER}
    return tokenizer, LSTMConfig(id2label=names, **{**settings.network, **sizes})


def _calibrate(network: LSTMClassifier, validation: EncodedRows) -> float:
    """Fits the temperature on the weights as they will be saved; gives the accuracy."""
    if network.config.dtype == "float16":
        network.half().float()
    logits = predict_logits(network, validation)
    targets = torch.from_numpy(validation.labels)
    temperature = fit_temperature(network, logits, targets)
    network.config = dataclasses.replace(network.config, temperature=temperature)
    return _accuracy(network, logits, targets)


def _settings(
    preset: Preset,
    epochs: int | None,
    learning_rate: float | None,
    vocab_size: int | None,
    max_length: int | None,
    batch_size: int | None,
) -> Preset:
    check_whole("--epochs", epochs)
    check_whole("--vocab-size", vocab_size, least=SMALLEST_VOCAB_SIZE, most=LARGEST_SIZE)
    check_whole("--max-length", max_length, most=LARGEST_SIZE)
    check_whole("--batch-size", batch_size)
    check_rate("--learning-rate", learning_rate)
    walk = dataclasses.replace(
        preset.loop,
        epochs=epochs or preset.loop.epochs,
        learning_rate=learning_rate or preset.loop.learning_rate,
    )
    network = preset.network | ({"max_length": max_length} if max_length else {})
    return dataclasses.replace(
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
        walk = dataclasses.replace(walk, patience=patience)
    return dataclasses.replace(settings, loop=dataclasses.replace(walk, epochs=epochs))


def _label_names(reviews: Dataset) -> dict[int, str]:
    kind = reviews.features["label"]
    if not isinstance(kind, ClassLabel):
        return SOFT_LABEL_NAMES
    if "" in kind.names:
        raise SentimentError("One of the labels is an empty text; each label needs a name.")
    found = set(reviews["label"])
    if len(found) < 2:
        only = ", ".join(repr(kind.names[i]) for i in found) or "none"
        raise SentimentError(
            f"Training needs rows of at least two labels; the data set's rows have {only}."
        )
    return dict(enumerate(kind.names))


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
