"""A folder that one process at a time writes, and whose files change together.

A folder is written in its own place, so that a mounted volume serves as well. The new files are
filled into a hidden folder inside it; a mark makes them count; then each takes its place. Cut off
before the mark, nothing has changed; after it, readers take the hidden folder for the whole one
(`current_folder`) and the next writer ends the work (`recover_folder`).
"""

import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sentiment_hf.checkpoint.files import ensure_folder, sync
from sentiment_hf.errors import SentimentError

LOCK_FILE = ".sentiment-hf.lock"
STAGING = ".sentiment-hf-"  # A random number follows.
STAGING_NAME = re.compile(rf"{re.escape(STAGING)}[0-9a-f]{{16}}")
# In a staging folder: the mark of its owner, the files, and the mark that all of them are there.
OWNER_MARK, STAGED, COMPLETE_MARK = "made-by-sentiment-hf", "files", "complete"
VOLUME_FOLDER = "lost+found"  # A mounted volume brings it along.

OwnFiles = Callable[[Path], Iterable[Path]]


@contextmanager
def locked(folder: Path, name: str = LOCK_FILE) -> Iterator[None]:
    """Keeps other processes and threads from writing into a folder, made if there is none.

    Args:
        name: of the file that is locked; with different ones, several write beside each other.
    """
    was_there = folder.is_dir()
    ensure_folder(folder)
    path = folder.resolve() / name
    descriptor = _lock(path)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        if os.name == "nt":  # There a file that is open cannot be removed.
            os.close(descriptor)
        try:
            with suppress(OSError):
                path.unlink()
        finally:  # An interruption leaves no lock to the other threads.
            if os.name != "nt":
                os.close(descriptor)
        if not was_there:
            with suppress(OSError):  # Something has come into it.
                folder.rmdir()


def _lock(path: Path) -> int:
    while True:
        try:
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            descriptor = os.open(path, flags, 0o666)
        except OSError as error:
            raise SentimentError(
                f"The folder {path.parent} cannot be written: {error.strerror}.", exit_status=1
            ) from error
        if not _take(descriptor):
            pid = os.read(descriptor, 20).decode(errors="replace")
            os.close(descriptor)
            who = "thread of this process" if pid == str(os.getpid()) else f"process ({pid})"
            raise SentimentError(
                f"Another {who} writes into {path.parent}; wait for it, or name another folder.",
                exit_status=1,
            )
        with suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)  # The process before has removed the file meanwhile.


def _take(descriptor: int) -> bool:
    """Locks an open file, unless another process has; the system unlocks it when we end."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, 1_000, os.SEEK_SET)  # What is locked cannot be read.
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            finally:
                os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # `lockf` knows no threads.
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # A file system without locks.
        return True
    return True


def is_leftover(path: Path) -> bool:
    """Whether a writer that was killed has left this; of a folder the name alone is no proof."""
    if path.is_symlink():
        return False
    if path.name == LOCK_FILE:
        return path.is_file()
    if not STAGING_NAME.fullmatch(path.name) or not path.is_dir():
        return False
    return _owner_mark(path).exists() or not any(path.iterdir())


def _owner_mark(staging: Path) -> Path:
    """The mark names the inode of its folder, which a download, an archive or a copy changes.

    So a staging folder that came with a stranger's checkpoint does not count. The number of the
    device is left out, because a restart of the machine may change it.
    """
    return staging / f"{OWNER_MARK}-{staging.lstat().st_ino}"


def _stagings(folder: Path) -> list[Path]:
    return [path for path in folder.glob(f"{STAGING}*") if is_leftover(path)]


def _is_complete(staging: Path) -> bool:
    return (staging / COMPLETE_MARK).exists() and not (staging / STAGED).is_symlink()


def name_of(folder: Path) -> str:
    """The name of a folder, also of the hidden one inside it that is filled."""
    folder = folder.resolve()
    is_staged = folder.name == STAGED and folder.parent.name.startswith(STAGING)
    return folder.parent.parent.name if is_staged else folder.name


def current_folder(folder: Path) -> Path:
    """The folder, or the hidden one inside it whose files had not yet all taken their places."""
    with suppress(OSError, ValueError):  # No name that a folder could have.
        for staging in _stagings(folder):
            if _is_complete(staging):
                return staging / STAGED
    return folder


def recover_folder(folder: Path, own_files: OwnFiles) -> None:
    """Ends the work of a writer that was cut off; the caller has the folder `locked`."""
    for staging in _stagings(folder):
        if _is_complete(staging):
            staged = staging / STAGED
            names = {path.relative_to(staged) for path in own_files(staged)}
            check_places(folder, names, own_files)
            _put_in_place(folder, staging, names, own_files)
        _discard(staging)


@contextmanager
def staged_folder(folder: Path, own_files: OwnFiles, *, keep: bool = False) -> Iterator[Path]:
    """Gives a folder to fill, whose files then take the places of those in `folder` together.

    All that can fail happens before the first file changes. The caller has the folder `locked`.

    Args:
        own_files: lists the files of a folder that are replaced, or removed where there is no
            new one; others stay.
        keep: these files are in the new folder from the beginning.
    """
    recover_folder(folder, own_files)
    staging = folder / f"{STAGING}{secrets.token_hex(8)}"
    staging.mkdir()
    _owner_mark(staging).touch()
    staged = staging / STAGED
    try:
        staged.mkdir()
        for path in own_files(folder) if keep else ():
            copy = staged / path.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            _link(path, copy)
        yield staged
        names = {path.relative_to(staged) for path in staged.rglob("*") if path.is_file()}
        check_places(folder, names, own_files)
        for path in [*staged.rglob("*"), staged, staging, folder]:
            sync(path)
        (staging / COMPLETE_MARK).touch()
        sync(staging)
    except BaseException:
        _discard(staging)
        raise
    _put_in_place(folder, staging, names, own_files)
    _discard(staging)


def check_places(folder: Path, names: Iterable[Path], own_files: OwnFiles) -> None:
    """Refuses a folder in which files of these names, or its own, could not be replaced."""
    user = os.geteuid() if sys.platform != "win32" else 0
    own = (path.relative_to(folder) for path in own_files(folder))
    for name in sorted({*names, *own}):
        place = folder / name
        for parent in [folder / part for part in name.parents if part.name]:
            if parent.is_symlink() or (parent.exists() and not parent.is_dir()):
                raise SentimentError(
                    f"{parent} is a link or a file, where a folder of its own is needed: remove it."
                )
        if place.is_dir() and not place.is_symlink():
            raise SentimentError(f"{place} is a folder, where a file is needed: remove it.")
        if not place.parent.exists():
            continue
        inside = place.parent.stat()
        # In a sticky folder a file is replaced by its owner, or the folder's, alone.
        is_sticky = bool(inside.st_mode & stat.S_ISVTX) and user not in (0, inside.st_uid)
        others = is_sticky and os.path.lexists(place) and place.lstat().st_uid != user
        if others or not os.access(place.parent, os.W_OK | os.X_OK):
            raise SentimentError(
                f"{place} cannot be written: the folder, or the file in it, belongs to another"
                " user.",
                exit_status=1,
            )


def _put_in_place(folder: Path, staging: Path, names: set[Path], own_files: OwnFiles) -> None:
    """Gives each staged file its place, the weights last; can be repeated."""
    staged = staging / STAGED
    touched = {folder}
    for name in sorted(names, key=lambda name: (name.suffix == ".safetensors", name)):
        place, moving = folder / name, staging / "moving"
        touched.add(place.parent)
        if place.exists() and place.samefile(staged / name):
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        moving.unlink(missing_ok=True)
        _link(staged / name, moving)
        if place.is_file() and not place.is_symlink():
            with suppress(OSError):  # Some mounted volumes know no modes.
                shutil.copymode(place, moving)
        os.replace(moving, place)
    for path in list(own_files(folder)):
        if path.relative_to(folder) not in names:
            path.unlink()
    for parent in touched:
        sync(parent)


def _discard(staging: Path) -> None:
    """Removes a staging folder, its mark of ownership last."""
    with suppress(OSError):
        (staging / COMPLETE_MARK).unlink(missing_ok=True)
        sync(staging)
        shutil.rmtree(staging / STAGED, ignore_errors=True)
        (staging / "moving").unlink(missing_ok=True)
        _owner_mark(staging).unlink(missing_ok=True)
        staging.rmdir()


def _link(source: Path, target: Path) -> None:
    """A second name for a file, which costs nothing; a copy where the disk has no such names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        with suppress(OSError):  # Nor do all disks know modes.
            shutil.copymode(source, target)
        sync(target)


def check_free(folder: Path) -> None:
    """Refuses a place where there is something; a mounted volume may bring its own folder along."""
    names = set(os.listdir(folder)) - {VOLUME_FOLDER, LOCK_FILE} if folder.is_dir() else {""}
    if os.path.lexists(folder) and names:
        raise SentimentError(f"{folder} is there already: name another folder with `output`.")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Gives a folder to fill, which then becomes `folder`, one that is empty or not there."""
    if folder.exists():  # It may be a mounted volume.
        with locked(folder):
            check_free(folder)  # A checkpoint may have been saved there meanwhile.
            with staged_folder(folder, lambda _: ()) as new:
                yield new
        return
    folder = folder.resolve()
    new = folder.with_name(f"{STAGING}{secrets.token_hex(8)}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        new.mkdir()
    except OSError as error:
        raise SentimentError(
            f"{folder} cannot be written: {error.strerror}.", exit_status=1
        ) from error
    try:
        yield new
        for path in [*new.rglob("*"), new]:
            sync(path)
        os.rename(new, folder)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    sync(folder.parent)
