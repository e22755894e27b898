"""Data sets: from a name to splits with the columns `text` and `label`.

Everything is opened through `datasets`. Local things are looked for first and without
the network. The validation split is carved here too.
"""

import errno
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, Unpack

import numpy as np
from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    IterableDatasetDict,
    List,
    Value,
    load_dataset,
    load_from_disk,
)
from datasets.exceptions import DatasetsError

from sentiment_hf.arguments import check_keywords, check_whole
from sentiment_hf.errors import SentimentError
from sentiment_hf.hub_errors import HUB_TIMEOUT_SECONDS, hub_sentences
from sentiment_hf.labels import rename_labels
from sentiment_hf.tokenization import IDS_COLUMN

DEFAULT_DATASET = "stanfordnlp/imdb"
SAMPLE_FOLDER = Path(__file__).parent / "sample"
FILE_BUILDERS = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
TEXT_NAMES = ("text", "review", "sentence", "content")
LABEL_NAMES = ("label", "labels", "sentiment", "target")
NO_LABEL = -1
FULL_DISK = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
OFFLINE_DATASETS = (
    "a folder, a csv, json, jsonl or parquet file and 'sample' work without it, and"
    " HF_HUB_OFFLINE=1 reads a data set that is already in the cache"
)

LARGEST_SEED = 2**32 - 1

VALIDATION_ROWS = 2_500
VALIDATION_SHARE = 0.1
LONGEST_BLOCK = 50

logger = logging.getLogger(__name__)


class ReadingOptions(TypedDict, total=False):
    """How a data set is to be read, wherever one is named."""

    config: str | None
    revision: str | None
    text_column: str | None
    label_column: str | None
    label_map: Mapping[str, str] | None
    max_samples: int | None


def load_reviews(
    dataset: str | Path = DEFAULT_DATASET,
    *,
    splits: Sequence[str] | None = None,
    seed: int = 0,
    **options: Unpack[ReadingOptions],
) -> DatasetDict:
    """Opens a data set as splits with the columns `text` (string) and `label`.

    `label` is a `ClassLabel` with the data set's own names (-1 where a row has none), or a float
    in [0, 1], a soft label: the probability of the second label. A data set without any label
    column has `text` alone. `input_ids` stay where there are some.

    Args:
        dataset: `sample`, a folder, a csv, json, jsonl or parquet file, or a Hub id.
        splits: the splits to read; all of them by default.
        seed: chooses the rows of a sample.
        options: `config` and `revision` of the data set; `text_column` and `label_column` where
            their names do not tell; `label_map` from its label names to others; `max_samples`, a
            random sample of that many rows per split.

    Raises:
        SentimentError: it does not exist, the Hub is out of reach, or its columns are missing,
            ambiguous or of the wrong type.
    """
    check_keywords("load_reviews", options, ReadingOptions)
    check_whole("--max-samples", options.get("max_samples"))
    check_whole("--seed", seed, least=0, most=LARGEST_SEED)
    chosen = open_splits(
        dataset, splits, config=options.get("config"), revision=options.get("revision")
    )
    assert isinstance(chosen, DatasetDict)
    max_samples = options.get("max_samples")
    first_name, first = next(iter(chosen.items()))
    for name, split in chosen.items():
        if split.features != first.features:
            raise SentimentError(
                f"The splits {first_name!r} and {name!r} of {dataset} have different columns or"
                " labels; read them one at a time."
            )
    text, label = find_columns(
        first.features, options.get("text_column"), options.get("label_column")
    )
    for name, split in chosen.items():
        if max_samples is not None and max_samples < len(split):
            rows = np.random.default_rng(seed).choice(len(split), max_samples, replace=False)
            chosen[name] = split.select(np.sort(rows))
    tokenized = [IDS_COLUMN] if _is_ids(first.features.get(IDS_COLUMN)) else []
    if label is None:
        return chosen.select_columns([text, *tokenized]).rename_columns(
            {text: "text"} if text != "text" else {}
        )
    chosen = chosen.select_columns([text, label, *tokenized])
    renamed = {old: new for old, new in ((text, "text"), (label, "label")) if old != new}
    chosen = chosen.rename_columns(renamed) if renamed else chosen
    return _with_label_names(chosen, label, options.get("label_map") or {})


def dataset_name(dataset: str | Path) -> str:
    """How a data set is called in what is written: its Hub id, or its base name."""
    path = Path(dataset)
    return path.resolve().name if path.exists() else str(dataset)


def open_splits(
    dataset: str | Path, splits: Sequence[str] | None, **options: Any
) -> DatasetDict | IterableDatasetDict:
    """Opens some splits of a data set, or all, with their columns as they are.

    Args:
        options: as in `open_dataset`.

    Raises:
        SentimentError: there is no such data set or split.
    """
    opened = open_dataset(dataset, **options)
    for split in splits or []:
        if split not in opened:
            raise SentimentError(
                f"The data set {dataset} has no split {split!r}; it has {', '.join(opened)}."
            )
    return type(opened)({split: opened[split] for split in splits or opened})


def open_dataset(
    dataset: str | Path,
    *,
    config: str | None = None,
    revision: str | None = None,
    streaming: bool = False,
) -> DatasetDict | IterableDatasetDict:
    """Opens a data set with all its splits and columns as they are.

    Args:
        streaming: read piece by piece, not prepared on the disk first.
    """
    if not isinstance(dataset, str | os.PathLike):
        raise SentimentError(f"A data set has a name or a path, not a {type(dataset).__name__}.")
    name = str(dataset)
    path = Path(name)
    if name == "sample" or path.exists():
        _refuse_option("revision", revision, name)
        if name == "sample" or not path.is_dir():
            _refuse_option("config", config, name)
    with reading_sentences(name):
        if name == "sample":
            files = {split: str(SAMPLE_FOLDER / f"{split}.jsonl") for split in ("train", "test")}
            features = Features(
                {"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])}
            )
            return load_dataset("json", data_files=files, features=features, streaming=streaming)
        if name and path.is_dir():
            if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
                _refuse_option("config", config, name)
                loaded = load_from_disk(name)
                return loaded if isinstance(loaded, DatasetDict) else DatasetDict(train=loaded)
            return load_dataset(name, config, streaming=streaming)
        if path.is_file():
            builder = FILE_BUILDERS.get(path.suffix.lower())
            if builder is None:
                raise SentimentError(
                    f"The file {name} is none of csv, json, jsonl and parquet, by its ending."
                )
            if path.stat().st_size == 0:
                raise SentimentError(f"The file {name} is empty.")
            return load_dataset(builder, data_files={"train": name}, streaming=streaming)
        if path.suffix in FILE_BUILDERS or name.count("/") > 1 or name[:1] in ("", ".", "/", "~"):
            raise SentimentError(f"The data set {name!r} does not exist: no such file or folder.")
        _ask_hub_for(name, revision)
        return load_dataset(name, config, revision=revision, streaming=streaming)


@contextmanager
def reading_sentences(name: str | Path) -> Iterator[None]:
    """What `datasets` raises while it opens or streams a data set becomes a sentence."""
    try:
        yield
    except ConnectionError as error:
        raise SentimentError(
            f"The data set {name!r} is not in the cache and the Hub cannot be reached;"
            f" {OFFLINE_DATASETS}.",
            exit_status=1,
        ) from error
    except IndexError:  # A saved data set of no rows has no tables either.
        raise SentimentError(f"The data set {name} has no rows.") from None
    except (DatasetsError, ValueError, FileNotFoundError) as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in FULL_DISK:
            raise cause from None
        if "corresponds to no data" in str(error):
            raise SentimentError(f"The data set {name} has no rows.") from None
        decoding = error if isinstance(error, UnicodeDecodeError) else cause
        if isinstance(decoding, UnicodeDecodeError):
            raise SentimentError(
                f"The data set {name} is not in UTF-8 ({decoding.reason} at byte {decoding.start});"
                " save it in that encoding."
            ) from error
        reason = str(cause or error).strip().splitlines()
        first_line = reason[0][:200] if reason else type(error).__name__
        raise SentimentError(f"The data set {name} could not be read: {first_line}") from error


def _refuse_option(option: str, value: str | None, name: str) -> None:
    if value is not None:
        raise SentimentError(f"--{option} {value!r} has no use: {name} is not read from the Hub.")


def _ask_hub_for(name: str, revision: str | None) -> None:
    """Asks for the data set once: `load_dataset` alone retries for half a minute without a Hub."""
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        return
    with hub_sentences(f"the data set {name!r}", without_hub=OFFLINE_DATASETS):
        HfApi().dataset_info(name, revision=revision, timeout=HUB_TIMEOUT_SECONDS)


class Columns(NamedTuple):
    """The names of the columns that hold the texts and, if there are any, the labels."""

    text: str
    label: str | None


def find_columns(
    features: Features, text_column: str | None = None, label_column: str | None = None
) -> Columns:
    """Finds the columns by name and type, or takes the ones that were named.

    Raises:
        SentimentError: a named column is missing or of the wrong type, or several could be meant.
    """
    _check_named("--label-column", label_column, features)
    label = label_column or _only_one(LABEL_NAMES, features, "--label-column")
    if label is None:
        classes = [name for name, kind in features.items() if isinstance(kind, ClassLabel)]
        if len(classes) > 1:
            raise SentimentError(
                f"Several columns could hold the labels: {', '.join(classes)}; choose one with"
                " --label-column."
            )
        label = classes[0] if classes else None
    return Columns(find_text_column(features, text_column, [label] if label else []), label)


def find_text_column(
    features: Features, text_column: str | None = None, labels: Sequence[str] = LABEL_NAMES
) -> str:
    """Finds the column of texts by name and type, or takes the one that was named.

    Args:
        labels: columns that hold something else.

    Raises:
        SentimentError: as in `find_columns`.
    """
    _check_named("--text-column", text_column, features)
    strings = [name for name, kind in features.items() if _is_text(kind) and name not in labels]
    names = [name for name in TEXT_NAMES if name not in labels]
    text = text_column or _only_one(names, features, "--text-column")
    if text is None:
        if len(strings) != 1:
            found = "none of its columns holds text" if not strings else ", ".join(strings)
            raise SentimentError(
                f"Which column holds the text is not clear ({found}); choose one with --text-column"
                f" among {', '.join(features)}."
            )
        text = strings[0]
    if text in labels:
        raise SentimentError(f"The column {text!r} cannot hold both the texts and the labels.")
    if not _is_text(features[text]):
        raise SentimentError(
            f"The column {text!r} holds {_type_name(features[text])}, not text; choose another"
            " with --text-column."
        )
    return text


def _check_named(flag: str, column: str | None, features: Features) -> None:
    if column is not None and column not in features:
        raise SentimentError(
            f"{flag} {column!r} is no column of the data set; it has {', '.join(features)}."
        )


def _only_one(names: Sequence[str], features: Features, option: str) -> str | None:
    """The one of the usual names that the data set has, if it has one."""
    found = [name for name in names if name in features]
    if len(found) > 1:
        raise SentimentError(
            f"Several columns could be meant: {', '.join(found)}; choose one with {option}."
        )
    return found[0] if found else None


def _is_text(kind: object) -> bool:
    # A column that is null throughout has the type null: rows without text, left out later.
    return isinstance(kind, Value) and kind.dtype in ("string", "large_string", "null")


def _is_ids(kind: object) -> bool:
    return isinstance(kind, List) and _type_name(kind.feature).startswith("int")


def _type_name(kind: object) -> str:
    return kind.dtype if isinstance(kind, Value) else type(kind).__name__


def _with_label_names(
    splits: DatasetDict, column: str, label_map: Mapping[str, str]
) -> DatasetDict:
    kind = next(iter(splits.values())).features["label"]
    if isinstance(kind, ClassLabel):
        if not label_map:
            return splits
        values: list = list(range(len(kind.names)))
        names = list(kind.names)
    elif not isinstance(kind, Value):
        raise SentimentError(f"The column {column!r} holds {_type_name(kind)}, not labels.")
    elif kind.dtype.startswith("float") and _are_soft_labels(splits, column):
        if label_map:
            raise SentimentError(
                f"The column {column!r} holds soft labels; there a label map has no names."
            )
        return splits.cast_column("label", Value("float32"))
    else:
        seen = {value for split in splits.values() for value in split.unique("label")}
        values = sorted(value for value in seen if _is_label(value))
        names = [_label_name(value) for value in values]
    new_names = rename_labels(names, label_map)
    kept = list(dict.fromkeys(new_names))
    if isinstance(kind, ClassLabel) or label_map:
        kept = sorted(kept)
    if not kept:
        return splits.cast_column("label", Value("int64"))
    ids = {value: kept.index(name) for value, name in zip(values, new_names, strict=True)}
    features = Features({**next(iter(splits.values())).features, "label": ClassLabel(names=kept)})
    return splits.map(
        _label_ids,
        batched=True,
        input_columns=["label"],
        features=features,
        fn_kwargs={"ids": list(ids.items())},
        desc="Numbering the labels",
    )


def _is_label(value: Any) -> bool:
    """Whether a row has a label; null is read as NaN from a column of floats."""
    return (
        value is not None
        and value != NO_LABEL
        and not (isinstance(value, float) and np.isnan(value))
    )


def _label_name(value: object) -> str:
    return str(int(value)) if isinstance(value, float) else str(value)


def _are_soft_labels(splits: DatasetDict, column: str) -> bool:
    """Whether a column of floats holds probabilities: whole numbers are class ids."""
    values = np.concatenate(
        [
            np.array([v for v in split["label"] if v is not None], dtype=float)
            for split in splits.values()
        ]
    )
    values = values[~np.isnan(values)]
    if np.all(np.isfinite(values)) and np.all(values == np.round(values)):
        # A csv column of 0 and 1 with a gap is read as floats: these are class ids with gaps.
        return False
    if len(values) and (values.min() < 0 or values.max() > 1):
        raise SentimentError(
            f"The column {column!r} holds numbers outside [0, 1]: soft labels are probabilities of"
            " the second label."
        )
    return True


def _label_ids(labels: list, ids: list[tuple[object, int]]) -> dict[str, list[int]]:
    by_value = dict(ids)
    return {"label": [by_value.get(label, NO_LABEL) for label in labels]}


def rows_with_text(split: Dataset) -> Dataset:
    """Leaves out the rows whose text is null, and says how many."""
    return _keep(split, [text is not None for text in split["text"]], "without a text")


def labelled_rows(split: Dataset) -> Dataset:
    """Leaves out the rows that have no text or no label, and says how many."""
    if "label" not in split.features:
        raise SentimentError("The data set has no column of labels; name it with --label-column.")
    split = rows_with_text(split)
    return _keep(split, [_is_label(label) for label in split["label"]], "without a label")


def _keep(split: Dataset, kept: list[bool], what: str) -> Dataset:
    if all(kept):
        return split
    rows = np.flatnonzero(kept)
    logger.warning("Left out %d of %d rows %s.", len(kept) - len(rows), len(kept), what)
    return split.select(rows)


def split_validation(split: Dataset, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Carves the validation rows out of the training rows.

    min(2,500, 10 %) of the rows, stratified, in random contiguous blocks of up to 50 rows per
    label, because neighbouring reviews speak of one film. A text that also stands in the rest
    stays in training, so that no validation text is ever trained on.

    Returns:
        The training rows and the validation rows, each in their old order.
    """
    labels = np.asarray(split["label"], dtype=float)
    classes = labels if isinstance(split.features["label"], ClassLabel) else np.round(labels)
    share = min(VALIDATION_ROWS / max(len(split), 1), VALIDATION_SHARE)
    generator = np.random.default_rng(seed)
    held_out = np.zeros(len(split), dtype=bool)
    for label in np.unique(classes):
        rows = np.flatnonzero(classes == label)
        wanted = round(share * len(rows))
        length = max(1, min(LONGEST_BLOCK, wanted // 5))
        blocks = np.array_split(rows, max(1, math.ceil(len(rows) / length)))
        order = generator.permutation(len(blocks))
        chosen = np.concatenate([blocks[i] for i in order])[:wanted]
        held_out[chosen] = True
    texts = split["text"]
    rest = {text for text, held in zip(texts, held_out, strict=True) if not held}
    held_out &= np.array([text not in rest for text in texts], dtype=bool)
    return split.select(np.flatnonzero(~held_out)), split.select(np.flatnonzero(held_out))
