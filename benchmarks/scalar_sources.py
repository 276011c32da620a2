"""UniformNoiseCodec on scalars and in the plane, beside entropy-coded uniform scalar quantizers.

The quantizer rounds each column in steps of one size, with a cell's middle or edge at 0, and is
coded at its entropy; the step that minimises rate + beta * distortion is found by direct search.
Rates in bits and objectives in nats a row, on the rows the codec learned from.
"""

import numpy as np
from _report import options, report

from rdlearn import UniformNoiseCodec
from rdlearn.datasets import source
from rdlearn.information import bits_to_nats, nats_to_bits

ROWS, BETAS = 50_000, (1.0, 3.0, 10.0, 30.0, 100.0)
STEPS = np.geomspace(0.05, 8, 160)


def main():
    args = options(__doc__)
    rng = np.random.default_rng(0)
    n = ROWS // 10 if args.quick else ROWS
    tables = {
        "gaussian": rng.standard_normal((n, 1)),
        "laplace": rng.laplace(size=(n, 1)) / np.sqrt(2),
        "banana": source("banana").sample(n, 0),
        "student-t": source("student-t").sample(n, 0),
    }
    rows = [
        compare(name, X, beta, 3 if args.quick else 40)
        for name, X in tables.items()
        for beta in BETAS[:: 2 if args.quick else 1]
    ]
    report("scalar_sources", rows, args, f"{n} rows")


def compare(name, X, beta, epochs):
    sizes = {"hidden_layer_sizes": (50, 50), "activation": "softplus"}
    codec = UniformNoiseCodec(
        X.shape[1], beta=beta, context="none", max_iter=epochs, random_state=0, **sizes
    )
    codec.fit(X)
    rate, noisy = codec.rate(X), codec.rate_samples(X, view="noisy").mean()
    # A stream of a million rows would show the header less.
    coded = 8 * len(codec.compress(X)) / len(X)
    entropy = sum(nats_to_bits(entropy_nats(column)) for column in codec.transform(X).T)
    objective = bits_to_nats(rate) + beta * codec.mean_distortion(X)
    uniform = best_uniform(X, beta)
    per_component = noisy / X.shape[1]
    return {
        "source": name,
        "beta": beta,
        "coded_bits": coded,
        "rate_bits": rate,
        "entropy_bits": entropy,
        "rate_over_entropy": rate / entropy,
        "noisy_bits": noisy,
        "rate_over_noisy": rate / noisy,
        "objective": objective,
        "uniform_quantizer": uniform,
        "over_uniform": objective / uniform,
        "holds": bool(
            rate <= 1.02 * entropy
            and objective <= 1.05 * uniform
            and (per_component <= 2 or abs(rate / noisy - 1) <= 0.03)
        ),
    }


def entropy_nats(values):
    share = np.unique(values, return_counts=True)[1] / len(values)
    return -np.sum(share * np.log(share))


def best_uniform(X, beta):
    """Least rate + beta * distortion of one step for all columns, in nats."""
    least = np.inf
    for step in STEPS:
        for edge in (0.0, 0.5):
            cells = np.floor(X / step + edge)
            loss = ((X - (cells + 0.5 - edge) * step) ** 2).sum(axis=1).mean()
            rate = sum(entropy_nats(column) for column in cells.T)
            least = min(least, rate + beta * loss)
    return least


if __name__ == "__main__":
    main()
