"""Searches for a target where every look is a finished design that cost much, and designs jump."""

import numpy as np

from rdlearn._training import REACH, WINDOW

__all__ = ["MAX_DESIGNS", "approach", "elasticity", "land", "lead"]

# Most designs that a target takes, those after which the whole window will do, and the part of the
# target that they aim at.
MAX_DESIGNS, EAGER, AIM = 10, 4, 0.998
# Most by which the logarithm of a price changes from one design to the next, and least that tells a
# slope.
LONGEST, SHORTEST = np.log(4), np.log(1.005)
# Designs that are led to a target at most.
MOST_LED = 3
# What a round of leading leaves of a rate, and how near to that a round on the way has to come.
LEAVES, NEAR = 0.8, 0.95
# Rounds at the target itself, rounds in all, and prices that a round looks at.
HELD, MAX_LED, LOOKS = 8, 40, 10
# Factor of the first prices that a round looks at.
APART = 1.2


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
