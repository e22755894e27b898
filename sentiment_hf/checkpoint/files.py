"""Files on disk: JSON read with care, folders written whole or not at all."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from sentiment_hf.errors import SentimentError

if TYPE_CHECKING:
    from torch import Tensor

LARGEST_JSON_BYTES = 64_000_000
STAGED = ".staged"


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        SentimentError: the file is missing, too large, damaged, or holds no object.
    """
    try:
        if path.stat().st_size > LARGEST_JSON_BYTES:
            raise SentimentError(f"{path} is larger than any file of its kind; it was not read.")
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SentimentError(f"{path.parent} has no {path.name}.") from error
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error).split("\n")[0][:120]
        raise SentimentError(f"{path} could not be read as JSON: {reason}") from error
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
    """Gives a temporary name to write to; the file then takes the place of `path`."""
    new = path.with_name(path.name + ".new")
    try:
        yield new
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    os.replace(new, path)


def write_tensors(
    path: Path, tensors: "dict[str, Tensor]", metadata: dict[str, str] | None = None
) -> None:
    """Writes a safetensors file under a temporary name, then puts it in place.

    Raises:
        SentimentError: the disk does not take it.
    """
    from safetensors.torch import save_file

    try:
        with replaced_file(path) as new:
            new.touch()
            mode = new.stat().st_mode
            save_file(tensors, new, metadata=metadata)
            _sort_metadata(new)
            new.chmod(mode)  # The library leaves a file that its owner alone may read.
    except SafetensorError as error:
        reason = str(error).rpartition("error: ")[2]
        raise SentimentError(
            f"{path.name} could not be written: {reason}.", exit_status=1
        ) from error


def _sort_metadata(path: Path) -> None:
    """Puts the metadata of a safetensors file in order, which the library writes as it comes."""
    with open(path, "r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        sorted_header = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(sorted_header) <= size:
            file.seek(8)
            file.write(sorted_header.ljust(size))


def made_folder(path: str | Path) -> Path:
    """The folder of that name, made if there is none.

    Raises:
        SentimentError: a file is in its place.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise SentimentError(f"{path} leads to a file; a folder is needed there.") from error
    return folder


def plain_path(path: Path) -> Path:
    """The path without links and without `..`: wherever it is used, it names the same place.

    Raises:
        SentimentError: it is no name that a file could have.
    """
    try:
        resolved = path.resolve()
        return resolved if path.is_absolute() else Path(os.path.relpath(resolved))
    except (OSError, ValueError, RuntimeError) as error:
        raise SentimentError(f"{str(path)!r:.200} is no usable path: {error}") from error


def _beside(folder: Path, ending: str) -> Path:
    return folder.with_name(f".{folder.name}.{ending}")


def name_of(folder: Path) -> str:
    """The name of a folder, also while `replaced_folder` lets it be filled under another one."""
    name = folder.resolve().name
    if name.startswith(".") and name.endswith((".new", ".old")):
        return name[1:-4]
    return name


def whole_folder(folder: Path) -> Path:
    """The folder, or the old one beside it if a swap was cut off between its two renames."""
    if os.path.exists(folder):
        return folder
    try:
        old = _beside(folder.resolve(), "old")
    except (OSError, ValueError, RuntimeError):
        return folder  # No name that a folder could have.
    return old if os.path.exists(old) else folder


def recover_folder(folder: Path) -> None:
    """Puts the old folder back if a swap was cut off; to be called before writing alone."""
    whole = whole_folder(folder)
    if whole != folder:
        os.rename(whole, folder.resolve())


@contextmanager
def staged_files(folder: Path, files: Iterable[Path]) -> Iterator[Path]:
    """Gives a folder with some files of `folder` to change, which then take their places together.

    What takes long or can fail happens aside; at the end there are only renames.
    """
    aside = folder / STAGED
    shutil.rmtree(aside, ignore_errors=True)
    staged = aside / folder.resolve().name
    for path in files:
        copy = staged / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        _link(path, copy)
    try:
        yield staged
        changed = [path for path in sorted(staged.rglob("*")) if path.is_file()]
        for path in changed:
            place = folder / path.relative_to(staged)
            if not (place.exists() and path.samefile(place)):
                place.parent.mkdir(exist_ok=True)
                os.replace(path, place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    """A second name for a file, which costs nothing; a copy where the disk has no such names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """Gives an empty folder to fill, which then takes the place of `folder`.

    Killed at any moment, the old or the new folder is found again whole (`whole_folder`).
    """
    recover_folder(folder)
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    new, old = _beside(folder, "new"), _beside(folder, "old")
    for leftover in (new, old):
        if leftover.exists():
            shutil.rmtree(leftover)
    new.mkdir()
    try:
        yield new
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    if folder.exists():
        os.rename(folder, old)
    os.rename(new, folder)
    shutil.rmtree(old, ignore_errors=True)
