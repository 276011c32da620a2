"""Ctrl-C while the command line is being imported.

The package takes a second or more to import, and nothing can catch an interrupt before. Where
Python was started as `rdlearn` or `python -m rdlearn`, the system's own reaction to Ctrl-C holds
in that time: the process ends at once, and the shell sees status 130 and no traceback. In every
other process, where rdlearn is a library, importing it changes no reaction to signals.
"""

import contextlib
import itertools
import os
import signal
import sys

__all__ = ["caught"]

# Names of the console script.
NAMES = ("rdlearn", "rdlearn.exe")


def _is_command():
    # orig_argv is the command of this very process, where joblib gives its workers our sys.argv.
    given = sys.orig_argv[1:]
    # While Python looks for the module of -m, that is what argv begins with.
    module = sys.argv[:1] == ["-m"] and ("-m", "rdlearn") in itertools.pairwise(given)
    return module or os.path.basename(given[0] if given else "") in NAMES


QUIET = _is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler
if QUIET:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def caught():
    """Within the block, Ctrl-C raises KeyboardInterrupt again."""
    if QUIET:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if QUIET:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
