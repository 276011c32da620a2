"""Naive float64 oracles, independent of rdlearn: slow, plain, and in nats."""

import decimal
import itertools
import math

import numpy as np
from scipy import integrate, optimize, stats


def entropy(probabilities):
    """Entropy of one distribution."""
    return -sum(p * math.log(p) for p in probabilities if p > 0)


def reverse_water_filling(variances, distortion):
    """Level and R(D) of independent Gaussians, the level found by bisection."""
    low, high = 0.0, max(variances)
    for _ in range(200):
        level = (low + high) / 2
        if sum(min(level, v) for v in variances) < distortion:
            low = level
        else:
            high = level
    return high, sum(0.5 * math.log(v / high) for v in variances if v > high)


def blahut_arimoto(pmf, distortion_matrix, beta, n_iter):
    """Rate, distortion and a lower bound on min R + beta D, after plain iterations.

    Rows of the matrix are source letters, columns are reproduction letters.
    """
    pmf = np.asarray(pmf, dtype=np.float64)
    distortion_matrix = np.asarray(distortion_matrix, dtype=np.float64)
    kernel = np.exp(-beta * distortion_matrix)
    output = np.full(kernel.shape[1], 1 / kernel.shape[1])
    for _ in range(n_iter):
        partition = kernel @ output
        growth = (pmf / partition) @ kernel
        output = output * growth
    partition = kernel @ output
    joint = pmf[:, np.newaxis] * output * kernel / partition[:, np.newaxis]
    marginal = joint.sum(axis=0)
    occurs = joint > 0
    independent = np.outer(pmf, marginal)
    rate = np.sum(joint[occurs] * np.log(joint[occurs] / independent[occurs]))
    distortion = np.sum(joint * distortion_matrix)
    # Dual: for any output, the objective is at least this (Berger 1971, theorem 2.5.3).
    lower = -np.sum(pmf * np.log(partition)) - np.log(np.max((pmf / partition) @ kernel))
    return rate, distortion, lower


def markov_rows(n_bits, q):
    """All rows of a stationary symmetric binary chain, and their probabilities."""
    rows = np.array(list(itertools.product([0, 1], repeat=n_bits)))
    probabilities = []
    for row in rows:
        probability = 0.5
        for before, after in zip(row[:-1], row[1:], strict=True):
            probability *= q if before != after else 1 - q
        probabilities.append(probability)
    return rows, np.array(probabilities)


def hamming_matrix(rows):
    """Number of differing bits between every two rows."""
    return (rows[:, np.newaxis, :] != rows[np.newaxis, :, :]).sum(axis=2).astype(np.float64)


def entry_loss(name, x, p, a=1.0, b=1.0):
    """Loss of one number, straight from the definition; 0 times an infinite price is 0."""
    if name == "squared_error":
        return (x - p) ** 2
    if name == "absolute_error":
        return abs(x - p)
    if name == "hamming":
        weights = ((a, (1 - x) * p), (b, x * (1 - p)))
        return sum(price * weight for price, weight in weights if weight != 0)
    terms = ((x, p), (1 - x, 1 - p))
    return sum(-w * (math.log(q) if q > 0 else -math.inf) for w, q in terms if w != 0)


def central_difference(loss, x_hat, step):
    """Derivative of a scalar loss by every entry of x_hat, one entry at a time."""
    gradient = np.empty(x_hat.shape)
    for index in np.ndindex(x_hat.shape):
        up, down = x_hat.copy(), x_hat.copy()
        up[index] += step
        down[index] -= step
        gradient[index] = (loss(up) - loss(down)) / (2 * step)
    return gradient


def log_normal_cell(e, sigma, r):
    """ln(Phi((e + r/2) / sigma) - Phi((e - r/2) / sigma)) by adaptive quadrature of the density.

    The density is divided by its largest value in the cell, so nothing underflows, and the
    integral is taken from there as far as the integrand exceeds exp(-45).
    """
    reach = [(r / 2 - abs(e)) / sigma, (r / 2 + abs(e)) / sigma]
    near = max(-reach[0], 0.0)  # where the density is largest
    total = 0.0
    for length in [r / sigma] if near > 0 else reach:
        end = min(length, 45 / max(near, 4.5))
        total += integrate.quad(
            lambda v: math.exp(-v * (near + v / 2)), 0, end, epsabs=0, epsrel=1e-13
        )[0]
    return -near * near / 2 - 0.5 * math.log(2 * math.pi) + math.log(total)


def log_laplace_cell(e, scale, r):
    """ln(F(e + r/2) - F(e - r/2)) of the Laplace law, as that difference, in 80 digits."""
    with decimal.localcontext(prec=80, Emin=decimal.MIN_EMIN, Emax=decimal.MAX_EMAX):
        e, scale, r = -abs(decimal.Decimal(e)), decimal.Decimal(scale), decimal.Decimal(r)
        low, high = (e - r / 2) / scale, (e + r / 2) / scale
        mass = (high.exp() if high < 0 else 2 - (-high).exp()) / 2 - low.exp() / 2
        return float(mass.ln())


def log_continuous_bernoulli_cell(x, p, r):
    """ln of the share of p^x (1 - p)^(1 - x) on [0, 1] that lies within r/2 of x, by quadrature."""

    def density(v):
        return p**v * (1 - p) ** (1 - v)

    low, high = max(x - r / 2, 0.0), min(x + r / 2, 1.0)
    inside = integrate.quad(density, low, high, epsabs=0, epsrel=1e-12)[0]
    return math.log(inside / integrate.quad(density, 0, 1, epsabs=0, epsrel=1e-12)[0])


def hamming_log_likelihood(x, x_hat, a, b, s):
    """ln P(x | x_hat) summed over entries, each normalised by summing over both values of x."""
    total = 0.0
    for value, reproduced in zip(np.ravel(x), np.ravel(x_hat), strict=True):
        weights = {v: math.exp(-s * entry_loss("hamming", v, reproduced, a, b)) for v in (0, 1)}
        total += math.log(weights[int(value)] / (weights[0] + weights[1]))
    return total


def best_location_scale(law, residual):
    """Scale of greatest likelihood of scipy.stats.norm or laplace, found numerically."""
    law = getattr(stats, law)
    spread = np.log(np.abs(residual).mean())
    found = optimize.minimize_scalar(
        lambda t: -law.logpdf(residual, scale=math.exp(t)).sum(),
        bounds=(spread - 3, spread + 3),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return math.exp(found.x)


def rans_decode(payload, columns, n):
    """Rows of one entropy-coded chunk, from the description of the format, in Python integers.

    `columns` holds (low, shift, frequencies with the escape last). Eight 40-bit states come
    first and take turns by row; 16-bit words follow; escapes are read backwards from the end.
    Raises ValueError where a read passes an end or the states do not return to 2**16.
    """
    states = [int.from_bytes(payload[5 * j : 5 * j + 5], "little") for j in range(8)]
    position, end = 40, len(payload)
    if end < 40 or min(states) < 1 << 24:
        raise ValueError("states")

    def refill(x):
        nonlocal position
        if x >= 1 << 24:
            return x
        if position + 2 > len(payload):
            raise ValueError("words")
        position += 2
        return (x << 16) | int.from_bytes(payload[position - 2 : position], "little")

    table = []
    for low, shift, frequencies in columns:
        row = []
        slots = [s for s, f in enumerate(frequencies) for _ in range(f)]
        below = [sum(frequencies[:s]) for s in range(len(frequencies))]
        for i in range(n):
            x = states[i % 8]
            slot = x % (1 << 14)
            s = slots[slot]
            x = refill(frequencies[s] * (x >> 14) + slot - below[s])
            if s == len(frequencies) - 1:
                row.append(None)
            else:
                value, left = s, shift
                while left:
                    width = left % 14 or 14
                    value, left = (value << width) | x % (1 << width), left - width
                    x = refill(x >> width)
                row.append((low + value) % (1 << 64))
            states[i % 8] = x
        for i, value in enumerate(row):
            if value is None:
                z = groups = 0
                while True:
                    end -= 1
                    if end < 40 or groups == 10:
                        raise ValueError("escape")
                    z |= (payload[end] & 127) << (7 * groups)
                    groups += 1
                    if payload[end] < 128:
                        break
                z %= 1 << 64
                row[i] = (low + ((z >> 1) ^ -(z & 1))) % (1 << 64)
        table.append([v - (1 << 64) if v >> 63 else v for v in row])
    if position != end or any(x != 1 << 24 for x in states):
        raise ValueError("end")
    return table


def naive_network(params, x, activations):
    """Output of dense layers, straight from the definition, in float64."""
    rules = {
        "identity": lambda v: v,
        "relu": lambda v: np.where(v > 0, v, 0.0),
        "tanh": np.tanh,
        "softplus": lambda v: np.logaddexp(0.0, v),
        "logistic": lambda v: 1 / (1 + np.exp(-v)),
    }
    for layer, activation in zip(params, activations, strict=True):
        weights, bias = (layer[key].astype(np.float64) for key in ("weights", "bias"))
        x = rules[activation](x.astype(np.float64) @ weights + bias)
    return x


def naive_adam(params, gradients, rates, beta_1, beta_2, epsilon):
    """Parameters after all steps: the algorithm box of Kingma & Ba 2015, in float64."""
    params = params.astype(np.float64)
    first = second = np.zeros_like(params)
    for t, (g, rate) in enumerate(zip(gradients.astype(np.float64), rates, strict=True), start=1):
        first = beta_1 * first + (1 - beta_1) * g
        second = beta_2 * second + (1 - beta_2) * g**2
        unbiased = np.sqrt(second / (1 - beta_2**t)) + epsilon
        params = params - rate * first / (1 - beta_1**t) / unbiased
    return params


def naive_echo(encoded, order, tail, clip):
    """Code and rate by row, scale and noise by place in the order, in float64.

    Each noise is an explicit sum over the rest of the order, which may name rows again.
    """
    encoded = encoded.astype(np.float64)
    f, b = np.split(encoded, 2, axis=1)
    scale = clip / (1 + np.exp(-b))
    noise = np.zeros((len(order), f.shape[1]))
    for place in range(len(order)):
        product = np.ones(f.shape[1])
        for j in order[place + 1 :]:
            noise[place] += product * f[j]
            product = product * scale[j]
        noise[place] += product * tail
    code = np.empty_like(f)
    for place, i in list(enumerate(order))[: len(f)]:
        code[i] = f[i] + scale[i] * noise[place]
    return code, -np.log(scale).sum(axis=1), scale[order], noise


def naive_pool_noise(shift, scale, mean, mixing, chains, own, bits):
    """Noise of rows: a place of the chains, then random members; never the row's own."""
    m = len(shift)
    noise = np.empty((len(own), shift.shape[1]))
    for i, (row, (place, *members)) in enumerate(zip(own, bits.tolist(), strict=True)):
        # chains[0][t] holds members t to the last, chains[1][t] the first to t.
        allowed = [(c, t) for c in range(2) for t in range(m)]
        if row >= 0:
            allowed = [(1, t) for t in range(row)] + [(0, t) for t in range(row + 1, m)]
        chain, t = allowed[place % len(allowed)]
        eps = chains[chain, t].astype(np.float64)
        for member in (word % m for word in members):
            if member != row:
                eps = mixing @ (shift[member] + scale[member] * eps - mean)
        noise[i] = eps
    return noise


def philox_4x32(counter, key):
    """Four words of Philox 4x32-10 (Salmon et al. 2011, section 3), in Python integers."""
    word = (1 << 32) - 1
    c, k = list(counter), list(key)
    for number in range(10):
        if number:
            k = [(k[0] + 0x9E3779B9) & word, (k[1] + 0xBB67AE85) & word]
        high_0, low_0 = divmod(0xD2511F53 * c[0], 1 << 32)
        high_1, low_1 = divmod(0xCD9E8D57 * c[2], 1 << 32)
        c = [high_1 ^ c[1] ^ k[0], low_1, high_0 ^ c[3] ^ k[1], low_0]
    return c


def assert_slopes(function, values, gradient, rng, most=40):
    """Central differences of a scalar function of no arguments that reads `values`, in float64.

    Up to `most` entries one by one, and all of them at once along a random direction.
    """
    # Error step**2 and rounding / step: about 1e-9 of the function's size.
    step, entries = 1e-5, values.reshape(-1)
    assert values.dtype == np.float64 and np.shares_memory(entries, values)
    kept, slopes = entries.copy(), np.array(gradient, dtype=np.float64).reshape(-1)
    single = rng.choice(entries.size, min(entries.size, most), replace=False)
    directions = [np.eye(1, entries.size, index)[0] for index in single]
    directions.append(rng.standard_normal(entries.size) / math.sqrt(max(entries.size, 1)))
    for direction in directions:
        ends = []
        for sign in (1, -1):
            entries[:] = kept + sign * step * direction
            ends.append(function())
        entries[:] = kept
        difference = (ends[0] - ends[1]) / (2 * step)
        bound = 1e-7 * (1 + abs(ends[0])) + 1e-6 * abs(difference)
        assert abs(slopes @ direction - difference) <= bound


# Finite alphabets.


def naive_lagrangian(p, d, beta, law):
    """-sum p log sum law exp(-beta d), in plain loops; inf forbids at any beta."""
    total = 0.0
    for px, row in zip(p, d, strict=True):
        if px > 0:
            low = min(loss for loss in row if loss < math.inf)
            mass = sum(
                q * math.exp(-beta * (loss - low))
                for q, loss in zip(law, row, strict=True)
                if loss < math.inf
            )
            total += px * (beta * low - math.log(mass)) if mass > 0 else math.inf
    return total


def naive_rate_distortion(p, channel, d):
    """Mutual information in nats and mean loss of a channel."""
    law = p @ channel
    rate = loss = 0.0
    for px, row, losses in zip(p, channel, d, strict=True):
        for w, q, cost in zip(row, law, losses, strict=True):
            if px > 0 and w > 0:
                rate += px * w * math.log(w / q)
                loss += px * w * cost
    return rate, loss


def blahut_laws(p, d, beta, n_steps):
    """Laws of the reproduction along plain alternating iterations from the uniform one."""
    low = np.where(np.isfinite(d), d, np.inf).min(axis=1, keepdims=True)
    low = np.where(np.isfinite(low), low, 0.0)
    factors = np.exp(-beta * (d - low)) if beta else np.isfinite(d).astype(float)
    law, laws = np.full(d.shape[1], 1 / d.shape[1]), []
    for _ in range(n_steps):
        channel = law * factors
        total = channel.sum(axis=1, keepdims=True)
        channel = np.divide(channel, total, out=np.zeros_like(channel), where=total > 0)
        law = p @ channel
        laws.append(law)
    return laws


# Boltzmann machines.


def words(n):
    """All words of n bits, as rows."""
    return np.array([[(number >> place) & 1 for place in range(n)] for number in range(2**n)])


class Enumerated:
    """The joint law of a restricted Boltzmann machine over all pairs of layers, in float64.

    `shift` (n_visible,) is added to the visible biases; -inf bars a 1 and inf a 0, at no cost.
    """

    def __init__(self, weights, visible, hidden, shift=None):
        weights, visible, hidden = (np.asarray(a, dtype=float) for a in (weights, visible, hidden))
        shift = np.zeros(len(visible)) if shift is None else np.asarray(shift, dtype=float)
        self.v, self.h = words(len(visible)), words(len(hidden))
        logs = np.einsum("ia,ab,jb->ij", self.v, weights, self.h, optimize=True)
        logs += (self.v @ visible)[:, None] + self.h @ hidden
        for place, by in enumerate(shift):
            unit = self.v[:, place]
            if math.isinf(by):
                logs[unit != (by > 0)] = -math.inf
            else:
                logs += (unit * by)[:, None]
        top = logs.max()
        self.log_z = top + math.log(np.exp(logs - top).sum())
        self.joint = np.exp(logs - self.log_z)
        self.p_v = self.joint.sum(axis=1)

    def means(self):
        """Expected v h^T, v and h."""
        return self.v.T @ self.joint @ self.h, self.p_v @ self.v, self.joint.sum(axis=0) @ self.h
