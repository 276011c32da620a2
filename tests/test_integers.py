"""Packed integer arrays: exact round trips, and a parser that trusts no length."""

import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdlearn.coding.integers import (
    MAX_COUNT,
    pack_integers,
    stored,
    stored_integers,
    unpack_integers,
)
from rdlearn.exceptions import CorruptStreamError

PLAIN = settings(deadline=None, derandomize=True, max_examples=100)
INT64 = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-3, 3),
    st.sampled_from([-(2**63), 2**63 - 1, 63, 64, -64, -65]),
)


def deflated(raw):
    deflate = zlib.compressobj(9, wbits=-15)
    return deflate.compress(raw) + deflate.flush()


def naive_bytes(values):
    """The groups of seven bits before deflate, in Python integers."""
    raw, before = [], 0
    for value in values:
        delta = (value - before + 2**63) % 2**64 - 2**63
        z = 2 * delta if delta >= 0 else -2 * delta - 1
        while z >= 128:
            raw.append(z % 128 + 128)
            z //= 128
        raw.append(z)
        before = value
    return bytes(raw)


@PLAIN
@given(st.lists(INT64, max_size=30))
def test_round_trip_and_layout(values):
    data = pack_integers(np.array(values, dtype=np.int64))
    assert unpack_integers(data, len(values)).tolist() == values
    assert unpack_integers(data, len(values)).dtype == np.int64
    assert zlib.decompress(data, wbits=-15) == naive_bytes(values)
    for wrong in (len(values) - 1, len(values) + 1):
        with pytest.raises(CorruptStreamError):
            unpack_integers(data, wrong)


@PLAIN
@given(st.binary(max_size=40), st.integers(0, 20), st.booleans())
def test_any_bytes_give_an_array_or_an_error(raw, count, deflate):
    data = deflated(raw) if deflate else raw
    try:
        values = unpack_integers(data, count)
    except CorruptStreamError:
        pass
    else:
        assert values.shape == (count,) and values.dtype == np.int64


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (b"", 0),
        (deflated(b"\x01") + b"\0", 1),  # bytes after the end of the deflate stream
        (deflated(b"\x01")[:-1], 1),
        (deflated(b"\x80"), 1),  # the last group says that more follow
        (deflated(b"\x80" * 10 + b"\x01"), 1),  # eleven groups
        (deflated(b"\x01\x80" * 5 + b"\x01"), 2),
        (pack_integers([1, 2]), -1),
        (deflated(bytes(MAX_COUNT + 1)), MAX_COUNT + 1),
    ],
)
def test_malformed_arrays(data, count):
    with pytest.raises(CorruptStreamError):
        unpack_integers(data, count)


def test_an_array_too_long_to_read_is_not_written():
    with pytest.raises(ValueError, match="too long"):
        pack_integers(np.broadcast_to(np.int64(0), MAX_COUNT + 1))


def test_inflation_stops_at_the_declared_count():
    bomb = deflated(bytes(1 << 26))
    assert len(bomb) < 1 << 17
    tracemalloc.start()
    try:
        with pytest.raises(CorruptStreamError):
            unpack_integers(bomb, 1000)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_stored_values_have_exactly_the_kind_asked_for():
    state = {"n": 3, "x": 0.5, "a": np.arange(3, dtype=np.uint8), "t": True}
    assert stored(state, "n", int) == 3
    assert stored(state, "x", float) == 0.5
    np.testing.assert_array_equal(stored_integers(state, "a"), [0, 1, 2])
    assert stored_integers(state, "a").dtype == np.int64
    for name, kind in [("n", float), ("x", int), ("t", int), ("a", list), ("none", int)]:
        with pytest.raises(CorruptStreamError, match=name):
            stored(state, name, kind)
    with pytest.raises(CorruptStreamError):
        stored([1, 2], "n", int)


@pytest.mark.parametrize(
    "value",
    [
        None,
        3,
        [1, 2],
        "12",
        np.array(3),
        np.zeros((2, 2), dtype=int),
        np.array([1.0, np.nan]),
        np.array([True, False]),
        np.array(["1"], dtype=object),
    ],
)
def test_stored_integers_refuses_all_else(value):
    with pytest.raises(CorruptStreamError, match="'a'"):
        stored_integers({"a": value}, "a")
