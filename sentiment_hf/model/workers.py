"""Batches of texts computed several at once, each in one thread: faster than threads within one."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import numpy as np

Batch = tuple[np.ndarray, list[np.ndarray]]
Answer = TypeVar("Answer")

WORDS_PER_BATCH = 8_192
_IMPORTED_IN = os.getpid()


def answer_batches(
    answer: Callable[[Batch], Answer],
    batches: Iterable[Batch],
    threads: int,
    begin: Callable[[], None] | None = None,
) -> Iterator[Answer]:
    """The answer to each batch, in order.

    Args:
        threads: at most that many at once; one batch is answered in the caller's own thread.
        begin: called in each new thread first.
    """
    batches = list(batches)
    if threads == 1 or len(batches) < 2:
        return map(answer, batches)
    return _pool(threads, begin, os.getpid()).map(answer, batches)


@lru_cache
def _pool(threads: int, begin: Callable[[], None] | None, process: int) -> ThreadPoolExecutor:
    """Shared by all callers of a process, so that they do not outnumber its cores."""
    return ThreadPoolExecutor(threads, "sentiment-hf", begin)


def threads_at_once() -> int:
    """As many as there are cores for this process, or as OMP_NUM_THREADS says, which torch reads.

    One in a forked process, as `map(num_proc=2)` makes them: it is one of several.
    """
    if os.getpid() != _IMPORTED_IN:
        return 1
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
