"""What fits of images refuse or warn of."""

import pytest
from image_data import SHAPE, fields, fitted
from sklearn.base import clone

from rdlearn import UniformNoiseCodec


@pytest.mark.parametrize(
    "factor, shift, data_range",
    [(1 / 255, 0, None), (1 / 255, 0, 255), (1, 0, 1), (1, -128, 255), (2, 0, None)],
)
def test_a_data_range_that_contradicts_the_images(factor, shift, data_range):
    X = fields(4, SHAPE).reshape(4, -1) * factor + shift
    codec = UniformNoiseCodec(
        architecture="wavelet", image_shape=SHAPE, data_range=data_range, beta=0.1 / factor**2
    )
    with pytest.warns(UserWarning, match=f"data_range={data_range} takes 0 for black and"):
        codec.fit(X)


def test_stacks_of_images_are_told_how_to_be_rows():
    stack = fields(4, SHAPE)
    with pytest.raises(ValueError, match=r"X.reshape\(4, -1\) and image_shape=\(32, 48, 3\)"):
        clone(fitted("wavelet")).fit(stack)


@pytest.mark.parametrize("beta", [1.0, 1e-3])
def test_prices_beyond_all_steps(beta):
    X = fields(4, (32, 32, 1)).reshape(4, -1)
    codec = UniformNoiseCodec(
        architecture="wavelet",
        image_shape=(32, 32, 1),
        data_range=255,
        distortion="ms_ssim",
        beta=beta,
    )
    with pytest.warns(UserWarning, match=f"beta={beta:g} leads to the coarsest step"):
        codec.fit(X)
