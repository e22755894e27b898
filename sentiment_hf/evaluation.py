"""Evaluation: the figures of a checkpoint on a labelled split."""

import logging
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset

from sentiment_hf.arguments import check_path
from sentiment_hf.checkpoint.card import write_card
from sentiment_hf.checkpoint.figures import draw_confusion_matrix, draw_reliability
from sentiment_hf.checkpoint.folder import (
    EVALUATION_FILE,
    REFERENCE_FOLDER,
    REQUIRED_FILES,
    check_replaceable,
    is_checkpoint,
    saved_checkpoint,
)
from sentiment_hf.checkpoint.records import read_record, write_record
from sentiment_hf.checkpoint.staging import current_folder, locked
from sentiment_hf.checkpoint.weights import checksum_of_weights
from sentiment_hf.data.label_map import match_labels
from sentiment_hf.data.loading import (
    DEFAULT_DATASET,
    DatasetSource,
    dataset_name,
    load_reviews,
    open_dataset,
)
from sentiment_hf.data.splits import NO_LABEL, TEST_SPLIT, labelled_rows
from sentiment_hf.data.tokenization import encode_texts, slices_of
from sentiment_hf.errors import SentimentError
from sentiment_hf.export.onnx_folder import is_export
from sentiment_hf.pipeline import SentimentPipeline

CONFIDENCE_BINS = 15
LENGTH_LIMITS = (100, 200, 400, 800)
CONFIDENCE_LIMITS = (0.6, 0.8, 0.95)

logger = logging.getLogger(__name__)


def evaluate(
    dataset: DatasetSource = DEFAULT_DATASET,
    model: str | Path | None = None,
    *,
    split: str | None = None,
    save: bool = False,
    device: str | None = None,
    dtype: str | None = None,
    backend: str = "torch",
    batch_size: int | None = None,
    seed: int = 0,
    config: str | None = None,
    revision: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    label_map: Mapping[str, str] | None = None,
    max_samples: int | None = None,
) -> dict[str, Any]:
    """Measures a checkpoint on a labelled split, from text.

    Args:
        dataset: as in `load_reviews`, and so are `config`, `revision`, `text_column`,
            `label_column`, `label_map` and `max_samples`.
        model: a checkpoint; the reference checkpoint by default.
        split: `test` by default, or the only one that the data set has.
        save: write the figures into the checkpoint's `eval_results.json`, card and figures.

    Returns:
        `accuracy`, `precision`, `recall`, `f1` (of the second label; macro averages for more than
        two), `roc_auc` (None where a label never occurs), `log_loss` in nats, `ece` (expected
        calibration error over 15 bins, Guo et al. 2017, arXiv:1706.04599), `confusion_matrix`
        (rows: true labels), `n`, `seconds` and `reviews_per_second` (tokenisation included).

    Raises:
        SentimentError: the data set cannot be read or has no such split, or its labels are not
            the checkpoint's.
    """
    data_options: dict[str, Any] = {
        "config": config,
        "revision": revision,
        "text_column": text_column,
        "label_column": label_column,
        "label_map": label_map,
        "max_samples": max_samples,
    }
    if model is not None:
        check_path("model", model)
    folder = Path(model or REFERENCE_FOLDER)
    whole = current_folder(folder)
    own = is_checkpoint(whole) and folder != REFERENCE_FOLDER and not is_export(whole)
    if save and not own:
        raise SentimentError("`save` writes into a local checkpoint folder; name it with `model`.")
    if save:
        linked = [name for name in REQUIRED_FILES if (whole / name).is_symlink()]
        if linked:
            raise SentimentError(
                f"{folder / linked[0]} is a link; `save` writes into a checkpoint that has its own"
                " files: copy it first."
            )
        with locked(folder):  # What cannot be written is refused before anything is measured.
            check_replaceable(folder)
    weights = checksum_of_weights(whole)
    pipe = SentimentPipeline.from_pretrained(model, device=device, dtype=dtype, backend=backend)
    split = split or _split_to_measure(dataset, config, revision)
    rows, labels = _labelled(dataset, split, pipe.label_names, seed, data_options)
    counts = {name: int((labels == i).sum()) for i, name in enumerate(pipe.label_names)}
    logger.info(
        "Measuring %d rows of the split %r of %s: %s.",
        len(rows), split, dataset_name(dataset),
        ", ".join(f"{name} {count}" for name, count in counts.items()),
    )  # fmt: skip
    texts = list(rows["text"])
    start = time.perf_counter()
    probabilities = np.asarray(pipe.probabilities(texts, batch_size=batch_size))
    seconds = time.perf_counter() - start
    results = {
        **measure(probabilities.astype(float), labels),
        "n": len(texts),
        "seconds": round(seconds, 2),
        "reviews_per_second": round(len(texts) / seconds, 1),
    }
    if save:
        source = {
            "dataset": dataset_name(dataset),
            "split": split,
            "revision": revision,
            **{name: value for name, value in data_options.items() if value},
            **({"seed": seed} if max_samples else {}),
            "fingerprint": rows._fingerprint,
            "classes": counts,
            "dtype": dtype or "float32",
            "backend": pipe.backend,
        }
        encoded = (encode_texts(pipe.tokenizer, some) for some in slices_of(texts))
        lengths = np.array([len(ids) for some in encoded for ids in some])
        _save(folder, {**source, **results}, probabilities, labels, lengths, pipe, weights)
    return results


def _labelled(
    dataset: DatasetSource, split: str, names: list[str], seed: int, options: dict[str, Any]
) -> tuple[Dataset, np.ndarray]:
    """The rows with a text and a label, and their class ids in the order of `names`."""
    reviews = load_reviews(dataset, splits=[split], seed=seed, **options)[split]
    kind = reviews.features.get("label")
    if kind is not None and kind.dtype.startswith("float"):
        raise SentimentError("Soft labels cannot be evaluated: accuracy needs one label a row.")
    rows = labelled_rows(reviews)
    if not isinstance(kind, ClassLabel) or not len(rows):
        there = ", ".join(
            open_dataset(dataset, config=options["config"], revision=options["revision"])
        )
        where = f"the split {split!r} of {dataset_name(dataset)}"
        reason = f"No row of {where} has both a text and a label"
        if len(reviews) and isinstance(kind, ClassLabel) and set(reviews["label"]) == {NO_LABEL}:
            reason = f"All labels of {where} are {NO_LABEL}, which means that there is none"
        raise SentimentError(f"{reason}; its splits are: {there}.")
    ids = match_labels(kind.names, names)
    return rows, np.asarray(ids)[np.asarray(rows["label"])]


def _save(
    folder: Path,
    record: dict[str, Any],
    probabilities: np.ndarray,
    labels: np.ndarray,
    lengths: np.ndarray,
    pipe: SentimentPipeline,
    weights: str | None,
) -> None:
    """Writes the figures into a checkpoint folder, draws them and renders the card anew."""
    correct = probabilities.argmax(axis=1) == labels
    confidence = probabilities.max(axis=1)
    record = {
        **record,
        "by_length": accuracy_by("words", correct, lengths, LENGTH_LIMITS),
        "by_confidence": accuracy_by("confidence", correct, confidence, CONFIDENCE_LIMITS),
    }
    with saved_checkpoint(folder) as staged:
        if checksum_of_weights(staged) != weights:
            raise SentimentError(
                f"The weights in {folder} were replaced while they were measured, so nothing was"
                " saved: evaluate it again.",
                exit_status=1,
            )
        # Only now: another process may have written while this one measured.
        others = _other_results(read_record(staged, EVALUATION_FILE), record)
        record |= {"others": others} if others else {}
        write_record(staged, EVALUATION_FILE, record, weights)
        draw_confusion_matrix(staged, record["confusion_matrix"], pipe.label_names)
        draw_reliability(staged, calibration_bins(probabilities, labels))
        write_card(staged, before=folder)


def _other_results(earlier: dict[str, Any], new: dict[str, Any]) -> list[dict[str, Any]]:
    """What was measured of the same weights before, on other data."""
    place = ("dataset", "config", "split")
    shown = {key: value for key, value in earlier.items() if not key.startswith(("by_", "others"))}
    return [
        one
        for one in [shown, *earlier.get("others", [])]
        if one and any(one.get(key) != new.get(key) for key in place)
    ]


def _split_to_measure(dataset: DatasetSource, config: str | None, revision: str | None) -> str:
    there = list(open_dataset(dataset, config=config, revision=revision))
    if TEST_SPLIT in there or len(there) == 1:
        return TEST_SPLIT if TEST_SPLIT in there else there[0]
    raise SentimentError(
        f"The data set {dataset_name(dataset)} has no split {TEST_SPLIT!r}; choose one of"
        f" {', '.join(there)} with `split`."
    )


def measure(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """The figures of `evaluate` from probabilities `(n, num_labels)` and class ids `(n,)`."""
    from sklearn import metrics

    count = probabilities.shape[1]
    predictions = probabilities.argmax(axis=1)
    average = "binary" if count == 2 else "macro"
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        labels, predictions, labels=range(count), average=average, zero_division=0.0
    )
    classes = np.unique(labels)
    roc_auc = None
    if len(classes) == 2 and count == 2:
        roc_auc = float(metrics.roc_auc_score(labels, probabilities[:, 1]))
    elif len(classes) == count:
        roc_auc = float(metrics.roc_auc_score(labels, probabilities, multi_class="ovr"))
    # The probabilities were computed in float32; the metric insists on sums of exactly one.
    normalised = probabilities / probabilities.sum(axis=1, keepdims=True)
    matrix = metrics.confusion_matrix(labels, predictions, labels=range(count))
    return {
        "accuracy": float((predictions == labels).mean()),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "roc_auc": roc_auc,
        "log_loss": float(metrics.log_loss(labels, normalised, labels=range(count))),
        "ece": calibration_error(probabilities, labels),
        "confusion_matrix": matrix.tolist(),
    }


def calibration_bins(
    probabilities: np.ndarray, labels: np.ndarray
) -> list[tuple[int, float, float]]:
    """Count, mean confidence and accuracy of the answers in each bin of confidence."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * CONFIDENCE_BINS).astype(int), CONFIDENCE_BINS - 1)
    return [
        (int(here.sum()), float(confidence[here].mean()), float(correct[here].mean()))
        for here in (bins == i for i in range(CONFIDENCE_BINS))
        if here.any()
    ]


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    bins = calibration_bins(probabilities, labels)
    return float(sum(n * abs(confidence - share) for n, confidence, share in bins) / len(labels))


def accuracy_by(
    name: str, correct: np.ndarray, values: np.ndarray, limits: tuple[float, ...]
) -> list[dict[str, Any]]:
    """Count and accuracy of the rows whose value lies below, between and above some limits."""
    groups = np.digitize(values, limits)
    between = [f"{low} to {high}" for low, high in pairwise(limits)]
    ranges = [f"below {limits[0]}", *between, f"{limits[-1]} and more"]
    return [
        {name: text, "n": int(here.sum()), "accuracy": float(correct[here].mean())}
        for text, here in ((text, groups == i) for i, text in enumerate(ranges))
        if here.any()
    ]
