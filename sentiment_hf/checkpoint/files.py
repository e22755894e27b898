"""Files on disk: reads are bounded, and writes are atomic."""

import errno
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from sentiment_hf.errors import SentimentError, first_line

if TYPE_CHECKING:
    from torch import Tensor

LARGEST_CONFIG_BYTES = 1_000_000
LARGEST_JSON_BYTES = 64_000_000
# What a disk says that cannot wait for the names in a folder.
NO_SYNC = errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.ENOSYS


def read_bytes(path: Path, largest: int = LARGEST_JSON_BYTES) -> bytes:
    """Reads a regular file; refuses one that is missing or too large, a pipe and a device."""
    try:
        # Without blocking: the mere opening of a pipe waits for a writer.
        descriptor = os.open(
            path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        )
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SentimentError(f"{path} is no regular file; it was not read.")
            content = file.read(largest + 1)
    except FileNotFoundError as error:
        raise SentimentError(f"{path.parent} has no {path.name}.") from error
    except (OSError, ValueError) as error:
        raise SentimentError(f"{path} could not be read: {first_line(error)}") from error
    if len(content) > largest:
        raise SentimentError(f"{path} is larger than any file of its kind; it was not read.")
    return content


def read_json(path: Path, largest: int = LARGEST_JSON_BYTES) -> dict[str, Any]:
    """Reads a JSON object; refuses a file that is missing, too large, damaged or another value."""
    content = read_bytes(path, largest)
    try:
        values = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise SentimentError(f"{path} could not be read as JSON: {first_line(error)}") from error
    if not isinstance(values, dict):
        raise SentimentError(f"{path} holds {type(values).__name__}, not a JSON object.")
    return values


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Writes a JSON object under a temporary name, then puts it in place."""
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    with replaced_file(path) as new:
        new.write_bytes(text.encode("utf-8"))


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Gives a temporary name to write to; the file then takes the place of `path`.

    The temporary name cannot be predicted, and the disk has the content before `path` changes.
    """
    new = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    mode = stat.S_IMODE((path if path.is_file() else new).stat().st_mode)
    try:
        yield new
        with suppress(OSError):  # Some mounted volumes know no modes.
            new.chmod(mode)  # `safetensors` leaves a file that its owner alone may read.
        sync(new)
        os.replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    sync(path.parent)


def remove_leftovers(path: Path) -> None:
    """Removes what killed writers have left of a file that nobody else writes now."""
    for leftover in path.parent.glob(f"{escape(path.name)}.{'[0-9a-f]' * 16}.tmp"):
        leftover.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Waits until the disk has a file, or the names in a folder."""
    is_windows = os.name == "nt"
    if is_windows and path.is_dir():  # There a folder cannot be opened.
        return
    descriptor = os.open(path, os.O_RDWR if is_windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some mounted volumes cannot do that with a folder.
        if not path.is_dir() or error.errno not in NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def write_tensors(
    path: Path, tensors: "dict[str, Tensor]", metadata: dict[str, str] | None = None
) -> None:
    """Writes a safetensors file under a temporary name, then puts it in place."""
    from safetensors.torch import save_file

    try:
        with replaced_file(path) as new:
            save_file(tensors, new, metadata=metadata)
            _sort_metadata(new)
    except SafetensorError as error:
        reason = str(error).rpartition("error: ")[2]
        raise SentimentError(
            f"{path.name} could not be written: {reason}.", exit_status=1
        ) from error


def _sort_metadata(path: Path) -> None:
    """Sorts the metadata of a safetensors file, so that the same tensors give the same bytes."""
    with open(path, "r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        sorted_header = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(sorted_header) <= size:
            file.seek(8)
            file.write(sorted_header.ljust(size))


def ensure_folder(path: str | Path) -> Path:
    """The folder, which is made if there is none; refuses a file in its place."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise SentimentError(f"{path} leads to a file; a folder is needed there.") from error
    return folder


def plain_path(path: Path) -> Path:
    """The path without links and `..`, so that it always names the same place."""
    try:
        resolved = path.resolve()
        return resolved if path.is_absolute() else Path(os.path.relpath(resolved))
    except (OSError, ValueError, RuntimeError) as error:
        raise SentimentError(f"{str(path)!r:.200} is no usable path: {error}") from error
