"""What a table larger than memory leaves behind: exact moments and a uniform sample of rows."""

import numpy as np

__all__ = ["Moments", "RowSample"]

BLOCK_VALUES = 1 << 20
SAMPLE_VALUES = 1 << 24
SAMPLE_ROWS = 1 << 16
LEAST_ROWS = 1024


class Moments:
    """Mean, squares and scatter matrix of rows seen so far (Chan, Golub & LeVeque 1983)."""

    def __init__(self, n_features):
        self.count = 0
        self.mean = np.zeros(n_features)
        self.squares = np.zeros(n_features)
        self.scatter = None

    def update(self, X, keep_scatter=True):
        if keep_scatter and self.scatter is None:
            self.scatter = np.zeros((X.shape[1], X.shape[1]))
        block_rows = max(LEAST_ROWS, BLOCK_VALUES // X.shape[1])
        for start in range(0, len(X), block_rows):
            rows = X[start : start + block_rows].astype(np.float64)
            center = rows.mean(axis=0)
            rows -= center
            count = self.count + len(rows)
            shift = center - self.mean
            weight = self.count * len(rows) / count
            self.squares += np.einsum("ij,ij->j", rows, rows) + weight * shift**2
            if keep_scatter:
                self.scatter += rows.T @ rows + weight * np.outer(shift, shift)
            self.mean = self.mean + shift * (len(rows) / count)
            self.count = count


class RowSample:
    """Moments of all rows of a stream, and a uniform random sample of the rows themselves."""

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
