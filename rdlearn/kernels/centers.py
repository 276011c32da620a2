r"""Values as the nearest of a few centres, with the slopes of a soft assignment.

The soft assignment of a value z to the centres :math:`c_l` has weights
:math:`s_l \propto e^{-\sigma (z - c_l)^2}`; a mean under it, :math:`\sum_l s_l f_l`, has the slope
:math:`2 \sigma\, \mathrm{Cov}_s(c, f)` by z.
"""

import math

import numpy as np
from numba import njit

from rdlearn.kernels.jit import JIT

__all__ = ["assign_centers", "center_sums"]

# Where values end: squares of much larger ones would hide which centre is the nearest.
FAR = 1e6


@njit(**JIT)
def assign_centers(z, centers, nats, sharpness, nearest, code, rate, slope, rate_slope):
    """Hard assignments, and soft slopes.

    z, code, slope, rate_slope (n, p, c): values, in places of channels, their centres, and the
    slopes by z of the soft centre and of its nats. centers, nats (c, l): of each channel, and what
    each costs. sharpness: sigma. nearest (n, p, c) int32; ties go to the first. rate (n,) float64.
    """
    n, n_places, n_channels = z.shape
    n_centers = centers.shape[1]
    weight = np.empty(n_centers)
    for i in range(n):
        total = 0.0
        for place in range(n_places):
            for c in range(n_channels):
                value = min(max(z[i, place, c], -FAR), FAR)
                best, least = 0, np.inf
                for k in range(n_centers):
                    weight[k] = (value - centers[c, k]) ** 2
                    if weight[k] < least:
                        best, least = k, weight[k]
                mass, mean, cost = 0.0, 0.0, 0.0
                for k in range(n_centers):
                    weight[k] = math.exp(sharpness * (least - weight[k]))
                    mass += weight[k]
                    mean += weight[k] * centers[c, k]
                    cost += weight[k] * nats[c, k]
                mean, cost = mean / mass, cost / mass
                spread, going = 0.0, 0.0
                for k in range(n_centers):
                    away = weight[k] * (centers[c, k] - mean)
                    spread += away * (centers[c, k] - mean)
                    going += away * (nats[c, k] - cost)
                slope[i, place, c] = 2 * sharpness * spread / mass
                rate_slope[i, place, c] = 2 * sharpness * going / mass
                nearest[i, place, c] = best
                code[i, place, c] = centers[c, best]
                total += nats[c, best]
        rate[i] = total


def center_sums(nearest, grad, sums, counts):
    """Of each channel's centres, sums of `grad` over the values assigned to them, and how many.

    nearest, grad (n, c); sums (c, l) of grad's dtype; counts (c, l) float64.
    """
    n_channels, n_centers = counts.shape
    number = (nearest + n_centers * np.arange(n_channels)).ravel()
    sums[:] = np.bincount(number, grad.ravel(), counts.size).reshape(sums.shape)
    counts[:] = np.bincount(number, minlength=counts.size).reshape(counts.shape)
