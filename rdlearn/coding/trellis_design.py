"""How trellis-coded quantizers are learned: the search under the tables in force, and new tables.

Both take turns until rate + slope * squared error stops falling.
"""

import numpy as np

from rdlearn.coding.quantizers import ESCAPE_BITS, LEAST
from rdlearn.coding.tables import MAX_SHIFT, IntegerTables, quantize_probabilities
from rdlearn.coding.trellis import POINTS_PER_STEP, TrellisQuantizers, TrellisTables
from rdlearn.kernels.trellis import HALF, MAX_STEPS, OFFSET

__all__ = ["PRICE", "SHORT", "TrellisDesign"]

# What a bit costs in squared steps: a little more than at high rate, where that is least.
PRICE = 0.1
# Rows that are learned from, and rows of the sketch that a design on many of them starts from.
MOST, FEW = 1 << 16, 1 << 12
# Most rounds of a design, and of one among several on the way to a target, which start from each
# other.
LONG, SHORT = 40, 8
# Rounds without progress that end a design.
PATIENCE = 2
# In nats a column.
TOLERANCE = 1e-4
# Ratio of slopes up to which one design leads to another: with the columns that may be worth a
# bit, and with some of them dropped, which stay dropped.
NEAR, NEARER = 2.0, 1.1
# Indices that have points of their own, and those that a table is learned for; others escape.
REACH, MAX_RANGE = 32, 4096
# Entries from which coarser tables are tried, and most that are.
MIN_COARSE, MAX_ENTRIES = 64, 1024
# What an entry of a stored table takes, about, and samples that hold a point where it is.
ENTRY_BITS, PRIOR = 10.0, 8.0


class TrellisDesign:
    """Trellis-coded quantizers that minimise rate + slope * squared error of a sample.

    A slope starts from what one very near to it led to, and a first one on many rows from the
    design for a few of them, in the same order: where rows drift, a path through columns and one
    through rows want tables that have little in common.

    Parameters
    ----------
    y : ndarray of shape (n_samples, n_columns), float64
    n_rows : int, default=None
        Rows of the table that y are some of, among which the size of the tables is shared.
    n_states : {4, 8}, default=8
    tell : callable, default=None
        ``tell(quantizers, n_samples, n_rounds, bits)`` after each round.

    Attributes
    ----------
    sketch : TrellisDesign
        The design for a few of the rows, spread over them; of few rows the design itself.
    """

    def __init__(self, y, n_rows=None, n_states=8, tell=None):
        self.y, self.n_states, self.tell = y[:: -(-len(y) // MOST)], n_states, tell
        self.n_rows = len(y) if n_rows is None else n_rows
        self._near, self._rounds = {}, 0
        self._square = np.einsum("ij,ij->j", self.y, self.y) / len(self.y)
        self._largest = np.abs(self.y).max(axis=0) ** 2
        self._seen = self._square, self._largest
        self.sketch = self
        if len(self.y) > 2 * FEW:
            few = self.y[:: -(-len(self.y) // FEW)]
            self.sketch = TrellisDesign(few, self.n_rows, n_states, tell)
            # All rows say which columns may be worth a bit, lest rare values be missed.
            self.sketch._square, self.sketch._largest = self._square, self._largest

    @property
    def n_iter(self):
        """Rounds of search and learning so far."""
        return self._rounds + (0 if self.sketch is self else self.sketch.n_iter)

    def joint(self, slope, most=LONG):
        """(TrellisQuantizers, n_iter) in joint order, for a slope in nats a unit of error.

        On many rows it takes `most` rounds at most.
        """
        start = self._near_by("joint", slope)
        if start is None and self.sketch is not self:
            start = self.sketch.joint(slope)[0]
        if start is None:
            return self._kept("joint", self._fresh(slope))
        return self._kept("joint", self._continued(start, slope, True, most))

    def rows(self, slope, most=LONG):
        """(TrellisQuantizers, n_iter) in the order of rows for a slope, in as many rounds."""
        start = self._near_by("rows", slope)
        if start is None:
            start = (self.joint if self.sketch is self else self.sketch.rows)(slope)[0]
        return self._kept("rows", self._continued(start, slope, False, most))

    def relearned(self, q):
        """(TrellisQuantizers, n_iter) of q's step, learned from what q makes of the sample."""
        learner = self._learner(q.active, q.slope, q.tables.joint, q.step)
        self._rounds += 1
        return learner.relearned(q), self.n_iter

    def _continued(self, start, slope, joint, most):
        learner = self._learner(start.active, slope, joint)
        return self._settled(learner, learner.moved(start), LONG if self.sketch is self else most)

    def measure_rows(self, slope):
        """(bits, squared error) of a row of the sample under `rows` of a slope."""
        q, _ = self.rows(slope)
        y = np.ascontiguousarray(self.y[:, q.active])
        symbols = np.empty(y.shape[::-1], dtype=np.int64)
        q.quantize(y, symbols)
        error = np.sum((self.y - q.dequantize(symbols, np.float64)) ** 2) / len(self.y)
        return float(q.tables.code_length(symbols).mean()), float(error)

    def _near_by(self, order, slope):
        near = self._near.get(order)
        if near is None:
            return None
        ratio, whole = slope / near.slope, near.active.size == self._worthy(slope).size
        low, high = (1 / NEAR, NEAR) if whole else (1 / NEARER, 1.0)
        return near if low <= ratio <= high else None

    def _kept(self, order, quantizers):
        self._near[order] = quantizers
        return quantizers, self.n_iter

    def _settled(self, learner, start, most):
        quantizers, n_iter = learner.settle(start, most, self.tell)
        self._rounds += n_iter
        return quantizers

    def _learner(self, active, slope, joint, step=None):
        y = np.ascontiguousarray(self.y[:, active])
        return _Learner(y, self.y.shape[1], active, slope, self.n_states, joint, step)

    def _worthy(self, slope):
        """Columns that may be worth a bit."""
        return np.flatnonzero(_promising(self._square, self._largest, slope))

    def _fresh(self, slope):
        active = self._worthy(slope)
        learner = self._learner(active, slope, True)
        reach = float(np.sqrt(self._largest.max()))
        if reach > MAX_STEPS * learner.step:
            raise ValueError(
                f"beta={slope:.3g} asks for steps of {learner.step:.3g} in a component that "
                f"reaches {reach:.3g}, more than 50 bits a value; lower beta, or set target_rate "
                "to the bits per sample you can spend."
            )
        quantizers = self._settled(learner, learner.rounded(), LONG)
        square, largest = (seen[active] for seen in self._seen)
        worth = learner.costs(quantizers, self.n_rows) < slope * square
        # What these rows hardly show, they do not decide.
        return _selected(quantizers, np.flatnonzero(worth | ~_promising(square, largest, slope)))


def _promising(square, largest, slope):
    """Whether columns of a mean and a largest square may be worth a bit."""
    # No path is worth its bits below half of what R(D) asks, but for what is rare and large.
    return (square * slope > 0.25) | (largest * slope > 2)


def _selected(q, kept):
    """Quantizers in joint order of some of the active columns."""
    t = q.tables.tables
    numbers = np.stack([2 * kept, 2 * kept + 1], axis=1).ravel()
    frequencies = [t.frequencies[t.start[i] : t.start[i + 1]] for i in numbers]
    tables = IntegerTables(t.low[numbers], t.shift[numbers], frequencies)
    tables = TrellisTables(tables, q.tables.n_states, q.tables.joint)
    points = _points(q)
    return TrellisQuantizers(
        q.n_columns, q.active[kept], q.step, [points[c] for c in kept], tables, q.slope
    )


def _points(q):
    return [
        q.points[a : a + 2 * (2 * r + 1)].reshape(2, -1)
        for a, r in zip(q.first, q.reach, strict=True)
    ]


class _Learner:
    """Tables and points for a sample y (n, n_active) at one slope, in one order.

    Steps are those of the slope unless told.
    """

    def __init__(self, y, n_columns, active, slope, n_states, joint, step=None):
        self.y, self.n_columns, self.active, self.slope = y, n_columns, active, slope
        self.n_states, self.joint = n_states, joint
        self.step = float(np.sqrt(np.log(2) / (PRICE * slope))) if step is None else step
        self.in_steps = np.ascontiguousarray(y.T) / self.step
        self.center = y.mean(axis=0)
        self.scale = np.maximum(y.std(axis=0), self.step / 8) * np.sqrt(3) / np.pi

    def rounded(self):
        """A start: tables of the nearest points of either quantizer."""
        quantizer = np.repeat([0, 1], len(self.y))
        columns = []
        for c, y in enumerate(self.in_steps):
            k = np.rint(np.concatenate([y - OFFSET, y + OFFSET])).astype(np.int64)
            columns.append(self._tables(c, k, quantizer))
        return self._quantizers(columns, [np.zeros((2, 1), dtype=np.int64)] * len(columns))

    def moved(self, q):
        """Quantizers of another order or slope, as they are in steps."""
        tables = TrellisTables(q.tables.tables, self.n_states, self.joint)
        return TrellisQuantizers(
            self.n_columns, self.active, self.step, _points(q), tables, self.slope
        )

    def settle(self, quantizers, most, tell=None):
        """Search and learn in turn until the objective stops falling; at most so many rounds."""
        least, kept, n_iter, idle = np.inf, quantizers, 0, 0
        while n_iter < most and idle < PATIENCE:
            symbols = self._search(quantizers)
            bits = quantizers.tables.code_length(symbols).mean()
            error = self._errors(quantizers, symbols).sum()
            objective = bits * np.log(2) + self.slope * error
            idle = 0 if objective < least - TOLERANCE * max(1, len(symbols)) else idle + 1
            if objective < least:
                least, kept = objective, quantizers
            n_iter += 1
            if tell is not None:
                tell(quantizers, len(self.y), n_iter, bits)
            quantizers = self._learned(symbols, quantizers.tables.states(symbols) // HALF)
        return kept, n_iter

    def relearned(self, quantizers):
        """Tables and points after one round."""
        symbols = self._search(quantizers)
        return self._learned(symbols, quantizers.tables.states(symbols) // HALF)

    def costs(self, q, n_rows):
        """Nats a row of each column in joint order, its tables shared among so many rows."""
        symbols, t = self._search(q), q.tables
        quantizer = t.states(symbols) // HALF
        out = self.slope * self._errors(q, symbols)
        for c, k in enumerate(symbols):
            one = IntegerTables.code_length
            bits = one(_column(t.tables, 2 * c), k[None])
            bits = np.where(quantizer[c], one(_column(t.tables, 2 * c + 1), k[None]), bits).mean()
            entries = t.tables.size[2 * c : 2 * c + 2].sum() + 4 * q.reach[c]
            out[c] += np.log(2) * (bits + ENTRY_BITS * entries / n_rows)
        return out

    def _search(self, q):
        symbols = np.empty(self.y.shape[::-1], dtype=np.int64)
        q.quantize(self.y, symbols)
        return symbols

    def _errors(self, q, symbols):
        """Squared error of each column."""
        values = q.dequantize(symbols, np.float64)[:, self.active]
        return np.mean((self.y - values) ** 2, axis=0)

    def _learned(self, symbols, quantizer):
        columns, points = [], []
        for c, (k, q) in enumerate(zip(symbols, quantizer, strict=True)):
            columns.append(self._tables(c, k, q))
            # Where low bits are raw, points are many and seldom met.
            reach = min(int(np.abs(k).max()), REACH) if columns[-1][0][1] == 0 else 0
            points.append(self._centroids(c, k, q, reach))
        return self._quantizers(columns, points)

    def _quantizers(self, columns, points):
        tables = [table for pair in columns for table in pair]
        frequencies = [quantize_probabilities(p) for _, _, p in tables]
        tables = IntegerTables([t[0] for t in tables], [t[1] for t in tables], frequencies)
        tables = TrellisTables(tables, self.n_states, self.joint)
        return TrellisQuantizers(self.n_columns, self.active, self.step, points, tables, self.slope)

    def _centroids(self, c, k, q, reach):
        """Offsets (2, 2 * reach + 1) of a column's points, drawn to 0."""
        u, q = self.in_steps[c], q.astype(np.int64)
        if max(-k.min(), k.max()) > reach:
            near = np.abs(k) <= reach
            u, k, q = u[near], k[near], q[near]
        miss = u - (k + OFFSET - 2 * OFFSET * q)
        place, size = q * (2 * reach + 1) + k + reach, 2 * (2 * reach + 1)
        mean = np.bincount(place, miss, size) / (np.bincount(place, minlength=size) + PRIOR)
        return np.rint(POINTS_PER_STEP * mean).astype(np.int64).reshape(2, -1)

    def _tables(self, c, k, q):
        """(low, shift, probabilities) of a column's two tables."""
        low, high = int(k.min()), int(k.max())
        if high - low >= MAX_RANGE:
            # Rare outliers may escape instead of stretching the table.
            low, high = (int(v) for v in np.quantile(k, [0.001, 0.999], method="nearest"))
        size = high - low + 1
        # Past a thousand entries a table costs more than its detail is worth: keep low bits raw.
        first = (size // MAX_ENTRIES).bit_length()
        inside = (k >= low) & (k <= high)
        k, quantizer = k[inside] - low, q[inside].astype(np.int64)
        escapes = np.bincount(q[~inside], minlength=2)
        best, least = None, np.inf
        for shift in range(first, min(first + 5 * (size > MIN_COARSE), MAX_SHIFT) + 1):
            n_buckets = ((high - low) >> shift) + 1
            counts = np.bincount(quantizer * n_buckets + (k >> shift), minlength=2 * n_buckets)
            pair = [
                _table(n, outside, law)
                for n, outside, law in zip(
                    counts.reshape(2, -1), escapes, self._law(c, low, shift, n_buckets), strict=True
                )
            ]
            nats = sum(part[1] for part in pair) + k.size * shift * np.log(2)
            if nats < least:
                best, least = [(low, shift, p) for p, _ in pair], nats
        return best

    def _law(self, c, low, shift, n_buckets):
        """Logistic probabilities (2, n_buckets) of the cells of both quantizers."""
        k = low + (np.arange(n_buckets + 1) << shift) - 0.5
        borders = np.stack([k + OFFSET, k - OFFSET]) * self.step
        below = 1 / (1 + np.exp(-np.clip((borders - self.center[c]) / self.scale[c], -500, 500)))
        return np.diff(below, axis=1)


def _column(tables, t):
    """One table by itself."""
    frequencies = [tables.frequencies[tables.start[t] : tables.start[t + 1]]]
    return IntegerTables(tables.low[t : t + 1], tables.shift[t : t + 1], frequencies)


def _table(n, outside, law):
    """Probabilities of counts and the escape, and nats of the symbols and of the table.

    As many pseudo-samples as there are occupied entries follow the law (Witten & Bell 1991).
    """
    occupied = np.count_nonzero(n)
    p = np.maximum((n + occupied * law) / max(n.sum() + occupied, 1), LEAST)
    escape = (outside + 0.5) / (n.sum() + outside + 1.0)
    p = np.append(p * ((1 - escape) / p.sum()), escape)
    nats = -n @ np.log(p[:-1]) - outside * (np.log(escape) - ESCAPE_BITS * np.log(2))
    return p, nats + ENTRY_BITS * np.log(2) * n.size
