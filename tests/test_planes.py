"""Layouts: what lies where, that nothing is read before it is coded, and who depends on whom."""

import context_reference as naive
import numpy as np
import pytest

from rdlearn.coding import planes
from rdlearn.coding.contexts import ContextCoder
from rdlearn.kernels import contexts as kernels

PARTNERS = ((), (0,), (), (0, 1, 2), (3,))
MANY = tuple(tuple(range(min(c, planes.MOST_OTHERS))) for c in range(14))
SIZES = [(1, 1), (1, 2), (2, 1), (1, 9), (9, 1), (2, 3), (7, 6), (8, 8), (13, 5), (17, 23)]
LAYOUTS = [
    *((planes.bands, (*size, c, levels)) for size in SIZES for c, levels in ((1, 6), (3, 2))),
    (planes.bands, (5, 6, 15, 1)),
    (planes.bands, (4, 4, 2, 0)),
    *((planes.grid, (*size, PARTNERS)) for size in SIZES[::2]),
    (planes.grid, (3, 4, MANY)),
    *((planes.columns, (n, PARTNERS)) for n in (1, 2, 17)),
    (planes.columns, (3, tuple(tuple(range(c)) for c in range(36)))),
]
IDS = [f"{make.__name__}-{'-'.join(map(str, rest[:3]))[:12]}" for make, rest in LAYOUTS]
each_layout = pytest.mark.parametrize("make, rest", LAYOUTS, ids=IDS)


def coder_of(layout, seed=0):
    """Random laws, no two alike, and weights that notice every tap."""
    rng = np.random.default_rng(seed)
    n_groups = int(layout.planes[:, 7].max()) + 1
    weights = rng.integers(20, 600, (len(layout.planes), planes.N_FEATURES))
    prob = rng.integers(4, 2**16 - 4, (n_groups * kernels.N_BINS, kernels.N_DECISIONS))
    return ContextCoder(weights, prob, rng.integers(4, 2**16 - 4, n_groups))


def owners(layout):
    """Plane, row and column of each place of magnitudes, or -1."""
    out = np.full((layout.n_places, 3), -1)
    for p, (start, stride, height, width) in enumerate(layout.planes[:, :4].tolist()):
        for i in range(height):
            for j in range(width):
                place = start + i * stride + j
                assert 0 <= place < layout.n_places and out[place, 0] == -1
                out[place] = p, i, j
    return out


@each_layout
def test_taps_read_only_what_is_coded(make, rest):
    layout = make(*rest)
    owner = owners(layout)
    for p, (_, _, height, width, _, first, last, _) in enumerate(layout.planes.tolist()):
        i, j = np.mgrid[:height, :width]
        for start, stride, half in layout.taps[first:last].tolist():
            places = start + (i >> half) * stride + (j >> half)
            assert not places.size or 0 <= places.min() <= places.max() < layout.n_places
            plane, row = owner[places, 0], owner[places, 1]
            assert ((plane < p) | ((plane == p) & (row < i))).all()
    assert layout.features.min(initial=2) >= 2
    # The last one is the constant.
    assert layout.features.max(initial=0) < planes.N_FEATURES - 1


@each_layout
def test_planes_hold_each_symbol_once(make, rest):
    layout = make(*rest)
    at = 0
    for p in range(len(layout.planes)):
        where, (height, width) = layout.symbols_of(p)
        assert (where.start, where.stop) == (at, at + height * width)
        at = where.stop
    assert at == layout.n_symbols
    if make is planes.bands:
        assert layout.n_symbols == rest[0] * rest[1] * rest[2] and layout.n_smooth == rest[2]
    taps = layout.planes[:, 5:7]
    assert taps[0, 0] == 0 and taps[-1, 1] == len(layout.taps) == len(layout.features)
    np.testing.assert_array_equal(taps[1:, 0], taps[:-1, 1])
    assert not layout.magnitudes().any() and layout.magnitudes().size == layout.n_places


@pytest.mark.parametrize(
    "make, rest", [(m, r) for m, r in LAYOUTS if not (m is planes.bands and r[2] > 11)]
)
def test_taps_are_those_of_the_description(make, rest):
    # Each tap by what it reads: a plane's place, or nothing.
    layout, description = make(*rest), getattr(naive, make.__name__)(*rest)
    owner = owners(layout)
    assert len(layout.planes) == len(description)
    for plane, (height, width, group, sources) in zip(
        layout.planes.tolist(), description, strict=True
    ):
        assert plane[2:4] == [height, width] and plane[7] == group
        if height * width == 0:
            continue
        taps = slice(*plane[5:7])
        for i, j in ((height - 1, width - 1), (height - 1, width // 2), (height // 2, 0)):
            ours, theirs = [], []
            for tap, feature in zip(layout.taps[taps].tolist(), layout.features[taps], strict=True):
                start, stride, half = tap
                place = start + (i >> half) * stride + (j >> half)
                ours.append((feature, *owner[place].tolist()))
            for other, shifts, half, feature in sources:
                for di, dj in shifts:
                    a, b = (i >> half) + di, (j >> half) + dj
                    inside = 0 <= a < description[other][0] and 0 <= b < description[other][1]
                    theirs.append((feature, other, a, b) if inside else (feature, -1, -1, -1))
            assert sorted(ours) == sorted(theirs)


def test_shapes_of_bands():
    low, shapes = planes.band_shapes(13, 6, 3)
    assert low == (2, 1)
    assert shapes == [
        [(2, 1), (2, 1), (2, 1)],
        [(4, 1), (3, 2), (3, 1)],
        [(7, 3), (6, 3), (6, 3)],
    ]
    assert planes.band_shapes(5, 5, 0) == ((5, 5), [])


@each_layout
def test_later_symbols_change_no_earlier_length(make, rest):
    layout = make(*rest)
    rng, coder = np.random.default_rng(1), coder_of(layout)
    symbols = rng.integers(-4, 5, (1, layout.n_symbols)).astype(np.int32)
    lengths = coder.code_length(layout, symbols)
    for first in rng.integers(layout.n_symbols, size=8):
        changed = symbols.copy()
        changed[:, first:] = rng.integers(-20, 21, changed[:, first:].shape)
        again = coder.code_length(layout, changed)
        np.testing.assert_array_equal(again[:, :first], lengths[:, :first])


@each_layout
def test_margins_stay_zero(make, rest):
    layout = make(*rest)
    symbols = np.full((2, layout.n_symbols), 3, dtype=np.int32)
    tables, mag = np.empty_like(symbols), layout.magnitudes()
    taps, own = coder_of(layout)._bound(layout)
    kernels.assign(symbols, layout.planes, layout.taps, taps, own, mag, tables)
    np.testing.assert_array_equal(mag != 0, owners(layout)[:, 0] >= 0)
    # The second image finds the first one's magnitudes and looks at none.
    np.testing.assert_array_equal(tables[0], tables[1])


@each_layout
def test_images_do_not_depend_on_each_other(make, rest):
    layout = make(*rest)
    rng, coder = np.random.default_rng(2), coder_of(layout)
    symbols = rng.integers(-9, 10, (3, layout.n_symbols)).astype(np.int32)
    together = coder.code_length(layout, symbols)
    for image, lengths in zip(symbols, together, strict=True):
        np.testing.assert_array_equal(coder.code_length(layout, image[None])[0], lengths)


def test_rows_of_a_table_do_not_depend_on_each_other():
    rng, n = np.random.default_rng(3), 19
    layout = planes.columns(n, PARTNERS)
    coder = coder_of(layout)
    table = rng.integers(-9, 10, (len(PARTNERS), n)).astype(np.int32)
    lengths = coder.code_length(layout, table.reshape(1, -1)).reshape(table.shape)
    one = planes.columns(1, PARTNERS)
    for row in range(n):
        alone = coder.code_length(one, np.ascontiguousarray(table[:, row])[None])
        np.testing.assert_array_equal(alone[0], lengths[:, row])
    order = rng.permutation(n)
    shuffled = coder.code_length(layout, table[:, order].reshape(1, -1)).reshape(table.shape)
    np.testing.assert_array_equal(shuffled, lengths[:, order])


@each_layout
def test_gather_sums_what_the_kernels_sum(make, rest):
    # Of every place, with features as weights: against magnitudes looked up one by one.
    layout = make(*rest)
    rng = np.random.default_rng(4)
    mag = layout.magnitudes()
    inside = owners(layout)[:, 0] >= 0
    mag[inside] = rng.integers(0, 16, inside.sum())
    for _, _, height, width, _, first, last, _ in layout.planes.tolist():
        places = np.ascontiguousarray(np.argwhere(np.ones((height, width))))
        out = np.zeros((len(places), planes.N_FEATURES))
        taps, features = layout.taps[first:last], layout.features[first:last]
        kernels.gather(places, mag, taps, features, out)
        expected = np.zeros_like(out)
        for (start, stride, half), feature in zip(taps.tolist(), features, strict=True):
            i, j = (places >> half).T
            expected[:, feature] += mag[start + i * stride + j]
        np.testing.assert_array_equal(out, expected)
