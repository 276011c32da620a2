"""The echo channel with white noise: its chain, its exact rate, its gradient."""

import math

import numpy as np
import pytest
from reference import assert_slopes
from scipy import stats

from rdlearn.channels.echo import MEMORY, EchoChannel
from rdlearn.kernels import cpu
from rdlearn.kernels.echo import echo_chain
from rdlearn.kernels.whitening import MARGIN
from rdlearn.nets.layers import Workspace

NONE = np.zeros(0)


def naive_mixing(f, sigma):
    """Inverse Cholesky factor of the covariance of codes f + sigma * white noise."""
    square = (1 + MARGIN) * (sigma**2).mean(axis=0)
    covariance = np.atleast_2d(np.cov(f.T, bias=True)) + np.diag(square)
    return np.linalg.inv(np.linalg.cholesky(covariance))


def run(channel, batches, seed=0):
    """Codes, rates, noises of batches of encoder outputs, and the last state."""
    rng, work, state = np.random.default_rng(seed), Workspace(), None
    state = channel.start(np.float64, cpu)
    out = []
    for encoded in batches:
        draw = channel.draw(rng, len(encoded))
        code, rate, cache = channel.forward(NONE, encoded, draw, state, work)
        state = channel.keep(code, cache, state)
        out.append((code.copy(), rate.copy(), cache[5].copy()))
    return [np.concatenate(parts) for parts in zip(*out, strict=True)], state


@pytest.mark.parametrize("n, k", [(2, 1), (9, 3), (40, 5)])
@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 2e-4), (np.float64, 1e-10)])
def test_the_first_batch_is_its_definition(n, k, dtype, tolerance):
    rng, channel = np.random.default_rng(n), EchoChannel(k)
    encoded = rng.standard_normal((n, 2 * k)).astype(dtype)
    encoded[0, -1] = 9.0
    draw = channel.draw(rng, n)
    state = channel.start(dtype, cpu)
    code, rate, cache = channel.forward(NONE, encoded, draw, state, Workspace())
    f, log_sigma = np.split(encoded.astype(np.float64), 2, axis=1)
    sigma = np.exp(np.minimum(log_sigma, 2.0))
    mixing, last = naive_mixing(f, sigma), np.zeros(k)
    assert code.dtype == rate.dtype == dtype and sorted(draw) == list(range(n))
    for i in draw[::-1]:
        noise = mixing @ (last - f.mean(axis=0))
        last = f[i] + sigma[i] * noise
        np.testing.assert_allclose(cache[5][i], noise, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(code[i], last, rtol=tolerance, atol=tolerance)
    expected = -np.log(sigma).sum(axis=1) - np.linalg.slogdet(mixing)[1]
    np.testing.assert_allclose(rate, expected, rtol=tolerance, atol=tolerance)
    # The kernel of inference agrees: the same codes and rates from the same noise.
    told = EchoChannel(k, log_det=np.linalg.slogdet(mixing)[1])
    for ours, theirs in zip(
        told.code(NONE, encoded, cache[5], Workspace()), (code, rate), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def test_no_row_is_in_its_own_noise():
    n, k = 7, 3
    rng = np.random.default_rng(0)
    encoded, order = rng.standard_normal((n, 2 * k)), rng.permutation(n)
    mixing, mean, tail = np.tril(rng.standard_normal((k, k))), np.zeros(k), np.ones(k)

    def noise(encoded):
        parts = [np.empty((n, k)) for _ in range(3)]
        echo_chain(encoded, order, tail, mean, mixing, *parts, np.empty(n))
        return parts[2]

    for row in range(n):
        moved = encoded.copy()
        moved[row] += 1.0
        np.testing.assert_array_equal(noise(moved)[row], noise(encoded)[row])


def gaussian_batches(covariance, sigma, n_batches, batch=100, seed=1):
    rng, k = np.random.default_rng(seed), len(covariance)
    factor = np.linalg.cholesky(covariance)
    for _ in range(n_batches):
        f = rng.standard_normal((batch, k)) @ factor.T + 2.0
        yield np.concatenate([f, np.tile(np.log(sigma), (batch, 1))], axis=1)


COVARIANCE = np.array([[2.0, 0.9, 0.0], [0.9, 1.0, -0.3], [0.0, -0.3, 0.5]])


@pytest.mark.parametrize("sigma", [[0.1, 0.3, 0.2], [1.0, 0.5, 2.0], [4.0, 0.2, 1.0]])
def test_rate_of_a_gaussian_source_is_its_information(sigma):
    batches = gaussian_batches(COVARIANCE, sigma, 1200)
    (_, rate, noise), _ = run(EchoChannel(3), batches)
    square = np.diag(np.square(sigma))
    # I(X; Z) of z = f + N(0, diag(sigma**2)), in closed form.
    expected = 0.5 * np.linalg.slogdet((COVARIANCE + square) @ np.linalg.inv(square))[1]
    rate = rate[200 * 100 :].mean()
    # Moments of about MEMORY batches of 100 rows: log det errs by sqrt(2 k / rows), and by
    # k (k + 1) / (2 rows) in the mean.
    rows = 2 * MEMORY * 100
    # The margin, and the larger of a batch's and the memory's sigma, add at most this.
    margin = 3 * 0.5 * MARGIN
    error = 5 * math.sqrt(6 / rows) / math.sqrt(5) + 1e-3
    assert expected - error < rate < expected + error + margin
    # The noise is white, whatever the code: at five standard errors of 100,000 draws that
    # depend on each other by at most the part of the noise that comes from noise.
    noise = noise[200 * 100 :]
    part = max(s * s / (s * s + v) for s, v in zip(sigma, np.diag(COVARIANCE), strict=True))
    error = math.sqrt((1 + part) / (1 - part) / len(noise))
    assert np.abs(noise.mean(axis=0)).max() < 6 * error + 0.01
    assert np.abs(np.cov(noise.T) - np.eye(3)).max() < 6 * math.sqrt(2) * error + 0.02


@pytest.mark.parametrize("sigma", [0.2, 1.0, 5.0])
def test_code_and_noise_share_their_law_up_to_the_mixing(sigma):
    rng = np.random.default_rng(3)
    f = rng.exponential(size=(3000, 100, 1)) - 1
    batches = [np.concatenate([x, np.full_like(x, math.log(sigma))], axis=1) for x in f]
    (code, _, noise), state = run(EchoChannel(1), batches)
    # The first row of every second batch: hardly dependent, since signal comes in all the time.
    code, noise = (a[300 * 100 :: 100][:, 0] for a in (code, noise))
    white = (code - state.mean[0]) / math.sqrt(state.scatter[0, 0] + state.square[0])
    half = len(code) // 2
    assert stats.ks_2samp(white[:half], noise[half:]).pvalue > 1e-3


@pytest.mark.parametrize("n, k", [(2, 1), (6, 2), (30, 4)])
def test_gradient_moves_code_and_moments(n, k):
    rng, channel = np.random.default_rng(7), EchoChannel(k)
    encoded, state = 0.5 * rng.standard_normal((n, 2 * k)), channel.start(np.float64, cpu)
    weight, price = rng.standard_normal((n, k)), 0.7
    draw = channel.draw(rng, n)
    _, _, cache = channel.forward(NONE, encoded, draw, state, Workspace())
    gradient = channel.backward(NONE, NONE, weight, price, cache, Workspace())
    precision, noise = cache[3], cache[5].copy()
    mean = encoded[:, :k].mean(axis=0)

    def function():
        # Noise as given; the rate is the divergence from N(mean, correlations of the code).
        f, log_sigma = np.split(encoded, 2, axis=1)
        code = f + np.exp(log_sigma) * noise
        square = np.einsum("ij,jk,ik->", f - mean, precision, f - mean)
        square += np.sum(np.exp(2 * log_sigma) * np.diag(precision))
        return np.sum(weight * code) + price * (square / 2 - log_sigma.sum())

    assert_slopes(function, encoded, gradient.copy(), rng)
    # Correlations: the inverse of the precision has a unit diagonal.
    np.testing.assert_allclose(np.diag(np.linalg.inv(precision)), 1.0, rtol=1e-9)


def test_the_state_holds_the_longest_chain_and_forgets_it_between_epochs():
    channel, rng = EchoChannel(2), np.random.default_rng(0)
    encoded, state = rng.standard_normal((5, 4)), channel.start(np.float64, cpu)
    draw = channel.draw(rng, 5)
    code, _, cache = channel.forward(NONE, encoded, draw, state, Workspace())
    kept = channel.keep(code, cache, state)
    assert np.array_equal(kept.tail, code[draw[0]]) and kept.n_batches == 1
    assert not np.shares_memory(kept.tail, code)
    again = channel.start(np.float64, cpu, kept)
    assert not again.tail.any() and again.n_batches == 1
    np.testing.assert_array_equal(again.scatter, kept.scatter)


@pytest.mark.parametrize("growth", [1.0, 1.015])
def test_noise_does_not_grow_where_hardly_anything_is_signal(growth):
    rng, k = np.random.default_rng(0), 4
    batches = []
    for number in range(300):
        f = 1e-3 * rng.standard_normal((100, k))
        log_sigma = math.log(growth) * min(number, 100) + 0.1 * rng.standard_normal((100, k))
        batches.append(np.concatenate([f, log_sigma], axis=1))
    (code, rate, noise), _ = run(EchoChannel(k), batches)
    # White noise of long memory: its mean square over the last batches stays of order one.
    assert np.isfinite(code).all() and np.mean(noise[-5000:] ** 2) < 3
    # What is left of the rate: a floor of log(1 + margin) / 2 for every component, the spread of
    # log sigma, whose mean square exceeds its geometric mean by 0.01, and what the larger of two
    # estimates of that mean square exceeds it by, on average less than half of 0.02.
    floor = 0.5 * math.log(1 + MARGIN) + 0.01
    assert k * floor * 0.95 < rate[-5000:].mean() < k * (floor + 0.01)
