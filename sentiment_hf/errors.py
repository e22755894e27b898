"""The one exception that a command turns into a sentence."""

import sys
from collections.abc import Callable


class SentimentError(Exception):
    """Something the user can act on, said in one sentence.

    Args:
        message: what is wrong, where, and what to do about it.
        exit_status: what a command ends with: 2 for wrong usage or bad input,
            1 for a failure while running (network, disk, a loss that is not a number).
    """

    def __init__(self, message: str, *, exit_status: int = 2) -> None:
        super().__init__(message)
        self.exit_status = exit_status


def run_script(main: Callable[[], None]) -> int:
    """Runs a script's `main` as a command runs: an error is one sentence and an exit status."""
    try:
        main()
    except SentimentError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0
