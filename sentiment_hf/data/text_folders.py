"""Folders of texts, one a file, with the folder as the label: `train/pos/0_9.txt`, as IMDB came."""

import re
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from sentiment_hf.data.columns import NO_LABEL
from sentiment_hf.data.files import FILE_BUILDERS, ending
from sentiment_hf.data.text_files import text_of

# The folder of texts without labels in IMDB's original layout, and its name on the Hub.
UNLABELLED_FOLDER, UNLABELLED_SPLIT = "unsup", "unsupervised"


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
            rows["text"] += [text_of(file) for file in texts]
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
