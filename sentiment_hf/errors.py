"""The one exception that a command turns into a sentence, and how every other one is told."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class SentimentError(Exception):
    """Something the user can act on, said in one sentence.

    Args:
        message: what is wrong, where, and what to do about it.
        exit_status: what a command ends with: 2 for wrong usage or bad input,
            1 for a failure while running (network, disk, a loss that is not a number).
    """

    def __init__(self, message: str, *, exit_status: int = 2) -> None:
        # A message of a library that is quoted in it may have lines of its own.
        super().__init__(" ".join(message.splitlines()))
        self.exit_status = exit_status


def message_and_status(error: BaseException) -> tuple[str, int]:
    """An error as one line and an exit status; raised again where SENTIMENT_HF_DEBUG is set."""
    if isinstance(error, SentimentError):
        message, status = str(error), error.exit_status
    elif isinstance(error, KeyboardInterrupt):
        message, status = "interrupted", 130
    elif os.environ.get("SENTIMENT_HF_DEBUG"):
        raise error
    elif isinstance(error, OSError):
        place = f": {Path(error.filename).name}" if isinstance(error.filename, str) else ""
        message, status = f"{error.strerror or error}{place}", 1
    else:
        message, status = f"{type(error).__name__}: {error}", 1
    return " ".join(message.split()), status


def run_script(main: Callable[[], None]) -> int:
    """Runs a script's `main` as a command runs: an error is one sentence and an exit status."""
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
    from huggingface_hub import errors

    def fail(reason: str, exit_status: int = 1) -> SentimentError:
        return SentimentError(f"{what[0].upper()}{what[1:]} {reason}.", exit_status=exit_status)

    try:
        yield
    except SentimentError:
        raise
    except errors.GatedRepoError:
        raise fail(
            "is gated: ask for access on its page, then log in with `hf auth login`"
        ) from None
    except errors.RevisionNotFoundError:
        raise fail("has no such revision", 2) from None
    except errors.RepositoryNotFoundError:
        raise fail(
            "does not exist, neither here nor on the Hub, or it is private and needs a valid token"
            " (`hf auth login`)",
            2,
        ) from None
    except errors.EntryNotFoundError as error:
        if not isinstance(error, errors.LocalEntryNotFoundError):
            raise fail(
                "lacks a file that was just listed: it changed meanwhile, try again"
            ) from None
        raise fail(
            f"is not in the local cache and the Hub cannot be reached; {without_hub}"
        ) from None
    except errors.HFValidationError as error:
        raise fail(f"is no valid name: {_first_line(error)}", 2) from None
    except errors.LocalTokenNotFoundError:
        raise fail("needs a token: log in with `hf auth login`, or set HF_TOKEN", 2) from None
    except errors.OfflineModeIsEnabled:
        raise fail(f"needs the Hub, but HF_HUB_OFFLINE is set; {without_hub}") from None
    except errors.HfHubHTTPError as error:
        raise fail(_refusal(error)) from None
    except OSError as error:
        if error.errno:  # A full disk, a folder that cannot be written.
            raise
        raise fail(f"could not be reached ({_first_line(error)}); {without_hub}") from None
    except RuntimeError as error:
        # What goes wrong while a file is uploaded comes wrapped.
        if not isinstance(error.__cause__, errors.HfHubHTTPError):
            raise
        raise fail(_refusal(error.__cause__)) from None
    except Exception as error:
        if type(error).__module__.split(".")[0] not in _CLIENT_MODULES:
            raise
        # The client lets the errors of its HTTP library through, and that library changes.
        raise fail(
            f"could not be had: the Hub cannot be reached ({type(error).__name__}); {without_hub}"
        ) from None


_CLIENT_MODULES = {
    "httpx",
    "httpx2",
    "httpcore",
    "requests",
    "urllib3",
    "huggingface_hub",
    "hf_xet",
}


def _refusal(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    reasons = {
        401: "was refused: the token is not valid (`hf auth login`)",
        403: "was refused: the token does not allow this",
        409: "is in conflict with what is already there",
        412: "was changed by somebody else meanwhile; nothing was overwritten, try again",
        429: "was refused: too many requests, try again later",
    }
    return reasons.get(status or 0, f"was refused by the Hub: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    # An address may carry a signature.
    return (
        re.sub(r"\?[^\s'\")]+", "", lines[0])[:160].rstrip(".") if lines else type(error).__name__
    )
