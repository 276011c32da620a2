"""Small fitted models of every kind, systematic changes of their files, and uses of what loads."""

import copy
import warnings

import numpy as np
import pandas as pd

from rdlearn import (
    DBNBlahutArimoto,
    EchoAutoencoder,
    EchoClassifier,
    PCACodec,
    RestrictedBoltzmannMachine,
    UniformNoiseCodec,
    VariationalAutoencoder,
)
from rdlearn.distortions import Hamming

DELETED = object()
PLAIN = [DELETED, None, True, False, "", "x", [], {}, 0, -1, 1, 3, 2**31, 2**32, 2**63, 10**30]
PLAIN += [0.5, -0.5, 1e-320, 1e200, -1e200, float("inf"), float("-inf"), float("nan"), 1.0, [1, 2]]
PLAIN += [{"a": 1}, ["x"], np.zeros(0), np.zeros(2), np.zeros((2, 2)), np.array(1.0)]
PLAIN += [np.array(["x"], dtype=object)]
# Names of dtypes that pandas knows, and of options that other estimators have.
NAMES = ["datetime64[ns]", "timedelta64[ns]", "category", "object", "string", "complex128"]
NAMES += ["float16", "Int64", "boolean", "Sparse[int]", "interval", "period[D]", "U1000000000"]
NAMES += ["S2147483647", "V10", "datetime64[ns, UTC]", "i4,i4", "float64", "x" * 100_000, "sample"]
NAMES += ["hamming", "bernoulli", "ms_ssim", "absolute_error", "conv", "wavelet", "dense", "iaf"]
KINDS = ["f4", "f8", "i4", "i8", "u1", "u8", "b1"]
WILD = [0, -1, 1, 127, 2**31 - 1, 1e-320, 1e30, -1e30, 1e200, -1e200, np.inf, -np.inf, np.nan]


def models():
    """Functions that fit a model, by name; each returns it, rows, and what decodes beside it."""
    rng = np.random.default_rng(0)
    X = rng.laplace(size=(60, 3)) @ rng.normal(size=(3, 3))
    frame = pd.DataFrame(X, columns=list("abc")).astype({"b": "float32"})
    frame["c"] = np.rint(X[:, 2] * 20).astype(np.int16)
    bits = (rng.random((60, 6)) < 0.3).astype(float)
    grey = rng.integers(0, 255, (4, 16 * 16)).astype(float)
    side = rng.normal(size=(60, 2))
    nets = {"hidden_layer_sizes": (5,), "max_iter": 2, "random_state": 0}
    image = {"image_shape": (16, 16, 1), "data_range": 255.0, "beta": 0.01, "context": "causal"}
    conv = {"architecture": "conv", **image, **nets, "patch_size": 16}
    dbn = {"random_state": 0, "max_iter": 1, "n_gibbs": 1, "fine_tune_epochs": 1}

    def uniform(n=2, X=X, **params):
        return UniformNoiseCodec(n, **params).fit(X), X, {}

    def fitted(codec, X=X, **beside):
        return codec.fit(X, **beside), X, beside

    return {
        "pca": lambda: fitted(PCACodec(beta=3.0, standardize=True), frame),
        "pca_bits": lambda: fitted(PCACodec(n_bits=2)),
        "pca_trellis": lambda: fitted(PCACodec(beta=20.0, quantizer="trellis")),
        "pca_hamming": lambda: fitted(PCACodec(beta=3.0, distortion="hamming"), bits),
        "echo": lambda: fitted(EchoAutoencoder(2, **nets), side_information=side),
        "echo_frame": lambda: fitted(EchoAutoencoder(2, standardize=True, **nets), frame),
        "echo_bits": lambda: fitted(
            EchoAutoencoder(2, distortion="bernoulli", binarize="sample", **nets), bits
        ),
        "echo_terms": lambda: fitted(EchoAutoencoder(2, noise_terms=20, **nets)),
        "vae": lambda: fitted(VariationalAutoencoder(2, **nets)),
        "iaf": lambda: fitted(VariationalAutoencoder(2, flow="iaf", n_flow_steps=1, **nets)),
        "classifier": lambda: (
            EchoClassifier(2, n_draws=2, **nets).fit(frame, np.tile(["a", "b", "c"], 20)),
            frame,
            {},
        ),
        "rbm": lambda: fitted(
            RestrictedBoltzmannMachine(3, max_iter=1, random_state=0, binarize=0.5), bits
        ),
        "dbn": lambda: fitted(DBNBlahutArimoto(3, **dbn), bits),
        "dbn_deep": lambda: fitted(DBNBlahutArimoto(3, hidden_layer_sizes=(4,), **dbn), bits),
        "dbn_barred": lambda: fitted(
            DBNBlahutArimoto(3, distortion=Hamming(a=np.inf), **dbn), bits
        ),
        "uniform": lambda: uniform(**nets),
        "uniform_causal": lambda: uniform(context="causal", X=frame, standardize=True, **nets),
        "uniform_centers": lambda: uniform(quantizer="centers", **nets),
        "uniform_trellis": lambda: uniform(quantizer="trellis", context="causal", **nets),
        "wavelet": lambda: uniform(X=grey, architecture="wavelet", **image),
        "wavelet_trellis": lambda: uniform(
            X=grey, architecture="wavelet", quantizer="trellis", **image
        ),
        "conv": lambda: uniform(X=grey, **conv),
        "conv_centers": lambda: uniform(X=grey, quantizer="centers", **conv),
        "conv_similar": lambda: uniform(X=grey, distortion="ms_ssim", **conv),
    }


def fit(name):
    """A model of `models`, its rows and its decoder's inputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return models()[name]()


def places(state, path=()):
    """Paths of all entries of nested dictionaries and lists."""
    entries = state.items() if isinstance(state, dict) else enumerate(state)
    for key, value in entries:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def entry(state, path):
    for key in path:
        state = state[key]
    return state


def changes(value):
    """What an entry of a model's state may be replaced by."""
    yield from PLAIN
    if isinstance(value, str | list):
        yield from NAMES
    if isinstance(value, list) and value:
        yield from ([name] * len(value) for name in NAMES)
        yield from (value[:-1], value * 2)
    if isinstance(value, np.ndarray):
        yield from arrays(value)


def arrays(array):
    """Arrays of wrong dtypes, shapes and values."""
    yield from (array[None], array.ravel()[:-1], np.repeat(array, 2))
    if array.ndim:
        yield from (array[:-1], np.concatenate([array, array[:1]]), array[::-1].copy())
    if array.dtype == object:
        return
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield from (array.astype(kind) for kind in KINDS)
        if array.size:
            for wild in WILD:
                changed = array.copy()
                changed.flat[array.size // 2] = np.array(wild).astype(array.dtype)
                yield changed
                yield np.full_like(array, np.array(wild).astype(array.dtype))


def changed(state, path, value):
    """A copy of a state in which an entry is another, or gone where `value` is DELETED."""
    state = copy.deepcopy(state)
    holder = entry(state, path[:-1])
    if value is DELETED:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return state


def uses(codec, X, beside):
    """Functions of no argument that ask a loaded model for everything it can do, by name."""
    kept = {}

    def keep(name, work):
        kept[name] = work()

    def coded(name):
        return kept[name] if name in kept else np.zeros((2, codec._n_features_out))

    yield "columns", codec.get_feature_names_out
    yield "repr", lambda: repr(codec)
    if hasattr(codec, "_history"):
        yield "history", lambda: codec.history_
    yield "transform", lambda: keep("Z", lambda: codec.transform(X))
    if hasattr(codec, "inverse_transform"):
        yield "inverse", lambda: codec.inverse_transform(coded("Z"), **beside)
    for name in ("reconstruct", "mean_distortion", "score", "psnr_db"):
        if hasattr(codec, name) and not (name == "score" and hasattr(codec, "predict")):
            yield name, lambda name=name: getattr(codec, name)(X, **beside)
    for name in ("rate", "predict", "predict_proba", "reproduce", "score_samples", "gibbs"):
        if hasattr(codec, name):
            yield name, lambda name=name: getattr(codec, name)(X)
    if hasattr(codec, "sample"):
        yield "sample", lambda: codec.sample(3, n_gibbs=2, random_state=0)
    annealing = {"n_particles": 20, "n_steps": 5}
    if hasattr(codec, "log_partition"):
        yield "log_partition", lambda: codec.log_partition(**annealing)
    if hasattr(codec, "estimate_rate_distortion"):
        yield "estimate of", lambda: codec.estimate_rate_distortion(X[:5], **annealing)
    if getattr(codec, "n_centers_", 0) is None and hasattr(codec, "params_"):
        yield "noisy", lambda: codec.mean_distortion(X, view="noisy")
    if hasattr(codec, "sample_codes"):
        yield "sample_codes", lambda: codec.sample_codes(X, random_state=0)
    if hasattr(codec, "set_noise_pool"):
        yield "set_noise_pool", lambda: copy.deepcopy(codec).set_noise_pool(X)
    if hasattr(codec, "rate_distortion_estimate_"):
        yield "estimate", lambda: codec.rate_distortion_estimate_
    if hasattr(codec, "compress"):
        yield "fingerprint", lambda: codec.fingerprint
        yield "compress", lambda: keep("bytes", lambda: codec.compress(X))
        yield "decompress", lambda: codec.decompress(kept.get("bytes", b""), as_frame=True)
    if hasattr(codec, "joint_quantizers_"):
        yield "jointly", lambda: codec.decompress(codec.compress(X, joint=True))
    if hasattr(codec, "encode_image"):
        image = np.arange(12 * 20, dtype=np.uint8).reshape(12, 20)
        yield "encode", lambda: keep("image", lambda: codec.encode_image(image))
        yield "decode", lambda: codec.decode_image(kept.get("image", b""))
        yield "search", lambda: codec.encode_image(image, search_steps=1)
