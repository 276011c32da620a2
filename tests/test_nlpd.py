import numpy as np
import perceptual_reference
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from rdlearn._nlpd import _maps, _pyramid, nlpd_samples
from rdlearn.metrics import nlpd

VERSIONS = [2016, 2017]


def images(shape, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.random(shape)
    # Clear of black, where the light of 2017 has no second derivative.
    return x, np.clip(x + 0.2 * rng.standard_normal(shape), 0.05, 1)


@pytest.mark.parametrize(
    "size, old, new",
    [
        ((256, 256), 0.13896846128492693, 0.0485806123),
        ((187, 211), 0.1515929884491077, 0.0493022737),
    ],
)
def test_known_pair(size, old, new):
    x, y = perceptual_reference.texture(*size)
    assert nlpd(x, y, data_range=255) == pytest.approx(old, rel=1e-14)
    assert nlpd(x, y, data_range=255, version=2017) == pytest.approx(new, abs=5.1e-11)


def test_bands_of_the_known_pair_before_division():
    x, y = (v[None] / 255 for v in perceptual_reference.texture(256, 256))
    maps = _maps(256, 256, 2016)
    pairs = zip(_pyramid(x, maps, 2016), _pyramid(y, maps, 2016), strict=True)
    rms = [np.sqrt(np.mean((a - b) ** 2)) for (a, _, _), (b, _, _) in pairs]
    known = [0.0449781816, 0.0043312394, 0.0020691691, 0.0005994939, 0.0002873757, 0.0002501652]
    assert_allclose(rms, known, rtol=0, atol=5.1e-11)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 2), (20, 22, 1), (17, 25, 3), (35, 33, 1)])
def test_loops_over_pixels_say_the_same(shape, version):
    x, y = images(shape)
    expected = perceptual_reference.nlpd(3 * x, 3 * y, 3.0, version)
    # Where a level is one pixel, the loops count the rounding of its band to the power of 0.6.
    rel = 1e-12 if version == 2016 or min(shape[:2]) > 32 else 1e-6
    assert nlpd(3 * x, 3 * y, data_range=3.0, version=version) == pytest.approx(expected, rel=rel)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("shape", [(2, 24, 26, 1), (1, 23, 25, 3), (2, 6, 5, 1), (1, 70, 67, 1)])
def test_gradient_against_finite_differences(shape, version):
    x, y = images(shape)
    _, gradient = nlpd_samples(x, y, 1.0, version, with_gradient=True)
    assert gradient.shape == shape
    perceptual_reference.assert_slopes(
        lambda moved: nlpd_samples(x, moved, 1.0, version), y, gradient, np.random.default_rng(1)
    )


def test_gradient_has_the_units_of_the_data():
    x, y = images((1, 24, 21, 2))
    for version in VERSIONS:
        value, gradient = nlpd_samples(x, y, 1.0, version, with_gradient=True)
        scaled = nlpd_samples(255 * x, 255 * y, 255, version, with_gradient=True)
        assert_allclose(scaled[0], value, rtol=1e-12)
        assert_allclose(scaled[1], gradient / 255, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("version", VERSIONS)
def test_gradient_comes_with_the_same_values(version):
    x, y = images((3, 33, 29, 2))
    value, _ = nlpd_samples(x, y, 1.0, version, with_gradient=True)
    assert_array_equal(value, nlpd_samples(x, y, 1.0, version))


@pytest.mark.parametrize("version", VERSIONS)
def test_equal_images_are_at_no_distance_with_no_slope(version):
    x, _ = images((2, 45, 30, 2))
    for same in (x, np.zeros_like(x)):
        values, gradient = nlpd_samples(same, same.copy(), 1.0, version, with_gradient=True)
        assert_array_equal(values, 0)
        assert_array_equal(gradient, 0)


@pytest.mark.parametrize("version", VERSIONS)
def test_symmetries(version):
    x, y = images((1, 45, 38, 2))
    value = nlpd_samples(x, y, 1.0, version)
    single = [nlpd_samples(x[..., c : c + 1], y[..., c : c + 1], 1.0, version) for c in range(2)]
    assert_allclose(nlpd_samples(y, x, 1.0, version), value, rtol=1e-12)
    assert_allclose(np.mean(single), value, rtol=1e-12)
    turned = nlpd_samples(*(v.transpose(0, 2, 1, 3) for v in (x, y)), 1.0, version)
    # The weights of 2016 tell left from above.
    assert (abs(turned / value - 1) < 1e-12) == (version == 2017)


def test_below_black_it_is_dark_and_above_white_it_is_brighter():
    x, y = images((1, 24, 24, 1))
    y[0, 3, 4], y[0, 8, 9] = -0.1, 1.3
    value, gradient = nlpd_samples(x, y, 1.0, 2017, with_gradient=True)
    assert_array_equal(value, nlpd_samples(x, np.maximum(y, 0), 1.0, 2017))
    assert gradient[0, 3, 4] == 0 and gradient[0, 8, 9] != 0
    assert value != nlpd_samples(x, np.minimum(y, 1), 1.0, 2017)
    assert np.isfinite(gradient).all()
