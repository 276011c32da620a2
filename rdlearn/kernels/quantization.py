"""Scalar quantizers: design on sorted samples, quantization, and its inverse."""

import math

import numpy as np
from numba import njit

from rdlearn.kernels.jit import JIT

__all__ = [
    "cell_probabilities",
    "decision_thresholds",
    "dequantize",
    "design",
    "lloyd_max",
    "quantize",
]

# Symbols saturate here: still exact as floats.
MAX_STEPS = 1 << 52


@njit(**JIT)
def decision_thresholds(points, cost, beta, thresholds):
    """Cell borders that minimise beta * (y - point)**2 + cost, points ascending.

    The costs are parabolas in y; dropping their common y**2 leaves lines, and the best point
    for each y is their lower envelope. A point that is never best gets an empty cell.
    """
    n = points.size
    hull = np.empty(n, np.int64)
    top = -1
    for k in range(n):
        while top >= 1:
            left = _crossing(points, cost, beta, hull[top - 1], hull[top])
            if _crossing(points, cost, beta, hull[top], k) > left:
                break
            top -= 1
        top += 1
        hull[top] = k
    for h in range(top):
        border = _crossing(points, cost, beta, hull[h], hull[h + 1])
        for k in range(hull[h], hull[h + 1]):
            thresholds[k] = border


@njit(inline="always")
def _crossing(points, cost, beta, i, j):
    width = points[j] - points[i]
    return 0.5 * (points[i] + points[j]) + (cost[j] - cost[i]) / (2.0 * beta * width)


@njit(**JIT)
def cell_probabilities(edges, n, center, scale, thresholds, least, p):
    """Smoothed cell probabilities from cell edges into the sorted sample (Witten & Bell 1991).

    As many pseudo-samples as there are occupied cells follow a logistic law of the sample's
    mean and spread: negligible where cells are full, a fallback where most are empty.
    """
    n_cells = p.size
    occupied = 0
    for k in range(n_cells):
        occupied += edges[k + 1] > edges[k]
    below = 0.0
    for k in range(n_cells):
        if k < n_cells - 1:
            upto = 1.0 / (1.0 + math.exp(-(thresholds[k] - center) / scale))
        else:
            upto = 1.0
        p[k] = (edges[k + 1] - edges[k] + occupied * (upto - below)) / (n + occupied)
        p[k] = max(p[k], least)
        below = upto


@njit(**JIT)
def design(y, prefix, square, beta, step, least, max_iter, tol, points, p):
    """Entropy-constrained scalar quantizer for one sorted sample (Chou et al. 1989).

    Starts from the uniform grid of width `step` and alternates probabilities, points and
    decision thresholds until rate + beta * distortion stops falling. Writes points and p,
    returns (number of points, rate in nats, squared error, iterations).
    """
    n = y.size
    first = np.int64(np.rint(y[0] / step))
    # Rounding may ask for a cell too many where y is far from 0.
    n_cells = min(max(np.int64(np.rint(y[n - 1] / step)) - first + 1, 1), points.size)
    for k in range(n_cells):
        points[k] = (first + k) * step
    thresholds = np.empty(n_cells)
    cost = np.empty(n_cells)
    edges = np.empty(n_cells + 1, np.int64)
    for k in range(n_cells - 1):
        thresholds[k] = 0.5 * (points[k] + points[k + 1])
    center = prefix[n] / n
    variance = max(square / n - center * center, 1e-300)
    scale = math.sqrt(3.0 * variance) / math.pi
    best = np.inf
    rate = distortion = 0.0
    iteration = 0
    while True:
        _cell_edges(y, thresholds, n_cells, edges)
        cell_probabilities(edges, n, center, scale, thresholds, least, p[:n_cells])
        rate, distortion = _centroids(
            edges, prefix, square, thresholds, step, n_cells, points, p, cost
        )
        objective = rate + beta * distortion
        if best - objective < tol or iteration >= max_iter:
            break
        best = objective
        iteration += 1
        decision_thresholds(points[:n_cells], cost[:n_cells], beta, thresholds[: n_cells - 1])
        n_cells = _drop_empty(thresholds, n_cells, points)
    return n_cells, rate, distortion, iteration


@njit(inline="always")
def _cell_edges(y, thresholds, n_cells, edges):
    edges[0] = 0
    edges[n_cells] = y.size
    for k in range(n_cells - 1):
        low, high = edges[k], y.size
        while low < high:
            middle = (low + high) >> 1
            if y[middle] < thresholds[k]:
                low = middle + 1
            else:
                high = middle
        edges[k + 1] = low


@njit(inline="always")
def _centroids(edges, prefix, square, thresholds, step, n_cells, points, p, cost):
    n = edges[n_cells]
    rate = 0.0
    distortion = square
    for k in range(n_cells):
        count = edges[k + 1] - edges[k]
        total = prefix[edges[k + 1]] - prefix[edges[k]]
        low = thresholds[k - 1] if k > 0 else points[k] - 0.5 * step
        high = thresholds[k] if k < n_cells - 1 else points[k] + 0.5 * step
        # One pseudo-sample in the middle steadies the centroid of a nearly empty inner cell.
        if n_cells > 1:
            if k == 0:
                low = max(low, high - step)
            elif k == n_cells - 1:
                high = min(high, low + step)
            points[k] = (total + 0.5 * (low + high)) / (count + 1)
        else:
            points[k] = total / count
        cost[k] = -math.log(p[k])
        rate += count * cost[k]
        distortion += points[k] * (count * points[k] - 2.0 * total)
    return rate / n, max(distortion, 0.0) / n


@njit(inline="always")
def _drop_empty(thresholds, n_cells, points):
    kept = 0
    below = -np.inf
    for k in range(n_cells):
        above = thresholds[k] if k < n_cells - 1 else np.inf
        if above > below:
            points[kept] = points[k]
            if k < n_cells - 1:
                thresholds[kept] = above
            kept += 1
            below = above
    return kept


@njit(**JIT)
def lloyd_max(y, prefix, n_levels, max_iter, points):
    """Fixed-rate quantizer of `n_levels` points for one sorted sample (Lloyd 1957, Max 1960)."""
    n = y.size
    edges = np.empty(n_levels + 1, np.int64)
    thresholds = np.empty(n_levels)
    for k in range(n_levels + 1):
        edges[k] = k * n // n_levels
    for _ in range(max_iter):
        moved = False
        for k in range(n_levels):
            count = edges[k + 1] - edges[k]
            if count > 0:
                points[k] = (prefix[edges[k + 1]] - prefix[edges[k]]) / count
            else:
                points[k] = y[min(edges[k], n - 1)]
        for k in range(n_levels - 1):
            thresholds[k] = 0.5 * (points[k] + points[k + 1])
        before = edges.copy()
        _cell_edges(y, thresholds, n_levels, edges)
        for k in range(n_levels):
            moved |= edges[k] != before[k]
        if not moved:
            break


@njit(**JIT)
def quantize(
    y, start, thresholds, jump, jump_start, jump_low, jump_scale, low, high, points, step, out
):
    """Symbols (n_columns, n) of y (n, n_columns).

    Inside [low, high] a symbol is the index of its point, found from a jump table and the
    thresholds, of which a column's last is NaN; outside it counts steps, at most MAX_STEPS, beyond
    the first (negative) or the last point. NaN goes below everything. Returns how many values
    lay at MAX_STEPS steps or beyond and are lost.
    """
    n, n_columns = y.shape
    lost = 0
    for c in range(n_columns):
        borders = thresholds[start[c] : start[c + 1]]
        table = jump[jump_start[c] : jump_start[c + 1]]
        size = borders.size
        first, last = points[start[c]], points[start[c + 1] - 1]
        origin, scale, bottom, top = jump_low[c], jump_scale[c], low[c], high[c]
        end = table.size - 1.0
        row = out[c]
        for i in range(n):
            v = np.float64(y[i, c])
            if v >= bottom and v <= top:
                slot = (v - origin) * scale
                slot = min(max(slot, 0.0), end)
                s = np.uint32(table[np.uint32(slot)])
                # One step without a branch, since which half of a slot a value falls in is
                # a coin toss; no value reaches a border of NaN: the walk ends inside the table.
                s += np.uint32(v >= borders[s])
                while v >= borders[s]:
                    s += np.uint32(1)
                row[i] = s
            elif v > top:
                steps = _steps((v - last) / step)
                lost += steps == MAX_STEPS
                row[i] = size - 1 + steps
            else:
                steps = _steps((first - v) / step)
                lost += steps == MAX_STEPS
                row[i] = -steps
    return lost


@njit(inline="always")
def _steps(ratio):
    # Written so that an overflowed or undefined ratio saturates too.
    if not ratio < MAX_STEPS:
        return np.int64(MAX_STEPS)
    return max(np.int64(np.rint(ratio)), np.int64(1))


@njit(**JIT)
def dequantize(symbols, start, points, step, columns, out):
    """Reconstruction values of symbols (n_columns, n), written to the named columns of out."""
    n_columns, n = symbols.shape
    for c in range(n_columns):
        table = points[start[c] : start[c + 1]]
        size = table.size
        j = columns[c]
        for i in range(n):
            s = symbols[c, i]
            if s < 0:
                value = table[0] + s * step
            elif s < size:
                value = table[s]
            else:
                value = table[size - 1] + (s - size + 1) * step
            out[i, j] = value
