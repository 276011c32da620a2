import os
from pathlib import Path

import numpy as np
import perceptual_reference
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from rdlearn._ms_ssim import WINDOW, ms_ssim_samples, n_scales
from rdlearn.kernels.similarity import similarity
from rdlearn.metrics import ms_ssim


def ssim(x, y, data_range):
    """One scale alone of images (h, w, c), as the kernel has it."""
    means, planes = np.empty(x.shape[2]), (np.moveaxis(v, 2, 0).astype(float) for v in (x, y))
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    similarity(*planes, WINDOW, c1, c2, True, means, np.empty((0, 0, 0)))
    return means.mean()


def images(shape, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.random(shape)
    return x, np.clip(x + 0.2 * rng.standard_normal(shape), 0, 1)


@pytest.mark.parametrize(
    "size, expected, single, sums",
    [
        ((256, 256), 0.9964533328, 0.9758653638, (8333863, 8334265)),
        ((187, 211), 0.9970572888, 0.9682049652, (5009059, 5009643)),
    ],
)
def test_known_pair(size, expected, single, sums):
    x, y = perceptual_reference.texture(*size)
    assert (x.sum(), y.sum()) == sums
    assert ms_ssim(x, y, data_range=255) == pytest.approx(expected, abs=5.1e-11)
    assert ssim(x[..., None], y[..., None], 255) == pytest.approx(single, abs=5.1e-11)


# SSIM and MS-SSIM by Wang's MATLAB code, from the tests of TensorFlow.
@pytest.mark.parametrize(
    "pair, one, several",
    [("12", 0.230880, 0.091016), ("13", 0.231153, 0.091025), ("23", 0.996828, 0.999567)],
)
def test_checkerboards_against_matlab(pair, one, several):
    folder = Path(os.environ.get("RDLEARN_DATA", "")) / "checkerboard"
    files = [folder / f"checkerboard{number}.png" for number in pair]
    if "RDLEARN_DATA" not in os.environ or not all(map(Path.exists, files)):
        pytest.skip(
            "checkerboard/*.png is missing: set the environment variable RDLEARN_DATA to a folder "
            "that holds TensorFlow's test images of SSIM."
        )
    image = pytest.importorskip("PIL.Image")
    x, y = (np.array(image.open(file)) for file in files)
    assert x.shape == (180, 240, 3)
    # Six digits, cut or rounded.
    assert ms_ssim(x, y, data_range=255) == pytest.approx(several, abs=6e-7)
    assert ssim(x, y, 255) == pytest.approx(one, abs=6e-7)


@pytest.mark.parametrize("data_range", [1.0, 3.0])
@pytest.mark.parametrize("shape", [(11, 11, 1), (20, 23, 2), (21, 22, 1), (27, 25, 3), (41, 43, 1)])
def test_loops_over_windows_say_the_same(shape, data_range):
    x, y = images(shape)
    expected = perceptual_reference.ms_ssim(x, y, data_range)
    assert ms_ssim(x, y, data_range=data_range) == pytest.approx(expected, rel=1e-12)


def test_scales_there_is_room_for():
    sides = {10: 0, 11: 1, 20: 1, 21: 2, 40: 2, 41: 3, 80: 3, 81: 4, 160: 4, 161: 5, 999: 5}
    for side, scales in sides.items():
        assert n_scales(side, 1000) == n_scales(1000, side) == scales


@pytest.mark.parametrize(
    "shape", [(2, 24, 26, 1), (1, 23, 25, 3), (2, 45, 42, 1), (1, 161, 163, 1)]
)
def test_gradient_against_finite_differences(shape):
    x, y = images(shape)
    _, gradient = ms_ssim_samples(x, y, 1.0, with_gradient=True)
    assert gradient.shape == shape
    perceptual_reference.assert_slopes(
        lambda moved: ms_ssim_samples(x, moved, 1.0), y, gradient, np.random.default_rng(1)
    )


def test_gradient_comes_with_the_same_values():
    x, y = images((3, 33, 29, 2))
    assert_array_equal(ms_ssim_samples(x, y, 1.0, True)[0], ms_ssim_samples(x, y, 1.0))


def test_equal_images_score_one_and_are_at_the_top():
    x, _ = images((2, 45, 30, 2))
    values, gradient = ms_ssim_samples(x, x.copy(), 1.0, with_gradient=True)
    assert_allclose(values, 1, rtol=1e-14)
    assert_allclose(gradient, 0, atol=1e-14)


def test_symmetries():
    x, y = images((1, 45, 30, 2))
    value = ms_ssim_samples(x, y, 1.0)
    turned = (v.transpose(0, 2, 1, 3) for v in (x, y))
    for again in (
        ms_ssim_samples(y, x, 1.0),
        ms_ssim_samples(*turned, 1.0),
        ms_ssim_samples(7 * x, 7 * y, 7.0),
        np.mean([ms_ssim_samples(x[..., c : c + 1], y[..., c : c + 1], 1.0) for c in range(2)]),
    ):
        assert_allclose(again, value, rtol=1e-12)


def test_a_channel_with_the_opposite_structure_counts_nothing():
    x, y = images((1, 24, 24, 2))
    # Strong contrast, so that a negative covariance outweighs the constant.
    y[..., 1] = 1 - x[..., 1]
    values, gradient = ms_ssim_samples(x, y, 1.0, with_gradient=True)
    assert_allclose(values, ms_ssim_samples(x[..., :1], y[..., :1], 1.0) / 2)
    assert_array_equal(gradient[..., 1], 0)
    assert np.abs(gradient[..., 0]).max() > 1e-4
