"""The entropy coder against a decoder in plain Python integers, and its code lengths."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import rans_decode

from rdlearn.coding.tables import IntegerTables, bits_of
from rdlearn.exceptions import CorruptStreamError

TOTAL = 1 << 14
INT64 = st.integers(-(2**63), 2**63 - 1)
PLAIN = settings(deadline=None, derandomize=True, max_examples=60)
# How the plain decoder and the package name the same damage.
REASONS = {
    "states": "state is impossible|needs at least 40",
    "words": "ends too early",
    "escape": "runs out of its bytes",
    "end": "state is impossible|left over",
}


@st.composite
def frequencies(draw, closed=False):
    """A table of 1 to 20 symbols and an escape, some entries as small as possible."""
    size = draw(st.integers(1, 20))
    cuts = draw(
        st.lists(st.integers(1, TOTAL - 1), min_size=size, max_size=size, unique=True).map(sorted)
    )
    parts = [b - a for a, b in itertools.pairwise([0, *cuts, TOTAL])]
    if closed:
        return [*parts[:-2], parts[-2] + parts[-1], 0]
    return parts


@st.composite
def coded_tables(draw, open_only=False):
    """Tables as (low, shift, frequencies) and symbols for them, escapes included."""
    n = draw(st.sampled_from([0, 1, 2, 7, 8, 9, 16, 40]))
    columns, symbols = [], []
    for _ in range(draw(st.integers(0, 3))):
        closed = not open_only and draw(st.booleans())
        table = draw(frequencies(closed))
        shift = draw(st.sampled_from([0, 0, 1, 13, 14, 15, 28, 43, 50]))
        low = draw(st.one_of(st.integers(-50, 50), INT64))
        span = (len(table) - 1) << shift
        inside = st.integers(0, span - 1).map(lambda v, low=low: _wrapped(low + v))
        values = inside if closed else st.one_of(inside, inside, inside, INT64)
        columns.append((low, shift, table))
        symbols.append(draw(st.lists(values, min_size=n, max_size=n)))
    return columns, np.array(symbols, dtype=np.int64).reshape(len(columns), n)


def _wrapped(value):
    return (value + 2**63) % 2**64 - 2**63


def tables_of(columns):
    return IntegerTables(*([column[k] for column in columns] for k in range(3)))


@PLAIN
@given(coded_tables())
def test_round_trip_and_plain_decoder(case):
    columns, symbols = case
    tables = tables_of(columns)
    payload = tables.encode(symbols)
    decoded = tables.decode(payload, symbols.shape[1])
    assert decoded.dtype == np.int64
    np.testing.assert_array_equal(decoded, symbols)
    assert rans_decode(payload, columns, symbols.shape[1]) == symbols.tolist()


@PLAIN
@given(coded_tables(), st.data())
def test_damaged_payload_is_judged_as_by_the_plain_decoder(case, data):
    columns, symbols = case
    n = symbols.shape[1]
    damaged = bytearray(tables_of(columns).encode(symbols))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place] = data.draw(st.sampled_from([0, 1, 127, 128, 255]))
    cut = data.draw(st.sampled_from([0, 0, 1, 2, 5]))
    damaged = bytes(damaged[: len(damaged) - cut]) + data.draw(st.binary(max_size=3))
    try:
        expected = rans_decode(damaged, columns, n)
    except ValueError as error:
        with pytest.raises(CorruptStreamError, match=REASONS[str(error)]):
            tables_of(columns).decode(damaged, n)
    else:
        assert tables_of(columns).decode(damaged, n).tolist() == expected


def test_every_prefix_is_refused():
    rng = np.random.default_rng(0)
    symbols = np.rint(rng.normal(0, 3, (3, 41))).astype(np.int64)
    symbols[1] *= 10**12
    symbols[2, 5] = 10**9
    tables = IntegerTables.fit(symbols.T)
    payload = tables.encode(symbols)
    for length in range(len(payload)):
        with pytest.raises(CorruptStreamError):
            tables.decode(payload[:length], 41)
    with pytest.raises(CorruptStreamError, match="left over"):
        tables.decode(payload + b"\0\0", 41)


@pytest.mark.parametrize("shift", [0, 5, 20])
def test_a_missing_last_word_is_not_read(shift):
    rng = np.random.default_rng(4)
    for n in range(1, 40):
        tables = IntegerTables([0], [shift], [[1, 8191, 8191, 1]])
        # Random symbols, and the rarest alone: there almost every symbol takes a word.
        for symbols in (rng.integers(0, 3 << shift, (1, n)), np.zeros((1, n), dtype=np.int64)):
            payload = tables.encode(symbols)
            if len(payload) > 40:
                with pytest.raises(CorruptStreamError, match="ends too early"):
                    tables.decode(payload[:-2], n)


def test_damage_is_named():
    tables = IntegerTables([0], [0], [[4096, 4096, 8192]])
    payload = tables.encode(np.array([[0, 1, 99, 0, 0, 1, 1, 0, 1, 0] * 3]))
    plain = tables.encode(np.array([[0, 1] * 40]))
    with pytest.raises(CorruptStreamError, match="needs at least 40"):
        tables.decode(payload[:31], 30)
    with pytest.raises(CorruptStreamError, match="ends too early"):
        tables.decode(plain[:42], 80)
    with pytest.raises(CorruptStreamError, match="state is impossible"):
        tables.decode(bytes(5) + payload[5:], 30)
    with pytest.raises(CorruptStreamError, match="runs out of its bytes"):
        tables.decode(payload[:-6] + b"\xff" * 6 + payload[-1:], 30)


@pytest.mark.parametrize("dtype", [np.int32, np.uint16, bool])
def test_integer_types_and_read_only_arrays(dtype):
    symbols = np.random.default_rng(1).integers(0, 2, (2, 100)).astype(dtype)
    symbols.flags.writeable = False
    tables = IntegerTables.fit(symbols.T)
    payload = tables.encode(symbols)
    np.testing.assert_array_equal(tables.decode(payload, 100), symbols)
    np.testing.assert_array_equal(tables.decode(memoryview(payload), 100), symbols)
    assert tables.code_length(symbols).shape == (100,)


def test_transposed_symbols():
    symbols = np.random.default_rng(2).integers(-5, 6, (50, 3))
    tables = IntegerTables.fit(symbols)
    assert tables.encode(symbols.T) == tables.encode(np.ascontiguousarray(symbols.T))


@PLAIN
@given(coded_tables(open_only=True))
def test_code_length_by_hand(case):
    columns, symbols = case
    expected = np.zeros(symbols.shape[1])
    for (low, shift, table), row in zip(columns, symbols.tolist(), strict=True):
        for i, value in enumerate(row):
            bucket = min(((value - low) % 2**64) >> shift, len(table) - 1)
            expected[i] += 14 - np.log2(table[bucket])
            if bucket < len(table) - 1:
                expected[i] += shift
            else:
                delta = _wrapped(value - low)
                zigzag = 2 * delta if delta >= 0 else -2 * delta - 1
                expected[i] += 8 * max(1, -(-zigzag.bit_length() // 7))
    # Bits are those of float32.
    np.testing.assert_allclose(tables_of(columns).code_length(symbols), expected, rtol=2.0**-24)


@pytest.mark.parametrize("precision", [14, 16])
def test_bits_are_rounded_where_no_logarithm_is_halfway(precision):
    # So that a logarithm that is off by a few of its last digits gives the same bits.
    frequencies = np.arange(1, 2**precision + 1)
    bits = bits_of(frequencies, precision)
    for off in (-2, 2):
        near = precision - np.log2(frequencies) + off * np.finfo(float).eps * precision
        np.testing.assert_array_equal(near[:-1].astype(np.float32), bits[:-1])
    exact = [precision - math.log2(f) for f in (1, 3, 2**precision - 1, 2**precision)]
    np.testing.assert_allclose(bits[[0, 2, -2, -1]], exact, rtol=2.0**-24)
    assert bits_of(np.zeros(1, dtype=np.int64), precision)[0] == np.inf


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("share", [0.003, 0.2, 0.7])
def test_rounding_of_states_is_in_the_code_length(place, share):
    # The same symbol over and over, at either end of its table and in between.
    rest = (1 - share) * 2**14
    before = [1, rest / 2, rest - 1][place]
    table = [int(before), int(share * 2**14), 0]
    table[-1] = 2**14 - sum(table)
    tables = tables_of([(0, 0, table)])
    symbols = np.ones((1, 100_000), dtype=np.int64)
    bits = tables.code_length(symbols).sum()
    # Eight states hold 24 bits from the start and 24 to 40 at the end.
    spent = 8 * (len(tables.encode(symbols)) - 24)
    assert -1e-3 * bits <= spent - bits <= 1e-3 * bits + 128


@pytest.mark.parametrize("scale", [0.2, 3.0, 1e3, 1e7])
def test_code_length_is_the_payload(scale):
    # Eight states enter with 24 bits and leave with 24 to 40. A push floors q = x / f, which is
    # 2**10 or more and costs about 1 / (24 ln 2 q**2), next to nothing.
    n = 200_000
    symbols = np.rint(np.random.default_rng(3).normal(0, scale, (1, n))).astype(np.int64)
    tables = IntegerTables.fit(symbols.T)
    bits = tables.code_length(symbols).sum()
    spent = 8 * (len(tables.encode(symbols)) - 40)
    assert -129 <= spent - bits <= 1e-6 * n + 1


def test_an_escape_takes_at_most_ten_bytes():
    columns = [(0, 0, [4096, 12288])]
    tables = tables_of(columns)
    payload = tables.encode(np.array([[99] + [0] * 9]))
    words = payload[:-2]
    for last, empty, value in [(b"\x02", 2, 2**14), (b"\x01", 9, 2**62)]:
        # Read from the end: empty groups of seven bits, then the one with the bit.
        longer = words + last + b"\x80" * empty
        assert tables.decode(longer, 10).tolist() == [[value] + [0] * 9]
        assert rans_decode(longer, columns, 10) == [[value] + [0] * 9]
    with pytest.raises(CorruptStreamError, match="runs out of its bytes"):
        tables.decode(words + b"\x01" + b"\x80" * 10, 10)
