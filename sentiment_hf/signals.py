"""SIGTERM and SIGHUP end a command as Ctrl-C does, and the processes forked from it at once."""

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

# The end of a machine that is only lent, and a terminal that is closed; Windows has no second.
ENDING_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
SECONDS_TO_END = 5.0
SECONDS_AFTER_FORK = 0.01


def end_as_by_ctrl_c() -> None:
    """From here on SIGTERM and SIGHUP end the process as Ctrl-C does; ignored, they stay so."""
    if threading.current_thread() is not threading.main_thread():
        return
    received = -SECONDS_TO_END

    def interrupt(signum: int, frame: Any) -> None:
        nonlocal received
        # A terminal that closes sends several: the others do not cut off what ends cleanly.
        if time.monotonic() - received > SECONDS_TO_END:
            received = time.monotonic()
            raise KeyboardInterrupt

    handled = [one for one in ENDING_SIGNALS if signal.getsignal(one) is signal.SIG_DFL]
    for one in handled:
        signal.signal(one, interrupt)
    if handled and hasattr(signal, "sigtimedwait"):  # Neither on Windows nor on macOS.
        _end_forked_processes_at_once(handled, interrupt)


def _end_forked_processes_at_once(
    handled: list[signal.Signals], handler: Callable[[int, Any], None]
) -> None:
    """A process that is forked from this one ends by these signals as if no handler had been set.

    A pool, as `map(num_proc=2)` makes one, ends its processes by SIGTERM and waits for them. One
    that arrives right after the fork is lost where there is a handler (Python forgets in the new
    process what was pending), and the pool would wait for ever: so they are blocked meanwhile.
    """
    blocked = {signal.SIGINT, *handled}
    of_thread = threading.local()

    def block() -> None:
        of_thread.mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)

    def unblock() -> None:
        # Python ignores what a handler raises in here, so this process gets them a little later.
        for one in signal.sigpending() & blocked:
            if signal.sigtimedwait([one], 0):
                threading.Timer(SECONDS_AFTER_FORK, os.kill, (os.getpid(), one)).start()
        signal.pthread_sigmask(signal.SIG_SETMASK, of_thread.mask)

    def restore() -> None:
        for one in handled:
            if signal.getsignal(one) is handler:
                signal.signal(one, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, of_thread.mask)

    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=restore)
