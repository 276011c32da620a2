"""Planes along a trellis: the search against enumeration, points, wavelets and convolutions."""

import copy
import functools

import numpy as np
import pytest
from test_latents import ARRANGEMENTS, EACH, values
from trellis_reference import NEXT, SECOND, cheapest, quantizers

from rdlearn import UniformNoiseCodec, load
from rdlearn.coding.latents import Arrangement, PlaneCode
from rdlearn.coding.trellis_planes import PLANE_PRICE, TrellisPlaneCode, _paths
from rdlearn.exceptions import CorruptStreamError
from rdlearn.kernels import trellis_planes as kernels
from rdlearn.kernels.contexts import N_BINS
from rdlearn.kernels.trellis import MACHINES, ways_into

STATES = np.array(MACHINES[8])


def code(kind, seed=0, **params):
    return TrellisPlaneCode.fit([values(kind, seed=seed)], [ARRANGEMENTS[kind]], 0.08, **params)


@functools.cache
def bands():
    return code("bands")


def path_of(arrangement, n_rows):
    """Places of the paths in an image, from what an arrangement is."""
    if arrangement.kind == "columns":
        return [list(range(row, arrangement.shape[0] * n_rows, n_rows)) for row in range(n_rows)]
    layout = arrangement.layout(n_rows)
    first = sum(int(h * w) for _, _, h, w in layout.planes[: layout.n_smooth, :4])
    return [list(range(first, layout.n_symbols))]


# The search and the points, against what a trellis is.


@pytest.mark.parametrize("first, n_paths, n", [(0, 1, 5), (2, 1, 7), (0, 3, 13), (1, 4, 4)])
@pytest.mark.parametrize("price", [0.01, 0.08, 0.5])
def test_the_search_finds_the_cheapest_of_all_paths(first, n_paths, n, price):
    rng = np.random.default_rng(n)
    bits = np.sort(rng.gamma(2, 2, (2 * N_BINS, 23)), axis=1).astype(np.float32)
    sign_bits = rng.gamma(1, 1, (2 * N_BINS, 2)).astype(np.float32)
    points = rng.uniform(0, 0.5, (N_BINS, 7)).astype(np.float32)
    y = rng.normal(0, 1.5, (2, n)).astype(np.float32)
    tables = rng.integers(0, 2 * N_BINS, (2, n)).astype(np.int32)
    near = np.empty((2 * N_BINS, 2 * kernels.EXTENT + 1, 2))
    laws = price, bits, sign_bits, points
    kernels.fill_near(*laws, near)
    found = np.full((2, n), 99, dtype=np.int32)
    kernels.decide(y, tables, first, n_paths, ways_into(STATES), *laws, near, found)
    back = np.empty((2, n), dtype=np.float32)
    kernels.reconstruct(found, tables, first, n_paths, STATES, points, back)
    assert (found[:, :first] == 99).all() and (back[:, :first] == 99).all()
    for image in range(2):
        for path in range(n_paths):
            places = range(first + path, n, n_paths)
            v = [float(y[image, i]) for i in places]

            def cost(place, q, k, u, places=places, v=v, image=image):
                t = tables[image, places[place]]
                point = k + float(points[t % N_BINS, 3 + max(-3, min(k, 3))])
                code = bits[t, abs(k)] + (sign_bits[t, int(k < 0)] if k else 0)
                return (v[place] - (-point if q else point)) ** 2 + price * float(code)

            # Indices of quantizer 1 count downwards.
            least, _ = cheapest([0.0] * len(v), 8, cost, most=5 if len(v) < 4 else 3)
            ours = found[image, list(places)].tolist()
            total = sum(
                cost(place, q, k, None)
                for place, (q, k) in enumerate(zip(quantizers(ours, 8), ours, strict=True))
            )
            assert total <= least + 1e-9
            if max(map(abs, ours), default=0) <= (5 if len(v) < 4 else 3):
                assert total == pytest.approx(least, rel=1e-9)


@pytest.mark.parametrize("scale", [5.0, 9.0, 100.0, 1e5])
def test_far_values_are_near_their_points(scale):
    c, rng = code("grid"), np.random.default_rng(0)
    c = TrellisPlaneCode(c.arrangement, c.coder, c.points, 1e-9)
    y = (rng.uniform(-scale, scale, (20, 60))).astype(np.float32)
    miss = np.abs(c.dequantize(c.quantize(y)) - y)
    # A quantizer by itself loses 1 / 12; paths gain 1 dB on that.
    assert 0.06 < np.mean(miss**2) < 0.07 and miss.max() < 1.5


@EACH
@pytest.mark.parametrize("n", [1, 9])
def test_values_follow_the_published_machine(kind, n):
    c, rng = code(kind), np.random.default_rng(n)
    a = c.arrangement
    layout = a.layout(n)
    images = rng.integers(-4, 5, (1 if kind == "columns" else n, layout.n_symbols), dtype=np.int32)
    out = a.images(c.dequantize(a.rows(images, n)))
    tables = c.coder.tables(layout, images)
    for image in range(len(images)):
        expected = images[image].astype(np.float32)
        for path in path_of(a, n):
            state = 0
            for i in path:
                k = int(images[image, i])
                point = k + c.points[tables[image, i] % N_BINS, 3 + max(-3, min(k, 3))]
                expected[i] = -point if state in SECOND[8] else point
                state = NEXT[8][state][k % 2]
        np.testing.assert_allclose(out[image], expected, rtol=1e-6, atol=1e-7)


def test_points_are_means_of_what_they_stand_for():
    rng = np.random.default_rng(0)
    y, tables = rng.normal(size=(2, 500)).astype(np.float32), rng.integers(0, 9, (2, 500))
    symbols = rng.integers(-5, 6, (2, 500)).astype(np.int32)
    total, seen = np.zeros((2, N_BINS, 7))
    kernels.centroids(y, symbols, tables.astype(np.int32), 20, 1, STATES, total, seen)
    assert seen.sum() == 960
    expected = np.zeros((N_BINS, 7))
    for image in range(2):
        for i, q in enumerate(quantizers(symbols[image, 20:].tolist(), 8), start=20):
            k = symbols[image, i]
            value = -y[image, i] if q else y[image, i]
            expected[tables[image, i], 3 + np.clip(k, -3, 3)] += value - k
    np.testing.assert_allclose(total, expected, atol=1e-9)


# Codes.


@EACH
@pytest.mark.parametrize("causal", [False, True])
def test_codes_round_trip(kind, causal):
    c, y = code(kind, causal=causal), values(kind, seed=4)
    assert 1 <= c.n_iter <= 8
    symbols = c.quantize(y)
    payload = c.encode(symbols)
    np.testing.assert_array_equal(c.decode(payload, len(y)), symbols)
    bits = c.code_length(symbols)
    assert bits.sum() <= 8 * len(payload) <= 1.005 * bits.sum() + 48
    again = TrellisPlaneCode.from_state(copy.deepcopy(c.to_state()))
    np.testing.assert_array_equal(again.quantize(y), symbols)
    np.testing.assert_array_equal(again.dequantize(symbols), c.dequantize(symbols))
    # A row by itself is what it is among others.
    np.testing.assert_array_equal(c.quantize(y[7:9]), symbols[7:9])
    np.testing.assert_array_equal(c.dequantize(symbols[7:9]), c.dequantize(symbols)[7:9])


@EACH
@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_trellises_cost_less_than_rounding(kind, scale):
    # Bits and errors of both at steps of one size, compared at the slope of high rate.
    y, a = values(kind, 120, scale=scale), ARRANGEMENTS[kind]
    cost = {}
    for name, c, step in (
        ("trellis", TrellisPlaneCode.fit([y / 1.06], [a], PLANE_PRICE), 1.06),
        ("rounding", PlaneCode.fit([y], [a], 0.09), 1.0),
    ):
        symbols = c.quantize((y / np.float32(step)).astype(np.float32))
        error = np.sum((c.dequantize(symbols) * step - y) ** 2, axis=1).mean()
        cost[name] = np.log(2) * c.code_length(symbols).mean() + 6 * error
    # Paths of four components are short.
    assert cost["trellis"] < (1.01 if kind == "columns" else 1) * cost["rounding"]


def test_impossible_states_are_refused():
    for kind in ARRANGEMENTS:
        good = code(kind).to_state()
        points = good["points"].copy()
        points[0, 0] = np.nan
        for change, words in (
            ({"points": good["points"][:-1]}, "do not fit"),
            ({"points": good["points"].astype(float)}, "do not fit"),
            ({"points": points}, "points are impossible"),
            ({"points": None}, "lacks 'points'"),
            ({"price": -1.0}, "price is impossible"),
            ({"price": float("nan")}, "price is impossible"),
            ({"kind": "rows"}, "impossible shape"),
        ):
            with pytest.raises(CorruptStreamError, match=words):
                TrellisPlaneCode.from_state({**good, **change})


def test_paths_of_images_leave_out_smooth_planes():
    assert _paths(Arrangement("bands", (8, 8, 3), 2).layout(5)) == (12, 1)
    assert _paths(ARRANGEMENTS["grid"].layout(5)) == (0, 1)
    assert _paths(ARRANGEMENTS["columns"].layout(5)) == (0, 5)


# Codecs of images.


def photographs(n=20, side=32):
    rng = np.random.default_rng(3)
    x = np.cumsum(np.cumsum(rng.normal(size=(n, side, side, 3)), axis=1), axis=2)
    x = 128 + 60 * x / np.abs(x).max(axis=(1, 2, 3), keepdims=True) + rng.normal(0, 4, x.shape)
    return np.clip(x, 0, 255).reshape(n, -1).astype(np.float32)


@pytest.mark.parametrize("context, params", [
    ("causal", {}), ("none", {"target_rate": 1000.0}), ("none", {"target_distortion": 3e4}),
])  # fmt: skip
def test_wavelets_along_a_trellis(params, context, tmp_path):
    X = photographs()
    codec = UniformNoiseCodec(
        architecture="wavelet", image_shape=(32, 32, 3), beta=0.02, context=context,
        data_range=255, quantizer="trellis", **params,
    ).fit(X)  # fmt: skip
    blob = codec.compress(X)
    np.testing.assert_array_equal(
        codec.decompress(blob), codec.inverse_transform(codec.transform(X))
    )
    np.testing.assert_array_equal(codec.transform(X[3:4]), codec.transform(X)[3:4])
    if "target_rate" in params:
        assert 0.95 * 1000 <= codec.rate(X) <= 1000
    if "target_distortion" in params:
        assert 0.95 * 3e4 <= codec.mean_distortion(X) <= 3e4
    codec.save(tmp_path / "model")
    image = X[0].reshape(32, 32, 3).astype(np.uint8)[:, :23]
    data = codec.encode_image(image)
    again = load(tmp_path / "model")
    np.testing.assert_array_equal(again.decode_image(data), codec.decode_image(data))
    assert again.encode_image(image) == data
    error = np.mean((codec.decode_image(data).astype(float) - image) ** 2)
    assert error < 3 * codec.mean_distortion(X) / X.shape[1]
    assert 1 <= codec.n_iter_ <= 8


@pytest.mark.filterwarnings("ignore:The code spends")
def test_convolutions_along_a_trellis():
    X = photographs(16)
    codec = UniformNoiseCodec(
        4, architecture="conv", image_shape=(32, 32, 3), beta=0.02, context="causal",
        data_range=255, quantizer="trellis", hidden_layer_sizes=(8,), max_iter=3, random_state=0,
    ).fit(X)  # fmt: skip
    blob = codec.compress(X)
    np.testing.assert_array_equal(
        codec.decompress(blob), codec.inverse_transform(codec.transform(X))
    )
    image = X[0].reshape(32, 32, 3).astype(np.uint8)
    assert codec.decode_image(codec.encode_image(image)).shape == image.shape
    with pytest.raises(ValueError, match="quantizer='trellis' searches paths"):
        codec.encode_image(image, search_steps=3)


@pytest.mark.parametrize("seed", range(12))
def test_damaged_images_say_so_or_keep_their_shape(seed):
    c, rng = bands(), np.random.default_rng(seed)
    payload = bytearray(c.encode(c.quantize(values("bands")[:2])))
    for _ in range(3):
        payload[rng.integers(len(payload))] ^= 1 << rng.integers(8)
    try:
        symbols = c.decode(bytes(payload), 2)
    except CorruptStreamError:
        return
    assert c.dequantize(symbols).shape == (2, 210)
