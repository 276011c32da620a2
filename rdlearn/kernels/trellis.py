"""Trellis-coded quantization: two interleaved quantizers that the parity of the indices chooses.

In steps, quantizer 0 has the points k + 1/4 and quantizer 1 the points k - 1/4. A state says which
of them an index is of, and the index's parity leads to the next state. So an index tells about
those after it: the encoder, which looks for the best path, packs points as closely as half steps
would, at about the rate of whole ones.

Symbols (n_columns, n) are coded column by column. In the order of rows each row is a path through
its columns; in joint order each column holds `N_LANES` paths, one through every eighth row, so
that eight symbols are in flight at once here as well. All paths begin in state 0.

Facts that surprise: neither quantizer has the point 0, and yet this was better than quantizers that
share it at every rate tried, because the points that are learned for index 0 move there; and tables
that tell states of one quantizer apart gained next to nothing.

Source: Marcellin, Fischer, "Trellis coded quantization of memoryless and Gauss-Markov sources",
IEEE Trans. Communications 38 (1990); the machines are those of Schwarz et al., "Quantization and
entropy coding in the Versatile Video Coding standard", IEEE Trans. CSVT 31 (2021), and of its
successor's model.
"""

import numpy as np
from numba import njit

from rdlearn.kernels.entropy_coding import N_LANES, _bucket, _escape_bytes
from rdlearn.kernels.jit import JIT

__all__ = [
    "HALF",
    "MACHINES",
    "MAX_STEPS",
    "N_STATES",
    "OFFSET",
    "code_length",
    "decide",
    "dequantize",
    "fill_near",
    "follow",
    "nearest",
    "ways_into",
]

# States; the first half are of quantizer 0.
N_STATES, HALF = 8, 4
# Next state after an even and an odd index; a machine of four states is there twice, and its
# second half is never reached.
MACHINES = {
    4: ((0, 4), (4, 0), (2, 6), (6, 2), (1, 5), (5, 1), (3, 7), (7, 3)),
    8: ((0, 1), (4, 5), (1, 0), (5, 4), (6, 7), (3, 2), (2, 3), (7, 6)),
}
# Point of index 0 of quantizer 0, and minus that of quantizer 1, in steps.
OFFSET = 0.25
# Values saturate here, in steps: still exact as floats.
MAX_STEPS = 1 << 50


def ways_into(after):
    """Both ways into each state, as (N_STATES, 2, 2) of state and parity."""
    return np.array([np.argwhere(after == s) for s in range(N_STATES)])


@njit(inline="always")
def nearest(u, parity):
    """The two indices of a parity nearest to u, which is in steps from the point of index 0."""
    k = 2 * np.int64(np.rint(0.5 * (u - parity))) + parity
    return k, (k + 2 if u > k else k - 2)


@njit(inline="always")
def _offset(q):
    return OFFSET - 2 * OFFSET * q


@njit(inline="always")
def _value(k, q, step, reach, first, points):
    if -reach <= k and k <= reach:
        return points[first + q * (2 * reach + 1) + reach + k]
    return step * (k + _offset(q))


@njit(inline="always")
def _bits(k, low, size, shift, start, bits):
    bucket, delta = _bucket(k, low, size, shift)
    if bucket < size:
        return bits[start + bucket] + shift
    return bits[start + size] + 8.0 * _escape_bytes(delta)


@njit(**JIT)
def fill_near(
    price, extent, center, low, size, shift, start, bits, step, reach, first, points, out
):
    """Points and costs (n, 2, 2) of the indices within the extent of each column.

    Row ``center[c] + k`` holds those of index k: of both quantizers the point, then the cost.
    """
    for c in range(extent.size):
        for k in range(-extent[c], extent[c] + 1):
            for q in range(2):
                t, near = 2 * c + q, out[center[c] + k]
                near[q, 0] = _value(k, q, step, reach[c], first[c], points)
                near[q, 1] = price * _bits(k, low[t], size[t], shift[t], start[t], bits)


@njit(**JIT)
def _far(y, k, q, price, low, size, shift, start, bits, step):
    """Squared error of an index without a point of its own, and the price of its bits."""
    miss = y - step * (k + _offset(q))
    return miss * miss + price * _bits(k, low, size, shift, start, bits)


@njit(**JIT)
def decide(y, joint, before, price, low, size, shift, start, bits, step, extent, center, near, out):
    """Indices (n_columns, n) of y (n, n_columns) of least squared error plus `price` a bit.

    extent, center and near are those of `fill_near`; column c of quantizer q has table 2 c + q.
    Returns how many values lay at MAX_STEPS steps or beyond and are lost.
    """
    n, n_columns = y.shape
    n_paths = N_LANES * n_columns if joint else n
    length = -(-n // N_LANES) if joint else n_columns
    ways = np.empty((length, N_STATES), np.uint8)
    indices = np.empty((length, 2, 2), np.int64)
    cost, branch = np.empty(N_STATES), np.empty((2, 2, HALF))
    flat = branch.reshape(-1)
    one_way = before[:, 0, 1] * N_STATES + before[:, 0, 0]
    other_way = before[:, 1, 1] * N_STATES + before[:, 1, 0]
    lost = 0
    far = MAX_STEPS * step
    for path in range(n_paths):
        c, i = (path // N_LANES, path % N_LANES) if joint else (0, path)
        cost[:] = np.inf
        cost[0] = 0.0
        steps = 0
        while i < n and c < n_columns:
            v = np.float64(y[i, c])
            # Written so that NaN saturates too.
            if not abs(v) < far:
                lost += 1
                v = -far if v < 0 else far
            inside, zero = abs(v) < (extent[c] - 4) * step, center[c]
            for q in range(2):
                u = v / step - _offset(q)
                for parity in range(2):
                    k, other = nearest(u, parity)
                    if inside:
                        one, two = v - near[zero + k, q, 0], v - near[zero + other, q, 0]
                        one = one * one + near[zero + k, q, 1]
                        two = two * two + near[zero + other, q, 1]
                    else:
                        t = 2 * c + q
                        one = _far(v, k, q, price, low[t], size[t], shift[t], start[t], bits, step)
                        two = _far(
                            v, other, q, price, low[t], size[t], shift[t], start[t], bits, step
                        )
                    indices[steps, q, parity] = other if two < one else k
                    best = min(one, two)
                    for s in range(HALF):
                        branch[parity, q, s] = cost[HALF * q + s] + best
            for s in range(N_STATES):
                one, two = flat[one_way[s]], flat[other_way[s]]
                ways[steps, s] = two < one
                cost[s] = min(one, two)
            steps += 1
            i, c = (i + N_LANES, c) if joint else (i, c + 1)
        s = np.argmin(cost)
        for place in range(steps - 1, -1, -1):
            i, c = (i - N_LANES, c) if joint else (i, c - 1)
            s, parity = before[s, ways[place, s]]
            out[c, i] = indices[place, s // HALF, parity]
    return lost


@njit(**JIT)
def follow(symbols, joint, after, states):
    """States (n_columns, n) uint8 that symbols are coded in."""
    n_columns, n = symbols.shape
    ahead, below = (N_LANES, 0) if joint else (0, 1)
    states[: n_columns if joint else 1, : N_LANES if joint else n] = 0
    for c in range(n_columns - below):
        now, then, row = states[c], states[c + below], symbols[c]
        for i in range(n - ahead):
            then[i + ahead] = after[now[i], row[i] & 1]


@njit(**JIT)
def code_length(symbols, states, low, size, shift, start, bits, out):
    """Add to out (n,) the bits that symbols (n_columns, n) spend on each sample."""
    n_columns, n = symbols.shape
    for c in range(n_columns):
        for i in range(n):
            t = 2 * c + states[c, i] // HALF
            out[i] += _bits(symbols[c, i], low[t], size[t], shift[t], start[t], bits)


@njit(**JIT)
def dequantize(symbols, states, step, reach, first, points, columns, out):
    """Values of symbols (n_columns, n), written to the named columns of out."""
    n_columns, n = symbols.shape
    for c in range(n_columns):
        j = columns[c]
        for i in range(n):
            q = states[c, i] // HALF
            out[i, j] = _value(symbols[c, i], q, step, reach[c], first[c], points)
