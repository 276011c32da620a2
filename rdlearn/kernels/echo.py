"""Echo noise as one pass along a random order of the batch.

z_i = f_i + S_i eps_i with eps_i = z_next: the noise of a row is the code of the next one in the
order, and the chain ends in a code stored from an earlier batch. S is diagonal, clip * sigmoid(b),
in `echo_forward`; in `echo_chain` it is diag(sigma) @ mixing.

Source: Brekelmans et al., "Exact rate-distortion in autoencoders via echo noise", NeurIPS 2019;
the closed chain is the project's own.
"""

import math

import numpy as np
from numba import njit

from rdlearn.kernels.gaussian import MAX_LOG_SIGMA
from rdlearn.kernels.jit import JIT
from rdlearn.kernels.products import affine

__all__ = [
    "POOL_WORDS",
    "diagonal_slope",
    "echo_backward",
    "echo_chain",
    "echo_code",
    "echo_forward",
    "log_scale",
    "pool_chain",
    "pool_noise",
]


# Codes drawn afresh for each noise, before it goes on along a chain of the pool: places of one
# chain depend on each other.
FRESH = 8
# Random words of a noise: its place of the chains, and those codes.
POOL_WORDS = 1 + FRESH


@njit(inline="always")
def log_scale(b, log_clip):
    """log(clip * sigmoid(b)) without overflow on either side."""
    return log_clip + min(b, 0.0) - math.log1p(math.exp(-abs(b)))


@njit(inline="always")
def diagonal_slope(by_rate, by_code, noise, s, inverse_clip):
    """Gradient by b, of those by the rate and by the code, where S is s."""
    return (by_rate + by_code * noise * s) * (1.0 - s * inverse_clip)


@njit(**JIT)
def echo_forward(encoded, order, tail, log_clip, code, scale, noise, rate):
    """Codes (n, k) and rates (n,) in nats of encoder outputs (n, 2 k) = (f, b).

    `order` (m,) names the n rows once and may go on: rows named again make noise for those
    before them and nothing else. `tail` (k,) ends the chain. scale and noise (m, k) are by place
    in the order.
    """
    n, k = code.shape
    carry = tail.copy()
    for t in range(len(order) - 1, -1, -1):
        i = order[t]
        row_rate = 0.0
        for c in range(k):
            log_s = log_scale(encoded[i, k + c], log_clip)
            s = math.exp(log_s)
            scale[t, c] = s
            noise[t, c] = carry[c]
            carry[c] = encoded[i, c] + s * carry[c]
            row_rate -= log_s
        if t < n:
            code[i] = carry
            rate[i] = row_rate


@njit(**JIT)
def echo_backward(grad_code, grad_rate, order, log_clip, scale, noise, grad_encoded):
    """Gradient (n, 2 k) by the encoder outputs of a loss whose gradients by the codes and, one
    number for all rows, by the rate are given; the tail is a constant."""
    n, k = grad_code.shape
    inverse_clip = math.exp(-log_clip)
    carried = np.zeros(k)
    for t in range(len(order)):
        i = order[t]
        for c in range(k):
            s = scale[t, c]
            # A code is lost twice: in its own row, and as the noise of the row before.
            total, by_f, by_b = carried[c], 0.0, 0.0
            if t < n:
                total += grad_code[i, c]
                by_b = -grad_rate
            else:
                by_f, by_b = grad_encoded[i, c], 0.0
            grad_encoded[i, c] = by_f + total
            by_b = diagonal_slope(by_b, total, noise[t, c], s, inverse_clip)
            grad_encoded[i, k + c] = by_b if t < n else grad_encoded[i, k + c] + by_b
            carried[c] = total * s


@njit(**JIT)
def echo_chain(encoded, order, tail, mean, mixing, code, sigma, noise, rate):
    """Codes, sigmas, noise (n, k), rates -sum log sigma (n,); outputs (n, 2 k) = (f, log sigma).

    The noise of a row is mixing @ (code - mean) of the next row in `order`, and of the last row
    of the stored code `tail`; mixing (k, k) is lower triangular.
    """
    n, k = code.shape
    last = tail
    for t in range(n - 1, -1, -1):
        i = order[t]
        total = 0.0
        for a in range(k):
            eps = 0.0
            for b in range(a + 1):
                eps += mixing[a, b] * (last[b] - mean[b])
            log_sigma = min(encoded[i, k + a], MAX_LOG_SIGMA)
            s = math.exp(log_sigma)
            noise[i, a] = eps
            sigma[i, a] = s
            code[i, a] = encoded[i, a] + s * eps
            total -= log_sigma
        rate[i] = total
        last = code[i]


@njit(**JIT)
def echo_code(shift, log_sigma, noise, code, rate):
    """Codes shift + exp(log_sigma) * noise (n, k) and rates -sum log_sigma (n,) in nats."""
    n, k = code.shape
    for i in range(n):
        total = 0.0
        for c in range(k):
            code[i, c] = shift[i, c] + math.exp(log_sigma[i, c]) * noise[i, c]
            total -= log_sigma[i, c]
        rate[i] = total


@njit(**JIT)
def pool_chain(shift, scale, mean, mixing, start, step, noise):
    """Noise (m, k) that the codes of a pool (m, k) make, in a chain along the pool.

    Where `step` is -1, the code of member t is made of the noise of t + 1, so noise[t] contains
    members t to the last; where it is 1, the first to t. `start` (k,) is the noise before.
    """
    m, k = shift.shape
    code = np.empty(k)
    last = start
    for place in range(m):
        t = place if step == 1 else m - 1 - place
        for a in range(k):
            code[a] = shift[t, a] + scale[t, a] * last[a] - mean[a]
        for a in range(k):
            eps = 0.0
            for b in range(a + 1):
                eps += mixing[a, b] * code[b]
            noise[t, a] = eps
        last = noise[t]


def pool_noise(shift, scale, mean, mixing, chains, own, bits, noise):
    """Noise (n, k) for new rows from a pool (m, k) and its two chains (2, m, k).

    A random place of the chains gives a noise, and FRESH members, each of them drawn from all of
    the pool, give the codes that are put before it. Draws are independent, so that means and
    covariances of the pool and of the places say exactly what those of the noise are. `own` (n,)
    is the place of the row itself in the pool, or -1: it is not taken, nor is a place whose chain
    has passed it. bits (n, POOL_WORDS) of uint32.
    """
    m, known = len(shift), own >= 0
    bits = bits.astype(np.int64)
    place = bits[:, 0]
    # chains[0] runs down from the last member, chains[1] up from the first.
    chain = np.where(known, place % (m - 1) < own, place // m % 2)
    place = np.where(known, place % (m - 1) + (chain == 0), place % m)
    noise[:] = chains[chain.astype(np.int64), place]
    whole, zero = np.ascontiguousarray(mixing.T), np.zeros_like(mean)
    fresh = np.empty_like(noise)
    for member in (bits[:, 1:] % m).T:
        # Each row by itself, to the bit.
        affine(shift[member] + scale[member] * noise, mean, whole, zero, fresh)
        other = member != own
        noise[other] = fresh[other]
