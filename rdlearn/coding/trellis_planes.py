"""Symbols in planes along a trellis: the planes and contexts of `latents`, other points."""

import numpy as np

from rdlearn.coding.contexts import ContextCoder
from rdlearn.coding.integers import stored
from rdlearn.coding.latents import PlaneCode, first_symbols
from rdlearn.exceptions import CorruptStreamError
from rdlearn.kernels import contexts
from rdlearn.kernels import trellis_planes as kernels
from rdlearn.kernels.trellis import MACHINES, OFFSET, ways_into

__all__ = ["PLANE_PRICE", "TrellisPlaneCode"]

# What a bit costs in squared steps: less than the slope says, since a symbol also tells about
# those after it.
PLANE_PRICE = 0.08
# Passes of the search, whose tables are those of the symbols before.
PASSES = 2
# Symbols that rounds of search and new tables look at, most rounds, and the least that one gains.
FEW, MAX_ITER, GAIN = 1 << 23, 8, 1e-3
# Symbols that hold a point where it is.
PRIOR = 20.0
STATES = np.array(MACHINES[8], dtype=np.int64)
N_POINTS = 2 * kernels.MOST_POINT + 1


class TrellisPlaneCode(PlaneCode):
    """Symbols of a trellis whose tables are chosen by those already coded.

    The trellis leads through the components of a row of a table, and through an image in coding
    order, plane after plane; planes that are coded as differences are rounded.

    Parameters
    ----------
    arrangement : Arrangement
    coder : ContextCoder
    points : ndarray of shape (N_BINS, 7), float32
        What is added to indices -3 and less, ..., 3 and more under tables of a bin.
    price : float
        What a bit costs, in squared steps.
    """

    def __init__(self, arrangement, coder, points, price):
        self.arrangement, self.coder = arrangement, coder
        self.points, self.price = points, price

    @classmethod
    def fit(cls, values, arrangements, price, causal=True):
        """The code of some values, as `PlaneCode.fit`; its `n_iter` is the rounds of learning."""
        layouts = [a.layout(len(v)) for a, v in zip(arrangements, values, strict=True)]
        values = [a.images(v) for a, v in zip(arrangements, values, strict=True)]
        points = np.full((contexts.N_BINS, N_POINTS), OFFSET, dtype=np.float32)
        points[:, kernels.MOST_POINT] = 0
        pairs = list(zip(layouts, values, strict=True))
        few = [(layout, v[:: max(1, -(-v.size // FEW))]) for layout, v in pairs]
        rounded = [first_symbols(layout, v, price) for layout, v in few]
        code = cls(arrangements[0], ContextCoder.fit(layouts, rounded, causal, True), points, price)
        least, n_iter = np.inf, 0
        while n_iter < MAX_ITER:
            code, objective = code._learned(few, causal)
            n_iter += 1
            if objective > (1 - GAIN) * least:
                break
            least = objective
        if any(len(v) > len(part) for (_, v), (_, part) in zip(pairs, few, strict=True)):
            code, _ = code._learned(pairs, causal)
        code.n_iter = n_iter
        return code

    def _learned(self, pairs, causal):
        """The code of the symbols that this one finds, and squared steps and bits they cost."""
        symbols = [self._decided(layout, values) for layout, values in pairs]
        coder = ContextCoder.fit([layout for layout, _ in pairs], symbols, causal, True)
        total, seen = np.zeros((2, contexts.N_BINS, N_POINTS))
        cost = 0.0
        for (layout, values), found in zip(pairs, symbols, strict=True):
            tables = coder.tables(layout, found)
            kernels.centroids(values, found, tables, *_paths(layout), STATES, total, seen)
        points = ((total + PRIOR * self.points) / (seen + PRIOR)).astype(np.float32)
        code = type(self)(self.arrangement, coder, points, self.price)
        for (layout, values), found in zip(pairs, symbols, strict=True):
            miss = code._values(layout, found) - values
            cost += float(np.sum(miss * miss, dtype=np.float64))
            cost += self.price * float(coder.code_length(layout, found).sum(dtype=np.float64))
        return code, cost

    def resized(self, height, width):
        """The code of images of another size."""
        arrangement = self.arrangement.resized(height, width)
        return TrellisPlaneCode(arrangement, self.coder, self.points, self.price)

    def quantize(self, values):
        """Symbols (n_rows, n_symbols), int32, of values in steps."""
        layout = self.arrangement.layout(len(values))
        symbols = self._decided(layout, self.arrangement.images(values))
        return self.arrangement.rows(symbols, len(values))

    def _decided(self, layout, values):
        symbols = first_symbols(layout, values, self.price)
        near = np.empty((len(self.coder.prob), 2 * kernels.EXTENT + 1, 2))
        laws = self.price, *self.coder.bits_of_symbols, self.points
        kernels.fill_near(*laws, near)
        for _ in range(PASSES):
            tables = self.coder.tables(layout, symbols)
            kernels.decide(values, tables, *_paths(layout), ways_into(STATES), *laws, near, symbols)
        return symbols

    def dequantize(self, symbols):
        """Values (n_rows, n_symbols), float32, that the decoder sees."""
        layout = self.arrangement.layout(len(symbols))
        values = self._values(layout, self.arrangement.images(symbols))
        return self.arrangement.rows(values, len(symbols))

    def _values(self, layout, symbols):
        symbols = np.ascontiguousarray(symbols)
        out = np.empty(symbols.shape, dtype=np.float32)
        tables = self.coder.tables(layout, symbols)
        kernels.reconstruct(symbols, tables, *_paths(layout), STATES, self.points, out)
        return out

    def _points_state(self):
        return {"points": self.points}

    @classmethod
    def from_state(cls, state):
        points = stored(state, "points", np.ndarray)
        if points.shape != (contexts.N_BINS, N_POINTS) or points.dtype != np.float32:
            raise CorruptStreamError("The code's points do not fit its tables.")
        if not np.all(np.abs(points) < 2):
            raise CorruptStreamError("The code's points are impossible.")
        return cls(*cls._planes_of(state), points, cls._price_of(state))


def _paths(layout):
    """First symbol of the paths, and how many of them take turns."""
    first = int(layout.planes[: layout.n_smooth, 2:4].prod(axis=1).sum())
    # Where a symbol looks at none of its own plane, neighbours are other rows.
    return first, 1 if layout.in_row else int(layout.planes[0, 3])
