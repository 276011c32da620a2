"""Distortions of whole images, by how they look: no sums over features, no noise models."""

from numbers import Integral

import numpy as np

from rdlearn._distortion import Distortion
from rdlearn._ms_ssim import TAPS, WEIGHTS, ms_ssim_samples, n_scales
from rdlearn._nlpd import nlpd_samples
from rdlearn.metrics import check_data_range, check_version

__all__ = ["NLPD", "ImageDistortion", "MultiScaleSSIM", "on_patches"]

# Values of a row block: its pyramids stay in the cache and their memory is used again.
BLOCK_VALUES = 1 << 16


class ImageDistortion(Distortion):
    """A distortion of rows that hold images of one shape; a subclass defines `_compare`."""

    def __init__(self, image_shape, data_range):
        self.image_shape = _image_shape(image_shape)
        self.data_range = check_data_range(data_range)

    def _compare(self, x, x_hat, with_gradient):
        """Loss of images (n, h, w, c), and its derivative by x_hat where asked for."""
        raise NotImplementedError

    def constants(self):
        return {"image_shape": self.image_shape, "data_range": self.data_range}

    def samples(self, x, x_hat):
        blocks = [self._compare(*block, False) for _, *block in self._blocks(x, x_hat)]
        return np.concatenate(blocks)

    def gradient(self, x, x_hat):
        return self.samples_and_gradient(x, x_hat)[1]

    def samples_and_gradient(self, x, x_hat):
        # Of integers too the slopes are fractions.
        dtype = np.result_type(x, x_hat, np.float32)
        samples, grad = np.empty(len(x)), np.empty(x.shape, dtype)
        for rows, *block in self._blocks(x, x_hat):
            samples[rows], slopes = self._compare(*block, True)
            grad[rows] = slopes.reshape(grad[rows].shape)
        return samples, grad

    def per_feature(self, x, x_hat):
        """The mean loss in equal shares, because no pixel has a loss of its own."""
        return np.full(x.shape[1], self.samples(x, x_hat).mean() / x.shape[1])

    def check(self, X, feature_names=None):
        h, w, c = self.image_shape
        if X.shape[1] != h * w * c:
            raise ValueError(
                f"The {self.name} distortion has image_shape={self.image_shape}, which makes "
                f"{h * w * c} features, but X has {X.shape[1]}: set image_shape to the (height, "
                "width, channels) of a row of X."
            )

    def _blocks(self, x, x_hat):
        step = max(1, BLOCK_VALUES // x.shape[1])
        for start in range(0, len(x), step):
            rows = slice(start, min(start + step, len(x)))
            shape = (rows.stop - start, *self.image_shape)
            yield rows, *(part[rows].reshape(shape) for part in (x, x_hat))


class MultiScaleSSIM(ImageDistortion):
    """One minus the multi-scale structural similarity of images, as `rdlearn.metrics.ms_ssim`.

    Between 0 and 1, with no noise model. A derivative is 0 for a channel whose structure is lost at
    some scale. No pixel has a loss of its own: `per_feature` shares the mean out equally.

    Parameters
    ----------
    image_shape : tuple of three int
        Height, width and channels of a row, in C order; sides of 11 at least. A side below 161
        leaves room for fewer than five scales, which `unit` then says.
    data_range : float
        Largest minus smallest possible value: 255 for 8-bit images, whose black is 0.

    Raises
    ------
    ValueError
        If a parameter is none of this.

    Examples
    --------
    >>> distortion = MultiScaleSSIM(image_shape=(28, 28, 1), data_range=255)
    >>> distortion.unit
    '1 - MS-SSIM at 2 scales'
    >>> x = np.arange(784.0).reshape(1, -1) % 256
    >>> distortion.samples(x, 255 - x).round(3)
    array([1.])
    """

    name = "ms_ssim"

    def __init__(self, image_shape, data_range):
        super().__init__(image_shape, data_range)
        if min(self.image_shape[:2]) < TAPS:
            raise ValueError(
                f"image_shape={self.image_shape} has a side below {TAPS}, the window of MS-SSIM; "
                "use larger images, or distortion='squared_error'."
            )

    @property
    def unit(self):
        scales = n_scales(*self.image_shape[:2])
        fewer = f" at {scales} scale{'s' if scales > 1 else ''}" if scales < len(WEIGHTS) else ""
        return f"1 - MS-SSIM{fewer}"

    def _compare(self, x, x_hat, with_gradient):
        result = ms_ssim_samples(x, x_hat, self.data_range, with_gradient)
        return (1 - result[0], -result[1]) if with_gradient else 1 - result


class NLPD(ImageDistortion):
    """Normalised Laplacian pyramid distance of images, as `rdlearn.metrics.nlpd`.

    It has no noise model. The derivative of a band of the pyramid without error is taken as 0. No
    pixel has a loss of its own: `per_feature` shares the mean out equally.

    Parameters
    ----------
    image_shape : tuple of three int
        Height, width and channels of a row, in C order.
    data_range : float
        The value of white: 255 for 8-bit images, whose black is 0.
    version : {2016, 2017}, default=2016
        As in `rdlearn.metrics.nlpd`.

    Raises
    ------
    ValueError
        If a parameter is none of this.

    Examples
    --------
    >>> x = np.arange(784.0).reshape(1, -1) % 256
    >>> NLPD(image_shape=(28, 28, 1), data_range=255).samples(x, x)
    array([0.])
    """

    name = "nlpd"

    def __init__(self, image_shape, data_range, version=2016):
        super().__init__(image_shape, data_range)
        self.version = check_version(version)

    @property
    def unit(self):
        return f"NLPD of {self.version}"

    def constants(self):
        return {**super().constants(), "version": self.version}

    def _compare(self, x, x_hat, with_gradient):
        return nlpd_samples(x, x_hat, self.data_range, self.version, with_gradient)


def on_patches(distortion, shape, share):
    """What a distortion of images is on patches of a shape, and its factor there.

    Losses add up over pixels, or over patches, each of which is a `share` of an image.
    """
    if not isinstance(distortion, ImageDistortion):
        return distortion, 1.0
    return type(distortion)(**{**distortion.constants(), "image_shape": shape}), share


def _image_shape(given):
    shape = tuple(given) if isinstance(given, list | tuple) else ()
    if len(shape) != 3 or not all(isinstance(side, Integral) and side > 0 for side in shape):
        raise ValueError(
            f"image_shape={given!r} must be three positive integers, (height, width, channels), "
            "such as (28, 28, 1)."
        )
    return tuple(map(int, shape))
