"""Steps of a pyramid of image planes: sparse maps of rows and columns, division by neighbours."""

import numpy as np
from numba import njit

from rdlearn.kernels.jit import JIT

__all__ = ["divide", "divide_back", "sandwich"]


@njit(inline="always")
def _sum_rows(matrix, i, x, out):
    start, index, value = matrix
    out[:] = 0.0
    for k in range(start[i], start[i + 1]):
        weight, source = value[k], x[index[k]]
        for j in range(len(out)):
            out[j] += weight * source[j]


@njit(inline="always")
def _sum_columns(matrix, x, out):
    start, index, value = matrix
    for j in range(len(out)):
        total = 0.0
        for k in range(start[j], start[j + 1]):
            total += value[k] * x[index[k]]
        out[j] = total


@njit(**JIT)
def sandwich(rows, columns, x, out):
    """out = rows @ x @ columns.T of planes (n, h, w), for sparse matrices (start, index, value)."""
    n, height, width = out.shape
    line, wide = np.empty(x.shape[2]), np.empty((x.shape[1], width))
    for p in range(n):
        # Sums over rows run along memory: the others are left to the smaller side.
        if height < x.shape[1]:
            for i in range(height):
                _sum_rows(rows, i, x[p], line)
                _sum_columns(columns, line, out[p, i])
        else:
            for i in range(x.shape[1]):
                _sum_columns(columns, x[p, i], wide[i])
            for i in range(height):
                _sum_rows(rows, i, wide, out[p, i])


@njit(inline="always")
def _five(weights, line, j):
    left = weights[0] * line[j] + weights[1] * line[j + 1] + weights[2] * line[j + 2]
    return left + weights[3] * line[j + 3] + weights[4] * line[j + 4]


@njit(**JIT)
def _neighbours(plane, i, weights, out):
    """out = row i of sums over squares of 25, times five tuples of five weights, of a plane with
    two zeros on each side."""
    for j in range(len(out)):
        above = _five(weights[0], plane[i], j) + _five(weights[1], plane[i + 1], j)
        below = _five(weights[3], plane[i + 3], j) + _five(weights[4], plane[i + 4], j)
        out[j] = above + _five(weights[2], plane[i + 2], j) + below


@njit(**JIT)
def divide(band, weights, constant, below, out):
    """below = constant + weighted sum of absolute neighbours, out = band / below; (n, h, w)."""
    n, h, w = band.shape
    size = np.zeros((h + 4, w + 4))
    for p in range(n):
        for i in range(h):
            for j in range(w):
                size[i + 2, j + 2] = abs(band[p, i, j])
        for i in range(h):
            _neighbours(size, i, weights, below[p, i])
            for j in range(w):
                below[p, i, j] += constant
                out[p, i, j] = band[p, i, j] / below[p, i, j]


@njit(**JIT)
def divide_back(slope, band, mirrored, below, out):
    """out = slopes by `band`, of slopes by what `divide` made of it; weights turned by 180."""
    n, h, w = band.shape
    by_below, around = np.zeros((h + 4, w + 4)), np.empty(w)
    for p in range(n):
        for i in range(h):
            for j in range(w):
                ratio = band[p, i, j] / below[p, i, j]
                out[p, i, j] = slope[p, i, j] / below[p, i, j]
                by_below[i + 2, j + 2] = -ratio * out[p, i, j]
        for i in range(h):
            _neighbours(by_below, i, mirrored, around)
            for j in range(w):
                out[p, i, j] += around[j] * np.sign(band[p, i, j])
