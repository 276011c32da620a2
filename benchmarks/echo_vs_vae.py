"""Echo noise against Gaussian and flow posteriors on Omniglot, at equal nets and training.

The comparison of Brekelmans et al. (NeurIPS 2019): dense nets 784-300-300-32 and back, batches of
100, Adam, pixels drawn afresh each epoch; the learning rate of each model is the better of
RATES on held-out training rows. Rate and distortion are those of test images drawn once; echo
noise is made of the codes of other test images, and beside that of training images. Three
seeds at the two betas around 30 nats, one elsewhere; distortions at 30 nats are interpolated.
``--mnist`` draws the same curves on binary MNIST, one seed.
"""

import math
import time
from pathlib import Path

import numpy as np
import pandas as pd
from _report import options, report
from joblib import Parallel, delayed

from rdlearn import EchoAutoencoder, VariationalAutoencoder
from rdlearn.datasets import load_mnist, load_omniglot
from rdlearn.information import bits_to_nats

MODELS = {
    "echo": (EchoAutoencoder, {}),
    "gaussian": (VariationalAutoencoder, {}),
    "iaf": (VariationalAutoencoder, {"flow": "iaf"}),
}
BETAS = (2.2, 1.5, 1.05, 0.85, 0.6, 0.42)
# The two betas whose rates lie on either side of 30 nats.
BRACKET = (1.05, 0.85)
RATES = (1e-3, 2e-3)
EPOCHS, MNIST_EPOCHS = 200, 40
RATE_NATS = 30.0
HELD_OUT = 2000


def main():
    args = options(__doc__, "--mnist")
    name = "echo_vs_vae_mnist" if args.mnist else "echo_vs_vae"
    data = load_mnist() if args.mnist else load_omniglot()
    train, test = (data[part].reshape(-1, 784) / np.float32(255) for part in ("X_train", "X_test"))
    test = np.random.default_rng(0).random(test.shape, dtype=np.float32) < test
    test = test.astype(np.float32)
    train = train[np.random.default_rng(1).permutation(len(train))]
    epochs = MNIST_EPOCHS if args.mnist else EPOCHS
    if args.quick:
        train, test, epochs = train[:4000], test[:1000], 10

    def fit(model, beta, rate, seed, rows, X):
        kind, params = MODELS[model]
        start = time.perf_counter()
        codec = kind(
            32,
            beta=beta,
            distortion="bernoulli",
            hidden_layer_sizes=(300, 300),
            learning_rate_init=rate,
            max_iter=epochs,
            binarize="sample",
            random_state=seed,
            **params,
        ).fit(rows)
        seconds = time.perf_counter() - start
        nats, loss = bits_to_nats(codec.rate(X)), codec.mean_distortion(X)
        training_pool = {"training_pool_rate_nats": math.nan, "training_pool_distortion": math.nan}
        if model == "echo":
            training_pool = dict(zip(training_pool, (nats, loss), strict=True))
            # The rate is exact where noise and codes share their law, here that of test images.
            codec.set_noise_pool(X)
            nats, loss = bits_to_nats(codec.rate(X)), codec.mean_distortion(X)
        return {
            "model": model,
            "beta": beta,
            "seed": seed,
            "learning_rate": rate,
            "rate_nats": nats,
            "distortion_nats": loss,
            "objective": nats / beta + loss,
            **training_pool,
            "fit_seconds": seconds,
        }

    held, kept = train[: HELD_OUT // (10 if args.quick else 1)], train[HELD_OUT:]
    held = (np.random.default_rng(2).random(held.shape, dtype=np.float32) < held).astype(np.float32)
    trials = Parallel(n_jobs=2)(
        delayed(fit)(model, BRACKET[0], rate, 0, kept, held) for model in MODELS for rate in RATES
    )
    best = {}
    for model in MODELS:
        mine = [trial for trial in trials if trial["model"] == model]
        best[model] = min(mine, key=lambda trial: trial["objective"])["learning_rate"]
        print(model, [(t["learning_rate"], round(t["objective"], 2)) for t in mine])
    seeds = 1 if args.quick or args.mnist else 3
    tasks = [
        (model, beta, best[model], seed)
        for beta in sorted(BETAS, key=lambda beta: beta not in BRACKET)
        for seed in range(seeds if beta in BRACKET else 1)
        for model in MODELS
    ]
    note = f"{'MNIST' if args.mnist else 'Omniglot'} test images, {epochs} epochs, nats per image"
    rows = []
    results = Parallel(n_jobs=2, return_as="generator_unordered")(
        delayed(fit)(*task, train, test) for task in tasks
    )
    for row in results:
        # A long run that is cut short leaves what it has.
        rows.append(row)
        args.out.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_csv(args.out / f"{name}_partial.csv", index=False)
    rows.sort(key=lambda row: (list(MODELS).index(row["model"]), -row["beta"], row["seed"]))
    report(name, rows, args, note)
    (args.out / f"{name}_partial.csv").unlink()
    table = pd.DataFrame(rows)
    report(f"{name}_at_{RATE_NATS:.0f}_nats", at_rate(table), args, "interpolated between betas")
    draw(table, args.out / f"{name}{'_quick' if args.quick else ''}.png", note)


def at_rate(table):
    """Distortion at RATE_NATS of each model: of each seed where the bracket has several."""
    rows = []
    for model, curve in table.groupby("model", sort=False):
        values = []
        for _, points in curve.groupby("seed"):
            points = points.sort_values("rate_nats")
            if points["rate_nats"].iloc[0] < RATE_NATS < points["rate_nats"].iloc[-1]:
                values.append(np.interp(RATE_NATS, points["rate_nats"], points["distortion_nats"]))
        error = np.std(values, ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        rows.append(
            {
                "model": model,
                "distortion_nats": np.mean(values) if values else math.nan,
                "standard_error": error,
                "n_seeds": len(values),
            }
        )
    first = rows[0]["distortion_nats"]
    for row in rows:
        row["above_echo"] = row["distortion_nats"] - first
    return rows


def draw(table, path: Path, note):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4.5), layout="constrained")
    for model, curve in table.groupby("model", sort=False):
        means = curve.groupby("beta")[["rate_nats", "distortion_nats"]].mean()
        axes.plot(means["rate_nats"], means["distortion_nats"], "o-", label=model)
    axes.set(xlabel="rate (nats per image)", ylabel="distortion (nats per image)", title=note)
    axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
