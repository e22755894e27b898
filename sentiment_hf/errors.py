"""The one exception that a command turns into a sentence, and how every other one is told."""

import os
import sys
from collections.abc import Callable
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


def told(error: BaseException) -> tuple[str, int]:
    """An error as one line and an exit status; raised again where SENTIMENT_HF_DEBUG is set."""
    if isinstance(error, SentimentError):
        sentence, status = str(error), error.exit_status
    elif isinstance(error, KeyboardInterrupt):
        sentence, status = "interrupted", 130
    elif os.environ.get("SENTIMENT_HF_DEBUG"):
        raise error
    elif isinstance(error, OSError):
        place = f": {Path(error.filename).name}" if isinstance(error.filename, str) else ""
        sentence, status = f"{error.strerror or error}{place}", 1
    else:
        sentence, status = f"{type(error).__name__}: {error}", 1
    return " ".join(sentence.split()), status


def run_script(main: Callable[[], None]) -> int:
    """Runs a script's `main` as a command runs: an error is one sentence and an exit status."""
    try:
        main()
    except (Exception, KeyboardInterrupt) as error:
        sentence, status = told(error)
        print(f"error: {sentence}", file=sys.stderr)
        return status
    return 0
