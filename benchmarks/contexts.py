"""UniformNoiseCodec with `context="causal"` beside "none": bits of held-out rows, bytes, times.

The context takes no part in training: both have the same nets, code the same integers and lose the
same, so that only bytes and times differ. Of images see `images.py`.
"""

import time

import numpy as np
from _report import fastest, options, report
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.model_selection import train_test_split

from rdlearn import UniformNoiseCodec
from rdlearn.datasets import load_mnist, source

REPEATS = 5


def main():
    args = options(__doc__)
    rng = np.random.default_rng(0)
    # Four words of 30 bits, one bit in twenty flipped: codes lie in heaps.
    words = (rng.random((4, 30)) < 0.5)[rng.integers(0, 4, 3000)] ^ (rng.random((3000, 30)) < 0.05)
    tables = {
        "digits": load_digits().data,
        "breast cancer": load_breast_cancer().data,
        "wine": load_wine().data,
        "iris": load_iris().data,
        "counts": rng.poisson(1.0, size=(2000, 6)).astype(float),
        "words": words.astype(float),
        "words, 2 components": words.astype(float),
        "gaussian": source("gaussian").sample(2000, 0),
        "banana": source("banana").sample(2000, 0),
        "MNIST": load_mnist()["X_train"][: 2000 if args.quick else 20000].reshape(-1, 784) / 255.0,
    }
    rows = []
    for name, X in tables.items():
        train, test = train_test_split(X, test_size=0.3, random_state=0)
        for beta in (0.5, 2.0, 8.0)[:: 2 if args.quick else 1]:
            found = {"data": name, "beta": beta}
            for context in ("none", "causal"):
                width = 2 if name.endswith("2 components") else 16
                found |= measure(width, context, beta, train, test, name == "MNIST", args.quick)
            found["saved_percent"] = 100 * (1 - found["causal_bits"] / found["none_bits"])
            rows.append(found)
    report("contexts", rows, args, "bits a held-out row in whole streams; seconds")


def measure(n_components, context, beta, train, test, large, quick):
    codec = UniformNoiseCodec(
        n_components,
        beta=beta,
        context=context,
        standardize=not large,  # MNIST has constant pixels, and one unit
        max_iter=5 if quick or large else 200,
        random_state=0,
    )
    start = time.perf_counter()
    codec.fit(train)
    seconds = time.perf_counter() - start
    blob = codec.compress(test)
    return {
        f"{context}_bits": 8 * len(blob) / len(test),
        f"{context}_distortion": codec.mean_distortion(test),
        f"{context}_fit": seconds,
        f"{context}_compress": fastest(lambda: codec.compress(test), REPEATS),
        f"{context}_decompress": fastest(lambda: codec.decompress(blob), REPEATS),
    }


if __name__ == "__main__":
    main()
