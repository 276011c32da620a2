"""Matrix products whose result for a row depends on that row alone.

A BLAS product changes in the last bit with the number of rows and of threads, which flips
symbols near a threshold. Here every output element is one sum in a fixed order, so one row
or a million, one thread or many, give the same bits. Costs about 3 times a one-thread
BLAS product (``benchmarks/pca_throughput.py``).
"""

import numpy as np
from numba import njit

from rdlearn.kernels.jit import JIT

__all__ = ["affine", "cast"]


@njit(**JIT)
def affine(x, center, weights, bias, out):
    """out = (x - center) @ weights + bias, shapes (n, d), (d,), (d, k), (k,), (n, k)."""
    n_rows, n_in = x.shape
    n_out = weights.shape[1]
    for i in range(n_rows):
        row = out[i]
        for c in range(n_out):
            row[c] = bias[c]
        # Eight inputs a pass: one load and store of the accumulators for eight products.
        j = 0
        while j + 8 <= n_in:
            x0, x1 = x[i, j] - center[j], x[i, j + 1] - center[j + 1]
            x2, x3 = x[i, j + 2] - center[j + 2], x[i, j + 3] - center[j + 3]
            x4, x5 = x[i, j + 4] - center[j + 4], x[i, j + 5] - center[j + 5]
            x6, x7 = x[i, j + 6] - center[j + 6], x[i, j + 7] - center[j + 7]
            w0, w1, w2, w3 = weights[j], weights[j + 1], weights[j + 2], weights[j + 3]
            w4, w5, w6, w7 = weights[j + 4], weights[j + 5], weights[j + 6], weights[j + 7]
            for c in range(n_out):
                half = (((row[c] + x0 * w0[c]) + x1 * w1[c]) + x2 * w2[c]) + x3 * w3[c]
                row[c] = (((half + x4 * w4[c]) + x5 * w5[c]) + x6 * w6[c]) + x7 * w7[c]
            j += 8
        while j < n_in:
            x0 = x[i, j] - center[j]
            for c in range(n_out):
                row[c] += x0 * weights[j, c]
            j += 1


def cast(dtype, *arrays):
    """The arrays as contiguous operands of one dtype; what is too large for it becomes inf."""
    with np.errstate(over="ignore"):
        return tuple(np.ascontiguousarray(array, dtype=dtype) for array in arrays)
