"""Values as symbols and back: arrangements, partners, rounding that weighs bits, hostile states."""

import copy

import numpy as np
import pytest

from rdlearn.coding.latents import (
    MAX_SIDE,
    MOST_CHANNELS,
    MOST_COLUMNS,
    Arrangement,
    ColumnCode,
    PlaneCode,
    closest_partners,
)
from rdlearn.coding.planes import N_FEATURES
from rdlearn.exceptions import CorruptStreamError

ARRANGEMENTS = {
    "columns": Arrangement("columns", (4,), 0, ((), (0,), (0, 1), ())),
    "grid": Arrangement("grid", (3, 5, 4), 0, ((), (0,), (), (0, 2))),
    "bands": Arrangement("bands", (7, 10, 3), 2),
}
EACH = pytest.mark.parametrize("kind", ARRANGEMENTS)


def values(kind, n=60, seed=0, scale=1.5):
    """Laplacian values in steps, neighbours of alike size."""
    rng, size = np.random.default_rng(seed), ARRANGEMENTS[kind].n_symbols
    loud = np.exp(np.repeat(rng.normal(size=(n, -(-size // 4))), 4, axis=1)[:, :size])
    return (rng.laplace(scale=scale, size=(n, size)) * loud).astype(np.float32)


def code(kind, price=0.0, **params):
    return PlaneCode.fit([values(kind)], [ARRANGEMENTS[kind]], price, **params)


@EACH
@pytest.mark.parametrize("n", [1, 6])
def test_rows_are_the_inverse_of_images(kind, n):
    arrangement = ARRANGEMENTS[kind]
    rows = np.arange(n * arrangement.n_symbols, dtype=np.int32).reshape(n, -1)
    images = arrangement.images(rows)
    layout = arrangement.layout(n)
    n_images = 1 if kind == "columns" else n
    assert images.shape == (n_images, layout.n_symbols) and images.size == rows.size
    np.testing.assert_array_equal(arrangement.rows(images, n), rows)
    # Places and channels by their numbers.
    if kind == "grid":
        first = rows[0].reshape(3, 5, 4)
        for c in range(4):
            where, shape = layout.symbols_of(c)
            np.testing.assert_array_equal(images[0, where].reshape(shape), first[:, :, c])
    elif kind == "columns":
        for c in range(4):
            where, shape = layout.symbols_of(c)
            assert shape == (1, n)
            np.testing.assert_array_equal(images[0, where], rows[:, c])


def test_resized():
    bands = ARRANGEMENTS["bands"].resized(1, 33)
    assert bands.shape == (1, 33, 3) and bands.levels == 2 and bands.n_symbols == 99
    grid = ARRANGEMENTS["grid"].resized(2, 2)
    assert grid.n_symbols == 16 and grid.partners == ARRANGEMENTS["grid"].partners


@EACH
@pytest.mark.parametrize("price", [0.0, 0.09])
@pytest.mark.parametrize("causal", [True, False])
def test_codes_round_trip(kind, price, causal):
    some = code(kind, price, causal=causal)
    assert some.n_columns == ARRANGEMENTS[kind].n_symbols
    again = PlaneCode.from_state(copy.deepcopy(some.to_state()))
    assert again.arrangement == some.arrangement and again.price == price
    for n in (1, 2, 60):
        x = values(kind, n, seed=n)
        symbols = some.quantize(x)
        assert symbols.dtype == np.int32 and symbols.shape == x.shape
        payload = some.encode(symbols)
        np.testing.assert_array_equal(again.quantize(x), symbols)
        assert again.encode(symbols) == payload
        np.testing.assert_array_equal(again.decode(payload, n), symbols)
        np.testing.assert_array_equal(again.dequantize(symbols), some.dequantize(symbols))
        bits = some.code_length(symbols)
        assert bits.shape == (n,) and bits.dtype == np.float64
        # Of a state of 48 bits, 32 are there from the start.
        assert 31 <= 8 * len(payload) - bits.sum() <= 49 + 0.001 * bits.sum()
        with pytest.raises(CorruptStreamError):
            some.decode(payload[:-2], n)
        with pytest.raises(CorruptStreamError, match="truncated"):
            some.decode(payload, 10**9)
    # A row's symbols and bits are its own, for all that their planes lie side by side.
    x = values(kind, 9, seed=9)
    np.testing.assert_array_equal(some.quantize(x[4:5]), some.quantize(x)[4:5])
    symbols = some.quantize(x)
    np.testing.assert_array_equal(some.code_length(symbols[4:5]), some.code_length(symbols)[4:5])


@EACH
def test_contexts_save_bits(kind):
    x = values(kind, 300, seed=3)
    bits = [
        PlaneCode.fit([x], [ARRANGEMENTS[kind]], 0.0, causal).code_length(np.rint(x).astype("i4"))
        for causal in (True, False)
    ]
    saved = 1 - bits[0].sum() / bits[1].sum()
    assert saved > 0.01


@EACH
def test_bits_without_a_price_are_plain_rounding(kind):
    some = code(kind)
    assert not some.shift.any()
    # Ties go to either side, away from zero here; there are none in noise.
    x = values(kind, 20, seed=1)
    symbols = some.quantize(x)
    np.testing.assert_array_equal(symbols, np.rint(x))
    np.testing.assert_array_equal(some.dequantize(symbols), symbols)
    assert some.dequantize(symbols).dtype == np.float32


def test_bits_with_a_price_move_points():
    some = code("bands", 0.09)
    assert some.shift.shape == (9, 4) and some.shift.any() and not some.shift[:, 0].any()
    symbols = some.quantize(values("bands", 20, seed=1))
    layout = some.arrangement.layout(20)
    out = some.dequantize(symbols)
    for p, plane in enumerate(layout.planes):
        where, _ = layout.symbols_of(p)
        q = symbols[:, where]
        moved = q + np.sign(q) * some.shift[plane[7]][np.minimum(np.abs(q), 3)]
        # The smooth planes of low frequencies are rounded and left there.
        expected = moved if p >= layout.n_smooth else q
        np.testing.assert_allclose(out[:, where], expected, rtol=1e-6)


@pytest.mark.parametrize("price", [0.03, 0.09, 0.3])
@pytest.mark.parametrize("kind", ["grid", "bands"])
def test_rounding_that_weighs_bits_costs_least(kind, price):
    some, x = code(kind, price), values(kind)
    plain = PlaneCode(some.arrangement, some.coder, 0 * some.shift, 0.0)

    def cost(code, symbols):
        loss = np.sum((x - code.dequantize(symbols)) ** 2)
        return loss + price * code.code_length(symbols).sum(), loss

    weighed, rounded = some.quantize(x), plain.quantize(x)
    assert cost(some, weighed)[0] < cost(plain, rounded)[0]
    # Both parts help: fewer bits than plain rounding, points that make good some of the loss.
    assert cost(plain, weighed)[0] < cost(plain, rounded)[0]
    assert cost(some, weighed)[0] < cost(plain, weighed)[0]
    assert some.code_length(weighed).sum() < plain.code_length(rounded).sum()
    # No symbol moves by more than one, and none away from 0.
    assert np.abs(weighed - x).max() < 1.7 and np.all(np.abs(weighed) <= np.abs(rounded))


def test_columns_of_tables():
    x = values("columns", 500)
    some = ColumnCode.fit(x)
    again = ColumnCode.from_state(copy.deepcopy(some.to_state()))
    for n in (1, 77):
        part = values("columns", n, seed=n)
        part[0] = 1e8
        symbols = some.quantize(part)
        np.testing.assert_array_equal(symbols, np.rint(part))
        payload = some.encode(symbols)
        assert again.encode(symbols) == payload
        np.testing.assert_array_equal(again.decode(payload, n), symbols)
        np.testing.assert_array_equal(again.dequantize(symbols), symbols)
        bits = some.code_length(symbols)
        assert bits.shape == (n,)
        assert -1 < 8 * len(payload) - bits.sum() < 8 * some.least_payload + 0.02 * bits.sum()
        with pytest.raises(CorruptStreamError):
            again.decode(payload[:30], n)


@pytest.mark.parametrize("n_columns, most", [(1, 3), (6, 2), (12, 32)])
def test_closest_partners_against_numpy(n_columns, most):
    rng = np.random.default_rng(n_columns)
    mixed = rng.laplace(size=(400, n_columns)) * np.exp(rng.normal(size=(400, 1)))
    magnitudes = np.abs(np.rint(mixed * rng.normal(1, 1, n_columns)))
    magnitudes[:, -1] = 3.0
    found = closest_partners(magnitudes, most)
    with np.errstate(invalid="ignore"):
        likeness = np.atleast_2d(np.corrcoef(np.minimum(magnitudes, 15), rowvar=False))
    assert len(found) == n_columns and found[0] == () and found[-1] == ()
    for c in range(n_columns - 1):
        best = sorted(range(c), key=lambda p, c=c: -likeness[c, p])[:most]
        assert found[c] == tuple(sorted(p for p in best if likeness[c, p] > 0))


def test_magnitudes_are_cut_where_the_coder_cuts_them():
    seen = np.ones((100, 3))
    seen[::2, :2] = 2.0
    # A single huge value would make likeness of noise.
    seen[1, 0] = seen[1, 2] = 1e6
    assert 0 in closest_partners(seen, 1)[1]


STATES = {kind: code(kind, 0.09).to_state() for kind in ARRANGEMENTS}


def changes():
    shift = STATES["grid"]["shift"]
    everywhere = {
        "kind": ["rows", 3, None, "bands ", []],
        "levels": [-1, 17, 2.0, None, True],
        "shape": [[], [3], [3, 5, 4, 1], [3, 5, 0], [3, 5, -4], [3, 5, MAX_SIDE + 1], None, "345"],
        "shift": [
            shift[:-1], shift[:, :3], shift.ravel(), shift.astype(np.float64), shift.astype("i4"),
            shift + np.float32(1), shift * np.float32(np.nan), None, shift.tolist(),
        ],
        "price": [-1.0, np.inf, np.nan, 1, None, "0"],
        "coder": [{}, None, [], STATES["columns"]["coder"] | {"weights": np.zeros(3, np.int32)}],
        "partners": [None, (), "x", [[9]] * 4, [[0]] * 4, [[-1]] * 4, [[0.0]] * 4, [()] * 4],
    }  # fmt: skip
    for key, wrong in everywhere.items():
        for kind in ARRANGEMENTS:
            yield from ((kind, key, value) for value in wrong)
            yield kind, key, ...
    grid, columns = STATES["grid"], STATES["columns"]
    yield "grid", "partners", [[], [0], [], [0] * (MOST_CHANNELS + 1)]
    yield "grid", "partners", grid["partners"][:3]
    yield "grid", "shape", [3, 5, 3]
    yield "columns", "partners", [[], [0], [0], [0] * (MOST_COLUMNS + 1)]
    yield "columns", "coder", {**columns["coder"], "negative": columns["coder"]["negative"][:-1]}
    for kind, state in STATES.items():
        weights = state["coder"]["weights"]
        yield kind, "coder", {**state["coder"], "weights": weights[:-N_FEATURES]}
    yield "bands", "partners", [[]]
    yield "bands", "levels", 0
    yield "bands", "levels", 3
    yield "bands", "shape", [7, 10, 5]
    yield "bands", "shape", [7, 10, 2]
    yield "bands", "coder", grid["coder"]


def test_hostile_states_are_refused():
    seen = 0
    for kind, key, value in changes():
        state = dict(STATES[kind])
        if value is ...:
            del state[key]
        else:
            state[key] = value
        # Of bands and grids, a list of no partners of no planes is what there is.
        if key == "levels" and kind != "bands" and value is True:
            continue
        with pytest.raises(CorruptStreamError):
            PlaneCode.from_state(state)
            pytest.fail(f"{kind}: {key}={value!r}")
        seen += 1
    assert seen > 100
    for kind in ARRANGEMENTS:
        PlaneCode.from_state(STATES[kind])
