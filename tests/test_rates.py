"""What `rate` says is what `compress` writes, on rows like those of training and on any others."""

from pathlib import Path

import numpy as np
import pytest
from stream_bytes import split_stream

from rdlearn import PCACodec, UniformNoiseCodec, load
from rdlearn.coding import container

N = 20_000
NETS = {"hidden_layer_sizes": (), "max_iter": 3, "random_state": 0, "beta": 1.0}
# Codecs, and how many states their entropy coders have. A state's first bits hold nothing; of the
# others, 16 at most are empty, and the last word is not full.
CODECS = {
    "scalar": (PCACodec(target_rate=20), 8, 24),
    "trellis": (PCACodec(target_rate=20, quantizer="trellis"), 8, 24),
    "columns": (UniformNoiseCodec(8, context="none", **NETS), 8, 24),
    "causal": (UniformNoiseCodec(8, context="causal", **NETS), 1, 32),
    "few centres": (UniformNoiseCodec(8, quantizer="centers", context="causal", **NETS), 1, 32),
    "causal trellis": (UniformNoiseCodec(8, quantizer="trellis", context="causal", **NETS), 1, 32),
}


def table():
    rng = np.random.default_rng(0)
    return (rng.laplace(size=(N, 8)) @ rng.normal(size=(8, 8))).astype(np.float32)


def miss(codec, X, n_states, empty):
    """Bits written, but for the states' fixed cost, less those that `rate` says; and the latter."""
    blob = codec.compress(X)
    _, chunks = split_stream(blob)
    written = 8 * sum(map(len, chunks)) - len(chunks) * n_states * empty
    said = codec.rate(X) * len(X)
    return written - said, said


@pytest.mark.parametrize("name", CODECS)
def test_rates_are_the_bits_that_are_written(name):
    codec, n_states, empty = CODECS[name]
    X = table()
    codec = codec.fit(X)
    spread = X.std(axis=0)
    rows = {
        "training": (X, 0.001),
        "shifted": (X + 1.5 * spread, 0.005),
        "far": (X + 6 * spread, 0.005),
        "constant": (np.repeat(X[:1], N, axis=0), 0.005),
        "mean": (np.repeat(X.mean(axis=0, keepdims=True), N, axis=0), 0.005),
    }
    for kind, (some, share) in rows.items():
        excess, said = miss(codec, some, n_states, empty)
        assert -share * said <= excess <= share * said + 16 * n_states + 16, (kind, excess, said)


def test_rates_of_bits_are_no_more_than_raw_chunks(monkeypatch):
    codec = load(Path(__file__).parent / "golden" / "belief_net.model")
    rng = np.random.default_rng(1)
    strange = (rng.random((40_000, 16)) < 0.5).astype(np.float32)
    bits = codec.rate_samples(strange)
    order = np.argsort(bits, kind="stable")
    # Half of the chunks hold words that the model expects least.
    monkeypatch.setattr(container, "MAX_VALUES", 16 * 5000)
    X = np.concatenate([strange[order[:10_000]], strange[order[-10_000:]]])
    assert bits[order[-10_000:]].mean() > codec.n_components_ * 1.1
    written = 8 * sum(map(len, split_stream(codec.compress(X))[1]))
    assert codec.rate(X) * len(X) == pytest.approx(written, rel=0.005)
    assert codec.rate(X) < codec.rate_samples(X).mean() * 0.97
