"""Integer probability tables: what encoder and decoder share, frozen at the end of `fit`."""

import numpy as np

from rdlearn.coding.integers import pack_integers, stored_integers, stored_packed
from rdlearn.exceptions import CorruptStreamError
from rdlearn.kernels import entropy_coding as kernels

__all__ = [
    "IntegerTables",
    "bits_of",
    "check_symbols",
    "joined",
    "parted",
    "quantize_probabilities",
    "refuse_damage",
]

TOTAL = 1 << kernels.PRECISION
MAX_SIZE = 4096
MAX_SHIFT = 50
LOOKUP_BITS = 12
# What rounding of states leaves at least of the bits of a symbol: they hold 2**10 times its
# frequency or more.
LEAST_SHARE = 0.999


def bits_of(frequencies, precision):
    """Bits, float64, of frequencies in units of 2**-precision, inf of 0; the same everywhere.

    The last digits of a logarithm depend on the machine, and thresholds on the bits: they are
    rounded to float32, where none of an integer up to 2**16 is close to halfway.
    """
    with np.errstate(divide="ignore"):
        return (precision - np.log2(frequencies)).astype(np.float32).astype(np.float64)


def quantize_probabilities(probabilities):
    """Integer frequencies that sum to 2**14, at least 1 each, near the given probabilities.

    Parameters
    ----------
    probabilities : array-like of shape (n,), n <= 2**14
        Non-negative weights, not all zero; they need not sum to one.

    Returns
    -------
    ndarray of shape (n,), int64

    Examples
    --------
    >>> quantize_probabilities([1, 1, 2]).tolist()
    [4096, 4096, 8192]
    """
    weights = np.asarray(probabilities, dtype=np.float64)
    if not 1 <= weights.size <= TOTAL or not np.all((weights >= 0) & (weights < np.inf)):
        raise ValueError(f"probabilities must be 1 to {TOTAL} finite weights of at least 0.")
    if not weights.any():
        raise ValueError("probabilities must not all be 0.")
    weights = weights / weights.max()
    # Least code length over real frequencies of at least 1: one share for all above that floor.
    above = np.ones(weights.size, dtype=bool)
    while True:
        share = weights * ((TOTAL - np.sum(~above)) / weights[above].sum())
        below = above & (share < 1)
        if not below.any():
            break
        above &= ~below
    frequencies = np.where(above, np.rint(share), 1).astype(np.int64)
    # Give to (or take from) the symbols where one unit changes the code length most (least).
    missing = TOTAL - int(frequencies.sum())
    step = 1 if missing > 0 else -1
    able = np.flatnonzero(frequencies + step >= 1)
    gain = weights[able] * np.log1p(step / frequencies[able])
    frequencies[able[np.argsort(-gain, kind="stable")[: abs(missing)]]] += step
    return frequencies


class IntegerTables:
    """One table of integer frequencies a column, with an escape for what lies outside.

    Column c holds `size[c]` buckets of 2**`shift[c]` consecutive integers from `low[c]` on;
    the low bits within a bucket are sent raw. A value outside costs the escape symbol and one
    to ten bytes. Frequencies sum to 2**14, so no probability is below 2**-14 and none is lost.

    Parameters
    ----------
    low : array-like of int64, shape (n_columns,)
    shift : array-like of int64, shape (n_columns,)
    frequencies : list of n_columns integer arrays, shape (size + 1,)
        The last entry is the escape; 0 there closes the table.
    """

    # Bytes that any chunk takes: the coder's states.
    least_payload = kernels.STATE_BYTES * kernels.N_LANES

    def __init__(self, low, shift, frequencies):
        self.low = np.asarray(low, dtype=np.int64)
        self.shift = np.asarray(shift, dtype=np.int64)
        self.size = np.array([len(f) - 1 for f in frequencies], dtype=np.int64)
        self.start = np.concatenate([[0], np.cumsum(self.size + 1)]).astype(np.int64)
        flat = np.concatenate([np.zeros(0, np.int64), *frequencies]).astype(np.int64)
        self.frequencies = flat
        self._check()
        cum = np.cumsum(flat) - flat - TOTAL * np.repeat(np.arange(self.n_columns), self.size + 1)
        reciprocal = kernels.ABOVE_ONE / np.maximum(flat, 1)
        self.encoder = flat.astype(np.uint64), cum.astype(np.uint64), reciprocal
        self.bits = bits_of(flat, kernels.PRECISION)
        self._entries = (flat.astype(np.uint32) << np.uint32(16)) | cum.astype(np.uint32)
        self._lookup = None

    def _check(self):
        n = self.n_columns
        if not self.low.shape == self.shift.shape == self.size.shape == (n,):
            raise CorruptStreamError("The integer tables disagree about the number of columns.")
        if np.any(self.size < 1) or np.any(self.size > MAX_SIZE):
            raise CorruptStreamError(f"An integer table needs 1 to {MAX_SIZE} symbols.")
        if np.any(self.shift < 0) or np.any(self.shift > MAX_SHIFT):
            raise CorruptStreamError(f"An integer table's shift lies outside 0 to {MAX_SHIFT}.")
        flat, ends = self.frequencies, self.start[1:] - 1
        body = np.delete(flat, ends)
        if np.any(body < 1) or np.any(flat < 0) or np.any(flat > TOTAL):
            raise CorruptStreamError(f"An integer table has a frequency outside 1 to {TOTAL}.")
        if n and np.any(np.add.reduceat(flat, self.start[:-1]) != TOTAL):
            raise CorruptStreamError(f"The frequencies of an integer table do not sum to {TOTAL}.")

    @classmethod
    def fit(cls, symbols):
        """Tables for an array of integers, one a column.

        Parameters
        ----------
        symbols : array-like of integers, shape (n_samples, n_columns)
            Values that int64 holds; none at all gives the one-symbol table {0}.
        """
        symbols = np.asarray(symbols)
        if symbols.ndim != 2 or symbols.dtype.kind not in "iub":
            raise ValueError(
                f"symbols must be a 2-D array of integers, got shape {symbols.shape} and dtype "
                f"{symbols.dtype}; quantize and reshape first."
            )
        if symbols.size and symbols.max() > np.iinfo(np.int64).max:
            raise ValueError(f"symbols reach {symbols.max()}, more than int64 holds.")
        low, shift, frequencies = [], [], []
        for column in symbols.astype(np.int64).T:
            column_low, column_shift, counts = _histogram(column)
            low.append(column_low)
            shift.append(column_shift)
            escaped = max(len(column) - counts.sum(), 0.0)
            frequencies.append(quantize_probabilities(np.append(counts, escaped) + 1e-9))
        return cls(low, shift, frequencies)

    @property
    def n_columns(self):
        return self.low.size

    @property
    def least_bits(self):
        """Bits that no sample takes less than."""
        return LEAST_SHARE * float(self.least_of_columns().sum())

    def least_of_columns(self):
        """Bits (n_columns,) of the shortest symbol of each column."""
        if not self.n_columns:
            return np.zeros(0)
        return np.minimum.reduceat(self.bits, self.start[:-1]) + self.shift

    def code_length(self, symbols):
        """Bits spent on each sample of symbols (n_columns, n); returns (n,) float64.

        Infinite where a value lies outside a closed table.
        """
        check_symbols(symbols, self.n_columns)
        out = np.zeros(symbols.shape[1])
        kernels.code_length(symbols, self.low, self.size, self.shift, self.start, self.bits, out)
        return out

    def room(self, counts, n_escapes):
        """Words and escapes that kernels fill with so many symbols and escapes of each table."""
        pieces = 1 + -(-self.shift // kernels.PRECISION)
        words = np.empty(int(pieces @ counts) + 1, dtype=np.uint16)
        return words, np.empty(10 * int(n_escapes.sum()), dtype=np.uint8)

    def encode(self, symbols):
        """Bytes of symbols (n_columns, n): eight states, words, then escapes read from the end."""
        check_symbols(symbols, self.n_columns)
        layout = (self.low, self.size, self.shift)
        n_escapes = kernels.count_escapes(symbols, *layout)
        closed = self.frequencies[self.start[1:] - 1] == 0
        if np.any(n_escapes[closed]):
            raise ValueError("A value lies outside a closed integer table: it has no code.")
        words, escapes = self.room(np.full(self.n_columns, symbols.shape[1]), n_escapes)
        states, first, used = kernels.encode(
            symbols, *layout, self.start, *self.encoder, words, escapes
        )
        return joined(states, words[first:], escapes[:used])

    def decode(self, payload, n):
        """Inverse of `encode`: (n_columns, n) int64, or CorruptStreamError."""
        raw, words = parted(payload)
        entries, *jumps = self.decoder()
        out = np.empty((self.n_columns, n), dtype=np.int64)
        status = kernels.decode(
            raw,
            self.least_payload,
            words,
            self.low,
            self.size,
            self.shift,
            self.start,
            entries,
            *jumps,
            out,
        )
        refuse_damage(status)
        return out

    def decoder(self):
        """What kernels decode by: entries, jump tables, where each one begins, and its shift."""
        if self._lookup is None:
            self._lookup = self._jump_tables()
        return self._entries, *self._lookup

    def _jump_tables(self):
        # About eight slots a symbol: small enough for the cache, rarely more than one step.
        pieces, shifts = [], []
        for c in range(self.n_columns):
            frequencies = self.frequencies[self.start[c] : self.start[c + 1]]
            bits = min(LOOKUP_BITS, int(8 * len(frequencies)).bit_length())
            shifts.append(kernels.PRECISION - bits)
            ends = np.cumsum(frequencies)
            slots = np.arange(1 << bits) << shifts[-1]
            pieces.append(np.searchsorted(ends, slots, side="right").astype(np.uint16))
        start = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])])
        flat = np.concatenate([np.zeros(0, np.uint16), *pieces])
        return flat, start.astype(np.int64), np.array(shifts, dtype=np.int64)

    def describe(self):
        """The tables in plain integers, for fingerprints."""
        return {
            "low": self.low,
            "shift": self.shift.astype(np.uint8),
            "size": self.size.astype(np.uint16),
            "frequencies": self.frequencies,
        }

    def to_state(self):
        """Arrays that `from_state` turns back into the same tables."""
        return {**self.describe(), "frequencies": pack_integers(self.frequencies)}

    @classmethod
    def from_state(cls, state):
        low, shift, size = (stored_integers(state, name) for name in ("low", "shift", "size"))
        if not low.size == shift.size == size.size or np.any((size < 1) | (size > MAX_SIZE)):
            raise CorruptStreamError("The integer tables' sizes are impossible.")
        flat = stored_packed(state, "frequencies", int((size + 1).sum()))
        return cls(low, shift, np.split(flat, np.cumsum(size + 1)[:-1]) if size.size else [])


def check_symbols(symbols, n_columns):
    """ValueError for what is no array of integers with a row for each column."""
    if symbols.ndim != 2 or len(symbols) != n_columns or symbols.dtype.kind not in "iub":
        raise ValueError(
            f"symbols of shape {symbols.shape} and dtype {symbols.dtype} must be integers with "
            f"{n_columns} rows, one a table."
        )


def joined(states, words, escapes):
    """Bytes of a chunk: the coder's states, words, escapes read from the end."""
    states = states.astype("<u8").view(np.uint8).reshape(-1, 8)[:, : kernels.STATE_BYTES]
    return states.tobytes() + words.astype("<u2", copy=False).tobytes() + escapes.tobytes()


def parted(payload):
    """A chunk as bytes, and the words behind its states, or CorruptStreamError."""
    head = IntegerTables.least_payload
    if len(payload) < head:
        raise CorruptStreamError(
            f"A chunk holds {len(payload)} bytes and needs at least {head}: truncated."
        )
    words = np.frombuffer(payload, "<u2", (len(payload) - head) // 2, head)
    return np.frombuffer(payload, dtype=np.uint8), words.astype(np.uint16, copy=False)


def refuse_damage(status):
    """CorruptStreamError where a kernel's status is not OK."""
    if status != kernels.OK:
        raise CorruptStreamError(
            f"A chunk's entropy code is damaged ({_STATUS[status]}); fetch the stream again."
        )


_STATUS = {
    kernels.OUT_OF_WORDS: "it ends too early",
    kernels.BAD_STATE: "a coder state is impossible",
    kernels.BAD_ESCAPE: "an escaped value runs out of its bytes",
    kernels.LEFT_OVER: "bytes are left over",
}


def _histogram(column):
    """(low, shift, counts) of a table that covers a column, or all but its rare outliers."""
    if column.size == 0:
        return 0, 0, np.ones(1)
    low, high = int(column.min()), int(column.max())
    if high - low >= MAX_SIZE:
        low, high = (int(v) for v in np.quantile(column, [0.001, 0.999], method="nearest"))
    # Past a thousand buckets a table costs more than its detail is worth: keep low bits raw.
    shift = 0 if high - low < MAX_SIZE else ((high - low) >> 10).bit_length()
    shift = min(shift, MAX_SHIFT)
    size = min(((high - low) >> shift) + 1, MAX_SIZE)
    delta = (column.astype(np.uint64) - np.uint64(low % (1 << 64))) >> np.uint64(shift)
    inside = delta[delta < np.uint64(size)].astype(np.int64)
    counts = np.bincount(inside, minlength=size).astype(np.float64)
    # An entry takes at least 2**-14 of the probability; rarer ends are cheaper as escapes.
    worth = np.flatnonzero(8 * counts >= column.size / (TOTAL * np.log(2)))
    first, last = (worth[0], worth[-1]) if worth.size else (0, size - 1)
    return low + (int(first) << shift), shift, counts[first : last + 1]
