"""Local files and folders: what `datasets` is told about a path, which is taken literally."""

import glob
import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from datasets.data_files import get_data_patterns

from sentiment_hf.data.columns import NO_LABEL
from sentiment_hf.data.csv_files import csv_options
from sentiment_hf.errors import SentimentError

FILE_BUILDERS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".parquet": "parquet",
}
COMPRESSIONS = ".gz", ".bz2", ".xz", ".zst"
# The folder of texts without labels in IMDB's original layout, and its name on the Hub.
UNLABELLED_FOLDER, UNLABELLED_SPLIT = "unsup", "unsupervised"


def ending(path: Path) -> str:
    """`.csv` of `reviews.CSV` and of `reviews.csv.gz`."""
    name = path.name.lower()
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression)
    return Path(name).suffix


def file_arguments(path: Path) -> dict[str, Any]:
    """The arguments with which `load_dataset` reads a file.

    Raises:
        SentimentError: it is of another kind, empty, or a csv file of which the rows do not fit.
    """
    builder = FILE_BUILDERS.get(ending(path))
    if builder is None:
        raise SentimentError(
            f"The file {path} is none of csv, tsv, json, jsonl and parquet, by its ending."
        )
    if path.stat().st_size == 0:
        raise SentimentError(f"The file {path} is empty.")
    if path.suffix.lower() == ".zst" and find_spec("zstandard") is None:
        raise SentimentError(f"The file {path} is read with `pip install zstandard`.")
    options = {}
    if builder == "csv":
        options = csv_options([path], "\t" if ending(path) == ".tsv" else ",")
    return {"path": builder, "data_files": {"train": _literal(path)}, **options}


def folder_arguments(path: Path) -> dict[str, Any]:
    """The arguments with which `load_dataset` reads a folder."""
    literal = _literal(path)
    if literal == os.path.abspath(path) or (path / "README.md").exists():
        return {"path": str(path)}
    # `datasets` would take the brackets for a pattern.
    patterns = get_data_patterns(literal)
    files = {split: [f"{literal}/{one}" for one in some] for split, some in patterns.items()}
    return {"path": str(path), "data_files": files}


def _literal(path: Path) -> str:
    return glob.escape(os.path.abspath(path))


def texts_in_folders(path: Path) -> DatasetDict | None:
    """Reads one text a file, with its folder as the label: `train/pos/0_9.txt`, as IMDB came.

    Returns:
        The splits; None where the folder holds something else.

    Raises:
        SentimentError: a file is not in UTF-8.
    """
    if any(ending(file) in FILE_BUILDERS for file in path.iterdir()):
        return None
    splits = {folder.name: files for folder in _folders(path) if (files := _text_files(folder))}
    own = _text_files(path)
    if not splits and len(own) > 1:
        splits = {"train": own}
    labels = sorted({label for files in splits.values() for label in files} - {UNLABELLED_FOLDER})
    if len(labels) < 2:
        return None
    features = Features({"text": Value("string"), "label": ClassLabel(names=labels)})
    ids = {label: number for number, label in enumerate(labels)}
    opened: dict[str, dict[str, list[Any]]] = {}
    for split, classes in splits.items():
        for label, texts in classes.items():
            name = UNLABELLED_SPLIT if label == UNLABELLED_FOLDER else split
            rows = opened.setdefault(name, {"text": [], "label": []})
            rows["text"] += [_text_of(file) for file in texts]
            rows["label"] += [ids.get(label, NO_LABEL)] * len(texts)
    return DatasetDict({name: Dataset.from_dict(rows, features) for name, rows in opened.items()})


def _folders(path: Path) -> list[Path]:
    return sorted(one for one in path.iterdir() if one.is_dir() and not one.name.startswith("."))


def _text_files(path: Path) -> dict[str, list[Path]]:
    """The texts in each folder of a folder, in the order of their numbers: neighbours stay so."""
    found = {folder.name: list(folder.glob("*.txt")) for folder in _folders(path)}
    return {name: sorted(files, key=_by_numbers) for name, files in found.items() if files}


def _by_numbers(path: Path) -> list[tuple[int, str]]:
    return [(int(part or 0), rest) for part, rest in re.findall(r"(\d*)(\D+)", path.name)]


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SentimentError(f"The file {path} is not in UTF-8; save it in that encoding.") from (
            error
        )
