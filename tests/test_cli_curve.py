"""What `rdlearn curve` and `compress` say about scores and the bytes of models."""

import os
import re

import command_line
import numpy as np
import pandas as pd
import pytest
from command_line import run
from scipy.stats import norm
from sklearn.model_selection import KFold

from rdlearn import PCACodec, load
from rdlearn._curve_command import score_of_nothing
from rdlearn.model_selection import rate_distortion_path

folder, frame, model = command_line.folder, command_line.frame, command_line.model


@pytest.mark.parametrize("codec", ["pca", "uniform"])
def test_a_code_that_keeps_nothing_is_not_marked(folder, capsys, codec):
    # Columns that have nothing in common: a code cannot say both more briefly than each alone.
    X = np.random.default_rng(0).normal(size=(300, 5))
    np.save("t.npy", X)
    prices = [0.6, 3] if codec == "uniform" else [0.6, 0.7, 3, 30]
    status, out, _ = run(capsys, "curve", "t.npy", "--codec", codec, "--beta", *prices)
    assert status == 0 and "*" not in out and "best" not in out
    nothing = float(re.search(r"keeping nothing .* scores (-[\d.]+)\s+nats", out)[1])
    # By the normal law, in cells as wide as the smallest gap.
    scores = []
    for train, test in KFold(3, shuffle=True, random_state=0).split(X):
        mean = X[train].mean(axis=0)
        scale = np.sqrt(np.mean((X[train] - mean) ** 2))
        gap = np.diff(np.sort(X[train], axis=0), axis=0).min(axis=0)
        assert (gap < 1e-3).all()  # so narrow that density times width is the cell's probability
        gap = np.maximum(gap, 1e-6 * X[train].std(axis=0))
        scores.append((norm.logpdf(X[test], mean, scale) + np.log(gap)).sum(axis=1).mean())
    assert nothing == pytest.approx(np.mean(scores), abs=0.02)


def test_a_code_that_says_what_columns_share_is_marked(folder, capsys):
    Z = np.random.default_rng(0).normal(size=(300, 1))
    X = Z + 0.1 * np.random.default_rng(1).normal(size=(300, 5))
    np.save("t.npy", X)
    out = run(capsys, "curve", "t.npy", "--beta", 0.01, 10, 100)[1]
    assert "* best score, at beta = " in out and "nothing" not in out


@pytest.mark.parametrize(
    ("distortion", "standardize"),
    [
        ("squared_error", False),
        ("squared_error", True),
        ("absolute_error", True),
        ("hamming", False),
        ("bernoulli", False),
    ],
)
def test_the_score_of_nothing_is_that_of_an_empty_code(distortion, standardize):
    bits = (np.random.default_rng(0).random((240, 4)) < [0.1, 0.3, 0.6, 0.5]).astype(float)
    folds = KFold(3, shuffle=True, random_state=0)
    codec = PCACodec(beta=1e-9, distortion=distortion, standardize=standardize)
    with pytest.warns(UserWarning, match="The code takes 0 bits"):
        table = rate_distortion_path(codec, bits, [1e-9], cv=folds)
    assert table["rate_bits"][0] == 0
    nothing = score_of_nothing(bits, folds, distortion, standardize)
    assert nothing == pytest.approx(table["score"][0], rel=1e-6)


def test_the_bytes_of_models_stand_beside_those_of_rows(model, frame, capsys):
    args = ["curve", "t.csv", "--beta", 9, 90, "--standardize", "--out", "c.csv"]
    out = run(capsys, *args)[1]
    saved = pd.read_csv("c.csv")["model_bytes"]
    low, high = int(saved.min()), int(saved.max())
    assert f"model of PCACodec: {low} to {high} bytes as saved, not in bytes_per_sample." in out
    # A curve for each width, and codes without bytes.
    args = ["curve", "t.csv", "--beta", 9, "--standardize", "--n-components", 2, 3]
    out = run(capsys, *args, "--codec", "pca", "echo")[1]
    assert re.findall("model of (.*):", out) == [f"PCACodec, {n} components" for n in (2, 3)]


def test_model_bytes_are_those_of_the_file(tmp_path):
    X = np.random.default_rng(0).normal(size=(200, 3))
    table = rate_distortion_path(PCACodec(), X, [3.0, 30.0])
    for row in table.itertuples():
        PCACodec(beta=row.beta).fit(X).save(tmp_path / "m.rdl")
        assert row.model_bytes == os.path.getsize(tmp_path / "m.rdl")
    unsaved = PCACodec(random_state=np.random.RandomState(0))
    assert rate_distortion_path(unsaved, X, [3.0])["model_bytes"].isna().all()


def test_compress_counts_the_model_too(model, capsys):
    out = run(capsys, "compress", "--model", "m.rdl", "t.csv", "out.rd")[1]
    table, data, codec = (os.path.getsize(name) for name in ("t.csv", "out.rd", "m.rdl"))
    assert f"{table / data:.4g} to 1; {table / (data + codec):.4g} to 1 with the model's" in out
    assert f"model's {codec} bytes" in out and load("m.rdl")
