"""Tables at equal distortion: coded bytes of UniformNoiseCodec beside PCACodec, on rows not fitted.

At three prices each; PCACodec's price is searched so that it loses as much on the same rows.
"""

import time

import numpy as np
from _report import options, report
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import train_test_split

from rdlearn import PCACodec, UniformNoiseCodec
from rdlearn.datasets import load_mnist

# Bisections of the logarithm of PCACodec's price, from 1e-4 to 1e4 in units of ours.
STEPS = 12
# What MNIST must save.
LEAST = 25.0


def main():
    args = options(__doc__)
    rows = []
    for name, (train, test, parameters) in data(args.quick).items():
        prices = parameters.pop("betas")[:: 2 if args.quick else 1]
        for beta in prices:
            rows.append({"data": name, **compare(train, test, beta, parameters)})
            rows[-1]["holds"] = name != "MNIST" or rows[-1]["saved_percent"] >= LEAST
    report("tables", rows, args, "bits and squared error a held-out row, whole streams")


def data(quick):
    """Rows to learn from, held-out rows, and the codec's parameters, by name."""
    grey = load_mnist()
    few = 20 if quick else 1
    digits, cancer = load_digits().data, load_breast_cancer().data
    mnist = [grey[part].reshape(-1, 784)[::few] / np.float32(255) for part in ("X_train", "X_test")]
    small = {"max_iter": 20 if quick else 2000, "standardize": True}
    wide = {"hidden_layer_sizes": (500,), "max_iter": 4 if quick else 40}
    return {
        "MNIST": (*mnist, {"n_components": 64, "betas": (1.5, 4.0, 12.0), **wide}),
        "digits": (*split(digits), {"n_components": 32, "betas": (0.3, 1.0, 3.0), **small}),
        # 398 rows: too few to learn more than linear maps from.
        "breast cancer": (
            *split(cancer),
            {"n_components": 16, "betas": (0.5, 2.0, 8.0), "hidden_layer_sizes": (), **small},
        ),
    }


def split(X):
    return train_test_split(X, test_size=0.3, random_state=0)


def compare(train, test, beta, parameters):
    start = time.perf_counter()
    codec = UniformNoiseCodec(beta=beta, context="causal", random_state=0, **parameters).fit(train)
    seconds = time.perf_counter() - start
    bits, distortion = size(codec, test), codec.mean_distortion(test)
    low, high, pca = np.log(beta) - 9, np.log(beta) + 9, PCACodec(standardize=codec.standardize)
    for _ in range(STEPS):
        middle = (low + high) / 2
        pca.set_params(beta=float(np.exp(middle))).fit(train)
        low, high = (low, middle) if pca.mean_distortion(test) < distortion else (middle, high)
    return {
        "beta": beta,
        "bits": bits,
        "distortion": distortion,
        "pca_bits": size(pca, test),
        "pca_distortion": pca.mean_distortion(test),
        "saved_percent": 100 * (1 - bits / size(pca, test)),
        "fit_seconds": seconds,
    }


def size(codec, X):
    """Bits a row of the whole stream."""
    return 8 * len(codec.compress(X)) / len(X)


if __name__ == "__main__":
    main()
