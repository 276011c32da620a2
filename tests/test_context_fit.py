"""What the fit of a context coder finds: laws that are known, and codes for anything."""

import numpy as np
import pytest
from test_contexts import LARGEST, random_layout, random_symbols

from rdlearn.coding import planes
from rdlearn.coding.contexts import ContextCoder
from rdlearn.coding.planes import N_FEATURES


@pytest.mark.parametrize("kind", ["bands", "grid", "columns"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (12, 13)])
@pytest.mark.parametrize("content", ["zero", "one", "largest", "random", "smooth", "stripes"])
def test_fit_takes_anything(kind, shape, content):
    rng = np.random.default_rng(1)
    layout, _, _ = random_layout(rng, kind, *shape)
    size = 2, layout.n_symbols
    symbols = {
        "zero": np.zeros(size),
        "one": np.ones(size),
        "largest": np.full(size, LARGEST) * rng.choice([-1, 1], size),
        "random": random_symbols(rng, layout, 2),
        "smooth": np.tile(np.arange(size[1]), (2, 1)),
        "stripes": np.tile(9 * (np.arange(size[1]) % 2), (2, 1)),
    }[content].astype(np.int32)
    coder = ContextCoder.fit([layout], [symbols])
    assert coder.weights.min() >= 0 and coder.weights[:, -1].min() >= 1
    payload = coder.encode(layout, symbols)
    np.testing.assert_array_equal(coder.decode(layout, payload, 2), symbols)
    # Every unseen symbol has a code.
    other = random_symbols(rng, layout, 1).astype(np.int32)
    np.testing.assert_array_equal(coder.decode(layout, coder.encode(layout, other), 1), other)


def test_fit_counts_decisions_and_signs():
    # One bin, 3000 symbols: shares of buckets and signs come back within five standard errors.
    rng = np.random.default_rng(2)
    layout = planes.columns(3000, ((),))
    q = np.minimum(rng.geometric(0.3, 3000) - 1, 30) * np.where(rng.random(3000) < 0.2, -1, 1)
    coder = ContextCoder.fit([layout], [q.astype(np.int32)[None]])
    _, tables = coder._residuals(layout, q.astype(np.int32)[None])
    (table,) = np.unique(tables)
    np.testing.assert_allclose(coder.prob[table, :4] / 2**16, 0.3, atol=5 * 0.46 / 1000**0.5)
    assert coder.negative[0] / 2**16 == pytest.approx(0.2, abs=5 * 0.4 / 2100**0.5)
    bits = coder.code_length(layout, q.astype(np.int32)[None]).sum()
    shares = np.unique(q, return_counts=True)[1] / q.size
    assert bits <= -(shares @ np.log2(shares)) * q.size + 60


def test_fit_over_several_sizes_is_one_coder():
    rng = np.random.default_rng(3)
    layouts = [planes.bands(h, w, 3, 2) for h, w in ((8, 8), (5, 17), (1, 1))]
    symbols = [random_symbols(rng, layout, n, 9) for n, layout in enumerate(layouts, start=1)]
    symbols = [part.astype(np.int32) for part in symbols]
    coder = ContextCoder.fit(layouts, symbols)
    for layout, part in zip(layouts, symbols, strict=True):
        decoded = coder.decode(layout, coder.encode(layout, part), len(part))
        np.testing.assert_array_equal(decoded, part)


def test_without_causes_a_group_has_one_table():
    rng = np.random.default_rng(8)
    layout = planes.bands(12, 11, 2, 2)
    symbols = random_symbols(rng, layout, 2, 99).astype(np.int32)
    coder = ContextCoder.fit([layout], [symbols], causal=False)
    _, tables = coder._residuals(layout, symbols)
    size, group = layout.planes[:, 2:4].prod(axis=1), layout.planes[:, 7]
    np.testing.assert_array_equal(tables, np.tile(26 * np.repeat(group, size), (2, 1)))
    np.testing.assert_array_equal(coder.decode(layout, coder.encode(layout, symbols), 2), symbols)


def drawn(rng, mean):
    """Symbols whose magnitudes are geometric: of variance m (1 + m)."""
    return (rng.geometric(1 / (1 + mean)) - 1) * rng.choice([-1, 1], mean.shape)


def test_weights_of_columns_come_back():
    rng, n = np.random.default_rng(4), 60_000
    # Rarely as large as the cut at 15.
    first, second = (drawn(rng, np.full(n, mean)) for mean in (0.6, 0.3))
    true = np.array([0.35, 0.8, 0.05])
    x = np.column_stack([abs(first), abs(second), np.ones(n)])
    symbols = np.concatenate([first, second, drawn(rng, x @ true)]).astype(np.int32)[None]
    layout = planes.columns(n, ((), (), (0, 1)))
    weights = ContextCoder.fit([layout], [symbols]).weights[2] / 2**12
    mean = x @ true
    covariance = np.linalg.inv((x / (mean * (1 + mean))[:, None]).T @ x)
    # The places that the fit looks at are drawn with repetition: twice the variance.
    error = np.sqrt(2 * np.diag(covariance)) + 2.0**-13
    assert (abs(weights[[2, 3, -1]] - true) < 5 * error).all()
    assert not np.delete(weights, [2, 3, -1]).any()


def test_weights_of_a_grid_come_back():
    rng, height, width = np.random.default_rng(6), 150, 300
    q = np.zeros((2, height + 2, width + 4), dtype=np.int64)
    q[0, 2:, 2:-2] = drawn(rng, np.full((height, width), 0.7))
    for i in range(2, height + 2):
        for j in range(2, width + 2):
            left, above, cross = q[1, i, j - 1], q[1, i - 1, j], q[0, i - 1, j]
            mean = 0.3 * abs(left) + 0.2 * abs(above) + 0.15 * abs(cross) + 0.1
            mean += 0.15 * (abs(q[0, i, j - 1]) + abs(q[0, i, j + 1]))
            if i < height + 1:
                mean += 0.15 * abs(q[0, i + 1, j])
            q[1, i, j] = (rng.geometric(1 / (1 + mean)) - 1) * rng.choice([-1, 1])
    layout = planes.grid(height, width, ((), (0,)))
    symbols = q[:, 2:, 2:-2].reshape(1, -1).astype(np.int32)
    weights = ContextCoder.fit([layout], [symbols]).weights[1] / 2**12
    expected = np.zeros(N_FEATURES)
    expected[[0, 2, planes.OTHERS + 1, -1]] = 0.3, 0.2, 0.15, 0.1
    # A weight's error is that of a mean of 45,000 magnitudes of standard deviation about 1.
    np.testing.assert_allclose(weights, expected, atol=5 * np.sqrt(2 / 45_000))


def test_weights_see_cut_magnitudes_of_what_is_coded():
    rng, n = np.random.default_rng(7), 20_000
    large = rng.random(n) < 0.5
    symbols = np.concatenate([300 * large, drawn(rng, np.where(large, 3.1, 0.1))])
    layout = planes.columns(n, ((), (0,)))
    weights = ContextCoder.fit([layout], [symbols.astype(np.int32)[None]]).weights[1] / 2**12
    # 300 counts as 15: 10,000 magnitudes of variance 3.1 * 4.1.
    assert weights[2] == pytest.approx(3 / 15, abs=5 * (2 * 3.1 * 4.1 / 10_000) ** 0.5 / 15)
    flat = planes.bands(30, 30, 1, 0)
    constant = np.full((1, flat.n_symbols), 9, dtype=np.int32)
    # Differences of a smooth plane, of which all but one are 0.
    assert ContextCoder.fit([flat], [constant]).weights.sum() < 0.05 * 2**12
