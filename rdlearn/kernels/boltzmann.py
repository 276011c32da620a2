"""What the gradients and the free energies of Boltzmann machines need."""

import math

import numpy as np
from numba import njit

from rdlearn.kernels.jit import JIT

__all__ = ["decayed_add", "softplus_sums"]

# Factors of at most 2 whose product a float64 holds.
CHUNK = 512


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
