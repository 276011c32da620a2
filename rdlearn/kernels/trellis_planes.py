"""Trellis-coded quantization of symbols in planes, whose tables those already coded choose.

Quantizers and states are those of `trellis`, but quantizer 1 counts downwards: its index k stands
for -(k + 1/4) steps. What is wavelet or code of a net has one law on both sides of 0, so that
indices of both quantizers are alike, and the tables need not tell them apart: the entropy code
knows of no trellis. Points depend on the bin of the table, because what is predicted to be small
lies nearer to 0.

Symbols before `first` are not part of a path: they are rounded. Of the others every `n_paths`-th
belongs to one path, so that rows of components, laid out component after component, are paths.
"""

import numpy as np
from numba import njit

from rdlearn.kernels.contexts import N_BINS, N_DECISIONS, _bucket
from rdlearn.kernels.jit import JIT
from rdlearn.kernels.trellis import HALF, N_STATES, OFFSET, nearest

__all__ = ["EXTENT", "MOST_POINT", "centroids", "decide", "fill_near", "reconstruct"]

# Indices with points of their own, on either side of 0, and those whose costs are looked up.
MOST_POINT, EXTENT = 3, 12


@njit(inline="always")
def _point(k, t, points):
    return k + points[t % N_BINS, MOST_POINT + min(max(k, -MOST_POINT), MOST_POINT)]


@njit(**JIT)
def _far(y, k, t, price, bits, sign_bits, points):
    """Squared error of an index and the price of its bits."""
    bucket, _, width = _bucket(abs(k))
    total = bits[t, min(bucket, N_DECISIONS)]
    if bucket >= N_DECISIONS:
        total += bucket - N_DECISIONS + 1 + width
    if k != 0:
        total += sign_bits[t, np.int64(k < 0)]
    miss = y - _point(k, t, points)
    return miss * miss + price * total


@njit(**JIT)
def fill_near(price, bits, sign_bits, points, out):
    """Points and costs (n_tables, 2 * EXTENT + 1, 2) of the indices -EXTENT to EXTENT."""
    for t in range(len(out)):
        for k in range(-EXTENT, EXTENT + 1):
            point = _point(k, t, points)
            out[t, k + EXTENT, 0] = point
            out[t, k + EXTENT, 1] = _far(point, k, t, price, bits, sign_bits, points)


@njit(inline="always")
def _best_near(y, t, parity, near):
    """Cost and index of the better of the two nearest of a parity, which both are near 0."""
    k, other = nearest(y - OFFSET, parity)
    one = y - near[t, k + EXTENT, 0]
    two = y - near[t, other + EXTENT, 0]
    one = one * one + near[t, k + EXTENT, 1]
    two = two * two + near[t, other + EXTENT, 1]
    return (two, other) if two < one else (one, k)


@njit(**JIT)
def _best_far(y, t, parity, price, bits, sign_bits, points):
    """As `_best_near`, wherever they are."""
    k, other = nearest(y - OFFSET, parity)
    one = _far(y, k, t, price, bits, sign_bits, points)
    two = _far(y, other, t, price, bits, sign_bits, points)
    return (two, other) if two < one else (one, k)


@njit(**JIT)
def _fill_far(y, t, price, bits, sign_bits, points, best):
    for q in range(2):
        for parity in range(2):
            best[parity, q], _ = _best_far(
                -y if q else y, t, parity, price, bits, sign_bits, points
            )


@njit(**JIT)
def decide(values, tables, first, n_paths, before, price, bits, sign_bits, points, near, out):
    """Indices (n_images, n_symbols) of least squared error plus `price` a bit, under given tables.

    values, tables and out (n_images, n_symbols), near as of `fill_near`; out keeps what it holds
    before `first`.
    """
    n = values.shape[1]
    ways = np.empty(-(-max(n - first, 0) // n_paths), np.uint8)
    cost, best = np.empty(N_STATES), np.empty((2, 2))
    branch = np.empty((2, 2, HALF))
    flat = branch.reshape(-1)
    one_way = before[:, 0, 1] * N_STATES + before[:, 0, 0]
    other_way = before[:, 1, 1] * N_STATES + before[:, 1, 0]
    for image in range(len(values)):
        row, table = values[image], tables[image]
        for path in range(n_paths):
            cost[:] = np.inf
            cost[0] = 0.0
            place = 0
            for i in range(first + path, n, n_paths):
                y = np.float64(row[i])
                if abs(y) < EXTENT - 4:
                    for q in range(2):
                        for parity in range(2):
                            best[parity, q], _ = _best_near(-y if q else y, table[i], parity, near)
                else:
                    # Apart, because what is seldom called would take the registers of the rest.
                    _fill_far(y, table[i], price, bits, sign_bits, points, best)
                for parity in range(2):
                    for q in range(2):
                        for s in range(HALF):
                            branch[parity, q, s] = cost[HALF * q + s] + best[parity, q]
                way = 0
                for s in range(N_STATES):
                    one, two = flat[one_way[s]], flat[other_way[s]]
                    way |= np.int64(two < one) << s
                    cost[s] = min(one, two)
                ways[place] = way
                place += 1
            s = np.argmin(cost)
            for i in range(first + path + (place - 1) * n_paths, first - 1, -n_paths):
                place -= 1
                s, parity = before[s, (ways[place] >> s) & 1]
                y = np.float64(row[i])
                y = y if s < HALF else -y
                if abs(y) < EXTENT - 4:
                    _, out[image, i] = _best_near(y, table[i], parity, near)
                else:
                    _, out[image, i] = _best_far(
                        y, table[i], parity, price, bits, sign_bits, points
                    )


@njit(**JIT)
def reconstruct(symbols, tables, first, n_paths, after, points, out):
    """Values of symbols (n_images, n_symbols), as out of that shape, float32."""
    states = np.empty(n_paths, np.int64)
    for image in range(len(symbols)):
        states[:] = 0
        out[image, :first] = symbols[image, :first]
        for i in range(first, symbols.shape[1]):
            k, s = symbols[image, i], states[(i - first) % n_paths]
            value = np.float32(_point(k, tables[image, i], points))
            out[image, i] = value if s < HALF else -value
            states[(i - first) % n_paths] = after[s, k & 1]


@njit(**JIT)
def centroids(values, symbols, tables, first, n_paths, after, total, seen):
    """Add up values beyond their indices and how many there are, by bin and index.

    total and seen (N_BINS, 2 * MOST_POINT + 1).
    """
    states = np.empty(n_paths, np.int64)
    for image in range(len(symbols)):
        states[:] = 0
        for i in range(first, symbols.shape[1]):
            k, s = symbols[image, i], states[(i - first) % n_paths]
            y = np.float64(values[image, i])
            b = tables[image, i] % N_BINS
            place = MOST_POINT + min(max(k, -MOST_POINT), MOST_POINT)
            total[b, place] += (y if s < HALF else -y) - k
            seen[b, place] += 1
            states[(i - first) % n_paths] = after[s, k & 1]
