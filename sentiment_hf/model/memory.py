"""What keeps the memory of a long run on a CPU in bounds, and its reuse fast."""

import ctypes
import os
import sys


def keep_few_shapes() -> None:
    """Bounds what oneDNN keeps ready on a CPU for each shape of a batch, if it has not begun yet.

    Texts have all lengths, so that most of what it keeps (1,024 of them) is never used again: a
    training grew to 17 GB, a pipeline by half. A number in the environment wins.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")


def keep_freed_memory() -> None:
    """Makes the allocator of a Linux process reuse memory instead of giving it back.

    Training takes and frees the same large blocks in every step; fetching each of them from the
    system anew costs about a fifth of the time on a CPU.
    """
    if sys.platform != "linux":
        return
    m_trim_threshold, m_top_pad, m_mmap_max, m_arena_max = -1, -2, -4, -8
    try:
        libc = ctypes.CDLL("libc.so.6")
        # What one thread frees another can take: backward passes run in a thread of their own.
        libc.mallopt(m_arena_max, 1)
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2**31 - 1)
        libc.mallopt(m_top_pad, 2**28)
    except (OSError, AttributeError):
        return  # Another C library: nothing is lost but speed.
