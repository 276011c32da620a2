"""Bytes: what compress writes, decompress must give back bit for bit, however it is cut."""

import functools
import io
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from threadpoolctl import threadpool_limits

from rdlearn import (
    CorruptStreamError,
    DBNBlahutArimoto,
    PCACodec,
    UniformNoiseCodec,
)
from rdlearn.coding import container

HEADER, CHUNK = 54, 48


CODECS = {
    "beta": PCACodec(beta=2.0),
    "absolute_error": PCACodec(distortion="absolute_error", target_rate=60),
    "n_bits": PCACodec(5, n_bits=3),
    "standardize": PCACodec(standardize=True, target_rate=90),
    "few_components": PCACodec(2, beta=50.0),
    # Cells so narrow that a difference in the last digits of a product shows.
    "fine": PCACodec(beta=1e6),
}
CASES = [(name, dtype) for name in CODECS for dtype in ("f8", "f4")]


@functools.cache
def make(name, dtype):
    """A fitted codec, and 700 rows of which it saw 400."""
    rng = np.random.default_rng(0)
    X = rng.standard_t(4, size=(700, 40)) @ rng.normal(size=(40, 40)) + np.arange(40) / 4
    X = X.astype(dtype)
    return clone(CODECS[name]).fit(X[:400]), X


@pytest.fixture(params=CASES, ids="-".join)
def fitted(request):
    return make(*request.param)


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def test_decompress_is_inverse_transform_of_transform(fitted):
    codec, X = fitted
    expected = codec.inverse_transform(codec.transform(X))
    assert expected.dtype == X.dtype and same_bits(expected, codec.reconstruct(X))
    for chunk_rows in (None, 1, 7, 400, 700, 5000):
        blob = codec.compress(X, chunk_rows=chunk_rows)
        n_chunks = 1 if chunk_rows is None else -(-700 // chunk_rows)
        assert same_bits(codec.decompress(blob), expected)
        payload = len(blob) - HEADER - CHUNK * n_chunks
        assert HEADER <= 64 and payload <= codec.rate(X) * 700 / 8 * 1.005 + 2 * n_chunks


@pytest.mark.parametrize(
    "codec",
    [
        PCACodec(5, n_bits=3),
        UniformNoiseCodec(3, hidden_layer_sizes=(9,), max_iter=2, random_state=0),
        DBNBlahutArimoto(14, max_iter=1, n_epochs=1, fine_tune_epochs=2, random_state=0),
    ],
    ids=lambda codec: type(codec).__name__,
)
def test_rows_are_quantized_once_for_reconstruction_and_rate(codec, monkeypatch):
    rng = np.random.default_rng(0)
    X = np.rint(rng.random((300, 12))) if hasattr(codec, "binarize") else rng.normal(size=(300, 12))
    codec = clone(codec).fit(X)
    learned, quantize, n_rows = (codec.noise_scale_, codec.score(X)), type(codec)._quantize, []

    def counted(self, X):
        n_rows.append(len(X))
        return quantize(self, X)

    x_hat, rates = codec.reconstruct(X), codec.rate_samples(X)
    mass = codec.distortion_.log_mass(X, x_hat, codec.noise_scale_, codec.resolution_).sum(axis=1)
    assert learned[1] == pytest.approx(np.mean(mass - np.log(2) * rates), rel=1e-12)
    assert learned[0] == codec.distortion_.fit_scale(X, x_hat)
    monkeypatch.setattr(type(codec), "_quantize", counted)
    codec._describe_residual(X)
    codec.score(X)
    assert n_rows == [300, 300]
    assert (codec.noise_scale_, codec.score(X)) == learned


def test_a_row_does_not_depend_on_its_company(fitted):
    codec, X = fitted
    Z, X_hat = codec.transform(X), codec.reconstruct(X)
    order = np.random.default_rng(1).permutation(700)
    for rows in (order, slice(3, 4), slice(0, 699, 5), slice(None, None, -1), order[:33]):
        part = np.asfortranarray(X[rows])
        assert same_bits(codec.transform(part), Z[rows])
        assert same_bits(codec.decompress(codec.compress(part)), X_hat[rows])
        np.testing.assert_array_equal(codec.rate_samples(part), codec.rate_samples(X)[rows])
    # More rows than are worked on at once.
    many = codec.transform(np.tile(X, (4, 1)))
    assert same_bits(many, np.tile(Z, (4, 1)))
    read_only = X[:9].copy()
    read_only.setflags(write=False)
    assert same_bits(codec.transform(read_only), Z[:9])


def test_blas_threads_change_no_bit(fitted):
    codec, X = fitted
    blobs = []
    for limit in (1, 2):
        with threadpool_limits(limit, user_api="blas"):
            blobs.append((codec.compress(X), codec.transform(X).tobytes()))
            blobs[-1] += (codec.decompress(blobs[-1][0]).tobytes(),)
    assert blobs[0] == blobs[1]


def test_another_process_decodes_the_same_bits(tmp_path):
    for number, case in enumerate(CASES):
        codec, X = make(*case)
        codec.save(tmp_path / f"{number}.model")
        codec.compress_to(X, tmp_path / f"{number}.stream", chunk_rows=100)
        np.save(tmp_path / f"{number}.npy", X)
    code = """
import sys, numpy as np, rdlearn
for number in range(int(sys.argv[2])):
    path = f"{sys.argv[1]}/{number}"
    codec, X = rdlearn.load(path + ".model"), np.load(path + ".npy")
    blob = open(path + ".stream", "rb").read()
    assert codec.compress(X, chunk_rows=100) == blob
    open(path + ".decoded", "wb").write(codec.decompress(blob).tobytes())
"""
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(len(CASES))],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        check=True,
    )
    for number, case in enumerate(CASES):
        codec, X = make(*case)
        assert (tmp_path / f"{number}.decoded").read_bytes() == codec.reconstruct(X).tobytes()


@pytest.fixture(scope="module")
def codec():
    rng = np.random.default_rng(0)
    return PCACodec(target_rate=9).fit(rng.normal(size=(300, 3)) * [3, 2, 1])


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(5).normal(size=(53, 3))


ENDS = [None, 0, 1, 9, 10, 11, 52, 53, 99, -1, -10, -53, -99]


@pytest.mark.parametrize("step", [None, 1, 2, 9, 60, -1, -3, -10, -60])
@pytest.mark.parametrize("chunk_rows", [1, 10, 53, 60])
def test_rows_are_a_slice_of_all_rows(codec, rows, step, chunk_rows):
    blob = codec.compress(rows, chunk_rows=chunk_rows)
    everything = codec.decompress(blob)
    for start in ENDS:
        for stop in ENDS:
            wanted = slice(start, stop, step)
            part = codec.decompress(blob, rows=wanted)
            assert same_bits(part, everything[wanted]) and part.flags.c_contiguous


def test_only_the_chunks_needed_are_read(codec, rows):
    blob = bytearray(codec.compress(rows, chunk_rows=10))
    intact = codec.decompress(bytes(blob))
    # Break the payload of the third chunk, rows 20 to 29.
    position = HEADER
    for _ in range(2):
        position += 8 + int.from_bytes(blob[position : position + 4], "little")
    blob[position + 20] ^= 1
    for wanted in (slice(0, 20), slice(30, None), slice(19, 2, -1), slice(25, 25), slice(31, 29)):
        assert same_bits(codec.decompress(blob, rows=wanted), intact[wanted])
    for wanted in (None, slice(20, 21), slice(29, 31), slice(35, 28, -1), slice(0, 53, 40)):
        with pytest.raises(CorruptStreamError, match="Chunk 3 of 6 is damaged"):
            codec.decompress(blob, rows=wanted)


@pytest.mark.parametrize("wanted", [3, [1, 2], (0, 5), "all"])
def test_rows_must_be_a_slice(codec, rows, wanted):
    with pytest.raises(TypeError, match=r"must be a slice, such as slice\(100, 200\)") as error:
        codec.decompress(codec.compress(rows), rows=wanted)
    assert repr(wanted) in str(error.value)


def test_files_paths_and_file_objects(codec, rows, tmp_path):
    expected, blob = codec.reconstruct(rows), codec.compress(rows, chunk_rows=10)
    codec.compress_to(rows, tmp_path / "a", chunk_rows=10)
    codec.compress_to(rows, str(tmp_path / "b"), chunk_rows=10)
    buffer = io.BytesIO()
    codec.compress_to(rows, buffer, chunk_rows=10)
    assert blob == (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert blob == buffer.getvalue()
    buffer.seek(0)
    for source in (tmp_path / "a", str(tmp_path / "b"), buffer):
        parts = list(codec.decompress_from(source))
        assert [len(part) for part in parts] == [10] * 5 + [3]
        assert same_bits(np.concatenate(parts), expected)
    frames = list(codec.decompress_from(tmp_path / "a", as_frame=True))
    assert all(isinstance(frame, pd.DataFrame) for frame in frames)
    assert same_bits(pd.concat(frames).to_numpy(), expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


class Watched(np.ndarray):
    """An array that notes the most rows that any one slice of it asked for."""

    most = 0

    def __getitem__(self, key):
        part = super().__getitem__(key)
        if isinstance(key, slice):
            Watched.most = max(Watched.most, len(part))
        return np.asarray(part)


def test_a_memory_mapped_table_is_read_chunk_by_chunk(codec, rows, tmp_path):
    for kind in ("f8", "f4", "i2"):
        table = (rows * 10).astype(kind)
        np.save(tmp_path / "table.npy", table)
        mapped = np.load(tmp_path / "table.npy", mmap_mode="r")
        blob = codec.compress(mapped, chunk_rows=10)
        assert blob == codec.compress(table, chunk_rows=10)
        assert codec.decompress(blob).dtype == (np.float32 if kind == "f4" else np.float64)
    Watched.most = 0
    assert codec.compress(rows.view(Watched), chunk_rows=10) == codec.compress(rows, chunk_rows=10)
    assert Watched.most == 10


def test_a_failure_midway_leaves_the_old_file(codec, rows, tmp_path):
    path = tmp_path / "stream"
    codec.compress_to(rows, path)
    before = path.read_bytes()
    broken = np.tile(rows, (3, 1))
    broken[150, 1] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        codec.compress_to(broken, path, chunk_rows=10)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("chunk_rows", [0, -1, 2.5, 1 << 20, "ten"])
def test_chunk_rows_out_of_range(codec, rows, chunk_rows):
    with pytest.raises(ValueError, match="must be an integer between 1 and 349525") as error:
        codec.compress(rows, chunk_rows=chunk_rows)
    assert f"chunk_rows={chunk_rows!r}" in str(error.value)


def test_another_model_is_told_apart(codec, rows):
    blob = codec.compress(rows)
    rng = np.random.default_rng(0)
    other = PCACodec(target_rate=8).fit(rng.normal(size=(300, 3)) * [3, 2, 1])
    with pytest.raises(CorruptStreamError, match="another model") as error:
        other.decompress(blob)
    words = str(error.value)
    assert codec.fingerprint.hex() in words and other.fingerprint.hex() in words
    assert "load the model" in words
    assert len(codec.fingerprint) == 8
    # Where the same table is fitted again, the streams are exchangeable.
    twin = PCACodec(target_rate=9).fit(np.random.default_rng(0).normal(size=(300, 3)) * [3, 2, 1])
    assert same_bits(twin.decompress(blob), codec.decompress(blob))


def test_a_header_of_more_rows_than_bytes_is_refused(codec, rows):
    blob = codec.compress(rows)
    header = container.read_header(io.BytesIO(blob))
    lie = container.Header(**{**vars(header), "n_rows": 1 << 40}).to_bytes()
    with pytest.raises(CorruptStreamError, match="declares 1099511627776 rows .* truncated"):
        codec.decompress(lie + blob[HEADER:])
    for change, words in (
        ({"n_features": 4}, "does not fit the model's shape"),
        ({"chunk_rows": (1 << 20) // 3 + 1}, "does not fit the model's shape"),
        ({"chunk_rows": 1 << 20}, "impossible shape"),
    ):
        lie = container.Header(**{**vars(header), **change}).to_bytes()
        with pytest.raises(CorruptStreamError, match=words):
            codec.decompress(lie + blob[HEADER:])


def test_a_codec_without_symbols_still_counts_its_rows():
    X = np.full((4, 3), 2.5)
    with pytest.warns(UserWarning, match="takes 0 bits per feature"):
        codec = PCACodec().fit(X)
    blob = codec.compress(np.zeros((70, 3)), chunk_rows=30)
    assert len(blob) == HEADER + 3 * CHUNK and codec.rate(X) == 0.0
    np.testing.assert_array_equal(codec.decompress(blob), np.full((70, 3), 2.5))


KINDS = {
    "int8": [-128, 127, 5],
    "uint8": [0, 255, 7],
    "int16": [-32768, 32767, 0],
    "int32": [-(2**31), 2**31 - 1, 3],
    "int64": [-5, 4, 12],
    "uint64": [0, 9, 1],
    "bool": [True, False, True],
    "float32": [0.5, -0.25, 8.0],
    "float64": [1.5, 2.5, -3.5],
    "Int64": [1, -2, 3],
    "Float32": [0.5, 1.0, 2.0],
    "boolean": [True, False, False],
}


def test_frames_keep_names_and_dtypes():
    frame = pd.DataFrame({f"c {kind}": pd.array(KINDS[kind] * 8, dtype=kind) for kind in KINDS})
    codec = PCACodec(beta=1e5, standardize=True).fit(frame)
    blob = codec.compress(frame, chunk_rows=5)
    back = codec.decompress(blob, as_frame=True)
    assert list(back.columns) == list(frame.columns)
    assert [str(kind) for kind in back.dtypes] == list(KINDS)
    # At this price a column errs by less than a hundredth of its standard deviation.
    for name in frame:
        before = frame[name].astype(float)
        assert np.abs(back[name].astype(float) - before).max() < 0.01 * before.std() + 1e-9
    for kind in ("int8", "uint8", "bool", "int64", "Int64", "boolean"):
        assert (back[f"c {kind}"] == frame[f"c {kind}"]).all()
    some = codec.decompress(blob, rows=slice(7, 2, -2), as_frame=True)
    pd.testing.assert_frame_equal(some, back.iloc[7:2:-2].reset_index(drop=True))
    assert isinstance(codec.decompress(blob), np.ndarray)


def test_integers_stay_in_their_range():
    # Reconstructions beyond a dtype's limits saturate, 64 bits included.
    frame = pd.DataFrame({"a": np.array([0, 255] * 20, "u1"), "b": np.array([-1, 1] * 20, "i8")})
    codec = PCACodec(beta=10).fit(frame)
    Z = np.diag([1e30, 1e30]) * [[1, 1], [-1, -1]]
    back = codec._as_frame(codec.inverse_transform(np.vstack([Z, -Z])))
    assert set(back["a"]) == {0, 255}
    assert set(back["b"]) == {-(2**63), 2**63 - 1024}


def test_an_array_becomes_a_frame_with_names_made_up(codec, rows):
    frame = codec.decompress(codec.compress(rows), as_frame=True)
    assert list(frame.columns) == ["x0", "x1", "x2"]
    assert same_bits(frame.to_numpy(), codec.reconstruct(rows))


def test_column_names_may_repeat():
    frame = pd.DataFrame(np.arange(40).reshape(20, 2) % 7, columns=["a", "b"], dtype=np.float32)
    codec = PCACodec(beta=50).fit(frame)
    # scikit-learn 1.9 refuses repeated names in fit; older ones let them pass.
    X_hat = codec.reconstruct(frame)
    codec.feature_names_in_[1] = "a"
    back = codec._as_frame(X_hat)
    assert list(back.columns) == ["a", "a"] and set(back.dtypes) == {np.dtype("f4")}


def test_unfitted_codecs_say_so(rows):
    codec = PCACodec()
    for call in (
        lambda: codec.compress(rows),
        lambda: codec.decompress(b""),
        lambda: list(codec.decompress_from(io.BytesIO())),
        lambda: codec.fingerprint,
        lambda: codec.history_,
        lambda: codec.inverse_transform(rows),
        lambda: codec.save("never"),
    ):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            call()


def test_nothing_overruns_the_code_it_takes(codec):
    with pytest.raises(ValueError, match="Z has 2 columns, but this PCACodec has codes of 3"):
        codec.inverse_transform(np.zeros((4, 2)))
