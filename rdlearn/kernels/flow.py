"""One gated step of an inverse autoregressive flow, element-wise.

Source: Kingma et al., "Improved variational inference with inverse autoregressive flow",
NeurIPS 2016: z' = g z + (1 - g) m with g = sigmoid(s), log det = sum log g.
"""

import math

from numba import njit

from rdlearn.kernels.jit import JIT

__all__ = ["gate_backward", "gate_forward"]


@njit(**JIT)
def gate_forward(z, raw, out, gate, rate):
    """out (n, k), its columns reversed, and rate -= log det, from raw (n, 2 k) = (m, s)."""
    n, k = z.shape
    for i in range(n):
        log_det = 0.0
        for c in range(k):
            s = raw[i, k + c]
            log_gate = min(s, 0.0) - math.log1p(math.exp(-abs(s)))
            g = math.exp(log_gate)
            gate[i, c] = g
            out[i, k - 1 - c] = g * z[i, c] + (1.0 - g) * raw[i, c]
            log_det += log_gate
        rate[i] -= log_det


@njit(**JIT)
def gate_backward(grad_out, grad_rate, z, raw, gate, grad_z, grad_raw):
    """Gradients by z (n, k), without what goes through raw, and by raw (n, 2 k)."""
    n, k = z.shape
    for i in range(n):
        for c in range(k):
            g, flow = gate[i, c], grad_out[i, k - 1 - c]
            grad_z[i, c] = flow * g
            grad_raw[i, c] = flow * (1.0 - g)
            by_gate = flow * (z[i, c] - raw[i, c])
            grad_raw[i, k + c] = (by_gate * g - grad_rate) * (1.0 - g)
