"""BlahutArimoto: curves from samples and from laws, blocks, matrices, refusals."""

import numpy as np
import pytest

from rdlearn import BlahutArimoto, blahut_arimoto

HAMMING = 1.0 - np.eye(2)


def test_curve_from_samples_and_from_probabilities():
    x = np.random.default_rng(0).integers(4, size=500)
    from_samples = BlahutArimoto(betas=[3.0, 0.5]).fit(x)
    symbols, counts = np.unique(x, return_counts=True)
    from_law = BlahutArimoto(betas=[0.5, 3.0]).fit(symbols, sample_weight=counts / 500)
    for name in from_samples.curve_:
        assert from_samples.curve_[name].tolist() == from_law.curve_[name].tolist()
    assert from_samples.curve_["beta"].tolist() == [0.5, 3.0]
    for point, row in zip(from_law.points_, from_law.curve_.itertuples(), strict=True):
        alone = blahut_arimoto(counts / 500, (symbols[:, None] - symbols) ** 2, point.beta)
        assert row.upper_bound == pytest.approx(alone.upper_bound, abs=2e-9)
        assert row.lower_bound <= row.upper_bound == point.upper_bound
        assert row.rate_bits == point.rate_bits and row.converged


def test_the_default_curve_goes_from_next_to_nothing_to_nearly_all():
    for scale in (1e-6, 1.0, 1e6):
        x = scale * np.random.default_rng(0).normal(size=100).round(1)
        curve = BlahutArimoto().fit(x).curve_
        values, counts = np.unique(x, return_counts=True)
        entropy = -(counts / 100 * np.log2(counts / 100)).sum()
        assert len(curve) == 20 and curve["rate_bits"].is_monotonic_increasing
        assert curve["distortion"].is_monotonic_decreasing
        assert curve["rate_bits"].iloc[0] < 0.1 < 0.6 * entropy < curve["rate_bits"].iloc[-1]


def test_blocks_of_bits():
    # Independent bits: a block costs what its bits cost.
    rng = np.random.default_rng(0)
    blocks = (np.arange(16)[:, None] >> np.arange(4)) & 1
    weights = np.prod(np.where(blocks, 0.2, 0.8), axis=1)
    order = rng.permutation(16)
    curve = BlahutArimoto([1.0, 3.0], distortion="hamming")
    curve.fit(blocks[order], sample_weight=weights[order])
    one = [blahut_arimoto([0.8, 0.2], HAMMING, beta) for beta in (1.0, 3.0)]
    np.testing.assert_allclose(curve.curve_["rate_bits"], [4 * o.rate_bits for o in one], atol=1e-5)
    assert curve.symbols_.shape == (16, 4) and curve.curve_.attrs["distortion"] == "hamming"


def test_reproductions_and_matrices():
    x = np.repeat([0.0, 1.0, 5.0], [5, 3, 2])
    few = BlahutArimoto([2.0], distortion="absolute_error", reproductions=[0.5, 5.0]).fit(x)
    matrix = [[0.5, 5.0], [0.5, 4.0], [4.5, 0.0]]
    np.testing.assert_array_equal(few.distortion_matrix_, matrix)
    told = BlahutArimoto([2.0], distortion=matrix).fit(np.repeat(["a", "b", "c"], [5, 3, 2]))
    assert told.curve_["upper_bound"].tolist() == few.curve_["upper_bound"].tolist()
    assert told.symbols_.ravel().tolist() == ["a", "b", "c"]


@pytest.mark.parametrize(
    "params, X, words",
    [
        ({"betas": [-1.0]}, [0, 1], r"betas=\[-1.0\] must be finite numbers, 0 or more"),
        ({"betas": []}, [0, 1], "must be finite numbers"),
        (
            {"distortion": 1.0 - np.eye(2)},
            [0, 1, 2],
            r"shape \(2, 2\), but X has 3 distinct symbols",
        ),
        ({"distortion": HAMMING, "reproductions": [0]}, [0, 1], "both given"),
        ({"reproductions": [[0, 1]]}, [0, 1], "reproductions have 2 columns, but X has 1"),
        ({"distortion": "hamming"}, [0, 3], "hamming"),
        ({"distortion": "cosine"}, [0, 3], "cosine"),
        ({}, [0, np.nan], "contains NaN"),
        ({"tol": 0.0}, [0, 1], "'tol' parameter"),
        ({"betas": 3.0}, [0, 1], "'betas' parameter"),
    ],
)
def test_unusable_tables_and_parameters_are_named(params, X, words):
    with pytest.raises(ValueError, match=words):
        BlahutArimoto(**params).fit(X)


def test_weights_must_be_some():
    for weights in ([-1, 2], [0, 0]):
        with pytest.raises(ValueError, match="must be 0 or more|non-zero"):
            BlahutArimoto([1.0]).fit([0, 1], sample_weight=weights)


def test_symbols_may_be_objects_and_large_integers():
    import pandas as pd

    matrix = np.array([[0.0, 1, 2], [1, 0, 1], [2, 1, 0]])
    names = np.repeat(["a", "b", "c"], [5, 3, 2])
    plain = BlahutArimoto([2.0], distortion=matrix).fit(names)
    for X in (names.astype(object), pd.Series(names), pd.DataFrame({"s": names})):
        other = BlahutArimoto([2.0], distortion=matrix).fit(X)
        assert other.curve_["rate_bits"].equals(plain.curve_["rate_bits"])
    near = BlahutArimoto([1.0], distortion=HAMMING).fit([2**60, 2**60 + 1])
    assert len(near.symbols_) == 2


def test_the_default_curve_of_negative_losses():
    curve = BlahutArimoto(distortion=[[-1.0, 0.0], [0.0, -1.0]]).fit([0, 1, 1]).curve_
    plain = BlahutArimoto(distortion=HAMMING).fit([0, 1, 1]).curve_
    np.testing.assert_allclose(curve["rate_bits"], plain["rate_bits"], atol=1e-6)
    np.testing.assert_allclose(curve["distortion"] + 1, plain["distortion"], atol=1e-6)


def test_reproductions_must_be_what_the_distortion_takes():
    with pytest.raises(ValueError, match="hamming distortion takes only.*contains 5"):
        BlahutArimoto([1.0], distortion="hamming", reproductions=[[5.0], [1.0]]).fit([0, 1])
