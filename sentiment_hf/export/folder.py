"""What every export begins and ends with: the checkpoint, the folder to write, the card."""

from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer

from sentiment_hf.checkpoint.card import as_code, as_text
from sentiment_hf.checkpoint.download import find_checkpoint, model_name
from sentiment_hf.checkpoint.files import plain_path, write_text
from sentiment_hf.checkpoint.folder import CARD_FILE, REFERENCE_NAME, read_config
from sentiment_hf.checkpoint.staging import check_free
from sentiment_hf.checkpoint.tokenizer_file import read_tokenizer
from sentiment_hf.model.config import LSTMConfig


class Source(NamedTuple):
    """The checkpoint that is exported."""

    name: str
    folder: Path
    config: LSTMConfig
    tokenizer: Tokenizer


def open_source(model: str | Path | None) -> Source:
    """Reads all of a MODEL but its weights."""
    folder = find_checkpoint(model)
    config = read_config(folder)
    name = model_name(model or REFERENCE_NAME)
    return Source(name, folder, config, read_tokenizer(folder, config))


def free_folder(output: str | Path) -> Path:
    """The folder to write, in which nothing may be."""
    folder = plain_path(Path(output))
    check_free(folder)
    return folder


def write_card(folder: Path, template: Path, source: Source, **values: str) -> None:
    labels = ", ".join(map(as_code, source.config.label_names))
    names = {"name": as_text(source.name), "checkpoint": as_code(source.name)}
    text = template.read_text(encoding="utf-8")
    write_text(folder / CARD_FILE, text.format(**names, labels=labels, **values))
