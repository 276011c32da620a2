"""Words of bits under a mixture of independent bits, in integers: probabilities and rANS.

A word is coded bit by bit. What the components weigh, given the bits before, gives the next bit's
probability; the weights are 32-bit integers, so that encoder and decoder agree everywhere. The
coder's state stays in [2**32, 2**48), with words of 16 bits.
"""

import math

import numpy as np
from numba import njit

from rdlearn.kernels.jit import JIT

__all__ = [
    "PRECISION",
    "PROBABILITY_BITS",
    "STATE_BYTES",
    "STATE_LOW",
    "bit_frequencies",
    "code_length",
    "decode",
    "encode",
]

# Of the frequencies that the coder sees, and of the components' probabilities.
PRECISION, PROBABILITY_BITS = 14, 16
TOTAL = np.uint64(1 << PRECISION)
ONE = np.uint64(1 << PROBABILITY_BITS)
SHIFT = np.uint64(PROBABILITY_BITS)
PRECISION_BITS = np.uint64(PRECISION)
STATE_BYTES = 6
ROOM_BITS = np.uint64(8 * STATE_BYTES - PRECISION)
STATE_LOW = np.uint64(1 << 32)
WORD_BITS, WORD_MASK = np.uint64(16), np.uint64(0xFFFF)
# The largest weight stays in [2**31, 2**32).
TOP = np.uint64(1 << 31)

OK, OUT_OF_WORDS, LEFT_OVER = range(3)


@njit(inline="always")
def _frequency(weights, prob):
    """Of a 1, in units of 2**-14: neither 0 nor all."""
    total, ones = np.uint64(0), np.uint64(0)
    for c in range(weights.size):
        w = np.uint64(weights[c])
        total += w
        ones += (w * np.uint64(prob[c])) >> SHIFT
    f = (ones << PRECISION_BITS) // total
    return min(max(f, np.uint64(1)), TOTAL - np.uint64(1))


@njit(inline="always")
def _condition(weights, prob, bit):
    """Weights given one more bit, scaled so that the largest has 32 bits."""
    top = np.uint64(0)
    for c in range(weights.size):
        p = np.uint64(prob[c])
        w = (np.uint64(weights[c]) * (p if bit else ONE - p)) >> SHIFT
        weights[c] = np.uint32(w)
        top = max(top, w)
    lift = np.uint64(0)
    while (top << lift) < TOP:
        lift += np.uint64(1)
    for c in range(weights.size):
        weights[c] = np.uint32(np.uint64(weights[c]) << lift)


@njit(**JIT)
def bit_frequencies(symbols, start, prob, out):
    """Frequencies of a 1 at each bit of symbols (k, n) given those before, as out (k, n).

    start (c,) of uint32 and prob (k, c) of uint16, 1 to 2**16 - 1, are the mixture.
    """
    k, n = symbols.shape
    for i in range(n):
        weights = start.copy()
        for j in range(k):
            out[j, i] = _frequency(weights, prob[j])
            _condition(weights, prob[j], symbols[j, i] != 0)


@njit(**JIT)
def code_length(symbols, frequencies, out):
    """Bits of each column of symbols (k, n) under `bit_frequencies`, into out (n,)."""
    k, n = symbols.shape
    for i in range(n):
        total = 0.0
        for j in range(k):
            f = np.int64(frequencies[j, i])
            total += math.log2(f if symbols[j, i] else (1 << PRECISION) - f)
        out[i] = PRECISION * k - total


@njit(**JIT)
def encode(symbols, frequencies, words):
    """Final state and first word used; words fill from the end, decoded bits come in order."""
    k, n = symbols.shape
    x, p = STATE_LOW, words.size
    for i in range(n - 1, -1, -1):
        for j in range(k - 1, -1, -1):
            one = np.uint64(frequencies[j, i])
            bit = symbols[j, i] != 0
            f, cum = (one, np.uint64(0)) if bit else (TOTAL - one, one)
            if x >= (f << ROOM_BITS):
                p -= 1
                words[p] = np.uint16(x & WORD_MASK)
                x >>= WORD_BITS
            x = ((x // f) << PRECISION_BITS) + x % f + cum
    return x, p


@njit(**JIT)
def decode(state, words, start, prob, out):
    """Fill out (k, n) of bits; OK, or what is wrong with the stream."""
    k, n = out.shape
    x, p = state, 0
    for i in range(n):
        weights = start.copy()
        for j in range(k):
            one = _frequency(weights, prob[j])
            slot = x & (TOTAL - np.uint64(1))
            bit = slot < one
            f, cum = (one, np.uint64(0)) if bit else (TOTAL - one, one)
            x = f * (x >> PRECISION_BITS) + slot - cum
            if x < STATE_LOW:
                if p == words.size:
                    return OUT_OF_WORDS
                x = (x << WORD_BITS) | np.uint64(words[p])
                p += 1
            out[j, i] = 1 if bit else 0
            _condition(weights, prob[j], bit)
    return OK if p == words.size and x == STATE_LOW else LEFT_OVER
