"""Symbols in planes as bytes: integer tables that the magnitudes of earlier symbols choose."""

import numpy as np
from scipy.optimize import nnls

from rdlearn.coding.integers import stored_integers
from rdlearn.coding.planes import N_FEATURES
from rdlearn.coding.tables import bits_of
from rdlearn.exceptions import CorruptStreamError
from rdlearn.kernels import contexts as kernels

__all__ = ["ContextCoder"]

ONE = 1 << kernels.WEIGHT_BITS
# Sums stay in 32 bits: no more than four taps of a feature, and magnitudes of `CAP`, need 26.
MAX_WEIGHT = 1 << 14
# Symbols of a plane that weights are fitted to, images they come from, and rounds of the fit.
SAMPLE, IMAGES, ROUNDS = 60_000, 200, 5
# Variance of a magnitude of mean m, about: m (1 + m), and this for what the model misses.
LEAST_VARIANCE = 1e-3
# Symbols of the same bin in all groups that a table starts from.
PRIOR = 6.0
# No decision is surer than this, in units of 2**-16: 13 bytes for each million symbols.
LEAST_FREQUENCY = 4
# States are whole numbers, which may make such a decision cheaper by a part in 2**16.
LEAST_BITS = -0.9999 * np.log2(1 - LEAST_FREQUENCY / 2**kernels.PRECISION)
TOTAL = 1 << kernels.PRECISION


class ContextCoder:
    """Entropy coder of symbols in planes.

    Parameters
    ----------
    weights : array-like of shape (n_planes, N_FEATURES), integers of 0 to 2**14
        Of the features that predict a magnitude, in units of 2**-12.
    prob : array-like of shape (n_groups * N_BINS, N_DECISIONS), integers
        That a magnitude which got to a bucket is in it, in units of 2**-16.
    negative : array-like of shape (n_groups,) or (n_groups * N_BINS,), integers
        That a symbol other than 0 is negative, in the same units.
    """

    def __init__(self, weights, prob, negative):
        weights, prob, negative = (
            np.asarray(array, dtype=np.int64) for array in (weights, prob, negative)
        )
        tables = len(prob), len(prob) / kernels.N_BINS
        fit = weights.ndim == prob.ndim == 2 and negative.ndim == 1 and negative.size in tables
        widths = weights.shape[-1:] + prob.shape[-1:] == (N_FEATURES, kernels.N_DECISIONS)
        if not (fit and widths and weights.size and prob.size and len(prob) % kernels.N_BINS == 0):
            raise CorruptStreamError("The contexts have arrays that do not fit together.")
        if weights.min() < 0 or weights.max() > MAX_WEIGHT:
            raise CorruptStreamError("The contexts have impossible weights.")
        for array in (prob, negative):
            if array.min() < LEAST_FREQUENCY or array.max() > TOTAL - LEAST_FREQUENCY:
                raise CorruptStreamError("The contexts have impossible probabilities.")
        self.weights, self.prob = weights.astype(np.int32), prob.astype(np.uint16)
        self.negative = negative.astype(np.uint16)
        self._bits = self._bits_of_buckets()
        # Kernels find it by the table's number in any case.
        self._negative = np.repeat(self.negative, len(prob) // len(negative))
        signs = np.stack([TOTAL - self._negative.astype(np.int64), self._negative], axis=1)
        self._sign_bits = bits_of(signs, kernels.PRECISION).astype(np.float32)

    @classmethod
    def fit(cls, layouts, symbols, causal=True, signed=False):
        """The coder of some images.

        Parameters
        ----------
        layouts : list of Layout
            With the same planes and groups, whatever their sizes.
        symbols : list of ndarray of shape (n_images, n_symbols), int32
        causal : bool, default=True
            False learns one table for each group, whatever was coded before.
        signed : bool, default=False
            Whether signs have a probability in each table, and not one in each group.
        """
        n_groups = int(layouts[0].planes[:, 7].max()) + 1
        weights = np.zeros((len(layouts[0].planes), N_FEATURES), dtype=np.int64)
        weights[:, -1] = 1
        if causal:
            weights = _fit_weights(layouts, symbols)
        flat = np.full((n_groups * kernels.N_BINS, kernels.N_DECISIONS), TOTAL // 2)
        coder = cls(weights, flat, np.full(n_groups, TOTAL // 2))
        passed, seen = np.zeros(flat.shape), np.zeros(flat.shape)
        span = 1 if signed else kernels.N_BINS
        below, nonzero = np.zeros((2, len(flat) // span))
        for layout, part in zip(layouts, symbols, strict=True):
            residuals, tables = (array.ravel() for array in coder._residuals(layout, part))
            kernels.count(residuals, tables, passed, seen)
            place = tables // span
            below += np.bincount(place[residuals < 0], minlength=below.size)
            nonzero += np.bincount(place[residuals != 0], minlength=below.size)
        prob = 1 - _shrunk(passed, seen, n_groups)
        negative = (below + PRIOR) / (nonzero + 2 * PRIOR)
        if signed:
            negative = _shrunk(below[:, None], nonzero[:, None], n_groups)[:, 0]
        return cls(weights, _frequencies(prob), _frequencies(negative))

    @property
    def n_groups(self):
        return len(self.prob) // kernels.N_BINS

    def _bound(self, layout):
        """Weights of a layout's taps, and of what `assign` calls own."""
        planes, last = layout.planes, self.weights.shape[1] - 1
        # The kernels check no index of these.
        if len(planes) != len(self.weights) or planes[:, 7].max() >= self.n_groups:
            raise CorruptStreamError("The contexts belong to planes of another kind.")
        plane_of_tap = np.repeat(np.arange(len(planes)), planes[:, 6] - planes[:, 5])
        own = self.weights[:, [0, 1, last]] * np.array([layout.in_row, layout.in_row, 1])
        return self.weights[plane_of_tap, layout.features], own.astype(np.int32)

    @property
    def bits_of_symbols(self):
        """Of each table: bits of the buckets and of getting beyond, and of plus and minus."""
        return self._bits, self._sign_bits

    def tables(self, layout, symbols):
        """Numbers, int32, of the tables of symbols (n_images, n_symbols)."""
        return self._residuals(layout, symbols)[1]

    def _residuals(self, layout, symbols):
        """What is coded of symbols (n_images, n_symbols), and the table of each."""
        # Kernels are compiled anew for another order in memory.
        symbols = np.ascontiguousarray(symbols)
        residuals, tables = np.empty_like(symbols), np.empty(symbols.shape, dtype=np.int32)
        kernels.difference(symbols, layout.planes, layout.n_smooth, residuals)
        taps, own = self._bound(layout)
        mag = layout.magnitudes()
        kernels.assign(residuals, layout.planes, layout.taps, taps, own, mag, tables)
        return residuals, tables

    def decide(self, layout, values, symbols, price):
        """Integers near `values` of least squared error plus `price` a bit.

        Both (n_images, n_symbols). The tables of `symbols` tell what a bit costs; in smooth planes
        `symbols` stay.
        """
        _, tables = self._residuals(layout, symbols)
        out = np.empty(symbols.shape, dtype=np.int32)
        kernels.decide(values.ravel(), tables.ravel(), self._bits, price, out.reshape(-1))
        smooth = int(layout.planes[: layout.n_smooth, 2:4].prod(axis=1).sum())
        out[:, :smooth] = symbols[:, :smooth]
        return out

    def _bits_of_buckets(self):
        """Bits of each bucket with the place in it, and of having got beyond the last one."""
        prob = self.prob.astype(np.int64)
        here, later = (bits_of(f, kernels.PRECISION) for f in (prob, TOTAL - prob))
        passed = np.cumsum(later, axis=1)
        k = np.arange(kernels.N_DECISIONS)
        inside = np.where(k < kernels.N_SINGLE, 0, (k - kernels.N_SINGLE) // 2 + 2)
        return np.hstack([passed - later + here + inside, passed[:, -1:]]).astype(np.float32)

    def code_length(self, layout, symbols):
        """Bits of each of symbols (n_images, n_symbols), float32 of that shape."""
        return self._lengths(*self._residuals(layout, symbols)).reshape(symbols.shape)

    def _lengths(self, residuals, tables):
        out = np.empty(residuals.size, dtype=np.float32)
        kernels.code_length(residuals.ravel(), tables.ravel(), self._bits, self._sign_bits, out)
        return out

    def encode(self, layout, symbols):
        """Bytes of symbols (n_images, n_symbols), int32 below 2**29."""
        residuals, tables = self._residuals(layout, symbols)
        bits = self._lengths(residuals, tables).sum(dtype=np.float64)
        # States are whole numbers, which may add a quarter to the bits of the surest decisions.
        words = np.empty(int(bits) // 8 + 16, dtype=np.uint16)
        state, first = kernels.encode(
            residuals.ravel(), tables.ravel(), self.prob, self._negative, words
        )
        state = int(state).to_bytes(kernels.STATE_BYTES, "little")
        return state + words[first:].astype("<u2").tobytes()

    def decode(self, layout, payload, n_images):
        """Inverse of `encode`, or CorruptStreamError."""
        head = kernels.STATE_BYTES
        if len(payload) < head or len(payload) % 2:
            raise CorruptStreamError(f"A code of {len(payload)} bytes is none: truncated.")
        if n_images * layout.n_symbols * LEAST_BITS > 8 * len(payload):
            raise CorruptStreamError(
                f"A code of {len(payload)} bytes holds less than the {layout.n_symbols} symbols of "
                f"{n_images} images that it declares: truncated."
            )
        state = int.from_bytes(payload[:head], "little")
        words = np.frombuffer(payload, "<u2", offset=head)
        out = np.empty((n_images, layout.n_symbols), dtype=np.int32)
        taps, own = self._bound(layout)
        status = kernels.decode(
            np.uint64(state),
            words.astype(np.uint16, copy=False),
            layout.planes,
            layout.taps,
            taps,
            own,
            self.prob,
            self._negative,
            layout.magnitudes(),
            out,
        )
        if status != kernels.OK or state < kernels.STATE_LOW:
            raise CorruptStreamError("The entropy code is damaged; fetch the stream again.")
        kernels.add_up(out, layout.planes, layout.n_smooth)
        return out

    def to_state(self):
        """Arrays that `from_state` turns back into the same coder."""
        return {
            "weights": self.weights.ravel(),
            "prob": self.prob.ravel(),
            "negative": self.negative,
        }

    @classmethod
    def from_state(cls, state):
        names = ("weights", "prob", "negative")
        weights, prob, negative = (stored_integers(state, name) for name in names)
        if weights.size % N_FEATURES or prob.size % kernels.N_DECISIONS:
            raise CorruptStreamError("The contexts have arrays that do not fit together.")
        return cls(weights.reshape(-1, N_FEATURES), prob.reshape(-1, kernels.N_DECISIONS), negative)


def _frequencies(prob):
    return np.clip(np.rint(prob * TOTAL), LEAST_FREQUENCY, TOTAL - LEAST_FREQUENCY).astype(np.int64)


def _shrunk(passed, seen, n_groups):
    """Probabilities of passing a bucket, drawn to those of the bin in all groups."""
    total = [a.reshape(n_groups, kernels.N_BINS, -1).sum(axis=0) for a in (passed, seen)]
    all_groups = (total[0] + 0.5 * PRIOR) / (total[1] + PRIOR)
    return (passed + PRIOR * np.tile(all_groups, (n_groups, 1))) / (seen + PRIOR)


def _fit_weights(layouts, symbols):
    """Weights (n_planes, N_FEATURES) by non-negative weighted least squares, as integers."""
    rng = np.random.Generator(np.random.Philox(0))
    images = [
        (layout, image)
        for layout, part in zip(layouts, symbols, strict=True)
        for image in np.ascontiguousarray(part)
    ]
    images = images[:: -(-len(images) // IMAGES)]
    share = max(100, SAMPLE // len(images))
    sizes = [[] for _ in layouts[0].planes]
    for layout, image in images:
        mag, residuals = layout.magnitudes(), np.empty_like(image)
        kernels.difference(image[None], layout.planes, layout.n_smooth, residuals[None])
        for plane in layout.planes:
            start, stride, height, width, first = plane[:5].tolist()
            values = np.abs(residuals[first : first + height * width]).reshape(height, width)
            inside = start + np.arange(height)[:, None] * stride + np.arange(width)
            mag[inside] = np.minimum(values, kernels.CAP)
        for p, plane in enumerate(layout.planes):
            sizes[p].append(_sampled(layout, plane, mag, min(share, plane[2] * plane[3]), rng))
    return np.stack(
        [_non_negative(*map(np.concatenate, zip(*rows, strict=True))) for rows in sizes]
    )


def _sampled(layout, plane, mag, n, rng):
    """Features (n, N_FEATURES) and magnitudes (n,) at random places of a plane."""
    start, stride, height, width, _, first, last, _ = plane.tolist()
    places = np.stack([rng.integers(max(side, 1), size=n) for side in (height, width)], axis=1)
    taps, features = layout.taps[first:last], layout.features[first:last]
    if layout.in_row:
        taps = np.vstack([taps, [(start - 1, stride, 0), (start - 2, stride, 0)]])
        features = np.append(features, [0, 1])
    out = np.zeros((n, N_FEATURES))
    kernels.gather(places, mag, taps, features, out)
    out[:, -1] = 1
    return out, mag[start + places[:, 0] * stride + places[:, 1]].astype(np.float64)


def _non_negative(x, y):
    """Integer weights w >= 0 such that x @ w predicts y, each row weighed by its variance."""
    w = np.zeros(x.shape[1])
    w[-1] = max(y.mean(), 1e-5) if len(y) else 1e-5
    for _ in range(ROUNDS if len(y) else 0):
        mean = np.maximum(x @ w, 1e-4)
        precision = 1 / (mean * (1 + mean) + LEAST_VARIANCE)
        gram, right = (x * precision[:, None]).T @ x, x.T @ (precision * y)
        # A feature that is never seen keeps a scale, and a ridge its row of the factor regular.
        scale = np.sqrt(np.maximum(np.diag(gram), 1e-3))
        root = np.linalg.cholesky(gram / np.outer(scale, scale) + 1e-6 * np.eye(len(w)))
        w = nnls(root.T, np.linalg.solve(root, right / scale))[0] / scale
    whole = np.minimum(np.rint(w * ONE), MAX_WEIGHT)
    whole[-1] = max(whole[-1], 1)
    return whole.astype(np.int64)
