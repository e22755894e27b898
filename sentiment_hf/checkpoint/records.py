"""What was measured of a network, by the checksum of its weights: a record of others is none."""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from sentiment_hf.checkpoint.files import LARGEST_CONFIG_BYTES, read_json, write_json
from sentiment_hf.checkpoint.folder import CONFIG_FILE, FIGURES_FOLDER, RECORD_FILES, is_own_file
from sentiment_hf.checkpoint.weights import checksum_of_weights, header_checksums
from sentiment_hf.errors import SentimentError

MEASURED_KEY = "weights"


def write_record(folder: Path, name: str, values: dict[str, Any], weights: str | None) -> None:
    """Writes what was measured of the weights of this name."""
    write_json(folder / name, {**values, MEASURED_KEY: weights})


def read_record(folder: Path, name: str) -> dict[str, Any]:
    """What was measured of the weights in the folder; empty where there is nothing.

    A record that names no weights, as earlier versions wrote it, is that of weights that name no
    other files.
    """
    if not is_own_file(folder / name):
        return {}
    values = read_json(folder / name, LARGEST_CONFIG_BYTES)
    if MEASURED_KEY not in values:
        return {} if CONFIG_FILE in header_checksums(folder) else values
    weights = checksum_of_weights(folder)
    return values if weights is not None and values[MEASURED_KEY] == weights else {}


def drop_other_records(folder: Path) -> None:
    """Removes what was measured of other weights than those in the folder.

    The figures stay where each record does, and there is one: they name no weights themselves.
    """
    there = [name for name in RECORD_FILES if is_own_file(folder / name)]
    stay = []
    for name in there:
        with suppress(SentimentError):
            if read_record(folder, name):
                stay.append(name)
                continue
        (folder / name).unlink()
    if not stay or stay != there:
        shutil.rmtree(folder / FIGURES_FOLDER, ignore_errors=True)
