"""The one exception that a command turns into a message, and the messages of all others."""

import errno
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sentiment_hf.signals import end_as_by_ctrl_c

# What a terminal or an editor acts on instead of showing it: control characters (also of escape
# sequences), line ends, marks that turn the direction of a line; and half characters without UTF-8.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

# What a file is called until it is whole.
TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp$")


def decoded(name: str) -> str:
    """A name from outside as text: bytes that are none, as of old file systems, become U+FFFD."""
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:  # No name that a file can have.
        return name.encode("utf-8", "replace").decode()


def printable(text: str) -> str:
    """A text as one line to be shown: control characters become visible, as `\\x1b`."""
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def json_text(values: Any, *, ascii_only: bool = False) -> str:
    """One line of JSON in which control characters are escaped."""
    line = json.dumps(values, ensure_ascii=ascii_only)
    return UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


def without_password(text: str) -> str:
    """A text in which no address carries a user and a password, whatever characters they have."""
    return re.sub(r"(?<=://)(?:[^\s/@:]*:\S*|[^\s/]*)@", "", text)


def _is_address(text: str) -> bool:
    try:
        return urlsplit(text).port != 0
    except ValueError:
        return False


class SentimentError(Exception):
    """Something the user can act on, in one line.

    Args:
        message: what is wrong, where, and what to do about it.
        exit_status: what a command ends with: 2 for wrong usage or bad input,
            1 for a failure while running (network, disk, a loss that is not a number).
    """

    def __init__(self, message: str, *, exit_status: int = 2) -> None:
        # A message of a library that is quoted in it may have lines of its own.
        super().__init__(printable(without_password(" ".join(message.splitlines()))))
        self.exit_status = exit_status


_PACKAGES = {"sklearn": "scikit-learn"}
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT)


def cache_error(error: BaseException | None) -> SentimentError | None:
    """The message where a cache of Hugging Face's libraries cannot be written, else None."""
    if not (isinstance(error, OSError) and error.filename and error.errno in _UNWRITABLE):
        return None
    from huggingface_hub import constants

    path = Path(os.fsdecode(error.filename))
    caches = {"HF_HUB_CACHE": constants.HF_HUB_CACHE, "HF_HOME": constants.HF_HOME}
    if "datasets.config" in sys.modules:  # It is slow to import.
        caches = {"HF_DATASETS_CACHE": sys.modules["datasets.config"].HF_DATASETS_CACHE, **caches}
    # The error names the first folder that could not be made: it may lie above the cache.
    above = [name for name in reversed(caches) if Path(caches[name]).is_relative_to(path)]
    inside = [name for name in caches if path.is_relative_to(caches[name])]
    if error.errno == errno.ENOENT:  # Any file can be missing in a cache.
        inside = []
    if not above + inside:
        return None
    name = (above + inside)[0]
    return SentimentError(
        f"The cache of data sets and models, {caches[name]}, cannot be written"
        f" ({error.strerror}); name another folder with {name}.",
        exit_status=1,
    )


def message_and_status(error: BaseException) -> tuple[str, int]:
    """An error as one line and an exit status; raised again where SENTIMENT_HF_DEBUG is set."""
    error = cache_error(error) or error
    if isinstance(error, SentimentError):
        message, status = str(error), error.exit_status
    elif isinstance(error, KeyboardInterrupt):
        message, status = "interrupted", 130
    elif os.environ.get("SENTIMENT_HF_DEBUG"):
        raise error
    elif isinstance(error, ModuleNotFoundError) and error.name:
        # As where the package was installed without its requirements, to predict alone.
        package = _PACKAGES.get(error.name, error.name)
        message = f"This needs {package}, which is not installed: pip install {package}"
        status = 2
    elif isinstance(error, ValueError) and not _is_address(os.environ.get("HF_ENDPOINT", "")):
        # The client's own message quotes what comes after the first colon: a part of a password.
        message = "HF_ENDPOINT is no address: a / or @ in its password is written as %2F or %40"
        status = 2
    elif isinstance(error, MemoryError):
        message, status = "There is not enough memory.", 1
    elif isinstance(error, OSError):
        name = Path(error.filename).name if isinstance(error.filename, str) else ""
        place = f": {TEMPORARY.sub('', name)}" if name else ""
        message, status = f"{error.strerror or error}{place}", 1
    else:
        message, status = f"{type(error).__name__}: {error}", 1
    return printable(without_password(" ".join(message.split()))), status


@contextmanager
def needs_extra(extra: str, message: str) -> Iterator[None]:
    """Turns a failing import into a message that names the extra to install."""
    try:
        yield
    except ImportError as error:
        raise SentimentError(f"{message}: pip install 'sentiment-hf[{extra}]'.") from error


def run_script(main: Callable[[], None]) -> int:
    """Runs a script's `main` as a command runs: an error is a message and an exit status."""
    end_as_by_ctrl_c()
    try:
        main()
    except (Exception, KeyboardInterrupt) as error:
        message, status = message_and_status(error)
        print(f"error: {message}", file=sys.stderr)
        return status
    return 0


# With the start of the program, an unreachable Hub is reported within ten seconds.
HUB_TIMEOUT_SECONDS = 5.0


@contextmanager
def hub_errors(what: str, *, without_hub: str) -> Iterator[None]:
    """Turns the failures of a call to the Hub into a `SentimentError`.

    Args:
        what: what is asked for, such as "the model 'user/name'".
        without_hub: what a user can do when the Hub is out of reach.
    """
    try:
        yield
    except SentimentError:
        raise
    except Exception as error:
        if unwritable := cache_error(error):
            raise unwritable from error
        reason, exit_status = _reason_and_status(error, without_hub)
        if reason is None:
            raise
        raise SentimentError(
            f"{what[0].upper()}{what[1:]} {reason}.", exit_status=exit_status
        ) from error


def _reason_and_status(error: Exception, without_hub: str) -> tuple[str | None, int]:
    """Why a call to the Hub failed and what a command ends with; None if it was not the call."""
    from huggingface_hub import errors

    # The first that fits counts: many of them are also an HfHubHTTPError, which is an OSError.
    reasons = (
        (errors.GatedRepoError, 1, "is gated: ask for access on its page, then log in with"
         " `hf auth login`"),
        (errors.RevisionNotFoundError, 2, "has no such revision"),
        (errors.RepositoryNotFoundError, 2, "does not exist, neither here nor on the Hub, or it is"
         " private and needs a valid token (`hf auth login`)"),
        (errors.LocalEntryNotFoundError, 1, "is not in the local cache and the Hub cannot be"
         f" reached; {without_hub}"),
        (errors.EntryNotFoundError, 1, "lacks a file that was just listed: it changed meanwhile,"
         " try again"),
        (errors.HFValidationError, 2, f"is no valid name: {first_line(error)}"),
        (errors.LocalTokenNotFoundError, 2, "needs a token: log in with `hf auth login`, or set"
         " HF_TOKEN"),
        (errors.OfflineModeIsEnabled, 1, "needs the Hub, but HF_HUB_OFFLINE is set;"
         f" {without_hub}"),
        (errors.HfHubHTTPError, 1, _refusal(error)),
    )  # fmt: skip
    for kind, exit_status, reason in reasons:
        if isinstance(error, kind):
            return reason, exit_status
    if isinstance(error, OSError):
        if error.errno:  # A full disk, a folder that cannot be written.
            return None, 1
        return f"could not be reached ({first_line(error)}); {without_hub}", 1
    # What goes wrong while a file is uploaded comes wrapped.
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, errors.HfHubHTTPError):
        return _refusal(error.__cause__), 1
    # The client lets the errors of its HTTP library through, and that library changes.
    if type(error).__module__.split(".")[0] in _CLIENT_MODULES:
        kind_name = type(error).__name__
        return f"could not be had: the Hub cannot be reached ({kind_name}); {without_hub}", 1
    return None, 1


_CLIENT_MODULES = "httpx", "httpx2", "httpcore", "requests", "urllib3", "huggingface_hub", "hf_xet"


def _refusal(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    reasons = {
        401: "was refused: the token is not valid (`hf auth login`)",
        403: "was refused: the token does not allow this",
        409: "is in conflict with what is already there",
        412: "was changed by somebody else meanwhile; nothing was overwritten, try again",
        429: "was refused: too many requests, try again later",
    }
    return reasons.get(status or 0, f"was refused by the Hub: {first_line(error)}")


def first_line(error: BaseException) -> str:
    """What a library says of a failure, short enough to be quoted in a message."""
    line = without_password(str(error)).strip().partition("\n")[0]
    # An address may carry a signature.
    return re.sub(r"\?[^\s'\")]+", "", line)[:200].rstrip(".") or type(error).__name__
