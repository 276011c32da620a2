"""The entropy coder beside constriction, zlib and lzma: overhead and speed, one thread.

Data: 1,000,000 symbols of round(N(0, 3)). Overhead is counted above the empirical entropy of
the data: `rdlearn` with its tables, stream header and chunk head, the others as they come (and
constriction without its model). The same integer frequencies serve rdlearn and constriction.
Limits: at most 0.05 % overhead; encoding at least as fast as constriction, decoding at least
three times as fast.
"""

import lzma
import zlib
from functools import partial

import numpy as np
from _report import fastest, options, report

from rdlearn.coding.tables import IntegerTables

try:
    import constriction
except ImportError:
    constriction = None

HEADER, CHUNK_HEAD = 54, 8
OURS = "rdlearn"
# How often the slow ones are timed, encoding and decoding.
SELDOM = (1, 3)


def main():
    args = options(__doc__)
    n, repeats = (100_000, 3) if args.quick else (1_000_000, 15)
    values = symbols(n)
    counts = np.unique(values, return_counts=True)[1]
    entropy = -np.sum(counts * np.log2(counts / n))
    rows = []
    for name, (encode, decode, beside) in coders(values).items():
        packed = encode()
        often = SELDOM if "int8" in name else (repeats, repeats)
        rows.append(
            {
                "coder": name,
                "bytes": n_bytes(packed) + beside,
                "encode_s": fastest(encode, often[0]),
                "decode_s": fastest(lambda d=decode, p=packed: d(p), often[1]),
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


def symbols(n):
    return np.round(np.random.default_rng(0).normal(0, 3, n)).astype(np.int64)


def n_bytes(packed):
    return memoryview(packed).nbytes


def coders(values):
    """Of each coder, ours first: what encodes, what decodes its result, bytes stored beside it.

    Each has been seen to give the values back.
    """
    n = len(values)
    tables = IntegerTables.fit(values[:, None])
    symbols = np.ascontiguousarray(values[None, :])
    stored = sum(array.nbytes for array in tables.to_state().values())
    found = {
        OURS: (
            lambda: tables.encode(symbols),
            lambda blob: tables.decode(blob, n)[0],
            stored + HEADER + CHUNK_HEAD,
        )
    }
    # constriction has no escape: it gets the same table, and the values outside clipped.
    low, size = int(tables.low[0]), int(tables.size[0])
    inside = np.clip(values - low, 0, size - 1).astype(np.int32)
    if constriction is None:
        print("constriction is not installed, so that it is not timed; pip install constriction.")
    else:
        found |= constriction_coders(inside, tables.frequencies[:-1].astype(np.float64))
    raw = values.astype(np.int8).tobytes()
    for name, module, level in (("zlib -9", zlib, {"level": 9}), ("lzma", lzma, {})):
        found[f"{name} on int8"] = (partial(module.compress, raw, **level), module.decompress, 0)
    for name, (encode, decode, _) in found.items():
        back = decode(encode())
        if isinstance(back, bytes):
            assert back == raw
        else:
            assert np.array_equal(back, values if name == OURS else inside)
    return found


def constriction_coders(inside, frequencies):
    """The two of constriction on one table."""
    stack, queue = constriction.stream.stack, constriction.stream.queue
    law = constriction.stream.model.Categorical(
        frequencies / frequencies.sum(), perfect=False, lazy=False
    )

    def ans_encode():
        coder = stack.AnsCoder()
        coder.encode_reverse(inside, law)
        return coder.get_compressed()

    def range_encode():
        coder = queue.RangeEncoder()
        coder.encode(inside, law)
        return coder.get_compressed()

    def ans_decode(words):
        return stack.AnsCoder(words).decode(law, len(inside))

    def range_decode(words):
        return queue.RangeDecoder(words).decode(law, len(inside))

    return {
        "constriction ANS": (ans_encode, ans_decode, 0),
        "constriction range": (range_encode, range_decode, 0),
    }


if __name__ == "__main__":
    main()
