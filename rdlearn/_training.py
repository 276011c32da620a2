"""Searches over the price of distortion: for a target, and for the best cells at a price."""

import numpy as np
from scipy.optimize import minimize_scalar

from rdlearn.information import bits_to_nats

__all__ = ["best_slope", "local_price", "search_beta"]

MAX_STEPS = 60
WINDOW = 0.995
# A target this close above the reachable range counts as reached.
REACH = 0.98


def search_beta(measure, start, bounds, *, target_rate=None, target_distortion=None):
    """Find the price at which a family of codecs meets a target from below.

    Bisects log(beta) on the sign of the miss, which needs no smoothness: rates measured on a
    sample are staircases.

    Parameters
    ----------
    measure : callable
        ``measure(beta) -> (rate_bits, distortion)``; rate rises and distortion falls with beta.
    start : float
        First beta tried.
    bounds : (float, float)
        Smallest and largest beta considered.
    target_rate, target_distortion : float
        Exactly one is given; the result is at most the target and, where the staircase allows,
        at least 0.995 of it.

    Returns
    -------
    beta : float
    tried : list of (beta, rate_bits, distortion)

    Raises
    ------
    ValueError
        The target lies outside what the bounds reach; the sentence names the range.
    """
    rate_first = target_rate is not None
    target = target_rate if rate_first else target_distortion
    tried = []

    def value(beta):
        rate, distortion = measure(beta)
        tried.append((beta, rate, distortion))
        return rate if rate_first else distortion

    low, high = bounds
    # The side that meets the target for certain: few bits, or little distortion.
    safe, unsafe = (low, high) if rate_first else (high, low)
    least, most = value(safe), value(unsafe)
    if not least <= target or most < REACH * target:
        name = "target_rate" if rate_first else "target_distortion"
        unit = "bits per sample" if rate_first else "per sample"
        raise ValueError(
            f"{name}={target:g} is out of reach: on these data it can lie between "
            f"{least:.4g} and {most:.4g} {unit}. Choose a target in between, or other components."
        )
    if most <= target:
        return unsafe, tried
    beta = float(np.clip(start, low, high))
    for _ in range(MAX_STEPS):
        reached = value(beta)
        if reached <= target:
            safe = beta
            if reached >= WINDOW * target:
                break
        else:
            unsafe = beta
        beta = float(np.sqrt(safe * unsafe))
    return safe, tried


def best_slope(measure, beta, bounds):
    """Price of squared error in the cells at which bits and the named distortion cost least."""

    def objective(log_slope):
        rate_bits, distortion = measure(float(np.exp(log_slope)))
        return bits_to_nats(rate_bits) + beta * distortion

    # Losses that threshold have more than one dip: look at a grid before refining.
    grid = np.arange(np.log(bounds[0]), np.log(bounds[1]), np.log(4.0))
    values = [objective(point) for point in grid]
    best = int(np.argmin(values))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = minimize_scalar(
        objective, bounds=(low, high), method="bounded", options={"xatol": 0.05}
    )
    return float(np.exp(found.x if found.fun <= values[best] else grid[best]))


def local_price(measure, slope):
    """-dR/dD in nats at a slope, by central differences wide enough to span symbols."""
    (rate_low, loss_low), (rate_high, loss_high) = measure(slope / 1.2), measure(slope * 1.2)
    fall = loss_low - loss_high
    return bits_to_nats(rate_high - rate_low) / fall if fall > 0 else slope
