"""Measures of quality over a known data range."""

import math
from numbers import Real

import numpy as np

from rdlearn._ms_ssim import TAPS, ms_ssim_samples
from rdlearn._nlpd import VERSIONS, nlpd_samples

__all__ = ["ms_ssim", "nlpd", "psnr", "psnr_db"]

# Its square is a float, as are products of that.
LARGEST_RANGE = 1e75


def psnr(x, x_hat, *, data_range):
    """Peak signal-to-noise ratio of two images in dB, infinite where they are equal.

    Parameters
    ----------
    x, x_hat : array-like of one shape
        Images or any other arrays; all values count alike.
    data_range : float
        Largest minus smallest possible value: 255 for 8-bit images. Nothing guesses it.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Shapes differ or are empty, values are no numbers, or `data_range` is not positive.

    Examples
    --------
    >>> round(psnr([0, 255], [1, 253], data_range=255), 3)
    44.151
    """
    x, x_hat = np.asarray(x, dtype=np.float64), np.asarray(x_hat, dtype=np.float64)
    if x.shape != x_hat.shape or x.size == 0:
        raise ValueError(
            f"Arrays of shapes {x.shape} and {x_hat.shape} must have one shape and hold values."
        )
    _check_numbers(x, x_hat)
    return psnr_db(float(np.mean(np.square(x - x_hat))), check_data_range(data_range))


def psnr_db(mean_squared_error, data_range):
    """Peak signal-to-noise ratio in dB, ``10 log10(data_range**2 / mean_squared_error)``.

    Parameters
    ----------
    mean_squared_error : float
        Mean over all values, not summed over features.
    data_range : float
        Largest minus smallest possible value.

    Returns
    -------
    float, infinite without error

    Examples
    --------
    >>> round(psnr_db(6.5025, 255), 6)
    40.0
    """
    if not 0 <= mean_squared_error:
        raise ValueError(
            f"mean_squared_error={mean_squared_error!r} must be a number of 0 or more."
        )
    if mean_squared_error == 0:
        return math.inf
    # The square of an extreme range is no float.
    return 20 * math.log10(data_range) - 10 * math.log10(mean_squared_error)


def ms_ssim(x, x_hat, *, data_range):
    """Multi-scale structural similarity of two images: 1 where they are equal.

    With a Gaussian window of 11 taps and deviation 1.5, contrast and structure at five scales and
    luminance at the last; colour channels on their own, averaged. An image with a side below 161
    has room for fewer scales, whose weights then sum to one; such values do not compare with those
    of larger images.

    Parameters
    ----------
    x, x_hat : array-like of shape (height, width) or (height, width, channels)
        Sides of 11 at least.
    data_range : float
        Largest minus smallest possible value: 255 for 8-bit images. Nothing guesses it.

    Returns
    -------
    float in [0, 1]

    Raises
    ------
    ValueError
        Shapes differ or are too small, or `data_range` is not positive.

    References
    ----------
    Wang, Simoncelli and Bovik, "Multi-scale structural similarity for image quality assessment",
    Asilomar 2003.

    Examples
    --------
    >>> x = np.add.outer(np.arange(32), np.arange(32)) % 7 * 30
    >>> float(ms_ssim(x, x, data_range=255)), round(ms_ssim(x, x // 50 * 50, data_range=255), 4)
    (1.0, 0.9678)
    """
    x, x_hat = _images(x, x_hat)
    check_data_range(data_range)
    if min(x.shape[1:3]) < TAPS:
        raise ValueError(
            f"MS-SSIM slides a window of {TAPS} pixels, but the image is {x.shape[1]} x "
            f"{x.shape[2]}; use psnr, or larger images."
        )
    return float(ms_ssim_samples(x, x_hat, data_range)[0])


def nlpd(x, x_hat, *, data_range, version=2016):
    """Normalised Laplacian pyramid distance of two images: 0 where they are equal.

    Root mean squared differences of the bands of a Laplacian pyramid of six levels, each divided by
    a local mean of magnitudes. 2016: weights fitted to natural images, of luma in [0, 1], averaged
    over levels. 2017: of a display's light through the eye's compression, pooled with exponent 0.6.
    Colour channels on their own, averaged.

    Parameters
    ----------
    x, x_hat : array-like of shape (height, width) or (height, width, channels)
    data_range : float
        The value of white: 255 for 8-bit images, where black is 0.
    version : {2016, 2017}, default=2016

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Shapes differ, `data_range` is not positive, or there is no such version.

    References
    ----------
    Laparra, Balle, Berardino and Simoncelli, "Perceptual image quality assessment using a
    normalized Laplacian pyramid", Electronic Imaging 2016; Laparra, Berardino, Balle and
    Simoncelli, "Perceptually optimized image rendering", JOSA A 2017.

    Examples
    --------
    >>> x = np.add.outer(np.arange(32), np.arange(32)) % 7 * 30
    >>> nlpd(x, x, data_range=255)
    0.0
    """
    x, x_hat = _images(x, x_hat)
    check_data_range(data_range)
    return float(nlpd_samples(x, x_hat, data_range, check_version(version))[0])


def check_data_range(data_range):
    """A positive float, or ValueError."""
    fits = isinstance(data_range, Real) and 0 < data_range < math.inf
    # By logarithms: a whole number may be no float, and the bound is none of 32 bits.
    if not fits or math.log10(data_range) > math.log10(LARGEST_RANGE):
        raise ValueError(
            f"data_range={data_range!r} must be the positive distance from the smallest to the "
            f"largest possible value, {LARGEST_RANGE:g} at most: 255 for 8-bit images."
        )
    return float(data_range)


def check_version(version):
    """A version of the distance, or ValueError."""
    if version not in VERSIONS:
        raise ValueError(f"version={version!r} of nlpd must be 2016 or 2017, a number.")
    return int(version)


def _images(x, x_hat):
    """Both as (1, height, width, channels)."""
    x, x_hat = np.asarray(x), np.asarray(x_hat)
    if x.shape != x_hat.shape or x.ndim not in (2, 3) or x.size == 0:
        raise ValueError(
            f"Images of shapes {x.shape} and {x_hat.shape} must have one shape, (height, width) "
            "or (height, width, channels)."
        )
    _check_numbers(x, x_hat)
    return tuple(image.reshape(1, *image.shape[:2], -1) for image in (x, x_hat))


def _check_numbers(*images):
    for name, image in zip(("x", "x_hat"), images, strict=True):
        if not np.isfinite(image).all():
            raise ValueError(f"{name} holds NaN or infinity; quality is of finite numbers.")
