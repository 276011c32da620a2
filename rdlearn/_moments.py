"""What a table leaves behind: exact moments, a uniform sample of rows, the grid of its values."""

import numpy as np

__all__ = ["Moments", "RowSample", "check_range", "is_spread", "smallest_gaps", "spaced_rows"]

BLOCK_VALUES = 1 << 20
SAMPLE_VALUES = 1 << 24
SAMPLE_ROWS = 1 << 16
LEAST_ROWS = 1024
# Columns that are sorted at a time: those of a cache line, in float32.
BLOCK_COLUMNS = 16
# Far enough from overflow for fourth powers, and for reconstructions far outside the table.
LARGEST = {np.dtype(np.float32): 1e25, np.dtype(np.float64): 1e75}


class Moments:
    """Mean, squares, extremes and scatter matrix of rows so far (Chan, Golub & LeVeque 1983).

    Squares and scatter are sums about the mean; divide by `count` for variances.
    """

    def __init__(self, n_features):
        self.count = 0
        self.origin = np.zeros(n_features)
        self.offset = np.zeros(n_features)
        self.squares = np.zeros(n_features)
        self.low, self.high = np.full(n_features, np.inf), np.full(n_features, -np.inf)
        self.scatter = None

    @property
    def mean(self):
        return self.origin + self.offset

    def update(self, X, keep_scatter=True):
        """Add rows; the scatter matrix, quadratic in the features, only on request."""
        if self.count == 0:
            # Counted from a row of the data, a large offset costs no digits and a constant
            # column has exactly no variance.
            self.origin = X[0].astype(np.float64)
        if keep_scatter and self.scatter is None:
            self.scatter = np.zeros((X.shape[1], X.shape[1]))
        block_rows = max(LEAST_ROWS, BLOCK_VALUES // X.shape[1])
        for start in range(0, len(X), block_rows):
            rows = X[start : start + block_rows].astype(np.float64)
            self.low = np.minimum(self.low, rows.min(axis=0))
            self.high = np.maximum(self.high, rows.max(axis=0))
            rows -= self.origin
            center = rows.mean(axis=0)
            rows -= center
            count = self.count + len(rows)
            shift = center - self.offset
            weight = self.count * len(rows) / count
            self.squares += np.einsum("ij,ij->j", rows, rows) + weight * shift**2
            if keep_scatter:
                self.scatter += rows.T @ rows + weight * np.outer(shift, shift)
            self.offset += shift * (len(rows) / count)
            self.count = count


class RowSample:
    """Moments of all rows of a stream, and a uniform random sample of the rows themselves.

    The sample holds every row up to the capacity; `rows` keeps the order of the stream.
    """

    def __init__(self, n_features, dtype, random_state):
        seed = np.random.RandomState(random_state) if random_state is None else random_state
        if hasattr(seed, "randint"):
            seed = seed.randint(2**31 - 1)
        self.seed = int(seed)
        self.moments = Moments(n_features)
        self.capacity = int(np.clip(SAMPLE_VALUES // n_features, LEAST_ROWS, SAMPLE_ROWS))
        self.rows = np.empty((0, n_features), dtype=dtype)
        self.priority = np.empty(0, dtype=np.uint64)

    def update(self, X):
        """Add rows to the moments, and those of lowest priority to the sample."""
        # A row's priority depends on its number alone, not on how the stream is cut.
        block, skip = divmod(self.moments.count, 4)
        draws = np.random.Philox(key=self.seed, counter=block).random_raw(skip + len(X))
        priority = draws[skip:]
        self.moments.update(X)
        rows = np.concatenate([self.rows, X.astype(self.rows.dtype, copy=False)])
        priority = np.concatenate([self.priority, priority])
        if len(rows) > self.capacity:
            kept = np.sort(np.argpartition(priority, self.capacity)[: self.capacity])
            rows, priority = rows[kept], priority[kept]
        self.rows, self.priority = rows, priority


def spaced_rows(X):
    """X, or of a long table SAMPLE_ROWS rows, one from each of as many stretches of equal length.

    Where in its stretch a row lies is random, lest rows that recur be all there is, and the same
    in every call.
    """
    if len(X) <= SAMPLE_ROWS:
        return X
    borders = np.arange(SAMPLE_ROWS + 1) * len(X) // SAMPLE_ROWS
    return X[np.random.RandomState(0).randint(borders[:-1], borders[1:])]


def check_range(X):
    """Raise ValueError where values are so large that their squares may overflow."""
    low, high = float(X.min()), float(X.max())
    largest = low if -low > high else high
    if abs(largest) > LARGEST[X.dtype]:
        raise ValueError(
            f"X contains {largest:.3g}, beyond the {LARGEST[X.dtype]:g} that {X.dtype} "
            "arithmetic can take here; rescale the columns, as StandardScaler does."
        )


def is_spread(value):
    """Whether a number from a file can be the deviation of a table that `check_range` lets pass."""
    return type(value) is float and 0 < value <= 2 * max(LARGEST.values())


def smallest_gaps(X):
    """Smallest gap between distinct values of each column, float64.

    At least 1e-6 of the column's standard deviation, and 1.0 where there is one value only.
    """
    smallest = np.ones(X.shape[1])
    for j in range(X.shape[1]):
        if j % BLOCK_COLUMNS == 0:
            columns = np.ascontiguousarray(X[:, j : j + BLOCK_COLUMNS].T)
        column = columns[j % BLOCK_COLUMNS]
        gaps = np.diff(np.sort(column).astype(np.float64))
        gap = gaps.min(where=gaps > 0, initial=np.inf)
        if gap < np.inf:
            smallest[j] = max(gap, 1e-6 * column.astype(np.float64).std())
    return smallest
