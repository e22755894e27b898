"""What `datasets` raises while it opens or streams a data set becomes a sentence."""

import errno
import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datasets.exceptions import DatasetGenerationCastError, DatasetsError

from sentiment_hf.errors import SentimentError, cache_error, first_line

FULL_DISK = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
DAMAGED = EOFError, StopIteration, gzip.BadGzipFile, zlib.error, lzma.LZMAError
OFFLINE_DATASETS = (
    "a folder, a csv, tsv, json, jsonl or parquet file and 'sample' work without it, and"
    " HF_HUB_OFFLINE=1 reads a data set that is already in the cache"
)


@contextmanager
def dataset_errors(name: str | Path) -> Iterator[None]:
    """Turns it into a `SentimentError` about the data set of that name."""
    try:
        yield
    except ConnectionError as error:
        raise SentimentError(
            f"The data set {name!r} is not in the cache and the Hub cannot be reached;"
            f" {OFFLINE_DATASETS}.",
            exit_status=1,
        ) from error
    except Exception as error:
        # A saved data set of no rows has no tables either.
        if isinstance(error, IndexError) or "corresponds to no data" in str(error):
            raise SentimentError(f"The data set {name} has no rows.") from error
        if _is_damage(error) or _is_damage(error.__cause__):
            raise SentimentError(
                f"The data set {name} could not be read: a compressed file is empty, cut off or"
                " damaged."
            ) from error
        if not isinstance(error, DatasetsError | ValueError | OSError):
            raise
        cause = error if isinstance(error, OSError) else error.__cause__
        if unwritable := cache_error(cause):
            raise unwritable from error
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            raise
        if isinstance(cause, OSError) and cause.errno in FULL_DISK:
            raise cause from None
        if isinstance(error, DatasetGenerationCastError) or "Schema at index" in str(cause):
            raise SentimentError(
                f"The files of the data set {name} have different columns; read them one at a time."
            ) from error
        reason = first_line(error.__cause__ or error)
        raise SentimentError(f"The data set {name} could not be read: {reason}") from error


def _is_damage(error: BaseException | None) -> bool:
    """Whether a compressed file is not whole; zstandard is optional, and bz2 has no own error."""
    others = type(error).__name__ == "ZstdError" or str(error) == "Invalid data stream"
    return isinstance(error, DAMAGED) or others
