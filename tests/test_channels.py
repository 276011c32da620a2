import math

import numpy as np
import pytest
from reference import assert_slopes, central_difference, naive_echo
from scipy import stats

from rdlearn.channels.diagonal_echo import DiagonalEchoChannel, truncation_clip
from rdlearn.channels.flow import FlowChannel
from rdlearn.channels.gaussian import GaussianChannel
from rdlearn.kernels import cpu, get_ops
from rdlearn.nets.adam import Adam
from rdlearn.nets.layers import Workspace

NONE = np.zeros(0)
# log-odds so large that their sigmoid is 1: S is the clip.
FULL = 60.0


def encoded_batch(n, n_outputs, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal((n, n_outputs)).astype(dtype)


def present(channel):
    """Which entries of a channel's parameters are not masked."""
    mask = np.ones(channel.n_parameters, dtype=bool)
    if isinstance(channel, FlowChannel):
        for step, views in channel._split(mask):
            for layer, part in zip(step.layers, views, strict=True):
                part["weights"][:] = layer.mask
    return mask


def parameters(channel, dtype=np.float64):
    """Parameters away from where a fresh channel has them; what is masked stays zero."""
    # Not far away: gates must not close, or the flow cannot be inverted.
    flat, rng = np.zeros(channel.n_parameters, dtype=dtype), np.random.default_rng(1)
    last = {"weights": np.zeros((4, channel.n_outputs)), "bias": np.zeros(channel.n_outputs)}
    channel.init(rng, flat, last)
    flat += 0.1 * present(channel) * rng.standard_normal(flat.size)
    return flat


CHANNELS = {
    "echo": (lambda k: DiagonalEchoChannel(k, clip=0.9), [(1, 1), (2, 3), (6, 2)]),
    "echo of 1 term": (lambda k: DiagonalEchoChannel(k, 1, 0.9), [(2, 1), (6, 2)]),
    "echo of 4 terms": (lambda k: DiagonalEchoChannel(k, 4), [(5, 2), (9, 3)]),
    "gaussian": (GaussianChannel, [(1, 1), (2, 3), (6, 2)]),
    "flow of 1 step": (lambda k: FlowChannel(k, 1), [(1, 1), (4, 2), (3, 5)]),
    "flow of 2 steps": (lambda k: FlowChannel(k, 2), [(3, 1), (1, 2), (3, 5)]),
    "flow of 4 steps": (lambda k: FlowChannel(k, 4), [(2, 1), (3, 2), (2, 5)]),
}


@pytest.mark.parametrize(
    "name, shape", [(name, shape) for name, (_, shapes) in CHANNELS.items() for shape in shapes]
)
def test_gradients_against_finite_differences(name, shape):
    (n, k), rng = shape, np.random.default_rng(5)
    channel = CHANNELS[name][0](k)
    params, encoded = parameters(channel), encoded_batch(n, channel.n_outputs)
    weight, price, tail = rng.standard_normal((n, k)), 0.7, rng.standard_normal(k)
    draw = channel.draw(rng, n)
    if draw.dtype == np.float32:
        draw = draw.astype(np.float64)
    grads, work = np.full_like(params, np.nan), Workspace()
    _, _, cache = channel.forward(params, encoded, draw, tail, work)
    gradient = channel.backward(params, grads, weight, price, cache, work)

    def function():
        code, rate, _ = channel.forward(params, encoded, draw, tail, Workspace())
        return np.sum(weight * code) + price * rate.sum()

    assert_slopes(function, encoded, gradient.copy(), rng)
    if params.size:
        # Absent weights are no parameters, though they would move the function.
        mask = present(channel)
        small = params[mask]

        def by_parameters():
            params[mask] = small
            return function()

        assert not grads[~mask].any()
        assert_slopes(by_parameters, small, grads[mask], rng)


def echo_pass(channel, encoded, tail, seed=3):
    """Code, rate, order, scale, noise."""
    draw = channel.draw(np.random.default_rng(seed), len(encoded))
    code, rate, (order, *rest) = channel.forward(NONE, encoded, draw, tail, Workspace())
    assert order is draw
    return code, rate, draw, *rest


@pytest.mark.parametrize(
    "n, k, n_terms, clip",
    [
        (1, 2, None, 0.5),
        (4, 1, None, 0.9995),
        (9, 3, None, 0.99),
        (2, 1, 1, 0.9),
        (5, 2, 4, 0.99),
        (9, 3, 3, 0.95),
        (40, 2, 30, None),
    ],
)
@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_echo_is_the_exclusive_product_sum(n, k, n_terms, clip, dtype, tolerance):
    encoded = encoded_batch(n, 2 * k, dtype=dtype)
    tail = np.linspace(-1, 1, k).astype(dtype)
    channel = DiagonalEchoChannel(k, n_terms, clip)
    code, rate, order, scale, noise = echo_pass(channel, encoded, tail)
    assert code.dtype == rate.dtype == dtype and sorted(order[:n]) == list(range(n))
    # Rows are named again in the order in which they came.
    np.testing.assert_array_equal(order[n:], order[: n_terms or 0])
    assert len(order) == n + (n_terms or 0)
    expected = naive_echo(encoded, order, tail, clip or truncation_clip(n_terms))
    for ours, theirs in zip((code, rate, scale, noise), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(np.exp(channel.split(encoded)[1])[order], scale, rtol=tolerance)
    # The kernel of inference agrees: the same codes from the same noise.
    own = np.empty_like(code)
    own[order[:n]] = noise[:n]
    for ours, theirs in zip(
        channel.code(NONE, encoded, own, Workspace()), (code, rate), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("s", [0.1, 0.6, 0.95, 0.9995])
@pytest.mark.parametrize("k", [1, 4])
def test_rate_of_a_constant_scale_is_closed_form(s, k):
    encoded = np.concatenate([np.ones((6, k)), np.full((6, k), FULL)], axis=1)
    for n_terms in (None, 3):
        _, rate, *_ = echo_pass(DiagonalEchoChannel(k, n_terms, s), encoded, np.zeros(k))
        np.testing.assert_allclose(rate, -k * math.log(s), rtol=1e-12, atol=1e-15)


LAWS = {
    # Draws, variance and fourth cumulant of f.
    "normal": (lambda rng, shape: rng.standard_normal(shape), 1.0, 0.0),
    "exponential": (lambda rng, shape: rng.standard_exponential(shape), 1.0, 6.0),
}
CHAINS, BATCH = 20_000, 40


def sum_of_the_past(rng, law, s):
    """What a chain of S = s holds after so long that its start weighs less than 1e-3."""
    n = math.ceil(math.log(1e-3) / math.log(s))
    if law == "normal":
        return rng.standard_normal(CHAINS) * math.sqrt((1 - s ** (2 * n)) / (1 - s * s))
    total = np.zeros(CHAINS)
    for start in range(0, n, 100):
        powers = s ** np.arange(start, min(start + 100, n), dtype=np.float32)
        total += powers @ rng.standard_exponential((len(powers), CHAINS), dtype=np.float32)
    return total


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("s", [0.3, 0.8, 0.95, 0.99, 0.9995])
def test_code_and_noise_share_their_law(s, law):
    # Components with independent f are independent chains.
    draw_f, variance, fourth = LAWS[law]
    rng, channel, work = np.random.default_rng(1), DiagonalEchoChannel(CHAINS, clip=s), Workspace()
    encoded = np.full((BATCH, 2 * CHAINS), FULL)
    tail = channel.start(np.float64, cpu)
    n_batches = math.ceil(math.log(1e-3) / math.log(s) / BATCH)
    if n_batches > 50:
        tail, n_batches = sum_of_the_past(rng, law, s), 5
    for _ in range(n_batches):
        encoded[:, :CHAINS] = draw_f(rng, (BATCH, CHAINS))
        draw = channel.draw(rng, BATCH)
        code, _, (order, _, noise) = channel.forward(NONE, encoded, draw, tail, work)
        tail = channel.keep(code, (draw,), tail)
    half = CHAINS // 2
    code, noise = code[order[0]], noise[0]
    assert stats.ks_2samp(code[:half], noise[half:]).pvalue > 1e-3
    if law == "normal":
        assert stats.kstest(noise, stats.norm(0, (1 - s * s) ** -0.5).cdf).pvalue > 1e-3
    # Cumulants of a sum of s**j f_j; a sample variance has variance (k4 + 2 k2**2) / n. What the
    # start leaves out is a millionth.
    expected = variance / (1 - s * s)
    error = math.sqrt((fourth / (1 - s**4) + 2 * expected**2) / CHAINS)
    assert abs(noise.var() - expected) < 5 * error


def test_a_row_is_never_its_own_noise():
    n, k = 7, 2
    base, tail = encoded_batch(n, 2 * k), np.ones(k)
    for row in range(n):
        moved = base.copy()
        moved[row] += 10.0
        _, _, order, _, before = echo_pass(DiagonalEchoChannel(k), base, tail)
        *_, after = echo_pass(DiagonalEchoChannel(k), moved, tail)
        place = list(order).index(row)
        np.testing.assert_array_equal(before[place], after[place])
        assert place == 0 or not np.array_equal(before[place - 1], after[place - 1])


@pytest.mark.parametrize("n_terms", [1, 5, 99, 256])
@pytest.mark.parametrize("more", [0, 3])
def test_a_row_is_in_its_own_noise_with_a_negligible_weight(n_terms, more):
    # S at the clip, which is the worst case.
    channel = DiagonalEchoChannel(1, n_terms)
    n = channel.min_rows + more
    base, tail = encoded_batch(n, 2), np.zeros(1)
    base[:, 1] = FULL
    _, _, order, _, before = echo_pass(channel, base, tail)
    before = before.copy()
    delta = 1e6
    for place in sorted({0, 1, n_terms // 2, n_terms - 1, n - 1}):
        moved = base.copy()
        moved[order[place], 0] += delta
        *_, after = echo_pass(channel, moved, tail)
        shift = np.abs(after - before)[:, 0]
        # Sums of size below 1e7 in float64 err by 1e-9.
        assert shift[place] <= 2.0**-23 * delta + 1e-8
        # The row before hears of all of it.
        assert place == 0 or shift[place - 1] == pytest.approx(delta)


@pytest.mark.parametrize("n_terms", [1, 5, 99])
def test_noise_that_is_cut_off_misses_a_negligible_part_of_a_code(n_terms):
    channel = DiagonalEchoChannel(1, n_terms)
    encoded = encoded_batch(n_terms + 1, 2)
    encoded[:, 1] = FULL
    *_, without = echo_pass(channel, encoded, np.zeros(1))
    *_, with_code = echo_pass(channel, encoded, np.array([1e6]))
    rows = slice(0, n_terms + 1)
    assert np.all(np.abs(with_code - without)[rows] <= 2.0**-23 * 1e6 + 1e-8)


@pytest.mark.parametrize("n_terms, floor", [(99, 0.179), (256, 0.073), (1000, 0.020)])
def test_floors_of_truncated_noise_are_the_published_ones(n_terms, floor):
    assert -math.log(truncation_clip(n_terms)) == pytest.approx(floor, abs=0.0005)
    encoded = np.concatenate([np.zeros((n_terms + 1, 2)), np.full((n_terms + 1, 2), FULL)], axis=1)
    _, rate, *_ = echo_pass(DiagonalEchoChannel(2, n_terms), encoded, np.zeros(2))
    np.testing.assert_allclose(rate, 2 * floor, atol=0.001)


@pytest.mark.parametrize("n_terms", [1, 2, 10, 99, 256, 1000, 10_000])
def test_the_clip_of_truncated_noise_is_the_largest_that_fits(n_terms):
    def rest(r):
        return math.exp(n_terms * math.log(r)) / (1 - r)

    r = truncation_clip(n_terms)
    # A relative change of 1e-9 changes the rest by more, and rounding it by n * 1e-16.
    assert rest(r * (1 - 1e-9)) < 2.0**-23 < rest(r * (1 + 1e-9))


def test_the_stored_code_is_the_one_with_the_longest_chain():
    encoded, tail = encoded_batch(5, 4), np.zeros(2)
    channel = DiagonalEchoChannel(2)
    code, _, draw, *_ = echo_pass(channel, encoded, tail)
    stored = channel.keep(code, (draw,), tail)
    assert np.array_equal(stored, code[draw[0]]) and not np.shares_memory(stored, code)
    # It hears of every row: all of them move it.
    for row in range(5):
        other = encoded.copy()
        other[row, :2] += 1.0
        changed, _, again, *_ = echo_pass(channel, other, tail)
        assert not np.array_equal(channel.keep(changed, (again,), tail), stored)
    cut = DiagonalEchoChannel(2, 3)
    assert cut.keep(code, (cut.draw(np.random.default_rng(0), 5),), tail) is tail


@pytest.mark.parametrize("n_terms, start", [(None, 0.4), (99, 0.4), (5, None)])
def test_scales_start_at_two_fifths_or_half_of_the_clip(n_terms, start):
    channel = DiagonalEchoChannel(3, n_terms)
    last = {"weights": np.ones((8, 6)), "bias": np.ones(6)}
    channel.init(None, NONE, last)
    scale = np.exp(channel.split(last["bias"][None])[1])
    start = truncation_clip(n_terms) / 2 if start is None else start
    np.testing.assert_allclose(scale, start, rtol=1e-12)
    assert np.all(last["bias"][:3] == 1.0)
    channel.louder(last, 0.5, None)
    odds = np.exp(channel.split(last["bias"][None])[1]) / math.exp(channel.log_clip)
    before = scale / math.exp(channel.log_clip)
    np.testing.assert_allclose(odds / (1 - odds), math.exp(0.5) * before / (1 - before))


def test_gaussian_rate_is_the_divergence():
    encoded = np.tile([0.7, -0.4], (20_000, 1))
    channel, work = GaussianChannel(1), Workspace()
    noise = channel.draw(np.random.default_rng(0), len(encoded)).astype(np.float64)
    code, rate, _ = channel.forward(NONE, encoded, noise, None, work)
    posterior, prior = stats.norm(0.7, math.exp(-0.4)), stats.norm(0, 1)
    terms = posterior.logpdf(code[:, 0]) - prior.logpdf(code[:, 0])
    assert rate[0] == pytest.approx(terms.mean(), abs=5 * terms.std() / math.sqrt(len(terms)))
    assert stats.kstest(code[:, 0], posterior.cdf).pvalue > 1e-3


def test_gaussian_noise_is_bounded_and_led_back():
    channel, work = GaussianChannel(1), Workspace()
    encoded, noise = np.array([[0.0, 2.0], [0.0, 90.0]]), np.ones((2, 1))
    code, rate, cache = channel.forward(NONE, encoded, noise, None, work)
    np.testing.assert_allclose(code, math.exp(2.0))
    assert rate[0] == rate[1]
    grad = channel.backward(NONE, NONE, np.zeros((2, 1)), 1.0, cache, work)
    np.testing.assert_allclose(grad[:, 1], math.exp(4.0) - 1)


@pytest.mark.parametrize("by", [-0.5, 0.5, 1.5, 4.0])
def test_louder_gaussian_noise_stops_at_the_prior(by):
    log_sigma = np.array([-5.0, -2.0, -0.3, 0.0, 0.2])
    last = {"bias": np.zeros(10)}
    GaussianChannel(5).louder(last, by, np.tile(np.append(np.zeros(5), log_sigma), (20, 1)))
    rise = last["bias"][5:]
    assert not last["bias"][:5].any() and not rise[3:].any()
    assert rise[0] == pytest.approx(by) and np.all(rise[:3] * by > 0)
    assert np.all(log_sigma[:3] + rise[:3] <= 1e-12)


def jacobian(function, z):
    """Derivatives of each output (rows) by each input (columns)."""
    outputs = range(len(function(z)))
    return np.array([central_difference(lambda v, j=j: function(v)[j], z, 1e-6) for j in outputs])


@pytest.mark.parametrize("n_steps", [1, 2, 4])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_flow_rate_is_log_q_minus_log_p(n_steps, k):
    channel = FlowChannel(k, n_steps)
    params, rng = parameters(channel), np.random.default_rng(k)
    noise, encoded = rng.standard_normal((4, k)), encoded_batch(4, 3 * k, seed=n_steps)
    code, rate = channel.code(params, encoded, noise, Workspace())
    for i in range(4):

        def bend(eps, row=encoded[i : i + 1]):
            return channel.code(params, row, eps[None], Workspace())[0][0]

        slopes = jacobian(bend, noise[i])
        _, log_det = np.linalg.slogdet(slopes)
        log_q = stats.norm.logpdf(noise[i]).sum() - log_det
        log_p = stats.norm.logpdf(code[i]).sum()
        # Central differences with a step of 1e-6 of values of order 1 err by 1e-9, and
        # d log det = trace(inverse @ d slopes).
        bound = 1e-9 * np.abs(np.linalg.inv(slopes)).sum()
        assert bound < 1e-5 and abs(rate[i] - (log_q - log_p)) < bound


@pytest.mark.parametrize("k", [1, 2, 5, 9])
def test_a_flow_step_is_autoregressive_and_then_reversed(k):
    channel = FlowChannel(k, 1)
    params = parameters(channel)
    noise, encoded = np.random.default_rng(0).standard_normal(k), encoded_batch(1, 3 * k)

    def bend(eps):
        return channel.code(params, encoded, eps[None], Workspace())[0][0]

    by_noise = jacobian(bend, noise)[::-1]
    np.testing.assert_array_equal(np.triu(by_noise, 1), 0.0)
    assert np.all(np.diag(by_noise) > 0)
    # Nothing below the diagonal is missing, and every output hears of the whole context.
    assert np.all(by_noise[np.tril_indices(k, -1)] != 0)

    def by_context(context):
        row = np.concatenate([encoded[0, : 2 * k], context])[None]
        return channel.code(params, row, noise[None], Workspace())[0][0]

    assert np.all(jacobian(by_context, encoded[0, 2 * k :]) != 0)


def test_masked_weights_of_a_flow_stay_exactly_zero_under_adam():
    k, n = 3, 8
    channel, rng, work = FlowChannel(k, 2), np.random.default_rng(0), Workspace()
    params = parameters(channel, np.float32)
    first, grads = params.copy(), np.zeros_like(params)
    adam = Adam(params.size, get_ops("cpu"))
    for _ in range(20):
        encoded, noise = encoded_batch(n, 3 * k, dtype=np.float32), channel.draw(rng, n)
        code, _, cache = channel.forward(params, encoded, noise, None, work)
        channel.backward(params, grads, code.copy(), np.float32(0.1), cache, work)
        adam.step(params, grads, 0.01)
    mask = present(channel)
    assert np.sum(~mask) > 100 and not params[~mask].any()
    assert np.mean(params[mask] != first[mask]) > 0.8


@pytest.mark.parametrize("name", ["echo", "echo of 4 terms", "gaussian", "flow of 4 steps"])
@pytest.mark.parametrize("k", [1, 5, 17])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_by_rows_a_code_is_the_same_to_the_bit_in_any_company(name, k, dtype):
    channel, rng = CHANNELS[name][0](k), np.random.default_rng(k)
    params, encoded = parameters(channel, dtype), encoded_batch(50, channel.n_outputs, dtype=dtype)
    noise, work = rng.standard_normal((50, k)).astype(dtype), Workspace(by_rows=True)
    whole = channel.code(params, encoded, noise, work)
    for size in (1, 2, 7, 31, 50):
        rows = rng.permutation(50)[:size]
        part = channel.code(params, encoded[rows], noise[rows], work)
        for ours, theirs in zip(part, whole, strict=True):
            np.testing.assert_array_equal(ours, theirs[rows])
