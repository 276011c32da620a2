"""Tables of bits, and the small networks that tests fit to them."""

import numpy as np
from reference import words

from rdlearn import DBNBlahutArimoto

N = 6
RULES = {"max_iter": 15, "n_epochs": 2, "n_gibbs": 20, "learning_rate_init": 0.5}


def markov(n=N, flip=0.15):
    s = words(n)
    flips = (s[:, 1:] != s[:, :-1]).sum(axis=1)
    return 0.5 * flip**flips * (1 - flip) ** (n - 1 - flips)


def sample(p, n, seed=0):
    return words(N)[np.random.default_rng(seed).choice(len(p), size=n, p=p)]


def table(n=600, d=30, seed=0):
    """Noisy copies of four words."""
    base = np.random.default_rng(9).integers(0, 2, size=(4, d))
    rng = np.random.default_rng(seed)
    return base[rng.integers(4, size=n)] ^ (rng.random((n, d)) < 0.05)


def codec(**params):
    rules = {"max_iter": 3, "n_epochs": 2, "n_gibbs": 3, "fine_tune_epochs": 20, "batch_size": 20}
    return DBNBlahutArimoto(**{"n_components": 3, "random_state": 0} | rules | params)
