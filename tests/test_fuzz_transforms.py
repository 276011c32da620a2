"""The mutants of test_fuzz, for transform codes: streams, images and model files."""

import warnings
from collections import Counter

import numpy as np
import pytest
from test_fuzz import (
    hostile_model,
    hostile_stream,
    memory_below,
    model_outcome,
    mutate,
    outcome,
    traced,
)

from rdlearn import UniformNoiseCodec, load
from rdlearn.exceptions import CorruptStreamError

__all__ = ["traced"]

# Of each codec of tables, and of images, which take longer.
N_STREAMS, N_MODELS = (300, 100), (150, 80)
SHAPE = (5, 8, 3)
NET = {"hidden_layer_sizes": (4,), "max_iter": 2, "random_state": 0}
IMAGES = {"image_shape": SHAPE, "patch_size": 16, "context": "causal"}
CODECS = {
    "none": UniformNoiseCodec(2, beta=30.0, **NET),
    "causal": UniformNoiseCodec(3, beta=30.0, context="causal", **NET),
    "centers": UniformNoiseCodec(2, beta=3.0, quantizer="centers", n_centers=4, **NET),
    "trellis": UniformNoiseCodec(2, beta=30.0, quantizer="trellis", **NET),
    "wavelet": UniformNoiseCodec(architecture="wavelet", beta=0.3, **IMAGES),
    "wavelet, trellis": UniformNoiseCodec(
        architecture="wavelet", beta=0.3, quantizer="trellis", **IMAGES
    ),
    "conv": UniformNoiseCodec(2, architecture="conv", beta=0.3, **IMAGES, **NET),
}


@pytest.fixture(scope="module", params=CODECS)
def fitted(request):
    rng = np.random.default_rng(0)
    if CODECS[request.param].architecture == "dense":
        X = rng.laplace(0, 1, (150, 3)) @ rng.normal(0, 1, (3, 3))
    else:
        X = np.clip(rng.normal(128, 40, (6, 1)) + rng.normal(0, 9, (6, 120)), 0, 255).round()
    with warnings.catch_warnings():
        # Rates far outside 0.01 to 16 bits per feature are the point here.
        warnings.simplefilter("ignore", UserWarning)
        codec = CODECS[request.param].fit(X)
    for dtype in (np.float32, np.float64):
        # Compile before memory is measured.
        codec.decompress(codec.compress(X.astype(dtype)))
    return codec, X


def test_streams(fitted):
    codec, X = fitted
    data = codec.compress(X, chunk_rows=len(X) // 3)
    assert outcome(codec, data) == "array"
    rng = np.random.default_rng(1)
    n = N_STREAMS[codec.architecture != "dense"]
    for _ in range(n // 4):
        damaged = mutate(rng, data)
        if damaged != data:
            assert outcome(codec, damaged) == "container"
    seen = Counter(outcome(codec, hostile_stream(rng, data)) for _ in range(n))
    assert min(seen["container"], seen["decoder"], seen["array"]) > 5, seen


def image_outcome(path, size):
    """A model that loads codes images and decodes them, or says why not."""
    try:
        codec = load(path)
    except CorruptStreamError:
        return "refused"
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
    try:
        blob = codec.encode_image(x)
    except ValueError:
        return "says why not"
    with memory_below((1 << 20) + 100 * x.size * 16**2):
        assert codec.decode_image(blob).shape == x.shape
    return "codes"


def test_models(fitted, tmp_path):
    codec, X = fitted
    path = tmp_path / "model.rdl"
    codec.save(path)
    blob, stream = path.read_bytes(), codec.compress(X, chunk_rows=len(X) // 3)
    assert model_outcome(path, blob, X, stream) == "codes"
    rng = np.random.default_rng(3)
    n = N_MODELS[codec.architecture != "dense"]
    for _ in range(n // 4):
        damaged = mutate(rng, blob)
        if damaged != blob:
            assert model_outcome(path, damaged, X, stream) == "refused"
    seen, images = Counter(), Counter()
    for _ in range(n):
        hostile = hostile_model(rng, blob)
        seen[model_outcome(path, hostile, X, stream)] += 1
        if codec.architecture != "dense":
            images[image_outcome(path, (9, 11))] += 1
    assert min(seen["refused"], seen["codes"]) > n // 12, seen
    if codec.architecture != "dense":
        assert min(images["refused"], images["codes"]) > n // 12, images
