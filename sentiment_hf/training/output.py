"""The folder that a training writes, and what of an earlier training lies there."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from accelerate import Accelerator

from sentiment_hf.arguments import check_path
from sentiment_hf.checkpoint.files import plain_path
from sentiment_hf.checkpoint.folder import (
    CONFIG_FILE,
    TRAINING_FILE,
    check_replaceable,
    foreign_file,
    published,
    read_config,
)
from sentiment_hf.checkpoint.records import read_record
from sentiment_hf.checkpoint.staging import (
    current_folder,
    locked,
    recover_folder,
    staged_folder,
)
from sentiment_hf.errors import SentimentError
from sentiment_hf.training.state import STATE_FILES, STATE_FOLDER, StateFolder

logger = logging.getLogger(__name__)


class OutputFolder:
    """The folder that a training writes, with the state that it resumes from.

    Raises:
        SentimentError: from each method: no training may write there, because of what the folder
            is or holds, or because another process writes into it.
    """

    def __init__(self, path: str | Path, *, resume: bool, overwrite: bool) -> None:
        check_path("output", path)
        self.path = plain_path(Path(path))
        self.resume, self.overwrite = resume, overwrite
        here = Path.cwd()
        if self.path.resolve() in (here, *here.parents):
            raise SentimentError(
                "Name the folder to write with `output`: it cannot be the one you are in or one"
                " above it."
            )
        for part in (self.path, *self.path.parents):
            if part.exists() and not part.is_dir():
                raise SentimentError(f"{part} is a file; `output` names a folder.")
        self.state = StateFolder(self.path / STATE_FOLDER)
        self.lock = ExitStack()

    def is_finished(self) -> bool:
        """Whether there is nothing left to do; touches nothing but what a kill has left."""
        found = self._content()
        if found == "training":
            if current_folder(self.path) != self.path:
                with locked(self.path):
                    recover_folder(self.path, published)
            logger.warning("The training in %s is already finished.", self.path)
            return True
        if self.resume and found != "state":
            logger.warning("There is no training in %s to resume; starting afresh.", self.path)
        return False

    def _content(self) -> str:
        """What the folder holds: a `state`, a finished `training` (to resume), or `nothing`."""
        self._check_no_foreign_files()
        whole = current_folder(self.path)
        occupied = (whole / CONFIG_FILE).exists()
        if occupied:
            read_config(whole)
        if self.state.exists():
            if not (self.resume or self.overwrite):
                raise SentimentError(
                    f"The folder {self.path} holds an unfinished training; go on with `resume`, or"
                    " start afresh with `overwrite`."
                )
            return "state"
        # A record of other weights says nothing of those that are there.
        if occupied and self.resume and read_record(whole, TRAINING_FILE):
            return "training"
        if occupied and not self.overwrite:
            raise SentimentError(
                f"The folder {self.path} holds a checkpoint already; replace it with `overwrite`."
            )
        return "nothing"

    def check_writable(self, accelerator: Accelerator) -> None:
        """Tries now what is needed at the end."""
        place = next(path for path in (self.path, *self.path.parents) if path.exists())
        if not os.access(place, os.W_OK):
            raise SentimentError(f"The folder {place} cannot be written.", exit_status=1)
        if accelerator.is_main_process and place == self.path:
            with locked(self.path):
                recover_folder(self.path, published)
                check_replaceable(self.path)

    def begin(self, accelerator: Accelerator) -> None:
        """Keeps other processes out from here on."""
        accelerator.wait_for_everyone()  # No process still looks at what the first one drops.
        if accelerator.is_main_process:
            self.lock.enter_context(locked(self.path))
            with self.released_on_error():
                # Another process may have come and gone since the first look.
                if self._content() == "training":
                    raise SentimentError(
                        f"Another process has just finished the training in {self.path}."
                    )
                if not self.resume:
                    self.state.remove()
        accelerator.wait_for_everyone()

    @contextmanager
    def released_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.lock.close()
            raise

    def replace(self, accelerator: Accelerator, fill: Callable[[Path], None]) -> None:
        """Fills a new folder, whose files take the places of this one's; the first process does.

        If something foreign has come into the folder meanwhile, nothing is replaced; the state is
        still there then, and `resume` ends the training in a moment.
        """
        if accelerator.is_main_process:
            with self.lock:
                with staged_folder(self.path, published) as new:
                    fill(new)
                    self._check_no_foreign_files()
                self.state.remove()
        accelerator.wait_for_everyone()

    def _check_no_foreign_files(self) -> None:
        foreign = foreign_file(self.path, STATE_FILES)
        if foreign:
            raise SentimentError(
                f"The folder {self.path} holds something that is no part of a checkpoint"
                f" ({foreign!r}); nothing was touched."
            )
