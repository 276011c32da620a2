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
GAUSSIAN = GaussianChannel(CODE)


def main():
    args = options(__doc__)
    rounds, steps = (5, 20) if args.quick else (41, 60)
    x = (np.random.default_rng(0).random((BATCH, N_IN)) < 0.2).astype(np.float32)
    calls = {
        "matrix products": products(),
        "rdlearn, echo": step(EchoChannel(CODE), x),
        "rdlearn, gaussian": step(GAUSSIAN, x),
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


def products(batch=BATCH, n_outputs=2 * CODE):
    """The matrix products of a step and nothing else."""
    rng = np.random.default_rng(0)
    sizes = [(N_IN, *HIDDEN, n_outputs), (CODE, *HIDDEN[::-1], N_IN)]
    shapes = [pair for net in sizes for pair in zip(net[:-1], net[1:], strict=True)]

    def f32(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    layers = [
        (f32(batch, a), f32(a, b), f32(batch, b), f32(a, b), f32(batch, a)) for a, b in shapes
    ]

    def call():
        for x, weights, y, _, _ in layers:
            np.matmul(x, weights, out=y)
        for number, (x, weights, y, by_weights, by_x) in enumerate(layers):
            np.matmul(x.T, y, out=by_weights)
            if number > 0:
                np.matmul(y, weights.T, out=by_x)

    return call


def autoencoder(channel, x):
    """Nets of rdlearn and their first parameters."""
    loss = make_loss(Bernoulli(), x.mean(axis=0), 1.0)
    encoder = dense_net(N_IN, HIDDEN, channel.n_outputs, "relu", "encoder")
    decoder = dense_net(CODE, HIDDEN[::-1], N_IN, "relu", "decoder")
    objective = Objective(encoder, channel, decoder, loss)
    return objective, objective.init(np.random.default_rng(0))


def step(channel, x):
    """A training step of rdlearn on a batch, which returns nats a row."""
    (objective, params), rng = autoencoder(channel, x), np.random.default_rng(1)
    grads = np.zeros_like(params)
    views, grad_views = objective.views(params), objective.views(grads)
    work = Workspace()
    adam = Adam(params.size, work.ops)
    state = channel.start(np.float32, work.ops)

    def call():
        nonlocal state
        draw, n = channel.draw(rng, len(x)), len(x)
        code, rate, lost, cache = objective.forward(views, x, x, None, draw, state, work, 1 / n)
        objective.backward(views, grad_views, cache, 1 / n, work)
        adam.step(params, grads, 1e-3)
        state = objective.keep(code, cache, state)
        return float(rate.mean() + lost.mean())

    return call


def gaussian(encoded):
    """Code and rate, in PyTorch, of a Gaussian variational autoencoder."""
    import torch

    mu, log_sigma = encoded.chunk(2, dim=1)
    sigma = log_sigma.exp()
    rate = (0.5 * (mu * mu + sigma * sigma - 1) - log_sigma).sum()
    return mu + sigma * torch.randn_like(mu), rate


def torch_step(x, channel=gaussian, ours=GAUSSIAN, laws=(), fused=None):
    """The same step in PyTorch, on one thread, from the first parameters of our nets.

    `laws` are the parameters of the channel.
    """
    import torch
    from torch import nn

    torch.set_num_threads(1)
    first, second = HIDDEN
    encoder = nn.Sequential(
        nn.Linear(N_IN, first),
        nn.ReLU(),
        nn.Linear(first, second),
        nn.ReLU(),
        nn.Linear(second, ours.n_outputs),
    )
    decoder = nn.Sequential(
        nn.Linear(CODE, second),
        nn.ReLU(),
        nn.Linear(second, first),
        nn.ReLU(),
        nn.Linear(first, N_IN),
    )
    objective, params = autoencoder(ours, x)
    views = objective.views(params)
    for net, arrays in ((encoder, views[0]), (decoder, views[2])):
        for layer, part in zip(net[::2], arrays, strict=True):
            layer.weight.data[:] = torch.tensor(part["weights"].T)
            layer.bias.data[:] = torch.tensor(part["bias"])
    parameters = [*encoder.parameters(), *decoder.parameters(), *laws]
    optimizer = torch.optim.Adam(parameters, lr=1e-3, fused=fused)
    # On the default device, as all that is made here.
    data = torch.tensor(x)

    def call(rows=slice(None)):
        batch = data[rows]
        code, rate = channel(encoder(batch))
        logits = decoder(code)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, batch, reduction="sum")
        mean = (rate + loss) / len(batch)
        optimizer.zero_grad()
        mean.backward()
        optimizer.step()
        return mean.detach()

    return call


if __name__ == "__main__":
    main()
