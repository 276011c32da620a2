"""Fits on a GPU, beside the same fits on the processors and beside PyTorch on the same GPU.

An epoch of MNIST (60,000 rows) for dense nets at batches of 1000 and for a Boltzmann machine, and
one K of the DAE paper's schedule (`mnist_dae.py --schedule paper`), cut to a round of one epoch
unless ``--whole`` asks for all of it. Compilation and what surrounds the epochs are taken off: the
time of several epochs less that of one. On the processors as many threads as there are cores. The
last `rate` and `distortion` on both devices stand beside.

Limits: 10 times as fast as the processors, at most 1.3 times as long as PyTorch. Without a GPU
the processors alone are timed.
"""

import os
import time
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from _report import options, report
from mnist_dae import PAPER
from sklearn.base import clone

from rdlearn import (
    DBNBlahutArimoto,
    EchoAutoencoder,
    RestrictedBoltzmannMachine,
    UniformNoiseCodec,
    VariationalAutoencoder,
)
from rdlearn.datasets import load_mnist
from rdlearn.kernels import get_ops

try:
    import _speed_peers as peers
    import torch
except ImportError:
    torch = None

AS_FAST, AS_LONG = 10.0, 1.3
BATCH, K = 1000, 24
# Epochs that are timed: on a GPU enough of them to stand out from what surrounds them.
EPOCHS = {"cpu": 5, "cuda": 50}


def main():
    args = options(__doc__, "--whole")
    try:
        name = get_ops("cuda").device_name()
    except ValueError as error:
        name = None
        print(f"{error}\nOnly the processors are timed.")
    grey = load_mnist()["X_train"].reshape(60_000, 784).astype(np.float32) / np.float32(255)
    X = grey[:3000] if args.quick else grey
    nets = {
        "hidden_layer_sizes": (300, 300),
        "distortion": "bernoulli",
        "beta": 2.5,
        "batch_size": BATCH,
        "random_state": 0,
    }
    machine = RestrictedBoltzmannMachine(
        1000, gradient="pcd", batch_size=BATCH, binarize=0.5, random_state=0
    )
    jobs = [
        ("EchoAutoencoder", EchoAutoencoder(32, **nets), X, "echo"),
        ("VariationalAutoencoder", VariationalAutoencoder(32, **nets), X, "gaussian"),
        ("UniformNoiseCodec", UniformNoiseCodec(32, **nets), X, "uniform noise"),
        ("RestrictedBoltzmannMachine", machine, X, "machine"),
    ]
    rows = [epochs(*job, name, args.quick) for job in jobs]
    rows.append(paper(X, name, args))
    found = ("numba-cuda", "cupy-cuda12x", "cupy-cuda13x", "torch")
    versions = [f"{package} {number}" for package in found if (number := installed(package))]
    where = ", ".join([name or "no GPU", f"{os.cpu_count()} cores", *versions])
    report("gpu", rows, args, f"{where}; seconds an epoch of {len(X)} rows")


def epochs(what, model, X, peer, gpu, quick):
    """Seconds of an epoch on both devices and in PyTorch."""
    row = {"what": f"{what}, batch {BATCH}"}
    for device in ("cpu", "cuda") if gpu else ("cpu",):
        seconds, fitted, n = {}, None, 2 if quick else EPOCHS[device]
        # The first fit compiles.
        for max_iter in (1, 1, n):
            fitted = clone(model).set_params(max_iter=max_iter, device=device)
            seconds[max_iter] = timed(lambda fitted=fitted: fitted.fit(X))
        row[f"{device}_s"] = (seconds[n] - seconds[1]) / (n - 1)
        row |= {f"{device}_{name}": value for name, value in figures(fitted).items()}
    if gpu and torch is not None:
        torch.set_default_device("cuda")
        run = torch_epoch(peer, X)
        run()
        row["torch_s"] = min(timed(run) for _ in range(EPOCHS["cpu"]))
        torch.set_default_device("cpu")
    return compared(row)


def paper(X, gpu, args):
    """Seconds of one K of the paper's schedule: all of it, or one round of one epoch."""
    short = {} if args.whole else {"n_epochs": 1, "max_iter": 1, "fine_tune_epochs": 1}
    model = DBNBlahutArimoto(K, beta=4.0, binarize="sample", random_state=0, encoder_search=None)
    model.set_params(**PAPER | short)
    row = {"what": f"DBNBlahutArimoto, the paper's schedule, K = {K}" + " (cut)" * bool(short)}
    for device in ("cuda", "cpu") if gpu else ("cpu",):
        fitted = clone(model).set_params(device=device)
        if device == "cuda":
            clone(fitted).fit(X[:300])
        row[f"{device}_s"] = timed(lambda fitted=fitted: fitted.fit(X))
        row |= {f"{device}_{name}": value for name, value in figures(fitted).items()}
    return compared(row)


def compared(row):
    cpu, gpu, theirs = (row.get(f"{name}_s", np.nan) for name in ("cpu", "cuda", "torch"))
    row |= {"times_the_cpu": cpu / gpu, "of_torch": gpu / theirs}
    # Empty where a limit was not looked at.
    seen = np.isfinite([cpu / gpu, gpu / theirs]).all()
    row["holds"] = bool(cpu / gpu >= AS_FAST and gpu / theirs <= AS_LONG) if seen else ""
    return row


def figures(fitted):
    """The last row of the history: rate and distortion, or the error of reconstructions."""
    last = fitted.history_.iloc[-1]
    names = {"rate_bits": "rate", "distortion": "distortion", "reconstruction_error": "distortion"}
    return {short: float(last[name]) for name, short in names.items() if name in last}


def torch_epoch(peer, X):
    """An epoch in PyTorch, which ends when the GPU has done it."""
    if peer == "machine":
        return peers.boltzmann_epoch((X > 0.5).astype(np.float32), BATCH, 0.1, 1000)
    step = peers.dense_step(X, peer)

    def run():
        for rows in torch.randperm(len(X)).split(BATCH):
            step(rows)
        torch.cuda.synchronize()

    return run


def installed(package):
    """The version of a package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def timed(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
