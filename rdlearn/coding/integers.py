"""Small integer sequences as bytes: differences under a Rice code, and nothing a library decides.

Layout, in bits: the width of each block of 32 values (6 bits), then the high part of each value in
unary (as many zeros, and a one), then the low bits of each value, the lowest first, and zeros up to
a whole byte. A value is the zigzag of the difference to the value before.

Source: Rice & Plaunt 1971, "Adaptive variable-length coding for efficient compression of
spacecraft television data".
"""

import numpy as np

from rdlearn.exceptions import CorruptStreamError

__all__ = ["pack_integers", "stored", "stored_integers", "stored_packed", "unpack_integers"]

# An upper bound of what the tables of a model come to.
MAX_COUNT = 1 << 24
# Values that share a width, and the bits that say it.
BLOCK, WIDTH_BITS = 32, 6
# Cost from which a width is out of the question; sums of a block stay in 64 bits.
HOPELESS = np.uint64(1 << 40)


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


def stored_packed(state, name, count):
    """The `count` integers of a stored array of packed bytes, or CorruptStreamError."""
    array = stored(state, name, np.ndarray)
    if array.ndim != 1 or array.dtype != np.uint8:
        raise CorruptStreamError(f"The model's {name!r} is no 1-D array of packed integers.")
    return unpack_integers(array, count)


def pack_integers(values):
    """Bytes, as an array of uint8, of a 1-D array of at most 2**24 integers.

    They are few where neighbours are close, and the same on every machine.

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
    widths = _best_widths(z)
    width = np.repeat(widths, BLOCK)[: z.size]
    ends = np.cumsum((z >> width.astype(np.uint64)).astype(np.int64) + 1)
    unary = np.zeros(ends[-1] if ends.size else 0, dtype=np.uint8)
    unary[ends - 1] = 1
    low = np.zeros(int(width.sum()), dtype=np.uint8)
    for bit, values_with, place in _low_bits(width):
        low[place] = (z[values_with] >> np.uint64(bit)) & np.uint64(1)
    heads = (widths[:, None] >> np.arange(WIDTH_BITS)) & 1
    return np.packbits(np.concatenate([heads.ravel().astype(np.uint8), unary, low]))


def unpack_integers(data, count):
    """The `count` integers that `pack_integers` wrote, int64, or CorruptStreamError."""
    if not 0 <= count <= MAX_COUNT:
        raise CorruptStreamError(f"A packed array of {count} integers is more than {MAX_COUNT}.")
    data, head = np.frombuffer(data, dtype=np.uint8), WIDTH_BITS * -(-count // BLOCK)
    # A value takes a bit at least and 65 at most, so that neither number asks for much memory.
    if not head + count <= 8 * data.size < head + 65 * count + 8:
        raise _damaged(count)
    bits = np.unpackbits(data)
    widths = bits[:head].reshape(-1, WIDTH_BITS) @ (1 << np.arange(WIDTH_BITS))
    width = np.repeat(widths, BLOCK)[:count]
    # The last of these may belong to the low bits: as many as pad the last byte.
    unary = bits[head : max(head, bits.size - int(width.sum()))]
    if np.count_nonzero(unary) >= count + 8:
        raise _damaged(count)
    ends = np.flatnonzero(unary)[:count] + 1
    start = head + int(ends[-1]) if ends.size else head
    stop = start + int(width.sum())
    if ends.size != count or not 0 <= bits.size - stop < 8 or bits[stop:].any():
        raise _damaged(count)
    high = (np.diff(ends, prepend=0) - 1).astype(np.uint64)
    shift = width.astype(np.uint64)
    if np.any((high << shift) >> shift != high):
        raise _damaged(count)
    z = high << shift
    for bit, values_with, place in _low_bits(width):
        z[values_with] |= bits[start + place].astype(np.uint64) << np.uint64(bit)
    delta = (z >> np.uint64(1)).astype(np.int64) ^ -(z & np.uint64(1)).astype(np.int64)
    return np.cumsum(delta)


def _damaged(count):
    return CorruptStreamError(f"A packed integer array does not hold its {count} values.")


def _best_widths(z):
    """Bits of the low part of each block of z, of which the whole block takes the fewest."""
    best = np.zeros(-(-z.size // BLOCK), dtype=np.int64)
    if not best.size:
        return best
    starts = np.arange(best.size) * BLOCK
    sizes = np.diff(starts, append=z.size)
    least = np.full(best.size, np.iinfo(np.int64).max)
    for width in range(64):
        high = np.minimum(z >> np.uint64(width), HOPELESS).astype(np.int64)
        cost = np.add.reduceat(high, starts) + width * sizes
        best, least = np.where(cost < least, width, best), np.minimum(cost, least)
    return best


def _low_bits(width):
    """Of each low bit: its number, which values have it, and where it stands."""
    first = np.cumsum(width) - width
    for bit in range(int(width.max(initial=0))):
        values_with = np.flatnonzero(width > bit)
        yield bit, values_with, first[values_with] + bit
