"""Local files and folders: what `datasets` is told about a path, which is taken literally."""

import glob
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from datasets import config
from datasets.data_files import DataFilesList, get_data_patterns, sanitize_patterns
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard, DatasetCardData

from sentiment_hf.data.csv_files import csv_options
from sentiment_hf.data.text_files import check_text, file_version
from sentiment_hf.errors import SentimentError

FILE_BUILDERS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".parquet": "parquet",
}
# What else `datasets` reads as rows of a folder, and what it writes beside them.
OTHER_ROWS = ".ndjson", ".arrow"
NO_ROWS = "dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json"
# The types of columns are found in so many bytes of a json file; those after have to fit them.
JSON_AT_ONCE = 2**26
# `datasets` sees the names of splits in small letters alone.
SPLIT_NAME = re.compile(
    r"(?<![A-Za-z])(train|training|test|testing|eval|evaluation|dev|val|valid|validation)(?![A-Za-z])"
)
COMPRESSIONS = ".gz", ".bz2", ".xz", ".zst"


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
    elif builder == "json":
        options = json_options([path])
    return {"path": builder, "data_files": {"train": _literal(path)}, **options}


def folder_arguments(path: Path, config: str | None) -> dict[str, Any]:
    """The arguments with which `load_dataset` reads a folder, whose card may name several configs.

    A card that names files elsewhere is refused.
    """
    configs = _card_configs(path)
    for one in configs.values():
        for pattern in _patterns(one):
            if os.path.isabs(pattern) or re.search(r"://|::|(^|[/\\])\.\.($|[/\\])", pattern):
                raise elsewhere(path, pattern)
    literal = _literal(path)
    if literal == os.path.abspath(path):
        return {"path": str(path)}
    # `datasets` would take the brackets for a pattern, and would follow a link.
    own = configs.get(config or configs.get_default_config_name() or "", {})
    base = os.path.join(literal, own.get("data_dir") or "")
    named = own.get("data_files")
    patterns = get_data_patterns(base) if named is None else sanitize_patterns(named)
    files = {}
    for split, some in patterns.items():
        whole = [os.path.join(base, one) for one in some]
        found = DataFilesList.from_patterns(whole, base_path=base)
        # Other formats are sorted out by `datasets` only where it finds the files itself.
        rows = [glob.escape(file) for file in found if ending(Path(file)) in FILE_BUILDERS]
        files[split] = rows or whole
    return {"path": plain_path(path), "data_files": files}


def cache_options(files: Iterable[str | Path]) -> dict[str, Any]:
    """The description by which `datasets` finds local files in its cache: what stands in them.

    Their paths and times of change, which it looks at, stay the same where `cp -p`, `rsync -a` or
    an archive puts another file in the place of one.
    """
    digests = [_digest(file, *file_version(file)) for file in map(Path, files)]
    return {"description": hashlib.sha256("".join(digests).encode()).hexdigest()}


@lru_cache(maxsize=4096)
def _digest(path: Path, *version: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_options(files: Iterable[str | Path]) -> dict[str, Any]:
    """How `datasets` has to read json files, which are looked through first."""
    for file in map(Path, files):
        _check_json(file, *file_version(file))
    return {"chunksize": JSON_AT_ONCE}


@lru_cache(maxsize=64)
def _check_json(path: Path, *version: int) -> None:
    # Arrow ends the process where it meets that.
    if re.match(r"\ufeff?\s*\[?\s*null\b", check_text(path)):
        raise SentimentError(f"The first row of the file {path} is null; take it out.")


def _card_configs(path: Path) -> MetadataConfigs:
    """What a folder's card says of its files, read as `datasets` reads it."""
    card, more = path / config.REPOCARD_FILENAME, path / config.REPOYAML_FILENAME
    try:
        data = DatasetCard.load(card).data if regular(card).exists() else DatasetCardData()
        if regular(more).exists():
            values = yaml.safe_load(more.read_text(encoding="utf-8")) or {}
            data = DatasetCardData(**{**data.to_dict(), **values})
        return MetadataConfigs.from_dataset_card_data(data)
    except (yaml.YAMLError, TypeError) as error:
        raise SentimentError(
            f"The card of the data set {path} cannot be read: {' '.join(str(error).split()):.120}"
        ) from error


def _patterns(card_config: Mapping[str, Any]) -> list[str]:
    files = sanitize_patterns(card_config.get("data_files") or [])
    folder = card_config.get("data_dir")
    return [*([folder] if folder else []), *(one for some in files.values() for one in some)]


def check_files(files: Iterable[str], path: Path) -> None:
    """Refuses a card that names files outside its folder, links followed."""
    root = path.resolve()
    # In the cache of the Hub's client, files are links to a folder beside.
    root = root.parent.parent if root.parent.name == "snapshots" else root
    for file in files if _card_configs(path) else ():
        if not Path(file).resolve().is_relative_to(root):
            raise elsewhere(path, os.path.relpath(file, path))


def card_names_files(path: Path) -> bool:
    """Whether a folder's card chooses among the files."""
    return any(_patterns(one) for one in _card_configs(path).values())


def check_all_read(splits: Mapping[str, Iterable[str]], path: Path) -> None:
    """Refuses a folder of which not all files of rows are read, each as its split.

    Some would be left out, as those of another format or of no split are; or a copy such as
    `train.csv.bak` would be read, `Test.csv` as rows of `train`, or `train_test.csv` as those of
    both; or several files of text as one, a line a row. A card may choose among the files.
    """
    if card_names_files(path):
        return
    for some in splits.values():
        texts = sorted(os.path.relpath(file, path) for file in some if file.endswith(".txt"))
        if len(texts) > 1:
            raise SentimentError(
                f"The folder {path} has the texts {texts[0]}, {texts[-1]} and the like, of which"
                " the labels are not clear: put each text into a file of its own, in a folder that"
                " is called as its label (train/pos/1.txt, train/neg/1.txt), or save them as csv,"
                " jsonl or parquet."
            )
    files = [file for some in splits.values() for file in some]
    kinds = {Path(file).resolve(): FILE_BUILDERS.get(ending(Path(file))) for file in files}
    names = [os.path.relpath(file, path.resolve()) for file in kinds]
    odd = [
        name
        for name, kind in zip(names, kinds.values(), strict=True)
        if (kind is None and set(Path(name.lower()).suffixes[:-1]) & set(FILE_BUILDERS))
        or (SPLIT_NAME.search(name.lower()) and not SPLIT_NAME.search(name))
    ]
    twice = [os.path.relpath(file, path) for file, count in Counter(files).items() if count > 1]
    if twice or (odd and len(names) > 1):
        raise SentimentError(
            f"Of the folder {path}, {min(twice or odd)} would be read where it does not belong: a"
            " name tells one split, in small letters, and a copy such as train.csv.bak is read too."
            " Rename it, take it out, or list `data_files` in the folder's card."
        )
    read = {file for file, kind in kinds.items() if kind == next(iter(kinds.values()))}
    # A json file beside rows of another format describes them, as `annotate`'s records do.
    is_json = any(ending(file) == ".json" for file in read)
    # Of a folder of which nothing is read `datasets` says so itself.
    left_out = sorted(
        str(file)
        for file in files_of_rows(path)
        if (path / file).resolve() not in read and (is_json or ending(file) != ".json")
    )
    if read and left_out:
        more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
        raise SentimentError(
            f"Of the folder {path}, {', '.join(left_out[:5])}{more} would not be read: the files of"
            " a folder need one format, and names that all tell a split (train, validation, test)"
            " or none. Rename or move them, name one file, or list `data_files` in the folder's"
            " card."
        )


def files_of_rows(path: Path) -> Iterator[Path]:
    """The files of a folder that look like rows, as relative paths, without hidden ones."""
    for file in path.rglob("*"):
        own = file.relative_to(path)
        rows = ending(file) in (*FILE_BUILDERS, *OTHER_ROWS) and file.name not in NO_ROWS
        if rows and not any(map(is_hidden, own.parts)) and file.is_file():
            yield own


def is_hidden(name: str) -> bool:
    """As `datasets` has it: macOS puts `._1_9.txt` and `__MACOSX` into its archives."""
    return name.startswith((".", "__"))


def elsewhere(path: Path, file: str) -> SentimentError:
    return SentimentError(
        f"The card of the data set {path} names files outside its folder, {file!r}; they were not"
        " read."
    )


def regular(path: Path) -> Path:
    """The path of a file, which a device or a pipe is not: reading those may never end."""
    if path.exists() and not path.is_file():
        raise SentimentError(f"{path} is no regular file.")
    return path


def is_plain(name: str) -> bool:
    """Whether a name from a data set can be used as the name of a file in a folder."""
    return re.fullmatch(r"\w[\w .-]*", name) is not None


def check_split_names(names: Iterable[str]) -> None:
    """Refuses splits that are called like paths."""
    for name in names:
        if not is_plain(name):
            raise SentimentError(f"The data set has a split {name!r}, which is no plain name.")


def _literal(path: Path) -> str:
    return glob.escape(os.path.abspath(plain_path(path)))


def plain_path(path: Path) -> str:
    """The path, or a link to it where it would be taken for a chain of file systems (`a::b`).

    The link is the same each time, because fingerprints hold it.
    """
    whole = os.path.abspath(path)
    if "::" not in whole:
        return str(path)
    place = config.HF_DATASETS_CACHE / "links" / hashlib.sha256(os.fsencode(whole)).hexdigest()
    link = place / re.sub(r"[^\w.]", "-", path.name)
    place.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        link.symlink_to(whole)
    return str(link)
