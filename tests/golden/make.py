"""Write the golden models and streams: run by hand when the formats change on purpose.

`python tests/golden/make.py` replaces every file beside it, or those of the names given. The test
decodes them; a change that makes it fail also makes users' stored streams unreadable.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.base import clone

from rdlearn import DBNBlahutArimoto, PCACodec, UniformNoiseCodec
from rdlearn.coding import container

HERE = Path(__file__).parent


def cases():
    """Yield (name, codec, training table, table to compress or what makes it, rows a chunk)."""
    rng = np.random.default_rng(20180701)
    mixing = rng.normal(size=(4, 4))
    train = rng.normal(size=(800, 4)) @ mixing + [5.0, 0.0, -3.0, 100.0]
    rows = train[:45].copy()
    yield "float64", PCACodec(target_rate=9), train, rows, 20
    # A row per sign of overshoot, by a little and by a lot: symbols outside every table.
    rows[::9] *= [[4.0], [-4.0], [1e4], [-1e4], [1e9]]
    yield "escapes_float32", PCACodec(beta=3), train.astype("f4"), rows.astype("f4"), None
    trellis = PCACodec(target_rate=9, quantizer="trellis")
    yield "trellis", trellis, train, rows, 20
    wide = rng.standard_t(3, size=(3000, 2)) * [1.0, 0.2]
    yield "wide_table", PCACodec(beta=3e7), wide, wide[:40] * 3, None
    binary = (rng.random((300, 9)) < 0.3).astype(np.float64)
    fixed = PCACodec(n_components=5, n_bits=2, distortion="hamming")
    yield "n_bits", fixed, binary, binary[:33], 16
    templates = rng.random((4, 16)) < 0.5
    words = (templates[rng.integers(4, size=1000)] ^ (rng.random((1000, 16)) < 0.03)).astype("f4")
    net = DBNBlahutArimoto(4, hidden_layer_sizes=(12,), max_iter=3, n_epochs=2, n_gibbs=3)
    net.set_params(batch_size=20, fine_tune_epochs=30, random_state=0)
    strange = (rng.random((2000, 16)) < 0.5).astype("f4")

    def rows_of(codec):
        # The last chunk has words that the model expects least, so that it is written raw.
        order = np.argsort(-codec.rate_samples(strange), kind="stable")
        return np.concatenate([words[:260], strange[order[:40]]])

    yield "belief_net", net, words, rows_of, 130


def transform_cases():
    """Yield (name, codec, training table, rows or None, rows a chunk, images by name)."""
    rng = np.random.default_rng(20170424)
    train = rng.laplace(size=(900, 3)) @ rng.normal(size=(3, 4)) + [5.0, 0.0, -3.0, 100.0]
    rows = train[:45].copy()
    # Symbols beyond all that training saw.
    rows[::9] *= 30
    dense = UniformNoiseCodec(3, beta=20, context="causal", hidden_layer_sizes=(6,), max_iter=15)
    yield "dense_causal", dense.set_params(random_state=0), train, rows, 20, {}
    centers = UniformNoiseCodec(3, beta=2, quantizer="centers", context="none", max_iter=15)
    centers.set_params(hidden_layer_sizes=(6,), n_centers=5, random_state=0)
    yield "dense_centers", centers, train, rows, 20, {}
    trellis = UniformNoiseCodec(3, beta=20, quantizer="trellis", context="none", max_iter=15)
    trellis.set_params(hidden_layer_sizes=(6,), random_state=0)
    yield "dense_trellis", trellis, train, rows, 20, {}
    i, j = np.ogrid[:31, :20]
    waves = [np.sin(i / a + c) * np.cos(j / b) for a, b, c in ((3, 5, 0), (7, 2, 1), (4, 4, 2))]
    image = np.clip(128 + 60 * np.dstack(waves) + rng.normal(0, 8, (31, 20, 3)), 0, 255)
    image = image.astype(np.uint8)
    tiles = np.stack([image[a : a + 6, b : b + 8] for a in range(25) for b in range(12)])
    wavelet = UniformNoiseCodec(
        architecture="wavelet", beta=0.1, image_shape=(6, 8, 3), context="causal"
    )
    images = {"colour": image, "grey": image[:9, :5, 0], "pixel": image[:1, :1]}
    tiles = tiles.reshape(300, -1).astype(np.float32)
    yield "wavelet", wavelet, tiles, None, None, images
    along = clone(wavelet).set_params(quantizer="trellis")
    yield "wavelet_trellis", along, tiles, None, None, images


def symbols_of(codec, path):
    """All symbols of a stream, (n_symbols, n_rows)."""
    with open(path, "rb") as file:
        header = container.read_header(file)
        chunks = container.read_chunks(file, header, range(header.n_chunks))
        parts = [codec._tables.decode(data, header.rows_of(k)[1]) for k, data in chunks]
    return np.concatenate(parts, axis=1)


def main(names):
    for name, codec, train, rows, chunk_rows in cases():
        if names and name not in names:
            continue
        codec.fit(train).save(HERE / f"{name}.model")
        rows = rows(codec) if callable(rows) else rows
        stream = HERE / f"{name}.stream"
        codec.compress_to(rows, stream, chunk_rows=chunk_rows)
        arrays = {"symbols": symbols_of(codec, stream)}
        arrays["decoded"] = codec.decompress(stream.read_bytes())
        if hasattr(codec, "joint_quantizers_"):
            joint = codec.compress(rows, joint=True)
            (HERE / f"{name}_joint.stream").write_bytes(joint)
            arrays["joint"] = codec.decompress(joint)
        np.savez_compressed(HERE / f"{name}.npz", **arrays)
    for name, codec, train, rows, chunk_rows, images in transform_cases():
        if names and name not in names:
            continue
        codec.fit(train).save(HERE / f"{name}.model")
        arrays = {}
        if rows is not None:
            stream = codec.compress(rows, chunk_rows=chunk_rows)
            (HERE / f"{name}.stream").write_bytes(stream)
            arrays = {"symbols": codec._quantize(rows), "decoded": codec.decompress(stream)}
        for kind, image in images.items():
            data = codec.encode_image(image)
            (HERE / f"{name}_{kind}.image").write_bytes(data)
            arrays[kind] = codec.decode_image(data)
        np.savez_compressed(HERE / f"{name}.npz", **arrays)


if __name__ == "__main__":
    main(sys.argv[1:])
