"""Small integer sequences as bytes: differences, zigzag, groups of seven bits, zlib."""

import zlib

import numpy as np

from rdlearn.exceptions import CorruptStreamError

__all__ = ["pack_integers", "unpack_integers"]

MAX_GROUPS = 10


def pack_integers(values):
    """Bytes of a 1-D integer array; short where neighbours are close.

    Examples
    --------
    >>> unpack_integers(pack_integers([3, 4, 4, 1000]), 4).tolist()
    [3, 4, 4, 1000]
    """
    delta = np.diff(np.asarray(values, dtype=np.int64), prepend=np.int64(0))
    z = (delta.astype(np.uint64) << np.uint64(1)) ^ (delta >> 63).astype(np.uint64)
    groups = (z[:, None] >> np.arange(0, 7 * MAX_GROUPS, 7, dtype=np.uint64)) & np.uint64(127)
    used = np.maximum(1, MAX_GROUPS - np.argmax(groups[:, ::-1] != 0, axis=1))
    used[z == 0] = 1
    column = np.arange(MAX_GROUPS)
    groups |= np.where(column < used[:, None] - 1, np.uint64(128), np.uint64(0))
    # A raw deflate stream: the container already carries a checksum.
    deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    raw = groups[column < used[:, None]].astype(np.uint8).tobytes()
    return deflate.compress(raw) + deflate.flush()


def unpack_integers(data, count):
    """The `count` integers that `pack_integers` wrote, or CorruptStreamError."""
    inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        raw = inflate.decompress(bytes(data), MAX_GROUPS * count + 1)
    except zlib.error as error:
        raise CorruptStreamError(f"A packed integer array does not inflate ({error}).") from None
    raw = np.frombuffer(raw, dtype=np.uint8)
    ends = np.flatnonzero(raw < 128)
    complete = inflate.eof and (raw.size == 0 or raw[-1] < 128)
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
