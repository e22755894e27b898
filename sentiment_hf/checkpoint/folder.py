"""A checkpoint folder: the names of its files, and which of them are published."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from sentiment_hf.arguments import check_path
from sentiment_hf.checkpoint.files import LARGEST_CONFIG_BYTES, read_json
from sentiment_hf.checkpoint.staging import (
    VOLUME_FOLDER,
    check_places,
    is_leftover,
    locked,
    staged_folder,
)
from sentiment_hf.errors import SentimentError
from sentiment_hf.model.config import LSTMConfig

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
CARD_FILE = "README.md"
TRAINING_FILE = "training.json"
EVALUATION_FILE = "eval_results.json"
FIGURES_FOLDER = "figures"
# What was measured of the weights beside them.
RECORD_FILES = (TRAINING_FILE, EVALUATION_FILE)

# What builds the network; without one of them a folder is no checkpoint.
REQUIRED_FILES = (CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE)
# All that is ever published.
PUBLISHED_FILES = (
    *REQUIRED_FILES,
    TOKENIZER_CONFIG_FILE,
    CARD_FILE,
    *RECORD_FILES,
    f"{FIGURES_FOLDER}/*.png",
)
# All that a page of `export` consists of.
PAGE_FILES = (
    "index.html",
    "page.js",
    "reader.js",
    "style.css",
    "libraries/*",
    "onnx/model.onnx",
    CONFIG_FILE,
    TOKENIZER_FILE,
    TOKENIZER_CONFIG_FILE,
    CARD_FILE,
)

REFERENCE_FOLDER = Path(__file__).parent.parent / "reference"
REFERENCE_NAME = "reference"


def is_checkpoint(folder: Path) -> bool:
    return os.path.exists(folder / CONFIG_FILE)


def foreign_file(folder: Path, also_ours: tuple[str, ...] = ()) -> str | None:
    """The first thing at any depth of a folder that is no part of a checkpoint."""
    ours = (*PUBLISHED_FILES, *also_ours)

    def first_in(inner: Path) -> str | None:
        for path in sorted(inner.iterdir()):
            name = path.relative_to(folder).as_posix()
            if is_leftover(path) or name == VOLUME_FOLDER or has_name_of(name, ours):
                continue
            is_ours = any(pattern.startswith(f"{name}/") for pattern in ours)
            found = first_in(path) if is_ours and path.is_dir() and not path.is_symlink() else name
            if found:
                return found
        return None

    return first_in(folder) if folder.is_dir() else None


def has_name_of(name: str, patterns: Iterable[str]) -> bool:
    """Whether the name of a file, relative to its checkpoint, is one of these."""
    depth = name.count("/")
    return any(fnmatchcase(name, p) and p.count("/") == depth for p in patterns)


@contextmanager
def saved_checkpoint(folder: str | Path) -> Iterator[Path]:
    """Gives a copy of a checkpoint folder to change; the changes then count together."""
    check_path("folder", folder)
    with locked(Path(folder)), staged_folder(Path(folder), published, keep=True) as new:
        yield new


def is_own_file(path: Path) -> bool:
    """Whether it is a regular file and no link, which may lead anywhere."""
    return path.is_file() and not path.is_symlink()


def published(folder: Path, names: Iterable[str] = PUBLISHED_FILES) -> list[Path]:
    """The files of a folder that are published: regular files with the names of the contract."""
    found = [path for pattern in names for path in sorted(folder.glob(pattern))]
    # A linked folder leads elsewhere as a linked file does; the checkpoint's own may be a link.
    own = [path for path in found if path.parent == folder or not path.parent.is_symlink()]
    return [path for path in own if is_own_file(path)]


def check_replaceable(folder: Path) -> None:
    """Refuses a folder in which no checkpoint could be written."""
    check_places(folder, map(Path, PUBLISHED_FILES), published)


def read_config(folder: Path) -> LSTMConfig:
    """Reads `config.json`; see `LSTMConfig.from_dict` for what is refused."""
    values = read_json(folder / CONFIG_FILE, LARGEST_CONFIG_BYTES)
    try:
        return LSTMConfig.from_dict(values)
    except SentimentError as error:
        raise SentimentError(f"{folder / CONFIG_FILE}: {error}") from error
