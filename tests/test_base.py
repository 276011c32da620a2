"""The estimator contract: parameters, measures, score, and models as files."""

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.base import clone

from rdlearn import CorruptStreamError, PCACodec, _persistence, load
from rdlearn.distortions import AbsoluteError, Distortion, Hamming


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return rng.normal(size=(300, 4)) @ np.diag([4, 2, 1, 0.5]) + [0, 10, -5, 1]


class Quartic(Distortion):
    name, unit = "quartic", "summed fourth powers"

    def elementwise(self, x, x_hat):
        return (x - x_hat) ** 4


# Errors: the value, and the remedy.


def spoilt(X, value):
    X = X.copy()
    X[7, 2] = value
    return X


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda X: spoilt(X, np.nan), ["contains NaN"]),
        (lambda X: spoilt(X, -np.inf), ["contains infinity"]),
        (lambda X: X[:0], ["0 sample(s)", "(0, 4)"]),
        (lambda X: X[0], ["Expected 2D array", "Reshape"]),
        (lambda X: X[np.newaxis], ["dim 3"]),
        (lambda X: X[:, :3], ["3 features", "expecting 4"]),
        (lambda X: pd.Series(X[:, 0]), ["2-dimensional", "DataFrame"]),
    ],
)
def test_unusable_tables_are_refused_everywhere(X, spoil, words):
    bad = spoil(X)
    codec = PCACodec(beta=5).fit(X)
    calls = [codec.transform, codec.compress, codec.score, codec.rate, codec.mean_distortion]
    if words != ["3 features", "expecting 4"]:
        calls += [PCACodec().fit, PCACodec().partial_fit]
    for call in calls:
        with pytest.raises(ValueError) as error:
            call(bad)
        assert all(word in str(error.value) for word in words)


def test_one_row_cannot_be_fitted_but_can_be_coded(X):
    with pytest.raises(ValueError, match=r"1 sample\(s\).*minimum of 2"):
        PCACodec().fit(X[:1])
    codec = PCACodec(beta=5).fit(X)
    np.testing.assert_array_equal(codec.decompress(codec.compress(X[:1])), codec.reconstruct(X)[:1])


BINARY = (np.random.default_rng(1).random((60, 4)) < 0.4).astype(float)


@pytest.mark.parametrize(
    "params, table, words",
    [
        ({"n_components": 5}, None, ["n_components=5", "at most 4", "n_features=4"]),
        ({"n_components": 4}, 3, ["n_components=4", "at most 3", "n_samples=3"]),
        (
            {"target_rate": 3.5, "target_distortion": 0.25},
            None,
            ["target_rate=3.5", "target_distortion=0.25", "set the other to None"],
        ),
        ({"target_rate": 1e4}, None, ["target_rate=10000", "out of reach", "between 0 and 7"]),
        ({"target_distortion": 99.0}, None, ["target_distortion=99", "out of reach", "Choose"]),
        ({"n_bits": 3, "target_rate": 5.0}, None, ["n_bits=3", "target_rate=5.0", "to None"]),
        ({"n_bits": 3, "target_distortion": 5.0}, None, ["n_bits=3", "target_distortion=5.0"]),
        ({"distortion": "mean"}, None, ["'mean'", "'squared_error'", "Distortion"]),
        ({"distortion": "hamming"}, None, ["hamming", "column 0 contains", "binarize"]),
        ({"distortion": "bernoulli"}, None, ["bernoulli", "contains", "MinMaxScaler"]),
        ({"resolution": [1.0, 2.0]}, None, ["resolution=[1.0, 2.0]", "each of the 4 features"]),
        ({"resolution": [1, 1, 0, 1]}, None, ["resolution=[1, 1, 0, 1]", "positive"]),
        ({"resolution": [1, np.nan, 1, 1]}, None, ["nan", "positive"]),
        ({"resolution": np.ones((4, 1))}, None, ["resolution=", "each of the 4 features"]),
        (
            {"standardize": True, "distortion": "hamming"},
            BINARY,
            ["standardize=True", "'hamming'", "use standardize=False"],
        ),
        (
            {"standardize": True, "distortion": Hamming(2, 1)},
            BINARY,
            ["standardize=True", "'hamming'", "use standardize=False"],
        ),
        ({"beta": 0}, None, ["'beta'", "Got 0"]),
        ({"n_bits": 13}, None, ["'n_bits'", "Got 13"]),
        ({"target_rate": -1}, None, ["'target_rate'", "Got -1"]),
    ],
)
def test_unusable_parameters_name_value_and_remedy(X, params, table, words):
    table = X if table is None else X[:table] if isinstance(table, int) else table
    params = {"beta": 5.0} | params
    for method in ("fit", "partial_fit"):
        with pytest.raises(ValueError) as error:
            getattr(PCACodec(**params), method)(table)
        assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize("scale, words", [(1e100, "beyond the 1e+75"), (1e-90, "too little")])
def test_scales_that_cannot_be_squared_are_refused(X, scale, words):
    with pytest.raises(ValueError, match="rescale") as error:
        PCACodec().fit(X * scale)
    assert words in str(error.value)
    # Well inside, only beta's unit changes.
    inside = X * scale**0.5
    assert PCACodec(target_rate=8).fit(inside).rate(inside) <= 8


@pytest.mark.filterwarnings("ignore:Column .* holds values below 0")
def test_a_column_name_is_named(X):
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    with pytest.raises(ValueError, match="column 'a' contains"):
        PCACodec(distortion="hamming").fit(frame)
    codec = PCACodec(distortion="hamming", beta=5).fit(pd.DataFrame(BINARY, columns=list("abcd")))
    for method in (codec.score, codec.distortion_samples):
        with pytest.raises(ValueError, match="column 'a' contains"):
            method(frame)


def test_out_of_range_rates_warn_unless_asked_for(X):
    with pytest.warns(UserWarning, match=r"0 bits per feature.*beta=1e-06.*target_rate"):
        PCACodec(beta=1e-6).fit(X)
    with pytest.warns(UserWarning, match="outside 0.01 to 16"):
        PCACodec(beta=1e12).fit(X)
    wide = np.random.default_rng(0).normal(size=(500, 300))
    wide[:, 0] *= 30
    # Warnings are errors here: what was asked for is no surprise.
    assert PCACodec(target_rate=2).fit(wide).rate(wide) <= 2
    assert PCACodec(1, n_bits=1).fit(wide).rate(wide) == 1
    PCACodec(target_distortion=1050).fit(wide)


# Measures.


def test_measures_follow_their_definitions(X):
    codec = PCACodec(target_rate=9, data_range=20).fit(X)
    error = X - codec.inverse_transform(codec.transform(X))
    samples = (error**2).sum(axis=1)
    np.testing.assert_allclose(codec.distortion_samples(X), samples, rtol=1e-12)
    assert codec.mean_distortion(X) == pytest.approx(samples.mean(), rel=1e-12)
    assert codec.rate(X) == pytest.approx(codec.rate_samples(X).mean(), rel=1e-12)
    np.testing.assert_allclose(codec.distortion_per_feature_, (error**2).mean(axis=0))
    assert codec.psnr_db(X) == pytest.approx(10 * np.log10(400 / (error**2).mean()))
    assert codec.noise_scale_ == pytest.approx(np.sqrt((error**2).mean()))
    history = codec.history_
    assert list(history.columns) == ["rate_bits", "distortion", "objective", "beta"]
    last = history.iloc[-1]
    assert last.beta == codec.beta_ and last.rate_bits == pytest.approx(codec.rate(X))
    np.testing.assert_allclose(
        history.objective, history.rate_bits * np.log(2) + history.beta * history.distortion
    )


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("resolution", [None, 0.25, [0.1, 1.0, 2.0, 0.5]])
@pytest.mark.parametrize("distortion", ["squared_error", "absolute_error"])
def test_score_is_a_description_length(X, standardize, resolution, distortion):
    train, test = np.round(X[:200], 1), np.round(X[200:], 1)
    codec = PCACodec(
        target_rate=7, standardize=standardize, resolution=resolution, distortion=distortion
    ).fit(train)
    if resolution is None:
        np.testing.assert_allclose(codec.resolution_, 0.1, rtol=1e-6)
    else:
        np.testing.assert_array_equal(codec.resolution_, np.broadcast_to(resolution, 4))
    units = train.std(axis=0) if standardize else np.ones(4)
    residual = (train - codec.reconstruct(train)) / units
    if distortion == "squared_error":
        law = stats.norm(scale=np.sqrt((residual**2).mean()))
    else:
        law = stats.laplace(scale=np.abs(residual).mean())
    error, half = (test - codec.reconstruct(test)) / units, codec.resolution_ / units / 2
    # Both tails from the side where the difference keeps its digits.
    mass = np.log(law.cdf(-np.abs(error) + half) - law.cdf(-np.abs(error) - half))
    expected = mass.sum(axis=1).mean() - codec.rate(test) * np.log(2)
    assert codec.score(test) == pytest.approx(expected, rel=1e-6)
    assert codec.score(test) == codec.score(test, y=np.ones(100)) < 0


def test_score_without_a_noise_model_names_the_way_out(X):
    codec = PCACodec(beta=5, distortion=Quartic()).fit(X)
    assert codec.mean_distortion(X) > 0 and not hasattr(codec, "noise_scale_")
    with pytest.raises(ValueError, match=r"'quartic' has no noise model.*rd_scorer\(slope"):
        codec.score(X)


def test_psnr_needs_a_data_range(X):
    with pytest.raises(ValueError, match=r"data_range=None replaced .*255"):
        PCACodec(beta=5).fit(X).psnr_db(X)
    constant = np.ones((5, 2))
    assert PCACodec(n_bits=1, data_range=1).fit(constant).psnr_db(constant) == np.inf


def test_distortions_of_one_s_own_may_be_standardized(X):
    codec = PCACodec(beta=5, distortion=Quartic(), standardize=True).fit(X)
    error = (X - codec.reconstruct(X)) / X.std(axis=0)
    np.testing.assert_allclose(codec.distortion_samples(X), (error**4).sum(axis=1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, bool])
def test_dtypes_in_and_out(dtype):
    X = (np.random.default_rng(0).normal(size=(50, 3)) * 2).astype(np.float32)
    X = X.astype(np.int16).astype(dtype) if dtype is bool else X.astype(dtype)
    codec = PCACodec(beta=50).fit(X)
    expected = np.float32 if dtype == np.float32 else np.float64
    assert codec.transform(X).dtype == codec.reconstruct(X).dtype == expected
    assert codec.components_.dtype == codec.mean_.dtype == np.float64
    assert codec.rate_samples(X).dtype == codec.distortion_samples(X).dtype == np.float64


# Models as files.

MODELS = {
    "plain": PCACodec(beta=3.0),
    "target": PCACodec(3, target_rate=7.5, random_state=3, data_range=2.5),
    "distortion": PCACodec(target_distortion=1.5, distortion="absolute_error", standardize=True),
    "resolution": PCACodec(n_bits=2, resolution=np.array([0.5, 1.0, 2.0, 4.0])),
    "constants": PCACodec(beta=60.0, distortion=Hamming(a=3.0, b=0.5)),
    "infinite": PCACodec(beta=60.0, distortion=Hamming(a=np.inf)),
}
ATTRIBUTES = ["components_", "explained_variance_", "mean_", "scale_", "n_components_", "beta_"]
ATTRIBUTES += ["distortion_", "distortion_per_feature_", "noise_scale_", "resolution_", "n_iter_"]
ATTRIBUTES += ["n_samples_seen_", "n_features_in_", "feature_names_in_", "feature_dtypes_"]


def carry_file(codec, path):
    codec.save(path / "model")
    return load(path / "model")


def carry_joblib(codec, path):
    joblib.dump(codec, path / "model")
    return joblib.load(path / "model")


@pytest.mark.parametrize(
    "carry", [carry_file, carry_joblib, lambda c, _: pickle.loads(pickle.dumps(c))]
)
@pytest.mark.parametrize("name", MODELS)
def test_models_survive_being_stored(X, name, carry, tmp_path):
    hamming = isinstance(MODELS[name].distortion, Hamming)
    frame = pd.DataFrame(BINARY if hamming else X, columns=["a", "b", "ü", "d d"])
    frame = frame.astype({"b": "float32"})
    codec = clone(MODELS[name]).fit(frame)
    back = carry(codec, tmp_path)
    for attribute in ATTRIBUTES:
        mine, other = getattr(codec, attribute), getattr(back, attribute)
        np.testing.assert_array_equal(mine, other)
        assert np.asarray(mine).dtype == np.asarray(other).dtype
    mine, other = codec.get_params(), back.get_params()
    assert mine.keys() == other.keys()
    for key, value in mine.items():
        np.testing.assert_array_equal(value, other[key])
        assert type(value) is type(other[key])
    pd.testing.assert_frame_equal(codec.history_, back.history_)
    blob = codec.compress(frame)
    assert back.compress(frame) == blob and back.fingerprint == codec.fingerprint
    pd.testing.assert_frame_equal(
        back.decompress(blob, as_frame=True), codec.decompress(blob, as_frame=True)
    )
    assert back.score(frame) == codec.score(frame)
    assert not hasattr(clone(back), "components_")
    assert clone(back).fit(frame).fingerprint == codec.fingerprint


@pytest.mark.parametrize(
    "params, words",
    [
        ({"random_state": np.random.RandomState(0)}, ["RandomState", "random_state", "integer"]),
        ({"distortion": Quartic()}, ["Quartic", "joblib.dump"]),
    ],
)
def test_what_cannot_be_stored_is_refused_and_leaves_no_file(X, params, words, tmp_path):
    codec = PCACodec(beta=5, **params).fit(X)
    with pytest.raises(ValueError) as error:
        codec.save(tmp_path / "model")
    assert all(word in str(error.value) for word in words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda s: s.update({"class": "Nobody"}), "KeyError: 'Nobody'"),
        (lambda s: s["params"].update(beta=-1.0), "'beta' parameter"),
        (lambda s: s["params"].update(gamma=1), "gamma"),
        (lambda s: s["fitted"].update(_secret=1), "unknown attribute '_secret'"),
        (lambda s: s["fitted"].update(transform=1), "unknown attribute 'transform'"),
        (lambda s: s["fitted"].pop("mean_"), "mean_"),
        (lambda s: s["fitted"].update(mean_=np.zeros(3)), "do not fit together"),
        (lambda s: s["fitted"].update(mean_=np.full(4, np.nan)), "do not fit together"),
        (lambda s: s["fitted"].update(scale_=np.zeros(4)), "do not fit"),
        (lambda s: s["fitted"].update(n_components_=2), "do not fit together"),
        (lambda s: s["fitted"].update(n_components_="4"), "number of components"),
        (lambda s: s["fitted"].update(n_features_in_=4.0), "number of features"),
        (lambda s: s["fitted"].update(n_features_in_=True), "number of features"),
        (lambda s: s["fitted"].update(distortion_=3), "distortion"),
        (lambda s: s["fitted"].pop("distortion_"), "distortion_"),
        (lambda s: s["fitted"].update(beta_="1"), "beta"),
        (lambda s: s["fitted"].update(noise_scale_=None), "noise scale"),
        (lambda s: s["fitted"].update(feature_names_in_=np.array(["a"], object)), "names"),
        (lambda s: s["fitted"].update(feature_dtypes_=["f8"] * 5), "dtypes"),
        (lambda s: s["fitted"].update(_history={"rate_bits": [1.0], "beta": []}), "history"),
        (lambda s: s.pop("fitted"), "KeyError"),
    ],
)
def test_models_that_contradict_themselves_are_refused(X, change, words, tmp_path):
    state = PCACodec(beta=5).fit(X)._to_state()
    change(state)
    _persistence.write(tmp_path / "model", state)
    with pytest.raises(CorruptStreamError, match=words):
        load(tmp_path / "model")


def test_load_of_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing")


def test_refitting_forgets_the_frame(X):
    codec = PCACodec(beta=5).fit(pd.DataFrame(X, columns=list("abcd")))
    assert codec.feature_dtypes_ == ["float64"] * 4
    codec.fit(X)
    assert not hasattr(codec, "feature_dtypes_") and not hasattr(codec, "feature_names_in_")


def test_set_output_and_names_out(X):
    codec = PCACodec(3, beta=5).fit(X).set_output(transform="pandas")
    Z = codec.transform(X)
    assert list(Z.columns) == ["pcacodec0", "pcacodec1", "pcacodec2"]
    np.testing.assert_array_equal(codec.inverse_transform(Z), codec.reconstruct(X))


def test_equal_distortion_objects_and_names_agree(X):
    by_name = PCACodec(beta=5, distortion="absolute_error").fit(X)
    by_object = PCACodec(beta=5, distortion=AbsoluteError()).fit(X)
    assert by_name.fingerprint == by_object.fingerprint
