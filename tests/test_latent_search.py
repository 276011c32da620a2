"""Decoders finished on rounded codes, and the search for better codes of one image."""

import numpy as np
import pytest
from image_data import SHAPE, fields, fitted, image
from reference import assert_slopes
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from test_image_nets import Case

from rdlearn import _image_codec
from rdlearn._image_nets import DecoderObjective
from rdlearn.distortions import SquaredError
from rdlearn.information import bits_to_nats
from rdlearn.nets.layers import Workspace

CONVS = pytest.mark.parametrize("kind", ["conv", "grey conv", "conv of 0 to 1"])


def decoder_case(n_threads=1):
    case = Case(SquaredError(), weighted=True, n_threads=n_threads)
    offset = np.array([0.2, -0.4])
    own = DecoderObjective(case.objective, case.flat, offset)
    own._grads = [np.zeros(grad.shape) for grad in own._grads]
    return case, own, offset


@pytest.mark.parametrize("n_threads", [1, 2])
def test_decoder_alone(n_threads):
    case, own, offset = decoder_case(n_threads)
    flat = case.flat[-own.n_parameters :]
    kept = case.flat[: -own.n_parameters].copy()

    def forward(work):
        inputs = own.views(flat), case.x, case.target, None, case.draw, None, work
        return own.forward(*inputs, case.price)

    def value():
        return case.price * forward(Workspace())[2].sum()

    grads, work = np.full(flat.shape, np.nan), Workspace()
    _, rate, loss, cache = forward(work)
    own.backward(own.views(flat), own.views(grads), cache, 0.4, work)
    assert not rate.any()
    assert_slopes(value, flat, grads, np.random.default_rng(1))
    # The codes are whole numbers about the offset; the whole objective agrees on what they lose.
    encoder = case.objective.views(case.flat)[0]
    encoded, _ = case.objective.encoder.forward(encoder, case.x, Workspace())
    case.draw = (np.rint(encoded - offset) + offset - encoded).reshape(case.draw.shape)
    np.testing.assert_allclose(case.forward()[2], loss, rtol=1e-9)
    np.testing.assert_array_equal(case.flat[: -own.n_parameters], kept)


def test_finishing_helps_what_is_decoded(monkeypatch):
    model = clone(fitted("conv")).set_params(beta=1e-3)
    X = fields(24, SHAPE).reshape(24, -1).astype(np.float32)
    finished = clone(model).fit(X)
    monkeypatch.setattr(_image_codec.ImageTransforms, "_finish", lambda *_, **__: None)
    plain = model.fit(X)
    channel = finished._build()._ends[1]
    np.testing.assert_array_equal(finished.params_[:channel], plain.params_[:channel])
    assert finished.rate(X) == plain.rate(X)
    assert finished.mean_distortion(X) < 0.97 * plain.mean_distortion(X)


@pytest.mark.parametrize("quantizer", ["round", "centers"])
def test_fits_of_patches_are_the_same_to_the_bit(quantizer):
    model = clone(fitted("conv")).set_params(max_iter=3, quantizer=quantizer)
    X = fields(24, SHAPE).reshape(24, -1).astype(np.float32)
    one, two = clone(model).fit(X), clone(model).fit(X)
    np.testing.assert_array_equal(one.params_, two.params_)
    assert one.fingerprint == two.fingerprint
    assert clone(model).set_params(random_state=1).fit(X).fingerprint != one.fingerprint


def test_an_interrupt_while_finishing_loses_nothing(monkeypatch, capsys):
    model = clone(fitted("conv")).set_params(max_iter=4, verbose=True)
    X = fields(24, SHAPE).reshape(24, -1).astype(np.float32)
    whole = clone(model).fit(X)
    assert "decoder on rounded codes: epoch 1/1" in capsys.readouterr().err

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(_image_codec, "minimize", interrupted)
    with pytest.warns(ConvergenceWarning, match="Interrupted before the decoder"):
        model.fit(X)
    assert (
        model.rate(X) == whole.rate(X)
        and model.decode_image(model.encode_image(image(9, 9, 3))).any()
    )


def test_gradient_by_a_code():
    case = Case(SquaredError())
    views = case.objective.views(case.flat)
    code, rng = np.random.default_rng(2).normal(size=(3, 2, 3, 2)), np.random.default_rng(3)
    scratch = np.empty_like(case.flat)

    def value():
        work, decoder = Workspace(), views[2]
        _, rate, _ = case.objective.channel.forward(views[1], code, 0 * code, None, work)
        loss, _ = case.objective._decoded(decoder, code, case.target, work, case.price)
        return 0.4 * rate.sum() + case.price * loss.sum()

    spare = case.objective.views(scratch)
    prices = case.price, 0.4
    gradient = case.objective.code_gradient(
        views, spare, code, case.target, *prices, Workspace()
    ).copy()
    assert_slopes(value, code, gradient, rng)


@CONVS
@pytest.mark.parametrize("size", [(1, 1), (17, 3), (33, 49)])
def test_searched_images_decode(kind, size):
    codec = fitted(kind)
    x = image(*size, *[3] * (codec.image_shape_[2] == 3))
    blob = codec.encode_image(x, search_steps=5)
    assert blob == codec.encode_image(x, search_steps=5)
    assert codec.decode_image(blob).shape == x.shape


@CONVS
def test_a_search_lowers_the_objective(kind):
    codec = fitted(kind)
    grey = codec.image_shape_[2] == 1
    white = 255 / (codec.data_range or 255)

    def cost(x, n_steps):
        blob = codec.encode_image(x, search_steps=n_steps)
        miss = np.abs(codec.decode_image(blob) / white - x / white)
        lost = np.sum(miss if codec.distortion == "absolute_error" else miss**2)
        return bits_to_nats(8 * len(blob)) + codec.beta_ * lost

    images = [image(48, 64, *[3] * (not grey), seed=seed) for seed in (5, 6, 7)]
    before, some, more = (np.array([cost(x, n) for x in images]) for n in (0, 10, 80))
    assert np.all(more < before) and some.sum() < before.sum()
    assert more.sum() < 0.99 * before.sum() and more.sum() < some.sum()


@CONVS
@pytest.mark.parametrize("n_steps", [1, 7])
def test_a_search_never_costs_more(kind, n_steps):
    codec = fitted(kind)
    n_channels = codec.image_shape_[2]
    flat = np.full((32, 32, n_channels), 255, np.uint8)
    for x in (*(fields(4, (32, 32, n_channels), 9).astype(np.uint8)), flat):
        pixels = x * np.float32(codec._white() / 255)
        costs = []
        for steps in (0, n_steps):
            blob = codec._encode_pixels(pixels, steps)
            lost = codec._priced_loss(pixels, codec._decode_pixels(blob, 32, 32))
            costs.append(bits_to_nats(8 * len(blob)) + lost)
        # Bytes are whole.
        assert costs[1] < costs[0] + bits_to_nats(16)


@pytest.mark.filterwarnings("ignore:The code spends.*on nothing")
def test_sentences():
    x = image(20, 20, 3)
    with pytest.raises(ValueError, match="search_steps=3.*architecture='wavelet' has none"):
        fitted("wavelet").encode_image(x, search_steps=3)
    for wrong, error in ((-1, ValueError), (0.5, TypeError)):
        with pytest.raises(error, match="search_steps"):
            fitted("conv").encode_image(x, search_steps=wrong)
    X = fields(24, SHAPE).reshape(24, -1)
    centers = clone(fitted("conv")).set_params(quantizer="centers", max_iter=1).fit(X)
    with pytest.raises(ValueError, match="quantizer='centers' has none"):
        centers.encode_image(x, search_steps=1)
