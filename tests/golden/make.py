"""Write the golden models and streams: run by hand when the formats change on purpose.

`python tests/golden/make.py` replaces every file beside it. The test decodes them; a change that
makes it fail also makes users' stored streams unreadable.
"""

from pathlib import Path

import numpy as np

from rdlearn import PCACodec
from rdlearn.coding import container

HERE = Path(__file__).parent


def cases():
    """Yield (name, codec, training table, table to compress, rows a chunk)."""
    rng = np.random.default_rng(20180701)
    mixing = rng.normal(size=(4, 4))
    train = rng.normal(size=(800, 4)) @ mixing + [5.0, 0.0, -3.0, 100.0]
    rows = train[:45].copy()
    yield "float64", PCACodec(target_rate=9), train, rows, 20
    # A row per sign of overshoot, by a little and by a lot: symbols outside every table.
    rows[::9] *= [[4.0], [-4.0], [1e4], [-1e4], [1e9]]
    yield "escapes_float32", PCACodec(beta=3), train.astype("f4"), rows.astype("f4"), None
    wide = rng.standard_t(3, size=(3000, 2)) * [1.0, 0.2]
    yield "wide_table", PCACodec(beta=3e7), wide, wide[:40] * 3, None
    binary = (rng.random((300, 9)) < 0.3).astype(np.float64)
    fixed = PCACodec(n_components=5, n_bits=2, distortion="hamming")
    yield "n_bits", fixed, binary, binary[:33], 16


def symbols_of(codec, path):
    """All symbols of a stream, (n_symbols, n_rows)."""
    with open(path, "rb") as file:
        header = container.read_header(file)
        chunks = container.read_chunks(file, header, range(header.n_chunks))
        parts = [codec._tables.decode(data, header.rows_of(k)[1]) for k, data in chunks]
    return np.concatenate(parts, axis=1)


def main():
    for name, codec, train, rows, chunk_rows in cases():
        codec.fit(train).save(HERE / f"{name}.model")
        stream = HERE / f"{name}.stream"
        codec.compress_to(rows, stream, chunk_rows=chunk_rows)
        symbols = symbols_of(codec, stream)
        decoded = codec.decompress(stream.read_bytes())
        np.savez_compressed(HERE / f"{name}.npz", symbols=symbols, decoded=decoded)


if __name__ == "__main__":
    main()
