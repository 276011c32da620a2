"""Streams and models written once must decode for ever: the files are in tests/golden."""

from pathlib import Path

import numpy as np
import pytest

from rdlearn import load
from rdlearn.coding import container

GOLDEN = Path(__file__).parent / "golden"
NAMES = ["float64", "escapes_float32", "trellis", "wide_table", "n_bits", "belief_net"]


@pytest.fixture(params=NAMES)
def golden(request):
    codec = load(GOLDEN / f"{request.param}.model")
    with np.load(GOLDEN / f"{request.param}.npz") as arrays:
        symbols, decoded = arrays["symbols"], arrays["decoded"]
    return codec, GOLDEN / f"{request.param}.stream", symbols, decoded


def chunks_of(stream):
    with open(stream, "rb") as file:
        header = container.read_header(file)
        for number, payload in container.read_chunks(file, header, range(header.n_chunks)):
            first, count = header.rows_of(number)
            yield payload, slice(first, first + count)


def test_symbols_are_exact_in_both_directions(golden):
    codec, stream, symbols, _ = golden
    for payload, rows in chunks_of(stream):
        np.testing.assert_array_equal(
            codec._tables.decode(payload, rows.stop - rows.start), symbols[:, rows]
        )
        # Encoding is integer arithmetic too, so the bytes are the same everywhere.
        narrow = np.int32 if np.abs(symbols).max() < 2**31 else np.int64
        assert codec._tables.encode(symbols[:, rows].astype(narrow)) == payload


def test_arrays_are_equal_up_to_rounding(golden):
    codec, stream, symbols, decoded = golden
    result = codec.decompress(stream.read_bytes())
    assert result.dtype == decoded.dtype and result.shape == decoded.shape
    if codec.distortion_.name == "hamming":
        np.testing.assert_array_equal(result, decoded)
        return
    # Each value is a sum of n_components products and a mean; every operation rounds once.
    codes = codec._dequantize(symbols, decoded.dtype).astype(np.float64)
    size = np.abs(codes) @ np.abs(codec.components_ * codec._units()) + np.abs(codec.mean_)
    bound = (codec.n_components_ + 3) * np.finfo(decoded.dtype).eps * size
    assert np.all(np.abs(result.astype(np.float64) - decoded) <= bound)


def test_the_files_hold_the_hard_cases():
    codecs = {name: load(GOLDEN / f"{name}.model") for name in NAMES}
    symbols = {name: np.load(GOLDEN / f"{name}.npz")["symbols"] for name in NAMES}
    sizes = codecs["escapes_float32"].quantizers_.size
    assert (symbols["escapes_float32"] < 0).any()
    assert (symbols["escapes_float32"] >= sizes[:, np.newaxis]).any()
    assert np.abs(symbols["escapes_float32"]).max() > 1 << 32
    assert codecs["wide_table"]._tables.shift.max() > 0
    assert {symbols["n_bits"].min(), symbols["n_bits"].max()} == {0, 3}
    chunks = {name: len(list(chunks_of(GOLDEN / f"{name}.stream"))) for name in NAMES}
    assert chunks == {
        "float64": 3,
        "escapes_float32": 1,
        "trellis": 3,
        "wide_table": 1,
        "n_bits": 3,
        "belief_net": 3,
    }
    # Words that the model expects are coded, the last ones are raw.
    lengths = [len(payload) for payload, _ in chunks_of(GOLDEN / "belief_net.stream")]
    assert lengths[0] < 65 and lengths[1] < 65 and lengths[2] == 20
    assert sum(path.stat().st_size for path in GOLDEN.glob("*.*")) < 150_000


@pytest.mark.parametrize("name", ["dense_causal", "dense_centers", "dense_trellis"])
def test_symbols_of_nets_are_exact_in_both_directions(name):
    codec = load(GOLDEN / f"{name}.model")
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        symbols, decoded = arrays["symbols"], arrays["decoded"]
    stream = GOLDEN / f"{name}.stream"
    for payload, rows in chunks_of(stream):
        np.testing.assert_array_equal(
            codec._tables.decode(payload, rows.stop - rows.start), symbols[rows]
        )
        assert codec._tables.encode(symbols[rows]) == payload
    result = codec.decompress(stream.read_bytes())
    assert result.dtype == decoded.dtype and result.shape == decoded.shape
    # Two layers of float32, whose sums are no larger than some times their results.
    np.testing.assert_allclose(result, decoded, atol=1e-4 * codec.spread_, rtol=1e-4)
    assert len(list(chunks_of(stream))) == 3
    if name == "dense_causal":
        # Magnitudes beyond those that have buckets of their own, and what contexts cut.
        assert np.abs(symbols).max() > 100 and any(codec.code_.arrangement.partners)
    elif name == "dense_centers":
        assert 1 < len(np.unique(symbols)) <= 2 * codec.n_centers_ - 1


def test_joint_streams_decode_to_the_same_table():
    codec = load(GOLDEN / "trellis.model")
    with np.load(GOLDEN / "trellis.npz") as arrays:
        expected = arrays["joint"]
    result = codec.decompress((GOLDEN / "trellis_joint.stream").read_bytes())
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("name", ["wavelet", "wavelet_trellis"])
@pytest.mark.parametrize("kind", ["colour", "grey", "pixel"])
def test_images_decode_to_the_same_pixels(name, kind):
    codec, data = load(GOLDEN / f"{name}.model"), (GOLDEN / f"{name}_{kind}.image").read_bytes()
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        expected = arrays[kind]
    result = codec.decode_image(data)
    assert result.dtype == expected.dtype == np.uint8 and result.shape == expected.shape
    # Elsewhere a pixel at the edge of two values may round to the other one.
    miss = np.abs(result.astype(int) - expected)
    assert miss.max() <= 1 and miss.mean() < 0.01
    # Sizes below 128 take a byte each; then the checksum.
    payload, (height, width) = data[19:], expected.shape[:2]
    code = codec.code_.resized(height, width)
    symbols = code.decode(payload, 1)
    assert code.encode(symbols) == payload and symbols.shape == (1, 3 * height * width)
