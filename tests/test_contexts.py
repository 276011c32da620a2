"""Symbols in planes as bytes: against plain integers, round trips, damage, and what fit finds."""

import context_reference as naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdlearn.coding import contexts, planes
from rdlearn.coding.contexts import LEAST_BITS, ContextCoder
from rdlearn.coding.planes import N_FEATURES
from rdlearn.exceptions import CorruptStreamError
from rdlearn.kernels import contexts as kernels

SEEDS = st.integers(0, 2**32)
SURE = 2**16 - 4
LARGEST = 2**29 - 1


def random_layout(rng, kind, height, width):
    """A layout with its plain description and the number of smooth planes."""
    n = int(rng.integers(1, 5))
    if kind == "bands":
        arguments = height, width, int(rng.integers(1, 4)), int(rng.integers(0, 5))
        return planes.bands(*arguments), naive.bands(*arguments), arguments[2]
    partners = [np.flatnonzero(rng.random(c) < 0.7)[: planes.MOST_OTHERS] for c in range(n)]
    partners = tuple(tuple(map(int, others)) for others in partners)
    if kind == "grid":
        return planes.grid(height, width, partners), naive.grid(height, width, partners), 0
    return planes.columns(width, partners), naive.columns(width, partners), 0


def random_coder(rng, description):
    n_groups = max(plane[2] for plane in description) + 1
    weights = rng.integers(0, 2 ** rng.integers(1, 15, (len(description), N_FEATURES)))
    prob = rng.integers(4, SURE + 1, (n_groups * naive.N_BINS, naive.LEARNED))
    return ContextCoder(weights, prob, rng.integers(4, SURE + 1, n_groups))


def random_symbols(rng, layout, n_images, largest=LARGEST):
    scale = 10 ** rng.uniform(-1, 2)
    out = np.rint(rng.laplace(0, scale, (n_images, layout.n_symbols))).astype(np.int32)
    rare = rng.random(out.shape) < rng.choice([0, 0.1, 1])
    out[rare] = largest * (2 * rng.random(rare.sum()) - 1)
    return np.where(rng.random(out.shape) < 0.02, rng.choice([-largest, largest], out.shape), out)


@st.composite
def cases(draw, height=17, width=23):
    rng = np.random.default_rng(draw(SEEDS))
    kind = draw(st.sampled_from(["bands", "grid", "columns"]))
    shape = draw(st.integers(1, height)), draw(st.integers(1, width))
    layout, description, n_smooth = random_layout(rng, kind, *shape)
    symbols = random_symbols(rng, layout, draw(st.integers(1, 3))).astype(np.int32)
    return rng, layout, description, n_smooth, random_coder(rng, description), symbols


def described(case):
    """Residuals and tables of all symbols, in plain integers."""
    _, layout, description, n_smooth, coder, symbols = case
    residuals = [naive.differences(description, n_smooth, image) for image in symbols.tolist()]
    weights = coder.weights.tolist()
    tables = [naive.tables(description, weights, layout.in_row, image) for image in residuals]
    return residuals, tables


@settings(max_examples=30, deadline=None, derandomize=True)
@given(cases())
def test_tables_lengths_and_bytes_are_those_of_the_description(case):
    _, layout, _, _, coder, symbols = case
    residuals, tables = described(case)
    ours = coder._residuals(layout, symbols)
    assert ours[0].tolist() == residuals and ours[1].tolist() == tables
    coded = list(zip(sum(residuals, []), sum(tables, []), strict=True))
    laws = coder.prob.tolist(), coder.negative.tolist()
    # Rounded terms of float32, one for each decision.
    lengths = coder.code_length(layout, symbols)
    assert lengths.shape == symbols.shape and lengths.dtype == np.float32
    np.testing.assert_allclose(lengths.ravel(), [naive.bits(*c, *laws) for c in coded], rtol=3e-7)
    assert coder.encode(layout, symbols) == naive.encode(coded, *laws)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cases(40, 40))
def test_round_trip_and_length(case):
    _, layout, _, _, coder, symbols = case
    payload = coder.encode(layout, symbols)
    decoded = coder.decode(layout, payload, len(symbols))
    assert decoded.dtype == np.int32
    np.testing.assert_array_equal(decoded, symbols)
    # A decision takes its bits, give or take the share 1 / (x // f) < 2**-16 of a state x, which a
    # sure one of 4 / 2**16 feels most; 32 of the state's 48 bits are there from the start.
    bits = coder.code_length(layout, symbols).sum(dtype=np.float64)
    assert 32 + 0.999 * bits - 1 <= 8 * len(payload) <= 48 + 1.01 * bits + 1
    again = ContextCoder.from_state(coder.to_state())
    assert again.encode(layout, symbols) == payload


@pytest.mark.parametrize("value", [LARGEST, -LARGEST, 2**15, 8, -7, 1, 0])
def test_round_trip_of_one_value(value):
    coder = random_coder(np.random.default_rng(value % 97), naive.bands(5, 6, 2, 2))
    layout = planes.bands(5, 6, 2, 2)
    symbols = np.full((2, layout.n_symbols), value, dtype=np.int32)
    symbols[1, ::2] *= -1
    payload = coder.encode(layout, symbols)
    np.testing.assert_array_equal(coder.decode(layout, payload, 2), symbols)


def constant_coder(value, prob=4, negative=4):
    """A coder that expects one magnitude below 8, as surely as may be."""
    table = np.full((naive.N_BINS, naive.LEARNED), prob)
    table[:, value] = 2**16 - prob
    return ContextCoder(np.zeros((1, N_FEATURES), int), table, [negative])


def test_the_surest_symbols_are_no_less_than_the_decoder_asks_for():
    # A state x takes the most symbols a word where each adds least, 4 (x // f), x // f > 2**16.
    a_word = int(SURE / 4 * np.log(2**16))
    layout, coder = planes.grid(1, 2 * a_word, ((),)), constant_coder(0)
    symbols = np.zeros((1, layout.n_symbols), dtype=np.int32)
    payload = coder.encode(layout, symbols)
    assert 16 * 2 <= 8 * len(payload) - 32 <= 16 * 3
    assert 31.9 < layout.n_symbols * LEAST_BITS <= 32
    np.testing.assert_array_equal(coder.decode(layout, payload, 1), symbols)


@pytest.mark.parametrize("value", [0, 7, -7])
def test_the_encoder_has_room_for_twice_the_bits(value, monkeypatch):
    # The next state is at most 2 x 2**16 / f.
    layout, coder = planes.grid(200, 1000, ((),)), constant_coder(abs(value))
    symbols, room = np.full((1, layout.n_symbols), value, dtype=np.int32), []
    inner = kernels.encode

    def encode(*arguments):
        room.append(arguments[-1].size)
        return inner(*arguments)

    monkeypatch.setattr(contexts.kernels, "encode", encode)
    payload = coder.encode(layout, symbols)
    bits = coder.code_length(layout, symbols).sum(dtype=np.float64)
    assert 16 * room[0] >= 2 * bits and 8 * len(payload) <= 32 + 2 * bits
    np.testing.assert_array_equal(coder.decode(layout, payload, 1), symbols)


# Damage.


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cases(9, 9), SEEDS)
def test_damage_is_refused_or_gives_symbols(case, seed):
    _, layout, _, _, coder, symbols = case
    payload, rng = coder.encode(layout, symbols), np.random.default_rng(seed)
    for k in range(12):
        damaged = bytearray(payload)
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
        if k % 3 == 1:
            damaged = bytearray(rng.bytes(2 * int(rng.integers(len(payload)))))
        if k % 3 == 2:
            damaged[rng.integers(len(damaged)) :] = rng.bytes(int(rng.integers(9)))
        try:
            out = coder.decode(layout, bytes(damaged), len(symbols))
        except CorruptStreamError:
            continue
        assert out.shape == symbols.shape and out.dtype == np.int32


@settings(max_examples=30, deadline=None, derandomize=True)
@given(cases(6, 6), st.binary(min_size=1, max_size=6))
def test_what_is_cut_or_added_is_refused(case, more):
    _, layout, _, _, coder, symbols = case
    payload = coder.encode(layout, symbols)
    for length in {*range(min(len(payload), 9)), *range(max(0, len(payload) - 9), len(payload))}:
        with pytest.raises(CorruptStreamError):
            coder.decode(layout, payload[:length], len(symbols))
    with pytest.raises(CorruptStreamError):
        coder.decode(layout, payload + more, len(symbols))
    for n_images in (len(symbols) - 1, len(symbols) + 1):
        with pytest.raises(CorruptStreamError):
            coder.decode(layout, payload, n_images)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(cases(9, 30), SEEDS)
def test_nothing_behind_the_payload_is_read(case, seed):
    _, layout, _, _, coder, symbols = case
    payload, rng = coder.encode(layout, symbols), np.random.default_rng(seed)
    state = np.uint64(int.from_bytes(payload[:6], "little"))
    words = np.frombuffer(payload, "<u2", offset=6)
    cut = int(rng.integers(len(words) + 1))
    laws = (*coder._bound(layout), coder.prob, coder._negative)
    seen = []
    for filler in (0, 0xFFFF):
        buffer = np.full(len(words) + 8, filler, dtype=np.uint16)
        buffer[:cut] = words[:cut]
        # As `decode` passes them.
        buffer.flags.writeable = False
        out = np.zeros_like(symbols)
        status = kernels.decode(
            state, buffer[:cut], layout.planes, layout.taps, *laws, layout.magnitudes(), out
        )
        seen.append((status, out.tolist()))
    assert seen[0] == seen[1]
    assert (seen[0][0] == kernels.OK) == (cut == len(words))


def test_damage_is_named():
    layout, coder = planes.grid(4, 50, ((),)), constant_coder(0, prob=2**14)
    payload = coder.encode(layout, np.arange(200, dtype=np.int32)[None])
    for damaged, words in (
        (b"", "0 bytes is none"),
        (payload[:3], "3 bytes is none"),
        (payload[:-1], "is none"),
        (payload[:-2], "damaged"),
        (payload + b"\0\0", "damaged"),
        (bytes(4) + payload[4:], "damaged"),
        (b"\xff\xff\0\0" + payload[4:], "damaged"),
    ):
        with pytest.raises(CorruptStreamError, match=words):
            coder.decode(layout, damaged, 1)
    # Before any memory is taken.
    with pytest.raises(CorruptStreamError, match="holds less than the 200 symbols of 10000000000"):
        coder.decode(layout, payload, 10**10)


def test_the_kernel_stops_where_words_end_and_symbols_are_too_large():
    layout, coder = planes.grid(1000, 2, ((),)), constant_coder(0, prob=2**14)
    laws = (*coder._bound(layout), coder.prob, coder._negative)
    # A magnitude of 2**30 has no bucket.
    symbols = np.zeros((1, layout.n_symbols), dtype=np.int32)
    symbols[0, 0] = 2**30
    large = np.frombuffer(coder.encode(layout, symbols), dtype=np.uint16)
    for words, expected in ((large[:3], kernels.OUT_OF_WORDS), (large, kernels.TOO_LARGE)):
        out = np.full_like(symbols, -77)
        arguments = layout.planes, layout.taps, *laws, layout.magnitudes(), out
        state = np.uint64(int.from_bytes(words[:3].tobytes(), "little"))
        assert kernels.decode(state, words[3:], *arguments) == expected
        assert (out[:, 500:] == -77).all()
    # As many words as there should be, and another state than the encoder's first.
    payload = coder.encode(layout, np.zeros((1, 2000), dtype=np.int32))
    words = np.frombuffer(payload, "<u2").astype(np.int64)
    refused = 0
    for last in range(-9, 10):
        other = np.append(words[:-1], (words[-1] + last) % 2**16).astype("<u2").tobytes()
        try:
            coder.decode(layout, other, 1)
        except CorruptStreamError:
            refused += 1
    assert refused == 18


def test_no_state_is_below_those_of_the_encoder():
    coder = constant_coder(0)
    payload = coder.encode(planes.grid(1, 29, ((),)), np.arange(29, dtype=np.int32)[None])
    low, *rest = np.frombuffer(payload, "<u2", 3)
    assert 0 < rest[0] < SURE
    # One more zero: it leaves such a state as it is, and the first word makes it the old one.
    longer = np.array([*rest, 0, low], dtype="<u2").tobytes() + payload[6:]
    with pytest.raises(CorruptStreamError, match="damaged"):
        coder.decode(planes.grid(1, 30, ((),)), longer, 1)


def hostile(name, change):
    state = random_coder(np.random.default_rng(0), naive.grid(3, 3, ((), (0,)))).to_state()
    state[name] = change(state[name].copy())
    return state


def with_value(value):
    def change(array):
        array = array.astype(np.int64)
        array[-1] = value
        return array

    return change


@pytest.mark.parametrize(
    "name, change, words",
    [
        *((name, lambda a: None, "lacks") for name in ("weights", "prob", "negative")),
        *((name, lambda a: a.tolist(), "lacks") for name in ("weights", "prob", "negative")),
        *((name, lambda a: a.astype(float), "no 1-D") for name in ("weights", "prob", "negative")),
        ("prob", lambda a: np.full(a.shape, np.nan), "no 1-D"),
        ("prob", lambda a: a.astype(object), "no 1-D"),
        ("prob", lambda a: a.reshape(-1, 22), "no 1-D"),
        ("weights", lambda a: np.array(7), "no 1-D"),
        ("negative", lambda a: a > 9, "no 1-D"),
        *((name, lambda a: a[:-1], "not fit") for name in ("weights", "prob", "negative")),
        *((name, lambda a: a[:0], "not fit") for name in ("weights", "prob", "negative")),
        ("prob", lambda a: a[:-22], "not fit"),
        ("weights", with_value(-1), "impossible weights"),
        ("weights", with_value(2**14 + 1), "impossible weights"),
        ("weights", with_value(-(2**63)), "impossible weights"),
        ("weights", lambda a: np.full(a.shape, 2**64 - 1, np.uint64), "impossible weights"),
        *((name, with_value(3), "impossible prob") for name in ("prob", "negative")),
        *((name, with_value(SURE + 1), "impossible prob") for name in ("prob", "negative")),
        *((name, with_value(2**16 + 9), "impossible prob") for name in ("prob", "negative")),
    ],
)
def test_hostile_states_are_refused(name, change, words):
    with pytest.raises(CorruptStreamError, match=words):
        ContextCoder.from_state(hostile(name, change))


def test_empty_and_foreign_states_are_refused():
    for state in ({}, None, {"weights": np.zeros(N_FEATURES, int)}):
        with pytest.raises(CorruptStreamError, match="lacks"):
            ContextCoder.from_state(state)
    nothing = np.zeros(0, dtype=np.int64)
    for weights in (nothing, np.ones(N_FEATURES, dtype=np.int64)):
        with pytest.raises(CorruptStreamError, match="not fit"):
            ContextCoder.from_state({"weights": weights, "prob": nothing, "negative": nothing})


@pytest.mark.parametrize("partners", [((),), ((), (), ()), ((), (0,), (0, 1))])
def test_a_coder_of_other_planes_is_refused(partners):
    # Of numbers of planes and groups, the kernels believe what they are told.
    coder = random_coder(np.random.default_rng(0), naive.columns(9, ((), ())))
    layout = planes.columns(9, partners)
    with pytest.raises(CorruptStreamError, match="another kind"):
        coder.decode(layout, bytes(99) + b"1", 1)
    fewer = ContextCoder(np.zeros((2, N_FEATURES), int), coder.prob[: naive.N_BINS], [9])
    with pytest.raises(CorruptStreamError, match="another kind"):
        fewer.decode(planes.columns(9, ((), ())), bytes(99) + b"1", 1)


def test_the_largest_sums_stay_in_32_bits():
    layout = planes.bands(9, 9, 13, 2)
    most = (layout.planes[:, 6] - layout.planes[:, 5]).max() + 3
    assert most * 2**14 * kernels.CAP < 2**31
    weights = np.full((len(layout.planes), N_FEATURES), 2**14)
    prob = np.full(((layout.planes[:, 7].max() + 1) * naive.N_BINS, naive.LEARNED), 2**15)
    coder = ContextCoder(weights, prob, np.full(len(prob) // naive.N_BINS, 2**15))
    symbols = np.full((1, layout.n_symbols), 2**20, dtype=np.int32)
    symbols[:, ::2] *= -1
    _, tables = coder._residuals(layout, symbols)
    # Of the first symbol, only the constant of 2**2 is known.
    assert (tables.ravel()[1:] % naive.N_BINS == 25).sum() >= tables.size - len(layout.planes)
    assert (tables % naive.N_BINS).min() == 1 + 2 * (14 - 4)


# Decisions.


@settings(max_examples=20, deadline=None, derandomize=True)
@given(cases(7, 7), st.sampled_from([0.001, 0.05, 0.3, 20.0]))
def test_decisions_are_the_best_of_three(case, price):
    rng, layout, _, n_smooth, coder, symbols = case
    values = rng.laplace(0, 10 ** rng.uniform(-0.5, 2.5), symbols.shape).astype(np.float32)
    symbols = np.rint(values).astype(np.int32)
    _, tables = described((*case[:5], symbols))
    smooth = sum(h * w for h, w in layout.planes[:n_smooth, 2:4].tolist())
    ours = coder.decide(layout, values, symbols, price)
    np.testing.assert_array_equal(ours[:, :smooth], symbols[:, :smooth])
    prob = coder.prob.tolist()
    for i, n in zip(*np.nonzero(np.ones_like(symbols[:, smooth:])), strict=True):
        n += smooth
        expected = naive.choice(float(values[i, n]), tables[i][n], price, prob)
        assert ours[i, n] == expected
    # The order in memory does not matter.
    fortran = coder.decide(layout, np.asfortranarray(values), np.asfortranarray(symbols), price)
    np.testing.assert_array_equal(fortran, ours)


def test_free_decisions_round():
    rng = np.random.default_rng(5)
    layout, description, _ = random_layout(rng, "grid", 30, 40)
    values = rng.laplace(0, 30, (2, layout.n_symbols)).astype(np.float32)
    values[0, :4] = 0.5, -0.5, 1021.75, -2.0e6
    symbols = np.zeros(values.shape, dtype=np.int32)
    ours = random_coder(rng, description).decide(layout, values, symbols, 0.0)
    np.testing.assert_array_equal(ours, np.sign(values) * np.floor(np.abs(values) + 0.5))


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 1), (5, 8)])
def test_differences_add_up(shape):
    layout = planes.bands(*shape, 3, 1)
    symbols = np.random.default_rng(0).integers(-LARGEST, LARGEST + 1, (3, layout.n_symbols))
    symbols = symbols.astype(np.int32)
    for n_planes in (0, 1, 3):
        out = np.empty_like(symbols)
        kernels.difference(symbols, layout.planes, n_planes, out)
        description = naive.bands(*shape, 3, 1)
        for image, given_ in zip(out.tolist(), symbols.tolist(), strict=True):
            assert image == naive.differences(description, n_planes, given_)
        kernels.add_up(out, layout.planes, n_planes)
        np.testing.assert_array_equal(out, symbols)
