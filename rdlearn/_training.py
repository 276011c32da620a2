"""Searches over the price of distortion: for a target, and for the best cells at a price."""

import contextlib
import inspect
import os
import warnings

import numpy as np
import sklearn
from scipy.optimize import minimize_scalar

from rdlearn.information import bits_to_nats

__all__ = [
    "REACH",
    "WINDOW",
    "best_slope",
    "local_price",
    "meet_target",
    "search_beta",
    "slope_bounds",
    "warn",
]

MAX_STEPS = 60
WINDOW = 0.995
# Designs that are encoded more coarsely where one has too wide stairs, and the factor of the price
# from one to the next.
MAX_STAIRS, FINER = 5, 1.05
# Logarithms of prices this close have nothing but a jump between them.
SAME = 1e-5
# A target this close above the reachable range counts as reached.
REACH = 0.98
# Corrections of the target by what the estimates miss, and how well a correction must do.
MAX_CORRECTIONS = 8
CLOSE = 0.985
# How far an encoder's price may fall below its design's.
MAX_COARSENING = 1e-3
# Frames of these packages are never the line a warning is about.
PACKAGES = tuple(os.path.dirname(path) + os.sep for path in (__file__, sklearn.__file__))


def warn(message, category=UserWarning):
    """Warn at the line outside rdlearn and scikit-learn that asked, however deep the call."""
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGES):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def search_beta(measure, start, bounds, *, apart=0.0, target_rate=None, target_distortion=None):
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
    apart : float, default=0.0
        Logarithm of two betas so close that what lies between is a jump, where the search ends.
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
        if abs(np.log(safe / unsafe)) < apart:
            break
    return safe, tried


def meet_target(
    estimate, finish, start, bounds, *, exact=False, target_rate=None, target_distortion=None
):
    """Find the finished codec that meets a target from below, where searches see estimates.

    Parameters
    ----------
    estimate : callable
        ``estimate(beta) -> (rate_bits, distortion)``, quick.
    finish : callable
        ``finish(beta, price) -> (rate_bits, distortion)`` of the codec designed at `beta` that
        encodes at `price`; a price below beta widens dead zones.
    exact : bool, default=False
        Whether estimates are what `finish` gives, so that nothing is to correct.
    start, bounds, target_rate, target_distortion
        As for `search_beta`.

    Returns
    -------
    beta, price : float
        Arguments of `finish`.
    reached : float
        Rate or distortion there, at most the target; below 0.98 of it where steps are coarse.
    tried : list of (beta, rate_bits, distortion)

    Raises
    ------
    ValueError
        The target lies outside what the bounds reach.
    """
    by_rate = target_rate is not None
    which, name = (0, "target_rate") if by_rate else (1, "target_distortion")
    target = target_rate if by_rate else target_distortion
    goal, found, all_tried, apart = target, [], [], SAME if exact else 0.0
    for _ in range(1 if exact else MAX_CORRECTIONS):
        try:
            beta, tried = search_beta(estimate, start, bounds, apart=apart, **{name: goal})
        except ValueError:
            if goal == target:
                raise
            # The corrected goal fell off the end of the range.
            break
        all_tried += tried
        reached = finish(beta, beta)[which]
        found.append((reached, beta, beta))
        if CLOSE * target <= reached <= target:
            break
        # Estimates miss by a steady factor: aim off by it.
        goal, start = goal * 0.996 * target / max(reached, 1e-3 * target), beta
    if not any(REACH * target <= entry[0] <= target for entry in found):
        # The designs jump over the target: encode the finer side of the jump more coarsely.
        finer = [step[0] for step in all_tried if (step[1 + which] > target) == by_rate]
        beta = min(finer, default=bounds[1])
        for _ in range(MAX_CORRECTIONS):
            # Past the error of the estimates, which may put the jump too low.
            if (finish(beta, beta)[which] > target) == by_rate:
                break
            beta *= 1.01

        def coarser(price):
            return finish(beta, price)

        for _ in range(MAX_STAIRS if exact else 1):
            with contextlib.suppress(ValueError):
                price, tried = search_beta(
                    coarser, beta, (MAX_COARSENING * beta, beta), apart=apart, **{name: target}
                )
                found += [(step[1 + which], beta, step[0]) for step in tried if step[0] == price]
            if any(REACH * target <= entry[0] <= target for entry in found):
                break
            # Other stairs, of somewhat finer steps.
            beta *= FINER
    # The end of the bounds meets any target within reach.
    end = bounds[0] if by_rate else bounds[1]
    below = [entry for entry in found if entry[0] <= target]
    reached, beta, price = max(below) if below else (finish(end, end)[which], end, end)
    return beta, price, reached, all_tried


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


def slope_bounds(variance):
    """Prices of squared error from no bit at all to about 20 bits for that variance."""
    variance = variance if variance > 0 else 1.0
    return 0.25 / variance, 6.0 * 4.0**18 / variance
