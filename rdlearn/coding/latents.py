"""Values of a transform, in steps, as symbols and back, and their entropy code."""

from dataclasses import dataclass, replace

import numpy as np

from rdlearn.coding import planes
from rdlearn.coding.contexts import LEAST_BITS, ContextCoder
from rdlearn.coding.integers import stored
from rdlearn.coding.tables import IntegerTables
from rdlearn.exceptions import CorruptStreamError
from rdlearn.kernels import contexts as kernels

__all__ = [
    "Arrangement",
    "ColumnCode",
    "PlaneCode",
    "closest_partners",
    "first_symbols",
]

# Part of a step by which a value must exceed half a step to be more than 0, before there are
# tables to weigh bits by.
DEAD_ZONE = 0.12
# Magnitudes with reconstruction points of their own, and symbols that a point starts from.
N_POINTS, PRIOR = 4, 20.0
# Passes of rate-distortion optimised rounding, in a code and while its tables are fitted.
PASSES, ROUNDS = 2, 2
MAX_SYMBOL = 1 << 29
MAX_SIDE = 1 << 20
# Earlier components that a component of a table, and channels that a channel, looks at.
MOST_COLUMNS, MOST_CHANNELS = 32, 6


@dataclass(frozen=True)
class Arrangement:
    """How the symbols of a row lie in planes.

    Parameters
    ----------
    kind : {"columns", "grid", "bands"}
        Components of a table; channels of a net's code; wavelet bands of an image.
    shape : tuple of int
        (n_components,), or (height, width, n_channels). A row of a grid holds its places one by
        one, with all channels; a row of bands is in coding order already.
    levels : int, default=0
        Of the bands.
    partners : tuple of tuples of int, default=()
        Earlier components or channels that each one looks at.
    """

    kind: str
    shape: tuple
    levels: int = 0
    partners: tuple = ()

    @property
    def n_symbols(self):
        return int(np.prod(self.shape))

    def layout(self, n_rows):
        if self.kind == "columns":
            return planes.columns(n_rows, self.partners)
        if self.kind == "grid":
            return planes.grid(*self.shape[:2], self.partners)
        return planes.bands(*self.shape, self.levels)

    def images(self, rows):
        """Symbols (n_rows, n_symbols) as the (n_images, n_symbols) of the layout."""
        if self.kind == "bands":
            return rows
        if self.kind == "columns":
            return np.ascontiguousarray(rows.T).reshape(1, -1)
        places = rows.reshape(len(rows), -1, self.shape[-1])
        return np.ascontiguousarray(places.transpose(0, 2, 1)).reshape(len(rows), -1)

    def rows(self, images, n_rows):
        """Inverse of `images`."""
        if self.kind == "bands":
            return images
        if self.kind == "columns":
            return np.ascontiguousarray(images.reshape(-1, n_rows).T)
        places = images.reshape(n_rows, self.shape[-1], -1).transpose(0, 2, 1)
        return np.ascontiguousarray(places).reshape(n_rows, -1)

    def resized(self, height, width):
        """The arrangement of an image of another size."""
        return replace(self, shape=(height, width, self.shape[2]))


def closest_partners(magnitudes, most):
    """For each column of magnitudes (n, c), the earlier ones that go with it, as tuples."""
    x = np.minimum(magnitudes, kernels.CAP).astype(np.float64)
    x -= x.mean(axis=0)
    norm = np.sqrt((x**2).sum(axis=0))
    likeness = x.T @ x / np.maximum(np.outer(norm, norm), 1e-12)
    order = [np.argsort(-likeness[c, :c], kind="stable")[:most] for c in range(x.shape[1])]
    return tuple(
        tuple(sorted(int(p) for p in some if likeness[c, p] > 0)) for c, some in enumerate(order)
    )


class PlaneCode:
    """Symbols whose tables are chosen by those already coded.

    Parameters
    ----------
    arrangement : Arrangement
    coder : ContextCoder
    shift : ndarray of shape (n_groups, 4), float32
        What is added to magnitudes 0, 1, 2, 3 and more of a group in the reconstruction.
    price : float
        What a bit costs, in squared steps.
    """

    # Bytes that any chunk takes: the coder's state.
    least_payload = kernels.STATE_BYTES

    def __init__(self, arrangement, coder, shift, price):
        self.arrangement, self.coder = arrangement, coder
        self.shift, self.price = shift, price

    @classmethod
    def fit(cls, values, arrangements, price, causal=True):
        """The code of some values.

        Parameters
        ----------
        values : list of ndarray of shape (n_rows, n_symbols), float32
            In steps.
        arrangements : list of Arrangement
            Of each array; the first one is kept.
        price : float
            What a bit costs, in squared steps.
        causal : bool, default=True
            False learns one table for each group, whatever was coded before.
        """
        layouts = [a.layout(len(v)) for a, v in zip(arrangements, values, strict=True)]
        values = [a.images(v) for a, v in zip(arrangements, values, strict=True)]
        rounded = symbols = [
            first_symbols(layout, part, price) for layout, part in zip(layouts, values, strict=True)
        ]
        coder = ContextCoder.fit(layouts, symbols, causal)
        for _ in range(ROUNDS if price > 0 else 0):
            symbols = [
                _decided(coder, layout, part, start, price)
                for layout, part, start in zip(layouts, values, rounded, strict=True)
            ]
            coder = ContextCoder.fit(layouts, symbols, causal)
        shift = _shifts(layouts, values, symbols)
        # Where bits have no price, values are those of nets, whose decoders know their rounding.
        return cls(arrangements[0], coder, shift if price > 0 else 0 * shift, price)

    def resized(self, height, width):
        """The code of images of another size."""
        return PlaneCode(
            self.arrangement.resized(height, width), self.coder, self.shift, self.price
        )

    @property
    def n_columns(self):
        return self.arrangement.n_symbols

    @property
    def least_bits(self):
        """Bits that no row takes less than."""
        return LEAST_BITS * self.n_columns

    def quantize(self, values):
        """Symbols (n_rows, n_symbols), int32, of values in steps."""
        layout = self.arrangement.layout(len(values))
        images = self.arrangement.images(values)
        symbols = first_symbols(layout, images, self.price)
        if self.price > 0:
            symbols = _decided(self.coder, layout, images, symbols, self.price)
        return self.arrangement.rows(symbols, len(values))

    def dequantize(self, symbols):
        """Values (n_rows, n_symbols), float32, that the decoder sees."""
        layout = self.arrangement.layout(len(symbols))
        images = self.arrangement.images(symbols)
        out = np.empty(images.shape, dtype=np.float32)
        kernels.reconstruct(images, layout.planes, layout.n_smooth, self.shift, out)
        return self.arrangement.rows(out, len(symbols))

    def code_length(self, symbols):
        """Bits of each row of symbols (n_rows, n_symbols)."""
        layout = self.arrangement.layout(len(symbols))
        bits = self.coder.code_length(layout, self.arrangement.images(symbols))
        return self.arrangement.rows(bits, len(symbols)).sum(axis=1, dtype=np.float64)

    def encode(self, symbols):
        """Bytes of symbols (n_rows, n_symbols)."""
        layout = self.arrangement.layout(len(symbols))
        return self.coder.encode(layout, self.arrangement.images(symbols))

    def decode(self, payload, n_rows):
        """Inverse of `encode`, or CorruptStreamError."""
        if n_rows * self.least_bits > 8 * len(payload):
            raise CorruptStreamError(
                f"A code of {len(payload)} bytes holds less than the {n_rows} x {self.n_columns} "
                "symbols that it declares: truncated."
            )
        n_images = 1 if self.arrangement.kind == "columns" else n_rows
        images = self.coder.decode(self.arrangement.layout(n_rows), payload, n_images)
        return self.arrangement.rows(images, n_rows)

    def describe(self):
        """The code in plain numbers, for fingerprints."""
        return self.to_state()

    def to_state(self):
        """Arrays and numbers that `from_state` turns back into the same code."""
        a = self.arrangement
        return {
            "kind": a.kind,
            "shape": list(a.shape),
            "levels": a.levels,
            "partners": [list(p) for p in a.partners],
            "coder": self.coder.to_state(),
            **self._points_state(),
            "price": self.price,
        }

    def _points_state(self):
        return {"shift": self.shift}

    @classmethod
    def from_state(cls, state):
        arrangement, coder = cls._planes_of(state)
        shift = stored(state, "shift", np.ndarray)
        if shift.shape != (coder.n_groups, N_POINTS) or shift.dtype != np.float32:
            raise CorruptStreamError("The code's reconstruction points do not fit its planes.")
        if not np.all(np.abs(shift) < 1):
            raise CorruptStreamError("The code's reconstruction points are impossible.")
        return cls(arrangement, coder, shift, cls._price_of(state))

    @staticmethod
    def _price_of(state):
        price = stored(state, "price", float)
        if not 0 <= price < np.inf:
            raise CorruptStreamError("The code's price is impossible.")
        return price

    @staticmethod
    def _planes_of(state):
        """Arrangement and coder of a stored code, which fit together."""
        kind, levels = stored(state, "kind", str), stored(state, "levels", int)
        shape, partners = stored(state, "shape", list), stored(state, "partners", list)
        sides = {"columns": 1, "grid": 3, "bands": 3}.get(kind)
        whole = all(type(n) is int and 1 <= n <= MAX_SIDE for n in shape)
        if len(shape) != sides or not whole or not 0 <= levels <= 16:
            raise CorruptStreamError("The code's planes have an impossible shape.")
        if kind != "bands":
            most = MOST_COLUMNS if kind == "columns" else MOST_CHANNELS
            fine = len(partners) == shape[-1] and all(
                type(p) is list and len(p) <= most and all(type(q) is int and 0 <= q < c for q in p)
                for c, p in enumerate(partners)
            )
        else:
            fine = not partners and levels > 0 and shape[2] <= 4
        if not fine:
            raise CorruptStreamError("The code's planes look at planes that are not there.")
        coder = ContextCoder.from_state(stored(state, "coder", dict))
        arrangement = Arrangement(kind, tuple(shape), levels, tuple(map(tuple, partners)))
        n_planes = 3 * levels * shape[2] + shape[2] if kind == "bands" else shape[-1]
        n_groups = (levels + 1) * shape[2] if kind == "bands" else shape[-1]
        if len(coder.weights) != n_planes or coder.n_groups != n_groups:
            raise CorruptStreamError("The code's tables do not fit its planes.")
        return arrangement, coder


def first_symbols(layout, values, price):
    """First symbols: rounded, with a wider zero where bits have a price, smooth planes aside."""
    zone = np.float32(0.5 - (DEAD_ZONE if price > 0 else 0))
    symbols = (np.sign(values) * np.floor(np.abs(values) + zone)).astype(np.int32)
    for p in range(layout.n_smooth):
        where, _ = layout.symbols_of(p)
        symbols[:, where] = np.rint(values[:, where])
    return symbols


def _decided(coder, layout, values, symbols, price):
    for _ in range(PASSES):
        symbols = coder.decide(layout, values, symbols, np.float32(price))
    return symbols


def _shifts(layouts, values, symbols):
    """Mean of |value| - |symbol| by group and magnitude, drawn to 0 where seen seldom."""
    n_groups = int(layouts[0].planes[:, 7].max()) + 1
    total, seen = np.zeros((2, n_groups, N_POINTS))
    for layout, value, symbol in zip(layouts, values, symbols, strict=True):
        for p in range(layout.n_smooth, len(layout.planes)):
            where, _ = layout.symbols_of(p)
            q = np.abs(symbol[:, where]).ravel()
            miss, q = np.abs(value[:, where]).ravel() - q, np.minimum(q, N_POINTS - 1)
            group = layout.planes[p, 7]
            total[group] += np.bincount(q, miss, N_POINTS)
            seen[group] += np.bincount(q, minlength=N_POINTS)
    shift = np.clip(total / (seen + PRIOR), -0.75, 0.75)
    shift[:, 0] = 0
    return shift.astype(np.float32)


class ColumnCode:
    """Rounded values, each column under a table of its own.

    Parameters
    ----------
    tables : IntegerTables
    """

    def __init__(self, tables):
        self.tables = tables
        self.least_payload, self.n_columns = tables.least_payload, tables.n_columns
        self.least_bits = tables.least_bits

    @classmethod
    def fit(cls, values):
        """The code of values (n_rows, n_columns), in steps."""
        return cls(IntegerTables.fit(np.rint(values).astype(np.int64)))

    def quantize(self, values):
        """Symbols (n_rows, n_columns), int64."""
        return np.rint(values).astype(np.int64)

    def dequantize(self, symbols):
        """Values (n_rows, n_columns), float32, that the decoder sees."""
        return symbols.astype(np.float32)

    def code_length(self, symbols):
        """Bits of each row of symbols (n_rows, n_columns)."""
        return self.tables.code_length(np.ascontiguousarray(symbols.T))

    def encode(self, symbols):
        """Bytes of symbols (n_rows, n_columns)."""
        return self.tables.encode(np.ascontiguousarray(symbols.T))

    def decode(self, payload, n_rows):
        """Inverse of `encode`, or CorruptStreamError."""
        return np.ascontiguousarray(self.tables.decode(payload, n_rows).T)

    def describe(self):
        """The code in plain integers, for fingerprints."""
        return self.tables.describe()

    def to_state(self):
        """Arrays that `from_state` turns back into the same code."""
        return self.tables.to_state()

    @classmethod
    def from_state(cls, state):
        return cls(IntegerTables.from_state(state))
