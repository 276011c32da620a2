"""Fits on a GPU against fits on the CPU: simulated everywhere, in earnest where there is one."""

import pickle

import numpy as np
import pytest
from cuda_processes import MISSING, lines_of
from sklearn.base import clone

import rdlearn
from rdlearn import (
    DBNBlahutArimoto,
    EchoAutoencoder,
    RestrictedBoltzmannMachine,
    UniformNoiseCodec,
    VariationalAutoencoder,
)

ON_GPU = pytest.mark.skipif(MISSING is not None, reason=f"no GPU: needs {MISSING}")


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    folder = str(tmp_path_factory.mktemp("models"))
    return {name: rest for name, *rest in lines_of("cuda_fits.py", folder, simulator=True)}


FITS = [
    "belief net",
    "centers",
    "convolutions",
    "echo",
    "echo, bits drawn",
    "echo, classes",
    "echo, published",
    "echo, sides",
    "echo, target",
    "echo, validated",
    "flow",
    "gaussian",
    "lost",
    "machine",
    "machine, exact",
    "on the host",
    "uniform noise",
    "weights",
]


@pytest.mark.parametrize("name", FITS)
def test_fits_agree_on_both_devices(fits, name):
    difference, waits, n_epochs, path = fits[name]
    assert difference <= 0.01
    # The model is the same thing wherever it was fitted: here there is no device.
    stored = np.load(f"{path}.npz")
    np.testing.assert_array_equal(
        rdlearn.load(f"{path}.rdl").transform(stored["data"]), stored["code"]
    )
    # Weights at the end of each epoch, and of each of a belief net's machines.
    assert name == "on the host" or waits["to host"] <= n_epochs + 4


@pytest.mark.parametrize("name", ["echo", "flow", "gaussian", "uniform noise"])
def test_within_an_epoch_nothing_comes_back(fits, name):
    _, waits, n_epochs, _ = fits[name]
    # Two numbers an epoch, of two steps each; weights at its end, and once at the end of all.
    assert waits == {"number": 2 * n_epochs, "to host": n_epochs + 1}


def test_every_fit_is_looked_at(fits):
    assert sorted(fits) == FITS


SIZES = {"hidden_layer_sizes": (50,), "max_iter": 10, "random_state": 0}
ESTIMATORS = [
    EchoAutoencoder(8, beta=0.02, **SIZES),
    VariationalAutoencoder(8, beta=0.02, **SIZES),
    VariationalAutoencoder(8, beta=0.02, flow="iaf", **SIZES),
    UniformNoiseCodec(8, beta=0.02, **SIZES),
    UniformNoiseCodec(8, beta=0.02, quantizer="centers", **SIZES),
    UniformNoiseCodec(
        8,
        architecture="conv",
        image_shape=(8, 8, 1),
        data_range=16,
        beta=0.1,
        **{**SIZES, "hidden_layer_sizes": (8,)},
    ),
    DBNBlahutArimoto(8, binarize=7.5, max_iter=5, random_state=0),
]


@pytest.mark.gpu
@ON_GPU
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda model: type(model).__name__)
def test_rate_and_distortion_agree_on_a_gpu(digits, estimator):
    both = [clone(estimator).set_params(device=device).fit(digits) for device in ("cpu", "cuda")]
    rates, losses = (
        [getattr(model, name)(digits) for model in both] for name in ("rate", "mean_distortion")
    )
    np.testing.assert_allclose(*rates, rtol=0.01)
    np.testing.assert_allclose(*losses, rtol=0.01)
    again = clone(both[1]).fit(digits)
    np.testing.assert_array_equal(again.transform(digits), both[1].transform(digits))
    if hasattr(estimator, "compress"):
        model = pickle.loads(pickle.dumps(both[1])).set_params(device="cpu")
        np.testing.assert_array_equal(
            model.decompress(both[1].compress(digits)), both[1].reconstruct(digits)
        )


@pytest.mark.gpu
@ON_GPU
@pytest.mark.parametrize("gradient", ["cd", "pcd"])
def test_machines_agree_on_a_gpu(digits, gradient):
    model = RestrictedBoltzmannMachine(
        10, gradient=gradient, binarize=7.5, max_iter=5, random_state=0
    )
    scores = [
        clone(model).set_params(device=device).fit(digits).score(digits)
        for device in ("cpu", "cuda")
    ]
    np.testing.assert_allclose(*scores, rtol=0.01)


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    return load_digits().data.astype(np.float32)
