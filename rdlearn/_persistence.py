"""Dictionaries of arrays, numbers and texts as files: JSON and raw arrays, no pickle.

Layout: magic, format version, CRC32 of the rest, length of the JSON part, JSON, arrays.
"""

import contextlib
import json
import math
import os
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np

from rdlearn.exceptions import CorruptStreamError

__all__ = ["FORMAT_VERSION", "MAGIC", "pack", "read", "unpack", "whole_file", "write"]

MAGIC = b"RDLM"
FORMAT_VERSION = 1
HEAD = struct.Struct("<4sHxxIQ")
DTYPES = {"f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}


@contextlib.contextmanager
def whole_file(path):
    """Open a temporary file beside `path` for binary writing; rename it there on success.

    A reader never sees half a file, and a failure leaves what was there before.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(prefix=path.name + ".", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        # mkstemp makes files private; give the mode that open() would have given.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def pack(state):
    """Bytes of a dictionary of JSON values, numpy scalars and arrays, nested at will."""
    arrays, offset = [], 0

    def plain(value):
        nonlocal offset
        if isinstance(value, np.ndarray):
            if value.dtype == object:
                return {"__texts__": [str(v) for v in value.ravel().tolist()]}
            data = np.ascontiguousarray(value)
            data = data.astype(data.dtype.newbyteorder("<"), copy=False)
            place = {"dtype": data.dtype.str[1:], "shape": list(value.shape), "offset": offset}
            arrays.append(data.tobytes())
            offset += data.nbytes
            return {"__array__": place}
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, dict):
            return {str(key): plain(item) for key, item in value.items()}
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


def unpack(blob):
    """Inverse of `pack`; CorruptStreamError for anything else."""
    blob = memoryview(blob)
    if len(blob) < HEAD.size + 8 or bytes(blob[:4]) != MAGIC:
        raise CorruptStreamError("This is not an rdlearn model file (wrong first bytes).")
    _, version, checksum, length = HEAD.unpack_from(blob)
    if version != FORMAT_VERSION:
        raise CorruptStreamError(
            f"The model file has format version {version}; this rdlearn reads "
            f"{FORMAT_VERSION}. Load it with the rdlearn that wrote it."
        )
    body = blob[HEAD.size :]
    if len(body) != length:
        raise CorruptStreamError(f"The model file holds {len(body)} of {length} bytes: truncated.")
    if zlib.crc32(body) != checksum:
        raise CorruptStreamError("The model file's checksum is wrong: it is damaged.")
    (size,) = struct.unpack_from("<Q", body)
    if size > len(body) - 8:
        raise CorruptStreamError("The model file's description runs past its end.")
    data = body[8 + size :]

    def restore(value):
        if isinstance(value, list):
            return [restore(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "__texts__" in value:
            return np.array([str(v) for v in value["__texts__"]], dtype=object)
        if "__array__" in value:
            return _array(value["__array__"], data)
        return {key: restore(item) for key, item in value.items()}

    try:
        state = restore(json.loads(bytes(body[8 : 8 + size])))
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        if isinstance(error, CorruptStreamError):
            raise
        raise CorruptStreamError(f"The model file's description is damaged ({error}).") from None
    if not isinstance(state, dict):
        raise CorruptStreamError("The model file does not hold a model.")
    return state


def _array(place, data):
    kind, shape, offset = place["dtype"], place["shape"], place["offset"]
    if kind not in DTYPES or not all(isinstance(n, int) and n >= 0 for n in [*shape, offset]):
        raise CorruptStreamError(f"The model file describes an impossible array ({place}).")
    dtype = np.dtype("<" + kind)
    count = math.prod(shape)
    if count * dtype.itemsize > len(data) - offset:
        raise CorruptStreamError("An array of the model file runs past its end.")
    array = np.frombuffer(data, dtype, count, offset).reshape(shape)
    return array.astype(dtype.newbyteorder("="))


def write(path, state):
    """Write a dictionary to a file, whole or not at all."""
    blob = pack(state)
    with whole_file(path) as file:
        file.write(blob)


def read(path):
    """The dictionary in a file that `write` wrote."""
    return unpack(Path(path).read_bytes())
