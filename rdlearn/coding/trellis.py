"""Trellis-coded quantizers for the columns of a table: indices, integer tables, both directions."""

import numpy as np

from rdlearn.coding.integers import pack_integers, stored, stored_integers, stored_packed
from rdlearn.coding.tables import (
    LEAST_SHARE,
    MAX_SIZE,
    IntegerTables,
    check_symbols,
    joined,
    parted,
    refuse_damage,
)
from rdlearn.exceptions import CorruptStreamError
from rdlearn.kernels import trellis as kernels
from rdlearn.kernels import trellis_coding

__all__ = ["POINTS_PER_STEP", "TrellisQuantizers", "TrellisTables"]

# Grid of the stored points.
POINTS_PER_STEP = 64
MAX_REACH, MAX_POINT = 64, 1 << 20
MAX_COLUMNS = 1 << 31
MIN_STEP, MAX_STEP, MIN_SLOPE = 1e-200, 1e200, 1e-300
# Indices, beside those with points, whose costs are looked up; others are worked out.
EXTENT = 512


class TrellisTables:
    """Integer tables of indices: column c of quantizer q has table 2 c + q.

    Parameters
    ----------
    tables : IntegerTables
    n_states : {4, 8}
    joint : bool
        Whether paths lead through every eighth row of a column instead of through a row's columns.
    """

    # Bytes that any chunk takes: the coder's states.
    least_payload = IntegerTables.least_payload

    def __init__(self, tables, n_states, joint):
        self.tables, self.n_states, self.joint = tables, n_states, joint
        if n_states not in kernels.MACHINES:
            raise CorruptStreamError(f"There is no trellis of {n_states} states.")
        # Any index can be met in data, so that each must have a code.
        if tables.n_columns % 2 or np.any(tables.frequencies[tables.start[1:] - 1] == 0):
            raise CorruptStreamError("The trellis lacks a table, or one of its tables an escape.")
        self.after = np.array(kernels.MACHINES[n_states], dtype=np.int64)

    @property
    def n_columns(self):
        return self.tables.n_columns // 2

    @property
    def least_bits(self):
        """Bits that no sample takes less than."""
        pairs = self.tables.least_of_columns().reshape(-1, 2)
        return LEAST_SHARE * float(pairs.min(axis=1).sum())

    @property
    def layout(self):
        """Arrays of the tables in the order that kernels take them."""
        t = self.tables
        return t.low, t.size, t.shift, t.start

    def states(self, symbols):
        """States (n_columns, n), uint8, that symbols (n_columns, n) are coded in."""
        out = np.empty(symbols.shape, dtype=np.uint8)
        kernels.follow(symbols, self.joint, self.after, out)
        return out

    def checked(self, symbols):
        """Symbols as int64, or ValueError."""
        check_symbols(symbols, self.n_columns)
        return np.ascontiguousarray(symbols, dtype=np.int64)

    def code_length(self, symbols):
        """Bits spent on each sample of symbols (n_columns, n); returns (n,) float64."""
        symbols = self.checked(symbols)
        out, states = np.zeros(symbols.shape[1]), self.states(symbols)
        kernels.code_length(symbols, states, *self.layout, self.tables.bits, out)
        return out

    def encode(self, symbols):
        """Bytes of symbols (n_columns, n): eight states, words, then escapes read from the end."""
        symbols = self.checked(symbols)
        states = self.states(symbols)
        counts, n_escapes = np.zeros((2, self.tables.n_columns), dtype=np.int64)
        trellis_coding.count(symbols, states, *self.layout[:3], counts, n_escapes)
        words, escapes = self.tables.room(counts, n_escapes)
        coder, first, used = trellis_coding.encode(
            symbols, states, *self.layout, *self.tables.encoder, words, escapes
        )
        return joined(coder, words[first:], escapes[:used])

    def decode(self, payload, n):
        """Inverse of `encode`: (n_columns, n) int64, or CorruptStreamError."""
        raw, words = parted(payload)
        out = np.empty((self.n_columns, n), dtype=np.int64)
        status = trellis_coding.decode(
            raw,
            self.least_payload,
            words,
            self.joint,
            self.after,
            *self.layout,
            *self.tables.decoder(),
            out,
        )
        refuse_damage(status)
        return out

    def describe(self):
        """The tables in plain integers, for fingerprints."""
        # Both tables of a column lie alike, so that turns of numbers take less than a byte each.
        t = self.tables
        return {
            "layout": np.concatenate([t.low, t.shift, t.size]),
            "frequencies": t.frequencies,
            "n_columns": self.n_columns,
            "n_states": self.n_states,
            "joint": self.joint,
        }

    def to_state(self):
        """Arrays and numbers that `from_state` turns back into the same tables."""
        state = self.describe()
        return {**state, **{name: pack_integers(state[name]) for name in ("layout", "frequencies")}}

    @classmethod
    def from_state(cls, state):
        n_tables = 2 * stored(state, "n_columns", int)
        if not 0 <= n_tables < MAX_COLUMNS:
            raise CorruptStreamError("The trellis has an impossible number of columns.")
        low, shift, size = stored_packed(state, "layout", 3 * n_tables).reshape(3, -1)
        if np.any((size < 1) | (size > MAX_SIZE)):
            raise CorruptStreamError("The trellis has tables of impossible sizes.")
        flat = stored_packed(state, "frequencies", int((size + 1).sum()))
        parts = np.split(flat, np.cumsum(size + 1)[:-1]) if n_tables else []
        tables = IntegerTables(low, shift, parts)
        return cls(tables, stored(state, "n_states", int), stored(state, "joint", bool))


class TrellisQuantizers:
    """Trellis-coded quantizers of the active columns, and their tables.

    Symbols are indices k of quantizer 0 or 1, as the states say: in steps they stand for k + 1/4
    or k - 1/4, and up to the column's reach also for an offset of ``points / 64``. A column that is
    not active decodes to 0.

    Parameters
    ----------
    n_columns : int
        Columns of the table, dropped ones included.
    active : ndarray of int64, shape (n_active,)
        Which columns are coded, ascending.
    step : float
    points : list of n_active int64 arrays, shape (2, 2 * reach + 1)
        Offsets of the indices -reach to reach of both quantizers.
    tables : TrellisTables with n_active columns
    slope : float
        Nats of rate that a unit of squared error is worth when paths are decided.
    """

    def __init__(self, n_columns, active, step, points, tables, slope):
        self.n_columns, self.step, self.slope = int(n_columns), float(step), float(slope)
        self.active = np.asarray(active, dtype=np.int64)
        self.reach = np.array([np.shape(p)[1] // 2 for p in points], dtype=np.int64)
        sizes = 2 * (2 * self.reach + 1)
        self.first = np.cumsum(sizes) - sizes
        self.points = np.concatenate([np.zeros(0, np.int64), *(np.ravel(p) for p in points)])
        self.points = self.points.astype(np.int64)
        self.tables = tables
        self._check()
        k = [np.arange(-r, r + 1) for r in self.reach]
        values = [
            np.stack([k + kernels.OFFSET, k - kernels.OFFSET]) + p / POINTS_PER_STEP
            for k, p in zip(k, points, strict=True)
        ]
        flat = np.concatenate([np.zeros(0), *(v.ravel() for v in values)])
        self._points = self.step, self.reach, self.first, flat * self.step
        self._search = None

    def _check(self):
        shapes = {self.active.shape, self.reach.shape}
        if shapes != {(self.tables.n_columns,)}:
            raise CorruptStreamError("The quantizer's numbers of columns disagree.")
        for holds, what in (
            (MIN_STEP < self.step < MAX_STEP, "step"),
            (MIN_SLOPE < self.slope < np.inf, "slope"),
            (np.all(self.reach <= MAX_REACH), "number of points"),
            (np.all(np.abs(self.points) < MAX_POINT), "points' size"),
            (0 <= self.n_columns < MAX_COLUMNS, "number of columns"),
            (np.all((0 <= self.active) & (self.active < self.n_columns)), "column numbers"),
            (np.all(np.diff(self.active, prepend=-1) > 0), "order of columns"),
        ):
            if not holds:
                raise CorruptStreamError(f"The quantizer's {what} is impossible.")

    def _search_arrays(self):
        """What `kernels.decide` takes between the order and the result."""
        t = self.tables.tables
        price, tables = np.log(2) / self.slope, (*self.tables.layout, t.bits)
        ends = np.maximum(np.abs(t.low), np.abs(t.low + (t.size << t.shift)))
        extent = np.maximum(np.minimum(ends.reshape(-1, 2).max(axis=1), EXTENT), self.reach) + 4
        center = np.cumsum(2 * extent + 1) - extent - 1
        near = np.empty((int((2 * extent + 1).sum()), 2, 2))
        kernels.fill_near(price, extent, center, *tables, *self._points, near)
        before = kernels.ways_into(self.tables.after)
        return before, price, *tables, self.step, extent, center, near

    def quantize(self, y, out):
        """Symbols (n_active, n) int64, into `out`, of the active columns y (n, n_active).

        Returns the number of values 2**50 steps or more from 0, which saturate there.
        """
        if y.shape[1] != self.active.size or out.shape != y.shape[::-1]:
            raise ValueError(
                f"y of shape {y.shape} and out of shape {out.shape} do not fit "
                f"{self.active.size} active columns."
            )
        if self._search is None:
            self._search = self._search_arrays()
        return kernels.decide(y, self.tables.joint, *self._search, out)

    def dequantize(self, symbols, dtype):
        """Values (n, n_columns) of symbols (n_active, n)."""
        symbols = self.tables.checked(symbols)
        states = self.tables.states(symbols)
        out = np.zeros((symbols.shape[1], self.n_columns), dtype=dtype)
        kernels.dequantize(symbols, states, *self._points, self.active, out)
        return out

    def side_information_bits(self):
        """Bits of tables and points as they are stored in a model."""
        state = self.to_state()
        arrays = [*state["tables"].values(), *state.values()]
        return 8 * sum(a.nbytes for a in arrays if isinstance(a, np.ndarray))

    def describe(self):
        """The quantizers in plain numbers, for fingerprints."""
        return {
            "n_columns": self.n_columns,
            "active": self.active,
            "step": self.step,
            "reach": self.reach.astype(np.uint16),
            "points": self.points,
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
        active, reach = stored_integers(state, "active"), stored_integers(state, "reach")
        if np.any((reach < 0) | (reach > MAX_REACH)):
            raise CorruptStreamError("The quantizer's numbers of points are impossible.")
        sizes = 2 * (2 * reach + 1)
        flat = stored_packed(state, "points", int(sizes.sum()))
        points = np.split(flat, np.cumsum(sizes)[:-1]) if sizes.size else []
        tables = TrellisTables.from_state(stored(state, "tables", dict))
        points = [p.reshape(2, -1) for p in points]
        return cls(n_columns, active, step, points, tables, slope)
