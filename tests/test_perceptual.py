"""Distortions of whole images, and codecs that are asked for them."""

import json

import numpy as np
import perceptual_reference
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits

import rdlearn
from rdlearn import EchoAutoencoder, PCACodec
from rdlearn.distortions import NLPD, Distortion, MultiScaleSSIM, SquaredError, get_distortion
from rdlearn.exceptions import CorruptStreamError
from rdlearn.metrics import ms_ssim, nlpd
from rdlearn.model_selection import rd_scorer, rd_scoring
from rdlearn.nets.layers import Workspace
from rdlearn.nets.losses import CustomLoss, make_loss

SHAPE = (22, 13, 2)
D = 22 * 13 * 2
ALL = [MultiScaleSSIM(SHAPE, 255), NLPD(SHAPE, 255), NLPD(SHAPE, 255, version=2017)]
EACH = pytest.mark.parametrize("distortion", ALL, ids=repr)


def rows(n, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (n, D))
    return x.astype(dtype), np.clip(x + rng.normal(0, 40, (n, D)), 13, 255).astype(dtype)


def definition(distortion, x, x_hat):
    pair = (x.reshape(SHAPE), x_hat.reshape(SHAPE))
    if distortion.name == "ms_ssim":
        return 1 - perceptual_reference.ms_ssim(*pair, 255)
    return perceptual_reference.nlpd(*pair, 255, distortion.version)


@EACH
def test_values_are_the_metrics_of_rows_as_images(distortion):
    x, x_hat = rows(2)
    values = distortion.samples(x, x_hat)
    assert values.dtype == np.float64
    expected = [definition(distortion, *pair) for pair in zip(x, x_hat, strict=True)]
    # Levels of one pixel, whose rounding the loops raise to the power of 0.6.
    assert_allclose(values, expected, rtol=1e-6 if distortion == ALL[2] else 1e-12)
    per_feature = distortion.per_feature(x, x_hat)
    assert per_feature.shape == (D,) and per_feature.dtype == np.float64
    assert_allclose(per_feature, values.mean() / D, rtol=1e-14)


@EACH
def test_gradient_against_finite_differences(distortion):
    x, x_hat = rows(2)
    perceptual_reference.assert_slopes(
        lambda moved: distortion.samples(x, moved.reshape(2, D)),
        x_hat.reshape(2, *SHAPE),
        distortion.gradient(x, x_hat).reshape(2, *SHAPE),
        np.random.default_rng(0),
        step=1e-3,
    )


@EACH
def test_single_precision_only_rounds(distortion):
    x, x_hat = rows(3, dtype=np.float32)
    values, gradient = distortion.samples_and_gradient(x, x_hat)
    double = distortion.samples_and_gradient(x.astype(np.float64), x_hat.astype(np.float64))
    assert values.dtype == np.float64 and gradient.dtype == np.float32
    assert_array_equal(gradient, double[1].astype(np.float32))
    assert double[1].dtype == np.float64 and gradient.shape == (3, D)
    whole = distortion.gradient(x.astype(np.int64), x_hat.astype(np.int64))
    assert_array_equal(whole, distortion.gradient(np.trunc(x), np.trunc(x_hat).astype(np.float64)))
    assert_array_equal(values, double[0])


@EACH
def test_one_pass_and_blocks_of_rows_change_nothing(distortion):
    x, x_hat = rows(250)
    assert x.size > 2 * rdlearn._perceptual.BLOCK_VALUES
    values, gradient = distortion.samples_and_gradient(x, x_hat)
    assert_array_equal(values, distortion.samples(x, x_hat))
    assert_array_equal(gradient, distortion.gradient(x, x_hat))
    for row in (0, 117, 249):
        one = slice(row, row + 1)
        assert_allclose(values[row], distortion.samples(x[one], x_hat[one])[0], rtol=1e-13)
        alone = distortion.gradient(x[one], x_hat[one])[0]
        assert_allclose(gradient[row], alone, rtol=1e-9, atol=1e-12)


def test_distortions_of_pixels_do_both_in_turn():
    x, x_hat = rows(3)
    values, gradient = SquaredError().samples_and_gradient(x, x_hat)
    assert_array_equal(values, SquaredError().samples(x, x_hat))
    assert_array_equal(gradient, SquaredError().gradient(x, x_hat))


# Objects


def test_objects_are_values():
    assert len({*ALL, MultiScaleSSIM(SHAPE, 254), MultiScaleSSIM((13, 22, 2), 255)}) == 5
    for distortion in ALL:
        constants = json.loads(json.dumps(distortion.constants()))
        assert isinstance(constants["image_shape"], list)
        again = type(distortion)(**constants)
        assert again == distortion and hash(again) == hash(distortion)
        assert again.image_shape == SHAPE and again.has_noise_model is False
    assert repr(ALL[0]) == "MultiScaleSSIM(image_shape=(22, 13, 2), data_range=255.0)"
    assert repr(ALL[2]) == "NLPD(image_shape=(22, 13, 2), data_range=255.0, version=2017)"


def test_units_say_how_many_scales_there_are():
    for side, scales in [(11, 1), (28, 2), (64, 3), (160, 4)]:
        word = "scale" if scales == 1 else "scales"
        assert MultiScaleSSIM((side, 500, 3), 1).unit == f"1 - MS-SSIM at {scales} {word}"
    assert MultiScaleSSIM((161, 500, 3), 1).unit == "1 - MS-SSIM"
    assert [distortion.unit for distortion in ALL[1:]] == ["NLPD of 2016", "NLPD of 2017"]


@pytest.mark.parametrize("kind", [MultiScaleSSIM, NLPD])
def test_parameters_that_make_no_images(kind):
    for wrong in ((28, 28), (28, 28, 0), (28.0, 28, 1), 784, "abc", None, (28, 28, 1, 1)):
        with pytest.raises(ValueError, match="must be three positive integers") as error:
            kind(wrong, 255)
        assert f"image_shape={wrong!r}" in str(error.value)
        assert "such as (28, 28, 1)" in str(error.value)
    for wrong in (0, -1.0, np.nan, None, 10**200, 10**400):
        with pytest.raises(ValueError, match=f"data_range={wrong!r} must be the positive"):
            kind((28, 28, 1), wrong)
    assert kind([np.int64(28), 28, 1], np.float32(1)) == kind((28, 28, 1), 1)


def test_parameters_of_one_of_them():
    for shape in ((10, 40, 1), (40, 10, 1)):
        with pytest.raises(ValueError, match="has a side below 11, the window of MS-SSIM"):
            MultiScaleSSIM(shape, 255)
    NLPD((1, 1, 1), 255)
    with pytest.raises(ValueError, match="version=2015 of nlpd must be 2016 or 2017"):
        NLPD(SHAPE, 255, version=2015)


@EACH
def test_rows_of_another_size(distortion):
    distortion.check(np.zeros((2, D)))
    sentence = r"image_shape=\(22, 13, 2\), which makes 572 features, but X has 1144: set image_sh"
    with pytest.raises(ValueError, match=f"The {distortion.name} distortion has {sentence}"):
        distortion.check(np.zeros((2, 2 * D)))
    for call in (distortion.samples, distortion.gradient):
        with pytest.raises(ValueError, match="reshape"):
            call(np.zeros((2, 2 * D)), np.zeros((2, 2 * D)))


@pytest.mark.parametrize("name, kind", [("ms_ssim", "MultiScaleSSIM"), ("nlpd", "NLPD")])
def test_names_need_the_shape_and_the_range(name, kind):
    found = get_distortion(name, image_shape=[28, 28, 1], data_range=255)
    assert repr(found).startswith(f"{kind}(image_shape=(28, 28, 1), data_range=255.0")
    both = {"image_shape": (28, 28, 1), "data_range": 255}
    for missing in (["image_shape"], ["data_range"], ["image_shape", "data_range"]):
        given = {key: value for key, value in both.items() if key not in missing}
        for call in (
            lambda given=given: get_distortion(name, **given),
            *([lambda: rd_scoring(name), lambda: rd_scorer(1.0, name)] if not given else []),
        ):
            with pytest.raises(ValueError) as error:
                call()
            sentence = str(error.value)
            assert f"distortion='{name}' compares images and needs {' and '.join(missing)}:" in (
                sentence
            )
            # Only what is missing is asked for.
            asked = sentence.partition("where there is no such parameter")[0]
            assert ("image_shape=(28, 28, 1)" in asked) == ("image_shape" in missing)
            assert ("data_range=255" in asked) == ("data_range" in missing)
            assert f"pass distortion={kind}(image_shape=(28, 28, 1), data_range=255)," in sentence
    # What other distortions do not need, they do not look at.
    assert get_distortion("squared_error", "no shape", "no range") == SquaredError()


# Codecs

SIDE, GREYS = (16, 16, 1), 16
IMAGES = load_digits().images[:200].repeat(2, axis=1).repeat(2, axis=2).reshape(200, -1)
OBJECTS = [MultiScaleSSIM(SIDE, GREYS), NLPD(SIDE, GREYS), NLPD(SIDE, GREYS, 2017)]


def expected_loss(distortion, x, x_hat):
    pairs = [(a.reshape(SIDE), b.reshape(SIDE)) for a, b in zip(x, x_hat, strict=True)]
    if distortion.name == "ms_ssim":
        return [1 - ms_ssim(*pair, data_range=GREYS) for pair in pairs]
    return [nlpd(*pair, data_range=GREYS, version=distortion.version) for pair in pairs]


@pytest.fixture(scope="module")
def fitted():
    return [PCACodec(8, beta=300.0, distortion=loss).fit(IMAGES) for loss in OBJECTS]


def test_codecs_measure_by_them(fitted):
    for codec, distortion in zip(fitted, OBJECTS, strict=True):
        few = IMAGES[:20]
        losses = codec.distortion_samples(few)
        expected = expected_loss(distortion, few, codec.reconstruct(few))
        assert_allclose(losses, expected, rtol=1e-9)
        assert codec.mean_distortion(few) == pytest.approx(np.mean(expected))
        per_feature = codec.distortion_per_feature_
        assert per_feature.shape == (256,)
        assert per_feature.sum() == pytest.approx(codec.mean_distortion(IMAGES), rel=1e-9)
        assert not hasattr(codec, "noise_scale_")
        with pytest.raises(ValueError, match=f"'{distortion.name}' has no noise model"):
            codec.score(few)
        blob = codec.compress(few)
        assert_array_equal(codec.decompress(blob), codec.inverse_transform(codec.transform(few)))


def test_a_higher_price_of_loss_buys_likeness(fitted):
    for codec in fitted:
        cheap = PCACodec(8, beta=60.0, distortion=codec.distortion_).fit(IMAGES)
        assert cheap.rate(IMAGES) < codec.rate(IMAGES)
        assert cheap.mean_distortion(IMAGES) > codec.mean_distortion(IMAGES)


def test_model_files_hold_them(fitted, tmp_path):
    for codec, distortion in zip(fitted, OBJECTS, strict=True):
        codec.save(tmp_path / "m.rdl")
        again = rdlearn.load(tmp_path / "m.rdl")
        assert again.distortion_ == again.distortion == distortion
        assert again.distortion_.image_shape == SIDE
        assert again.decompress(codec.compress(IMAGES)).shape == IMAGES.shape
        assert again.mean_distortion(IMAGES) == codec.mean_distortion(IMAGES)


@pytest.mark.parametrize(
    "constants", [{"image_shape": [16, -16, 1]}, {"data_range": "16"}, {"bias": 1.0}, {}]
)
def test_damaged_constants_are_refused(fitted, tmp_path, monkeypatch, constants):
    codec = fitted[0]
    whole = OBJECTS[0].constants() | constants if constants else {}
    monkeypatch.setattr(MultiScaleSSIM, "constants", lambda self: whole)
    codec.save(tmp_path / "m.rdl")
    monkeypatch.undo()
    with pytest.raises(CorruptStreamError, match="does not describe an estimator"):
        rdlearn.load(tmp_path / "m.rdl")


def test_distortions_from_elsewhere_are_still_not_written(tmp_path):
    class MyNLPD(NLPD):
        pass

    codec = PCACodec(2, beta=300.0, distortion=MyNLPD(SIDE, GREYS)).fit(IMAGES[:20])
    with pytest.raises(ValueError, match="cannot hold the distortion MyNLPD"):
        codec.save(tmp_path / "m.rdl")


def test_a_codec_of_images_hands_on_its_shape():
    codec = PCACodec(2, beta=300.0, distortion="nlpd", data_range=GREYS)
    with pytest.raises(
        ValueError, match="distortion='nlpd' compares images and needs image_shape:"
    ):
        codec.fit(IMAGES)
    codec.image_shape = SIDE
    assert codec.fit(IMAGES[:20]).distortion_ == NLPD(SIDE, GREYS)
    with pytest.raises(ValueError, match="needs data_range:"):
        codec.set_params(data_range=None).fit(IMAGES)


def test_what_codecs_refuse():
    for distortion in OBJECTS:
        sentence = f"standardize=True does not go with distortion='{distortion.name}'"
        with pytest.raises(ValueError, match=sentence):
            PCACodec(2, distortion=distortion, standardize=True).fit(IMAGES)
        with pytest.raises(ValueError, match="which makes 256 features, but X has 255"):
            PCACodec(2, distortion=distortion).fit(IMAGES[:, 1:])


# Nets


class Counted(NLPD):
    calls = 0

    def samples_and_gradient(self, x, x_hat):
        self.calls += 1
        return super().samples_and_gradient(x, x_hat)

    def samples(self, x, x_hat):
        raise AssertionError("work done twice")


def test_nets_ask_once_for_loss_and_gradient():
    distortion = Counted(SIDE, GREYS)
    loss = make_loss(distortion, IMAGES.mean(axis=0), 4.0)
    assert type(loss) is CustomLoss and type(distortion).gradient is not Distortion.gradient
    output = np.random.default_rng(0).standard_normal((5, 256)).astype(np.float32)
    values, grad = loss.forward(output, loss.target(IMAGES[:5]), 0.5, Workspace())
    assert distortion.calls == 1 and values.dtype == np.float64
    expected = NLPD(SIDE, GREYS).gradient(IMAGES[:5], loss.decode(output, np.dtype(float)))
    # By the chain rule through the spread; inputs are rounded to float32.
    assert grad.dtype == np.float32
    assert_allclose(grad, 0.5 * 4.0 * expected, atol=1e-4 * np.abs(expected).max())


def test_a_net_learns_them():
    for distortion in OBJECTS[:2]:
        codec = EchoAutoencoder(
            4,
            beta=1000.0,
            distortion=distortion,
            hidden_layer_sizes=(32,),
            max_iter=30,
            random_state=0,
        ).fit(IMAGES)
        guess = np.broadcast_to(IMAGES.mean(axis=0), IMAGES.shape)
        assert codec.mean_distortion(IMAGES) < 0.8 * distortion.samples(IMAGES, guess).mean()
