"""Folders of texts, one a file, with the folder as the label: `train/pos/0_9.txt`, as IMDB came."""

import re
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from sentiment_hf.data.files import SPLIT_NAME, card_names_files, ending, files_of_rows, is_hidden
from sentiment_hf.data.splits import NO_LABEL
from sentiment_hf.data.text_files import text_of
from sentiment_hf.errors import SentimentError

# The folder of texts without labels in IMDB's original layout, and its name on the Hub.
UNLABELLED_FOLDER, UNLABELLED_SPLIT = "unsup", "unsupervised"


def texts_in_folders(path: Path) -> DatasetDict | None:
    """The splits of such a folder, or of the one that it holds alone; None where it is another.

    Raises:
        SentimentError: a file is not in UTF-8, or files of rows lie beside.
    """
    if card_names_files(path):
        return None
    splits = {folder.name: files for folder in _folders(path) if (files := _text_files(folder))}
    own = _text_files(path)
    if not splits and len(own) > 1:
        splits = {"train": own}
    labels = sorted({label for files in splits.values() for label in files} - {UNLABELLED_FOLDER})
    # Folders of splits, too deep or too few, are no labels: IMDB's `train` has lists of addresses.
    if len(labels) < 2 or all(SPLIT_NAME.fullmatch(one.lower()) for one in labels):
        inner = [] if _rows_beside(path) else _folders(path)
        return texts_in_folders(inner[0]) if len(inner) == 1 else None
    if beside := _rows_beside(path):
        if len(beside) >= sum(len(texts) for files in splits.values() for texts in files.values()):
            return None
        raise SentimentError(
            f"The folder {path} holds texts in the folders of {', '.join(labels[:5])}, and rows in"
            f" {beside[0]}: name that file, or move it elsewhere."
        )
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


def _rows_beside(path: Path) -> list[Path]:
    """The files of rows in a folder; a json file describes the texts."""
    return sorted(file for file in files_of_rows(path) if ending(file) != ".json")


def _folders(path: Path) -> list[Path]:
    return sorted(one for one in path.iterdir() if one.is_dir() and not is_hidden(one.name))


def _text_files(path: Path) -> dict[str, list[Path]]:
    """The texts in each folder of a folder, in the order of their numbers: neighbours stay so."""
    found = {folder.name: folder.glob("*.txt") for folder in _folders(path)}
    own = {
        name: [one for one in files if one.is_file() and not is_hidden(one.name)]
        for name, files in found.items()
    }
    return {name: sorted(files, key=_by_numbers) for name, files in own.items() if files}


def _by_numbers(path: Path) -> list[tuple[int, str]]:
    return [(int(part or 0), rest) for part, rest in re.findall(r"(\d*)(\D+)", path.name)]
