"""Fits estimators on the CPU and on a simulated GPU; prints how they differ and what waited.

Started by test_cuda.py in a process of its own, with the simulator switched on.
"""

import json
import sys

import cupy_stand_in
import numpy as np
import quick_simulator
from sklearn.base import clone

from rdlearn import (
    DBNBlahutArimoto,
    EchoAutoencoder,
    EchoClassifier,
    RestrictedBoltzmannMachine,
    UniformNoiseCodec,
    VariationalAutoencoder,
)
from rdlearn._minibatch import Schedule
from rdlearn.distortions import NLPD

RNG = np.random.default_rng(0)
X = RNG.standard_normal((12, 4)).astype(np.float32)
BITS = (RNG.random((12, 5)) < 0.4).astype(np.float32)
LABELS = RNG.integers(0, 2, 12)
IMAGES = 255 * RNG.random((4, 8 * 8)).astype(np.float32)
NET = {"hidden_layer_sizes": (3,), "batch_size": 6, "max_iter": 2, "random_state": 0}
IMAGE = {"architecture": "conv", "image_shape": (8, 8, 1), "batch_size": 2, "beta": 1e-3}
EPOCHS = {"max_iter": 2, "random_state": 0}
SHORT = {"n_epochs": 1, "n_gibbs": 1, "fine_tune_epochs": 2}
RATE = Schedule.learning_rate
OWN = NLPD(image_shape=(2, 2, 1), data_range=9)

CASES = {
    "echo": (EchoAutoencoder(2, **NET), X),
    "echo, published": (EchoAutoencoder(2, noise_terms=5, **NET), X),
    "echo, target": (EchoAutoencoder(2, target_rate=2.0, **{**NET, "max_iter": 4}), X),
    "echo, validated": (EchoAutoencoder(2, early_stopping=True, **NET), X),
    "echo, bits drawn": (
        EchoAutoencoder(2, distortion="bernoulli", binarize="sample", **NET),
        BITS * 0.8,
    ),
    "echo, classes": (EchoClassifier(2, **NET), X, {"y": LABELS}),
    "echo, sides": (EchoAutoencoder(2, **NET), X, {"side_information": LABELS[:, None] * 1.0}),
    # By numpy on the host, as a distortion of a user's own.
    "on the host": (UniformNoiseCodec(2, distortion=OWN, **NET), X),
    "weights": (UniformNoiseCodec(2, **NET), X, {"distortion_weight": 1.0 + LABELS}),
    "gaussian": (VariationalAutoencoder(2, **NET), X),
    "flow": (VariationalAutoencoder(2, flow="iaf", n_flow_steps=1, **NET), X),
    "uniform noise": (UniformNoiseCodec(2, **NET), X),
    "centers": (UniformNoiseCodec(2, quantizer="centers", n_centers=3, **NET), X),
    "convolutions": (UniformNoiseCodec(2, **{**NET, **IMAGE}), IMAGES),
    "lost": (EchoAutoencoder(2, **NET), X),
    "machine": (RestrictedBoltzmannMachine(3, gradient="pcd", **EPOCHS), BITS),
    "machine, exact": (RestrictedBoltzmannMachine(3, gradient="exact", **EPOCHS), BITS),
    "belief net": (
        DBNBlahutArimoto(3, hidden_layer_sizes=(4,), encoder_search=None, **SHORT, **EPOCHS),
        BITS,
    ),
}


def losing(rate):
    """A schedule that loses the fit after its first epoch."""
    return lambda self, step, n_steps: np.inf if 2 * step >= n_steps else rate(self, step, n_steps)


def main(folder, names):
    quick_simulator.install()
    cupy_stand_in.install()
    from rdlearn.kernels import cpu, cuda, get_ops

    # One set of operations: an algorithm that runs on one device runs on the other.
    assert set(cpu.__all__) == set(cuda.__all__) and get_ops("auto") is cuda
    for number, name in enumerate(names or CASES):
        estimator, data, *more = CASES[name]
        given = more[0] if more else {}
        Schedule.learning_rate = losing(RATE) if name == "lost" else RATE
        ours = clone(estimator).fit(data, **given)
        cupy_stand_in.WAITS.update(dict.fromkeys(cupy_stand_in.WAITS, 0))
        theirs = clone(estimator).set_params(device="cuda").fit(data, **given)
        waits = dict(cupy_stand_in.WAITS)
        one, other = (
            np.concatenate([model.history_[c].to_numpy(float) for c in model.history_])
            for model in (ours, theirs)
        )
        worst = float(np.max(abs(one - other) / (1e-3 + abs(one))))
        path = f"{folder}/{number}"
        theirs.save(f"{path}.rdl")
        np.savez(path, data=data, code=theirs.transform(data))
        print(json.dumps([name, worst, waits, len(theirs.history_), path]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
