import math

import joblib
import numpy as np
import pandas as pd
import pytest
import toy_codec
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from toy_codec import PlainCodec, Quartic, ToyCodec, squared

from rdlearn import PCACodec
from rdlearn.model_selection import (
    bd_rate,
    curve_table,
    lowest_distortion,
    lowest_rate,
    rate_distortion_path,
    rd_scoring,
)

X, frame = toy_codec.X, toy_codec.frame


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


def test_path_starts_warm_at_the_largest_beta_and_leaves_the_codec_alone(X):
    visits = []

    class Recording(ToyCodec):
        def rate(self, X):
            visits.append(self.visited_)
            return super().rate(X)

    codec = Recording(beta=7.0)
    rate_distortion_path(codec, X, [3.0, 1.0, 2.0])
    assert visits[-1] == (3.0, 2.0, 1.0)
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
