"""Log masses of noise models on cells: intervals around a value, as wide as its resolution."""

import math

import numpy as np
from scipy.special import erfcx, logit, ndtr

__all__ = ["log_exponential_cell", "log_normal_cell"]


def log_normal_cell(t, h):
    """Log mass of a standard normal on [t - h/2, t + h/2], t >= 0, h > 0."""
    log_mass = np.empty_like(t)
    narrow = h * np.maximum(t, 1) < 1
    inside = ~narrow & (h > 2 * t)
    tail = ~(narrow | inside)
    # Narrow: exp(-t v - v^2 / 2) is so flat that 8 Gauss nodes integrate it to rounding error.
    tn, hn = t[narrow], h[narrow]
    mean = np.zeros_like(tn)
    for node, weight in zip(*np.polynomial.legendre.leggauss(8), strict=True):
        v = hn / 2 * node
        mean += weight / 2 * np.exp(-v * (tn + v / 2))
    log_mass[narrow] = -tn * tn / 2 + np.log(hn * mean / math.sqrt(2 * math.pi))
    # Wide around 0: one minus what lies outside.
    ti, hi = t[inside], h[inside]
    log_mass[inside] = np.log1p(-ndtr(ti - hi / 2) - ndtr(-ti - hi / 2))
    # Wide in the tail: Q(x) = exp(-x^2 / 2) erfcx(x / sqrt 2) / 2 at both ends, whose squares
    # differ by exactly 2 t h.
    tt, ht = t[tail], h[tail]
    near, far = tt - ht / 2, tt + ht / 2
    mills = erfcx(near / math.sqrt(2)) - np.exp(-tt * ht) * erfcx(far / math.sqrt(2))
    log_mass[tail] = -near * near / 2 + np.log(mills / 2)
    return log_mass


def log_exponential_cell(x, p, r):
    """Log mass that the continuous Bernoulli law puts on [x - r/2, x + r/2] within [0, 1].

    Its density is proportional to exp(k x), k = logit p, so on an interval of length w ending a
    distance g below the favoured end the mass is exp(-|k| g) (1 - exp(-|k| w)) / (1 - exp(-|k|)).
    """
    k = logit(p)
    gap = np.maximum(np.where(k > 0, 1 - x, x) - r / 2, 0)
    width = np.minimum(r / 2, x) + np.minimum(r / 2, 1 - x)
    k = np.maximum(np.abs(k), 1e-100)  # the ratio is right for every k but 0
    return np.log(np.expm1(-k * width) / np.expm1(-k)) - k * gap
