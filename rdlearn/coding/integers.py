"""Small integer sequences as bytes: differences, zigzag, groups of seven bits, zlib."""

import zlib

import numpy as np

from rdlearn.exceptions import CorruptStreamError

__all__ = ["pack_integers", "stored", "stored_integers", "unpack_integers"]

MAX_GROUPS = 10
# A small file inflates a thousandfold; this bounds what a model's tables may come to.
MAX_COUNT = 1 << 24


def stored(state, name, kind):
    """Entry `name` of a stored dictionary, or CorruptStreamError where it is no `kind`."""
    value = state.get(name) if isinstance(state, dict) else None
    if type(value) is not kind:
        raise CorruptStreamError(f"The model lacks {name!r}, or it is no {kind.__name__}.")
    return value


def stored_integers(state, name):
    """A stored 1-D array of integers as int64, or CorruptStreamError."""
    array = stored(state, name, np.ndarray)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise CorruptStreamError(f"The model's {name!r} is no 1-D array of integers.")
    return array.astype(np.int64)


def pack_integers(values):
    """Bytes of a 1-D array of at most 2**24 integers; short where neighbours are close.

    Examples
    --------
    >>> unpack_integers(pack_integers([3, 4, 4, 1000]), 4).tolist()
    [3, 4, 4, 1000]
    """
    values = np.asarray(values, dtype=np.int64)
    if values.size > MAX_COUNT:
        raise ValueError(f"An array of {values.size} integers is too long to store.")
    delta = np.diff(values, prepend=np.int64(0))
    z = (delta.astype(np.uint64) << np.uint64(1)) ^ (delta >> 63).astype(np.uint64)
    groups = np.empty((z.size, MAX_GROUPS), dtype=np.uint8)
    used = np.ones(groups.shape, dtype=bool)
    for j in range(MAX_GROUPS):
        rest = z >> np.uint64(7 * j)
        more = (rest > np.uint64(127)).astype(np.uint64) << np.uint64(7)
        groups[:, j] = (rest & np.uint64(127)) | more
        used[:, j] = (rest > 0) | (j == 0)
    # A raw deflate stream: the container already carries a checksum.
    deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return deflate.compress(groups[used].tobytes()) + deflate.flush()


def unpack_integers(data, count):
    """The `count` integers that `pack_integers` wrote, or CorruptStreamError."""
    if not 0 <= count <= MAX_COUNT:
        raise CorruptStreamError(f"A packed array of {count} integers is more than {MAX_COUNT}.")
    inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        raw = inflate.decompress(bytes(data), MAX_GROUPS * count + 1)
    except zlib.error as error:
        raise CorruptStreamError(f"A packed integer array does not inflate ({error}).") from None
    raw = np.frombuffer(raw, dtype=np.uint8)
    ends = np.flatnonzero(raw < 128)
    complete = inflate.eof and not inflate.unused_data and (raw.size == 0 or raw[-1] < 128)
    lengths = np.diff(ends, prepend=-1)
    if not complete or ends.size != count or np.any(lengths > MAX_GROUPS):
        raise CorruptStreamError(f"A packed integer array does not hold its {count} values.")
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    first = np.repeat(ends - lengths + 1, lengths)
    place = (7 * (np.arange(raw.size) - first)).astype(np.uint64)
    z = np.add.reduceat((raw & 127).astype(np.uint64) << place, ends - lengths + 1)
    delta = (z >> np.uint64(1)).astype(np.int64) ^ -(z & np.uint64(1)).astype(np.int64)
    return np.cumsum(delta)
