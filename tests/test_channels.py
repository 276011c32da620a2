import math

import numpy as np
import pytest
from reference import naive_echo
from scipy import stats

from rdlearn.channels.echo import EchoChannel
from rdlearn.channels.gaussian import GaussianChannel


def encoded_batch(n, k, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal((n, 2 * k)).astype(dtype)


def echo_pass(channel, encoded, tail, seed=3):
    return channel.forward(encoded, np.random.default_rng(seed), tail)


@pytest.mark.parametrize("kind", ["echo", "gaussian"])
@pytest.mark.parametrize("n, k", [(1, 1), (2, 3), (6, 2)])
def test_gradients_against_finite_differences(kind, n, k):
    encoded, rng = encoded_batch(n, k), np.random.default_rng(5)
    weight, price = rng.standard_normal((n, k)), rng.uniform(0.2, 2.0, n)
    tail = rng.standard_normal(k)

    def forward():
        noise = np.random.default_rng(3)
        if kind == "echo":
            return EchoChannel(clip=0.9).forward(encoded, noise, tail)
        return GaussianChannel().forward(encoded, noise)

    channel = EchoChannel(clip=0.9) if kind == "echo" else GaussianChannel()
    _, _, cache = forward()
    gradient = channel.backward(weight, price, cache)
    step = 1e-5
    for index in np.ndindex(*encoded.shape):
        kept, values = encoded[index], []
        for sign in (1, -1):
            encoded[index] = kept + sign * step
            code, rate, _ = forward()
            values.append(np.sum(weight * code) + price @ rate)
        encoded[index] = kept
        difference = (values[0] - values[1]) / (2 * step)
        assert gradient[index] == pytest.approx(difference, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("n, k, clip", [(1, 2, 0.5), (4, 1, 0.9995), (9, 3, 0.99)])
@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_echo_is_the_exclusive_product_sum(n, k, clip, dtype, tolerance):
    encoded = encoded_batch(n, k, dtype=dtype)
    tail = np.linspace(-1, 1, k).astype(dtype)
    code, rate, (order, scale, noise) = echo_pass(EchoChannel(clip), encoded, tail)
    assert code.dtype == rate.dtype == dtype and sorted(order) == list(range(n))
    expected = naive_echo(encoded, order, tail, clip)
    for ours, theirs in zip((code, rate, scale, noise), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("s", [0.1, 0.6, 0.95, 0.9995])
@pytest.mark.parametrize("k", [1, 4])
def test_rate_of_a_constant_scale_is_closed_form(s, k):
    # b so large that sigmoid(b) is 1: S is the clip.
    encoded = np.concatenate([np.ones((6, k)), np.full((6, k), 60.0)], axis=1)
    _, rate, _ = echo_pass(EchoChannel(clip=s), encoded, np.zeros(k))
    np.testing.assert_allclose(rate, -k * math.log(s), rtol=1e-12, atol=1e-15)


def chained(s, n_batches, batch, seed):
    """Codes and noise of x ~ N(0, 1) with f = x, S = s, one row of each batch (independent)."""
    rng, channel = np.random.default_rng(seed), EchoChannel(clip=s)
    tail, codes, noises = np.zeros(1), [], []
    for _ in range(n_batches):
        x = rng.standard_normal((batch, 1))
        encoded = np.concatenate([x, np.full((batch, 1), 60.0)], axis=1)
        code, _, cache = channel.forward(encoded, rng, tail)
        tail = channel.next_tail(code, cache)
        codes.append(code[0, 0])
        noises.append(cache[2][0, 0])
    return np.array(codes), np.array(noises)


@pytest.mark.parametrize("s", [0.3, 0.8, 0.95])
def test_code_and_noise_share_their_law(s):
    # Rows of different batches: correlation s**batch at most, so nearly independent draws.
    codes, noises = chained(s, 20_000, 40, seed=1)
    codes, noises = codes[100:], noises[100:]
    half = len(codes) // 2
    assert stats.ks_2samp(codes[:half], noises[half:]).pvalue > 1e-3
    # Var(eps) = Var f / (1 - s**2) when E f = 0.
    expected = 1 / (1 - s * s)
    standard_error = expected * math.sqrt(2 / len(noises))
    assert abs(noises.var() - expected) < 5 * standard_error


def test_a_row_is_never_its_own_noise():
    n, k = 7, 2
    base = encoded_batch(n, k)
    tail = np.ones(k)
    for row in range(n):
        moved = base.copy()
        moved[row] += 10.0
        _, _, (_, _, before) = echo_pass(EchoChannel(), base, tail)
        _, _, (_, _, after) = echo_pass(EchoChannel(), moved, tail)
        np.testing.assert_array_equal(before[row], after[row])


def test_the_stored_code_is_the_one_with_the_longest_chain():
    encoded, tail = encoded_batch(5, 2), np.zeros(2)
    channel = EchoChannel()
    code, _, cache = echo_pass(channel, encoded, tail)
    stored = channel.next_tail(code, cache)
    moved = echo_pass(channel, encoded + 1.0, tail)[0]
    assert np.array_equal(stored, code[cache[0][0]]) and not np.shares_memory(stored, code)
    # It hears of every row: all of them move it.
    for row in range(5):
        other = encoded.copy()
        other[row, :2] += 1.0
        changed, _, again = echo_pass(channel, other, tail)
        assert not np.array_equal(channel.next_tail(changed, again), stored)
    assert not np.array_equal(moved, code)


def test_gaussian_rate_is_the_divergence():
    encoded = encoded_batch(20_000, 1, seed=4)
    encoded[:] = [0.7, -0.4]
    code, rate, _ = GaussianChannel().forward(encoded, np.random.default_rng(0))
    posterior, prior = stats.norm(0.7, math.exp(-0.4)), stats.norm(0, 1)
    terms = posterior.logpdf(code[:, 0]) - prior.logpdf(code[:, 0])
    assert rate[0] == pytest.approx(terms.mean(), abs=5 * terms.std() / math.sqrt(len(terms)))
    assert stats.kstest(code[:, 0], posterior.cdf).pvalue > 1e-3
