"""Signals that end a command."""

import contextlib
import signal
import threading

__all__ = ["ended_by_signals"]


@contextlib.contextmanager
def ended_by_signals():
    """SIGTERM and SIGHUP as SystemExit, so that unfinished files are removed on the way out."""

    def leave(number, frame):
        raise SystemExit(128 + number)

    before = {}
    try:
        # Only the main thread may; what is ignored, as nohup has it, stays ignored.
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)
                if number is not None and signal.getsignal(number) == signal.SIG_DFL:
                    before[number] = signal.signal(number, leave)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
