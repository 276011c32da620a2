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
    "approach",
    "best_slope",
    "elasticity",
    "land",
    "lead",
    "local_price",
    "meet_target",
    "search_beta",
    "slope_bounds",
    "warn",
]

MAX_STEPS = 60
WINDOW = 0.995
# A target this close above the reachable range counts as reached.
REACH = 0.98
# Corrections of the target by what the estimates miss, and how well a correction must do.
MAX_CORRECTIONS = 8
CLOSE = 0.985
# How far an encoder's price may fall below its design's.
MAX_COARSENING = 1e-3
# Designs that cost much: most that a target takes, those after which the whole window will do,
# and the part of the target that they aim at.
MAX_DESIGNS, EAGER, AIM = 10, 4, 0.998
# Most by which a price changes from one of them to the next, and least that tells a slope.
LONGEST, SHORTEST = np.log(4), np.log(1.005)
# Most designs that are led to a target, and of each what a round leaves of a rate, how near a round
# on the way comes to that, rounds at the target and in all, looks of a round, and prices between.
MOST_LED, LEAVES, NEAR, HELD, MAX_LED, LOOKS, APART = 3, 0.8, 0.95, 8, 40, 10, 1.2
# Frames of these packages are never the line a warning is about.
PACKAGES = tuple(os.path.dirname(path) + os.sep for path in (__file__, sklearn.__file__))


def warn(message, category=UserWarning):
    """Warn at the line outside rdlearn and scikit-learn that asked, however deep the call."""
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGES):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


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


def meet_target(estimate, finish, start, bounds, *, target_rate=None, target_distortion=None):
    """Find the finished codec that meets a target from below, where searches see estimates.

    Parameters
    ----------
    estimate : callable
        ``estimate(beta) -> (rate_bits, distortion)``, quick.
    finish : callable
        ``finish(beta, price) -> (rate_bits, distortion)`` of the codec designed at `beta` that
        encodes at `price`; a price below beta widens dead zones.
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
    goal, found, all_tried = target, [], []
    for _ in range(MAX_CORRECTIONS):
        try:
            beta, tried = search_beta(estimate, start, bounds, **{name: goal})
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

        with contextlib.suppress(ValueError):
            price, tried = search_beta(
                coarser, beta, (MAX_COARSENING * beta, beta), **{name: target}
            )
            found += [(step[1 + which], beta, step[0]) for step in tried if step[0] == price]
    # The end of the bounds meets any target within reach.
    end = bounds[0] if by_rate else bounds[1]
    below = [entry for entry in found if entry[0] <= target]
    reached, beta, price = max(below) if below else (finish(end, end)[which], end, end)
    return beta, price, reached, all_tried


def approach(measure, start, bounds, steepness, *, most=MAX_DESIGNS, **targets):
    """Near a target in few steps, where every look at a price costs much.

    Between prices rate and distortion are taken for powers of the price, of an exponent that is
    learned on the way.

    Parameters
    ----------
    measure : callable
        ``measure(beta) -> (rate_bits, distortion)``. What it measures may depend on the calls
        before, as that of designs does that start from each other.
    start : float
        First beta tried.
    bounds : (float, float)
        Smallest and largest beta considered.
    steepness : float
        First guess of the exponent.
    most : int
        Most looks; fewer where one lies between 0.995 and 1.0 of the target, or after the fourth
        between 0.98 and 1.0.
    **targets : float
        As for `search_beta`.

    Returns
    -------
    tried : list of (beta, rate_bits, distortion)
    """
    which, target = _asked(targets)
    power, beta, tried = steepness, float(np.clip(start, *bounds)), []
    # The nearest prices on either side.
    coarse, fine = 0.0, np.inf
    while True:
        tried.append((beta, *measure(beta)))
        reached = max(tried[-1][1 + which], 1e-12 * target)
        window = WINDOW if len(tried) < EAGER else REACH
        if window * target <= reached <= target or len(tried) == most:
            return tried
        if (reached > target) == (which == 0):
            fine = beta
        else:
            coarse = beta
        if len(tried) > 1:
            before = tried[-2]
            move = np.log(beta / before[0])
            rise = np.log(reached / max(before[1 + which], 1e-12 * target))
            if abs(move) > SHORTEST:
                power = steepness * np.clip(rise / move / steepness, 1 / 3, 3)
        step = np.clip(np.log(AIM * target / reached) / power, -LONGEST, LONGEST)
        following = beta * np.exp(step)
        if fine < coarse * np.exp(SHORTEST):
            # Nothing lies between, unless what was measured has moved on since.
            coarse, fine = 0.0, np.inf
        elif not coarse < following < fine:
            following = np.sqrt(coarse * fine)
        following = float(np.clip(following, *bounds))
        if following == beta:
            return tried
        beta = following


def land(finish, start, bounds, steepness, relearn=None, **targets):
    """Find a finished codec that meets a target from below, by `approach` and no estimates.

    Parameters
    ----------
    finish
        As for `meet_target`.
    start, bounds, steepness, **targets
        As for `approach`.
    relearn : callable, default=None
        As for `lead`; without it designs stay as they are.

    Returns
    -------
    beta, price, reached, tried
        As of `meet_target`.
    """
    which, target = _asked(targets)
    tried = approach(lambda beta: finish(beta, beta), start, bounds, steepness, **targets)
    pairs = [(step[0], step[0]) for step in tried]

    def met(pair, share=REACH):
        return share * target <= finish(*pair)[which] <= target

    # Designs jump over the target: those on the finer side of the jump are led there.
    finer = [step for step in tried if (step[1 + which] > target) == (which == 0)]
    finer.sort(key=lambda step: abs(np.log(max(step[1 + which], 1e-12 * target) / target)))
    if not any(met(pair, WINDOW) for pair in pairs):
        for step in finer[:MOST_LED]:
            pairs += lead(finish, relearn, step[0], **targets)
            if any(map(met, pairs)):
                break
    if not any(map(met, pairs)):
        # The end of the bounds meets any target within reach.
        pairs.append((bounds[which], bounds[which]))
    # What meets the target, or else what is best in the other respect, and never above it.
    below = [pair for pair in pairs if finish(*pair)[which] <= target]
    beta, price = min(below, key=lambda pair: (not met(pair), finish(*pair)[1 - which]))
    return beta, price, finish(beta, price)[which], tried


def lead(finish, relearn, beta, **targets):
    """Lead a design to a coarser target by steps, and learn it anew from what each step encodes.

    At one price designs that learn from what they encode may have nowhere to stop on one side of
    a jump but far away, as where they keep nothing. Here the price gives way instead.

    Parameters
    ----------
    finish
        As for `meet_target`.
    relearn : callable or None
        ``relearn(beta, price)`` names, as `finish` takes it for beta, the design that is learned
        from what the one of `beta` encodes at `price`.
    beta : float
        A design finer than the target.
    **targets : float
        As for `search_beta`.

    Returns
    -------
    pairs : list of (beta, price)
        Everything looked at.
    """
    which, target = _asked(targets)
    price, pairs, held = beta, [], 0
    reached = finish(beta, price)[which]
    for _ in range(MAX_LED):
        if which == 0:
            goal = max(target, LEAVES * reached)
        else:
            goal = min(target, max(reached, 0.01 * target) / LEAVES)
        looks = _priced(
            lambda price, beta=beta: finish(beta, price)[which],
            price,
            goal,
            WINDOW if goal == target else NEAR,
            rising=which == 0,
        )
        pairs += [(beta, look[0]) for look in looks]
        price, reached = min(looks, key=lambda look: abs(np.log(max(look[1], 1e-9) / goal)))
        held += goal == target
        if held == HELD:
            break
        if relearn is not None:
            beta = relearn(beta, price)
    return pairs


def _priced(measure, price, goal, window, rising):
    """The (price, what is measured) looked at, the last within the window below a goal if any."""
    low, high, looks = 0.0, np.inf, []
    while True:
        reached = measure(price)
        looks.append((price, reached))
        if window * goal <= reached <= goal or len(looks) == LOOKS:
            return looks
        if (reached > goal) == rising:
            high = price
        else:
            low = price
        if low == 0:
            price /= APART
        elif high == np.inf:
            price *= APART
        else:
            price = float(np.sqrt(low * high))


def _asked(targets):
    """(0 for a rate or 1 for a distortion, the target) of which exactly one is given."""
    which = int(targets.get("target_rate") is None)
    return which, targets[("target_rate", "target_distortion")[which]]


def elasticity(measure, beta, which):
    """Exponent of the power of beta that rate (0) or distortion (1) follow there."""
    low, high = measure(beta / 1.25)[which], measure(beta * 1.25)[which]
    sign = 1 - 2 * which
    power = sign * np.log(max(high, 1e-300) / max(low, 1e-300)) / np.log(1.25**2)
    return sign * float(np.clip(power, 0.1, 3.0))


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
