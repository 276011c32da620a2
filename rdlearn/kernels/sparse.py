"""Products with matrices that are mostly zeros, as tables of bits are: sums of rows.

A BLAS product of a small batch spends its time on packing the other matrix; these read a row of it
for each entry that is not 0 (``benchmarks/rbm_speed.py``). Sums are in a fixed order.
"""

import numpy as np
from numba import njit

from rdlearn.kernels.jit import JIT

__all__ = ["SPARSE", "sparse_add_product", "sparse_product"]

# Part of entries that are not 0 up to which these take over from BLAS: chosen with room above the
# fifth that the benchmark runs at.
SPARSE = 0.35


@njit(**JIT)
def _entries_of_rows(a, start, index, value):
    n, d = a.shape
    p = 0
    for i in range(n):
        start[i] = p
        for j in range(d):
            # Branch-free: always store, move on only past what is not 0.
            index[p], value[p] = j, a[i, j]
            p += a[i, j] != 0
    start[n] = p


@njit(**JIT)
def _entries_of_columns(a, start, index, value):
    n, d = a.shape
    start[:] = 0
    for i in range(n):
        for j in range(d):
            start[j + 1] += a[i, j] != 0
    for j in range(d):
        start[j + 1] += start[j]
    place = start.copy()
    for i in range(n):
        for j in range(d):
            if a[i, j] != 0:
                index[place[j]], value[place[j]] = i, a[i, j]
                place[j] += 1


@njit(**JIT)
def _add_rows(start, index, value, dense, alpha, beta, out):
    """out = beta * out + alpha * (entries @ dense); what out holds is not read where beta is 0."""
    n, h = out.shape
    for i in range(n):
        row = out[i]
        if beta == 0:
            row[:] = beta
        elif beta != 1:
            for c in range(h):
                row[c] *= beta
        p, end = start[i], start[i + 1]
        # Eight rows a pass: one load and store of the sums for eight products.
        while p + 8 <= end:
            k0, k1, k2, k3 = index[p], index[p + 1], index[p + 2], index[p + 3]
            k4, k5, k6, k7 = index[p + 4], index[p + 5], index[p + 6], index[p + 7]
            a0, a1 = alpha * value[p], alpha * value[p + 1]
            a2, a3 = alpha * value[p + 2], alpha * value[p + 3]
            a4, a5 = alpha * value[p + 4], alpha * value[p + 5]
            a6, a7 = alpha * value[p + 6], alpha * value[p + 7]
            w0, w1, w2, w3 = dense[k0], dense[k1], dense[k2], dense[k3]
            w4, w5, w6, w7 = dense[k4], dense[k5], dense[k6], dense[k7]
            for c in range(h):
                low = (a0 * w0[c] + a1 * w1[c]) + (a2 * w2[c] + a3 * w3[c])
                row[c] += low + ((a4 * w4[c] + a5 * w5[c]) + (a6 * w6[c] + a7 * w7[c]))
            p += 8
        while p < end:
            a0, w0 = alpha * value[p], dense[index[p]]
            for c in range(h):
                row[c] += a0 * w0[c]
            p += 1


def _room(a, n, empty):
    """Arrays for the entries of a, by n rows or columns."""
    # One more, which a row's last zero is written to.
    size = (a.size + 1,)
    kinds = ("starts", (n + 1,), np.int64), ("indices", size, np.int32), ("values", size, a.dtype)
    return [empty(("entries", name), shape, dtype) for name, shape, dtype in kinds]


def sparse_product(a, b, out, empty):
    """out = a @ b; a of shape (n, d), b (d, k) and out (n, k) in C order.

    ``empty(name, shape, dtype)`` gives arrays to work in, as a workspace's does.
    """
    entries = _room(a, len(a), empty)
    _entries_of_rows(a, *entries)
    one = out.dtype.type(1)
    _add_rows(*entries, b, one, one - one, out)


def sparse_add_product(a, b, alpha, beta, out, empty):
    """out = beta * out + alpha * a.T @ b; shapes (n, d), (n, k), (d, k), in C order."""
    entries = _room(a, a.shape[1], empty)
    _entries_of_columns(a, *entries)
    _add_rows(*entries, b, out.dtype.type(alpha), out.dtype.type(beta), out)
