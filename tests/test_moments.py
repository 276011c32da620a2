import numpy as np
import pytest
from scipy import stats

from rdlearn import _moments
from rdlearn._moments import Moments, RowSample, check_range, smallest_gaps, spaced_rows


def long_double_moments(X):
    X = X.astype(np.longdouble)
    mean = X.mean(axis=0)
    return mean.astype(np.float64), ((X - mean).T @ (X - mean)).astype(np.float64)


def split(X, cuts):
    return np.split(X, cuts)


@pytest.mark.parametrize("offset", [0.0, 1e8, -3e5])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("cuts", [[], [1], [2, 3, 700], list(range(50, 1000, 50))])
def test_moments_of_any_split_agree_with_long_double(monkeypatch, offset, dtype, cuts):
    monkeypatch.setattr(_moments, "BLOCK_VALUES", 300)
    monkeypatch.setattr(_moments, "LEAST_ROWS", 64)
    rng = np.random.default_rng(len(cuts))
    X = (rng.normal(size=(1000, 5)) @ rng.normal(size=(5, 5)) + offset).astype(dtype)
    moments = Moments(5)
    for part in split(X, cuts):
        moments.update(part)
    mean, scatter = long_double_moments(X)
    assert moments.count == 1000
    # The mean has the rounding of one number of its size, not of a sum of 1000.
    np.testing.assert_allclose(moments.mean, mean, rtol=4e-16, atol=1e-14)
    # Sums of 1000 products about the mean: no digit is lost to the offset.
    limit = 1e-13 * np.sqrt(np.outer(scatter.diagonal(), scatter.diagonal()))
    assert np.all(np.abs(moments.scatter - scatter) <= limit)
    np.testing.assert_allclose(moments.squares, scatter.diagonal(), rtol=1e-13)


@pytest.mark.parametrize("value", [0.1, -1e8 / 3, 7.0])
def test_a_constant_column_has_no_variance_at_all(value):
    moments = Moments(2)
    for rows in (1, 5000, 17):
        moments.update(np.column_stack([np.full(rows, value), np.arange(rows)]))
    assert moments.squares[0] == 0.0 and moments.mean[0] == value
    assert np.all(moments.scatter[0] == 0.0)


def test_the_scatter_matrix_is_kept_on_request_only():
    moments = Moments(3)
    moments.update(np.eye(3), keep_scatter=False)
    assert moments.scatter is None
    np.testing.assert_allclose(moments.squares, [2 / 3] * 3)


def small_sample(monkeypatch, capacity):
    monkeypatch.setattr(_moments, "LEAST_ROWS", capacity)
    monkeypatch.setattr(_moments, "SAMPLE_ROWS", capacity)


@pytest.mark.parametrize("cuts", [[], [1], [3, 4, 9], [10, 11, 40, 90], list(range(1, 100))])
@pytest.mark.parametrize("seed", [0, 5, 2**31 - 2])
def test_the_row_sample_does_not_depend_on_the_split(monkeypatch, cuts, seed):
    small_sample(monkeypatch, 20)
    X = np.arange(200.0).reshape(100, 2)
    whole, parts = RowSample(2, X.dtype, seed), RowSample(2, X.dtype, seed)
    whole.update(X)
    for part in split(X, cuts):
        parts.update(part)
    np.testing.assert_array_equal(parts.rows, whole.rows)
    assert len(whole.rows) == 20 and np.all(np.diff(whole.rows[:, 0]) > 0)


def test_the_row_sample_is_uniform(monkeypatch):
    # 3000 seeds, 8 of 40 rows each: counts of rows, and of neighbouring pairs, are fair.
    small_sample(monkeypatch, 8)
    X = np.arange(40.0)[:, np.newaxis]
    n_seeds, chosen = 3000, np.zeros((3000, 40), dtype=bool)
    for seed in range(n_seeds):
        sample = RowSample(1, X.dtype, seed)
        for part in split(X, [13, 14, 30]):
            sample.update(part)
        chosen[seed, sample.rows[:, 0].astype(int)] = True
    assert np.all(chosen.sum(axis=1) == 8)
    # Rows of one sample exclude each other, which narrows the chi-square by 39 / 40 * 0.8.
    expected = n_seeds * 8 / 40
    chi_square = ((chosen.sum(axis=0) - expected) ** 2 / expected).sum() / 0.8 * 39 / 40
    assert 1e-4 < stats.chi2.sf(chi_square, 39) < 1 - 1e-4
    pairs = (chosen[:, 1:] & chosen[:, :-1]).sum()
    expected = n_seeds * 39 * (8 * 7) / (40 * 39)
    assert abs(pairs - expected) < 5 * np.sqrt(expected)


@pytest.mark.parametrize("n_features, rows", [(1, 65536), (300, 55924), (2**20, 1024)])
def test_the_capacity_bounds_rows_and_values(n_features, rows):
    assert RowSample(n_features, np.float32, 0).capacity == rows


def test_seeds_of_the_row_sample():
    same = [RowSample(1, np.float64, np.random.RandomState(3)).seed for _ in range(2)]
    assert same[0] == same[1]
    state = np.random.RandomState(3)
    assert RowSample(1, np.float64, state).seed != RowSample(1, np.float64, state).seed
    assert RowSample(1, np.float64, None).seed != RowSample(1, np.float64, None).seed
    assert RowSample(1, np.float64, 12).seed == 12


@pytest.mark.parametrize(
    "dtype, value", [("f8", 1e76), ("f8", -2e300), ("f4", 1.1e25), ("f4", -2.5e38)]
)
def test_values_that_arithmetic_cannot_square_are_named(dtype, value):
    X = np.zeros((3, 2), dtype=dtype)
    check_range(X)
    X[1, 1] = value
    with pytest.raises(ValueError, match="rescale the columns") as error:
        check_range(X)
    assert f"X contains {value:.3g}" in str(error.value)
    X[1, 1] /= abs(X[1, 1])
    check_range(X)


def test_smallest_gaps():
    rng = np.random.default_rng(0)
    X = np.column_stack(
        [
            rng.permutation(50) * 0.25 + 1e8,
            np.full(50, 3.0),
            np.append(rng.normal(size=48), [5.0, 5.0 + 1e-12]),
            rng.integers(0, 2, 50) * 7.0,
        ]
    )
    gaps = smallest_gaps(X)
    np.testing.assert_allclose(gaps, [0.25, 1.0, 1e-6 * X[:, 2].std(), 7.0], rtol=1e-12)
    assert smallest_gaps(X[:, 3:].astype(np.float32)).dtype == np.float64


@pytest.mark.parametrize("n_features", [1, 15, 16, 17, 40])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_smallest_gaps_of_any_number_of_columns(n_features, dtype):
    rng = np.random.default_rng(n_features)
    X = (rng.integers(0, 90, size=(60, n_features)) / rng.uniform(1, 9, n_features)).astype(dtype)
    before = X.copy()
    columns = [np.unique(column).astype(np.float64) for column in X.T]
    np.testing.assert_array_equal(smallest_gaps(X), [np.diff(c).min() for c in columns])
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("n, most", [(10, 10), (9, 10), (11, 10), (1000, 64), (4096, 256)])
def test_spaced_rows_come_one_from_each_stretch(monkeypatch, n, most):
    monkeypatch.setattr(_moments, "SAMPLE_ROWS", most)
    X = np.arange(2.0 * n).reshape(n, 2)
    rows = spaced_rows(X)
    np.testing.assert_array_equal(rows, spaced_rows(X))
    numbers = (rows[:, 0] / 2).astype(int)
    np.testing.assert_array_equal(X[numbers], rows)
    assert len(rows) == min(n, most)
    # Row i lies in stretch k where k n <= i len(rows) < (k + 1) n, up to the cut within a row.
    place = (numbers + 0.5) * len(rows) / n - np.arange(len(rows))
    assert np.all((place > -0.5) & (place < 1.5)) and np.all(np.diff(numbers) > 0)


@pytest.mark.parametrize("period", [2, 8, 16, 32])
def test_spaced_rows_see_all_of_a_table_that_recurs(monkeypatch, period):
    monkeypatch.setattr(_moments, "SAMPLE_ROWS", 512)
    kinds = spaced_rows(np.arange(8192) % period)
    expected = 512 / period
    assert np.all(np.abs(np.bincount(kinds, minlength=period) - expected) < 5 * expected**0.5)
