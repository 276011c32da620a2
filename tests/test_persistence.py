"""Model files: exact round trips, refusals, whole files, hostile descriptions."""

import json
import math
import os
import stat
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rdlearn import _persistence
from rdlearn._persistence import DTYPES, pack, read, unpack, whole_file, write
from rdlearn.exceptions import CorruptStreamError

PLAIN = settings(deadline=None, derandomize=True, max_examples=60)
KEYS = st.text(max_size=5)
ARRAYS = hnp.arrays(
    st.sampled_from(sorted(DTYPES)).map(np.dtype), hnp.array_shapes(min_dims=0, min_side=0)
)
TEXTS = st.lists(st.text(max_size=4), max_size=4).map(lambda texts: np.array(texts, dtype=object))
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**25), 10**25),
    st.floats(),
    st.text(max_size=10),
    ARRAYS,
    TEXTS,
)
STATES = st.dictionaries(
    KEYS,
    st.recursive(
        LEAVES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, np.ndarray):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert a.tolist() == b.tolist() if a.dtype == object else a.tobytes() == b.tobytes()
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for left, right in zip(a, b, strict=True):
            assert_same(left, right)
    else:
        assert a == b or (math.isnan(a) and math.isnan(b))


def blob_of(text, data=b""):
    """A model file with right checksum and lengths around any JSON text."""
    text = text if isinstance(text, bytes) else text.encode()
    body = struct.pack("<Q", len(text)) + text + data
    return b"RDLM" + struct.pack("<IIQ", 3, zlib.crc32(body), len(body)) + body


def array_text(**place):
    return json.dumps({"a": {"__array__": {"dtype": "f8", "shape": [2], "offset": 0, **place}}})


@PLAIN
@given(STATES)
def test_round_trip(state):
    blob = pack(state)
    assert_same(unpack(blob), state)
    assert pack(unpack(blob)) == blob


@pytest.mark.parametrize("kind", sorted(DTYPES))
@pytest.mark.parametrize("shape", [(), (0,), (3,), (0, 4), (2, 3)])
def test_every_dtype_and_byte_order(kind, shape):
    array = np.arange(math.prod(shape) or 1)[: math.prod(shape)].reshape(shape).astype(kind)
    swapped = array.astype(array.dtype.newbyteorder(">"))
    for given_array in (array, swapped, array.copy(order="F")):
        assert_same(unpack(pack({"a": given_array}))["a"], array)


def test_special_values():
    state = {"inf": math.inf, "low": -math.inf, "nan": math.nan, "a": np.array([np.nan, np.inf])}
    assert_same(unpack(pack(state)), state)
    assert unpack(pack({"t": (1, 2)})) == {"t": [1, 2]}
    scalars = {"f": np.float32(0.5), "i": np.int8(-3), "b": np.bool_(True), "s": np.str_("x")}
    assert_same(unpack(pack(scalars)), {"f": 0.5, "i": -3, "b": True, "s": "x"})


def test_restored_arrays_are_writable():
    array = unpack(pack({"a": np.zeros(3)}))["a"]
    array[0] = 1
    assert array[0] == 1 and array.flags.aligned


def test_layout():
    text = b'{"a":{"__array__":{"dtype":"u2","shape":[2],"offset":0}},"b":[1,null]}'
    expected = blob_of(text, struct.pack("<HH", 5, 258))
    assert pack({"a": np.array([5, 258], dtype=np.uint16), "b": [1, None]}) == expected


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        1j,
        b"bytes",
        np.complex64(1),
        np.longdouble(1),
        np.datetime64("2020-01-01"),
        np.zeros(2, dtype=complex),
        np.zeros(2, dtype=np.float16),
        np.array(["a"]),
        np.array(["2020"], dtype="M8[Y]"),
        np.zeros(1, dtype=[("a", int)]),
        np.array([1, "a"], dtype=object),
        np.array([["a"]], dtype=object),
        np.random.RandomState(0),
        {1: 2},
        {"__array__": 1},
        {"__texts__": []},
    ],
)
def test_what_cannot_come_back_is_refused(value):
    for state in ({"a": value}, {"a": [{"b": value}]}):
        with pytest.raises(ValueError, match="A model file holds"):
            pack(state)


# Files.


def test_write_and_read(tmp_path):
    path = tmp_path / "m.rdl"
    write(path, {"a": np.arange(3)})
    assert read(str(path))["a"].tolist() == [0, 1, 2]
    assert os.listdir(tmp_path) == ["m.rdl"]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_permissions_are_those_of_open(tmp_path, mask):
    before = os.umask(mask)
    try:
        write(tmp_path / "m.rdl", {})
        (tmp_path / "plain").write_bytes(b"")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("m.rdl", "plain")]
    assert modes[0] == modes[1]


def test_an_existing_file_keeps_its_mode_and_its_links(tmp_path):
    path, link = tmp_path / "m.rdl", tmp_path / "link"
    path.write_bytes(b"old")
    path.chmod(0o600)
    link.symlink_to(path)
    write(link, {"a": 1})
    assert link.is_symlink() and read(path) == {"a": 1}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_pipe_is_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with whole_file(pipe) as file:
            file.write(b"new")
        assert os.read(reader, 10) == b"new"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "m.rdl"
    path.write_bytes(b"old")
    with pytest.raises(error), whole_file(path) as file:
        file.write(b"half of the new")
        raise error
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["m.rdl"]


def test_a_path_that_cannot_be_replaced_leaves_no_part(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"), whole_file(tmp_path / "folder") as file:
        file.write(b"new")
    assert os.listdir(tmp_path) == ["folder"]
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "nowhere" / "m.rdl", {})


def test_nothing_is_at_the_path_before_the_end(tmp_path):
    with whole_file(tmp_path / "m.rdl") as file:
        file.write(b"new")
        assert not (tmp_path / "m.rdl").exists()
    assert (tmp_path / "m.rdl").read_bytes() == b"new"


# Damage.


def test_every_flipped_bit_and_every_length_is_seen():
    blob = pack({"a": np.arange(3), "b": "text", "c": [1.5, None]})
    for place in range(8 * len(blob)):
        damaged = bytearray(blob)
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(CorruptStreamError):
            unpack(bytes(damaged))
    for length in range(len(blob)):
        with pytest.raises(CorruptStreamError):
            unpack(blob[:length])
    with pytest.raises(CorruptStreamError, match="truncated"):
        unpack(blob + b"\0")


def test_damage_is_named():
    with pytest.raises(CorruptStreamError, match="not an rdlearn model file"):
        unpack(b"\x80\x04pickle" + bytes(50))
    later = bytearray(pack({}))
    for version in (2, 4):
        later[4] = version
        with pytest.raises(CorruptStreamError, match=f"format version {version}; .* reads 3"):
            unpack(bytes(later))


@pytest.mark.parametrize(
    "values", [[7], [1.5, -2.0, np.nan], [0.0, -0.0], [True, False, True, True]]
)
def test_large_arrays_that_repeat_their_values_are_stored_once(values):
    state = {"a": np.tile(values, 80_000).reshape(4, -1), "b": np.arange(3)}
    blob = pack(state)
    assert len(blob) < 300
    assert_same(unpack(blob), state)


def test_arrays_that_nearly_repeat_or_are_small_are_stored_in_full():
    almost = np.tile([1.5, -2.0, 7.0], 10_000)
    almost[-1] = 8.0
    for array in (almost, np.zeros(8000), np.tile(np.arange(5.0), 10_000)):
        assert len(pack({"a": array})) > array.nbytes


def test_the_writer_stores_no_more_repeats_than_the_reader_takes(monkeypatch):
    monkeypatch.setattr(_persistence, "MAX_REPEATED", 900_000)
    state = {name: np.full(50_000, 3.0) for name in "abc"}
    blob = pack(state)
    assert 400_000 < len(blob) < 401_000
    assert_same(unpack(blob), state)


@pytest.mark.parametrize(
    "place",
    [
        {"shape": [0], "repeats": 0},
        {"shape": [4], "repeats": -2},
        {"shape": [4], "repeats": 2.0},
        {"shape": [4], "repeats": True},
        {"shape": [4], "repeats": "2"},
        {"shape": [5], "repeats": 2},
        {"shape": [5], "repeats": 3},
        {"shape": [3], "repeats": 2},
        {"shape": [2 * 10**12], "repeats": 10**12},
        {"shape": [2, (1 << 24) + 2], "repeats": (1 << 24) + 2},
    ],
)
def test_impossible_repeats_are_refused(place):
    text = array_text(shape=[4], repeats=2)
    assert unpack(blob_of(text, struct.pack("<2d", 1, 2)))["a"].tolist() == [1, 2, 1, 2]
    tracemalloc.start()
    try:
        with pytest.raises(CorruptStreamError):
            unpack(blob_of(array_text(**place), bytes(16)))
        assert tracemalloc.get_traced_memory()[1] < 1 << 16
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "null",
        '"text"',
        b"\xff\xfe{}",
        "[" * 100_000,
        '{"a":' * 100_000,
        "[" * 100_000 + "]" * 100_000,
        '{"a":' + "9" * 10_000 + "}",
        '{"__texts__": ["a"]}',
        '{"a": {"__texts__": 3}}',
        '{"a": {"__array__": 3}}',
        '{"a": {"__array__": {}}}',
        '{"a": {"__array__": {"dtype": "f8"}}}',
    ],
)
def test_malformed_descriptions(text):
    with pytest.raises(CorruptStreamError):
        unpack(blob_of(text))


def test_the_description_ends_where_it_says():
    blob = bytearray(blob_of("{}"))
    assert unpack(bytes(blob)) == {}
    for size in (1, 3, 2**63, 2**64 - 1):
        struct.pack_into("<Q", blob, 20, size)
        struct.pack_into("<I", blob, 8, zlib.crc32(blob[20:]))
        with pytest.raises(CorruptStreamError, match="description"):
            unpack(bytes(blob))


@pytest.mark.parametrize(
    "place",
    [
        {"dtype": "O"},
        {"dtype": "f2"},
        {"dtype": ["f8"]},
        {"dtype": None},
        {"shape": [3]},
        {"shape": [1]},
        {"shape": [-1]},
        {"shape": [-1, -2]},
        {"shape": [2.0]},
        {"shape": 2},
        {"shape": "2"},
        {"shape": None},
        {"shape": [2**62, 4]},
        {"shape": [10**30]},
        {"shape": [0, 10**30]},
        {"shape": [1] * 100},
        {"offset": 8},
        {"offset": -8},
        {"offset": 10**30},
        {"offset": None},
    ],
)
def test_impossible_arrays(place):
    assert unpack(blob_of(array_text(), bytes(16)))["a"].tolist() == [0, 0]
    with pytest.raises(CorruptStreamError):
        unpack(blob_of(array_text(**place), bytes(16)))


def test_arrays_must_use_every_byte_once():
    # Many names for the same bytes would turn a small file into any amount of memory.
    place = '{"__array__":{"dtype":"u1","shape":[1000000],"offset":0}}'
    text = "[" + ",".join([place] * 1000) + "]"
    tracemalloc.start()
    try:
        with pytest.raises(CorruptStreamError, match="impossible array"):
            unpack(blob_of('{"a":' + text + "}", bytes(10**6)))
        assert tracemalloc.get_traced_memory()[1] < 10**7
    finally:
        tracemalloc.stop()
    with pytest.raises(CorruptStreamError):
        unpack(blob_of(array_text(), bytes(17)))
    first, second = array_text()[1:-1], array_text(offset=16)[1:-1]
    assert unpack(blob_of("{" + first + "," + second.replace("a", "b", 1) + "}", bytes(32)))
    with pytest.raises(CorruptStreamError):
        # The same name twice: the first array is lost.
        unpack(blob_of("{" + first + "," + second + "}", bytes(32)))


def test_a_bool_is_0_or_1():
    array = unpack(blob_of(array_text(dtype="b1", shape=[4]), b"\0\1\2\xff"))["a"]
    assert array.dtype == bool and array.view(np.uint8).tolist() == [0, 1, 1, 1]


@PLAIN
@given(st.binary(max_size=60), st.binary(max_size=20))
def test_any_description_gives_a_dictionary_or_an_error(text, data):
    try:
        state = unpack(blob_of(text, data))
    except CorruptStreamError:
        pass
    else:
        assert isinstance(state, dict)
