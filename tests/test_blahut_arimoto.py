"""Blahut-Arimoto: closed forms, bounds, a naive iteration, refusals."""

import math

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning

from rdlearn import blahut_arimoto
from rdlearn.information import binary_rate_bits, gaussian_rate_bits

HAMMING = 1.0 - np.eye(2)
GRID = np.linspace(-4, 4, 128)
NORMAL = np.exp(-(GRID**2) / 2) / np.exp(-(GRID**2) / 2).sum()
SQUARES = (GRID[:, None] - GRID) ** 2


# Closed forms.


@pytest.mark.parametrize("p", [0.5, 0.3, 0.1, 0.01])
@pytest.mark.parametrize("beta", [0.01, 0.5, 2.0, 4.0, 9.0])
def test_binary_source(p, beta):
    point = blahut_arimoto([1 - p, p], HAMMING, beta)
    # D = 1 / (1 + exp(beta)) until the best constant is as good.
    distortion = min(1 / (1 + math.exp(beta)), p)
    assert point.distortion == pytest.approx(distortion, abs=1e-6)
    assert point.rate_bits == pytest.approx(binary_rate_bits(p, distortion), abs=1e-5)
    value = binary_rate_bits(p, distortion) * math.log(2) + beta * distortion
    assert point.lower_bound - 1e-12 <= value <= point.upper_bound + 1e-12


@pytest.mark.parametrize("beta", [1.0, 2.0, 5.0, 20.0])
def test_gaussian_on_a_grid(beta):
    point = blahut_arimoto(NORMAL, SQUARES, beta)
    # Steps of 0.063 and tails of 6e-5: close to the source on the line where D is far above the
    # square of a step, 0.004.
    assert point.distortion == pytest.approx(0.5 / beta, rel=2e-3)
    assert point.rate_bits == pytest.approx(gaussian_rate_bits([1.0], 0.5 / beta), abs=2e-3)


@pytest.mark.parametrize("beta, low, high", [(2.0, 1.456247, 1.456250), (8.0, 2.456225, 2.456227)])
def test_published_bounds_of_the_gaussian_grid(beta, low, high):
    # beta in bits per unit, value in bits.
    point = blahut_arimoto(NORMAL, SQUARES, beta * math.log(2))
    assert low - 1e-6 <= point.lower_bound / math.log(2) <= point.upper_bound / math.log(2)
    assert point.upper_bound / math.log(2) <= high + 1e-6


@pytest.mark.parametrize("n", [2, 3, 8])
@pytest.mark.parametrize("beta", [0.0, 0.3, 3.0])
def test_erasures(n, beta):
    # Reproduced rightly, or not at all at a cost of 1: R(D) = (1 - D) log n for D up to 1.
    matrix = np.full((n, n + 1), np.inf)
    matrix[np.arange(n), np.arange(n)], matrix[:, n] = 0.0, 1.0
    point = blahut_arimoto(np.full(n, 1 / n), matrix, beta)
    assert point.upper_bound == pytest.approx(min(beta, math.log(n)), abs=2e-9)
    assert point.rate_bits == pytest.approx((1 - point.distortion) * math.log2(n), abs=1e-6)
    assert np.all(point.p_y_given_x[~np.isfinite(matrix)] == 0)


@pytest.mark.parametrize("beta", [0.0, 1.0, 5.0])
def test_zeros_that_must_stay_zeros(beta):
    # p(1) = 1/2, a zero may not become a one: at beta = 0 nothing is said.
    point = blahut_arimoto([0.5, 0.5], [[0, np.inf], [1, 0]], beta)
    flip = point.p_y_given_x[1, 0]
    assert point.distortion == pytest.approx(0.5 * flip, abs=1e-12)

    def entropy(p):
        return -sum(x * math.log2(x) for x in (p, 1 - p) if x > 0)

    q = 0.5 * (1 + flip)
    assert point.rate_bits == pytest.approx(entropy(q) - 0.5 * entropy(flip), abs=1e-9)
    if beta == 0:
        assert point.rate_bits < 1e-8


# Any source.


def cases():
    return st.tuples(
        st.integers(1, 12),
        st.integers(1, 12),
        st.floats(-4, 4),
        st.sampled_from(["uniform", "ties", "forbidden", "lines", "zero"]),
        st.integers(0, 2**32 - 1),
    )


def draw_case(n, m, log_beta, kind, seed):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(n, rng.choice([0.05, 1.0, 50.0])))
    d = rng.random((n, m))
    if kind == "ties":
        d = np.round(3 * d)
    if kind == "forbidden":
        d[rng.random((n, m)) < 0.5] = np.inf
        d[np.arange(n), rng.integers(m, size=n)] = 0.5
    if kind == "lines":
        d = np.abs(rng.normal(size=n)[:, None] - rng.normal(size=m))
    if kind == "zero":
        d = 0 * d
    return p, d, 10.0**log_beta


@given(cases())
@settings(deadline=None, max_examples=150)
def test_bounds_hold_and_meet(case):
    p, d, beta = draw_case(*case)
    point = blahut_arimoto(p, d, beta)
    assert point.converged and 0 <= point.gap <= 1e-9
    channel = point.p_y_given_x
    np.testing.assert_allclose(channel.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(p @ channel, point.p_y, atol=1e-15)
    rate, distortion = reference.naive_rate_distortion(p, channel, d)
    assert point.rate_bits * math.log(2) == pytest.approx(rate, abs=1e-11)
    assert point.distortion == pytest.approx(distortion, rel=1e-12)
    # No channel is below: neither any at random, nor what plain iterations reach.
    for law in (point.p_y, *reference.blahut_laws(p, d, beta, 50)):
        value = reference.naive_lagrangian(p, d, beta, law)
        assert value >= point.lower_bound - 1e-12 * max(1, abs(value))


@given(cases())
@settings(deadline=None, max_examples=30)
def test_plain_iterations_come_down_to_the_same_value(case):
    p, d, beta = draw_case(*case)
    beta = min(beta, 30.0)
    value = reference.naive_lagrangian(p, d, beta, reference.blahut_laws(p, d, beta, 3000)[-1])
    # Plain iterations err by at most log(letters) / steps.
    allowed = math.log(d.shape[1]) / 3000 + 1e-9
    assert value - allowed <= blahut_arimoto(p, d, beta).upper_bound <= value + 1e-9


def test_a_start_nearby_changes_nothing_but_steps():
    rng = np.random.default_rng(0)
    p, d = rng.dirichlet(np.ones(30)), rng.random((30, 20))
    fresh = blahut_arimoto(p, d, 5.0)
    for law in (fresh.p_y, np.eye(20)[3]):
        again = blahut_arimoto(p, d, 5.0, p_y=law)
        assert again.upper_bound == pytest.approx(fresh.upper_bound, abs=2e-9)


def test_symbols_of_probability_zero_change_nothing():
    rng = np.random.default_rng(1)
    p, d = rng.dirichlet(np.ones(5)), rng.random((7, 6))
    d[5:] = [[np.inf] * 6, [0.0] * 6]
    point, other = blahut_arimoto([*p, 0, 0], d, 3.0), blahut_arimoto(p, d[:5], 3.0)
    assert (point.rate_bits, point.distortion) == (other.rate_bits, other.distortion)
    np.testing.assert_allclose(point.p_y_given_x.sum(axis=1), 1, rtol=1e-12)


def test_too_few_steps_warn_and_the_bounds_still_hold():
    best = blahut_arimoto(NORMAL, SQUARES, 3.0).upper_bound
    with pytest.warns(ConvergenceWarning, match=r"apart after 3 steps, above tol=1e-09; raise max"):
        point = blahut_arimoto(NORMAL, SQUARES, 3.0, max_iter=3)
    assert not point.converged and point.n_iter == 3 and point.gap > 1e-9
    assert point.lower_bound <= best <= point.upper_bound + 1e-12


@pytest.mark.parametrize(
    "p, d, beta, words",
    [
        ([0.5, 0.6], HAMMING, 1.0, "p_x sums to 1.1; divide"),
        ([5, 5], HAMMING, 1.0, "p_x sums to 10; divide"),
        ([1.5, -0.5], HAMMING, 1.0, "p_x holds -0.5"),
        ([np.nan, 1], HAMMING, 1.0, "p_x holds nan"),
        ([1.0], HAMMING, 1.0, r"p_x has shape \(1,\), but 2 prob"),
        ([0.5, 0.5], np.zeros(2), 1.0, r"distortion_matrix has shape \(2,\); it needs a row"),
        ([0.5, 0.5], np.zeros((2, 0)), 1.0, r"has shape \(2, 0\)"),
        ([0.5, 0.5], [[0, np.nan], [1, 0]], 1.0, "holds nan in row 0, column 1"),
        ([0.5, 0.5], [[0, 1], [-np.inf, 0]], 1.0, "holds -inf in row 1, column 0"),
        ([0.5, 0.5], [[0, 1], [np.inf, np.inf]], 1.0, "Row 1 .* inf throughout.*allow"),
        ([0.5, 0.5], HAMMING, -1.0, "beta=-1.0 must be a finite"),
        ([0.5, 0.5], HAMMING, np.inf, "beta=inf must be a finite"),
        ([0.5, 0.5], HAMMING, np.nan, "beta=nan must be a finite"),
    ],
)
def test_unusable_arguments_are_named(p, d, beta, words):
    with pytest.raises(ValueError, match=words):
        blahut_arimoto(p, d, beta)


def test_an_unusable_start_is_named():
    with pytest.raises(ValueError, match="p_y sums to 2; divide"):
        blahut_arimoto([0.5, 0.5], HAMMING, 1.0, p_y=[1, 1])


@pytest.mark.parametrize(
    "params, error, words",
    [
        ({"max_iter": 0}, ValueError, "max_iter == 0, must be >= 1"),
        ({"tol": -1}, ValueError, "tol=-1 must be a number above 0"),
        ({"tol": math.nan}, ValueError, "tol=nan"),
        ({"beta": "a"}, ValueError, "beta='a' must be a finite number"),
        ({"beta": None}, ValueError, "beta=None"),
    ],
)
def test_unusable_numbers_are_named(params, error, words):
    with pytest.raises(error, match=words):
        blahut_arimoto(**({"p_x": [0.5, 0.5], "distortion_matrix": HAMMING, "beta": 1.0} | params))
