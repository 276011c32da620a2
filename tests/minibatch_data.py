"""A table and the small nets that tests of the training loop fit to it."""

import numpy as np

from rdlearn import EchoAutoencoder

SMALL = {"hidden_layer_sizes": (8,), "max_iter": 6, "random_state": 0}


def table(n=200, d=4, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)) * 2


def echo(**params):
    return EchoAutoencoder(**{"n_components": 2} | SMALL | params)
