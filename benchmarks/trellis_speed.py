"""Symbols a second of the trellis: its search, and decoding beside scalar quantizers.

One thread, all in one run, by turns; medians. Search: `quantize` of values in memory. Coder:
payload to values; codec: `decompress`, which also turns components back into features. Asked: a
search of 5 million symbols a second, decoding half as fast as the scalar codec.

A second table, `trellis_fit`, has fits to a target rate: seconds, rounds of search and new tables,
and what rows and joint streams reach, on rows that are independent and on rows that drift. Asked:
both between 0.98 and 1.0 of the target, and 60,000 drifting rows of 30 columns in 10 seconds.
"""

import time

import numpy as np
from _report import options, report
from numba import set_num_threads
from threadpoolctl import threadpool_limits

from rdlearn import PCACodec, UniformNoiseCodec
from rdlearn.datasets import load_kodak


def main():
    args = options(__doc__)
    set_num_threads(1)
    n = 100_000 if args.quick else 1_000_000
    rounds = 3 if args.quick else 15
    rng = np.random.default_rng(0)
    rows = []
    with threadpool_limits(1):
        for n_columns, bits in ((1, 1.0), (1, 3.0), (20, 1.0), (20, 3.0)):
            X = rng.normal(size=(n // n_columns, n_columns)).astype(np.float32)
            rows += tables(X, bits, rounds)
        rows.append(photographs(rounds, args.quick))
    report("trellis_speed", rows, args, f"{n} symbols, medians of {rounds} rounds")
    fits(args)


def fits(args):
    share = 10 if args.quick else 1
    rng = np.random.default_rng(0)
    drifting = rng.normal(size=(200_000 // share, 30)).cumsum(axis=0)
    rows = [
        fitted("independent rows", rng.normal(size=(100_000 // share, 40)), 60.0),
        fitted("drifting rows", drifting[: 60_000 // share], 60.0),
        fitted("drifting rows", drifting, 60.0),
        fitted("sparse counts", rng.poisson(0.1, size=(20_000 // share, 25)).astype(float), 8.0),
    ]
    report("trellis_fit", rows, args, "PCACodec(quantizer='trellis', target_rate=...)")


def fitted(what, X, target):
    start = time.perf_counter(), time.process_time()
    codec = PCACodec(quantizer="trellis", target_rate=target).fit(X)
    wall, busy = time.perf_counter() - start[0], time.process_time() - start[1]
    # Of long tables the head of a chunk is nothing beside its symbols.
    stream = codec.compress(X, joint=True)
    joint_rate = 8 * len(stream) / len(X)
    joint_loss = float(codec.distortion_.samples(X, codec.decompress(stream)).mean())
    return {
        "what": what,
        "n_rows": X.shape[0],
        "n_columns": X.shape[1],
        "target_bits": target,
        "seconds": wall,
        "cpu_seconds": busy,
        "rounds": codec.n_iter_,
        "rate_over_target": codec.rate(X) / target,
        "joint_over_target": joint_rate / target,
        "distortion": codec.mean_distortion(X),
        "joint_distortion": joint_loss,
    }


def tables(X, bits, rounds):
    params = {"target_rate": bits * X.shape[1]}
    scalar = PCACodec(**params).fit(X)
    trellis = PCACodec(**params, quantizer="trellis").fit(X)
    base = coding(scalar, scalar.quantizers_, X, False)
    for joint, quantizers in ((False, trellis.quantizers_), (True, trellis.joint_quantizers_)):
        calls = coding(trellis, quantizers, X, joint)
        times = medians({**calls, **{f"scalar {k}": v for k, v in base.items()}}, rounds)
        yield row(
            f"{X.shape[1]} components, {bits:g} bits, {'joint' if joint else 'rows'}",
            X.size,
            times,
        )


def coding(codec, quantizers, X, joint):
    y = ((X - codec.mean_) @ codec.components_[quantizers.active].T).astype(np.float64)
    symbols = np.empty(y.shape[::-1], dtype=np.int64)
    quantizers.quantize(y, symbols)
    payload, blob = quantizers.tables.encode(symbols), codec.compress(X, joint=joint)
    return {
        "search": lambda: quantizers.quantize(y, symbols),
        "coder": lambda: quantizers.dequantize(
            quantizers.tables.decode(payload, len(X)), np.float32
        ),
        "codec": lambda: codec.decompress(blob),
    }


def photographs(rounds, quick):
    images = np.stack([image[:320, :480] for image in load_kodak().images[: 2 if quick else 8]])
    X, calls = images.reshape(len(images), -1).astype(np.float32), {}
    for quantizer, prefix in (("round", "scalar "), ("trellis", "")):
        codec = UniformNoiseCodec(
            architecture="wavelet",
            image_shape=images.shape[1:],
            context="causal",
            data_range=255,
            beta=6 / 30**2,
            quantizer=quantizer,
        ).fit(X)
        steps = codec._in_steps(codec._values(X[:1]))
        code, blob = codec.code_, codec.encode_image(images[0])
        payload = code.encode(code.quantize(steps))
        calls[f"{prefix}search"] = lambda code=code, steps=steps: code.quantize(steps)
        calls[f"{prefix}coder"] = lambda code=code, payload=payload: code.dequantize(
            code.decode(payload, 1)
        )
        calls[f"{prefix}codec"] = lambda codec=codec, blob=blob: codec.decode_image(blob)
    # Two passes are one search.
    return row("photograph, wavelet", X.shape[1], medians(calls, rounds))


def medians(calls, rounds):
    """Median seconds of calls, made by turns; the first ones compile."""
    seconds = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in seconds.items()}


def row(what, n_symbols, times):
    speed = {name: n_symbols / t / 1e6 for name, t in times.items()}
    coder, codec = (speed[name] / speed[f"scalar {name}"] for name in ("coder", "codec"))
    return {
        "what": what,
        "search_msymbols_s": speed["search"],
        "scalar_search": speed["scalar search"],
        "decode_msymbols_s": speed["coder"],
        "scalar_decode": speed["scalar coder"],
        "coder_over_scalar": coder,
        "codec_over_scalar": codec,
        "holds": speed["search"] >= 5 and codec >= 0.5,
    }


if __name__ == "__main__":
    main()
