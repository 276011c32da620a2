"""Binary units: bits of given probability, tilted units, and what their gradients need."""

import math

import numpy as np
from numba import njit

from rdlearn.kernels.elementwise import logistic
from rdlearn.kernels.jit import JIT
from rdlearn.kernels.random import philox

__all__ = ["bernoulli", "decayed_add", "softplus_sums", "tilt"]

WORD = 2.0**32
# Factors of at most 2 whose product a float64 holds.
CHUNK = 512


@njit(**JIT)
def bernoulli(prob, keys, seed, stream, out):
    """Bits (n, d), as numbers, of probability prob (n, d); never 1 where prob is 0.

    Row i has the random words of ``row_bits(keys[i], seed, stream)``.
    """
    n, d = prob.shape
    scale, one, zero = prob.dtype.type(WORD), out.dtype.type(1), out.dtype.type(0)
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    s0, s1, s2 = stream & low, seed & low, seed >> half
    for i in range(n):
        p, bits = prob[i], out[i]
        k0, k1 = keys[i] & low, keys[i] >> half
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
def tilt(z, bias, shift):
    """z = logistic(z + bias + shift), in place, and exactly 0 where shift is -inf.

    Shapes (n, d), (d,) and (n, d).
    """
    n, d = z.shape
    zero = z.dtype.type(0)
    for i in range(n):
        row, by = z[i], shift[i]
        for j in range(d):
            p = logistic(row[j] + bias[j] + by[j])
            row[j] = zero if by[j] == -np.inf else p


@njit(**JIT)
def decayed_add(params, keep, velocity):
    """params = keep * params + velocity, in place; flat arrays and a scalar of one dtype."""
    for i in range(params.size):
        params[i] = keep * params[i] + velocity[i]


def softplus_sums(z, out):
    """out (n,), float64: sums of ln(1 + exp(z)) over the rows of z (n, k), which is used up."""
    np.maximum(z, 0).sum(axis=1, dtype=np.float64, out=out)
    np.abs(z, out=z)
    np.negative(z, out=z)
    np.exp(z, out=z)
    _add_log_products(z, out)


@njit(**JIT)
def _add_log_products(e, out):
    n, k = e.shape
    for i in range(n):
        for start in range(0, k, CHUNK):
            # One logarithm of a product costs less than many logarithms.
            product = 1.0
            for j in range(start, min(start + CHUNK, k)):
                product *= 1.0 + e[i, j]
            out[i] += math.log(product)
