"""Counter-based random bits: a draw depends on its key and place alone, on every machine.

Philox 4x32 with ten rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
SC 2011): no state, so neither threads, nor devices, nor the other rows of a table can move a
draw.
"""

import numpy as np
from numba import njit

from rdlearn.kernels.jit import JIT

__all__ = ["HALF_WORD", "LOW", "bernoulli", "keys_of", "philox", "row_bits", "row_keys"]

MULTIPLIER_0, MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL_0, WEYL_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
LOW = np.uint64(0xFFFFFFFF)
HALF_WORD = np.uint64(32)
# Odd, so that products modulo 2**64 lose nothing: the golden ratio, as in SplitMix64.
MIXER = np.uint64(0x9E3779B97F4A7C15)


@njit(inline="always")
def philox(c0, c1, c2, c3, k0, k1):
    """Four random words of a counter and a key, as 32 bits in 64-bit integers."""
    # So that products need no splitting.
    for _ in range(10):
        p0, p1 = MULTIPLIER_0 * c0, MULTIPLIER_1 * c2
        c0, c1 = (p1 >> HALF_WORD) ^ c1 ^ k0, p1 & LOW
        c2, c3 = (p0 >> HALF_WORD) ^ c3 ^ k1, p0 & LOW
        k0, k1 = (k0 + WEYL_0) & LOW, (k1 + WEYL_1) & LOW
    return c0, c1, c2, c3


@njit(**JIT)
def row_bits(keys, seed, stream, out):
    """Random words (n, w) of uint32 for rows of keys (n,), a seed and a stream, all uint64."""
    n_rows, n_words = out.shape
    for i in range(n_rows):
        k0, k1 = keys[i] & LOW, keys[i] >> HALF_WORD
        for start in range(0, n_words, 4):
            words = philox(
                np.uint64(start // 4), stream & LOW, seed & LOW, seed >> HALF_WORD, k0, k1
            )
            for place in range(min(4, n_words - start)):
                out[i, start + place] = words[place]


@njit(**JIT)
def bernoulli(prob, keys, seed, stream, out):
    """Bits (n, d), as numbers, of probability prob (n, d); never 1 where prob is 0.

    Row i has the random words of ``row_bits(keys[i], seed, stream)``.
    """
    n, d = prob.shape
    scale, one, zero = prob.dtype.type(2.0**32), out.dtype.type(1), out.dtype.type(0)
    s0, s1, s2 = stream & LOW, seed & LOW, seed >> HALF_WORD
    for i in range(n):
        p, bits = prob[i], out[i]
        k0, k1 = keys[i] & LOW, keys[i] >> HALF_WORD
        for block in range(d // 4):
            words = philox(np.uint64(block), s0, s1, s2, k0, k1)
            j = 4 * block
            bits[j] = one if words[0] < p[j] * scale else zero
            bits[j + 1] = one if words[1] < p[j + 1] * scale else zero
            bits[j + 2] = one if words[2] < p[j + 2] * scale else zero
            bits[j + 3] = one if words[3] < p[j + 3] * scale else zero
        if d % 4:
            words = philox(np.uint64(d // 4), s0, s1, s2, k0, k1)
            for place in range(d % 4):
                j = d - d % 4 + place
                bits[j] = one if words[place] < p[j] * scale else zero


@njit(**JIT)
def row_keys(bits, out):
    """Keys (n,) of uint64 from the contents of rows: bits (n, d) of uint32."""
    n_rows, n_words = bits.shape
    for i in range(n_rows):
        key = MIXER
        for j in range(n_words):
            key = (key ^ np.uint64(bits[i, j])) * MIXER
            key ^= key >> HALF_WORD
        out[i] = key


def keys_of(x):
    """Keys of rows (n, d) of float32: equal rows have equal keys."""
    out = np.empty(len(x), dtype=np.uint64)
    # 0.0 turns -0.0 into 0.0, which must not be another row.
    row_keys(np.ascontiguousarray(x + np.float32(0.0)).view(np.uint32), out)
    return out
