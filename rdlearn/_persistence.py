"""Dictionaries of arrays, numbers and texts as files: JSON and raw arrays, no pickle.

Layout: magic, format version, CRC32 of the rest, length of the JSON part, JSON, arrays. Format 2 is
format 1 with some arrays deflated.
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

__all__ = ["FORMAT_VERSION", "MAGIC", "pack", "read", "unpack", "whole_file", "write"]

MAGIC = b"RDLM"
FORMAT_VERSION = 2
# Arrays of so many bytes are deflated where that halves them: those of images repeat their values.
LARGE = 1 << 16
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


def pack(state, deflate=True):
    """Bytes of a dictionary of JSON values, numpy scalars and arrays, nested at will.

    A tuple comes back as a list, and an object array holds one dimension of texts. Deflated bytes
    depend on the machine's zlib; the others are the same everywhere.
    """
    arrays, offset = [], 0

    def plain(value):
        nonlocal offset
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, np.ndarray) and value.dtype.str[1:] in DTYPES:
            data = value.astype(value.dtype.newbyteorder("<"), copy=False)
            place = {"dtype": data.dtype.str[1:], "shape": list(value.shape), "offset": offset}
            raw = data.tobytes()
            short = zlib.compress(raw, 1) if deflate and len(raw) >= LARGE else raw
            if 2 * len(short) < len(raw):
                place["deflated"], raw = len(short), short
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
    version = 2 if b'"deflated":' in text else 1
    return HEAD.pack(MAGIC, version, zlib.crc32(body), len(body)) + body


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
    used = 0

    def restore(value):
        nonlocal used
        if isinstance(value, list):
            return [restore(item) for item in value]
        if not isinstance(value, dict):
            return value
        if TEXTS in value:
            return np.array([str(text) for text in value[TEXTS]], dtype=object)
        if ARRAY in value:
            array, size = _array(value[ARRAY], data, used)
            used += size
            return array
        return {key: restore(item) for key, item in value.items()}

    try:
        state = restore(json.loads(bytes(body[8 : 8 + size])))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, CorruptStreamError):
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
    if not 1 <= version <= FORMAT_VERSION:
        raise CorruptStreamError(
            f"The model file has format version {version}; this rdlearn reads up to "
            f"{FORMAT_VERSION}. Load it with the rdlearn that wrote it."
        )
    return checksum, length


def _refuse_other_length(present, length):
    if present != length:
        raise CorruptStreamError(f"The model file holds {present} of {length} bytes: truncated.")


def _refuse_large(size, max_bytes):
    if max_bytes is not None and size > max_bytes:
        raise ValueError(
            f"The model file takes {size} bytes, more than max_bytes={max_bytes}; raise max_bytes "
            "if you trust its author."
        )


def _array(place, data, offset):
    """An array, and how many bytes of the file it takes."""
    # Arrays follow each other, so a file cannot hold more of them than it has bytes.
    kind, shape = place["dtype"], place["shape"]
    possible = kind in DTYPES and place["offset"] == offset
    if not possible or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise CorruptStreamError(f"The model file describes an impossible array ({place}).")
    dtype = np.dtype("<" + kind)
    size = math.prod(shape) * dtype.itemsize
    taken = place.get("deflated", size)
    if not isinstance(taken, int) or not 0 <= taken <= len(data) - offset:
        raise CorruptStreamError("An array of the model file runs past its end.")
    raw = data[offset : offset + taken]
    if "deflated" in place:
        raw = _inflated(raw, size)
    array = np.frombuffer(raw, dtype)
    # Any byte but 0 is true; as a numpy bool it must be 1.
    array = array.view(np.uint8) != 0 if kind == "b1" else array.astype(dtype.newbyteorder("="))
    return array.reshape(shape), taken


def _inflated(raw, size):
    # Deflate shortens a thousandfold at most, which bounds what a small file can ask for.
    if size <= 1100 * len(raw):
        inflate = zlib.decompressobj()
        with contextlib.suppress(zlib.error):
            out = inflate.decompress(raw, size + 1)
            if len(out) == size and inflate.eof:
                return out
    raise CorruptStreamError("A deflated array of the model file is damaged.")


def write(path, state):
    """Write a dictionary to a file, whole or not at all."""
    blob = pack(state)
    with whole_file(path) as file:
        file.write(blob)


def read(path, max_bytes=None):
    """The dictionary in a file that `write` wrote; `max_bytes` is that of `unpack`."""
    if not (max_bytes is None or (isinstance(max_bytes, Integral) and max_bytes > 0)):
        raise ValueError(f"max_bytes={max_bytes!r} must be a positive integer, or None.")
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
