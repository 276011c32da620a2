"""Scalar quantizers: design against theory, cells against brute force, hostile states."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from rdlearn.coding.integers import pack_integers
from rdlearn.coding.quantizers import ScalarQuantizers, SortedColumns
from rdlearn.exceptions import CorruptStreamError
from rdlearn.kernels import quantization as kernels

PLAIN = settings(deadline=None, derandomize=True, max_examples=60)
SEEDS = st.integers(0, 2**32 - 1)


def gaussian(n=100_000):
    """A sample whose distribution function is exact to half a step of 1 / n."""
    return stats.norm.ppf((np.arange(n) + 0.5) / n)[:, np.newaxis]


def mixed(seed=0, n=2000):
    rng = np.random.default_rng(seed)
    laplace = rng.laplace(0, 1, n)
    lumps = rng.choice([-4.0, 0.0, 5.0], n, p=[0.1, 0.7, 0.2]) + rng.normal(0, 0.1, n)
    return np.column_stack([laplace, np.zeros(n), lumps, rng.normal(0, 1e-6, n)])


def quantize(quantizers, y):
    out = np.empty((y.shape[1], len(y)), dtype=np.int64)
    quantizers.quantize(y, out)
    return out


# Kernels.


@PLAIN
@given(SEEDS, st.integers(1, 12), st.floats(1e-2, 1e2))
def test_thresholds_are_the_lower_envelope(seed, n_points, beta):
    rng = np.random.default_rng(seed)
    points = np.sort(rng.normal(0, 2, n_points))
    cost = rng.exponential(3, n_points)
    thresholds = np.full(n_points - 1, np.nan)
    kernels.decision_thresholds(points, cost, beta, thresholds)
    assert np.all(np.diff(thresholds) >= 0)
    y = np.linspace(-10, 10, 500)
    total = beta * (y[:, np.newaxis] - points) ** 2 + cost
    chosen = total[np.arange(500), np.searchsorted(thresholds, y, side="right")]
    np.testing.assert_allclose(chosen, total.min(axis=1), rtol=1e-9, atol=1e-9)


def test_cell_probabilities_by_hand():
    # 5 samples in cells of 3, 0, 2: two occupied, hence two pseudo-samples, logistic law.
    edges, borders = np.array([0, 3, 3, 5]), np.array([-1.0, 0.5])
    law = stats.logistic(loc=0.25, scale=2.0)
    below = np.array([0, *law.cdf(borders), 1])
    p = np.empty(3)
    kernels.cell_probabilities(edges, 5, 0.25, 2.0, borders, 0.0, p)
    np.testing.assert_allclose(p, (np.diff(edges) + 2 * np.diff(below)) / 7, rtol=1e-13)
    assert p.sum() == pytest.approx(1)
    kernels.cell_probabilities(edges, 5, 0.25, 2.0, borders, 0.2, p)
    assert p.min() == 0.2


@pytest.mark.parametrize(
    ("n_bits", "levels", "error"),
    [
        (1, [-0.7979, 0.7979], 0.3634),
        (2, [-1.510, -0.4528, 0.4528, 1.510], 0.1175),
        (3, [-2.152, -1.344, -0.7560, -0.2451, 0.2451, 0.7560, 1.344, 2.152], 0.03454),
    ],
)
def test_lloyd_max_of_a_gaussian(n_bits, levels, error):
    # Max 1960, table I. Iterations stop when no sample changes its cell.
    y = gaussian()[:, 0]
    prefix = np.concatenate([[0], np.cumsum(y)])
    points = np.empty(1 << n_bits)
    kernels.lloyd_max(y, prefix, 1 << n_bits, 5000, points)
    np.testing.assert_allclose(points, levels, atol=2e-3)
    nearest = ((y[:, np.newaxis] - points) ** 2).min(axis=1)
    assert nearest.mean() == pytest.approx(error, rel=5e-4)


def test_lloyd_max_with_fewer_values_than_levels():
    y = np.array([1.0, 1.0, 2.0])
    points = np.empty(8)
    kernels.lloyd_max(y, np.concatenate([[0], np.cumsum(y)]), 8, 100, points)
    assert set(points) == {1.0, 2.0} and np.all(np.diff(points) >= 0)


def test_kernels_take_read_only_arrays():
    y = np.sort(gaussian(100)[:, 0])
    prefix = np.concatenate([[0], np.cumsum(y)])
    arrays = (y, prefix, np.array([0.0, 1.0]), np.array([1.0, 2.0]))
    for array in arrays:
        array.flags.writeable = False
    kernels.lloyd_max(y, prefix, 2, 10, np.empty(2))
    kernels.decision_thresholds(*arrays[2:], 1.0, np.empty(1))
    codec, _ = ScalarQuantizers.design(SortedColumns(gaussian(1000)), 20.0)
    rows = gaussian(50)
    rows.flags.writeable = False
    symbols = quantize(codec, rows)
    symbols.flags.writeable = False
    assert codec.dequantize(symbols, np.float64).shape == (50, 1)


def test_design_never_leaves_its_buffers():
    # Far from 0 the rounding of y / step alone may ask for more cells than the range holds.
    y = 2.0**70 + 2.0**18 * np.arange(5)
    points, p = np.empty(4), np.empty(4)
    prefix = np.concatenate([[0], np.cumsum(y)])
    n_points, *_ = kernels.design(y, prefix, y @ y, 1e-9, 2.0**17, 1e-4, 5, 1e-6, points, p)
    assert 1 <= n_points <= 4


# Design.


@pytest.mark.parametrize(
    ("shannon_bits", "gap"), [(0.25, 0.114), (0.98, 0.251), (1.5, 0.254), (3.0, 0.2546)]
)
def test_gap_to_the_gaussian_rate_distortion_function(shannon_bits, gap):
    # Optimum entropy-coded scalar quantization; tolerance: last digit and the table's own cost.
    sample = SortedColumns(gaussian())
    distortion = 2.0 ** (-2 * shannon_bits)
    slope = optimize.brentq(
        lambda s: ScalarQuantizers.measure(sample, s)[1] - distortion, 0.8, 500, xtol=1e-3
    )
    nats, reached = ScalarQuantizers.measure(sample, slope)
    above = nats / np.log(2) + 0.5 * np.log2(reached)
    assert above == pytest.approx(gap, abs=1.5e-3)


@pytest.mark.parametrize("slope", [1.0, 10.0, 1e3, 1e9])
def test_finished_quantizers_reach_what_was_measured(slope):
    X = mixed()
    sample = SortedColumns(X)
    nats, error = ScalarQuantizers.measure(sample, slope)
    codec, n_iter = ScalarQuantizers.design(sample, slope)
    symbols = quantize(codec, X[:, codec.active])
    spent = codec.tables.code_length(symbols).mean() * np.log(2)
    lost = ((codec.dequantize(symbols, np.float64) - X) ** 2).sum(axis=1).mean()
    assert spent + slope * lost == pytest.approx(nats + slope * error, rel=0.01)
    assert n_iter >= 1 and 1 not in codec.active


def test_larger_slope_buys_less_error():
    sample = SortedColumns(mixed())
    curve = np.array([ScalarQuantizers.measure(sample, s) for s in np.geomspace(1e-1, 1e6, 8)])
    assert np.all(np.diff(curve[:, 0]) > 0)
    assert np.all(np.diff(curve[:, 1]) < 0)


def test_columns_not_worth_their_price_are_dropped():
    codec, _ = ScalarQuantizers.design(SortedColumns(mixed()), 1e-3)
    assert codec.active.size == 0 and codec.n_columns == 4
    symbols = quantize(codec, np.empty((7, 0)))
    np.testing.assert_array_equal(codec.dequantize(symbols, np.float32), np.zeros((7, 4)))
    again = ScalarQuantizers.from_state(codec.to_state())
    assert again.n_columns == 4 and again.tables.n_columns == 0


def test_a_cluster_far_from_the_mean_is_coded():
    # The outlier lies 1e15 steps off, and puts the rest 3e11 steps from 0.
    rng = np.random.default_rng(0)
    y = np.append(rng.normal(0, 50, 3000), 1e15)[:, np.newaxis]
    y -= y.mean()
    codec, _ = ScalarQuantizers.design(SortedColumns(y), 6.0)
    back = codec.dequantize(quantize(codec, y), np.float64)
    assert np.abs(back - y).max() <= codec.step / 2 + 1e-3


def test_two_values_far_from_zero():
    y = np.repeat([1e13, 1e13 + 1], 50)[:, np.newaxis]
    codec, _ = ScalarQuantizers.design(SortedColumns(y), 600.0)
    back = codec.dequantize(quantize(codec, y), np.float64)
    assert np.abs(back - y).max() <= codec.step / 2 + 1e-2


def test_thinned_keeps_order_statistics():
    sample = SortedColumns(mixed())
    assert sample.thinned(2000) is sample
    thin = sample.thinned(100)
    assert thin.values.shape == (4, 100)
    np.testing.assert_array_equal(thin.values, sample.values[:, 10::20])
    np.testing.assert_allclose(thin.square, (thin.values**2).sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(np.diff(thin.prefix), thin.values, atol=1e-9)


# Both directions.


def naive_symbols(codec, c, y):
    """Cheapest point for each value by comparing all of them, in float64."""
    points = codec.points[codec.start[c] : codec.start[c + 1]] * (codec.step / 32)
    tables = codec.tables
    nats = tables.bits[tables.start[c] : tables.start[c + 1] - 1] * np.log(2)
    total = codec.slope * (y[:, np.newaxis] - points) ** 2 + nats
    return total.argmin(axis=1), np.sort(total, axis=1)


@pytest.mark.parametrize("slope", [2.0, 30.0, 150.0])
def test_cells_are_the_cheapest_points(slope):
    X = mixed(n=20_000)
    codec, _ = ScalarQuantizers.design(SortedColumns(X), slope)
    active = [c for c in range(codec.active.size) if codec.size[c] > 1]
    assert active
    symbols = quantize(codec, np.ascontiguousarray(X[:, codec.active]))
    for c in active:
        expected, total = naive_symbols(codec, c, X[:, codec.active[c]])
        clear = total[:, 1] - total[:, 0] > 1e-9
        inside = (symbols[c] >= 0) & (symbols[c] < codec.size[c])
        assert np.mean(clear & inside) > 0.99
        np.testing.assert_array_equal(symbols[c][clear & inside], expected[clear & inside])


@pytest.mark.parametrize("slope", [5.0, 1e4])
def test_values_beyond_the_points_count_steps(slope):
    X = mixed()
    codec, _ = ScalarQuantizers.design(SortedColumns(X), slope)
    y = np.tile(np.linspace(50, 500, 999)[:, np.newaxis], codec.active.size)
    for rows in (y, -y):
        back = codec.dequantize(quantize(codec, rows), np.float64)[:, codec.active]
        assert np.abs(back - rows).max() <= codec.step / 2 * (1 + 1e-9)


def test_outer_cells_end_where_an_escape_is_cheaper():
    # An escape leaves no more than half a step of error, and takes about 12 bits more.
    codec, _ = ScalarQuantizers.design(SortedColumns(gaussian()), 2.0)
    nats = codec.tables.bits * np.log(2)
    last, size = codec.points[-1] * (codec.step / 32), codec.size[0]
    reach = np.sqrt((nats[-1] + 12 * np.log(2) - nats[-2]) / 2.0)
    assert reach > codec.step
    y = last + reach * np.array([[0.99], [1.01]])
    symbols = quantize(codec, y)[0]
    assert symbols[0] == size - 1 and symbols[1] >= size


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e300, -1e300])
def test_undefined_and_huge_values_saturate(value):
    most = 2**52
    X = mixed()
    codec, _ = ScalarQuantizers.design(SortedColumns(X), 1e4)
    symbols = quantize(codec, np.full((3, codec.active.size), value))
    expected = codec.size - 1 + most if value > 0 else np.full(codec.size.size, -most)
    np.testing.assert_array_equal(symbols, np.tile(expected[:, np.newaxis], 3))
    assert np.isfinite(codec.dequantize(symbols, np.float64)).all()
    payload = codec.tables.encode(symbols)
    np.testing.assert_array_equal(codec.tables.decode(payload, 3), symbols)


def test_any_symbol_has_a_value():
    codec, _ = ScalarQuantizers.design(SortedColumns(mixed()), 1e4)
    extreme = np.array([-(2**63), 2**63 - 1, 0])
    back = codec.dequantize(np.tile(extreme, (codec.active.size, 1)), np.float64)
    assert np.isfinite(back).all()


@pytest.mark.parametrize("n_bits", [1, 2, 5, 12])
def test_fixed_rate(n_bits):
    X = mixed()
    X[:, 1] = 7.0
    codec = ScalarQuantizers.fixed_rate(SortedColumns(X), n_bits)
    assert np.all(codec.size <= 1 << n_bits)
    rows = np.concatenate([X, np.full((1, 4), np.inf), np.full((1, 4), -np.inf), 9 * X[:50]])
    symbols = quantize(codec, rows)
    assert symbols.min() >= 0 and np.all(symbols < codec.size[:, np.newaxis])
    np.testing.assert_array_equal(codec.tables.code_length(symbols), 4.0 * n_bits)
    assert len(codec.tables.encode(symbols)) <= 40 + len(rows) * 4 * n_bits / 8 + 2
    # Nearest point, ties aside.
    points = codec.points[codec.start[2] : codec.start[3]] * (codec.step / 32)
    gaps = np.abs(X[:, 2:3] - points)
    chosen = gaps[np.arange(len(X)), symbols[2, : len(X)]]
    np.testing.assert_allclose(chosen, gaps.min(axis=1), atol=1e-12)
    undefined = quantize(codec, np.full((1, 4), np.nan))
    with pytest.raises(ValueError, match="closed"):
        codec.tables.encode(undefined)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_quantized_one_by_one_as_together(dtype):
    X = mixed().astype(dtype)
    codec, _ = ScalarQuantizers.design(SortedColumns(X.astype(np.float64)), 50.0)
    rows = np.ascontiguousarray(X[:, codec.active])
    together = quantize(codec, rows)
    alone = np.hstack([quantize(codec, rows[i : i + 1]) for i in range(100)])
    np.testing.assert_array_equal(together[:, :100], alone)
    assert codec.dequantize(together, dtype).dtype == dtype


def test_shapes_must_fit():
    codec, _ = ScalarQuantizers.design(SortedColumns(mixed()), 50.0)
    for y, out in [((5, 3), (3, 5)), ((5, 2), (2, 4)), ((5, 2), (5, 2))]:
        with pytest.raises(ValueError, match="active columns"):
            codec.quantize(np.zeros(y), np.zeros(out, dtype=np.int32))
    with pytest.raises(ValueError, match="active columns"):
        codec.dequantize(np.zeros((3, 5), dtype=np.int32), np.float64)


# States.


def good_state():
    codec, _ = ScalarQuantizers.design(SortedColumns(mixed()), 50.0)
    return codec.to_state()


def test_state_round_trip_and_its_size():
    X = mixed()
    codec, _ = ScalarQuantizers.design(SortedColumns(X), 50.0)
    again = ScalarQuantizers.from_state(codec.to_state())
    rows = np.ascontiguousarray(X[:, codec.active])
    np.testing.assert_array_equal(quantize(codec, rows), quantize(again, rows))
    state = codec.to_state()
    stored = [*state["tables"].values(), state["points"]]
    assert codec.side_information_bits() == 8 * sum(array.nbytes for array in stored)


def packed(values):
    return np.frombuffer(pack_integers(values), dtype=np.uint8)


HOSTILE = {
    "n_columns": [-1, 2, 2.0, True, 10**30, None, "4"],
    "active": [[0, 2], np.array([2, 0]), np.array([0, 0]), np.array([0, 4]), np.array([-1, 2]),
               np.array([3, -(2**63) + 1]), np.array([0.0, 2.0]), np.array([[0, 2]]), np.zeros(1)],
    "size": [np.array([0, 3]), np.array([-1, 3]), np.array([1, 2**62]), np.array([1.0, np.nan])],
    "points": [None, 10**12, b"", packed([1, 0, 0]), packed([2**40]), packed([-(2**63)])],
    "step": [0.0, -1.0, np.inf, np.nan, 1e-300, 1e300, 1, None, "0.5", np.array([0.5])],
    "slope": [0.0, -1.0, np.nan, 5e-324, 3, None],
    "tables": [None, {}, []],
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_states(name):
    good = good_state()
    assert good["active"].tolist() == [0, 2]
    for value in HOSTILE[name]:
        with pytest.raises(CorruptStreamError):
            ScalarQuantizers.from_state({**good, name: value})
    with pytest.raises(CorruptStreamError):
        ScalarQuantizers.from_state({k: v for k, v in good.items() if k != name})


@pytest.mark.parametrize(
    "points", [[0, 0], [1, 0], [0, 2**40], [-(2**40), 0], [-(2**63)], [0, 2**63 - 1]]
)
def test_impossible_points(points):
    good = good_state()
    size = np.array([good["size"][0], len(points)])
    first = ScalarQuantizers.from_state(good).points[: size[0]]
    state = {**good, "size": size, "points": packed([*first, *points]), "slope": np.inf}
    with pytest.raises(CorruptStreamError, match="points"):
        ScalarQuantizers.from_state(state)


def test_points_must_pair_with_table_entries():
    # Thresholds read one table entry a point: more points than entries would read past the end.
    good = good_state()
    size = good["size"] + np.array([0, 1], dtype=np.uint16)
    points = ScalarQuantizers.from_state(good).points
    state = {**good, "size": size, "points": packed([*points, points[-1] + 1])}
    with pytest.raises(CorruptStreamError, match="number of points"):
        ScalarQuantizers.from_state(state)
