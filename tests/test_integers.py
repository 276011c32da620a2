"""Packed integer arrays: exact round trips, and a parser that trusts no length."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdlearn.coding.integers import (
    MAX_COUNT,
    pack_integers,
    stored,
    stored_integers,
    stored_packed,
    unpack_integers,
)
from rdlearn.exceptions import CorruptStreamError

PLAIN = settings(deadline=None, derandomize=True, max_examples=100)
INT64 = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-3, 3),
    st.sampled_from([-(2**63), 2**63 - 1, 63, 64, -64, -65]),
)


def naive_bytes(values):
    """The layout that the module describes, in Python integers and strings of bits."""
    sizes, before = [], 0
    for value in values:
        delta = (value - before + 2**63) % 2**64 - 2**63
        sizes.append(2 * delta if delta >= 0 else -2 * delta - 1)
        before = value
    heads = unary = low = ""
    for start in range(0, len(sizes), 32):
        block = sizes[start : start + 32]
        costs = [sum((z >> width) + width for z in block) for width in range(64)]
        width = costs.index(min(costs))
        heads += f"{width:06b}"[::-1]
        for z in block:
            unary += "0" * (z >> width) + "1"
            low += f"{z % (1 << width):0{width}b}"[::-1] if width else ""
    text = heads + unary + low
    return bytes(int(text[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(text), 8))


@PLAIN
@given(st.lists(INT64, max_size=80))
def test_round_trip_and_layout(values):
    data = pack_integers(np.array(values, dtype=np.int64))
    assert unpack_integers(data, len(values)).tolist() == values
    assert unpack_integers(data, len(values)).dtype == np.int64
    assert data.tobytes() == naive_bytes(values)


@PLAIN
@given(st.lists(INT64, min_size=1, max_size=80), st.data())
def test_other_counts_and_damage_give_an_array_or_an_error(values, draw):
    data = pack_integers(values)
    changed = data.copy()
    changed[draw.draw(st.integers(0, data.size - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    cut = data[: draw.draw(st.integers(0, data.size - 1))]
    for some, count in (
        (data, len(values) - 1),
        (data, len(values) + 1),
        (changed, len(values)),
        (cut, len(values)),
        (np.append(data, np.uint8(0)), len(values)),
    ):
        try:
            result = unpack_integers(some, count)
        except CorruptStreamError:
            continue
        # A bit of a value was changed, or the last value ends where one less would.
        assert result.shape == (count,) and result.dtype == np.int64


@PLAIN
@given(st.binary(max_size=40), st.integers(0, 40))
def test_any_bytes_give_an_array_or_an_error(data, count):
    try:
        values = unpack_integers(data, count)
    except CorruptStreamError:
        pass
    else:
        assert values.shape == (count,) and values.dtype == np.int64


def bits(text):
    return np.packbits(np.array([int(bit) for bit in text], dtype=np.uint8))


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (bits("0"), 0),  # bytes where there is nothing
        (bits("000000"), 1),  # no end of the value
        (bits("000000" + "1" + "0" * 9), 1),  # a byte too many
        (bits("000000" + "1" + "1"), 1),  # the padding is not zero
        (bits("111111" + "1" + "0" * 57), 1),  # a low bit is missing
        (bits("111111" + "001" + "0" * 63), 1),  # 2 * 2**63
        (bits("000000" + "1" * 33), 33),  # the second block lacks its width
        (pack_integers([1, 2]), -1),
        (np.full(MAX_COUNT, 255, dtype=np.uint8), MAX_COUNT + 1),
    ],
)
def test_malformed_arrays(data, count):
    with pytest.raises(CorruptStreamError):
        unpack_integers(data, count)


def test_the_largest_value_of_a_block_is_read():
    assert unpack_integers(bits("111111" + "01" + "1" * 63), 1).tolist() == [-(2**63)]


def test_an_array_too_long_to_read_is_not_written():
    with pytest.raises(ValueError, match="too long"):
        pack_integers(np.broadcast_to(np.int64(0), MAX_COUNT + 1))


def test_memory_is_that_of_the_values_declared():
    # As many ones as could be ends of values, and no width that would use them up.
    ones, few = np.full(1 << 17, 255, dtype=np.uint8), np.zeros(1 << 17, dtype=np.uint8)
    for data, count in ((ones, 20_000), (ones, 1 << 20), (few, 1 << 20), (ones, 10)):
        tracemalloc.start()
        try:
            with pytest.raises(CorruptStreamError):
                unpack_integers(data, count)
            assert tracemalloc.get_traced_memory()[1] < (1 << 20) + 16 * count + (1 << 16)
        finally:
            tracemalloc.stop()


def test_packed_arrays_are_bytes():
    values = [5, 6, 6, 9]
    state = {"a": pack_integers(values), "b": np.array(values)}
    assert stored_packed(state, "a", 4).tolist() == values
    for name in ("b", "none"):
        with pytest.raises(CorruptStreamError, match=name):
            stored_packed(state, name, 4)


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
