"""Standard input, output and error of a command: "-" for a file, and streams that are closed."""

import contextlib
import errno
import functools
import os
import shutil
import sys
import tempfile

from rdlearn._persistence import whole_file

__all__ = [
    "STANDARD",
    "leave_streams",
    "open_input",
    "output_named",
    "reopen_closed",
    "silent_libraries",
    "whole_output",
]

# The name that stands for standard input or standard output.
STANDARD = "-"
# Bytes of a standard stream that are kept in memory; more of them go to a temporary file.
SPOOLED = 1 << 26


@contextlib.contextmanager
def open_input(name):
    """Open a file, or standard input for "-", to read bytes; both can be opened again."""
    if name == STANDARD:
        file = _spooled(sys.stdin)
        file.seek(0)
        yield file
    else:
        with open(name, "rb") as file:
            yield file


@functools.lru_cache(maxsize=1)
def _spooled(stream):
    """The bytes of a text stream, in a file that can be read more than once."""
    if stream is None:
        raise OSError(errno.EBADF, "It is closed; name a file", "standard input")
    file = tempfile.SpooledTemporaryFile(SPOOLED)
    shutil.copyfileobj(stream.buffer, file)
    return file


@contextlib.contextmanager
def whole_output(path):
    """Open for writing bytes: `whole_file`, or standard output for "-", written at the end."""
    if path != STANDARD:
        with whole_file(path) as file:
            yield file
        return
    with tempfile.SpooledTemporaryFile(SPOOLED) as file:
        yield file
        file.seek(0)
        with output_named():
            shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()


@contextlib.contextmanager
def output_named():
    """Within the block, what the system refuses is refused of standard output."""
    try:
        yield
    except BrokenPipeError:  # the reader is gone, and nothing is amiss
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from None


def reopen_closed():
    """Lead closed standard streams to the null device; returns whether stdout was closed.

    Otherwise the next file that is opened takes the number of a closed stream, and whatever a
    library prints goes into that file.
    """
    closed = sys.stdout is None
    if closed or sys.stderr is None:
        while os.open(os.devnull, os.O_RDWR) <= 2:
            pass
        sys.stdout = sys.stdout or open(os.devnull, "w")
        sys.stderr = sys.stderr or open(os.devnull, "w")
    return closed


@contextlib.contextmanager
def silent_libraries():
    """Within the block nothing reaches stderr of what libraries in C print, such as libtiff."""
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def leave_streams():
    """End the use of the standard streams.

    One that cannot be written, full or abandoned, is led to the null device: the interpreter would
    try again to write the rest, and complain.
    """
    if _spooled.cache_info().currsize:
        _spooled(sys.stdin).close()
        _spooled.cache_clear()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
