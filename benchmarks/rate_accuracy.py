"""What `rate` says beside what `compress` writes, on rows of training and on any others.

Data: 20,000 rows of eight Laplace variables, mixed. "excess" is bits written beyond those that
`rate` says, in percent, the fixed cost of the stream aside: its header of 54 bytes, and for each
chunk 8 bytes and what the entropy coder's states do not hold (of eight states of 40 bits, 32 bits
each on average; by contexts and of bits, 40 of one state of 48). "fixed" is that cost in bytes.
Limits: 0.1 % on the rows of training, 0.5 % on any others.
"""

import numpy as np
from _report import options, report

from rdlearn import DBNBlahutArimoto, PCACodec, UniformNoiseCodec

LANES, SINGLE = 8 * 32, 40


def codecs(seed):
    """Yield (name, codec, bits that its states do not hold)."""
    for rate in (2, 20):
        for quantizer in ("scalar", "trellis"):
            codec = PCACodec(target_rate=rate, quantizer=quantizer)
            yield f"PCACodec {quantizer}, {rate} bits", codec, LANES
    nets = {"hidden_layer_sizes": (), "max_iter": 6, "random_state": seed}
    for beta in (0.05, 2.0):
        for quantizer in ("round", "centers", "trellis"):
            for context in ("none", "causal"):
                shape = {"quantizer": quantizer, "context": context}
                codec = UniformNoiseCodec(8, beta=beta, **shape, **nets)
                name = f"UniformNoiseCodec {quantizer}, {context}, beta {beta:g}"
                yield name, codec, LANES if context == "none" else SINGLE
    yield "DBNBlahutArimoto", DBNBlahutArimoto(8, max_iter=3, random_state=seed), SINGLE


def main():
    args = options(__doc__)
    n = 2_000 if args.quick else 20_000
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(8, 8))
    train, new = ((rng.laplace(size=(n, 8)) @ mixing).astype(np.float32) for _ in range(2))
    spread = train.std(axis=0)
    tables = {
        "training": train,
        "new": new,
        "shifted": train + 1.5 * spread,
        "far": train + 6 * spread,
        "constant": np.repeat(train[:1], n, axis=0),
        "mean": np.repeat(train.mean(axis=0, keepdims=True), n, axis=0),
    }
    rows = []
    for name, codec, empty in codecs(0):
        bits = isinstance(codec, DBNBlahutArimoto)
        # Four bits of a value, so that words are long enough to be worth a law.
        cut = [
            np.concatenate([X > q * spread for q in (-1, 0, 0.5, 2)], axis=1)
            for X in tables.values()
        ]
        some = dict(zip(tables, cut, strict=True)) if bits else tables
        codec.fit(some["training"])
        row = {"codec": name, "rate_bits": codec.rate(some["training"])}
        for kind, X in some.items():
            written, said = 8 * len(codec.compress(X)), len(X) * codec.rate(X)
            fixed = 8 * 62 + empty
            row[f"{kind}_excess_percent"] = 100 * ((written - fixed) / said - 1)
        row["fixed_bytes"] = fixed / 8
        rows.append(row)
    report("rate_accuracy", rows, args, f"{n} rows of 8 columns, one chunk")


if __name__ == "__main__":
    main()
