"""What the command writes: results on stdout; messages and failures, in one sentence, on stderr."""

import logging
import os
import re
import sys
from contextlib import suppress
from typing import Any

import click

from sentiment_hf.errors import SentimentError, json_text, message_and_status, printable
from sentiment_hf.signals import end_as_by_ctrl_c


class CommandGroup(click.Group):
    """Ends every failure with one message and the right exit status."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        end_as_by_ctrl_c()
        try:
            sys.exit(super().main(*args, **{**kwargs, "standalone_mode": False}) or 0)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.ctx.get_help(), err=True)
            sys.exit(2)
        except click.ClickException as error:
            message = error.format_message()
            if isinstance(error, click.NoSuchOption):
                message += " A text that begins with '-' goes after '--'."
            self._fail(*message_and_status(SentimentError(message)))
        except click.Abort:
            self._fail(*message_and_status(KeyboardInterrupt()))
        except (Exception, KeyboardInterrupt) as error:
            self._fail(*message_and_status(error))

    def _fail(self, message: str, exit_status: int) -> None:
        with suppress(OSError):  # A terminal that was closed takes no message.
            click.echo(f"error: {self.with_options(message)}", err=True)
        sys.exit(exit_status)

    def with_options(self, message: str) -> str:
        """A library's message, with the command's options in place of Python's parameters."""
        options = {
            parameter.name: parameter.opts[0]
            for command in self.commands.values()
            for parameter in command.params
            if isinstance(parameter, click.Option)
        }
        return re.sub(r"`(\w+)`", lambda found: options.get(found[1], found[0]), message)


def print_result(line: str) -> None:
    """Prints a line; ends quietly where the reader of the output has closed it, as `head` does."""
    try:
        click.echo(line)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def json_line(values: Any) -> str:
    """One line of JSON, readable where the output can take it."""
    encoding = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "")
    return json_text(values, ascii_only=encoding != "utf8")


def is_first_process() -> bool:
    """Of several processes that torchrun started, only the first one writes messages."""
    several = os.environ.get("WORLD_SIZE", "1") not in ("", "0", "1")
    return not several or os.environ.get("RANK", "0") == "0"


class MessageHandler(logging.Handler):
    """Writes messages to stderr, between the lines of a progress bar."""

    def __init__(self, group: CommandGroup) -> None:
        super().__init__()
        self.group = group

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm.auto import tqdm

        if sys.stderr is None:  # As where there is no console.
            return
        with suppress(OSError):  # A terminal that was closed.
            tqdm.write(printable(self.group.with_options(self.format(record))), file=sys.stderr)
