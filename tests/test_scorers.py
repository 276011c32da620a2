import math
import pickle

import numpy as np
import pytest
import toy_codec
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    QuantileTransformer,
    StandardScaler,
)
from toy_codec import Quartic, ToyCodec, squared

from rdlearn.distortions import get_distortion
from rdlearn.model_selection import lowest_distortion, lowest_rate, rd_scorer, rd_scoring

X, frame = toy_codec.X, toy_codec.frame


# Scoring


@pytest.mark.parametrize("distortion", ["squared_error", "absolute_error", Quartic()])
@pytest.mark.parametrize("trained_on", ["squared_error", "absolute_error"])
def test_scoring_measures_by_the_distortion_it_names(X, distortion, trained_on):
    codec = ToyCodec(beta=2.0, distortion=trained_on).fit(X)
    error = np.abs(X - codec.reconstruct(X))
    power = {"squared_error": 2, "absolute_error": 1}.get(distortion, 4)
    assert rd_scoring(distortion)(codec, X) == pytest.approx(
        {
            "rate_bits": codec.rate(X),
            "distortion": (error**power).sum(axis=1).mean(),
            "score": codec.score(X),
        }
    )


@pytest.mark.parametrize("output", ["default", "pandas"])
@pytest.mark.parametrize("as_frame", [False, True])
@pytest.mark.parametrize("nested", [False, True])
def test_scoring_measures_a_pipeline_in_its_input_space(X, frame, output, as_frame, nested):
    scaler, codec = StandardScaler(), ToyCodec(beta=4.0)
    steps = [scaler, make_pipeline(codec)] if nested else [scaler, codec]
    pipe = make_pipeline(*steps).set_output(transform=output)
    data = frame if as_frame else X
    pipe.fit(data)

    mean, std = X.mean(axis=0), X.std(axis=0)
    rows = (X - mean) / std
    step = math.sqrt(6 / 4.0)
    symbols = np.round(rows / step)
    x_hat = symbols * step * std + mean
    rate = (1 + 2 * np.log2(1 + np.abs(symbols))).sum(axis=1).mean()
    score = -(rate * math.log(2) + squared(rows, symbols * step))
    expected = {"rate_bits": rate, "distortion": squared(X, x_hat), "score": score}
    assert rd_scoring()(pipe, data) == pytest.approx(expected)
    assert squared(X, x_hat) > 2 * squared(rows, symbols * step)
    price = rd_scorer(0.3)(pipe, data)
    assert price == pytest.approx(-(rate * math.log(2) + 0.3 * squared(X, x_hat)))


@pytest.mark.parametrize(
    "step",
    [
        "passthrough",
        MinMaxScaler(),
        PCA(n_components=2),
        QuantileTransformer(n_quantiles=20),
        FunctionTransformer(np.sinh, np.arcsinh),
        make_pipeline(StandardScaler(), PCA(n_components=2)),
    ],
    ids=lambda step: step if isinstance(step, str) else type(step).__name__,
)
@pytest.mark.parametrize("output", ["default", "pandas"])
def test_scoring_goes_back_through_any_invertible_step(frame, step, output):
    pipe = Pipeline([("step", step), ("codec", ToyCodec(beta=1e12))]).set_output(transform=output)
    result = rd_scoring()(pipe.fit(frame), frame)
    fitted = pipe[0]
    x_hat = frame
    if fitted != "passthrough":
        x_hat = fitted.inverse_transform(fitted.transform(frame))
    assert result["distortion"] == pytest.approx(squared(frame, x_hat), abs=1e-5)


def test_scoring_of_one_step_pipelines_and_of_integers(X):
    codec = ToyCodec(beta=2.0).fit(X)
    assert rd_scoring()(Pipeline([("only", codec)]), X) == rd_scoring()(codec, X)
    counts = np.arange(30, dtype=np.uint8).reshape(10, 3)
    codec = ToyCodec(beta=0.01).fit(counts)
    expected = squared(counts.astype(float), codec.reconstruct(counts))
    assert rd_scoring()(codec, counts)["distortion"] == pytest.approx(expected)


def test_hamming_is_measured_on_the_bits_that_binarize_makes(X):
    codec = ToyCodec(beta=1.0, binarize=2.0).fit(X)  # a step of 2.4: all ones are lost
    assert rd_scoring("hamming")(codec, X)["distortion"] == pytest.approx((X > 2).sum() / len(X))
    codec = ToyCodec(beta=6.0, binarize=2.0).fit(X)  # a step of 1: nothing is lost
    assert rd_scoring("hamming")(codec, X)["distortion"] == 0
    with pytest.raises(ValueError, match="takes only the values 0 and 1"):
        rd_scoring("hamming")(ToyCodec().fit(X), X)


def test_hamming_rounds_the_reconstruction():
    X = np.array([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    codec = ToyCodec(beta=200.0).fit(X)  # errors of a few hundredths, none past a half
    assert squared(X, codec.reconstruct(X)) > 0
    assert rd_scoring("hamming")(codec, X)["distortion"] == 0


def test_scoring_without_a_noise_model_has_no_score(X):
    assert math.isnan(rd_scoring()(ToyCodec(distortion=Quartic()).fit(X), X)["score"])


def test_scoring_refuses_what_it_cannot_measure(X):
    scoring = rd_scoring()
    with pytest.raises(TypeError, match="codec or a Pipeline that ends in one"):
        scoring(PCA().fit(X), X)
    with pytest.raises(TypeError, match="codec or a Pipeline"):
        scoring(make_pipeline(StandardScaler(), PCA()).fit(X), X)
    no_inverse = Pipeline([("rows", OneWay()), ("codec", ToyCodec())]).fit(X)
    with pytest.raises(TypeError, match=r"one of \['rows'\] has none"):
        scoring(no_inverse, X)
    for make in (rd_scoring, lambda name: rd_scorer(1.0, name)):
        with pytest.raises(ValueError, match="distortion must be one of"):
            make("euclid")


class OneWay(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return X


@pytest.mark.parametrize("slope", [0.0, -1.0, math.inf, math.nan])
def test_scorer_refuses_a_slope(slope):
    with pytest.raises(ValueError, match="slope must be positive and finite"):
        rd_scorer(slope)


def test_scorer_prefers_the_step_that_its_slope_pays_for(X):
    grid = {"beta": [0.01, 0.1, 1.0, 10.0, 100.0]}
    chosen = [
        GridSearchCV(ToyCodec(), grid, scoring=rd_scorer(slope), cv=3).fit(X).best_params_["beta"]
        for slope in (0.001, 0.3, 100.0)
    ]
    assert chosen == sorted(chosen) and len(set(chosen)) == 3
    scores = cross_val_score(ToyCodec(), X, scoring=rd_scorer(2.0), cv=KFold(3))
    for score, (train, test) in zip(scores, KFold(3).split(X), strict=True):
        codec = ToyCodec().fit(X[train])
        loss = squared(X[test], codec.reconstruct(X[test]))
        assert score == pytest.approx(-(codec.rate(X[test]) * math.log(2) + 2.0 * loss))


@pytest.mark.parametrize(
    "made",
    [
        rd_scoring("absolute_error"),
        rd_scoring(get_distortion("hamming")),
        rd_scorer(2.5),
        lowest_distortion(3.0),
        lowest_rate(0.5),
    ],
    ids=repr,
)
def test_what_a_search_takes_can_be_pickled_and_cloned(made):
    assert pickle.loads(pickle.dumps(made)) == made
    assert clone(made, safe=False) == made


# Budgets


RESULTS = {
    "params": [{"beta": beta} for beta in (0.1, 0.2, 0.3, 0.4, 0.5)],
    "mean_test_rate_bits": np.array([4.0, 2.0, np.nan, 1.0, 3.0]),
    "mean_test_distortion": np.array([0.1, 0.5, 0.0, 0.9, 0.5]),
}


@pytest.mark.parametrize(
    "refit, best",
    [
        (lowest_distortion(10.0), 0),
        (lowest_distortion(4.0), 0),
        (lowest_distortion(3.9), 1),  # as good as candidate 4, and cheaper
        (lowest_distortion(1.5), 3),
        (lowest_rate(1.0), 3),
        (lowest_rate(0.9), 3),
        (lowest_rate(0.6), 1),
        (lowest_rate(0.2), 0),
    ],
    ids=repr,
)
def test_budgets(refit, best):
    assert refit(RESULTS) == best


def test_budget_ties():
    tied = {"mean_test_rate_bits": [2.0, 2.0, 2.0], "mean_test_distortion": [0.5, 0.3, 0.3]}
    assert lowest_rate(1.0)(tied) == 1
    assert lowest_distortion(2.0)(tied) == 1
    assert isinstance(lowest_rate(1.0)(tied), int)


@pytest.mark.parametrize(
    "refit, message",
    [
        (lowest_distortion(0.5), r"rate_bits <= 0.5; the nearest is \{'beta': 0.4\} with .*= 1\."),
        (lowest_rate(0.01), r"distortion <= 0.01; the nearest is \{'beta': 0.1\} with .*= 0.1\."),
    ],
    ids=repr,
)
def test_a_budget_nobody_meets(refit, message):
    with pytest.raises(ValueError, match=message):
        refit(RESULTS)


def test_budgets_name_what_is_missing():
    with pytest.raises(ValueError, match="no mean_test_rate_bits: run .* scoring=rd_scoring"):
        lowest_rate(1.0)({"mean_test_distortion": [1.0]})
    with pytest.raises(ValueError, match="no mean_test_distortion"):
        lowest_distortion(1.0)({"mean_test_rate_bits": [1.0]})
    failed = {"mean_test_rate_bits": [np.nan], "mean_test_distortion": [np.nan]}
    with pytest.raises(ValueError, match="all their fits failed"):
        lowest_distortion(1.0)(failed)
