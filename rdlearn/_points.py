"""What is measured of a fitted codec: one point of a curve."""

import contextlib
import math

import numpy as np
from sklearn.utils import check_array

from rdlearn._persistence import pack
from rdlearn._saving import SavingMixin
from rdlearn.metrics import psnr_db

__all__ = ["description_length", "measure"]


def measure(codec, X, data_range):
    """A row of `rate_distortion_path`: what a fitted codec takes and loses on X."""
    x = check_array(X, dtype=(np.float64, np.float32))
    n_samples, n_features = x.shape
    rate, distortion = codec.rate(X), codec.mean_distortion(X)
    if data_range is None:
        data_range = getattr(codec, "data_range", None)
    psnr = math.nan
    if data_range is not None:
        psnr = psnr_db(np.mean((x - codec.reconstruct(X)) ** 2, dtype=np.float64), data_range)
    compressed = hasattr(codec, "compress")
    return {
        "n_components": len(codec.get_feature_names_out()),
        "rate_bits": rate,
        "rate_bits_per_feature": rate / n_features,
        "distortion": distortion,
        "distortion_per_feature": distortion / n_features,
        "score": description_length(codec, X, {}),
        "psnr_db": psnr,
        "bytes_per_sample": len(codec.compress(X)) / n_samples if compressed else math.nan,
        "model_bytes": _model_bytes(codec) if compressed else math.nan,
    }


def _model_bytes(codec):
    if isinstance(codec, SavingMixin):
        with contextlib.suppress(ValueError):  # a RandomState among the parameters is not saved
            return len(pack(codec._to_state()))
    return math.nan


def description_length(codec, X, inputs):
    """The codec's score, NaN where its distortion has no noise model."""
    return codec.score(X, **inputs) if codec.distortion_.has_noise_model else math.nan
