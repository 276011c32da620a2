"""Scalar quantizers for the columns of a table, designed together at one price of distortion."""

from dataclasses import dataclass

import numpy as np

from rdlearn.coding.integers import pack_integers, stored, stored_integers, stored_packed
from rdlearn.coding.tables import MAX_SHIFT, MAX_SIZE, IntegerTables, quantize_probabilities
from rdlearn.exceptions import CorruptStreamError
from rdlearn.kernels import quantization as kernels

__all__ = ["ScalarQuantizers", "SortedColumns", "repriced"]

# Points a column may have: finer ones are uniform grids, which lose nothing at such rates.
MAX_POINTS = 1024
# Grid of the stored points: a finer one saves under a thousandth of a bit.
POINTS_PER_STEP = 32
# Cells from which a uniform grid is worth trying, and the most that 64-bit symbols can number.
MIN_UNIFORM = 64
MAX_CELLS = 2.0**50
# What an entry of a stored table takes, about.
TABLE_BITS = 7.0
# The least probability a table can hold.
LEAST = 2.0**-14
MAX_ITER = 50
TOLERANCE = 1e-6
# Bytes of an escaped value, in bits, about.
ESCAPE_BITS = 12.0
# Points and steps in these ranges leave every saturated symbol a finite value.
MAX_POINT = 1 << 40
MAX_COLUMNS = 1 << 31
MIN_STEP, MAX_STEP, MIN_SLOPE = 1e-200, 1e200, 1e-300


class SortedColumns:
    """A sample, sorted column by column with running sums: any cell's count and mean in O(log n).

    Parameters
    ----------
    values : ndarray of shape (n_samples, n_columns), float64
    """

    def __init__(self, values):
        self._set(np.sort(values.T, axis=1))

    def _set(self, columns):
        self.values = columns
        self.prefix = np.zeros((columns.shape[0], columns.shape[1] + 1))
        np.cumsum(columns, axis=1, out=self.prefix[:, 1:])
        self.square = np.einsum("ij,ij->i", columns, columns)

    def thinned(self, most):
        """At most `most` evenly spaced order statistics of each column, as a sample."""
        n = self.values.shape[1]
        if n <= most:
            return self
        sample = object.__new__(SortedColumns)
        kept = ((np.arange(most) + 0.5) * (n / most)).astype(np.int64)
        sample._set(np.ascontiguousarray(self.values[:, kept]))
        return sample

    def columns(self):
        """Iterate over (sorted values, running sums, sum of squares)."""
        return zip(self.values, self.prefix, self.square, strict=True)


@dataclass
class _Design:
    """A quantizer for one column and what it costs a sample: nats of rate, squared error."""

    points: np.ndarray
    low: int
    shift: int
    probabilities: np.ndarray
    nats: float
    error: float
    n_iter: int

    @property
    def table_nats(self):
        return TABLE_BITS * (self.points.size + self.probabilities.size) * np.log(2)


def _design_column(y, prefix, square, slope):
    """Best of the designs that apply to a sorted column; None where dropping it is best.

    Counted in the comparison is what the table itself costs, shared among the samples.
    """
    step = _step(slope)
    span = y[-1] - y[0]
    if span / step > MAX_CELLS:
        raise ValueError(
            f"beta={slope:.3g} asks for steps of {step:.3g} in a component that spans {span:.3g}, "
            "more than 50 bits a value; lower beta, or set target_rate to the bits per sample "
            "you can spend."
        )
    if span < 1e-3 * step:
        return None
    n, best, least = y.size, None, slope * square
    ranges = [(0, n)]
    if (y[-1] - y[0]) / step > MAX_POINTS - 2:
        # Rare outliers may escape instead of stretching the table.
        low, high = y[int(0.001 * (n - 1))], y[int(np.ceil(0.999 * (n - 1)))]
        ranges.append((np.searchsorted(y, low, "left"), np.searchsorted(y, high, "right")))
    for first, last in ranges:
        inside, outside = y[first:last], n - (last - first)
        escape = (outside + 0.5) / (n + 1.0)
        cells = (inside[-1] - inside[0]) / step
        far = max(abs(inside[0]), abs(inside[-1])) / step
        designs = []
        if cells <= MAX_POINTS - 2 and far < MAX_POINT // (2 * POINTS_PER_STEP):
            inner = square - _squares(y[:first]) - _squares(y[last:])
            sums = prefix[first : last + 1] - prefix[first]
            designs.append(_entropy_constrained(inside, sums, inner, slope, step))
        if cells >= MIN_UNIFORM or not designs:
            designs.extend(_uniform(inside, step))
        for design in designs:
            kept = design.nats - np.log1p(-escape)
            escaped = -np.log(escape) + ESCAPE_BITS * np.log(2)
            design.nats = (inside.size * kept + outside * escaped) / n
            design.error = (inside.size * design.error + outside * step**2 / 12) / n
            share = 1.0 - escape
            weights = design.probabilities * (share / design.probabilities.sum())
            design.probabilities = np.append(weights, escape)
            objective = n * (design.nats + slope * design.error) + design.table_nats
            if objective < least:
                best, least = design, objective
    return best


def _entropy_constrained(y, prefix, square, slope, step):
    points, p = np.empty(MAX_POINTS), np.empty(MAX_POINTS)
    n_points, nats, error, n_iter = kernels.design(
        y, prefix, square, slope, step, LEAST, MAX_ITER, TOLERANCE, points, p
    )
    units = np.rint(points[:n_points] * (POINTS_PER_STEP / step)).astype(np.int64)
    units, place = np.unique(units, return_inverse=True)
    return _Design(units, 0, 0, np.bincount(place, p[:n_points]), nats, error, n_iter)


def _uniform(y, step):
    """Uniform grids (one point at 0, symbols count steps) under coarser and coarser tables."""
    low, high = (int(np.rint(v / step)) for v in (y[0], y[-1]))
    error = _squares(y - np.rint(y / step) * step) / y.size
    center, scale = float(y.mean()), max(float(y.std()), step) * np.sqrt(3.0) / np.pi
    finest = ((high - low) // MAX_POINTS).bit_length()
    for shift in range(finest, min(finest + 5, MAX_SHIFT + 1)):
        size = ((high - low) >> shift) + 1
        borders = (low + (np.arange(1, size) << shift) - 0.5) * step
        edges = np.concatenate([[0], np.searchsorted(y, borders), [y.size]])
        p = np.empty(size)
        kernels.cell_probabilities(edges, y.size, center, scale, borders, LEAST, p)
        nats = -np.diff(edges) @ np.log(p) / y.size + shift * np.log(2)
        yield _Design(np.zeros(1, dtype=np.int64), low, shift, p, nats, error, 1)


def _step(slope):
    # The step of least rate + slope * error at high rate; two roots, lest the ratio overflow.
    return float(np.sqrt(6.0) / np.sqrt(slope))


def _squares(values):
    return float(values @ values)


class ScalarQuantizers:
    """Quantizers of the active columns, their integer tables, and both directions.

    Column c has reconstruction points at `points * step / 32`, ascending; symbol s is the index
    of a point, and counts steps past the last point (or before the first, negative) outside.
    A column with a single point carries no information: it is dropped and decodes to 0.

    Parameters
    ----------
    n_columns : int
        Columns of the table, dropped ones included.
    active : ndarray of int64, shape (n_active,)
        Which columns are coded, ascending.
    points : list of n_active int64 arrays, ascending
    step : float
    tables : IntegerTables with n_active columns
    slope : float
        Nats of rate a unit of squared error is worth when cells are decided; inf: nearest point.
    """

    def __init__(self, n_columns, active, points, step, tables, slope):
        self.n_columns = int(n_columns)
        self.active = np.asarray(active, dtype=np.int64)
        self.size = np.array([len(p) for p in points], dtype=np.int64)
        self.start = np.concatenate([[0], np.cumsum(self.size)]).astype(np.int64)
        self.points = np.concatenate([np.zeros(0, np.int64), *points]).astype(np.int64)
        self.step = float(step)
        self.tables = tables
        self.slope = float(slope)
        self._check()
        self._values = self.points * (self.step / POINTS_PER_STEP)
        self._encoder = None

    def _check(self):
        if not self.tables.n_columns == self.active.size == self.size.size:
            raise CorruptStreamError("The quantizer's numbers of columns disagree.")
        inner = np.ones(self.points.size, dtype=bool)
        inner[self.start[:-1][self.size > 0]] = False
        # Thresholds weigh each of several points by the bits of its own table entry.
        paired = (self.slope == np.inf) | (self.size == 1) | (self.size == self.tables.size)
        for holds, what in (
            (MIN_STEP < self.step < MAX_STEP, "step"),
            (self.slope > MIN_SLOPE, "slope"),
            (np.all((self.size >= 1) & paired), "number of points"),
            (np.all((-MAX_POINT < self.points) & (self.points < MAX_POINT)), "points' size"),
            (np.all(np.diff(self.points, prepend=0)[inner] > 0), "points' order"),
            (0 <= self.n_columns < MAX_COLUMNS, "number of columns"),
            (np.all((0 <= self.active) & (self.active < self.n_columns)), "column numbers"),
            (np.all(np.diff(self.active, prepend=-1) > 0), "order of columns"),
        ):
            if not holds:
                raise CorruptStreamError(f"The quantizer's {what} is impossible.")

    @classmethod
    def design(cls, sample, slope):
        """Entropy-constrained quantizers that minimise rate + slope * squared error.

        Returns the quantizers and the most iterations a column took.
        """
        # At so low a price nothing is coded; a lower one would not fit a model file.
        slope = max(slope, 10 * MIN_SLOPE)
        designs = [_design_column(*column, slope) for column in sample.columns()]
        active = [c for c, d in enumerate(designs) if d is not None]
        kept = [designs[c] for c in active]
        tables = IntegerTables(
            [d.low for d in kept],
            [d.shift for d in kept],
            [quantize_probabilities(d.probabilities) for d in kept],
        )
        step = _step(slope)
        quantizers = cls(len(designs), active, [d.points for d in kept], step, tables, slope)
        return quantizers, max([d.n_iter for d in kept], default=1)

    @classmethod
    def fixed_rate(cls, sample, n_bits):
        """Lloyd-Max quantizers of 2**n_bits points with a fixed-length code, for every column."""
        n_levels = 1 << n_bits
        spread = float(np.sqrt(max(sample.square.max() / sample.values.shape[1], 1e-300)))
        step = spread * 2.0 ** (-n_bits)
        points = []
        for y, prefix, _ in sample.columns():
            levels = np.empty(n_levels)
            kernels.lloyd_max(y, prefix, n_levels, 100 * MAX_ITER, levels)
            points.append(np.unique(np.rint(levels * (POINTS_PER_STEP / step)).astype(np.int64)))
        n = len(points)
        frequencies = np.append(np.full(n_levels, (1 << 14) >> n_bits), 0)
        tables = IntegerTables(np.zeros(n), np.zeros(n), [frequencies] * n)
        return cls(n, np.arange(n), points, step, tables, np.inf)

    @staticmethod
    def measure(sample, slope):
        """(rate in nats, squared error) that `design` reaches on the sample, before rounding."""
        nats = error = 0.0
        for y, prefix, square in sample.columns():
            design = _design_column(y, prefix, square, slope)
            nats += design.nats if design else 0.0
            error += design.error if design else square / y.size
        return nats, error

    def _encoder_arrays(self):
        # Derived from what the decoder knows, so that a saved model stores nothing twice.
        tables, n = self.tables, self.active.size
        thresholds = np.full(self.points.size, np.nan)
        low, high = np.full(n, -np.inf), np.full(n, np.inf)
        jumps, origin, scale = [], np.zeros(n), np.zeros(n)
        for c in range(n):
            cell = slice(self.start[c], self.start[c + 1])
            values, borders = self._values[cell], thresholds[cell]
            nats = tables.bits[tables.start[c] : tables.start[c + 1]] * np.log(2)
            if self.slope == np.inf:
                borders[:-1] = (values[1:] + values[:-1]) / 2
            elif values.size == 1:
                low[c], high[c] = -self.step / 2, self.step / 2
            else:
                kernels.decision_thresholds(values, nats[:-1], self.slope, borders[:-1])
                escape = nats[-1] + ESCAPE_BITS * np.log(2)
                reach = np.sqrt(np.maximum(escape - nats[[0, -2]], 0.0) / self.slope)
                low[c] = values[0] - max(reach[0], self.step / 2)
                high[c] = values[-1] + max(reach[1], self.step / 2)
            n_slots = 8 * values.size
            origin[c] = values[0]
            scale[c] = n_slots / max(values[-1] - values[0], self.step)
            slots = origin[c] + np.arange(n_slots) / scale[c]
            slots[0] = -np.inf
            jumps.append(np.searchsorted(borders[:-1], slots, side="right").astype(np.int32))
        jump_start = np.concatenate([[0], np.cumsum([len(j) for j in jumps])]).astype(np.int64)
        jump = np.concatenate([np.zeros(0, np.int32), *jumps])
        return (self.start, thresholds, jump, jump_start, origin, scale, low, high, self._values)

    def quantize(self, y, out):
        """Symbols (n_active, n) int64, into `out`, of the active columns y (n, n_active).

        Returns the number of values 2**52 steps or more beyond the points, which saturate there.
        """
        if y.shape[1] != self.active.size or out.shape != y.shape[::-1]:
            raise ValueError(
                f"y of shape {y.shape} and out of shape {out.shape} do not fit "
                f"{self.active.size} active columns."
            )
        if self._encoder is None:
            self._encoder = self._encoder_arrays()
        return kernels.quantize(y, *self._encoder, self.step, out)

    def dequantize(self, symbols, dtype):
        """Values (n, n_columns) of symbols (n_active, n)."""
        if len(symbols) != self.active.size:
            raise ValueError(
                f"{len(symbols)} rows of symbols do not fit {self.active.size} active columns."
            )
        out = np.zeros((symbols.shape[1], self.n_columns), dtype=dtype)
        kernels.dequantize(symbols, self.start, self._values, self.step, self.active, out)
        return out

    def side_information_bits(self):
        """Bits of the integer tables and points as they are stored in a model."""
        state = {**self.tables.to_state(), "points": self.to_state()["points"]}
        return 8 * sum(array.nbytes for array in state.values())

    def describe(self):
        """The quantizers in plain numbers, for fingerprints."""
        return {
            "n_columns": self.n_columns,
            "active": self.active,
            "size": self.size.astype(np.uint16),
            "points": self.points,
            "step": self.step,
            "slope": self.slope,
            "tables": self.tables.describe(),
        }

    def to_state(self):
        """Arrays and numbers that `from_state` turns back into the same quantizers."""
        packed = {"points": pack_integers(self.points), "tables": self.tables.to_state()}
        return {**self.describe(), **packed}

    @classmethod
    def from_state(cls, state):
        n_columns = stored(state, "n_columns", int)
        step, slope = stored(state, "step", float), stored(state, "slope", float)
        active, size = stored_integers(state, "active"), stored_integers(state, "size")
        if active.size != size.size or np.any((size < 1) | (size > MAX_SIZE)):
            raise CorruptStreamError("The quantizer's numbers of points are impossible.")
        flat = stored_packed(state, "points", int(size.sum()))
        points = np.split(flat, np.cumsum(size)[:-1]) if size.size else []
        tables = IntegerTables.from_state(stored(state, "tables", dict))
        return cls(n_columns, active, points, step, tables, slope)


def repriced(quantizers, slope):
    """Quantizers, of any kind, at another slope: points, tables and step stay as they are."""
    return type(quantizers).from_state({**quantizers.to_state(), "slope": float(slope)})
