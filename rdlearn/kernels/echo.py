"""Echo noise as one pass along a random order of the batch.

z_i = f_i + S_i eps_i with eps_i = z_(i+1): the noise of a row is the code of the next one, and
the chain ends in a code stored from an earlier batch. S = clip * sigmoid(b).

Source: Brekelmans et al., "Exact rate-distortion in autoencoders via echo noise", NeurIPS 2019;
the closed chain is the project's own.
"""

import math

import numpy as np
from numba import njit

from rdlearn.kernels import JIT

__all__ = ["echo_backward", "echo_forward"]


@njit(inline="always")
def _log_scale(b, log_clip):
    # log(clip * sigmoid(b)) without overflow on either side.
    return log_clip - max(-b, 0.0) - math.log1p(math.exp(-abs(b)))


@njit(**JIT)
def echo_forward(encoded, order, tail, log_clip, code, scale, noise, rate):
    """Codes, scales, noise (n, k) and rates (n,) in nats of encoder outputs (n, 2 k) = (f, b).

    `order` is a permutation of the rows, `tail` (k,) the stored code that ends the chain.
    """
    n, k = code.shape
    for t in range(n - 1, -1, -1):
        i = order[t]
        row_rate = 0.0
        for c in range(k):
            log_s = _log_scale(encoded[i, k + c], log_clip)
            eps = code[order[t + 1], c] if t + 1 < n else tail[c]
            s = math.exp(log_s)
            scale[i, c] = s
            noise[i, c] = eps
            code[i, c] = encoded[i, c] + s * eps
            row_rate -= log_s
        rate[i] = row_rate


@njit(**JIT)
def echo_backward(grad_code, grad_rate, order, log_clip, scale, noise, grad_encoded):
    """Gradient (n, 2 k) by the encoder outputs, of the loss whose gradients by code and rate
    (n,) are given; the stored code is a constant."""
    n, k = grad_code.shape
    inverse_clip = math.exp(-log_clip)
    carried = np.zeros(k)
    for t in range(n):
        i = order[t]
        for c in range(k):
            s = scale[i, c]
            # A code is lost twice: in its own row, and as the noise of the row before.
            total = grad_code[i, c] + carried[c]
            grad_encoded[i, c] = total
            carried[c] = total * s
            by_log_scale = total * noise[i, c] * s - grad_rate[i]
            grad_encoded[i, k + c] = by_log_scale * (1.0 - s * inverse_clip)
