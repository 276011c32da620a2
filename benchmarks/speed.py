"""How fast everything is, against the nearest peer and against the work that cannot be avoided.

Tables:

- speed: times as fast as a peer, and time as a multiple of the limit named beside it. A figure of
  what each reaches stands beside the times, since a quick coder that loses more is no quick coder;
- speed_growth: the exponent of time against the size of the problem;
- speed_memory: what a fit, and coding a file, adds to memory;
- speed_start: what a new user waits for.

Ours, peers and limits take turns within one run, medians of rounds, compilation and first calls not
counted, one thread each. What is not installed is left out with a sentence.
"""

import importlib.util
import math
import os
import platform
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import rbm_speed
from _report import options, report
from _speed_growth import growth, memory_of_fits, starts, timed
from blahut_arimoto import BETAS, POINTS, STARTS, dit_blahut_arimoto, dit_value, source
from entropy_coder import OURS, coders, n_bytes, symbols
from pca_throughput import N_FEATURES, correlated, memory
from scipy.linalg import cho_factor
from scipy.special import expit
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits
from training_speed import CODE, N_IN, products, step

from rdlearn import PCACodec, UniformNoiseCodec, blahut_arimoto
from rdlearn._image_nets import image_objective, total_stride
from rdlearn.channels.echo import EchoChannel
from rdlearn.channels.uniform_noise import UniformNoiseChannel
from rdlearn.datasets import load_kodak
from rdlearn.distortions import SquaredError
from rdlearn.metrics import psnr
from rdlearn.nets.convolution import Conv
from rdlearn.nets.layers import Workspace
from rdlearn.nets.losses import make_loss

try:
    import _speed_peers as peers
    import torch
except ImportError:
    torch = None
try:
    import images
except ImportError:
    images = None

# Seconds of a call's turn, of all rounds of a comparison, and the least number of rounds.
TURN, SECONDS, ROUNDS = 0.03, 8.0, 7
QUICK_SECONDS, QUICK_ROUNDS = 0.4, 3
# Steps after which training losses are compared.
STEPS, QUICK_STEPS = 50, 10
# Learning rate of convolutions, and values in a block of rows that stays in the cache.
RATE, BLOCK = 1e-3, 2**18
# Of images.py: patches of a batch and their side; a price, and a step of wavelets, near half a bit
# per pixel.
PATCHES, SIDE = 8, 128
CONV_BETA, WAVELET_STEP = 2.5e-3, 90
OWN, JPEG, NO_FIGURE = "own matrix products", "JPEG 2000", ("", {})
# Packages and their modules.
PEERS = {"torch": "torch", "constriction": "constriction", "dit": "dit", "pillow": "PIL"}
# Least throughput as a part of the peer's, where it is not 1.
COMPRESS, ENCODE, DECODE = 0.15, 1 / 3, 1 / 10


def main():
    args = options(__doc__)
    for module, name in ((torch, "PyTorch"), (dit_blahut_arimoto, "dit"), (images, "Pillow")):
        if module is None:
            print(f"{name} is not installed, so that its rows are left out; pip install it.")
    with threadpool_limits(1):
        if torch is not None:
            torch.set_num_threads(1)
        parts = entropy_coder, boltzmann, dense_nets, image_nets, exact, tables, photographs
        rows = [row for part in parts for row in part(args)]
        texts = [report("speed", rows, args, "one thread each")]
        slopes = list(growth(args.quick))
        texts.append(report("speed_growth", slopes, args, "slopes of log time on log size"))
    rows = list(memory_of_fits(args.quick))
    sizes = (50_000, 100_000, 200_000) if args.quick else (250_000, 1_000_000, 4_000_000)
    for row in memory(sizes):
        row = dict(zip(("rows", "data_MiB", "_", "added_MiB"), row.values(), strict=True))
        del row["_"]
        rows.append({"what": "PCACodec.compress_to", **row})
    note = "peak of anonymous memory that a call adds, in MiB"
    texts.append(report("speed_memory", rows, args, note))
    note = "seconds in fresh processes, digits"
    texts.append(report("speed_start", list(starts(args.quick)), args, note))
    if not args.quick:
        write_page(texts, args.out / "../RESULTS.md")


def write_page(texts, path):
    """All tables as printed, with the machine and the peers' versions."""
    found = {name: version(name) for name in PEERS if importlib.util.find_spec(PEERS[name])}
    processor = Path("/proc/cpuinfo")
    lines = processor.read_text().splitlines() if processor.exists() else []
    models = {line.split(": ", 1)[1] for line in lines if line.startswith("model name")}
    head = (
        "# How fast rdlearn is\n\n"
        "Written by `python benchmarks/speed.py`, which says what the columns mean;\n"
        "`python benchmarks/gpu.py` prints the table of a GPU.\n\n"
        f"{os.cpu_count()} cores, {', '.join(models) or platform.processor()}; "
        + ", ".join(f"{name} {number}" for name, number in found.items())
    )
    path.write_text("\n".join([head, *(f"\n```\n{text}```" for text in texts), ""]))


def compare(what, calls, limit, args, figures, at_least=1.0):
    """A row for each peer of the first call.

    `limit` is a name and a call; `figures` what is measured and its values by the names of calls.
    """
    seconds = in_turn([*calls.values(), limit[1]], args.quick)
    ours, own = seconds[0], seconds[-1]
    measured, reached = figures
    for name, theirs in zip(list(calls)[1:], seconds[1:-1], strict=True):
        times = float(np.median(theirs / ours))
        yield {
            "what": what,
            "peer": name,
            "ms": 1e3 * float(np.median(ours)),
            "peer_ms": 1e3 * float(np.median(theirs)),
            "times_as_fast": times,
            "at_least": at_least,
            "holds": times >= at_least,
            "limit": limit[0],
            "of_limit": float(np.median(ours / own)),
            "figure": measured,
            "ours_is": reached.get(OURS, math.nan),
            "peer_is": reached.get(name, math.nan),
        }


def in_turn(calls, quick):
    """Seconds (n_calls, n_rounds) of calls that take turns; a turn of a short one repeats it."""
    least, total = (QUICK_ROUNDS, QUICK_SECONDS) if quick else (ROUNDS, SECONDS)
    repeats = [max(1, math.ceil(TURN / min(timed(call), timed(call)))) for call in calls]
    rounds, end = [], time.perf_counter() + total
    while len(rounds) < least or time.perf_counter() < end:
        rounds.append([timed(call, n) for call, n in zip(calls, repeats, strict=True)])
    return np.transpose(rounds)


def entropy_coder(args):
    values = symbols(200_000 if args.quick else 1_000_000)
    found = coders(values)
    packed = {name: encode() for name, (encode, _, _) in found.items()}
    figures = "bytes", {name: n_bytes(packed[name]) + found[name][2] for name in found}
    raw, out = np.frombuffer(packed[OURS], np.uint8), np.empty(n_bytes(packed[OURS]), np.uint8)
    copied = np.empty_like(values)

    def copy():
        np.copyto(copied, values)
        np.copyto(out, raw)

    encoders = {name: encode for name, (encode, _, _) in found.items()}
    decoders = {name: partial(found[name][1], packed[name]) for name in found}
    limit = "memory copy", copy
    yield from compare("entropy coder, encode", encoders, limit, args, figures)
    yield from compare("entropy coder, decode", decoders, limit, args, figures)


def boltzmann(args):
    n = 1000 if args.quick else 3000
    x = (np.random.default_rng(0).random((n, rbm_speed.D)) < 0.2).astype(np.float32)
    for batch in (100, 10):
        ours, theirs, own = rbm_speed.epochs_of(x, batch).values()
        calls = {OURS: ours, "sklearn BernoulliRBM": theirs}
        machine, v = theirs(), x[:batch]
        again = expit(machine.transform(v) @ machine.components_ + machine.intercept_visible_)
        reached = {"sklearn BernoulliRBM": float(((v - again) ** 2).sum(axis=1).mean())}
        if torch is not None:
            calls["PyTorch"] = peers.boltzmann_epoch(x, batch, rbm_speed.RATE, rbm_speed.H)
            reached["PyTorch"] = calls["PyTorch"]()
        figures = "squared error a row", {OURS: ours(), **reached}
        what = f"Boltzmann machine, epoch of {n} rows, batch {batch}"
        yield from compare(what, calls, (OWN, own), args, figures)


def dense_nets(args):
    if torch is None:
        return
    n_steps = QUICK_STEPS if args.quick else STEPS
    jobs = (
        ("echo", EchoChannel, 2 * CODE, ("gaussian", "echo")),
        ("uniform noise", UniformNoiseChannel, CODE, ("uniform noise",)),
    )
    for kind, channel, n_outputs, theirs in jobs:
        for batch in (100, 1000):
            x = (np.random.default_rng(0).random((batch, N_IN)) < 0.2).astype(np.float32)
            calls = {OURS: step(channel(CODE), x)}
            calls |= {f"PyTorch, {name}": peers.dense_step(x, name) for name in theirs}
            reached = {name: after(call, n_steps) for name, call in calls.items()}
            what = f"training step, {kind}, 784-300-300-{CODE}, batch {batch}"
            figures = f"nats a row, step {n_steps}", reached
            limit = OWN, products(batch, n_outputs)
            yield from compare(what, calls, limit, args, figures)


def after(call, n_steps):
    """What the last of some steps returns."""
    return float([call() for _ in range(n_steps)][-1])


def image_nets(args):
    if torch is None or images is None:
        return
    hidden, n_components = images.CONV["hidden_layer_sizes"], images.CONV["n_components"]
    rng = np.random.default_rng(0)
    photos = load_kodak().images[:PATCHES]
    x = np.stack([photo[:SIDE, :SIDE] for photo in photos]).astype(np.float32)
    x = (x - x.mean()) / x.std()
    channel = UniformNoiseChannel(n_components, (SIDE // total_stride(hidden)) ** 2)
    loss = make_loss(SquaredError(), np.zeros(x[0].size), 1.0)
    objective = image_objective(3, hidden, channel, loss, (SIDE, SIDE))
    params = objective.init(rng)
    gradient, optimizer = image_steps(objective, params, x, rng)
    theirs, their_optimizer = peers.image_steps(objective, params, x, RATE)
    encoder, _, decoder = objective.views(params)
    own = image_products(objective.encoder, encoder, x.shape[:3], back=True, wants_input=False)
    more = image_products(
        objective.decoder, decoder, (PATCHES, *[SIDE // total_stride(hidden)] * 2), back=True
    )
    limit = OWN, lambda: (own(), more())
    what = f"{PATCHES} patches of {SIDE} x {SIDE}, 64 and 64 channels"
    calls = {OURS: gradient, "PyTorch": theirs}
    figures = "nats an image", {name: call() for name, call in calls.items()}
    yield from compare(f"convolutions, gradient, {what}", calls, limit, args, figures)
    n_steps = QUICK_STEPS if args.quick else STEPS
    calls = {
        OURS: lambda: (gradient(), optimizer())[0],
        "PyTorch, Adam": lambda: (theirs(), their_optimizer())[0],
    }
    reached = {name: after(call, n_steps) for name, call in calls.items()}
    figures = f"nats an image, step {n_steps}", reached
    yield from compare(f"convolutions, step by SOAP, {what}", calls, limit, args, figures)


def image_steps(objective, params, x, rng):
    """Forward and backward of our nets, which returns nats an image, and the optimizer's step."""
    grads, work = np.zeros_like(params), Workspace()
    views, grad_views = objective.views(params), objective.views(grads)
    target, n = x.reshape(len(x), -1), len(x)
    optimizer = objective.optimizer(work.ops)

    def gradient():
        draw = objective.channel.draw(rng, n)
        _, rate, lost, cache = objective.forward(views, x, target, None, draw, None, work, 1 / n)
        objective.backward(views, grad_views, cache, 1 / n, work)
        return float(rate.mean() + lost.mean())

    return gradient, lambda: optimizer.step(params, grads, RATE)


def image_products(net, views, shape, back=False, wants_input=True):
    """The matrix products of convolutional nets on images of a shape (n, height, width).

    In blocks of rows that stay in the cache, as ours are.
    """
    rng, jobs = np.random.default_rng(0), []
    n, height, width = shape
    for layer, part in zip(net.layers, views, strict=True):
        if "gamma" in part:
            places, k, m = height * width, layer.n_out, layer.n_out
        else:
            *square, m = part["weights"].shape
            k, stride = math.prod(square), layer.stride
            if isinstance(layer, Conv):
                height, width = -(-height // stride), -(-width // stride)
            places = height * width
            if not isinstance(layer, Conv):
                height, width = height * stride, width * stride
        blocks = math.ceil(places * k / BLOCK) * n
        rows = math.ceil(places * n / blocks)
        first = not wants_input and layer is net.layers[0]
        arrays = (rng.random(size, dtype=np.float32) for size in ((rows, k), (k, m), (rows, m)))
        jobs.append((blocks, not back, first, *arrays))

    def call():
        for blocks, only, first, x, weights, y in jobs:
            by_weights, by_x = np.empty_like(weights), np.empty_like(x)
            for _ in range(blocks):
                np.matmul(x, weights, out=y)
                if only:
                    continue
                np.matmul(x.T, y, out=by_weights)
                if not first:
                    np.matmul(y, weights.T, out=by_x)

    return call


def exact(args):
    p, d = source(POINTS)
    square = np.random.default_rng(0).random(d.shape) + POINTS * np.eye(POINTS)
    for beta in (1.0, 20.0) if args.quick else sorted(BETAS):
        result = blahut_arimoto(p, d, beta)

        def newton(n_iter=result.n_iter):
            for _ in range(n_iter):
                cho_factor(square.T @ square, lower=True)

        calls = {OURS: partial(blahut_arimoto, p, d, beta)}
        reached = {OURS: result.gap}
        for n_starts in STARTS.values() if dit_blahut_arimoto else ():
            name = f"dit, {n_starts} start{'s' * (n_starts > 1)}"
            calls[name] = partial(dit_value, p, d, beta, n_starts)
            reached[name] = calls[name]() - result.lower_bound
        figures = "nats above the proven bound", reached
        what = f"blahut_arimoto, {POINTS} points, beta {beta:.3g}"
        limit = "own Newton systems", newton
        yield from compare(what, calls, limit, args, figures)


def tables(args):
    n = 100_000 if args.quick else 1_000_000
    X = correlated(n)
    codec, pca = PCACodec(target_rate=40), PCA(N_FEATURES)
    X64, weights, out = X.astype(np.float64), correlated(N_FEATURES), np.empty_like(X)
    what = f"{n} x {N_FEATURES}"
    calls = {OURS: lambda: codec.fit(X), "sklearn PCA.fit": lambda: pca.fit(X)}
    yield from compare(f"PCACodec.fit, {what}", calls, (OWN, lambda: X64.T @ X64), args, NO_FIGURE)
    calls = {OURS: lambda: codec.compress(X), "sklearn PCA.transform": lambda: pca.transform(X)}
    limit = OWN, lambda: np.matmul(X, weights, out=out)
    yield from compare(f"PCACodec.compress, {what}", calls, limit, args, NO_FIGURE, COMPRESS)


def photographs(args):
    if images is None:
        return
    rows = images.training_rows()[::20]
    photos = load_kodak().images[: 1 if args.quick else 3]
    epochs = 4 if args.quick else 100
    forms = {
        "wavelet": {"beta": 6 / WAVELET_STEP**2},
        "conv": {**images.CONV, "beta": CONV_BETA, "max_iter": epochs},
    }
    for name, parameters in forms.items():
        codec = UniformNoiseCodec(
            architecture=name,
            image_shape=images.SHAPE,
            context="causal",
            data_range=255,
            random_state=0,
            **parameters,
        ).fit(rows)
        what = "wavelet" if name == "wavelet" else f"conv, nearly untrained ({epochs} epochs)"
        yield from beside_jpeg_2000(f"{what}, {len(photos)} of Kodak", codec, photos, args)


def beside_jpeg_2000(what, codec, photos, args):
    """Encoding and decoding, JPEG 2000 asked for as many bytes."""
    ours = [codec.encode_image(photo) for photo in photos]
    bits = [8 * len(data) / photo[..., 0].size for data, photo in zip(ours, photos, strict=True)]
    jobs = list(zip(bits, photos, strict=True))
    theirs = [images.encode(JPEG, *job) for job in jobs]
    encoders = {
        OURS: lambda: [codec.encode_image(photo) for photo in photos],
        JPEG: lambda: [images.encode(JPEG, *job) for job in jobs],
    }
    decoders = {
        OURS: lambda: [codec.decode_image(data) for data in ours],
        JPEG: lambda: [images.decode(JPEG, data) for data in theirs],
    }
    reached = {
        name: np.mean([psnr(a, b, data_range=255) for a, b in zip(photos, call(), strict=True)])
        for name, call in decoders.items()
    }
    figures = f"PSNR at {np.mean(bits):.2f} bit per pixel", reached
    pixels = [photo.astype(np.float32) for photo in photos]
    limits = [("memory copy", lambda: [np.copy(part) for part in pixels])] * 2
    if codec.architecture == "conv":
        nets = codec._image_transform()
        (encoder, _, decoder), size = nets.views, photos[0].shape[:2]
        down = image_products(nets.objective.encoder, encoder, (len(photos), *size))
        coarse = (len(photos), *nets.places(*size))
        limits = [(OWN, down), (OWN, image_products(nets.objective.decoder, decoder, coarse))]
    for job, calls, limit, least in zip(
        ("encode", "decode"), (encoders, decoders), limits, (ENCODE, DECODE), strict=True
    ):
        yield from compare(f"{job}, {what}", calls, limit, args, figures, least)


if __name__ == "__main__":
    main()
