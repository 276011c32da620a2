"""Dictionaries of arrays, numbers and texts as files: JSON and raw arrays, no pickle.

Layout: magic, format version, CRC32 of the rest, length of the JSON part, JSON, arrays. An array
that repeats its first values is stored as those values, and the JSON says how often they come.
"""

import contextlib
import io
import json
import math
import os
import secrets
import stat
import struct
import zlib
from numbers import Integral
from pathlib import Path

import numpy as np

from rdlearn.exceptions import CorruptStreamError

__all__ = [
    "FORMAT_VERSION",
    "MAGIC",
    "check_limit",
    "pack",
    "read",
    "refuse_read_only",
    "unpack",
    "whole_file",
    "write",
]

MAGIC = b"RDLM"
FORMAT_VERSION = 3
# Bytes from which an array is worth a look for values that repeat, as those of images do, and the
# longest period looked for.
LARGE, LONGEST = 1 << 16, 4
# Bytes that the repeating arrays of one file may come to; the writer stores further ones in full.
MAX_REPEATED = 1 << 28
HEAD = struct.Struct("<4sIIQ")
DTYPES = {"f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}
# Keys that stand for what JSON lacks.
ARRAY, TEXTS = "__array__", "__texts__"


@contextlib.contextmanager
def whole_file(path):
    """Open a temporary file beside `path` for binary writing; rename it there on success.

    A reader never sees half a file, and a failure leaves what was there before. A link keeps
    pointing to its file; a device or pipe is written directly. A read-only file stays. What the
    system refuses is an OSError that names `path`.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        with io.BufferedWriter(_Named(path, "wb", path)) as file:
            yield file
        return
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"The folder {path.parent} does not exist; create it or write elsewhere."
        )
    refuse_read_only(path)
    # The longest name that `path` may have leaves no room for more beside it.
    part = path.parent / f"rdlearn-{secrets.token_hex(8)}.part"
    try:
        # Made as open() makes files, so that it is the system that applies the umask.
        with io.BufferedWriter(_Named(part, "xb", path)) as file:
            if path.exists():
                os.chmod(part, path.stat().st_mode & 0o777)
            yield file
        with _naming(path):
            os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def refuse_read_only(path):
    """Raise PermissionError where `path` is a file that its mode, or the system, keeps as it is."""
    with contextlib.suppress(FileNotFoundError):
        # To the superuser all is writable, but a file without any such bit is meant to stay.
        if not (os.stat(path).st_mode & 0o222 and os.access(path, os.W_OK)):
            raise PermissionError(
                f"The file {path} is read-only; make it writable or write elsewhere."
            )


class _Named(io.FileIO):
    """A file whose errors name the path that it is going to have."""

    def __init__(self, place, mode, path):
        self._path = path
        with _naming(path):
            super().__init__(place, mode)

    def write(self, data):
        with _naming(self._path):
            return super().write(data)

    def close(self):
        with _naming(self._path):
            super().close()


@contextlib.contextmanager
def _naming(path):
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def pack(state):
    """Bytes of a dictionary of JSON values, numpy scalars and arrays, nested at will.

    A tuple comes back as a list, and an object array holds one dimension of texts. The bytes are
    the same on every machine.
    """
    arrays, offset, room = [], 0, MAX_REPEATED

    def plain(value):
        nonlocal offset, room
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, np.ndarray) and value.dtype.str[1:] in DTYPES:
            data = value.astype(value.dtype.newbyteorder("<"), copy=False)
            place = {"dtype": data.dtype.str[1:], "shape": list(value.shape), "offset": offset}
            raw, times = data.tobytes(), 1
            if LARGE <= len(raw) <= room:
                times = _repeats(raw, data.dtype.itemsize)
            if times > 1:
                place["repeats"] = times
                room -= len(raw)
                raw = raw[: len(raw) // times]
            arrays.append(raw)
            offset += len(raw)
            return {ARRAY: place}
        if isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 1:
            if all(isinstance(text, str) for text in value):
                return {TEXTS: value.tolist()}
        if isinstance(value, dict) and all(
            isinstance(key, str) and key not in (ARRAY, TEXTS) for key in value
        ):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise ValueError(
            f"A model file holds arrays, numbers and texts only, not {value!r}; "
            "replace it (for example random_state by an integer) with set_params first."
        )

    text = json.dumps(plain(state), separators=(",", ":")).encode()
    body = b"".join([struct.pack("<Q", len(text)), text, *arrays])
    return HEAD.pack(MAGIC, FORMAT_VERSION, zlib.crc32(body), len(body)) + body


def _repeats(raw, itemsize):
    """How often the first few values of an array, given as bytes, make up the whole of it."""
    items = np.frombuffer(raw, dtype=f"u{itemsize}")
    for period in range(1, LONGEST + 1):
        if items.size % period == 0 and np.array_equal(items[period:], items[:-period]):
            return items.size // period
    return 1


def unpack(blob, max_bytes=None):
    """Inverse of `pack`; CorruptStreamError for anything else, ValueError beyond `max_bytes`."""
    blob = memoryview(blob)
    checksum, length = _declared(bytes(blob[: HEAD.size]))
    _refuse_large(len(blob), max_bytes)
    body = blob[HEAD.size :]
    _refuse_other_length(len(body), length)
    if zlib.crc32(body) != checksum:
        raise CorruptStreamError("The model file's checksum is wrong: it is damaged.")
    if length < 8:
        raise CorruptStreamError("The model file has no description.")
    (size,) = struct.unpack_from("<Q", body)
    if size > len(body) - 8:
        raise CorruptStreamError("The model file's description runs past its end.")
    data = body[8 + size :]
    used = repeated = 0

    def allow(size):
        """Take so many bytes that are not in the file, or refuse."""
        nonlocal repeated
        repeated += size
        if repeated > MAX_REPEATED:
            raise CorruptStreamError("The model file's arrays repeat their values too often.")
        _refuse_large(len(blob) + repeated, max_bytes)

    def restore(value):
        nonlocal used
        if isinstance(value, list):
            return [restore(item) for item in value]
        if not isinstance(value, dict):
            return value
        if TEXTS in value:
            return np.array([str(text) for text in value[TEXTS]], dtype=object)
        if ARRAY in value:
            array, size = _array(value[ARRAY], data, used, allow)
            used += size
            return array
        return {key: restore(item) for key, item in value.items()}

    try:
        state = restore(json.loads(bytes(body[8 : 8 + size])))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, CorruptStreamError | _TooLargeError):
            raise
        raise CorruptStreamError(f"The model file's description is damaged ({error}).") from None
    if not isinstance(state, dict) or used != len(data):
        raise CorruptStreamError("The model file does not hold a model, or more than one.")
    return state


def _declared(head):
    """Checksum and length of what follows the head of a model file."""
    if len(head) < HEAD.size or head[:4] != MAGIC:
        raise CorruptStreamError("This is not an rdlearn model file (wrong first bytes).")
    _, version, checksum, length = HEAD.unpack(head)
    if version != FORMAT_VERSION:
        raise CorruptStreamError(
            f"The model file has format version {version}; this rdlearn reads {FORMAT_VERSION}. "
            "Load it with the rdlearn that wrote it."
        )
    return checksum, length


def _refuse_other_length(present, length):
    if present != length:
        raise CorruptStreamError(f"The model file holds {present} of {length} bytes: truncated.")


class _TooLargeError(ValueError):
    """What is intact, but more than the caller allows."""


def check_limit(max_bytes):
    """ValueError where a limit is neither None nor a positive number of bytes."""
    whole = isinstance(max_bytes, Integral) and not isinstance(max_bytes, bool) and max_bytes > 0
    if not (max_bytes is None or whole):
        raise ValueError(f"max_bytes={max_bytes!r} must be a positive integer, or None.")


def _refuse_large(size, max_bytes):
    if max_bytes is not None and size > max_bytes:
        raise _TooLargeError(
            f"The model takes {size} bytes, more than max_bytes={max_bytes}; raise max_bytes "
            "if you trust its author."
        )


def _array(place, data, offset, allow):
    """An array, and how many bytes of the file it takes; ``allow(size)`` is asked for others."""
    # Arrays follow each other, so a file cannot hold more of them than it has bytes.
    kind, shape, times = place["dtype"], place["shape"], place.get("repeats", 1)
    possible = kind in DTYPES and place["offset"] == offset
    if not possible or not all(type(n) is int and n >= 0 for n in [*shape, times]):
        raise CorruptStreamError(f"The model file describes an impossible array ({place}).")
    dtype = np.dtype("<" + kind)
    size = math.prod(shape) * dtype.itemsize
    taken, rest = divmod(size, max(1, times))
    if taken > len(data) - offset:
        raise CorruptStreamError("An array of the model file runs past its end.")
    if times == 0 or rest or taken % dtype.itemsize:
        raise CorruptStreamError("An array of the model file repeats its values impossibly often.")
    allow(size - taken)
    array = np.frombuffer(data[offset : offset + taken], dtype)
    # Any byte but 0 is true; as a numpy bool it must be 1.
    array = array.view(np.uint8) != 0 if kind == "b1" else array.astype(dtype.newbyteorder("="))
    return np.tile(array, times).reshape(shape), taken


def write(path, state):
    """Write a dictionary to a file, whole or not at all."""
    blob = pack(state)
    with whole_file(path) as file:
        file.write(blob)


def read(path, max_bytes=None):
    """The dictionary in a file that `write` wrote; `max_bytes` is that of `unpack`."""
    check_limit(max_bytes)
    with open(path, "rb") as file:
        head = file.read(HEAD.size)
        _, length = _declared(head)
        status = os.fstat(file.fileno())
        # Of a pipe nobody knows the length before its end.
        if stat.S_ISREG(status.st_mode):
            _refuse_other_length(status.st_size - HEAD.size, length)
            _refuse_large(status.st_size, max_bytes)
        blob = head + file.read()
    return unpack(blob, max_bytes)
