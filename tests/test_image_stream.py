"""Single images as bytes: any size, refusals, damage, hostile heads, thread counts."""

import hashlib
import os
import subprocess
import sys
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_data import KINDS, SHAPE, fields, fitted, image, stretched
from sklearn.base import clone

from rdlearn import CorruptStreamError, UniformNoiseCodec, _image_stream, load

# Magic, version, fingerprint, kind; then the sizes, then the checksum.
HEAD, CHECKSUM = 13, 4
# Of a stream of rows: header, and a chunk's length and checksum.
STREAM_HEAD = 54 + 8
EACH = pytest.mark.parametrize("kind", KINDS)


def with_checksum(body, sizes=2):
    """A stream whose checksum is right, of one whose head has sizes of `sizes` bytes in all."""
    place = HEAD + sizes
    payload = body[place + CHECKSUM :]
    checksum = zlib.crc32(payload, zlib.crc32(body[:place]))
    return body[:place] + checksum.to_bytes(CHECKSUM, "little") + payload


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n % 128 + 128)
        n //= 128
    return bytes([*out, n])


@EACH
@pytest.mark.parametrize("size", [(1, 1), (17, 3), (33, 49), (5, 200), (128, 64)])
def test_images_of_any_size(kind, size):
    codec = fitted(kind)
    n_channels = codec.image_shape_[2]
    x = image(*size, *[3] * (n_channels == 3))
    blob = codec.encode_image(x)
    y = codec.decode_image(blob)
    assert y.dtype == np.uint8 and y.shape == x.shape and y.flags.c_contiguous
    # Sizes below 128 take a byte each.
    sizes = sum(1 + (side > 127) for side in size)
    assert blob[:4] == b"RDI\x01" and blob[4:12] == codec.fingerprint and blob[12] == (x.ndim == 2)
    assert blob[HEAD : HEAD + sizes] == b"".join(map(varint, size))
    assert with_checksum(blob, sizes) == blob
    error = np.mean((x.astype(float) - y) ** 2)
    # D is about 1 / 2 beta a value, half of that again as bits are weighed, 1/12 of rounding.
    if "wavelet" in kind:
        assert error < 1.6 / (2 * 0.1) + 1 / 12
    elif min(size) > 30:
        # These nets are small and hardly trained.
        assert error < 0.8 * np.var(x.astype(float))
    # Bytes in any form, and again.
    for form in (bytearray, memoryview):
        np.testing.assert_array_equal(codec.decode_image(form(blob)), y)
    assert codec.encode_image(np.asfortranarray(x)) == blob


@EACH
def test_an_image_of_the_training_shape_is_a_row(kind):
    codec = fitted(kind)
    white = 1 / stretched(kind)
    for seed in range(3):
        x = image(*codec.image_shape_, seed=seed)
        row = (x.ravel() * stretched(kind)).astype(np.float32)[None]
        blob, grey = codec.encode_image(x), x.shape[2] == 1
        assert blob[HEAD + 2 + CHECKSUM :] == codec.compress(row)[STREAM_HEAD:]
        X_hat = codec.inverse_transform(codec.transform(row)).reshape(x.shape)
        expected = np.clip(np.rint(X_hat * white), 0, 255)
        np.testing.assert_array_equal(
            codec.decode_image(blob), expected[:, :, 0] if grey else expected
        )
        np.testing.assert_array_equal(codec.decompress(codec.compress(row)), codec.reconstruct(row))
        payload = len(blob) - HEAD - 2 - CHECKSUM
        # The state of the coder, and what whole states cost.
        assert abs(8 * payload - codec.rate(row)) < 40 + 0.05 * codec.rate(row)


@EACH
def test_rows_do_not_depend_on_company(kind):
    codec = fitted(kind)
    X = fields(7, codec.image_shape_, 5).reshape(7, -1) * float(stretched(kind))
    Z, X_hat = codec.transform(X), codec.reconstruct(X)
    blob = codec.compress(X, chunk_rows=2)
    assert codec.decompress(blob).tobytes() == X_hat.tobytes() and X_hat.dtype == np.float64
    np.testing.assert_array_equal(codec.inverse_transform(Z), X_hat)
    for rows in ([3], [6, 0, 2], slice(None, None, -1)):
        np.testing.assert_array_equal(codec.transform(X[rows]), Z[rows])
        np.testing.assert_array_equal(codec.rate_samples(X[rows]), codec.rate_samples(X)[rows])
        np.testing.assert_array_equal(codec.decompress(codec.compress(X[rows])), X_hat[rows])
        if "conv" in kind:
            noisy = codec.rate_samples(X, view="noisy")
            np.testing.assert_array_equal(codec.rate_samples(X[rows], view="noisy"), noisy[rows])


@pytest.mark.parametrize("kind", ["wavelet", "conv"])
def test_grey_images_of_a_model_of_colours(kind):
    codec, x = fitted(kind), image(20, 30)
    blob = codec.encode_image(x)
    y = codec.decode_image(blob)
    assert y.shape == (20, 30) and y.dtype == np.uint8
    assert codec.encode_image(x[:, :, None]) == blob
    colours = codec.decode_image(codec.encode_image(np.repeat(x[:, :, None], 3, axis=2)))
    assert colours.shape == (20, 30, 3)
    # The mean of the colours, each of which was rounded.
    assert np.abs(colours.mean(axis=2) - y).max() <= 1


@EACH
def test_images_of_another_kind(kind):
    codec, x = fitted(kind), image(20, 30, 3)
    for other, words in (
        (x.astype(np.uint16), r"holds uint16, but .* takes arrays of uint8.*image // 257\)"),
        (x.astype(np.float32) / 255, r"holds float32.*\(image \* 255\)"),
        (x.astype(np.float32), r"holds float32.*of 0 to 255 take image.round\(\)"),
        (x > 100, "holds bool"),
        (x.tolist(), r"holds int64.*of 0 to 255 take image.round\(\)"),
        (np.dstack([x, x[:, :, :1]]), "shape .20, 30, 4.*alpha channel with image"),
        (x[:, :, :2], "shape .20, 30, 2.*alpha channel"),
        (np.repeat(x, 2, axis=2), r"shape \(20, 30, 6\), but [^;]*$"),
        (x[:0], r"shape \(0, 30, 3\)"),
        (x[:, :0, 0], r"shape \(20, 0\)"),
        (x[:0, :, :1], r"shape \(0, 30\)"),
        (x[:, :, :0], r"shape \(20, 30, 0\)"),
        (x[0, :, 0], r"shape \(30,\)"),
        (x[None], r"shape \(1, 20, 30, 3\)"),
        (None, "holds object.*PIL.Image.open"),
        ("photo.png", "holds <U9.*PIL.Image.open"),
    ):
        with pytest.raises(ValueError, match=words):
            codec.encode_image(other)
    if "grey" in kind:
        with pytest.raises(ValueError, match="three channels and the model has one"):
            codec.encode_image(x)


def test_too_large_images(monkeypatch):
    codec, x = fitted("wavelet"), image(20, 30, 3)
    blob = codec.encode_image(x)
    monkeypatch.setattr(_image_stream, "MAX_PIXELS", 599)
    with pytest.raises(ValueError, match="20 x 30 pixels, more than 599 in all .* in tiles"):
        codec.encode_image(x)
    with pytest.raises(CorruptStreamError, match="impossible size"):
        codec.decode_image(blob)
    monkeypatch.setattr(_image_stream, "MAX_PIXELS", 600)
    monkeypatch.setattr(_image_stream, "MAX_SIDE", 29)
    for other in (x, x.transpose(1, 0, 2)):
        with pytest.raises(ValueError, match="or 29 in a row or column"):
            codec.encode_image(other)
    with pytest.raises(CorruptStreamError, match="impossible size"):
        codec.decode_image(blob)
    monkeypatch.setattr(_image_stream, "MAX_SIDE", 30)
    assert codec.decode_image(codec.encode_image(x)).shape == x.shape


@EACH
def test_damage_is_noticed(kind):
    codec = fitted(kind)
    blob = codec.encode_image(image(9, 5))
    for length in range(len(blob)):
        with pytest.raises(CorruptStreamError):
            codec.decode_image(blob[:length])
    for place in range(len(blob)):
        for flip in range(1, 256):
            damaged = bytearray(blob)
            damaged[place] ^= flip
            with pytest.raises(CorruptStreamError):
                codec.decode_image(damaged)
    with pytest.raises(CorruptStreamError, match="checksum"):
        codec.decode_image(blob + b"\0")


def test_streams_of_other_models_and_versions():
    blobs = {kind: fitted(kind).encode_image(image(9, 5)) for kind in KINDS}
    for kind in KINDS:
        for other in KINDS:
            if kind != other:
                with pytest.raises(CorruptStreamError, match="another model"):
                    fitted(kind).decode_image(blobs[other])
    codec, blob = fitted("conv"), blobs["conv"]
    with pytest.raises(CorruptStreamError, match="version 2"):
        codec.decode_image(with_checksum(blob[:3] + b"\2" + blob[4:]))
    with pytest.raises(CorruptStreamError, match="impossible size or kind"):
        codec.decode_image(with_checksum(blob[:12] + b"\2" + blob[13:]))
    for not_bytes in (7, "RDI", None):
        with pytest.raises(ValueError, match=f"not {type(not_bytes).__name__}; read a file"):
            codec.decode_image(not_bytes)
    with pytest.raises(CorruptStreamError, match="`decompress` takes the bytes of tables"):
        codec.decode_image(codec.compress(fields(2, SHAPE).reshape(2, -1)))


PLAIN = settings(deadline=None, derandomize=True, max_examples=120, database=None)


def outcome(codec, blob):
    """The decoded image or None; any other exception than the allowed one is raised."""
    try:
        y = codec.decode_image(blob)
    except CorruptStreamError as error:
        assert str(error).endswith((".", "truncated.")) and len(str(error)) > 20
        return None
    assert y.dtype == np.uint8
    return y


@PLAIN
@given(st.sampled_from(sorted(KINDS)), st.binary(max_size=60), st.integers(0, 5))
def test_random_bytes(kind, data, n_true):
    codec = fitted(kind)
    truth = codec.encode_image(image(9, 5))
    true = truth[: [0, 3, 4, 12, 13, 15][n_true]]
    assert outcome(codec, true + data) is None


@PLAIN
@given(st.sampled_from(sorted(KINDS)), st.data())
def test_hostile_payloads(kind, data):
    codec = fitted(kind)
    blob = codec.encode_image(image(9, 5, seed=data.draw(st.integers(0, 3))))
    payload = bytearray(blob[HEAD + 2 + CHECKSUM :])
    for _ in range(data.draw(st.integers(0, 3))):
        if payload:
            payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    payload = payload[: data.draw(st.integers(0, 2 * len(payload)))] + data.draw(
        st.binary(max_size=2)
    )
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    head = blob[:HEAD] + varint(height) + varint(width)
    y = outcome(codec, with_checksum(head + bytes(CHECKSUM) + payload))
    assert y is None or y.shape[:2] == (height, width)


@pytest.mark.parametrize("kind", ["wavelet", "conv", "grey conv"])
def test_hostile_sizes_are_refused_at_once(kind):
    codec = fitted(kind)
    blob = codec.encode_image(image(9, 5))
    payload = blob[HEAD + 2 + CHECKSUM :]
    sides = [0, 1, 9, 2**16, 2**16 + 1, 2**26, 2**31, 2**32 - 1, 2**35, 2**40, 2**63, 2**64]
    sizes = [varint(a) + varint(b) for a in sides for b in sides if (a, b) != (9, 1)]
    sizes += [b"\x80" * 4 + b"\1\1", b"\xff" * 20, b"\x80" * 40, b"\1\x80"]
    tracemalloc.start()
    begin = time.perf_counter()
    try:
        for head in sizes:
            hostile = with_checksum(blob[:HEAD] + head + bytes(CHECKSUM) + payload, len(head))
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            y = outcome(codec, hostile)
            # Tables allow codes of next to no bits: symbols and planes of these at most.
            most = 60 * 8 * len(payload) / 8e-5 if y is None else 100 * y.size * 16**2
            assert tracemalloc.get_traced_memory()[1] - before < (1 << 20) + most
            assert y is None or y.size < 100
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - begin < 20
    # As long as its kind is, a code of few bytes declares no image of many pixels.
    assert outcome(codec, with_checksum(blob[:HEAD] + varint(2**13) * 2 + bytes(8), 4)) is None


def test_overlong_sizes_are_what_they_say():
    codec, x = fitted("conv"), image(9, 5)
    blob = codec.encode_image(x)
    overlong = blob[:HEAD] + b"\x89\x00\x05" + bytes(CHECKSUM) + blob[HEAD + 2 + CHECKSUM :]
    y = outcome(codec, with_checksum(overlong, 3))
    assert y is None or np.array_equal(y, codec.decode_image(blob))


def test_bytes_do_not_depend_on_threads(tmp_path):
    np.save(tmp_path / "x.npy", image(240, 330, 3))
    for kind in ("wavelet", "conv"):
        fitted(kind).save(tmp_path / f"{kind}.rdl")
    code = """
import hashlib, sys, numpy as np, rdlearn
x = np.load(sys.argv[1] + "/x.npy")
for kind in ("wavelet", "conv"):
    codec = rdlearn.load(f"{sys.argv[1]}/{kind}.rdl")
    blob = codec.encode_image(x)
    y = codec.decode_image(blob)
    print(hashlib.sha256(blob).hexdigest(), hashlib.sha256(y.tobytes()).hexdigest())
"""
    running = []
    for n in ("1", "2"):
        threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
        environment = {**os.environ, **dict.fromkeys(threads, n)}
        command = [sys.executable, "-c", code, str(tmp_path)]
        running.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE))
    said = [process.communicate(timeout=100)[0].decode().split() for process in running]
    assert len(said[0]) == 4 and said[0] == said[1]
    x = np.load(tmp_path / "x.npy")
    for kind, blob in zip(("wavelet", "conv"), said[0][::2], strict=True):
        assert hashlib.sha256(fitted(kind).encode_image(x)).hexdigest() == blob


@EACH
def test_saved_and_loaded(kind, tmp_path):
    codec, x = fitted(kind), image(21, 40)
    codec.save(tmp_path / "m.rdl")
    again = load(tmp_path / "m.rdl")
    blob = codec.encode_image(x)
    assert again.encode_image(x) == blob and again.fingerprint == codec.fingerprint
    np.testing.assert_array_equal(again.decode_image(blob), codec.decode_image(blob))


@pytest.mark.parametrize("kind", ["wavelet", "conv"])
def test_what_is_fitted_does_not_look_at_parameters(kind, tmp_path):
    fitted(kind).save(tmp_path / "m.rdl")
    codec, x = load(tmp_path / "m.rdl"), image(21, 40, 3)
    X = fields(3, SHAPE, 2).reshape(3, -1)
    before = codec.encode_image(x), codec.compress(X), codec.rate(X), codec.fingerprint
    codec.set_params(
        n_components=9, beta=1e9, distortion="nonsense", architecture="dense", context="all",
        image_shape=3, patch_size=None, hidden_layer_sizes=None, max_iter=0, target_rate=-1,
    )  # fmt: skip
    assert (codec.encode_image(x), codec.compress(X), codec.rate(X), codec.fingerprint) == before
    if kind == "conv":
        assert np.isfinite(codec.rate_samples(X, view="noisy")).all()
    else:
        with pytest.raises(ValueError, match="view='noisy' is of codes that were trained"):
            codec.rate_samples(X, view="noisy")


def test_images_too_far_out_are_refused(tmp_path):
    fitted("wavelet").save(tmp_path / "m.rdl")
    codec = load(tmp_path / "m.rdl")
    codec.step_ = 1e-8
    with pytest.raises(ValueError, match="too many steps outside the training data"):
        codec.encode_image(image(9, 5))


def test_bits_decode_to_bits():
    X = (fields(12, (16, 24, 1)) > 128).reshape(12, -1).astype(float)
    codec = UniformNoiseCodec(
        architecture="wavelet",
        beta=8.0,
        distortion="hamming",
        image_shape=(16, 24, 1),
        data_range=1,
    ).fit(X)
    x = (image(16, 24, seed=7) > 128).astype(np.uint8) * 255
    y = codec.decode_image(codec.encode_image(x))
    assert set(np.unique(y)) == {0, 255} and np.mean(x != y) < 0.1
    row = x.reshape(1, -1) / 255.0
    np.testing.assert_array_equal(y.ravel() / 255, codec.reconstruct(row)[0])


def test_weights_of_wavelets_are_refused():
    X = fields(4, SHAPE).reshape(4, -1)
    codec = clone(fitted("wavelet"))
    with pytest.raises(ValueError, match="architecture='wavelet' has none; leave it out"):
        codec.fit(X, distortion_weight=np.ones(4))
    with pytest.raises(ValueError, match="standardize=True would give each pixel a unit"):
        codec.set_params(standardize=True).fit(X)


@pytest.mark.parametrize(
    "shape", [None, (32, 48), (32, 48, 2), (32.0, 48, 3), (-32, -48, 3), (32, 48, 1), (3, 32, 48)]
)
def test_impossible_shapes(shape):
    with pytest.raises(ValueError, match="image_shape="):
        clone(fitted("wavelet")).set_params(image_shape=shape).fit(np.zeros((4, 32 * 48 * 3)))


@pytest.mark.parametrize("kind", ["wavelet", "conv"])
def test_targets_of_images(kind):
    X = fields(12 if kind == "wavelet" else 24, SHAPE)
    X = X.reshape(len(X), -1)
    rate = 1.2 * SHAPE[0] * SHAPE[1] if kind == "wavelet" else 400.0
    codec = clone(fitted(kind)).set_params(target_rate=rate, max_iter=25).fit(X)
    assert 0.95 * rate <= codec.rate(X) <= rate


def test_images_of_more_symbols_than_a_chunk(monkeypatch):
    codec = fitted("wavelet")
    X = fields(3, SHAPE, 2).reshape(3, -1)
    monkeypatch.setattr("rdlearn.coding.container.MAX_CHUNK", X.shape[1] - 1)
    blob = codec.compress(X)
    np.testing.assert_array_equal(codec.decompress(blob), codec.reconstruct(X))
    with pytest.raises(ValueError, match="between 1 and 1"):
        codec.compress(X, chunk_rows=2)
