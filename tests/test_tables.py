"""Integer tables: frequencies, fitting, size of the code, states from hostile files."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rdlearn.coding.integers import pack_integers
from rdlearn.coding.tables import MAX_SHIFT, MAX_SIZE, IntegerTables, quantize_probabilities
from rdlearn.exceptions import CorruptStreamError

TOTAL = 1 << 14
PLAIN = settings(deadline=None, derandomize=True, max_examples=80)
EXTREMES = [-(2**63), 2**63 - 1, -(2**62), 2**62, 0, 1, -1]


def cost(weights, frequencies):
    """Nats a symbol under the frequencies."""
    return -np.sum(weights * np.log(np.asarray(frequencies) / TOTAL)) / np.sum(weights)


def test_frequencies_of_simple_weights():
    assert quantize_probabilities([7]).tolist() == [TOTAL]
    assert quantize_probabilities([1, 1, 2]).tolist() == [4096, 4096, 8192]
    assert quantize_probabilities([1, 0]).tolist() == [TOTAL - 1, 1]
    assert quantize_probabilities(np.ones(TOTAL)).tolist() == [1] * TOTAL


@PLAIN
@given(
    hnp.arrays(
        np.float64,
        st.integers(1, 300),
        elements=st.one_of(st.floats(0, 1), st.sampled_from([0.0, 5e-324, 1e-200, 1e308])),
    ).filter(np.any)
)
def test_frequencies_sum_and_stay_near(weights):
    frequencies = quantize_probabilities(weights)
    assert frequencies.dtype == np.int64 and frequencies.sum() == TOTAL and frequencies.min() >= 1
    # Within one unit of the share that least code length over real frequencies >= 1 gives.
    weights = weights / weights.max()
    low, high = 0.0, 2.0 * TOTAL
    for _ in range(100):
        scale = (low + high) / 2
        low, high = (scale, high) if np.maximum(scale * weights, 1).sum() < TOTAL else (low, scale)
    assert np.abs(frequencies - np.maximum(high * weights, 1)).max() <= 1.5 + 1e-6


@PLAIN
@given(st.lists(st.floats(1e-7, 1), min_size=2, max_size=2))
def test_two_frequencies_are_the_best_split(weights):
    first = np.arange(1, TOTAL)
    splits = -(weights[0] * np.log(first / TOTAL) + weights[1] * np.log(1 - first / TOTAL))
    best = splits.min() / sum(weights)
    assert cost(weights, quantize_probabilities(weights)) <= best + 1e-12


def test_no_exchange_of_one_unit_gains_much():
    # For a sum of concave terms single exchanges decide: without a gain the optimum is reached.
    rng = np.random.default_rng(0)
    for spread in (0.5, 3.0, 8.0):
        weights = np.exp(rng.normal(0, spread, 40))
        frequencies = quantize_probabilities(weights)
        reached = cost(weights, frequencies)
        for i, j in itertools.permutations(range(40), 2):
            if frequencies[j] > 1:
                other = frequencies.copy()
                other[i] += 1
                other[j] -= 1
                assert cost(weights, other) > reached - 1e-6


@pytest.mark.parametrize(
    "weights",
    [[], np.ones(TOTAL + 1), [0, 0], [1, np.nan], [1, np.inf], [1, -1]],
)
def test_weights_without_frequencies_are_refused(weights):
    with pytest.raises(ValueError, match="probabilities must"):
        quantize_probabilities(weights)


@PLAIN
@given(
    hnp.arrays(
        np.int64,
        st.tuples(st.integers(0, 60), st.integers(0, 3)),
        elements=st.one_of(
            st.integers(-4, 4), st.sampled_from(EXTREMES), st.integers(-(2**63), 2**63 - 1)
        ),
    )
)
def test_every_integer_array_comes_back(symbols):
    tables = IntegerTables.fit(symbols)
    columns = np.ascontiguousarray(symbols.T)
    stored = IntegerTables.from_state(tables.to_state())
    np.testing.assert_array_equal(stored.decode(tables.encode(columns), len(symbols)), columns)
    assert stored.encode(columns) == tables.encode(columns)


@pytest.mark.parametrize(
    "column",
    [
        [2**63 - 1 - 5000 * i for i in range(3000)],
        EXTREMES * 500,
        [2**63 - 1] * 10 + [-(2**63)],
        [5] * 1000,
        [0] * 99_999 + [10**15],
        range(-5000, 5000),
        [2**40 * (i % 5000) for i in range(20_000)],
    ],
)
def test_wide_columns(column):
    symbols = np.array([column], dtype=np.int64)
    tables = IntegerTables.fit(symbols.T)
    payload = tables.encode(symbols)
    np.testing.assert_array_equal(tables.decode(payload, symbols.size), symbols)
    assert 0 <= tables.shift[0] <= MAX_SHIFT and 1 <= tables.size[0] <= MAX_SIZE
    # No worse than ten bytes and the escape symbol for every value.
    assert len(payload) <= 40 + 12 * symbols.size


def test_symbols_beyond_the_training_data_escape():
    tables = IntegerTables.fit(np.zeros((1000, 1), dtype=int))
    symbols = np.array([[0, 1, -1, 2**63 - 1, -(2**63)] * 20])
    np.testing.assert_array_equal(tables.decode(tables.encode(symbols), 100), symbols)


def test_a_constant_column_costs_nothing():
    symbols = np.full((1, 100_000), 7)
    tables = IntegerTables.fit(symbols.T)
    # One in 2**14 is kept for the escape.
    assert tables.code_length(symbols).sum() < 1.1 * 100_000 * 2**-14 / np.log(2)
    assert len(tables.encode(symbols)) <= 40 + 2


def test_size_of_a_rounded_gaussian():
    symbols = np.rint(np.random.default_rng(0).normal(0, 3, 1_000_000)).astype(np.int32)
    counts = np.unique(symbols, return_counts=True)[1]
    entropy = -np.sum(counts * np.log2(counts / counts.sum()))
    tables = IntegerTables.fit(symbols[:, None])
    payload = tables.encode(symbols[None])
    np.testing.assert_array_equal(tables.decode(payload, symbols.size)[0], symbols)
    side = sum(array.nbytes for array in tables.to_state().values())
    header_and_chunk_head = 54 + 8
    assert 8 * (len(payload) + side + header_and_chunk_head) <= 1.0005 * entropy


@pytest.mark.parametrize(
    "symbols",
    [np.zeros(3, dtype=int), np.zeros((3, 1)), np.array([[2**64 - 1]], dtype=np.uint64)],
)
def test_fit_refuses_what_is_no_table_of_int64(symbols):
    with pytest.raises(ValueError, match="symbols"):
        IntegerTables.fit(symbols)


def test_symbols_must_match_the_tables():
    tables = IntegerTables([0, 0], [0, 0], [[TOTAL - 1, 1]] * 2)
    for symbols in (np.zeros((3, 5), int), np.zeros((1, 5), int), np.zeros((2, 5)), np.zeros(2)):
        for method in (tables.encode, tables.code_length):
            with pytest.raises(ValueError, match="one a table"):
                method(symbols)


def test_closed_table():
    tables = IntegerTables([3], [0], [[4096, 12288, 0]])
    symbols = np.array([[3, 4, 4, 3]])
    np.testing.assert_array_equal(tables.decode(tables.encode(symbols), 4), symbols)
    outside = np.array([[3, 5]])
    assert tables.code_length(outside)[1] == np.inf
    with pytest.raises(ValueError, match="closed integer table"):
        tables.encode(outside)


def good_state():
    return IntegerTables.fit(np.array([[0, 10], [1, 20], [1, 10**9]])).to_state()


def packed(values):
    return np.frombuffer(pack_integers(values), dtype=np.uint8)


FIVE = packed([TOTAL, 1, -1, TOTAL, 0])
HOSTILE = {
    "low": [None, "0", [0, 0], np.zeros((1, 2), int), np.zeros(2), np.zeros(3, int), np.array(0)],
    "shift": [np.array([0, 51]), np.array([0, -1]), np.array([0, 2**63 - 1]), np.zeros(1, int)],
    "size": [
        np.array([0, 1]),
        np.array([-1, 4]),
        np.array([MAX_SIZE + 1, 1]),
        np.array([2**63 - 1, 1]),
        np.array([1.0, np.nan]),
        np.array([[1, 1]]),
    ],
    "frequencies": [
        10**12,
        b"",
        np.zeros(0, np.uint8),
        np.zeros((1, 9), np.uint8),
        packed([TOTAL, 0]),
        packed([0, TOTAL] * 2),
        packed([TOTAL + 1, -1] * 2),
        packed([TOTAL - 1, 2] * 2),
        FIVE,
        packed([2**63 - 1, 1] * 2),
    ],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_states(name):
    for value in HOSTILE[name]:
        state = {**good_state(), name: value}
        if name == "frequencies":
            state["size"] = np.array([2, 1] if value is FIVE else [1, 1])
        with pytest.raises(CorruptStreamError):
            IntegerTables.from_state(state)
    incomplete = good_state()
    del incomplete[name]
    for state in (incomplete, [], None):
        with pytest.raises(CorruptStreamError):
            IntegerTables.from_state(state)


def test_columns_come_with_their_bytes():
    # Nothing inflates before every size has its low and shift, nor more than 2**24 entries.
    few, many = np.full(500, MAX_SIZE), np.full(5000, MAX_SIZE)
    zeros = packed(np.zeros(few.size * (MAX_SIZE + 1)))
    state = {**good_state(), "frequencies": zeros}
    tracemalloc.start()
    try:
        for extra in ({"size": few}, {"size": many, "low": many, "shift": 0 * many}):
            with pytest.raises(CorruptStreamError):
                IntegerTables.from_state({**state, **extra})
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_tables_must_be_flat():
    with pytest.raises(CorruptStreamError, match="number of columns"):
        IntegerTables([[0, 0]], [0, 0], [[TOTAL - 1, 1]] * 2)


def test_a_rare_far_value_does_not_stretch_the_table():
    # 3000 empty buckets of 2**-14 each would take 18 % of the probability.
    symbols = np.zeros((1, 1_000_000), dtype=np.int64)
    symbols[0, 7] = 3000
    tables = IntegerTables.fit(symbols.T)
    assert tables.size[0] == 1
    expected = 14 + 16 - 999_999 * np.log2(1 - 2**-14)
    assert tables.code_length(symbols).sum() == pytest.approx(expected, rel=2**-24)


@pytest.mark.parametrize("columns", [0, 1])
@pytest.mark.parametrize("n", [0, 1, 100])
def test_empty_shapes(columns, n):
    symbols = np.zeros((columns, n), dtype=np.int64)
    tables = IntegerTables.fit(symbols.T)
    payload = tables.encode(symbols)
    assert tables.decode(payload, n).shape == (columns, n)
    assert tables.code_length(symbols).shape == (n,)
    assert IntegerTables.from_state(tables.to_state()).n_columns == columns
