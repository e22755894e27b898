"""Data sets: from a name to splits with the columns `text` and `label`.

Everything is opened through `datasets`. Local things are looked for first and without
the network.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    IterableDatasetDict,
    Value,
    load_dataset,
    load_dataset_builder,
)
from datasets import config as datasets_config
from datasets.packaged_modules.csv.csv import CsvConfig
from datasets.packaged_modules.json.json import JsonConfig

from sentiment_hf.arguments import check_whole
from sentiment_hf.data.columns import (
    are_token_ids,
    find_columns,
    number_labels,
    with_plain_strings,
)
from sentiment_hf.data.csv_files import csv_options
from sentiment_hf.data.files import (
    FILE_BUILDERS,
    cache_options,
    check_all_read,
    check_files,
    ending,
    file_arguments,
    folder_arguments,
    json_options,
)
from sentiment_hf.data.label_map import check_label_map
from sentiment_hf.data.loading_errors import OFFLINE_DATASETS, dataset_errors
from sentiment_hf.data.saved_folders import is_saved, load_saved
from sentiment_hf.data.splits import TRAIN_SPLIT
from sentiment_hf.data.text_folders import texts_in_folders
from sentiment_hf.data.tokenization import IDS_COLUMN
from sentiment_hf.errors import HUB_TIMEOUT_SECONDS, SentimentError, decoded, hub_errors

DEFAULT_DATASET = "stanfordnlp/imdb"
SAMPLE_FOLDER = Path(__file__).parent.parent / "sample"

LARGEST_SEED = 2**32 - 1

logger = logging.getLogger(__name__)

# What a name of no file may mean.
NO_PATHS = {
    "://": "; download it first, and name the file",
    "~": "; write the whole path, because a quoted '~' is not the home folder",
    "*": "; a pattern is no name: name the folder that holds the files",
}
# What chooses the csv files to read, and not how they are read.
OWN_OF_FILES = {"name", "version", "data_dir", "data_files", "description", "sep", "delimiter"}
# What may stand wherever a data set is named.
DatasetSource: TypeAlias = str | os.PathLike | Dataset | DatasetDict


def load_reviews(
    dataset: DatasetSource = DEFAULT_DATASET,
    *,
    splits: Sequence[str] | None = None,
    seed: int = 0,
    config: str | None = None,
    revision: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    label_map: Mapping[str, str] | None = None,
    max_samples: int | None = None,
) -> DatasetDict:
    """Opens a data set as splits with the columns `text` (string) and `label`.

    `label` is a `ClassLabel` with the data set's own names (-1 where a row has none), or a float
    in [0, 1], a soft label: the probability of the second label. A data set without any label
    column has `text` alone. `input_ids` stay where there are some.

    Args:
        dataset: `sample`, a folder, a csv, tsv, json, jsonl or parquet file, a Hub id, or a
            `Dataset` (the split `train`) or `DatasetDict` of `datasets`.
        splits: the splits to read; all of them by default.
        seed: chooses the rows of a sample.
        config, revision: of the data set.
        text_column, label_column: where their names do not tell.
        label_map: from its label names to others; an empty one drops the rows of a label.
        max_samples: a random sample of that many rows per split.

    Raises:
        SentimentError: it does not exist, the Hub is out of reach, or its columns are missing,
            ambiguous or of the wrong type.
    """
    label_map = check_label_map("label_map", label_map)
    check_whole("max_samples", max_samples)
    check_whole("seed", seed, least=0, most=LARGEST_SEED)
    chosen = open_splits(dataset, splits, config=config, revision=revision)
    assert isinstance(chosen, DatasetDict)
    first_name, first = next(iter(chosen.items()))
    text, label = find_columns(first.features, text_column, label_column)
    tokenized = [IDS_COLUMN] if are_token_ids(first.features.get(IDS_COLUMN)) else []
    columns = [text, *([label] if label else []), *tokenized]
    for name, split in chosen.items():
        for column in columns:
            if split.features.get(column) != first.features[column]:
                raise SentimentError(
                    f"The splits {first_name!r} and {name!r} of {dataset_name(dataset)} differ in"
                    f" the column {column!r} or its labels; make them alike, or read one of them."
                )
        if max_samples is not None and max_samples < len(split):
            rows = np.random.default_rng(seed).choice(len(split), max_samples, replace=False)
            chosen[name] = split.select(np.sort(rows))
    chosen = chosen.select_columns(columns)
    renamed = {old: new for old, new in ((text, "text"), (label, "label")) if old and old != new}
    chosen = with_plain_strings(chosen.rename_columns(renamed) if renamed else chosen)
    return chosen if label is None else number_labels(chosen, label, label_map)


def dataset_name(dataset: DatasetSource) -> str:
    """How a data set is called in what is written: its Hub id, or its base name."""
    if isinstance(dataset, Dataset | DatasetDict):
        first = dataset if isinstance(dataset, Dataset) else next(iter(dataset.values()), None)
        # `datasets` names a table in memory after the function that made it.
        name = None if first is None else first.info.dataset_name
        return name if name not in (None, "generator", "parquet", "json", "csv") else "in memory"
    path = Path(dataset)
    return decoded(path.resolve().name if path.exists() else str(dataset))


def open_splits(
    dataset: DatasetSource, splits: Sequence[str] | None, **options: Any
) -> DatasetDict | IterableDatasetDict:
    """Opens some splits of a data set, or all; the options are those of `open_dataset`."""
    opened = open_dataset(dataset, **options)
    splits = [splits] if isinstance(splits, str) else splits
    for split in splits or []:
        if split not in opened:
            raise SentimentError(
                f"The data set {dataset_name(dataset)} has no split {split!r}; it has"
                f" {', '.join(opened)}."
            )
    return type(opened)({split: opened[split] for split in splits or opened})


def open_dataset(
    dataset: DatasetSource,
    *,
    config: str | None = None,
    revision: str | None = None,
    streaming: bool = False,
) -> DatasetDict | IterableDatasetDict:
    """Opens a data set with all its splits and columns as they are.

    Args:
        streaming: read piece by piece, not prepared on the disk first.
    """
    if isinstance(dataset, Dataset | DatasetDict):
        _refuse_options("a data set in memory", revision=revision, config=config)
        if not dataset:
            raise SentimentError("The data set has no rows.")
        return _unformatted(dataset)
    if not isinstance(dataset, str | os.PathLike):
        raise SentimentError(
            "A data set is a name, a path, a `Dataset` or a `DatasetDict`, not a"
            f" {type(dataset).__name__}."
        )
    name = str(dataset)
    path = Path(name)
    with dataset_errors(name):
        if name == "sample":
            _refuse_options(name, revision=revision, config=config)
            files = {split: str(SAMPLE_FOLDER / f"{split}.jsonl") for split in ("train", "test")}
            features = Features(
                {"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])}
            )
            return load_dataset("json", data_files=files, features=features, streaming=streaming)
        if name and path.is_dir():
            return _open_folder(path, config, revision, streaming=streaming)
        if path.is_file():
            _refuse_options(name, revision=revision, config=config)
            arguments = file_arguments(path) | ({} if streaming else cache_options([path]))
            return load_dataset(**arguments, streaming=streaming)
        if path.exists():
            raise SentimentError(f"The data set {name!r} is no file or folder; save it as a file.")
        if ending(path) in FILE_BUILDERS or name.count("/") > 1 or name[:1] in ("", ".", "/", "~"):
            hint = next((hint for sign, hint in NO_PATHS.items() if sign in name), "")
            raise SentimentError(
                f"The data set {name!r} does not exist: no such file or folder{hint}."
            )
        _ask_hub_for(name, revision)
        return _load({"path": name, "revision": revision}, None, config, streaming=streaming)


def _open_folder(
    path: Path, config: str | None, revision: str | None, *, streaming: bool
) -> DatasetDict | IterableDatasetDict:
    _refuse_options(str(path), revision=revision)
    if is_saved(path):
        _refuse_options(str(path), config=config)
        return _unformatted(load_saved(path))
    if texts := texts_in_folders(path):
        _refuse_options(str(path), config=config)
        streams = {split: rows.to_iterable_dataset() for split, rows in texts.items()}
        return IterableDatasetDict(streams) if streaming else texts
    return _load(folder_arguments(path, config), path, config, streaming=streaming)


def _unformatted(dataset: Dataset | DatasetDict) -> DatasetDict:
    """The splits as plain values: a tensor is equal to no label, and a table is no dictionary."""
    splits = dataset if isinstance(dataset, DatasetDict) else {TRAIN_SPLIT: dataset}
    return DatasetDict(
        {
            name: rows
            # A format that is taken off changes the fingerprint, even where there was none.
            if rows.format["type"] is None and rows.format["columns"] == rows.column_names
            else rows.with_format(None)
            for name, rows in splits.items()
        }
    )


def _load(
    source: dict[str, Any], folder: Path | None, config: str | None, *, streaming: bool
) -> DatasetDict | IterableDatasetDict:
    """Loads a folder or a repository; if its files are csv, their cells are read as they are."""
    try:
        builder = load_dataset_builder(name=config, **source)
    except ValueError:  # Where the Hub is switched off, the cache finds csv files by options.
        if not datasets_config.HF_HUB_OFFLINE:
            raise
        return load_dataset(name=config, **source, **csv_options([]), streaming=streaming)
    options: dict[str, Any] = {}
    settings: Any = builder.config
    files = [file for some in (settings.data_files or {}).values() for file in some]
    if folder is not None:
        check_files(files, folder)
        check_all_read(settings.data_files or {}, folder)
        if isinstance(settings, JsonConfig):
            options = json_options(files)
    if isinstance(settings, CsvConfig) and settings.na_values is None:
        options = csv_options(files, settings.sep)
        plain = vars(CsvConfig())
        changed = {key for key, value in vars(settings).items() if value != plain[key]}
        if builder.info.features or not changed <= OWN_OF_FILES:
            options.pop("features")  # The card tells the columns.
        if changed & {"quotechar", "quoting"}:
            options.pop("quoting", None)
    if folder is not None and not streaming:
        options |= cache_options(files)
    return load_dataset(name=config, **source, **options, streaming=streaming)


def _refuse_options(name: str, **options: str | None) -> None:
    for option, value in options.items():
        if value is not None:
            raise SentimentError(
                f"`{option}` {value!r} has no use: {name} is not read from the Hub."
            )


def _ask_hub_for(name: str, revision: str | None) -> None:
    """Asks for the data set once: `load_dataset` alone retries for half a minute without a Hub."""
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        return
    with hub_errors(f"the data set {name!r}", without_hub=OFFLINE_DATASETS):
        HfApi().dataset_info(name, revision=revision, timeout=HUB_TIMEOUT_SECONDS)
