"""One gated step of an inverse autoregressive flow, element-wise.

Source: Kingma et al., "Improved variational inference with inverse autoregressive flow",
NeurIPS 2016: z' = g z + (1 - g) m with g = sigmoid(s), log det = sum log g.
"""

import math

from numba import njit

from rdlearn.kernels.jit import JIT

__all__ = ["gate", "gate_backward", "gate_forward", "gate_slopes"]


@njit(inline="always")
def gate(z, m, s):
    """Output, gate g and log g of one component."""
    log_gate = min(s, 0.0) - math.log1p(math.exp(-abs(s)))
    g = math.exp(log_gate)
    return g * z + (1.0 - g) * m, g, log_gate


@njit(inline="always")
def gate_slopes(flow, by_rate, z, m, g):
    """Gradients by z, m and s of those by the output and by the rate."""
    return flow * g, flow * (1.0 - g), (flow * (z - m) * g - by_rate) * (1.0 - g)


@njit(**JIT)
def gate_forward(z, raw, out, opened, rate):
    """out (n, k), its columns reversed, and rate -= log det, from raw (n, 2 k) = (m, s)."""
    n, k = z.shape
    for i in range(n):
        log_det = 0.0
        for c in range(k):
            out[i, k - 1 - c], opened[i, c], log_gate = gate(z[i, c], raw[i, c], raw[i, k + c])
            log_det += log_gate
        rate[i] -= log_det


@njit(**JIT)
def gate_backward(grad_out, grad_rate, z, raw, opened, grad_z, grad_raw):
    """Gradients by z (n, k), without what goes through raw, and by raw (n, 2 k)."""
    n, k = z.shape
    for i in range(n):
        for c in range(k):
            grad_z[i, c], grad_raw[i, c], grad_raw[i, k + c] = gate_slopes(
                grad_out[i, k - 1 - c], grad_rate, z[i, c], raw[i, c], opened[i, c]
            )
