"""Gaussian posterior under a standard normal prior: code, rate and gradients.

Source: Kingma & Welling, "Auto-encoding variational Bayes", ICLR 2014.
"""

import math

from numba import njit

from rdlearn.kernels.jit import JIT

__all__ = [
    "MAX_LOG_SIGMA",
    "gaussian_backward",
    "gaussian_code",
    "gaussian_forward",
    "gaussian_slopes",
]

# Codes have deviations of about 1: more noise than this says no less, and rows far from those of
# training would get any amount of it.
MAX_LOG_SIGMA = 2.0


@njit(inline="always")
def gaussian_code(mu, log_sigma, eps, sampled):
    """Code, sigma and nats of one component."""
    log_sigma = min(log_sigma, MAX_LOG_SIGMA)
    s = math.exp(log_sigma)
    nats = -0.5 * eps * eps if sampled else 0.5 * (mu * mu + s * s - 1.0)
    return mu + s * eps, s, nats - log_sigma


@njit(inline="always")
def gaussian_slopes(by_code, by_rate, pull, curvature, s, eps):
    """Gradients by mu and log sigma of those by code and rate."""
    by_sigma = by_code * eps * s + by_rate * (curvature * s * s - 1.0)
    return by_code + by_rate * pull, by_sigma


@njit(**JIT)
def gaussian_forward(encoded, noise, sampled, code, sigma, rate):
    """Codes and sigmas (n, k), rates (n,) in nats of encoder outputs (n, >= 2 k).

    Outputs are (mu, log sigma, ...). The rate is the divergence from the prior, or, where
    `sampled`, log q(code) + |noise|**2 / 2 + constants only: what a flow starts from.
    """
    n, k = code.shape
    for i in range(n):
        total = 0.0
        for c in range(k):
            code[i, c], sigma[i, c], nats = gaussian_code(
                encoded[i, c], encoded[i, k + c], noise[i, c], sampled
            )
            total += nats
        rate[i] = total


@njit(**JIT)
def gaussian_backward(grad_code, grad_rate, pull, curvature, sigma, noise, grad_encoded):
    """Fills the first 2 k columns of grad_encoded; grad_rate is one number for all rows.

    Where log sigma is held at its bound the gradient is that of the bound, which leads back.

    The rate is sum of pull * mu + (curvature * sigma**2) / 2 - log sigma, to first order in mu:
    pull (n, k) and curvature (k,) are 0 where it is that of a sampled code.
    """
    n, k = grad_code.shape
    for i in range(n):
        for c in range(k):
            grad_encoded[i, c], grad_encoded[i, k + c] = gaussian_slopes(
                grad_code[i, c], grad_rate, pull[i, c], curvature[c], sigma[i, c], noise[i, c]
            )
