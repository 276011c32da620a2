"""DBN-BA on sources small enough to know: F = R + beta D against exact block Blahut-Arimoto.

Words of 8 to 12 bits: independent, a Markov chain, a mixture of noisy templates; 10,000 of them
for each fit, one hidden layer. F = -E ln sum_y p(y) exp(-beta d(x, y)) is summed here over all
words from the weights of the fitted network. Beside it the same machine trained on the words
themselves for as many epochs, and then, reported only: parity of 4 and 8 bits, and two hidden
layers, for which the tilt of the visible biases is not the law that the paper's theorem says.
"""

import os

import numpy as np
from _report import options, report
from joblib import Parallel, delayed
from scipy.special import logsumexp

from rdlearn import DBNBlahutArimoto, RestrictedBoltzmannMachine, blahut_arimoto

BETAS = (0.5, 1.0, 2.0, 3.0, 4.0)
LIMIT = {0.5: 5.0, 1.0: 3.0, 2.0: 3.0, 3.0: 3.0, 4.0: 3.0}
N_WORDS, SEEDS, HIDDEN = 10_000, 5, 24
FIT = {"max_iter": 20, "n_epochs": 4, "n_gibbs": 60, "learning_rate_init": 0.5}
# Three rounds' worth of epochs on the data come first.
EPOCHS = (FIT["max_iter"] + 3) * FIT["n_epochs"]
NO_CODE = {"fine_tune_epochs": 0, "encoder_search": None}


def words(n):
    return (np.arange(2**n)[:, None] >> np.arange(n)) & 1


def sources(n):
    """Probabilities of all words of n bits."""
    s = words(n)
    flips = (s[:, 1:] != s[:, :-1]).sum(axis=1)
    rng = np.random.default_rng(5)
    templates = rng.integers(0, 2, size=(4, n))
    wrong = (s[:, None] != templates).sum(axis=2)
    return {
        "independent": np.where(s == 1, 0.3, 0.7).prod(axis=1),
        "markov": 0.5 * 0.15**flips * 0.85 ** (n - 1 - flips),
        "templates": (0.25 * 0.08**wrong * 0.92 ** (n - wrong)).sum(axis=1),
    }


def parity(n):
    even = words(n).sum(axis=1) % 2 == 0
    return even / even.sum()


def losses(n):
    s = words(n)
    return (s[:, None] != s).sum(axis=2).astype(float)


def objective(p, log_p, d, beta):
    """F of a source p and a law of reproductions."""
    return -p @ logsumexp(log_p - beta * d, axis=1)


def law(machines):
    """Log probabilities of all visible words, summed over the layers of a network."""
    *lower, top = machines
    weights, visible, hidden = (np.asarray(part, dtype=float) for part in top)
    s = words(len(visible))
    logs = s @ visible + np.logaddexp(0, s @ weights + hidden).sum(axis=1)
    logs -= logsumexp(logs)
    for weights, visible, _ in reversed(lower):
        inputs = s @ np.asarray(weights, dtype=float).T + visible
        s = words(len(visible))
        each = inputs @ s.T - np.logaddexp(0, inputs).sum(axis=1)[:, None]
        logs = logsumexp(logs[:, None] + each, axis=0)
    return logs


def parts(codec):
    return [(m.weights, m.visible, m.hidden) for m in codec._belief_net().machines]


def fit(name, p, n, beta, seed, hidden_layer_sizes=()):
    sample = np.random.default_rng(seed).choice(2**n, size=N_WORDS, p=p)
    X, d = words(n)[sample], losses(n)
    best = blahut_arimoto(p, d, beta, tol=1e-6).upper_bound
    top = HIDDEN if not hidden_layer_sizes else 10
    codec = DBNBlahutArimoto(
        top, hidden_layer_sizes=hidden_layer_sizes, beta=beta, random_state=seed, **FIT, **NO_CODE
    ).fit(X)
    rbm = RestrictedBoltzmannMachine(HIDDEN, learning_rate_init=0.5, max_iter=EPOCHS)
    rbm.set_params(weight_decay=0.0, random_state=seed).fit(X)
    plain = [(rbm.components_.T, rbm.intercept_visible_, rbm.intercept_hidden_)]
    estimate = codec.rate_distortion_estimate_
    return {
        "source": name,
        "bits": n,
        "layers": 1 + len(hidden_layer_sizes),
        "beta": beta,
        "seed": seed,
        "exact": best,
        "excess_percent": 100 * (objective(p, law(parts(codec)), d, beta) / best - 1),
        "without_percent": 100 * (objective(p, law(plain), d, beta) / best - 1),
        "estimate_percent": 100
        * ((estimate["rate_bits"] * np.log(2) + beta * estimate["distortion"]) / best - 1),
    }


def main():
    args = options(__doc__)
    sizes, seeds = ((8,), 2) if args.quick else ((8, 10, 12), SEEDS)
    betas = (0.5, 2.0) if args.quick else BETAS
    todo = [
        (name, p, n, beta, seed)
        for n in sizes
        for name, p in sources(n).items()
        for beta in betas
        for seed in range(seeds)
    ]
    todo += [(f"parity {n}", parity(n), n, beta, 0) for n in (4, 8) for beta in betas]
    deep = [(name, p, 10, beta, 0, (10,)) for name, p in sources(10).items() for beta in betas]
    rows = Parallel(n_jobs=os.cpu_count())(delayed(fit)(*case) for case in todo + deep)
    report("dbn_sources_fits", rows, args, "excess of F over exact Blahut-Arimoto, in percent")
    summary = []
    for case in dict.fromkeys(
        (row["source"], row["bits"], row["layers"], row["beta"]) for row in rows
    ):
        name, n, layers, beta = case
        mine = [
            row for row in rows if (row["source"], row["bits"], row["layers"], row["beta"]) == case
        ]
        worst = max(row["excess_percent"] for row in mine)
        asked = layers == 1 and not name.startswith("parity")
        below = all(row["excess_percent"] < row["without_percent"] for row in mine)
        summary.append(
            {
                "source": name,
                "bits": n,
                "layers": layers,
                "beta": beta,
                "worst_percent": worst,
                "mean_percent": np.mean([row["excess_percent"] for row in mine]),
                "without_percent": np.mean([row["without_percent"] for row in mine]),
                "limit": LIMIT[beta] if asked else np.nan,
                "holds": (worst <= LIMIT[beta] and (below or beta > 2)) if asked else "",
            }
        )
    report("dbn_sources", summary, args, f"excess of F in percent, {seeds} seeds")


if __name__ == "__main__":
    main()
