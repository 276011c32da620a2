"""The design of PCACodec on some rows of a long table: what it keeps of a design on all of them."""

import tracemalloc

import numpy as np
import pytest
from test_pca import SOURCES, correlated

from rdlearn import PCACodec, _moments, _pca_design


def fits_on_some_and_on_all_rows(monkeypatch, X, n_rows, **params):
    whole = PCACodec(**params).fit(X)
    monkeypatch.setattr(_moments, "SAMPLE_ROWS", n_rows)
    return PCACodec(**params).fit(X), whole


@pytest.mark.parametrize("params", [{"beta": 5.0}, {"n_bits": 3}, {"target_rate": 9.0}])
@pytest.mark.parametrize("standardize", [False, True])
def test_some_rows_design_what_all_rows_would(monkeypatch, params, standardize):
    X = correlated(6, 12_000, 4, offset=7).astype(np.float32)
    some, whole = fits_on_some_and_on_all_rows(
        monkeypatch, X, 4000, standardize=standardize, **params
    )
    for name in ("components_", "explained_variance_", "mean_", "resolution_"):
        np.testing.assert_array_equal(getattr(some, name), getattr(whole, name))
    assert not np.array_equal(some.quantizers_.points, whole.quantizers_.points)
    assert some.rate(X) == pytest.approx(whole.rate(X), rel=0.03)
    assert some.mean_distortion(X) == pytest.approx(whole.mean_distortion(X), rel=0.06)
    # What the history ends with is measured on all rows.
    end = some.history_.iloc[-1]
    assert (end.rate_bits, end.distortion) == (some.rate(X), some.mean_distortion(X))


@pytest.mark.parametrize("n_rows", [100, 400, 1499])
@pytest.mark.parametrize("bits", [0.4, 1.5, 4.0])
@pytest.mark.parametrize("name", ["gaussian", "student", "integers", "correlated"])
def test_targets_hold_on_all_rows_though_some_design(monkeypatch, name, bits, n_rows):
    X = SOURCES[name]
    target = bits * X.shape[1]
    codec, whole = fits_on_some_and_on_all_rows(monkeypatch, X, n_rows, target_rate=target)
    assert 0.98 * target <= codec.rate(X) <= target
    target = whole.mean_distortion(X)
    codec = PCACodec(target_distortion=target).fit(X)
    assert 0.98 * target <= codec.mean_distortion(X) <= target


@pytest.mark.parametrize("height, params", [
    # Most of the variance; and little of it, but of a target that cannot be met without.
    (50.0, {"beta": 5.0}), (50.0, {"target_rate": 6.0}), (0.03, {"target_distortion": 1e-9}),
])  # fmt: skip
def test_all_rows_design_where_some_miss_what_matters(monkeypatch, height, params):
    X = np.random.default_rng(2).normal(size=(4000, 3)) * [1, 0.5, 0]
    monkeypatch.setattr(_moments, "SAMPLE_ROWS", 200)
    # Rows that are in no sample differ in a column that is constant elsewhere.
    rare = np.setdiff1d(np.arange(4000), _moments.spaced_rows(np.arange(4000)))[::900]
    X[rare, 2] = height
    monkeypatch.undo()
    some, whole = fits_on_some_and_on_all_rows(monkeypatch, X, 200, **params)
    assert some.fingerprint == whole.fingerprint and len(rare) > 3
    if "target_distortion" in params:
        assert X[:, 2].var() > 1e-9 >= some.mean_distortion(X)


@pytest.mark.parametrize("block", [1, 77, 4000, 1 << 20])
@pytest.mark.parametrize("distortion", ["squared_error", "absolute_error"])
def test_blocks_do_not_change_what_is_measured(monkeypatch, block, distortion):
    X = correlated(3, 900, 5).astype(np.float32)
    codec = PCACodec(beta=4.0, distortion=distortion, standardize=True).fit(X)
    monkeypatch.setattr(_pca_design, "BLOCK_VALUES", block)
    assert codec._measure(X) == (codec.rate(X), codec.mean_distortion(X))


def test_measuring_takes_little_memory():
    X = correlated(0, 40_000, 32).astype(np.float32)
    codec = PCACodec(beta=4.0).fit(X)
    tracemalloc.start()
    codec._measure(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Blocks of 2**17 values as float64, and two numbers a row.
    assert peak < 6 * 8 * 2**17 + 20 * len(X) < 1.5 * X.nbytes
