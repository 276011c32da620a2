"""A table and the small nets that tests of EchoAutoencoder fit to it."""

import numpy as np

SMALL = {"hidden_layer_sizes": (12,), "max_iter": 15, "random_state": 0}


def table(n=300, d=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 3
