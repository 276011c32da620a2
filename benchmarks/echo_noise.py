"""What echo noise should be made of, and how its chain should end.

The noise of a row is a chain through other rows of the batch. As published, S is diagonal and
the chain is cut off after d terms, and a clip of S keeps what is cut off below 2**-23: a floor of
the rate. Or the chain ends in a code stored from an earlier batch, which needs no such clip. And S
may be diag(sigma(x)) times a matrix that makes the noise white, which is the default. Tables:

- floor: the least rate of a component, in nats, and the cost of a batch of 100;
- law: codes z and noise eps of f ~ N(0, 1), constant S, batches of 100, 20,000 independent draws:
  Var(eps) as a part of what known moments would give (white noise estimates them on its way), and
  the Kolmogorov-Smirnov distance of z (as mixed into noise) and eps with its p-value. A chain cut
  off at an S beyond its clip shows what the clip is for;
- objective: rate / beta + distortion on Omniglot test images at equal steps.
"""

import math
import time
from dataclasses import replace

import numpy as np
from _report import options, report
from scipy import stats

from rdlearn import EchoAutoencoder
from rdlearn.channels.diagonal_echo import DiagonalEchoChannel, truncation_clip
from rdlearn.channels.echo import EchoChannel
from rdlearn.datasets import load_omniglot
from rdlearn.information import bits_to_nats
from rdlearn.kernels import cpu
from rdlearn.kernels.whitening import MARGIN
from rdlearn.nets.layers import Workspace

TERMS = (None, 25, 50, 99)
WHITE = "white, stored code"
DRAWS = 20_000
BATCH = 100
# The row whose noise is looked at, by its place in the order of the last batch.
MIDDLE = BATCH // 2
EPOCHS = 60


def label(n_terms):
    return "diagonal, stored code" if n_terms is None else f"diagonal, cut off after {n_terms}"


class StoredDiagonal(EchoAutoencoder):
    """Diagonal S and a stored code, which no parameter of the estimator asks for."""

    def _channel(self):
        return DiagonalEchoChannel(self.n_components_)


def main():
    args = options(__doc__)
    rows = [floor(WHITE, EchoChannel(32), 0.5 * math.log(1 + MARGIN))]
    for terms in TERMS:
        channel = DiagonalEchoChannel(32, terms)
        rows.append(floor(label(terms), channel, -channel.log_clip))
    report("echo_noise_floor", rows, args, "batch 100, 32 components")
    scales = (0.5, 0.9, 0.9995) if args.quick else (0.3, 0.5, 0.8, 0.9, 0.95, 0.99, 0.9995)
    rows = [white_law(s) for s in ((0.5, 0.9) if args.quick else (*scales[:-1], 0.998))]
    rows += [law(terms, s) for terms in (None, 99) for s in scales]
    report("echo_noise_law", rows, args, f"{DRAWS} independent draws, f ~ N(0, 1)")
    forms = {WHITE: (EchoAutoencoder, None)}
    for terms in TERMS:
        forms[label(terms)] = (EchoAutoencoder if terms else StoredDiagonal, terms)
    rows = [objective(*item, beta, args.quick) for beta in (1.0, 0.4) for item in forms.items()]
    report("echo_noise_objective", rows, args, "Omniglot test images, equal steps, one seed")


def floor(name, channel, nats):
    rng = np.random.default_rng(0)
    encoded = rng.standard_normal((BATCH, channel.n_outputs)).astype(np.float32)
    work, state = Workspace(), channel.start(np.float32, cpu)
    draw = channel.draw(rng, BATCH)
    times = []
    for _ in range(200):
        start = time.perf_counter()
        code, _, cache = channel.forward(None, encoded, draw, state, work)
        state = channel.keep(code, cache, state)
        channel.backward(None, None, code, 0.01, cache, work)
        times.append(time.perf_counter() - start)
    return {
        "chain": name,
        "floor_nats": nats,
        "microseconds_a_batch": 1e6 * float(np.median(times[1:])),
    }


def law(n_terms, s):
    """Components with f of their own are independent chains, hence independent draws."""
    channel = DiagonalEchoChannel(DRAWS, n_terms, clip=s)
    rng = np.random.default_rng(1)
    work, tail = Workspace(), channel.start(np.float64, cpu)
    # Long enough that the zero the first chain ends in is forgotten.
    batches = 2 + math.ceil(7 / -math.log(s) / BATCH) if n_terms is None else 1
    for _ in range(batches):
        f = rng.standard_normal((BATCH, DRAWS))
        encoded = np.concatenate([f, np.full_like(f, 60.0)], axis=1)
        draw = channel.draw(rng, BATCH)
        code, _, cache = channel.forward(None, encoded, draw, tail, work)
        tail = channel.keep(code, cache, tail)
    order, _, noise = cache
    clip = 0.9995 if n_terms is None else truncation_clip(n_terms)
    z, eps = code[order[MIDDLE]], noise[MIDDLE]
    return compare(label(n_terms), s, s > clip, z, eps, 1 / (1 - s * s))


def white_law(s):
    """Chains of their own, each with the moments that it has seen; S of a code of variance 1."""
    channel, rng = EchoChannel(1), np.random.default_rng(1)
    # Codes of variance 1, as far as the margin lets them: S up to 0.999.
    scatter, square = 1 - (1 + MARGIN) * s * s, s * s
    known = replace(
        channel.start(np.float64, cpu),
        scatter=np.full((1, 1), scatter),
        square=np.full(1, square),
        n_batches=10**6,
    )
    work = Workspace()
    batches = 2 + math.ceil(7 / -math.log(s) / BATCH)
    encoded = np.full((BATCH, 2), 0.5 * math.log(square))
    z, eps = np.empty(DRAWS), np.empty(DRAWS)
    for chain in range(DRAWS):
        state = known
        for _ in range(batches):
            encoded[:, 0] = math.sqrt(scatter) * rng.standard_normal(BATCH)
            draw = channel.draw(rng, BATCH)
            code, _, cache = channel.forward(None, encoded, draw, state, work)
            state = channel.keep(code, cache, state)
        row = draw[MIDDLE]
        deviation = math.sqrt(state.scatter[0, 0] + (1 + MARGIN) * state.square[0])
        z[chain], eps[chain] = (code[row, 0] - state.mean[0]) / deviation, cache[-1][row, 0]
    return compare(WHITE, s, False, z, eps, scatter / (1 - square))


def compare(name, s, beyond_clip, z, eps, variance):
    # Halves, since z contains eps.
    half = DRAWS // 2
    distance = stats.ks_2samp(z[:half], eps[half:])
    return {
        "chain": name,
        "S": s,
        "beyond_clip": beyond_clip,
        "variance_of_noise": float(eps.var() / variance),
        "standard_error": math.sqrt(2 / DRAWS),
        "ks_distance": float(distance.statistic),
        "p_value": float(distance.pvalue),
    }


def objective(name, form, beta, quick):
    kind, n_terms = form
    data = load_omniglot()
    train, test = (data[part].reshape(-1, 784) / np.float32(255) for part in ("X_train", "X_test"))
    test = (np.random.default_rng(0).random(test.shape, dtype=np.float32) < test).astype(np.float32)
    if quick:
        train, test = train[:3000], test[:1000]
    codec = kind(
        32,
        beta=beta,
        distortion="bernoulli",
        hidden_layer_sizes=(300, 300),
        noise_terms=n_terms,
        max_iter=10 if quick else EPOCHS,
        binarize="sample",
        random_state=0,
    ).fit(train)
    codec.set_noise_pool(test)
    nats, loss = bits_to_nats(codec.rate(test)), codec.mean_distortion(test)
    return {
        "chain": name,
        "beta": beta,
        "rate_nats": nats,
        "distortion_nats": loss,
        "objective": nats / beta + loss,
    }


if __name__ == "__main__":
    main()
