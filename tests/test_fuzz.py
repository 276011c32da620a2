"""12,500 damaged and hostile streams and model files: an error that says so, or a declared shape.

Half of them have every checksum recomputed, so that the decoder and the loader behind the
checksums are reached. A seeded mutator, hence the same mutants on every run.
"""

import contextlib
import copy
import os
import pathlib
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zlib
from collections import Counter

import numpy as np
import pytest
from stream_bytes import HEADER, header_checksum, join_stream, repaired_checksums, split_stream

from rdlearn import PCACodec, _persistence, load
from rdlearn.coding.integers import pack_integers, unpack_integers
from rdlearn.exceptions import CorruptStreamError

N_STREAMS, N_MODELS = 1500, 1000  # of each of five codecs
ROWS = 150
# What zlib and the interpreter take by themselves, whatever the input.
SLACK = 1 << 20
EXTREMES = [0, 1, 2, 7, 127, 128, 255, 2**15, 2**16 - 1, 2**20, 2**20 + 1, 2**31 - 1, 2**31]
EXTREMES += [2**32 - 1, 2**40, 2**60, 2**63 - 1, 2**63, 2**64 - 1]
NASTY = [None, True, "", "x", [], {}, 0, -1, 3, 2**31, 2**63, 10**30, 0.5, 1e-320, 1e308]
NASTY += [float("inf"), float("-inf"), float("nan"), [1, 2], {"a": 1}, "0.5", "PCACodec"]
NUMBERS = [0, 1, -1, 2, 255, 2**31, -(2**63), 2**63 - 1, 0.5, 1e-320, 1e-200, 1e200, 1e308]
NUMBERS += [-1e308, np.inf, -np.inf, np.nan]


def _fit(name):
    rng = np.random.default_rng(0)
    X = rng.laplace(0, 1, (ROWS, 3)) @ rng.normal(0, 1, (3, 3))
    with warnings.catch_warnings():
        # Rates far outside 0.01 to 16 bits per feature are the point here.
        warnings.simplefilter("ignore", UserWarning)
        if name == "escapes":
            codec, X = PCACodec(beta=20.0).fit(X.astype(np.float32)), X.astype(np.float32)
            X[::9] *= 1e4
        elif name == "wide":
            codec = PCACodec(beta=1e12).fit(X)
            assert codec.quantizers_.tables.shift.max() > 14
        elif name == "fixed":
            codec = PCACodec(n_bits=2).fit(X)
        elif name == "trellis":
            codec, X = PCACodec(beta=20.0, quantizer="trellis").fit(X), X.copy()
            X[::9] *= 1e4
        else:
            codec = PCACodec(beta=1e-6).fit(X)
            assert codec.quantizers_.active.size == 0
    for dtype in (np.float32, np.float64):
        # Compile before memory is measured.
        codec.decompress(codec.compress(X.astype(dtype)))
    return codec, X


CODECS = ["escapes", "wide", "fixed", "trellis", "dropped"]


@pytest.fixture(scope="module", params=CODECS)
def fitted(request):
    return _fit(request.param)


@contextlib.contextmanager
def memory_below(limit):
    """What numpy and Python allocate inside stays within `limit` bytes."""
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    yield
    assert tracemalloc.get_traced_memory()[1] - before <= limit


@pytest.fixture(autouse=True)
def traced():
    tracemalloc.start()
    yield
    tracemalloc.stop()


# Mutations of bytes.


def mutate(rng, data):
    """One to three local changes of a byte string."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        size = len(data)
        a, b, c = sorted(rng.integers(0, size + 1, 3)) if size else (0, 0, 0)
        width = int(rng.integers(1, 9))
        match rng.integers(0, 9):
            case 0 if size:
                data[a % size] ^= 1 << int(rng.integers(0, 8))
            case 1:
                data[a : a + width] = bytes(len(data[a : a + width]))
            case 2:
                data[a : a + width] = b"\xff" * len(data[a : a + width])
            case 3:
                data[a : a + width] = rng.bytes(len(data[a : a + width]))
            case 4:
                del data[int(rng.integers(0, size + 1)) :]
            case 5:
                data += rng.bytes(width)
            case 6:
                data[c:c] = data[a:b]
            case 7:
                del data[a:b]
            case _:
                data[a:c] = data[b:c] + data[a:b]
    return bytes(data)


def hostile_stream(rng, data):
    """A changed stream whose checksums, and mostly lengths, are right."""
    head, payloads = split_stream(data)
    k, j = rng.integers(0, len(payloads), 2)
    match rng.integers(0, 6):
        case 0:
            return repaired_checksums(mutate(rng, data))
        case 1 | 2:
            payloads[k] = mutate(rng, payloads[k])
        case 3:
            payloads[k], payloads[j] = payloads[j], payloads[k]
        case 4:
            payloads[k : k + 1] = [payloads[k]] * int(rng.integers(0, 3))
        case _:
            offset, kind = [(34, "<Q"), (42, "<I"), (46, "<I"), (5, "<B")][rng.integers(0, 4)]
            head = bytearray(head)
            (value,) = struct.unpack_from(kind, head, offset)
            value = [value + 1, value - 1, int(rng.choice(EXTREMES))][rng.integers(0, 3)]
            struct.pack_into(kind, head, offset, value % 256 ** struct.calcsize(kind))
            if rng.integers(0, 2):
                payloads[k] = mutate(rng, payloads[k])
    return join_stream(bytes(head), payloads)


def declared(data):
    """Rows, features, rows a chunk and dtype that a stream's header states."""
    n_rows, n_features, chunk_rows = struct.unpack_from("<QII", data, 34)
    return n_rows, n_features, chunk_rows, np.dtype([np.float32, np.float64][data[5]])


def memory_allowed(codec, data):
    """Input, output and one chunk, where the chunks of the declared rows can be there at all."""
    limit = SLACK + 8 * len(data)
    if len(data) < HEADER:
        return limit
    n_rows, _, chunk_rows, _ = struct.unpack_from("<QIIB", data, 34)
    chunk_rows = max(1, min(chunk_rows, n_rows, 1 << 20))
    if -(-n_rows // chunk_rows) * (8 + codec._tables.least_payload) > len(data):
        return limit
    widths = codec.n_features_in_, codec.n_components_, codec._tables.n_columns
    return limit + 16 * (n_rows * widths[0] + chunk_rows * sum(widths))


def outcome(codec, data):
    """How decompress took a stream; anything but the two allowed ends is an error here."""
    with memory_below(memory_allowed(codec, data)):
        try:
            out = codec.decompress(data)
        except CorruptStreamError as error:
            return "decoder" if "entropy code is damaged" in str(error) else "container"
    n_rows, n_features, _, dtype = declared(data)
    assert out.shape == (n_rows, n_features) and out.dtype == dtype
    return "array"


def test_streams(fitted):
    codec, X = fitted
    data = codec.compress(X, chunk_rows=40)
    assert outcome(codec, data) == "array"
    rng = np.random.default_rng(1)
    for _ in range(N_STREAMS // 2):
        damaged = mutate(rng, data)
        if damaged != data:
            assert outcome(codec, damaged) == "container"
    seen = Counter(outcome(codec, hostile_stream(rng, data)) for _ in range(N_STREAMS // 2))
    assert min(seen["container"], seen["decoder"], seen["array"]) > 20, seen


def test_rows_of_hostile_streams(fitted):
    codec, X = fitted
    data = codec.compress(X, chunk_rows=40)
    rng = np.random.default_rng(2)
    for _ in range(100):
        damaged = hostile_stream(rng, data)
        try:
            part = codec.decompress(damaged, rows=slice(50, 90))
        except CorruptStreamError:
            continue
        n_rows, n_features, _, dtype = declared(damaged)
        expected = len(range(n_rows)[50:90])
        assert part.shape == (expected, n_features) and part.dtype == dtype


# Mutations of model files.


def with_checksum(blob):
    body = blob[20:]
    return blob[:8] + struct.pack("<IQ", zlib.crc32(body), len(body)) + body


def leaves(state, path=()):
    """Paths of all entries of a nested dictionary, inner dictionaries included."""
    for key, value in state.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))


def parent_of(state, path):
    for key in path[:-1]:
        state = state[key]
    return state


def changed_array(rng, array):
    array = array.copy()
    match rng.integers(0, 8):
        case 0 if array.size and array.dtype != object:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                array.flat[rng.integers(0, array.size)] = np.array(
                    NUMBERS[rng.integers(0, len(NUMBERS))]
                ).astype(array.dtype)
        case 1 if array.dtype != object:
            kinds = sorted(_persistence.DTYPES - {"b1"})
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                return array.astype(kinds[rng.integers(0, len(kinds))])
        case 2:
            return array[:-1]
        case 3:
            return np.concatenate([array, array[:1]])
        case 4:
            return array.reshape(1, *array.shape) if array.dtype != object else array[:0]
        case 5:
            return array.T if array.ndim > 1 else array[::-1]
        case 6:
            return array[:0]
        case _ if array.dtype != object:
            raw = bytearray(array.tobytes())
            if raw:
                raw[rng.integers(0, len(raw))] ^= 1 << int(rng.integers(0, 8))
            return np.frombuffer(bytes(raw), array.dtype).reshape(array.shape)
    return array


def changed_tables(rng, quantizers):
    """Frequencies that still sum to 2**14, or points and sizes that still fit each other."""
    tables = quantizers["tables"]
    if rng.integers(0, 2):
        size = tables["size"].astype(np.int64)
        flat = unpack_integers(tables["frequencies"], int((size + 1).sum()))
        if flat.size:
            end = np.cumsum(size + 1)[rng.integers(0, size.size)]
            i, j = end - 1 - rng.integers(0, 2, 2)
            step = int(rng.choice([1, flat[i] - 1, flat[i]]))
            flat[i] -= step
            flat[j] += step
        tables["frequencies"] = np.frombuffer(pack_integers(flat), np.uint8)
        return
    size = quantizers["size"].astype(np.int64)
    points = unpack_integers(quantizers["points"], int(size.sum()))
    if size.size:
        c = rng.integers(0, size.size)
        extra = int(rng.choice([1, 5, 1000]))
        end = int(np.cumsum(size)[c])
        points = np.insert(points, end, points[end - 1] + 1 + np.arange(extra))
        quantizers["size"] = quantizers["size"].copy()
        quantizers["size"][c] += extra
    quantizers["points"] = np.frombuffer(pack_integers(points), np.uint8)


def hostile_model(rng, blob):
    """A changed model file whose checksum is right."""
    if rng.integers(0, 4) == 0:
        return with_checksum(blob[:20] + mutate(rng, blob[20:]))
    state = _persistence.unpack(blob)
    if rng.integers(0, 4) == 0 and "__quantizers__" in state["fitted"].get("quantizers_", {}):
        changed_tables(rng, state["fitted"]["quantizers_"]["__quantizers__"])
        return _persistence.pack(state)
    for _ in range(rng.integers(1, 3)):
        paths = list(leaves(state))
        path, other = (paths[k] for k in rng.integers(0, len(paths), 2))
        holder, key = parent_of(state, path), path[-1]
        match rng.integers(0, 6):
            case 0:
                holder[key] = NASTY[rng.integers(0, len(NASTY))]
            case 1:
                del holder[key]
            case 2:
                value = parent_of(state, other)[other[-1]]
                holder[key] = copy.deepcopy(value)
            case _:
                arrays = [
                    p for p in paths if isinstance(parent_of(state, p).get(p[-1]), np.ndarray)
                ]
                if arrays:
                    path = arrays[rng.integers(0, len(arrays))]
                    holder = parent_of(state, path)
                    if holder[path[-1]].ndim:
                        holder[path[-1]] = changed_array(rng, holder[path[-1]])
    return _persistence.pack(state)


def model_outcome(path, blob, X, stream):
    """How load took a file; a codec that loads must decode what it codes, and survive more."""
    path.write_bytes(blob)
    with memory_below(32 * len(blob) + SLACK):
        try:
            codec = load(path)
        except CorruptStreamError:
            return "refused"
    patched = stream[:26] + codec.fingerprint + stream[34:50]
    outcome(codec, header_checksum(patched) + stream[HEADER:])
    rows = X if codec.n_features_in_ == X.shape[1] else np.zeros((5, codec.n_features_in_))
    try:
        own = codec.compress(rows, chunk_rows=40)
    except ValueError:
        return "loads"
    assert outcome(codec, own) == "array"
    return "codes"


def test_models(fitted, tmp_path):
    codec, X = fitted
    path = tmp_path / "model.rdl"
    codec.save(path)
    blob, stream = path.read_bytes(), codec.compress(X, chunk_rows=40)
    assert model_outcome(path, blob, X, stream) == "codes"
    rng = np.random.default_rng(3)
    for _ in range(N_MODELS // 2):
        damaged = mutate(rng, blob)
        if damaged != blob:
            assert model_outcome(path, damaged, X, stream) == "refused"
    seen = Counter(
        model_outcome(path, hostile_model(rng, blob), X, stream) for _ in range(N_MODELS // 2)
    )
    assert min(seen["refused"], seen["codes"]) > 20, seen


def test_a_planted_missing_check_is_found(tmp_path):
    script = pathlib.Path(__file__).with_name("planted_bug.py")
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = {name: int(count) for name, count in map(str.split, done.stdout.splitlines())}
    assert found.pop("intact") == 0
    assert len(found) == 2 and min(found.values()) > 0, found
