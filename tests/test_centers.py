"""Quantizers of a few learned centres: assignment, slopes, codes, estimators."""

import copy

import numpy as np
import pytest
from reference import assert_slopes
from scipy.special import log_softmax, softmax

from rdlearn import CorruptStreamError, UniformNoiseCodec, load
from rdlearn.channels.centers import SHARPNESS, CentersChannel
from rdlearn.coding.centers import CenterCode
from rdlearn.coding.latents import Arrangement, ColumnCode, PlaneCode
from rdlearn.nets.layers import Workspace

SIZES = pytest.mark.parametrize(
    "n, places, k, n_centers", [(1, 1, 1, 2), (4, 1, 3, 5), (3, 4, 2, 8)]
)


def parameters(channel, seed=0):
    rng, flat = np.random.default_rng(seed), np.zeros(channel.n_parameters)
    channel.init(rng, flat, None)
    return flat + rng.normal(scale=0.4, size=flat.size)


def split(channel, params):
    centers, share = params.reshape(2, channel.n_components, channel.n_centers)
    return centers, -log_softmax(share, axis=1)


@SIZES
def test_forward_against_distances(n, places, k, n_centers):
    channel, rng = CentersChannel(k, n_centers, places), np.random.default_rng(1)
    params = parameters(channel)
    encoded = rng.normal(scale=2, size=(n, places, k))
    code, rate, _ = channel.forward(params, encoded, channel.draw(rng, n), None, Workspace())
    centers, nats = split(channel, params)
    nearest = np.argmin(np.abs(encoded[..., None] - centers), axis=-1)
    channels = np.arange(k)
    np.testing.assert_array_equal(code, centers[channels, nearest])
    np.testing.assert_allclose(rate, nats[channels, nearest].sum(axis=(1, 2)), rtol=1e-12)


@SIZES
def test_gradients(n, places, k, n_centers):
    """By the parameters those of the hard code; by the encoder those of the soft one."""
    channel, rng = CentersChannel(k, n_centers, places), np.random.default_rng(2)
    params = parameters(channel)
    encoded, weight = rng.normal(scale=2, size=(2, n, places, k))
    grads, price, work = np.full_like(params, np.nan), 0.7, Workspace()
    draw = channel.draw(rng, n)
    _, _, cache = channel.forward(params, encoded, draw, None, work)
    gradient = channel.backward(params, grads, weight, price, cache, work).copy()

    def hard():
        code, rate, _ = channel.forward(params, encoded, draw, None, Workspace())
        return np.sum(weight * code) + price * rate.sum()

    def soft():
        centers, nats = split(channel, params)
        share = softmax(-SHARPNESS * (encoded[..., None] - centers) ** 2, axis=-1)
        return np.sum(weight * (share * centers).sum(-1)) + price * np.sum(share * nats)

    assert_slopes(hard, params, grads, rng)
    assert_slopes(soft, encoded, gradient, rng)


def test_far_values_are_the_last_centres():
    channel = CentersChannel(1, 4)
    params = parameters(channel)
    z = np.array([[1e30], [-1e30], [1e3], [-1e3]])
    code, rate, cache = channel.forward(params, z, channel.draw(None, 4), None, Workspace())
    centers = channel.centers(params)[0]
    np.testing.assert_array_equal(code[:, 0], centers[[-1, 0, -1, 0]])
    grads = np.empty(8)
    slope = channel.backward(params, grads, np.ones_like(z), 1.0, cache, Workspace())
    assert np.all(np.isfinite(rate)) and np.all(np.isfinite(grads)) and not slope.any()


def codes():
    rng = np.random.default_rng(0)
    values = rng.laplace(size=(50, 24)).astype(np.float32)
    grid = Arrangement("grid", (2, 3, 4), 0, ((), (0,), (), (0, 2)))
    columns = rng.normal(size=(24, 5)).astype(np.float32)
    planes = CenterCode.fit(values, columns[:4], lambda s: PlaneCode.fit([s], [grid], 0.0))
    return values, {"columns": CenterCode.fit(values, columns, ColumnCode.fit), "planes": planes}


@pytest.mark.parametrize("kind", ["columns", "planes"])
def test_codes_of_centres(kind):
    values, code = codes()[0], codes()[1][kind]
    symbols = code.quantize(values)
    out = code.dequantize(symbols)
    centers = np.tile(code.centers, (24 // len(code.centers), 1))
    nearest = np.argmin(np.abs(values[..., None] - centers), axis=-1)
    np.testing.assert_array_equal(
        out, np.take_along_axis(centers[None], nearest[..., None], 2)[..., 0]
    )
    # The most frequent centre of a channel is its symbol 0.
    for channel in symbols.reshape(-1, len(code.centers)).T:
        numbers, seen = np.unique(channel, return_counts=True)
        assert seen[numbers == 0] == seen.max()
    payload = code.encode(symbols)
    again = CenterCode.from_state(code.to_state())
    for some in (code, again):
        np.testing.assert_array_equal(some.decode(payload, 50), symbols)
        np.testing.assert_array_equal(some.dequantize(symbols), out)
    assert 8 * len(payload) == pytest.approx(
        code.code_length(symbols).sum(), rel=0.005, abs=32 * 24
    )  # the coder's states
    # What is drawn to its centre stays there.
    np.testing.assert_array_equal(code.quantize(out), symbols)


def test_streams_that_name_no_centre():
    values, kinds = codes()
    code = kinds["columns"]
    far = code.code.quantize(np.full((1, 24), 40.0, dtype=np.float32))
    with pytest.raises(CorruptStreamError, match="names a centre"):
        code.decode(code.code.encode(far), 1)


@pytest.mark.parametrize("kind", ["columns", "planes"])
@pytest.mark.parametrize(
    "name, change, words",
    [
        ("centers", lambda a: a[:-1], "do not fit"),
        ("centers", lambda a: a[0], "do not fit"),
        ("centers", lambda a: a.astype("f8"), "do not fit"),
        ("centers", lambda a: a[:, ::-1].copy(), "rising order"),
        ("centers", lambda a: a * np.nan, "rising order"),
        ("zero", lambda a: a + 5, "first centres"),
        ("zero", lambda a: a - 5, "first centres"),
        ("zero", lambda a: a[1:], "first centres"),
        ("zero", lambda a: a.astype("f8"), "first centres"),
        ("zero", lambda a: None, "lacks 'zero'"),
        (None, None, "lacks 'columns'"),
    ],
)
def test_damaged_states(kind, name, change, words):
    state = copy.deepcopy(codes()[1][kind].to_state())
    if name is None:
        del state[kind]
    else:
        state[name] = change(state[name])
    with pytest.raises(CorruptStreamError, match=words):
        CenterCode.from_state(state)


def table(n=4000, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(3, 2, size=(n, 1)) @ [[1.0, 0.5]] + 0.1 * rng.normal(size=(n, 2))


def codec(**params):
    standard = {"hidden_layer_sizes": (16,), "activation": "softplus", "max_iter": 15}
    standard |= {"batch_size": 200, "learning_rate_init": 0.01, "random_state": 0, "beta": 2.0}
    return UniformNoiseCodec(**{"n_components": 2, "quantizer": "centers", **standard, **params})


@pytest.mark.parametrize("context", ["none", "causal"])
@pytest.mark.parametrize("n_centers", [2, 3, 8])
def test_bits_of_tables_are_bounded(n_centers, context, tmp_path):
    X, new = table(), table(500, 1)
    model = codec(n_centers=n_centers, context=context).fit(X)
    Z = model.transform(X)
    assert all(len(np.unique(column)) <= n_centers for column in Z.T)
    # Tables of counts come within rounding of the bound where all centres are alike.
    assert 0.5 < model.rate(X) <= 2 * np.log2(n_centers) * 1.002
    variance = X.var(axis=0).sum()
    assert model.mean_distortion(new) < variance * (0.5 if n_centers < 4 else 0.12)
    assert model.history_["rate_bits"].iloc[-1] == pytest.approx(model.rate(X), rel=0.1)
    blob = model.compress(new)
    np.testing.assert_array_equal(model.decompress(blob), model.reconstruct(new))
    assert 8 * len(blob) / 500 == pytest.approx(model.rate(new), abs=1.8)
    model.save(tmp_path / "m.rdl")
    assert load(tmp_path / "m.rdl").compress(new) == blob


def test_a_target_coarsens_centres():
    X = table()
    model = codec(target_rate=1.5, n_centers=8, max_iter=30).fit(X)
    assert 0.95 * 1.5 <= model.rate(X) <= 1.5


def test_centres_of_images():
    rng = np.random.default_rng(0)
    ramps = rng.normal(size=(30, 1, 1, 3)) * 20 + rng.normal(size=(30, 32, 1, 1)).cumsum(axis=1) * 9
    X = (np.tile(ramps, (1, 1, 32, 1)) + 128).clip(0, 255).reshape(30, -1)
    model = codec(
        n_components=4,
        architecture="conv",
        image_shape=(32, 32, 3),
        patch_size=32,
        context="causal",
        beta=0.01,
        max_iter=8,
        batch_size=5,
        n_centers=4,
        hidden_layer_sizes=(6,),
    ).fit(X)
    assert 0 < model.rate(X) <= 4 * 16 * 2 * 1.01
    image = X[0].reshape(32, 32, 3).round().astype(np.uint8)
    out = model.decode_image(model.encode_image(image[:27, 3:]))
    assert out.shape == (27, 29, 3)
    np.testing.assert_array_equal(model.decompress(model.compress(X)), model.reconstruct(X))


def test_sentences():
    X = table(200)
    with pytest.raises(ValueError, match="learns its values with nets"):
        codec(architecture="wavelet", image_shape=(1, 2, 1)).fit(X)
    for n_centers in (1, 257):
        with pytest.raises(ValueError, match="n_centers"):
            codec(n_centers=n_centers).fit(X)
    model = codec(max_iter=1).fit(X)
    with pytest.raises(ValueError, match="quantizer='centers' has none"):
        model.rate_samples(X, view="noisy")
    with pytest.raises(ValueError, match="sample_codes draws .* has none; use transform"):
        model.sample_codes(X)
    with pytest.raises(ValueError, match="cannot change n_centers_"):
        model.set_params(warm_start=True, n_centers=4).fit(X)
    model.set_params(n_centers=8, max_iter=2).fit(X)
    rounded = model.set_params(quantizer="round", warm_start=False, max_iter=15).fit(X)
    assert rounded.n_centers_ is None and rounded.rate_samples(X, view="noisy").shape == (200,)
