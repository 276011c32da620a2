"""One epoch of a restricted Boltzmann machine 784-1000 against scikit-learn's and own products.

Both with one persistent chain a row of the batch (BernoulliRBM has no other), float32, the same
rows, with one BLAS thread and with as many as the machine has cores: ours holds BLAS at one
either way, since products of these sizes gain little from more. The products are those of a step
by BLAS, timed in turn with the epochs; ours are less where bits are mostly 0, of which a fifth of
these rows' are 1. Medians of rounds.
"""

import os
import time

import numpy as np
from _report import options, report
from sklearn.neural_network import BernoulliRBM
from threadpoolctl import threadpool_limits

from rdlearn._boltzmann import Machine, Trainer
from rdlearn._threads import one_blas_thread

D, H, RATE = 784, 1000, 0.01
LEAST = {100: 1.1, 10: 3.0}


def main():
    args = options(__doc__)
    rounds, n = (3, 1000) if args.quick else (9, 3000)
    x = (np.random.default_rng(0).random((n, D)) < 0.2).astype(np.float32)
    rows = []
    for batch in (100, 10):
        for threads in sorted({1, os.cpu_count()}):
            with threadpool_limits(threads, user_api="blas"):
                rows.append(compare(x, batch, threads, rounds))
    report("rbm_speed", rows, args, f"{D}-{H}, {n} rows, float32")


def epochs_of(x, batch):
    """An epoch of ours, one of theirs, and the products of one."""
    machine, rng = Machine(D, H), np.random.default_rng(0)
    machine.init(rng, x.mean(axis=0), 0.01)
    trainer = Trainer(machine, "pcd", 1, 0.0, 0.0, 0)
    theirs = BernoulliRBM(H, batch_size=batch, n_iter=1, learning_rate=RATE, random_state=0)

    def ours():
        with one_blas_thread():
            return trainer.epoch(x, RATE, batch, rng)

    return {"ours": ours, "theirs": lambda: theirs.fit(x), "products": products(x, batch)}


def compare(x, batch, threads, rounds):
    calls = epochs_of(x, batch)
    seconds = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if number:
                seconds[name].append(time.perf_counter() - start)
    ours, theirs, own = (float(np.median(seconds[name])) for name in calls)
    return {
        "batch": batch,
        "blas_threads": threads,
        "ms_a_step": 1e3 * ours * batch / len(x),
        "times_as_fast": theirs / ours,
        "at_least": LEAST[batch],
        "of_own_products": ours / own,
    }


def products(x, batch):
    """The matrix products of an epoch: down from the chains, both halves up, the gradient."""
    weights = np.zeros((D, H), np.float32)
    pair, hidden = np.repeat(x[:batch], 2, axis=0), np.ones((2 * batch, H), np.float32)
    down, up = np.empty((batch, D), np.float32), np.empty_like(hidden)
    gradient = np.empty_like(weights)

    def run():
        with one_blas_thread():
            for _ in range(0, len(x), batch):
                np.matmul(hidden[:batch], weights.T, out=down)
                np.matmul(pair, weights, out=up)
                np.matmul(pair.T, hidden, out=gradient)

    return run


if __name__ == "__main__":
    main()
