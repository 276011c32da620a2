r"""The rate of a code with uniform noise under mixtures of logistic laws.

A law F of a channel gives the value z the mass :math:`p = F(z + 1/2) - F(z - 1/2)`. Of one logistic
component with t = (z - m) / s and h = 1 / 2s it is
:math:`\sigma(t + h)\, \sigma(h - t)\, (1 - e^{-2h})`, which cancels nothing in the tails.
"""

import math

import numpy as np
from numba import njit

from rdlearn.kernels.jit import JIT

__all__ = ["logistic_cell", "mixture_rate"]

# Distances in scales beyond which a law is flat: exponents stay in the range of float64.
FAR = 300.0


@njit(inline="always")
def logistic_cell(z, mean, precision, edge):
    """Mass of the cell about z over (1 - edge), edge = exp(-precision); its slopes; distance.

    The slopes are of ln mass, by z times the scale, and by the precision's logarithm.
    """
    h = 0.5 * precision
    t = min(max((z - mean) * precision, -FAR), FAR)
    left, right = math.exp(-t - h), math.exp(t - h)
    # sigma(t + h), sigma(h - t) and what they lack of 1.
    a, b = 1 / (1 + left), 1 / (1 + right)
    below, above = left * a, right * b
    return a * b, below - above, below + above + 2 * edge / (1 - edge), t


@njit(**JIT)
def mixture_rate(z, share, mean, log_scale, rate, by_z, by_share, by_mean, by_scale):
    """Rates and their slopes, all in nats.

    z, by_z (n, p, c): codes, in places of channels. share (c, m): logits of the components' shares;
    mean, log_scale (c, m). rate (n,) float64: -ln p, summed over the row. by_share, by_mean,
    by_scale (c, m) float64: slopes of the sum over all rows, by log_scale in the last.
    """
    n, n_places, n_channels = z.shape
    m = share.shape[1]
    by_share[:], by_mean[:], by_scale[:] = 0.0, 0.0, 0.0
    part, precision, full = np.empty((n_channels, m)), np.empty((n_channels, m)), np.empty(m)
    edge = np.empty((n_channels, m))
    for c in range(n_channels):
        top, total = share[c].max(), 0.0
        for k in range(m):
            part[c, k] = math.exp(share[c, k] - top)
            total += part[c, k]
            precision[c, k] = math.exp(-log_scale[c, k])
            edge[c, k] = math.exp(-precision[c, k])
        # Not part[c] /= total, which takes numba long to compile.
        for k in range(m):
            part[c, k] /= total
    mass, slope, widen = np.empty(m), np.empty(m), np.empty(m)
    for i in range(n):
        nats = 0.0
        for place in range(n_places):
            for c in range(n_channels):
                p, down = 0.0, 0.0
                for k in range(m):
                    v = precision[c, k]
                    inside, slope[k], widen[k], full[k] = logistic_cell(
                        z[i, place, c], mean[c, k], v, edge[c, k]
                    )
                    mass[k] = part[c, k] * inside * (1 - edge[c, k])
                    p += mass[k]
                    down += mass[k] * slope[k] * v
                nats -= math.log(p)
                by_z[i, place, c] = -down / p
                for k in range(m):
                    weight, v = mass[k] / p, precision[c, k]
                    by_share[c, k] += part[c, k] - weight
                    by_mean[c, k] += weight * slope[k] * v
                    by_scale[c, k] += weight * (slope[k] * full[k] + widen[k] * 0.5 * v)
        rate[i] = nats
