"""The entropy coder beside constriction, zlib and lzma: overhead and speed, one thread.

Data: 1,000,000 symbols of round(N(0, 3)). Overhead is counted above the empirical entropy of
the data: `rdlearn` with its tables, stream header and chunk head, the others as they come (and
constriction without its model). The same integer frequencies serve rdlearn and constriction.
Limits: at most 0.05 % overhead; encoding at least as fast as constriction, decoding at least
three times as fast.
"""

import lzma
import zlib

import constriction
import numpy as np
from _report import fastest, options, report

from rdlearn.coding.tables import IntegerTables

HEADER, CHUNK_HEAD = 54, 8


def main():
    args = options(__doc__)
    n, repeats = (100_000, 3) if args.quick else (1_000_000, 15)
    values = np.round(np.random.default_rng(0).normal(0, 3, n)).astype(np.int64)
    counts = np.unique(values, return_counts=True)[1]
    entropy = -np.sum(counts * np.log2(counts / n))

    tables = IntegerTables.fit(values[:, None])
    symbols = np.ascontiguousarray(values[None, :])
    blob = tables.encode(symbols)
    assert np.array_equal(tables.decode(blob, n)[0], values)
    stored = sum(array.nbytes for array in tables.to_state().values())
    rows = [
        {
            "coder": "rdlearn",
            "bytes": len(blob) + stored + HEADER + CHUNK_HEAD,
            "encode_s": fastest(lambda: tables.encode(symbols), repeats),
            "decode_s": fastest(lambda: tables.decode(blob, n), repeats),
        }
    ]

    # constriction has no escape: it gets the same table, and the values outside clipped.
    low, size = int(tables.low[0]), int(tables.size[0])
    inside = np.clip(values - low, 0, size - 1).astype(np.int32)
    frequencies = tables.frequencies[:-1].astype(np.float64)
    model = constriction.stream.model.Categorical(
        frequencies / frequencies.sum(), perfect=False, lazy=False
    )

    def ans_encode():
        coder = constriction.stream.stack.AnsCoder()
        coder.encode_reverse(inside, model)
        return coder.get_compressed()

    def range_encode():
        coder = constriction.stream.queue.RangeEncoder()
        coder.encode(inside, model)
        return coder.get_compressed()

    peers = {
        "constriction ANS": (ans_encode, constriction.stream.stack.AnsCoder),
        "constriction range": (range_encode, constriction.stream.queue.RangeDecoder),
    }
    for name, (encode, decoder) in peers.items():
        words = encode()
        assert np.array_equal(decoder(words).decode(model, n), inside)
        rows.append(
            {
                "coder": name,
                "bytes": words.nbytes,
                "encode_s": fastest(encode, repeats),
                "decode_s": fastest(lambda d=decoder, w=words: d(w).decode(model, n), repeats),
            }
        )
    raw = values.astype(np.int8).tobytes()
    for name, module, level in (("zlib -9", zlib, {"level": 9}), ("lzma", lzma, {})):
        packed = module.compress(raw, **level)
        rows.append(
            {
                "coder": f"{name} on int8",
                "bytes": len(packed),
                "encode_s": fastest(lambda m=module, k=level: m.compress(raw, **k), 1),
                "decode_s": fastest(lambda m=module, p=packed: m.decompress(p), 3),
            }
        )
    ours = rows[0]
    for row in rows:
        row["overhead_percent"] = 100 * (8 * row["bytes"] / entropy - 1)
        row["encode_Msym_s"] = n / row["encode_s"] / 1e6
        row["decode_Msym_s"] = n / row["decode_s"] / 1e6
        row["rdlearn_encodes_times"] = row["encode_s"] / ours["encode_s"]
        row["rdlearn_decodes_times"] = row["decode_s"] / ours["decode_s"]
    report("entropy_coder", rows, args, f"{n} symbols, entropy {entropy / n:.4f} bit")


if __name__ == "__main__":
    main()
