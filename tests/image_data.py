"""Smooth random images, and small codecs of them."""

import functools

import numpy as np
from scipy.ndimage import gaussian_filter

from rdlearn import UniformNoiseCodec

SHAPE = (32, 48, 3)


def fields(n, shape, seed=0):
    """Smooth random images (n, *shape) of integers of 0 to 255, float64."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=(n, *shape)), (0, 3, 3, 0.7), mode="wrap")
    smooth -= smooth.mean(axis=(1, 2, 3), keepdims=True)
    level = rng.normal(128, 20, size=(n, 1, 1, 1))
    return np.clip(np.rint(level + 45 * smooth / max(smooth.std(), 1e-9)), 0, 255)


def image(height, width, *channels, seed=1):
    shape = (height, width, *(channels or (1,)))
    return fields(1, shape, seed)[0].astype(np.uint8).reshape(height, width, *channels)


KINDS = {
    "wavelet": {"architecture": "wavelet", "beta": 0.1},
    "grey wavelet": {"architecture": "wavelet", "beta": 0.1, "image_shape": (32, 48, 1)},
    "wavelet of 0 to 1": {"architecture": "wavelet", "beta": 6000.0, "data_range": 1.0},
    "conv": {"beta": 0.01},
    "grey conv": {"beta": 0.01, "image_shape": (32, 48, 1)},
    "conv of 0 to 1": {"beta": 3.0, "data_range": 1.0, "distortion": "absolute_error"},
}


@functools.cache
def fitted(kind):
    standard = {"architecture": "conv", "image_shape": SHAPE, "context": "causal"}
    standard |= {"hidden_layer_sizes": (8,), "patch_size": 32, "max_iter": 12, "random_state": 0}
    codec = UniformNoiseCodec(6, learning_rate_init=0.01, **standard | KINDS[kind])
    X = fields(24, codec.image_shape).reshape(24, -1) / (255 if codec.data_range else 1)
    return codec.fit(X.astype(np.float32))


def stretched(kind):
    """What a model calls white, as a part of 255."""
    return np.float32(1 / 255 if fitted(kind).data_range else 1)
