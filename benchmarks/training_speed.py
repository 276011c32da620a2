"""One training step against its own matrix products and against PyTorch.

Echo autoencoder 784-300-300-32 and back with Bernoulli distortion, batch 100, float32, one thread
each; a step is everything from the rows to the updated weights. The same step in PyTorch has the
Gaussian code (its noise is one call, where the chain of echo noise would be a Python loop), and
so has a second row of ours. All are timed in turn in the same run, medians of rounds.
"""

import time

import numpy as np
from _report import options, report

from rdlearn._objective import Objective, dense_net
from rdlearn._threads import one_blas_thread
from rdlearn.channels.echo import EchoChannel
from rdlearn.channels.gaussian import GaussianChannel
from rdlearn.distortions import Bernoulli
from rdlearn.nets.adam import Adam
from rdlearn.nets.layers import Workspace
from rdlearn.nets.losses import make_loss

N_IN, HIDDEN, CODE, BATCH = 784, (300, 300), 32, 100
AIM = 1.6


def main():
    args = options(__doc__)
    rounds, steps = (5, 20) if args.quick else (41, 60)
    x = (np.random.default_rng(0).random((BATCH, N_IN)) < 0.2).astype(np.float32)
    calls = {
        "matrix products": products(),
        "rdlearn, echo": step(EchoChannel(CODE), x),
        "rdlearn, gaussian": step(GaussianChannel(CODE), x),
    }
    try:
        calls["PyTorch, gaussian"] = torch_step(x)
    except ImportError:
        print("PyTorch is not installed, so that its step is not timed; pip install torch.")
    times = {name: [] for name in calls}
    with one_blas_thread():
        for call in calls.values():
            call()
        for _ in range(rounds):
            for name, call in calls.items():
                start = time.perf_counter()
                for _ in range(steps):
                    call()
                times[name].append((time.perf_counter() - start) / steps)
    own = np.array(times["matrix products"])
    rows = []
    for name, seconds in times.items():
        seconds = np.array(seconds)
        rows.append(
            {
                "step": name,
                "milliseconds": 1e3 * float(np.median(seconds)),
                "of_own_products": float(np.median(seconds / own)),
                f"at_most_{AIM}": bool(np.median(seconds / own) <= AIM),
            }
        )
    report("training_speed", rows, args, "batch 100, 784-300-300-32, one thread")


def products():
    """The matrix products of a step and nothing else."""
    rng = np.random.default_rng(0)
    sizes = [(N_IN, *HIDDEN, 2 * CODE), (CODE, *HIDDEN[::-1], N_IN)]
    shapes = [pair for net in sizes for pair in zip(net[:-1], net[1:], strict=True)]

    def f32(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    layers = [
        (f32(BATCH, a), f32(a, b), f32(BATCH, b), f32(a, b), f32(BATCH, a)) for a, b in shapes
    ]

    def call():
        for x, weights, y, _, _ in layers:
            np.matmul(x, weights, out=y)
        for number, (x, weights, y, by_weights, by_x) in enumerate(layers):
            np.matmul(x.T, y, out=by_weights)
            if number > 0:
                np.matmul(y, weights.T, out=by_x)

    return call


def step(channel, x):
    """A training step of rdlearn on a batch."""
    loss = make_loss(Bernoulli(), x.mean(axis=0), 1.0)
    encoder = dense_net(N_IN, HIDDEN, channel.n_outputs, "relu", "encoder")
    decoder = dense_net(CODE, HIDDEN[::-1], N_IN, "relu", "decoder")
    objective = Objective(encoder, channel, decoder, loss)
    rng = np.random.default_rng(0)
    params = objective.init(rng)
    grads = np.zeros_like(params)
    views, grad_views = objective.views(params), objective.views(grads)
    work = Workspace()
    adam = Adam(params.size, work.ops)
    state = channel.start(np.float32)

    def call():
        nonlocal state
        draw = channel.draw(rng, BATCH)
        code, _, _, cache = objective.forward(views, x, x, None, draw, state, work, 1 / BATCH)
        objective.backward(views, grad_views, cache, 1 / BATCH, work)
        adam.step(params, grads, 1e-3)
        state = objective.keep(code, cache, state)

    return call


def torch_step(x):
    """The same step of a Gaussian variational autoencoder in PyTorch, on one thread."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    first, second = HIDDEN
    encoder = nn.Sequential(
        nn.Linear(N_IN, first),
        nn.ReLU(),
        nn.Linear(first, second),
        nn.ReLU(),
        nn.Linear(second, 2 * CODE),
    )
    decoder = nn.Sequential(
        nn.Linear(CODE, second),
        nn.ReLU(),
        nn.Linear(second, first),
        nn.ReLU(),
        nn.Linear(first, N_IN),
    )
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    data = torch.from_numpy(x)

    def call():
        mu, log_sigma = encoder(data).chunk(2, dim=1)
        sigma = log_sigma.exp()
        logits = decoder(mu + sigma * torch.randn_like(mu))
        rate = (0.5 * (mu * mu + sigma * sigma - 1) - log_sigma).sum()
        loss = nn.functional.binary_cross_entropy_with_logits(logits, data, reduction="sum")
        optimizer.zero_grad()
        ((rate + loss) / BATCH).backward()
        optimizer.step()

    return call


if __name__ == "__main__":
    main()
