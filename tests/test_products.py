"""Products whose rows do not depend on each other, against numpy in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdlearn.kernels.products import affine

PLAIN = settings(deadline=None, derandomize=True, max_examples=40)
DTYPES = [np.float32, np.float64]


def operands(seed, n, d, k, dtype):
    rng = np.random.default_rng(seed)
    shapes = [(n, d), (d,), (d, k), (k,)]
    return [np.ascontiguousarray(rng.normal(0, 3, shape).astype(dtype)) for shape in shapes]


def product(x, center, weights, bias):
    out = np.full((len(x), weights.shape[1]), np.nan, dtype=x.dtype)
    affine(x, center, weights, bias, out)
    return out


@pytest.mark.parametrize("dtype", DTYPES)
@PLAIN
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 20),
    st.integers(0, 30),
    st.sampled_from([0, 1, 3, 17]),
)
def test_affine_within_its_rounding_error(dtype, seed, n, d, k):
    # A sum of d + 1 terms in any order errs by at most (d + 1) u sum |terms| (Higham 2002, 4.2);
    # each product of a difference adds two roundings.
    x, center, weights, bias = operands(seed, n, d, k, dtype)
    exact = [array.astype(np.longdouble) for array in (x, center, weights, bias)]
    expected = (exact[0] - exact[1]) @ exact[2] + exact[3]
    size = np.abs(exact[0] - exact[1]) @ np.abs(exact[2]) + np.abs(exact[3])
    bound = (d + 3) * np.finfo(dtype).eps / 2 * size * 1.01
    assert np.all(np.abs(product(x, center, weights, bias) - expected) <= bound)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [0, 1, 7, 8, 9, 16, 29])
@pytest.mark.parametrize("n", [1, 30, 128, 129, 300])
def test_affine_sums_in_the_order_of_its_inputs(dtype, d, n):
    # Every product and every sum rounded by itself: the bits are the same on any machine.
    x, center, weights, bias = operands(1, n, d, 11, dtype)
    expected = np.tile(bias, (n, 1))
    for j in range(d):
        expected = expected + (x[:, j : j + 1] - center[j]) * weights[j]
    np.testing.assert_array_equal(product(x, center, weights, bias), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@PLAIN
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 20), st.integers(1, 33))
def test_a_row_does_not_depend_on_the_others(dtype, seed, d, k, block):
    x, center, weights, bias = operands(seed, 50, d, k, dtype)
    together = product(x, center, weights, bias)
    parts = [product(x[s : s + block], center, weights, bias) for s in range(0, 50, block)]
    np.testing.assert_array_equal(np.concatenate(parts), together)
    order = np.random.default_rng(seed).permutation(50)
    np.testing.assert_array_equal(product(x[order], center, weights, bias), together[order])


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_output_column_does_not_depend_on_the_others(dtype):
    x, center, weights, bias = operands(0, 9, 21, 16, dtype)
    together = product(x, center, weights, bias)
    for columns in ([3], [0, 15, 7], range(5)):
        part = product(x, center, np.ascontiguousarray(weights[:, columns]), bias[list(columns)])
        np.testing.assert_array_equal(part, together[:, columns])


@pytest.mark.parametrize("dtype", DTYPES)
def test_each_dtype_is_summed_in_itself(dtype):
    # 1 is lost beside 2**24 in float32, beside 2**53 in float64, and terms go in their order.
    large = 2.0 ** (np.finfo(dtype).nmant + 1)
    x = np.array([[large, 1, 1, 1, 1, 1, 1, 1, 1, -large]], dtype=dtype)
    ones = np.ones((10, 1), dtype=dtype)
    zeros = np.zeros(10, dtype=dtype)
    assert product(x, zeros, ones, zeros[:1])[0, 0] == 0
    assert product(np.roll(x, -1), zeros, ones, zeros[:1])[0, 0] == 8
    assert product(np.roll(x, 1), zeros, ones, zeros[:1])[0, 0] == 8
    assert product(np.sort(np.abs(x)), zeros, ones, zeros[:1])[0, 0] == 2 * large + 8


def test_read_only_and_larger_output():
    arrays = operands(0, 5, 9, 2, np.float64)
    for array in arrays:
        array.flags.writeable = False
    out = np.full((8, 2), 7.0)
    affine(*arrays, out)
    np.testing.assert_array_equal(out[:5], product(*arrays))
    assert np.all(out[5:] == 7)


def test_undefined_values_stay_in_their_row():
    arrays = operands(0, 4, 9, 3, np.float64)
    clean = product(*arrays)
    arrays[0][1, 4] = np.nan
    arrays[0][2, 8] = np.inf
    dirty = product(*arrays)
    np.testing.assert_array_equal(dirty[[0, 3]], clean[[0, 3]])
    assert not np.isfinite(dirty[1:3]).any()
