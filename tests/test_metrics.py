import math

import numpy as np
import pytest
from perceptual_reference import texture

from rdlearn.metrics import ms_ssim, nlpd, psnr, psnr_db

METRICS = [ms_ssim, nlpd, psnr]


@pytest.mark.parametrize("data_range", [1.0, 16, 255.0])
@pytest.mark.parametrize("mean_squared_error", [1e-6, 0.3, 40.0])
def test_psnr_is_the_definition(mean_squared_error, data_range):
    expected = 20 * np.log10(data_range / np.sqrt(mean_squared_error))
    assert psnr_db(mean_squared_error, data_range) == pytest.approx(expected, rel=1e-12)
    x = np.full((4, 3, 2), -7.0)
    shifted = x + np.sqrt(mean_squared_error) * np.array([1, -1])
    assert psnr(x, shifted, data_range=data_range) == pytest.approx(expected, rel=1e-12)


def test_psnr_without_error_is_infinite():
    assert psnr_db(0.0, 255) == math.inf
    assert psnr([[3, 4]], [[3, 4]], data_range=255) == math.inf


@pytest.mark.parametrize(
    "size, expected", [((256, 256), 26.8562537), ((187, 211), 26.8580064)], ids=str
)
def test_psnr_of_a_known_pair(size, expected):
    x, y = texture(*size)
    assert psnr(x, y, data_range=255) == pytest.approx(expected, abs=5.1e-8)


@pytest.mark.parametrize("metric", METRICS)
def test_any_numbers_and_both_shapes_of_grey_images(metric):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (2, 15, 12), dtype=np.uint8)
    value = metric(x, y, data_range=255)
    assert type(value) is float
    for kind in (np.float32, np.int64):
        assert metric(x.astype(kind), y.astype(kind), data_range=255) == value
    assert metric(x.tolist(), y.tolist(), data_range=255) == value
    assert metric(x[:, :, None], y[:, :, None], data_range=np.int64(255)) == value
    # Views in any order of memory.
    assert metric(x[::-1].T, y[::-1].T, data_range=255) == metric(
        x[::-1].T.copy(), y[::-1].T.copy(), data_range=255
    )


@pytest.mark.parametrize("metric", METRICS)
def test_data_range_is_asked_for(metric):
    x = np.zeros((12, 12))
    with pytest.raises(TypeError, match="data_range"):
        metric(x, x)
    for wrong in (0, -255, math.inf, math.nan, None, "255"):
        with pytest.raises(ValueError, match=rf"data_range={wrong!r} must be .* 255 for 8-bit"):
            metric(x, x, data_range=wrong)


@pytest.mark.parametrize("metric", METRICS)
def test_shapes_that_differ(metric):
    with pytest.raises(ValueError, match=r"shapes \(12, 12\) and \(12, 13\) must have one shape"):
        metric(np.zeros((12, 12)), np.zeros((12, 13)), data_range=1)
    with pytest.raises(ValueError, match=r"shapes \(0, 12\) and \(0, 12\) must have one shape"):
        metric(np.zeros((0, 12)), np.zeros((0, 12)), data_range=1)


@pytest.mark.parametrize("metric", [ms_ssim, nlpd])
@pytest.mark.parametrize("shape", [(200,), (2, 12, 12, 3)])
def test_what_is_no_image(metric, shape):
    with pytest.raises(ValueError, match=r"\(height, width\) or \(height, width, channels\)"):
        metric(np.zeros(shape), np.zeros(shape), data_range=1)


@pytest.mark.parametrize("shape", [(10, 40), (40, 10, 3)])
def test_images_smaller_than_the_window(shape):
    sentence = f"window of 11 pixels, but the image is {shape[0]} x {shape[1]}; use psnr"
    with pytest.raises(ValueError, match=sentence):
        ms_ssim(np.zeros(shape), np.zeros(shape), data_range=1)


@pytest.mark.parametrize("version", [2018, None, "2016"])
def test_versions_of_the_distance(version):
    x = np.zeros((8, 8))
    with pytest.raises(ValueError, match=f"version={version!r} of nlpd must be 2016 or"):
        nlpd(x, x, data_range=1, version=version)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("metric", [psnr, ms_ssim, nlpd])
def test_images_that_are_no_numbers(metric, bad):
    x = np.zeros((16, 16))
    y = x.copy()
    y[3, 4] = bad
    for pair, name in (((x, y), "x_hat"), ((y, x), "x")):
        with pytest.raises(ValueError, match=f"^{name} holds NaN or infinity"):
            metric(*pair, data_range=1.0)


@pytest.mark.parametrize("error", [-1.0, np.nan])
def test_errors_that_are_none(error):
    with pytest.raises(ValueError, match="mean_squared_error"):
        psnr_db(error, 255)
