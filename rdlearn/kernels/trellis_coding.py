"""Interleaved rANS over integer tables that the states of a trellis choose.

The coder is that of `entropy_coding`, with its facts that surprise; symbols are those of `trellis`.
Escaped values are read as soon as they are met, because their parity leads to the next state.
"""

import numpy as np
from numba import njit

from rdlearn.kernels.entropy_coding import (
    BAD_ESCAPE,
    BAD_STATE,
    LANE_MASK,
    LEFT_OVER,
    N_LANES,
    OK,
    OUT_OF_WORDS,
    PRECISION_BITS,
    STATE_LOW,
    TOTAL,
    _bucket,
    _pop_low_bits,
    _push,
    _push_low_bits,
    _read_escape,
    _read_lanes,
    _refill,
    _write_escape,
)
from rdlearn.kernels.jit import JIT
from rdlearn.kernels.trellis import HALF

__all__ = ["count", "decode", "encode"]

HALF_BITS = np.uint64(2)


@njit(**JIT)
def count(symbols, states, low, size, shift, total, escapes):
    """Add to total and escapes (n_tables,) how often each table is used, and does not do."""
    n_columns, n = symbols.shape
    for c in range(n_columns):
        for i in range(n):
            t = 2 * c + states[c, i] // HALF
            total[t] += 1
            escapes[t] += _bucket(symbols[c, i], low[t], size[t], shift[t])[0] == size[t]


@njit(**JIT)
def encode(symbols, states, low, size, shift, start, freq, cum, reciprocal, words, escapes):
    """Code (n_columns, n) integers; returns states (8,), first word used, escape bytes used.

    `words` holds at least one entry a push plus one; `escapes` ten bytes an escape.
    """
    n_columns, n = symbols.shape
    p = np.int64(words.size)
    e = 0
    lanes = np.full(N_LANES, STATE_LOW)
    for c in range(n_columns - 1, -1, -1):
        for i in range(n - 1, -1, -1):
            t = 2 * c + states[c, i] // HALF
            bucket, delta = _bucket(symbols[c, i], low[t], size[t], shift[t])
            x = lanes[i & LANE_MASK]
            if bucket == size[t]:
                e = _write_escape(delta, escapes, e)
            elif shift[t] != 0:
                x, p = _push_low_bits(x, p, words, delta, shift[t])
            place = start[t] + bucket
            lanes[i & LANE_MASK], p = _push(x, p, words, place, freq, cum, reciprocal)
    return lanes, p, e


@njit(inline="always")
def _symbol_of(x, q, jumps, half_jumps, jump_shift, table, half):
    # As `_symbol` does, from the table of quantizer q, of which a column has both in one array.
    slot = x & (TOTAL - np.uint64(1))
    bucket = np.uint64(jumps[q * half_jumps + (slot >> jump_shift)])
    q = q * half
    while True:
        entry = table[q + bucket]
        offset = slot - np.uint64(entry & np.uint32(0xFFFF))
        f = np.uint64(entry >> np.uint32(16))
        if offset < f:
            return f * (x >> PRECISION_BITS) + offset, bucket
        bucket += np.uint64(1)


@njit(**JIT)
def decode(
    payload,
    head,
    words,
    joint,
    after,
    low,
    size,
    shift,
    start,
    entries,
    lookup,
    lookup_start,
    lookup_shift,
    out,
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
    states = np.zeros(N_LANES if joint else n, np.uint8)
    mask = np.uint64(LANE_MASK) if joint else ~np.uint64(0)
    next_state = after.astype(np.uint8).reshape(-1)
    one = np.uint64(1)
    for c in range(n_columns):
        if joint:
            states[:] = 0
        # Both tables of a column as one: to slice takes as long as a symbol.
        t = 2 * c
        jumps = lookup[lookup_start[t] : lookup_start[t + 2]]
        table = entries[start[t] : start[t + 2]]
        half_jumps = np.uint64(lookup_start[t + 1] - lookup_start[t])
        half = np.uint64(start[t + 1] - start[t])
        jump_shifts = np.uint64(lookup_shift[t]), np.uint64(lookup_shift[t + 1])
        lows = np.uint64(low[t]), np.uint64(low[t + 1])
        sizes = np.uint64(size[t]), np.uint64(size[t + 1])
        whole = shift[t] == 0 and shift[t + 1] == 0
        row = out[c]
        for index in range(n):
            i = np.uint64(index)
            lane = i & np.uint64(LANE_MASK)
            s = np.uint64(states[i & mask])
            q = s >> HALF_BITS
            x, bucket = _symbol_of(
                lanes[lane],
                q,
                jumps,
                half_jumps,
                jump_shifts[1] if q else jump_shifts[0],
                table,
                half,
            )
            # Branch-free until the words are at their end: whether one is due is a coin toss.
            if p < n_words:
                x, p = _refill(x, p, words)
            elif x < STATE_LOW:
                return OUT_OF_WORDS
            delta = bucket
            if bucket == (sizes[1] if q else sizes[0]):
                delta, e = _read_escape(payload, head, e)
                if e < 0:
                    return BAD_ESCAPE
            elif not whole:
                x, p, delta = _pop_low_bits(x, p, words, delta, shift[t + np.int64(q)])
                if x < STATE_LOW:
                    return OUT_OF_WORDS
            lanes[lane] = x
            k = (lows[1] if q else lows[0]) + delta
            row[i] = np.int64(k)
            states[i & mask] = next_state[(s << one) | (k & one)]
    for j in range(N_LANES):
        if lanes[j] != STATE_LOW:
            return BAD_STATE
    return OK if head + 2 * p == e else LEFT_OVER
