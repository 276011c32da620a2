"""How far the rate of EchoAutoencoder lies from Shannon's R(D) of independent Gaussian features.

Linear nets reach R(D) on standard normal rows, so that a rate below it, at the distortion of rows
that were not trained on, is wrong. Noise is made of 2000 rows, and rates should not depend on
which. There are two kinds of rows:

- unit: the covariance of the rows is exactly the identity, and the gap measures the codec alone.
  It should lie between -0.002 and 0.01 nats, times the root of the number k of components;
- drawn: independent rows. The codec knows the population by n rows only, which gives the gap a
  standard deviation of (1 - D) sqrt(k / (2 n)), D being the distortion per component, whatever the
  codec does with them.

Each codec is measured with noise of the training rows, and with noise of the measured rows.
standard_error is that of one gap: of the draws of the noise, and for drawn rows also of the rows.
"""

import math

import numpy as np
from _report import options, report

from rdlearn import EchoAutoencoder
from rdlearn.information import bits_to_nats

TRAIN, TEST = 20_000, 100_000
BETA = 2.0
# Distortion at beta: dR/dD = -1 / (2 D).
LEVEL = 1 / (2 * BETA)
LOW, HIGH = -0.002, 0.01
# Draws of the noise of each row by number of components.
DRAWS = {1: 16, 4: 8, 16: 8}


def main():
    args = options(__doc__)
    seeds = 2 if args.quick else 10
    rows, summary = [], []
    for kind, noise_terms in (("unit", None), ("unit", 99), ("drawn", None)):
        for k in DRAWS:
            cells = [cell for seed in range(seeds) for cell in measure(kind, noise_terms, k, seed)]
            rows += cells
            for pool in ("training", "measured"):
                summary.append(summarize([cell for cell in cells if cell["pool"] == pool]))
    report("echo_exact_fits", rows, args, f"beta {BETA:g}, {TRAIN} and {TEST} rows")
    report("echo_exact", summary, args, f"{seeds} seeds, gaps in nats")


def measure(kind, noise_terms, k, seed):
    """One codec, with the noise of its training rows and of those it is measured on."""
    rng = np.random.default_rng(seed)
    X, fresh = (normal_rows(rng, n, k, kind == "unit") for n in (TRAIN, TEST))
    codec = EchoAutoencoder(
        k,
        beta=BETA,
        hidden_layer_sizes=(),
        max_iter=30,
        noise_terms=noise_terms,
        random_state=seed,
    ).fit(X)
    for pool, n in (("training", TRAIN), ("measured", TEST)):
        if pool == "measured":
            codec.set_noise_pool(fresh)
        losses = [
            np.mean(
                (fresh - codec.inverse_transform(codec.sample_codes(fresh, random_state=s))) ** 2
            )
            for s in range(DRAWS[k])
        ]
        rate, shannon = bits_to_nats(codec.rate(fresh)), -0.5 * k * math.log(np.mean(losses))
        variance = (0.5 * k * np.std(losses, ddof=1) / np.mean(losses)) ** 2 / DRAWS[k]
        if kind == "drawn":
            variance += k / 2 * ((1 - LEVEL) ** 2 / n + LEVEL**2 / TEST)
        yield {
            "rows": kind,
            "noise_terms": noise_terms,
            "n_components": k,
            "pool": pool,
            "seed": seed,
            "rate_nats": rate,
            "gap_nats": rate - shannon,
            "standard_error": math.sqrt(variance),
        }


def normal_rows(rng, n, k, unit):
    X = rng.standard_normal((n, k))
    if not unit:
        return X
    X -= X.mean(axis=0)
    return np.linalg.solve(np.linalg.cholesky(X.T @ X / n), X.T).T


def summarize(cells):
    first, k = cells[0], cells[0]["n_components"]
    gaps = np.array([cell["gap_nats"] for cell in cells])
    return {
        **{name: first[name] for name in ("rows", "noise_terms", "n_components", "pool")},
        "mean": gaps.mean(),
        "least": gaps.min(),
        "greatest": gaps.max(),
        "deviation": gaps.std(ddof=1),
        "standard_error": float(np.mean([cell["standard_error"] for cell in cells])),
        "within": int(np.sum((gaps >= LOW * k**0.5) & (gaps <= HIGH * k**0.5))),
    }


if __name__ == "__main__":
    main()
