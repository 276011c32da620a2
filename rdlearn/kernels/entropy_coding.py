"""Interleaved rANS over integer tables.

Facts that surprise: the encoder runs backwards so that the decoder runs forwards; eight
states take turns so that eight symbols are in flight at once; every state starts at 2**24
in the encoder and must be back there when the decoder is done, which catches most damage
that a checksum let through. States stay in [2**24, 2**40), words are 16 bits, and the
frequencies of one table sum to 2**14, so that a state holds at least 2**10 times any of them:
in a smaller one, rounding would cost up to a percent.

Source: Duda 2013 (arXiv:1311.2540); interleaving: Giesen 2014 (arXiv:1402.3392).
"""

import numpy as np
from numba import njit

from rdlearn.kernels.jit import JIT

__all__ = [
    "ABOVE_ONE",
    "N_LANES",
    "PRECISION",
    "STATE_BYTES",
    "code_length",
    "count_escapes",
    "decode",
    "encode",
]

PRECISION = 14
N_LANES = 8
TOTAL = np.uint64(1 << PRECISION)
STATE_BYTES = 5
STATE_BITS = 8 * STATE_BYTES
STATE_LOW = np.uint64(1 << (STATE_BITS - 16))
WORD_MASK = np.uint64(0xFFFF)
ROOM_BITS = np.uint64(STATE_BITS - PRECISION)
# x // f is the whole part of x times this over f: the product is too large by less than 2**-50 of
# itself, which is below 2**26 when a symbol is pushed, and a quotient that is not whole lies at
# least 2**-14 below the next whole number.
ABOVE_ONE = 1 + 2.0**-51
PRECISION_BITS = np.uint64(PRECISION)
LANE_MASK = N_LANES - 1

OK, OUT_OF_WORDS, BAD_STATE, BAD_ESCAPE, LEFT_OVER = range(5)


@njit(inline="always")
def _push(x, p, words, s, freq, cum, reciprocal):
    # Branch-free renormalisation: always store, move the pointer only when needed.
    f = freq[s]
    words[p - 1] = np.uint16(x & WORD_MASK)
    full = x >= (f << ROOM_BITS)
    p -= np.int64(full)
    x = x >> (np.uint64(full) << np.uint64(4))
    quotient = np.uint64(np.int64(np.float64(np.int64(x)) * reciprocal[s]))
    return x + quotient * (TOTAL - f) + cum[s], p


@njit(inline="always")
def _refill(x, p, words):
    empty = x < STATE_LOW
    x = (x << (np.uint64(empty) << np.uint64(4))) | (np.uint64(words[p]) * np.uint64(empty))
    return x, p + np.int64(empty)


@njit(inline="always")
def _symbol(x, lookup, lookup_shift, table):
    # The jump table lands on or before the symbol; only slots near a boundary step on.
    slot = x & (TOTAL - np.uint64(1))
    s = np.int64(lookup[slot >> lookup_shift])
    while True:
        entry = table[s]
        offset = slot - np.uint64(entry & np.uint32(0xFFFF))
        f = np.uint64(entry >> np.uint32(16))
        if offset < f:
            return f * (x >> PRECISION_BITS) + offset, s
        s += 1


@njit(inline="always")
def _pop(x, p, words, lookup, lookup_shift, table):
    x, s = _symbol(x, lookup, lookup_shift, table)
    x, p = _refill(x, p, words)
    return x, p, s


@njit(inline="always")
def _bucket(value, low, size, shift):
    # Differences modulo 2**64 make every int64 representable, whatever `low` is.
    delta = np.uint64(np.int64(value)) - np.uint64(low)
    s = delta >> np.uint64(shift)
    inside = s < np.uint64(size)
    return np.int64(s) if inside else np.int64(size), delta


@njit(inline="always")
def _indices(row, low, size, shift, index):
    """Table index of each value, `size` for an escape; returns the number of escapes."""
    escapes = 0
    for i in range(row.size):
        s, _ = _bucket(row[i], low, size, shift)
        index[i] = s
        escapes += s == size
    return escapes


@njit(**JIT)
def count_escapes(symbols, low, size, shift):
    """Number of values outside the table, column by column; symbols (n_columns, n)."""
    index = np.empty(symbols.shape[1], np.uint32)
    total = np.empty(symbols.shape[0], np.int64)
    for c in range(symbols.shape[0]):
        total[c] = _indices(symbols[c], low[c], size[c], shift[c], index)
    return total


@njit(**JIT)
def encode(symbols, low, size, shift, start, freq, cum, reciprocal, words, escapes):
    """Code (n_columns, n) integers; returns states (8,), first word used, escape bytes used.

    `words` holds at least one entry a push plus one; `escapes` ten bytes an escape.
    """
    n_columns, n = symbols.shape
    p = np.int64(words.size)
    e = 0
    lanes = np.full(N_LANES, STATE_LOW)
    full = n // N_LANES * N_LANES
    index = np.empty(n, np.uint32)
    for c in range(n_columns - 1, -1, -1):
        lo, count, k, base = low[c], size[c], shift[c], start[c]
        f, a, r = freq[base:], cum[base:], reciprocal[base:]
        row = symbols[c]
        # Escapes are written apart, so that the loop over the states stays free of branches.
        if _indices(row, lo, count, k, index):
            for i in range(n - 1, -1, -1):
                if index[i] == count:
                    _, delta = _bucket(row[i], lo, count, k)
                    e = _write_escape(delta, escapes, e)
        for i in range(n - 1, (full if k == 0 else 0) - 1, -1):
            lane = i & LANE_MASK
            if k != 0 and index[i] != count:
                _, delta = _bucket(row[i], lo, count, k)
                lanes[lane], p = _push_low_bits(lanes[lane], p, words, delta, k)
            lanes[lane], p = _push(lanes[lane], p, words, index[i], f, a, r)
        if k != 0:
            continue
        x0, x1, x2, x3 = lanes[0], lanes[1], lanes[2], lanes[3]
        x4, x5, x6, x7 = lanes[4], lanes[5], lanes[6], lanes[7]
        for i in range(full - N_LANES, -1, -N_LANES):
            x7, p = _push(x7, p, words, index[i + 7], f, a, r)
            x6, p = _push(x6, p, words, index[i + 6], f, a, r)
            x5, p = _push(x5, p, words, index[i + 5], f, a, r)
            x4, p = _push(x4, p, words, index[i + 4], f, a, r)
            x3, p = _push(x3, p, words, index[i + 3], f, a, r)
            x2, p = _push(x2, p, words, index[i + 2], f, a, r)
            x1, p = _push(x1, p, words, index[i + 1], f, a, r)
            x0, p = _push(x0, p, words, index[i], f, a, r)
        lanes[0], lanes[1], lanes[2], lanes[3] = x0, x1, x2, x3
        lanes[4], lanes[5], lanes[6], lanes[7] = x4, x5, x6, x7
    return lanes, p, e


@njit(inline="always")
def _push_low_bits(x, p, words, delta, shift):
    # Low bits of a wide column are uniform: pushed raw, at most PRECISION at a time.
    done = 0
    while done < shift:
        width = min(PRECISION, shift - done)
        words[p - 1] = np.uint16(x & WORD_MASK)
        full = x >= (np.uint64(1) << np.uint64(STATE_BITS - width))
        p -= np.int64(full)
        x = x >> (np.uint64(full) << np.uint64(4))
        piece = (delta >> np.uint64(done)) & ((np.uint64(1) << np.uint64(width)) - np.uint64(1))
        x = (x << np.uint64(width)) | piece
        done += width
    return x, p


@njit(inline="always")
def _zigzag(delta):
    return (delta << np.uint64(1)) ^ (np.uint64(0) - (delta >> np.uint64(63)))


@njit(inline="always")
def _escape_bytes(delta):
    z = _zigzag(delta)
    count = 1
    while z >= np.uint64(128):
        z = z >> np.uint64(7)
        count += 1
    return count


@njit(inline="always")
def _write_escape(delta, escapes, e):
    # Little-endian groups of seven bits, laid down backwards: the decoder reads from the end.
    count = _escape_bytes(delta)
    z = _zigzag(delta)
    for j in range(count):
        more = np.uint64(128) if j < count - 1 else np.uint64(0)
        escapes[e + count - 1 - j] = np.uint8((z & np.uint64(127)) | more)
        z = z >> np.uint64(7)
    return e + count


@njit(inline="always")
def _read_lanes(payload, lanes):
    """Fill in the coder's states from a chunk's first bytes; whether they are possible."""
    for j in range(N_LANES):
        x = np.uint64(0)
        for b in range(STATE_BYTES):
            x |= np.uint64(payload[STATE_BYTES * j + b]) << np.uint64(8 * b)
        if x < STATE_LOW:
            return False
        lanes[j] = x
    return True


@njit(**JIT)
def _read_escape(payload, head, e):
    """The number in the bytes before e, and where they begin; -1 where they run out."""
    z = np.uint64(0)
    done = 0
    while True:
        e -= 1
        if e < head or done > 63:
            return z, np.int64(-1)
        byte = np.uint64(payload[e])
        z |= (byte & np.uint64(127)) << np.uint64(done)
        done += 7
        if byte < np.uint64(128):
            return (z >> np.uint64(1)) ^ (np.uint64(0) - (z & np.uint64(1))), e


@njit(**JIT)
def decode(
    payload, head, words, low, size, shift, start, table, lookup, lookup_start, lookup_shift, out
):
    """Inverse of `encode` into out (n_columns, n) int64; returns a status code.

    `payload` is the whole chunk as bytes, `head` the bytes before the first word, `words` the
    16-bit view behind them. Every read is checked against the end of its array.
    """
    n_columns, n = out.shape
    lanes = np.empty(N_LANES, np.uint64)
    if not _read_lanes(payload, lanes):
        return BAD_STATE
    p = np.int64(0)
    e = np.int64(payload.size)
    n_words = words.size
    for c in range(n_columns):
        k = shift[c]
        entries = table[start[c] : start[c + 1]]
        jump = lookup[lookup_start[c] : lookup_start[c + 1]]
        js = np.uint64(lookup_shift[c])
        row = out[c]
        i = 0
        if k == 0:
            x0, x1, x2, x3 = lanes[0], lanes[1], lanes[2], lanes[3]
            x4, x5, x6, x7 = lanes[4], lanes[5], lanes[6], lanes[7]
            while i + N_LANES <= n and p + N_LANES <= n_words:
                x0, p, row[i] = _pop(x0, p, words, jump, js, entries)
                x1, p, row[i + 1] = _pop(x1, p, words, jump, js, entries)
                x2, p, row[i + 2] = _pop(x2, p, words, jump, js, entries)
                x3, p, row[i + 3] = _pop(x3, p, words, jump, js, entries)
                x4, p, row[i + 4] = _pop(x4, p, words, jump, js, entries)
                x5, p, row[i + 5] = _pop(x5, p, words, jump, js, entries)
                x6, p, row[i + 6] = _pop(x6, p, words, jump, js, entries)
                x7, p, row[i + 7] = _pop(x7, p, words, jump, js, entries)
                i += N_LANES
            lanes[0], lanes[1], lanes[2], lanes[3] = x0, x1, x2, x3
            lanes[4], lanes[5], lanes[6], lanes[7] = x4, x5, x6, x7
        while i < n:
            lane = i & LANE_MASK
            x, s = _symbol(lanes[lane], jump, js, entries)
            if x < STATE_LOW and p >= n_words:
                return OUT_OF_WORDS
            if x < STATE_LOW:
                x, p = _refill(x, p, words)
            value = np.uint64(s)
            if s == size[c]:
                value = value << np.uint64(k)
            elif k != 0:
                x, p, value = _pop_low_bits(x, p, words, value, k)
                if x < STATE_LOW:
                    return OUT_OF_WORDS
            lanes[lane] = x
            row[i] = np.int64(value)
            i += 1
        base = np.uint64(low[c])
        count = np.uint64(size[c])
        for i in range(n):
            delta = np.uint64(row[i])
            if (delta >> np.uint64(k)) == count:
                delta, e = _read_escape(payload, head, e)
                if e < 0:
                    return BAD_ESCAPE
            row[i] = np.int64(base + delta)
    for j in range(N_LANES):
        if lanes[j] != STATE_LOW:
            return BAD_STATE
    return OK if head + 2 * p == e else LEFT_OVER


@njit(inline="always")
def _pop_low_bits(x, p, words, bucket, shift):
    # Mirror of _push_low_bits, highest piece first; a state left too low says: out of words.
    value = bucket
    remaining = shift
    while remaining > 0:
        width = remaining % PRECISION
        if width == 0:
            width = PRECISION
        remaining -= width
        mask = (np.uint64(1) << np.uint64(width)) - np.uint64(1)
        value = (value << np.uint64(width)) | (x & mask)
        x = x >> np.uint64(width)
        if x < STATE_LOW:
            if p >= words.size:
                return x, p, value
            x, p = _refill(x, p, words)
    return x, p, value


@njit(**JIT)
def code_length(symbols, low, size, shift, start, bits, out):
    """Add to out (n,) the bits each column of (n_columns, n) integers spends on each sample."""
    n_columns, n = symbols.shape
    for c in range(n_columns):
        lo, count, k, base = low[c], size[c], shift[c], start[c]
        for i in range(n):
            s, delta = _bucket(symbols[c, i], lo, count, k)
            out[i] += bits[base + s]
            if s == count:
                out[i] += 8.0 * _escape_bytes(delta)
            else:
                out[i] += k
