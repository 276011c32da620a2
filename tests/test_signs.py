"""Columns that keep to one side of 0 in training: no reconstruction lies on the other side."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from rdlearn import (
    CorruptStreamError,
    EchoAutoencoder,
    PCACodec,
    UniformNoiseCodec,
    VariationalAutoencoder,
    _persistence,
    load,
)

NET = {"hidden_layer_sizes": (8,), "max_iter": 3, "random_state": 0, "beta": 0.05}
CODECS = {
    "pca": PCACodec(2, target_rate=2.0),
    "standardized": PCACodec(target_rate=3.0, standardize=True),
    "n_bits": PCACodec(3, n_bits=3),
    "trellis": PCACodec(target_rate=3.0, quantizer="trellis"),
    "uniform": UniformNoiseCodec(2, **NET),
    "centers": UniformNoiseCodec(2, quantizer="centers", **NET),
    "echo": EchoAutoencoder(2, **NET),
    "variational": VariationalAutoencoder(2, standardize=True, **NET),
}
# Exponential, the same mirrored, mixed, counts, all zeros.
SIGNS = np.array([1, -1, 0, 1, 1], dtype=np.int8)


def table(seed, n=400):
    rng = np.random.default_rng(seed)
    common = rng.exponential(size=n)
    return np.stack(
        [
            common * rng.exponential(size=n),
            -common * rng.exponential(size=n) ** 2,
            rng.normal(size=n) + common - 1,
            rng.poisson(0.4 * common),
            np.zeros(n),
        ],
        axis=1,
    )


def unclipped(codec, X):
    """What the codec would reconstruct without signs."""
    codec.sign_, signs = np.zeros_like(codec.sign_), codec.sign_
    try:
        return codec.reconstruct(X)
    finally:
        codec.sign_ = signs


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", CODECS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_columns_keep_their_sign_and_nothing_else_changes(name, dtype):
    crossed = 0
    for seed in range(3):
        X = table(seed).astype(dtype)
        codec = clone(CODECS[name]).fit(X)
        np.testing.assert_array_equal(codec.sign_, SIGNS)
        assert codec.sign_.dtype == np.int8
        # Of held-out rows too, and of rows beyond the range.
        for rows in (X, table(seed + 100).astype(dtype), 3 * X - 1):
            free, back = unclipped(codec, rows), codec.reconstruct(rows)
            assert back.dtype == dtype
            wrong = free * SIGNS < 0
            crossed += wrong.sum()
            assert not (back * SIGNS < 0).any() and not back[wrong].any()
            np.testing.assert_array_equal(back[~wrong], free[~wrong])
        if hasattr(codec, "compress"):
            back = codec.inverse_transform(codec.transform(X))
            assert codec.decompress(codec.compress(X)).tobytes() == back.tobytes()
            np.testing.assert_array_equal(
                codec.inverse_transform(codec.transform(X[7:9])), back[7:9]
            )
            # What is measured is what comes back, and no value on its side is further off.
            lost = [
                np.sum(((X - x) / codec._units()) ** 2, axis=1).mean()
                for x in (back, unclipped(codec, X))
            ]
            assert codec.mean_distortion(X) == pytest.approx(lost[0], rel=1e-5)
            assert lost[0] <= lost[1]
        else:
            assert not (codec.inverse_transform(codec.transform(3 * X - 1)) * SIGNS < 0).any()
    assert crossed > 30


@pytest.mark.parametrize("target", [0.5, 2.0, 4.0])
@pytest.mark.parametrize("quantizer", ["scalar", "trellis"])
def test_targets_are_met_by_what_is_kept_to_its_side(quantizer, target):
    X = np.random.default_rng(0).exponential(size=(3000, 6)) ** 2
    goal = target / 8 * X.var(axis=0).sum()
    codec = PCACodec(target_distortion=goal, quantizer=quantizer).fit(X)
    assert 0.98 * goal <= codec.mean_distortion(X) <= goal
    joint = {"joint": True} if quantizer == "trellis" else {}
    assert codec.decompress(codec.compress(X, **joint)).min() >= 0


def test_every_piece_of_a_table_has_its_say():
    X = table(0)
    pieces = X[:200].copy(), X[200:].copy()
    pieces[0][:, 2] = np.abs(pieces[0][:, 2])
    pieces[0][:, 3] = 0
    pieces[1][:, 3] *= -1
    codec = PCACodec(target_rate=3.0)
    codec.partial_fit(pieces[0])
    assert codec.sign_.tolist() == [1, -1, 1, 1, 1]
    codec.partial_fit(pieces[1])
    assert codec.sign_.tolist() == [1, -1, 0, -1, 1]
    # A new fit forgets.
    assert codec.fit(-X).sign_.tolist() == [-1, 1, 0, -1, 1]


@pytest.mark.parametrize("name", ["pca", "uniform", "echo"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_signs_are_part_of_the_model(name, tmp_path):
    X, path = table(1), tmp_path / "model.rdl"
    codec = clone(CODECS[name]).fit(X)
    codec.save(path)
    back = load(path)
    np.testing.assert_array_equal(back.sign_, SIGNS)
    np.testing.assert_array_equal(back.reconstruct(X), codec.reconstruct(X))
    if hasattr(codec, "compress"):
        blob = codec.compress(X)
        np.testing.assert_array_equal(back.decompress(blob), codec.decompress(blob))
        back.sign_ = np.zeros(5, dtype=np.int8)
        with pytest.raises(CorruptStreamError, match="another model"):
            back.decompress(blob)
    state = _persistence.read(path)
    for wrong in (SIGNS[:4], SIGNS.astype(np.int64), 2 * SIGNS, SIGNS[None], None):
        bad = {**state, "fitted": {**state["fitted"], "sign_": wrong}}
        if wrong is None:
            del bad["fitted"]["sign_"]
        _persistence.write(path, bad)
        with pytest.raises(CorruptStreamError):
            load(path)


@pytest.mark.parametrize("name", ["pca", "uniform", "echo"])
def test_values_on_the_other_side_are_warned_of(name):
    X = table(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        codec = clone(CODECS[name]).fit(pd.DataFrame(X, columns=list("abcde")))
    other = pd.DataFrame(X.copy(), columns=list("abcde"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        codec.rate(other)
    calls = [codec.rate, codec.transform, codec.mean_distortion, codec.score]
    calls += [codec.compress] if hasattr(codec, "compress") else []
    for column, value, word in (("a", -0.5, "below"), ("b", 0.5, "above")):
        wrong = other.copy()
        wrong.loc[7, column] = value
        for call in calls:
            with pytest.warns(UserWarning, match=f"Column '{column}' holds values {word} 0"):
                call(wrong)
