"""What `save_to_disk` wrote: checked, and opened so that nothing is written beside it."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from datasets import Dataset, DatasetDict, config, load_from_disk

from sentiment_hf.data.files import (
    check_split_names,
    elsewhere,
    is_plain,
    plain_path,
    regular,
)
from sentiment_hf.data.text_files import file_version
from sentiment_hf.errors import SentimentError

DICTIONARY, STATE = config.DATASETDICT_JSON_FILENAME, config.DATASET_STATE_JSON_FILENAME


def is_saved(folder: Path) -> bool:
    return (folder / DICTIONARY).exists() or (folder / STATE).exists()


def load_saved(folder: Path) -> Dataset | DatasetDict:
    """Opens the folder through links in the cache of `datasets`.

    `datasets` keeps what it computes of rows beside the file that they lie in: that is another
    person's folder, and one that often cannot be written, as in a notebook or on a cluster.

    Raises:
        SentimentError: it is damaged, or names files outside it.
    """
    files = list(_checked_files(folder))
    with suppress(OSError):  # Not every disk has links, and not every cache can be written.
        return load_from_disk(str(_linked(folder.resolve(), files)))
    return load_from_disk(plain_path(folder))


def _linked(folder: Path, files: list[Path]) -> Path:
    """A folder in the cache whose files are links to those of another."""
    known_by = [(str(file), *file_version(folder / file)) for file in files]
    digest = hashlib.sha256(os.fsencode(f"{folder} {known_by}")).hexdigest()
    place = Path(config.HF_DATASETS_CACHE).expanduser() / "saved" / digest
    for file in files:
        link = place / file
        link.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            link.symlink_to(folder / file)
        if os.readlink(link) != str(folder / file):
            raise FileExistsError(f"{link} is something else.")
    return place


def _checked_files(folder: Path) -> Iterator[Path]:
    """The files that it consists of, as paths inside it."""
    parts = [Path()]
    try:
        if (folder / DICTIONARY).exists():
            names = json.loads(regular(folder / DICTIONARY).read_bytes())["splits"]
            check_split_names(names)
            parts = [Path(name) for name in names]
            yield Path(DICTIONARY)
        for part in parts:
            state = regular(folder / part / STATE)
            names = [file["filename"] for file in json.loads(state.read_bytes())["_data_files"]]
            for name in names:
                inside = (folder / part / name).resolve().is_relative_to(folder.resolve())
                if not (is_plain(name) and inside):
                    raise elsewhere(folder, name)
            yield from (part / name for name in (STATE, config.DATASET_INFO_FILENAME, *names))
    except (KeyError, TypeError) as error:
        raise SentimentError(f"The data set {folder} is damaged: it lacks {error}.") from error
