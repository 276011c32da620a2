"""Exact Blahut-Arimoto beside dit (extra ``bench``): a Gaussian on 128 points, squared error.

Both minimise I(X; Y) + beta E d, here in nats and with beta in nats per unit; dit is called as it
comes (100 starts of at most 100 steps), and with one start, and its value is that of the channel
it returns. Only ours comes with a certificate, its lower bound. Fastest of several calls, one
thread.
"""

import numpy as np
from _report import fastest, options, report
from threadpoolctl import threadpool_limits

from rdlearn import blahut_arimoto

try:
    from dit.rate_distortion.blahut_arimoto import blahut_arimoto as dit_blahut_arimoto
except ImportError:
    dit_blahut_arimoto = None

POINTS, WIDTH = 128, 4.0
BETAS = (0.5, 1.0, 2.0, 2 * np.log(2), 8 * np.log(2), 20.0)
REPEATS = 5
STARTS = {"": 100, "_one_start": 1}


def main():
    args = options(__doc__)
    points = 32 if args.quick else POINTS
    p, d = source(points)
    rows = []
    for beta in sorted(BETAS):
        result = blahut_arimoto(p, d, beta)
        seconds = fastest(lambda beta=beta: blahut_arimoto(p, d, beta), REPEATS)
        row = {
            "beta": beta,
            "rate_bits": result.rate_bits,
            "distortion": result.distortion,
            "lower_bound": result.lower_bound,
            "upper_bound": result.upper_bound,
            "gap": result.gap,
            "at_most_1e-6": result.gap <= 1e-6,
            "ms": 1e3 * seconds,
        }
        for name, starts in STARTS.items() if dit_blahut_arimoto else ():
            theirs = dit_value(p, d, beta, starts)
            time = fastest(lambda beta=beta, n=starts: dit_value(p, d, beta, n), REPEATS)
            row[f"dit{name}_above_ours"] = theirs - result.upper_bound
            row[f"dit{name}_ms"] = 1e3 * time
            row[f"dit{name}_time"] = time / seconds
        rows.append(row)
    report("blahut_arimoto", rows, args, f"N(0, 1) on {points} points, nats and milliseconds")


def source(points):
    """Probabilities and squared errors of a Gaussian."""
    x = np.linspace(-WIDTH, WIDTH, points)
    p = np.exp(-(x**2) / 2)
    return p / p.sum(), (x[:, None] - x) ** 2


def dit_value(p, d, beta, starts):
    """I + beta D, in nats, of the channel that dit ends with."""
    with np.errstate(all="ignore"):
        # Its beta is in bits.
        _, joint = dit_blahut_arimoto(p, beta / np.log(2), lambda *_: d, restarts=starts)
    independent = p[:, None] * joint.sum(axis=0)
    used = joint > 0
    rate = (joint[used] * np.log(joint[used] / independent[used])).sum()
    return rate + beta * (joint * d).sum()


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
