import math
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    QuantileTransformer,
    StandardScaler,
)
from sklearn.utils.validation import check_is_fitted, validate_data

from rdlearn import PCACodec
from rdlearn.distortions import Distortion, get_distortion
from rdlearn.model_selection import (
    bd_rate,
    curve_table,
    lowest_distortion,
    lowest_rate,
    rate_distortion_path,
    rd_scorer,
    rd_scoring,
)


class ToyCodec(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Centred uniform quantiser; 1 + 2 log2(1 + |symbol|) bits a symbol, 2 bytes a symbol."""

    def __init__(
        self,
        beta=1.0,
        distortion="squared_error",
        binarize=None,
        data_range=None,
        target_rate=None,
        fail_below=0.0,
        warm_start=False,
    ):
        self.beta = beta
        self.distortion = distortion
        self.binarize = binarize
        self.data_range = data_range
        self.target_rate = target_rate
        self.fail_below = fail_below
        self.warm_start = warm_start

    def fit(self, X, y=None):
        if self.beta < self.fail_below:
            raise ValueError("beta is too small for this codec")
        X = validate_data(self, X)
        visited = self.visited_ if self.warm_start and hasattr(self, "visited_") else ()
        self.visited_ = (*visited, self.beta)
        self.mean_ = X.mean(axis=0) if self.binarize is None else np.zeros(X.shape[1])
        self.step_ = math.sqrt(6.0 / self.beta)
        self.beta_ = self.beta
        self.distortion_ = get_distortion(self.distortion)
        self._n_features_out = X.shape[1]
        return self

    def _rows(self, X):
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        return X if self.binarize is None else (X > self.binarize).astype(float)

    def transform(self, X):
        return np.round((self._rows(X) - self.mean_) / self.step_) * self.step_

    def inverse_transform(self, Z):
        return np.asarray(Z) + self.mean_

    def reconstruct(self, X):
        return self.inverse_transform(self.transform(X))

    def rate(self, X):
        symbols = np.abs(np.round((self._rows(X) - self.mean_) / self.step_))
        return (1 + 2 * np.log2(1 + symbols)).sum(axis=1).mean()

    def distortion_samples(self, X):
        return self.distortion_.samples(self._rows(X), self.reconstruct(X))

    def mean_distortion(self, X):
        return self.distortion_samples(X).mean()

    def score(self, X, y=None):
        return -(self.rate(X) * math.log(2) + self.distortion_samples(X).mean())

    def compress(self, X):
        return b"head" + np.round(self.transform(X) / self.step_).astype("<i2").tobytes()


class PlainCodec(ToyCodec):
    """Without warm_start and without bytes."""

    compress = property()

    def __init__(self, beta=1.0, distortion="squared_error"):
        super().__init__(beta, distortion)

    @classmethod
    def _get_param_names(cls):
        return ["beta", "distortion"]


class Quartic(Distortion):
    name, unit = "quartic", "summed fourth powers"

    def elementwise(self, x, x_hat):
        return (x - x_hat) ** 4


def squared(x, x_hat):
    return float(((np.asarray(x) - np.asarray(x_hat)) ** 2).sum(axis=1).mean())


@pytest.fixture
def X():
    rng = np.random.default_rng(0)
    return rng.normal(size=(90, 3)) * [1.0, 3.0, 0.2] + [5.0, -1.0, 2.0]


@pytest.fixture
def frame(X):
    return pd.DataFrame(X, columns=["a", "b", "c"], index=np.arange(len(X))[::-1])


# rate_distortion_path


@pytest.mark.parametrize("as_frame", [False, True])
def test_path_rows_are_the_codec_itself(X, as_frame):
    data = pd.DataFrame(X, columns=list("abc")) if as_frame else X
    table = rate_distortion_path(ToyCodec(), data, [10.0, 0.5, 3.0], data_range=8.0)
    assert table["beta"].tolist() == [0.5, 3.0, 10.0]
    assert table["codec"].unique().tolist() == ["ToyCodec"]
    assert table["n_components"].tolist() == [3, 3, 3]
    assert table["n_components"].dtype == int
    assert table.attrs == {"distortion": "squared_error", "distortion_unit": "summed squared units"}
    for row in table.itertuples():
        codec = ToyCodec(beta=row.beta).fit(X)
        assert row.rate_bits == pytest.approx(codec.rate(X))
        assert row.rate_bits_per_feature == pytest.approx(codec.rate(X) / 3)
        assert row.distortion == pytest.approx(squared(X, codec.reconstruct(X)))
        assert row.distortion_per_feature == pytest.approx(row.distortion / 3)
        assert row.score == pytest.approx(codec.score(X))
        mse = np.mean((X - codec.reconstruct(X)) ** 2)
        assert row.psnr_db == pytest.approx(10 * math.log10(64.0 / mse))
        assert row.bytes_per_sample == pytest.approx((4 + 90 * 3 * 2) / 90)
        assert row.fit_seconds > 0


def test_path_uses_the_named_distortion_and_the_test_data(X):
    codec = ToyCodec(distortion="absolute_error").fit(X[:50])
    table = rate_distortion_path(codec, X[:50], [2.0], X_test=X[50:])
    own = ToyCodec(beta=2.0).fit(X[:50])
    loss = np.abs(X[50:] - own.reconstruct(X[50:])).sum(axis=1).mean()
    assert table["distortion"][0] == pytest.approx(loss)
    assert table["rate_bits"][0] == pytest.approx(own.rate(X[50:]))
    assert table.attrs["distortion"] == "absolute_error"


def test_path_starts_warm_in_ascending_order_and_leaves_the_codec_alone(X):
    visits = []

    class Recording(ToyCodec):
        def rate(self, X):
            visits.append(self.visited_)
            return super().rate(X)

    codec = Recording(beta=7.0)
    rate_distortion_path(codec, X, [3.0, 1.0, 2.0])
    assert visits[-1] == (1.0, 2.0, 3.0)
    assert codec.get_params() == Recording(beta=7.0).get_params()
    assert not hasattr(codec, "visited_")


def test_path_of_a_codec_without_warm_start_and_bytes(X):
    table = rate_distortion_path(PlainCodec(), X, [1.0, 2.0])
    assert table["bytes_per_sample"].isna().all() and table["psnr_db"].isna().all()
    assert not [name for name in table if name.endswith("_std")]


def test_path_takes_data_range_from_the_codec_and_the_argument_wins(X):
    from_codec = rate_distortion_path(ToyCodec(data_range=2.0), X, [1.0])["psnr_db"][0]
    given = rate_distortion_path(ToyCodec(data_range=2.0), X, [1.0], data_range=20.0)["psnr_db"][0]
    assert given - from_codec == pytest.approx(20.0)


def test_path_without_a_noise_model_or_without_error():
    X = np.array([[-1.0, 1.0], [1.0, -1.0]]) * math.sqrt(6)
    table = rate_distortion_path(ToyCodec(distortion=Quartic()), X, [1.0], data_range=1.0)
    assert math.isnan(table["score"][0])
    assert table["psnr_db"][0] == math.inf
    assert table.attrs["distortion_unit"] == "summed fourth powers"


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("as_frame", [False, True])
def test_path_cv_is_mean_and_deviation_over_held_out_folds(X, frame, as_frame, n_jobs):
    cv = KFold(4, shuffle=True, random_state=1)
    with joblib.parallel_config(backend="threading"):
        table = rate_distortion_path(
            ToyCodec(), frame if as_frame else X, [0.5, 5.0], cv=cv, n_jobs=n_jobs
        )
    for row in table.itertuples():
        folds = []
        for train, test in cv.split(X):
            codec = ToyCodec(beta=row.beta).fit(X[train])
            x = X[test]
            folds.append([codec.rate(x), squared(x, codec.reconstruct(x)), codec.score(x)])
        means, stds = np.mean(folds, axis=0), np.std(folds, axis=0)
        np.testing.assert_allclose([row.rate_bits, row.distortion, row.score], means)
        np.testing.assert_allclose([row.rate_bits_std, row.distortion_std, row.score_std], stds)
        assert row.bytes_per_sample == pytest.approx(np.mean([6 + 4 / 23] * 2 + [6 + 4 / 22] * 2))
    assert table["n_components"].dtype == int


def test_path_cv_takes_an_iterable_and_any_backend(X):
    folds = [(np.arange(60), np.arange(60, 90)), (np.arange(30, 90), np.arange(30))]
    tables = []
    for backend in ("loky", "threading"):
        with joblib.parallel_config(backend=backend):
            path = rate_distortion_path(ToyCodec(), X, [1.0, 4.0], cv=folds, n_jobs=2)
        tables.append(path.drop(columns="fit_seconds"))
    pd.testing.assert_frame_equal(*tables)


def test_path_cv_keeps_feature_names(frame):
    seen = []

    class Recording(ToyCodec):
        def fit(self, X, y=None):
            super().fit(X)
            seen.append(list(self.feature_names_in_))
            return self

    rate_distortion_path(Recording(), frame, [1.0], cv=2)
    assert seen == [["a", "b", "c"]] * 2


@pytest.mark.parametrize(
    "codec, options, message",
    [
        (ToyCodec(), {"betas": []}, "non-empty"),
        (ToyCodec(), {"betas": [1.0, math.nan]}, "non-empty list of numbers"),
        (ToyCodec(), {"betas": [[1.0]]}, "non-empty"),
        (ToyCodec(target_rate=3.0), {"betas": [1.0]}, "target_rate makes fit choose beta"),
        (ToyCodec(), {"betas": [1.0], "cv": 2, "X_test": np.ones((2, 3))}, "not both"),
        (PCA(), {"betas": [1.0]}, "PCA has no parameter beta"),
        (make_pipeline(ToyCodec()), {"betas": [1.0]}, "for a Pipeline use GridSearchCV"),
    ],
)
def test_path_refuses(X, codec, options, message):
    with pytest.raises(ValueError, match=message):
        rate_distortion_path(codec, X, **options)


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


# GridSearchCV and its table


def search_of(estimator, grid, X, **options):
    options = {"scoring": rd_scoring(), "refit": False, "cv": KFold(3)} | options
    return GridSearchCV(estimator, grid, **options).fit(X)


def test_grid_search_by_hand(X):
    grid = {"codec__beta": [4.0, 0.25, 1.0]}
    pipe = Pipeline([("scale", StandardScaler()), ("codec", ToyCodec())])
    expected = {}
    for beta in grid["codec__beta"]:
        folds = []
        for train, test in KFold(3).split(X):
            mean, std = X[train].mean(axis=0), X[train].std(axis=0)
            step = math.sqrt(6 / beta)
            symbols = np.round((X[test] - mean) / std / step)
            rate = (1 + 2 * np.log2(1 + np.abs(symbols))).sum(axis=1).mean()
            folds.append((rate, squared(X[test], symbols * step * std + mean)))
        expected[beta] = np.mean(folds, axis=0), np.std(folds, axis=0)
    budget = expected[1.0][0][0] + 1e-9
    search = search_of(pipe, grid, X, refit=lowest_distortion(budget))
    assert search.best_params_ == {"codec__beta": 1.0}
    table = curve_table(search)
    assert table["beta"].tolist() == [0.25, 1.0, 4.0]
    assert table.index.tolist() == [1, 2, 0]
    assert table.loc[search.best_index_, "beta"] == 1.0
    assert table["codec"].tolist() == ["ToyCodec"] * 3
    for row in table.itertuples():
        means, stds = expected[row.beta]
        np.testing.assert_allclose([row.rate_bits, row.distortion], means)
        np.testing.assert_allclose([row.rate_bits_std, row.distortion_std], stds)
        assert row.score == search.cv_results_["mean_test_score"][row.Index]
        assert row.score_std == search.cv_results_["std_test_score"][row.Index]
        assert row.fit_seconds == search.cv_results_["mean_fit_time"][row.Index]
    assert list(table) == [
        *("codec", "beta", "rate_bits", "distortion", "score"),
        *("rate_bits_std", "distortion_std", "score_std", "fit_seconds", "pareto"),
    ]
    assert table.attrs == {"distortion": "squared_error", "distortion_unit": "summed squared units"}


def test_backends_give_the_same_table(frame):
    pipe = make_pipeline(StandardScaler(), ToyCodec()).set_output(transform="pandas")
    grid = {"toycodec__beta": [0.3, 1.0, 3.0], "standardscaler__with_std": [True, False]}
    tables = [curve_table(search_of(pipe, grid, frame))]
    for backend in ("loky", "threading"):
        with joblib.parallel_config(backend=backend):
            search = search_of(pipe, grid, frame, n_jobs=2, refit=lowest_rate(5.0))
        tables.append(curve_table(search))
    for table in tables[1:]:
        pd.testing.assert_frame_equal(
            table.drop(columns="fit_seconds"), tables[0].drop(columns="fit_seconds")
        )


def test_table_keeps_colliding_names_apart(X):
    search = search_of(
        ToyCodec(), {"distortion": ["squared_error", "absolute_error"], "beta": [1.0]}, X
    )
    table = curve_table(search)
    assert sorted(table["param_distortion"]) == ["absolute_error", "squared_error"]
    assert table["distortion"].nunique() == 1  # the same codec, measured by the same distortion
    assert table["pareto"].all()

    pipe = Pipeline([("scale", StandardScaler()), ("codec", ToyCodec())])
    grid = {"codec__distortion": ["absolute_error"], "codec": [ToyCodec(), PlainCodec()]}
    table = curve_table(search_of(pipe, grid, X))
    assert {"codec__distortion", "param_codec"} <= set(table)
    assert sorted(table["codec"]) == ["PlainCodec", "ToyCodec"]

    pipe = Pipeline([("one", MinMaxScaler()), ("two", MinMaxScaler()), ("codec", ToyCodec())])
    grid = {"one__clip": [True], "two__clip": [False, True], "codec__beta": [1.0]}
    table = curve_table(search_of(pipe, grid, X))
    assert list(table)[:4] == ["codec", "beta", "one__clip", "two__clip"]


def test_table_finds_the_codec_of_a_nested_pipeline(X):
    pipe = Pipeline([("scale", StandardScaler()), ("inner", make_pipeline(ToyCodec()))])
    table = curve_table(search_of(pipe, {"inner__toycodec__beta": [1.0, 2.0]}, X))
    assert table["codec"].tolist() == ["ToyCodec"] * 2
    assert table["beta"].tolist() == [1.0, 2.0]


def test_table_of_a_list_of_grids_and_of_none(X):
    grid = [{"beta": [1.0], "data_range": [None, 2]}, {"beta": [2.0]}]
    table = curve_table(search_of(ToyCodec(), grid, X)).sort_index()
    assert table["data_range"][0] is None
    assert table["data_range"][1] == 2
    assert np.isnan(table["data_range"][2])
    assert table["beta"].dtype == float


def test_failed_fits_come_last_and_are_never_best(X):
    search = GridSearchCV(
        ToyCodec(fail_below=0.5),
        {"beta": [0.1, 1.0, 2.0]},
        scoring=rd_scoring(),
        refit=lowest_rate(1e9),
    )
    with pytest.warns() as caught:
        search.fit(X)
    assert any("fits failed" in str(warning.message) for warning in caught)
    assert search.best_params_ == {"beta": 1.0}
    table = curve_table(search)
    assert table["beta"].tolist() == [1.0, 2.0, 0.1]
    assert table["pareto"].tolist() == [True, True, False]


def test_pareto_is_the_lower_left_frontier():
    class Fitted(GridSearchCV):
        def __init__(self, rate, distortion):
            super().__init__(ToyCodec(), {})
            n = len(rate)
            self.scorer_ = None
            self.cv_results_ = {"params": [{"beta": float(i)} for i in range(n)]}
            self.cv_results_["mean_fit_time"] = np.zeros(n)
            for name, mean in (("rate_bits", rate), ("distortion", distortion), ("score", rate)):
                self.cv_results_[f"mean_test_{name}"] = np.array(mean, dtype=float)
                self.cv_results_[f"std_test_{name}"] = np.zeros(n)

    for seed in range(20):
        rng = np.random.default_rng(seed)
        rate, distortion = rng.integers(0, 6, size=(2, 12)).astype(float)
        rate[rng.integers(12)] = np.nan
        table = curve_table(Fitted(rate, distortion)).sort_index()
        for i in range(12):
            beaten = any(
                rate[j] <= rate[i]
                and distortion[j] <= distortion[i]
                and (rate[j], distortion[j]) != (rate[i], distortion[i])
                for j in range(12)
            )
            assert table["pareto"][i] == (not beaten and not math.isnan(rate[i]))
    assert curve_table(Fitted([1, 2], [2, 1])).attrs == {}


def test_table_refuses(X):
    with pytest.raises(NotFittedError):
        curve_table(GridSearchCV(ToyCodec(), {"beta": [1.0]}))
    search = GridSearchCV(ToyCodec(), {"beta": [1.0]}).fit(X)
    with pytest.raises(ValueError, match="no mean_test_rate_bits"):
        curve_table(search)


# The package's own codec


def test_pca_codec_in_all_of_it():
    X = load_iris().data
    betas = [10.0, 30.0, 100.0]
    path = rate_distortion_path(PCACodec(), X, betas, data_range=8.0, cv=3, n_jobs=2)
    assert path["rate_bits"].is_monotonic_increasing
    assert path["distortion"].is_monotonic_decreasing
    assert path["psnr_db"].notna().all() and path["bytes_per_sample"].notna().all()
    pipe = make_pipeline(StandardScaler(), PCACodec())
    grid = {"pcacodec__beta": betas, "pcacodec__n_components": [None, 2]}
    budget = lowest_distortion(max_rate_bits=path["rate_bits"].max())
    tables = []
    for backend in ("loky", "threading"):
        with joblib.parallel_config(backend=backend):
            search = GridSearchCV(pipe, grid, scoring=rd_scoring(), refit=budget, cv=3, n_jobs=2)
            tables.append(curve_table(search.fit(X)).drop(columns="fit_seconds"))
    pd.testing.assert_frame_equal(*tables)
    best = search.best_estimator_
    x_hat = best[0].inverse_transform(best[1].reconstruct(best[0].transform(X)))
    assert rd_scoring()(best, X)["distortion"] == pytest.approx(squared(X, x_hat))
    saving = bd_rate(path, path.assign(rate_bits=path["rate_bits"] * 1.25))
    assert saving.percent == pytest.approx(-20.0)
