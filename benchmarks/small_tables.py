"""Small tables at a target of bits: nets beside principal components, on training and other rows.

Every split of a table is fitted with several seeds; PCACodec draws nothing, so that it has one fit
a split. Bits are those of `rate`, without headers.
"""

import warnings

import numpy as np
from _report import options, report
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.model_selection import train_test_split

from rdlearn import EchoAutoencoder, PCACodec, UniformNoiseCodec

TARGETS = {"breast cancer": (6, 20), "wine": (6, 20), "digits": (6, 10, 20)}
LOADERS = {"breast cancer": load_breast_cancer, "wine": load_wine, "digits": load_digits}
# What is printed of the fits to a target.
COLUMNS = "rate", "held_rate", "distortion", "held_distortion"


def main():
    args = options(__doc__)
    n_splits, n_seeds = (2, 1) if args.quick else (5, 5)
    rows = []
    for name, targets in TARGETS.items():
        X = LOADERS[name]().data
        for target in targets[:: 2 if args.quick else 1]:
            rows += compare(name, X, target, n_splits, n_seeds)
    report("small_tables", rows, args, "medians over splits and seeds, and the worst of them")


def compare(name, X, target, n_splits, n_seeds):
    """A row for each codec; `to_pca` is the distortion in units of PCACodec's on the same split."""
    found = {kind: [] for kind in (UniformNoiseCodec, PCACodec, EchoAutoencoder)}
    for split in range(n_splits):
        train, held = train_test_split(X, test_size=0.3, random_state=split)
        linear = measure(PCACodec(target_rate=target, standardize=True), train, held)
        for kind, fits in found.items():
            for seed in range(1 if kind is PCACodec else n_seeds):
                codec = kind(target_rate=target, standardize=True, random_state=seed)
                values = linear if kind is PCACodec else measure(codec, train, held)
                fits.append([*values, values[2] / linear[2], values[3] / linear[3]])
    return [
        {"data": name, "target": target, "codec": kind.__name__, **summary(np.array(fits))}
        for kind, fits in found.items()
    ]


def measure(codec, train, held):
    """Rate and distortion on both parts; a target that is not met, or warns, has no numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            codec.fit(train)
        except ValueError:
            return [np.nan] * len(COLUMNS)
    return [
        codec.rate(train),
        codec.rate(held),
        codec.mean_distortion(train),
        codec.mean_distortion(held),
    ]


def summary(fits):
    """Medians, the largest of the held-out rates, and of the ratios to PCACodec."""
    met = fits[np.isfinite(fits).all(axis=1)]
    names = (*COLUMNS, "to_pca", "held_to_pca")
    out = {"fits": len(fits), "met": len(met)}
    if len(met) == 0:
        return out
    out |= dict(zip(names, np.median(met, axis=0), strict=True))
    largest = dict(zip(names, met.max(axis=0), strict=True))
    return out | {f"worst_{n}": largest[n] for n in ("held_rate", "to_pca", "held_to_pca")}


if __name__ == "__main__":
    main()
