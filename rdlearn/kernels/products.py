"""Matrix products whose result for a row depends on that row alone.

A BLAS product changes in the last bit with the number of rows and of threads, which flips
symbols near a threshold. Here every output element is one sum in a fixed order, so one row
or a million, one thread or many, give the same bits. Costs up to twice a one-thread BLAS
product (``benchmarks/pca_throughput.py``).
"""

import numpy as np
from numba import njit

from rdlearn.kernels.jit import JIT

__all__ = ["affine", "cast"]


# Rows that are transposed at a time, so that they are what vector instructions run along; and
# what keeps the lines of a power of two from falling on the same place in the cache.
BLOCK_ROWS, PADDING = 128, 16
# Rows that are not worth it.
FEW = 12


@njit(**JIT)
def affine(x, center, weights, bias, out):
    """out = (x - center) @ weights + bias, shapes (n, d), (d,), (d, k), (k,), (n, k)."""
    n_rows, n_in = x.shape
    n_out = weights.shape[1]
    if n_rows < FEW:
        _affine_of_few(x, center, weights, bias, out)
        return
    lines = np.zeros((n_in, BLOCK_ROWS + PADDING), out.dtype)
    sums = np.empty((2, BLOCK_ROWS), out.dtype)
    a, b = sums[0], sums[1]
    for start in range(0, n_rows, BLOCK_ROWS):
        n = min(BLOCK_ROWS, n_rows - start)
        # Whole vectors: what comes out beside the rows is not used.
        wide = -(-n // PADDING) * PADDING
        for i in range(n):
            for j in range(n_in):
                lines[j, i] = x[start + i, j] - center[j]
        # Two outputs and four inputs a pass: fewer loads and stores for each product.
        for c in range(0, n_out, 2):
            e = min(c + 1, n_out - 1)
            a[:wide], b[:wide] = bias[c], bias[e]
            j = 0
            while j + 4 <= n_in:
                x0, x1, x2, x3 = lines[j], lines[j + 1], lines[j + 2], lines[j + 3]
                v0, v1, v2, v3 = (
                    weights[j, c],
                    weights[j + 1, c],
                    weights[j + 2, c],
                    weights[j + 3, c],
                )
                w0, w1, w2, w3 = (
                    weights[j, e],
                    weights[j + 1, e],
                    weights[j + 2, e],
                    weights[j + 3, e],
                )
                for i in range(wide):
                    a[i] = (((a[i] + x0[i] * v0) + x1[i] * v1) + x2[i] * v2) + x3[i] * v3
                    b[i] = (((b[i] + x0[i] * w0) + x1[i] * w1) + x2[i] * w2) + x3[i] * w3
                j += 4
            while j < n_in:
                x0, v0, w0 = lines[j], weights[j, c], weights[j, e]
                for i in range(wide):
                    a[i] += x0[i] * v0
                    b[i] += x0[i] * w0
                j += 1
            for i in range(n):
                out[start + i, c], out[start + i, e] = a[i], b[i]


@njit(**JIT)
def _affine_of_few(x, center, weights, bias, out):
    n_rows, n_in = x.shape
    for i in range(n_rows):
        row = out[i]
        # Not row[:] = bias, which takes numba long to compile.
        for c in range(weights.shape[1]):
            row[c] = bias[c]
        for j in range(n_in):
            # The same sum in the same order.
            centred = x[i, j] - center[j]
            for c in range(weights.shape[1]):
                row[c] += centred * weights[j, c]


def cast(dtype, *arrays):
    """The arrays as contiguous operands of one dtype; what is too large for it becomes inf."""
    with np.errstate(over="ignore"):
        return tuple(np.ascontiguousarray(array, dtype=dtype) for array in arrays)
