"""The wavelet against published filters, its inverse, its norms, and the colour axes."""

import numpy as np
import pytest

from rdlearn._wavelet import LEVELS, Wavelet, colour_axes
from rdlearn.coding.planes import band_shapes
from rdlearn.kernels.wavelet import merge_rows, split_rows

# Antonini, Barlaud, Mathieu & Daubechies 1992: taps of 0 to 4 and 0 to 3 places from the centre.
LOW = (0.602949018236, 0.266864118443, -0.078223266529, -0.016864118443, 0.026748757411)
HIGH = (1.115087052457, -0.591271763114, -0.057543526229, 0.091271763114)
# The lifting steps leave out the last scaling.
K = 1.230174104914
LOW_SCALE, HIGH_SCALE = K, 1 / K


def split(x):
    out = np.empty_like(x)
    split_rows(x.copy(), out)
    return out


def merge(x):
    out = np.empty_like(x)
    merge_rows(x, out)
    return out


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_merge_is_the_inverse_of_split(dtype):
    # Steps at most double a number and add three times another one: a few dozen roundings.
    rng = np.random.default_rng(0)
    for n in range(1, 34):
        for width in (1, 5):
            x = rng.normal(size=(n, width)).astype(dtype)
            for there, back in ((split, merge), (merge, split)):
                error = abs(back(there(x)) - x).max()
                assert error <= 100 * np.finfo(dtype).eps * abs(x).max()


def convolved(x, taps, first):
    """Every other sample of x with a symmetric filter, mirrored about its end samples."""
    n = len(x)
    reach = len(taps) - 1
    period = max(2 * (n - 1), 1)
    out = []
    for i in range(first, n, 2):
        total = 0.0
        for d in range(-reach, reach + 1):
            at = (i + d) % period
            total += taps[abs(d)] * x[min(at, period - at)]
        out.append(total)
    return np.array(out)


def test_split_is_convolution_with_the_published_filters():
    rng = np.random.default_rng(1)
    for n in range(2, 34):
        x = rng.normal(size=n)
        out = split(x[:, None])[:, 0]
        half = (n + 1) // 2
        # Taps are printed with twelve digits.
        np.testing.assert_allclose(out[:half], LOW_SCALE * convolved(x, LOW, 0), atol=1e-10)
        np.testing.assert_allclose(out[half:], HIGH_SCALE * convolved(x, HIGH, 1), atol=1e-10)


def random_axes(rng, n):
    return np.linalg.qr(rng.normal(size=(n, n)))[0]


SHAPES = [(1, 1), (1, 2), (2, 1), (1, 7), (13, 1), (3, 2), (17, 3), (64, 64), (31, 66)]


@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_synthesis_is_the_inverse_of_analysis(shape, n_channels):
    rng = np.random.default_rng(2)
    wavelet = Wavelet(rng.uniform(50, 200, n_channels), random_axes(rng, n_channels))
    image = rng.integers(0, 256, (*shape, n_channels)).astype(np.uint8)
    values = wavelet.analyse(image)
    assert values.dtype == np.float32 and values.shape == (image.size,)
    back = wavelet.synthesise(values, *shape)
    assert back.dtype == np.float32 and back.shape == image.shape
    # Numbers below 256 and some two hundred roundings of 2**-24 each, which mostly cancel.
    np.testing.assert_allclose(back, image, atol=5e-3)
    coefficients = rng.normal(0, 100, image.size).astype(np.float32)
    again = wavelet.analyse(wavelet.synthesise(coefficients, *shape))
    np.testing.assert_allclose(again, coefficients, atol=5e-3)


def test_one_pixel_by_hand():
    wavelet = Wavelet(np.array([1.0, 2.0]), np.array([[0.6, 0.8], [-0.8, 0.6]]))
    values = wavelet.analyse(np.array([[[6.0, 12.0]]]))
    # One level's low-pass basis function of a constant has norm sqrt(2) / K times that of it.
    scale = norm_of_low_pass() ** 2
    np.testing.assert_allclose(values, scale * np.array([11.0, 2.0]), rtol=1e-5)


def norm_of_low_pass():
    """Norm of the basis function of the coarsest low-pass coefficient, in one dimension."""
    x = np.zeros((16, 1))
    x[8] = 1
    for _ in range(LEVELS):
        x = merge(np.vstack([x, np.zeros_like(x)]))
    return np.sqrt((x**2).sum())


def plain(n_channels=1):
    return Wavelet(np.zeros(n_channels), np.eye(n_channels))


def test_basis_functions_have_norm_one():
    wavelet, side = plain(), 512
    layout = wavelet.layout(side, side)
    for plane in range(3 * LEVELS + 1):
        where, (height, width) = layout.symbols_of(plane)
        values = np.zeros(layout.n_symbols, dtype=np.float32)
        values[where.start + (height // 2) * width + width // 2] = 1
        image = wavelet.synthesise(values, side, side)
        assert abs(image[0]).max() == abs(image[:, 0]).max() == 0
        assert np.linalg.norm(image) == pytest.approx(1, abs=1e-4)


def test_errors_of_coefficients_are_errors_of_pixels():
    rng = np.random.default_rng(3)
    wavelet = Wavelet(np.zeros(3), random_axes(rng, 3))
    # Functions of norm one, cross terms that cancel, and borders, where functions are folded.
    noise = rng.normal(size=3 * 256**2).astype(np.float32)
    assert (wavelet.synthesise(noise, 256, 256) ** 2).mean() == pytest.approx(1, abs=0.03)
    pixels = rng.normal(size=(256, 256, 3)).astype(np.float32)
    # A dual of a function of norm one is at least as long, here a little longer.
    assert 1 < (wavelet.analyse(pixels) ** 2).mean() < 1.1


@pytest.mark.parametrize("shape", [(64, 64), (37, 50), (1, 20)])
def test_constant_images_have_only_low_passes(shape):
    wavelet = plain(2)
    values = wavelet.analyse(np.full((*shape, 2), 100.0) * [1, -2])
    (h, w), _ = band_shapes(*shape, LEVELS)
    low = values[: 2 * h * w].reshape(2, -1)
    scale = 100 * norm_of_low_pass() ** 2 * K ** (2 * LEVELS)
    if min(shape) > 1:
        np.testing.assert_allclose(low, np.outer([scale, -2 * scale], np.ones(h * w)), rtol=1e-5)
    # Sums of six levels grow like the low-pass values.
    assert abs(values[2 * h * w :]).max() <= 1e-5 * abs(low).max()


def test_orientations_and_levels_are_where_the_layout_says():
    # Stripes along columns of the finest scale are horizontal detail, HL, and so on.
    wavelet, side = plain(), 128
    layout = wavelet.layout(side, side)
    i, j = np.mgrid[:side, :side]
    for o, pattern in enumerate([j, i, i + j]):
        for level in (1, 2):
            image = np.cos(np.pi * (pattern // level + 0.0))[..., None]
            values = wavelet.analyse(image)
            energy = [(values[layout.symbols_of(p)[0]] ** 2).sum() for p in range(3 * LEVELS + 1)]
            if level == 1:
                assert np.argmax(energy) == 3 * LEVELS - 2 + o
                assert max(energy) > 0.95 * sum(energy)
            elif o < 2:
                assert np.argmax(energy) == 3 * LEVELS - 5 + o


def test_images_are_left_alone():
    wavelet = plain()
    image = np.random.default_rng(5).normal(size=(9, 8, 1)).astype(np.float32)
    values = wavelet.analyse(image)
    kept, before = image.copy(), values.copy()
    image.flags.writeable = values.flags.writeable = False
    np.testing.assert_array_equal(wavelet.analyse(image), before)
    wavelet.synthesise(values, 9, 8)
    np.testing.assert_array_equal(values, before)
    np.testing.assert_array_equal(image, kept)


def test_colour_axes_are_those_of_the_covariance():
    rng = np.random.default_rng(6)
    true = random_axes(rng, 3)
    images = [
        rng.normal(size=(h, w, 3)) * [5.0, 2.0, 0.7] @ true + [100, 50, 3]
        for h, w in ((90, 110), (60, 60), (1, 1))
    ]
    axes = colour_axes(iter(images))
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    # White pixels: differences have the covariance of pixels, twice. 13,500 of them.
    covariance = np.cov(np.concatenate([image.reshape(-1, 3) for image in images]).T)
    spread = np.linalg.eigvalsh(covariance)[::-1]
    np.testing.assert_allclose(np.diag(axes @ covariance @ axes.T), spread, rtol=0.01)
    np.testing.assert_allclose(abs(np.diag(axes @ true.T)), 1, atol=1e-3)
    assert (axes.sum(axis=1) >= 0).all()


def test_colour_axes_look_at_differences():
    # A colour that all pixels share is large and yet no axis; edges along one axis count.
    i, j = np.mgrid[:20, :30]
    image = np.zeros((20, 30, 3)) + [0, 1000.0, 0]
    image[..., 0] += 3 * (j % 2)
    image[..., 2] += 5 * (i % 2)
    np.testing.assert_allclose(colour_axes([image]), np.eye(3)[[2, 0, 1]], atol=1e-12)
    np.testing.assert_allclose(colour_axes([np.ones((4, 4, 1))]), [[1]])


@pytest.mark.parametrize("n_channels", [1, 2, 4])
def test_colour_axes_of_flat_images_are_orthonormal(n_channels):
    axes = colour_axes(
        [np.full((3, 3, n_channels), 9, dtype=np.uint8), np.ones((1, 1, n_channels))]
    )
    np.testing.assert_allclose(axes @ axes.T, np.eye(n_channels), atol=1e-12)
