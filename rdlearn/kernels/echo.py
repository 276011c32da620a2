"""Echo noise as one pass along a random order of the batch.

z_i = f_i + S_i eps_i with eps_i = z_next: the noise of a row is the code of the next one in the
order, and the chain ends in a code stored from an earlier batch. S = clip * sigmoid(b).

Source: Brekelmans et al., "Exact rate-distortion in autoencoders via echo noise", NeurIPS 2019;
the closed chain is the project's own.
"""

import math

import numpy as np
from numba import njit

from rdlearn.kernels.jit import JIT

__all__ = ["echo_backward", "echo_code", "echo_forward", "pool_noise"]

# What is left of a code in a noise it must not be in: float32 rounding.
NEGLIGIBLE = 2.0**-24


@njit(inline="always")
def _log_scale(b, log_clip):
    # log(clip * sigmoid(b)) without overflow on either side.
    return log_clip + min(b, 0.0) - math.log1p(math.exp(-abs(b)))


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
            log_s = _log_scale(encoded[i, k + c], log_clip)
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
            slope = 1.0 - s * inverse_clip
            grad_encoded[i, c] = by_f + total
            by_b = (by_b + total * noise[t, c] * s) * slope
            grad_encoded[i, k + c] = by_b if t < n else grad_encoded[i, k + c] + by_b
            carried[c] = total * s


@njit(**JIT)
def echo_code(encoded, noise, log_clip, code, rate):
    """Codes f + S * noise (n, k) and rates (n,) in nats, noise being given."""
    n, k = code.shape
    for i in range(n):
        row_rate = 0.0
        for c in range(k):
            log_s = _log_scale(encoded[i, k + c], log_clip)
            code[i, c] = encoded[i, c] + math.exp(log_s) * noise[i, c]
            row_rate -= log_s
        rate[i] = row_rate


@njit(**JIT)
def pool_noise(shift, scale, pool_keys, tails, keys, bits, noise):
    """Noise (n, k) for rows of keys (n,), drawn from a pool of (f, S): shift, scale (m, k).

    Each row walks through the pool from a random start by a random stride, bits (n, 2) of
    uint32, leaves out the member that it is itself (the one of its own key), and ends where the
    rest is negligible, or in one of tails (2, k): that without the half of the pool it is in.
    """
    n, k = noise.shape
    m = len(pool_keys)
    weight = np.empty(k)
    total = np.empty(k)
    for i in range(n):
        place = np.int64(bits[i, 0]) % m
        stride = 1 + np.int64(bits[i, 1]) % (m - 1)
        while _gcd(stride, m) != 1:
            stride = stride % (m - 1) + 1
        weight[:] = 1.0
        total[:] = 0.0
        tail = 0
        for step in range(m):
            if step % 8 == 7 and weight.max() <= NEGLIGIBLE:
                break
            if pool_keys[place] == keys[i]:
                tail = 1 - place % 2
            else:
                for c in range(k):
                    total[c] += weight[c] * shift[place, c]
                    weight[c] *= scale[place, c]
            place += stride
            if place >= m:
                place -= m
        for c in range(k):
            noise[i, c] = total[c] + weight[c] * tails[tail, c]


@njit(inline="always")
def _gcd(a, b):
    while b:
        a, b = b, a % b
    return a
