"""Trellis-coded quantizers: the machine, the search, tables by state, bytes, points."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trellis_reference import cheapest, paths, quantizers

from rdlearn.coding.integers import pack_integers
from rdlearn.coding.quantizers import repriced
from rdlearn.coding.tables import IntegerTables
from rdlearn.coding.trellis import TrellisQuantizers, TrellisTables
from rdlearn.exceptions import CorruptStreamError
from rdlearn.kernels.trellis import HALF, MACHINES, N_STATES, ways_into

SEEDS = st.integers(0, 2**32 - 1)


def random_tables(rng, n_columns, spread=3, shift=0):
    low, frequencies = [], []
    for _ in range(2 * n_columns):
        n = int(rng.integers(1, 2 * spread + 2))
        low.append(-int(rng.integers(0, n)) << shift)
        p = rng.dirichlet(np.ones(n + 1))
        f = 1 + np.floor(p * (2**14 - n - 1)).astype(int)
        f[rng.integers(n + 1)] += 2**14 - f.sum()
        frequencies.append(f)
    return IntegerTables(low, [shift] * (2 * n_columns), frequencies)


def random_quantizers(rng, n_columns, n_states=8, joint=False, slope=8.0, step=1.0, reach=2):
    tables = TrellisTables(random_tables(rng, n_columns), n_states, joint)
    points = [rng.integers(-20, 21, (2, 2 * reach + 1)) for _ in range(n_columns)]
    return TrellisQuantizers(n_columns, np.arange(n_columns), step, points, tables, slope)


def quantized(q, y):
    symbols = np.empty(y.shape[::-1], dtype=np.int64)
    lost = q.quantize(y, symbols)
    return symbols, lost


def places_of(symbols, joint):
    return [
        [symbols[c, i] for c, i in path] for path in paths(symbols.shape[1], joint, len(symbols))
    ]


# The machine.


@pytest.mark.parametrize("n_states", [4, 8])
@pytest.mark.parametrize("joint", [False, True])
def test_states_follow_the_published_machines(n_states, joint):
    rng = np.random.default_rng(0)
    symbols = rng.integers(-5, 6, (7, 41))
    tables = TrellisTables(random_tables(rng, 7), n_states, joint)
    states = tables.states(symbols)
    for path in paths(41, joint, 7):
        found = [int(states[place] >= HALF) for place in path]
        assert found == quantizers([int(symbols[place]) for place in path], n_states)


@pytest.mark.parametrize("n_states", [4, 8])
def test_every_state_has_two_ways_in(n_states):
    after = np.array(MACHINES[n_states])
    ways = ways_into(after)
    assert ways.shape == (N_STATES, 2, 2)
    for s in range(N_STATES):
        assert all(after[a, parity] == s for a, parity in ways[s])
    reached = {0}
    for _ in range(N_STATES):
        reached |= {int(s) for a in reached for s in after[a]}
    assert len(reached) == n_states


# The search.


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("n_states", [4, 8])
@pytest.mark.parametrize("step, slope", [(1.0, 3.0), (0.3, 60.0)])
def test_the_search_finds_the_cheapest_of_all_paths(n_states, joint, step, slope):
    rng = np.random.default_rng(7)
    n, n_columns = (29, 1) if joint else (3, 4)
    q = random_quantizers(rng, n_columns, n_states, joint, slope, step)
    y = rng.normal(0, 1.5 * step, (n, n_columns))
    symbols, lost = quantized(q, y)
    assert lost == 0
    values, t = q.dequantize(symbols, np.float64), q.tables.tables

    def bits(c, quantizer, k):
        table = 2 * c + quantizer
        alone = IntegerTables(
            t.low[[table]], t.shift[[table]], [t.frequencies[t.start[table] : t.start[table + 1]]]
        )
        return alone.code_length(np.array([[k]]))[0]

    def point(c, quantizer, k):
        offset = q.points[q.first[c] :][: 2 * (2 * q.reach[c] + 1)].reshape(2, -1)
        learned = offset[quantizer, k + q.reach[c]] / 64 if abs(k) <= q.reach[c] else 0
        return step * (k + (0.25, -0.25)[quantizer] + learned)

    def error(c, quantizer, k, v):
        return (v - point(c, quantizer, k)) ** 2 + np.log(2) / slope * bits(c, quantizer, k)

    for path in paths(n, joint, n_columns):
        v = [y[i, c] for c, i in path]

        def cost(place, quantizer, k, u, path=path, v=v):
            return error(path[place][0], quantizer, k, v[place])

        least, _ = cheapest([u / step for u in v], n_states, cost)
        ours = [int(symbols[place]) for place in path]
        found = sum(
            cost(place, quantizer, k, None)
            for place, (quantizer, k) in enumerate(
                zip(quantizers(ours, n_states), ours, strict=True)
            )
        )
        assert found == pytest.approx(least, rel=1e-12)
        # What is decoded is what the search thought.
        for (c, i), quantizer in zip(path, quantizers(ours, n_states), strict=True):
            assert values[i, c] == pytest.approx(point(c, quantizer, symbols[c, i]), rel=1e-12)


@pytest.mark.parametrize("scale", [30.0, 600.0, 1e6, 1e12])
def test_far_values_are_found_where_no_table_is(scale):
    # Without tables to speak of the nearest points of a subset of each parity are right.
    rng = np.random.default_rng(3)
    q = random_quantizers(rng, 1, slope=1e6)
    y = rng.normal(0, scale, (200, 1))
    symbols, lost = quantized(q, y)
    miss = np.abs(q.dequantize(symbols, np.float64) - y)
    # Paths of one value are of quantizer 0 by itself, which loses 1 / 12.
    assert lost == 0 and miss.max() <= 1.5 and np.mean(miss**2) < 0.1
    assert np.abs(symbols).max() > 512 or scale < 600


def test_values_beyond_all_symbols_are_counted_and_saturate():
    q = random_quantizers(np.random.default_rng(0), 2)
    y = np.array([[1e30, 0.0], [-np.inf, np.nan], [2.0**50 - 8, 1.0]])
    symbols, lost = quantized(q, y)
    assert lost == 3
    assert abs(symbols[0, 0] - 2**50) <= 2 and abs(symbols[0, 1] + 2**50) <= 2


def test_a_lower_price_spends_fewer_bits():
    rng = np.random.default_rng(1)
    q, y = random_quantizers(rng, 4, slope=50.0), rng.normal(0, 2, (500, 4))
    cost = []
    for slope in (50.0, 10.0, 2.0, 0.5):
        cheaper = repriced(q, slope)
        symbols, _ = quantized(cheaper, y)
        error = np.mean((cheaper.dequantize(symbols, np.float64) - y) ** 2)
        cost.append((q.tables.code_length(symbols).mean(), error))
    bits, error = zip(*cost, strict=True)
    assert sorted(bits, reverse=True) == list(bits) and sorted(error) == list(error)


# Bytes.


@st.composite
def coded(draw):
    rng = np.random.default_rng(draw(SEEDS))
    n_columns, n = draw(st.integers(0, 5)), draw(st.integers(0, 60))
    shift = draw(st.sampled_from([0, 0, 3, 20]))
    tables = random_tables(rng, n_columns, shift=shift)
    spread = draw(st.sampled_from([1, 4, 200, 2**40])) << shift
    symbols = rng.integers(-spread, spread + 1, (n_columns, n))
    if symbols.size and draw(st.booleans()):
        symbols.ravel()[rng.integers(symbols.size)] = draw(
            st.sampled_from([2**63 - 1, -(2**63), 2**62])
        )
    return TrellisTables(tables, draw(st.sampled_from([4, 8])), draw(st.booleans())), symbols


@given(coded())
@settings(max_examples=150, deadline=None)
def test_symbols_come_back_and_bytes_are_what_was_promised(case):
    tables, symbols = case
    payload = tables.encode(symbols)
    np.testing.assert_array_equal(tables.decode(payload, symbols.shape[1]), symbols)
    bits = tables.code_length(symbols).sum()
    # Eight states of 40 bits hold 24 bits each before anything is coded; words are whole.
    assert bits + 8 * 24 - 1 <= 8 * len(payload) <= bits * 1.001 + 8 * 40 + 8


@given(coded(), SEEDS)
@settings(max_examples=150, deadline=None)
def test_damaged_payloads_decode_to_their_shape_or_say_so(case, seed):
    tables, symbols = case
    rng = np.random.default_rng(seed)
    payload = bytearray(tables.encode(symbols))
    for _ in range(rng.integers(1, 4)):
        payload[rng.integers(len(payload))] ^= 1 << rng.integers(8)
    if rng.integers(2):
        del payload[rng.integers(len(payload)) :]
    try:
        found = tables.decode(bytes(payload), symbols.shape[1])
    except CorruptStreamError as error:
        assert len(str(error)) > 20
    else:
        assert found.shape == symbols.shape


@pytest.mark.parametrize("joint", [False, True])
def test_equal_tables_give_the_bytes_of_a_code_without_states(joint):
    rng = np.random.default_rng(5)
    single = random_tables(rng, 3)
    low, shift = single.low[::2], single.shift[::2]
    frequencies = [single.frequencies[single.start[t] : single.start[t + 1]] for t in (0, 2, 4)]
    twice = IntegerTables(np.repeat(low, 2), np.repeat(shift, 2), np.repeat(frequencies, 2, 0)
                          if len({len(f) for f in frequencies}) == 1
                          else [f for f in frequencies for _ in (0, 1)])  # fmt: skip
    symbols = rng.integers(-4, 5, (3, 77))
    plain = IntegerTables(low, shift, frequencies)
    assert TrellisTables(twice, 8, joint).encode(symbols) == plain.encode(symbols)


# State, and what is refused.


@pytest.mark.parametrize("joint", [False, True])
def test_quantizers_come_back_from_their_state(joint):
    rng = np.random.default_rng(2)
    q = random_quantizers(rng, 3, 4, joint)
    again = TrellisQuantizers.from_state(q.to_state())
    y = rng.normal(0, 3, (50, 3))
    symbols, _ = quantized(q, y)
    np.testing.assert_array_equal(quantized(again, y)[0], symbols)
    np.testing.assert_array_equal(
        again.dequantize(symbols, np.float32), q.dequantize(symbols, np.float32)
    )
    assert again.tables.encode(symbols) == q.tables.encode(symbols)
    assert again.side_information_bits() == q.side_information_bits() > 0


def changed(state, name, value):
    if name in state["tables"]:
        return {**state, "tables": {**state["tables"], name: value}}
    return {**state, name: value}


@pytest.mark.parametrize("name, value, words", [
    ("n_states", 5, "no trellis of 5"), ("n_states", 8.0, "no int"), ("joint", 1, "no bool"),
    ("n_columns", -1, "impossible number of columns"), ("n_columns", 2**30, "impossible number"),
    ("layout", pack_integers([1, 2]), "does not hold"), ("step", -1.0, "step is impossible"),
    ("slope", 0.0, "slope is impossible"), ("slope", float("inf"), "slope is impossible"),
    ("active", np.array([0, 2, 1]), "order"), ("active", np.array([0, 1]), "disagree"),
    ("reach", np.array([2, 2, 1 << 13]), "numbers of points"), ("points", b"", "no ndarray"),
    ("tables", None, "no dict"),
])  # fmt: skip
def test_impossible_states_are_refused(name, value, words):
    state = random_quantizers(np.random.default_rng(0), 3).to_state()
    if isinstance(value, bytes) and value:
        value = np.frombuffer(value, dtype=np.uint8)
    if name == "n_columns":
        bad = {**state, "tables": {**state["tables"], name: value}}
    else:
        bad = changed(state, name, value)
    with pytest.raises(CorruptStreamError, match=words):
        TrellisQuantizers.from_state(bad)


def test_tables_without_an_escape_or_a_pair_are_refused():
    closed = [np.array([2**14, 0])] * 2
    with pytest.raises(CorruptStreamError, match="an escape"):
        TrellisTables(IntegerTables([0, 0], [0, 0], closed), 8, False)
    with pytest.raises(CorruptStreamError, match="lacks a table"):
        TrellisTables(IntegerTables([0], [0], [np.array([2**14 - 1, 1])]), 8, False)


def test_wrong_shapes_are_told():
    q = random_quantizers(np.random.default_rng(0), 2)
    with pytest.raises(ValueError, match="do not fit 2 active columns"):
        q.quantize(np.zeros((5, 3)), np.empty((3, 5), dtype=np.int64))
    for symbols in (np.zeros((3, 4), int), np.zeros((2, 4)), np.zeros(4, int)):
        for call in (q.tables.encode, q.tables.code_length):
            with pytest.raises(ValueError, match="must be integers with 2 rows"):
                call(symbols)
