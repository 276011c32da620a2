"""Uniform noise under mixtures of logistic laws: code, rate and gradients."""

import numpy as np
import pytest
from reference import assert_slopes
from scipy import stats

from rdlearn.channels.uniform_noise import UniformNoiseChannel
from rdlearn.nets.layers import Workspace


def parameters(channel, seed=0):
    rng, flat = np.random.default_rng(seed), np.zeros(channel.n_parameters)
    channel.init(rng, flat, None)
    return flat + rng.normal(scale=0.7, size=flat.size)


def mass(z, params, c):
    """Of scipy's logistic laws."""
    share, mean, log_scale = params.reshape(3, -1, 3)[:, c]
    share = np.exp(share) / np.exp(share).sum()
    laws = [stats.logistic(m, np.exp(s)) for m, s in zip(mean, log_scale, strict=True)]
    return sum(
        p * (law.cdf(z + 0.5) - law.cdf(z - 0.5)) for p, law in zip(share, laws, strict=True)
    )


@pytest.mark.parametrize("n, places, k", [(1, 1, 1), (4, 1, 3), (3, 5, 2)])
def test_rate_against_scipy(n, places, k):
    channel = UniformNoiseChannel(k, places)
    params, rng = parameters(channel, n), np.random.default_rng(places)
    encoded = rng.normal(scale=4, size=(n, places, k))
    draw = channel.draw(rng, n)
    code, rate, _ = channel.forward(params, encoded, draw, None, Workspace())
    np.testing.assert_allclose(code, encoded + draw.reshape(encoded.shape), rtol=1e-12)
    assert np.all(np.abs(draw) <= 0.5) and draw.shape == (n, places * k)
    expected = -sum(np.log(mass(code[:, :, c], params, c)).sum(axis=1) for c in range(k))
    # scipy's differences of distribution functions cancel, to about 1e-10 here.
    np.testing.assert_allclose(rate, expected, rtol=1e-7)


def test_masses_of_all_integers_sum_to_one():
    channel = UniformNoiseChannel(1)
    params, whole = parameters(channel, 3), np.arange(-400.0, 401)[:, None]
    _, rate, _ = channel.forward(params, whole, np.zeros_like(whole), None, Workspace())
    assert np.exp(-rate).sum() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("far", [1e3, 1e6, 1e30])
def test_far_values_have_a_finite_rate_and_slope(far):
    channel = UniformNoiseChannel(1)
    params, z = parameters(channel), np.array([[far], [-far]])
    _, rate, cache = channel.forward(params, z, np.zeros_like(z), None, Workspace())
    grad = channel.backward(params, np.empty(9), np.zeros_like(z), 1.0, cache, Workspace())
    assert np.all(np.isfinite(rate)) and np.all(np.isfinite(grad)) and grad[0] > 0 > grad[1]


@pytest.mark.parametrize("n, places, k", [(1, 1, 1), (4, 1, 3), (3, 4, 2)])
def test_gradients_against_finite_differences(n, places, k):
    channel, rng = UniformNoiseChannel(k, places), np.random.default_rng(5)
    params = parameters(channel)
    encoded, weight = rng.normal(scale=3, size=(2, n, places, k))
    draw = channel.draw(rng, n).astype(np.float64)
    grads, price, work = np.full_like(params, np.nan), 0.7, Workspace()
    _, _, cache = channel.forward(params, encoded, draw, None, work)
    gradient = channel.backward(params, grads, weight, price, cache, work).copy()

    def function():
        code, rate, _ = channel.forward(params, encoded, draw, None, Workspace())
        return np.sum(weight * code) + price * rate.sum()

    assert_slopes(function, encoded, gradient, rng)
    assert_slopes(function, params, grads, rng)


def test_fits_the_law_of_its_codes():
    """By gradient steps alone, the rate comes down to the entropy of Gaussian integers."""
    channel, rng = UniformNoiseChannel(1), np.random.default_rng(0)
    whole = np.rint(rng.normal(1, 3, size=(4000, 1)))
    params, grads = np.zeros(9), np.zeros(9)
    channel.init(rng, params, None)
    for _ in range(1500):
        _, rate, cache = channel.forward(params, whole, np.zeros_like(whole), None, Workspace())
        channel.backward(params, grads, np.zeros_like(whole), 1.0, cache, Workspace())
        params -= 0.5 * grads / len(whole)
    _, counts = np.unique(whole, return_counts=True)
    # Logistic mixtures come within a hundredth of a nat of a Gaussian.
    assert stats.entropy(counts) - 1e-3 < rate.mean() < stats.entropy(counts) + 0.02
