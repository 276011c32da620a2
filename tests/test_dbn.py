"""DBNBlahutArimoto: its code, and what it refuses."""

import warnings

import numpy as np
import pytest
from bits_data import codec, table
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer

from rdlearn import CorruptStreamError, DBNBlahutArimoto, PCACodec, load
from rdlearn.distortions import Hamming, SquaredError


@pytest.fixture(scope="module")
def fitted():
    return codec(hidden_layer_sizes=(30,)).fit(table())


def test_codes_are_bits_that_decode_to_bits(fitted):
    X = table(seed=1)
    Z = fitted.transform(X)
    assert Z.shape == (600, 3) and set(np.unique(Z)) <= {0.0, 1.0}
    X_hat = fitted.inverse_transform(Z)
    np.testing.assert_array_equal(X_hat, fitted.reconstruct(X))
    P = fitted.inverse_transform(Z, probabilities=True)
    np.testing.assert_array_equal(X_hat, (P > 0.5).astype(float))
    assert fitted.mean_distortion(X) == pytest.approx(np.mean(np.sum(X != X_hat, axis=1)))
    # Four words, noise of 1 in 20: two bits say them all.
    assert fitted.mean_distortion(X) < 30 * 0.07
    assert 1.9 < fitted.rate(X) < 3.0
    assert PCACodec(3, n_bits=1, distortion="hamming").fit(table()).mean_distortion(
        X
    ) > fitted.mean_distortion(X)


def test_sampled_codes_are_about_the_encoders_words(fitted):
    X = table(seed=1)
    plain = clone(fitted).set_params(encoder_search=None).fit(table())
    Z = plain.transform(X)
    drawn = np.mean([plain.sample_codes(X, random_state=seed) for seed in range(60)], axis=0)
    odds = plain._encoded(X.astype(np.float32)).astype(float)
    # Sixty draws: five standard errors.
    assert np.abs(drawn - 1 / (1 + np.exp(-odds))).max() < 5 * 0.5 / np.sqrt(60)
    np.testing.assert_array_equal(Z, odds > 0)


def test_search_never_loses(fitted):
    X, cost, loss = table(seed=1), {}, {}
    for search in (None, "flips", "all"):
        fitted.set_params(encoder_search=search)
        loss[search] = fitted.distortion_samples(X)
        rates = fitted.rate_samples(X)
        cost[search] = loss[search] + np.log(2) / 4.0 * rates, loss[search] + 0.5 * rates
    fitted.set_params(encoder_search="auto")
    np.testing.assert_array_equal(fitted.distortion_samples(X), loss["all"])
    # At beta = 4 a bit is worth ln 2 / 4; flips take half a flip.
    assert np.all(cost["all"][0] <= cost["flips"][0] + 1e-9)
    assert np.all(cost["all"][0] <= cost[None][0] + 1e-9)
    assert np.all(cost["flips"][1] <= cost[None][1] + 1e-9)


@pytest.mark.parametrize("search", [None, "flips", "all"])
def test_rows_do_not_depend_on_company(fitted, search):
    X = np.tile(table(seed=2), (4, 1))
    order = np.random.default_rng(0).permutation(len(X))[:1100]
    fitted.set_params(encoder_search=search)
    np.testing.assert_array_equal(fitted.transform(X[order]), fitted.transform(X)[order])
    np.testing.assert_array_equal(fitted.rate_samples(X[order]), fitted.rate_samples(X)[order])
    fitted.set_params(encoder_search="auto")


def test_bytes(fitted):
    X = np.tile(table(seed=1), (10, 1)).astype(np.float32)
    blob = fitted.compress(X, chunk_rows=1000)
    np.testing.assert_array_equal(fitted.decompress(blob), fitted.reconstruct(X))
    np.testing.assert_array_equal(
        fitted.decompress(blob, rows=slice(995, 1005)), fitted.reconstruct(X)[995:1005]
    )
    bits = fitted.rate(X) * len(X)
    fixed = 8 * (54 + 6 * 8)
    # The state of the coder and a word in each of six chunks.
    assert abs(8 * len(blob) - fixed - bits) < 6 * 8 * 7
    # Little is raw: never more than the bits themselves.
    tiny = fitted.compress(X[:7], chunk_rows=1)
    np.testing.assert_array_equal(fitted.decompress(tiny), fitted.reconstruct(X[:7]))
    assert len(tiny) == 54 + 7 * 9
    for place in range(54, len(blob), 97):
        damaged = bytearray(blob)
        damaged[place] ^= 1
        with pytest.raises(CorruptStreamError):
            fitted.decompress(bytes(damaged))
    with pytest.raises(CorruptStreamError, match="another model"):
        clone(fitted).set_params(random_state=1).fit(table()).decompress(blob)


def test_frames_come_back_in_their_dtypes():
    import pandas as pd

    frame = pd.DataFrame(table(100, 5)).astype({0: bool, 1: np.int8})
    frame.columns = list("abcde")
    model = codec().fit(frame)
    back = model.decompress(model.compress(frame), as_frame=True)
    assert list(back.columns) == list("abcde") and back.dtypes.equals(frame.dtypes)


def test_fits_are_the_same_to_the_bit(fitted):
    again = clone(fitted).fit(table())
    for name in ("params_", "stack_"):
        np.testing.assert_array_equal(getattr(again, name), getattr(fitted, name))
    assert again.fingerprint == fitted.fingerprint
    np.testing.assert_array_equal(again.mixture_.prob, fitted.mixture_.prob)


def test_saved_and_loaded(fitted, tmp_path):
    X = table(seed=1)
    fitted.save(tmp_path / "m.rdl")
    again = load(tmp_path / "m.rdl")
    assert again.fingerprint == fitted.fingerprint
    np.testing.assert_array_equal(again.decompress(fitted.compress(X)), fitted.reconstruct(X))
    assert again.score(X) == fitted.score(X)
    assert again.rate_distortion_estimate_ == fitted.rate_distortion_estimate_
    barred = codec(distortion=Hamming(a=np.inf), beta=0.0).fit(X)
    barred.save(tmp_path / "b.rdl")
    np.testing.assert_array_equal(
        load(tmp_path / "b.rdl").reproduce(X, random_state=0), barred.reproduce(X, random_state=0)
    )


def test_a_warm_start_changes_the_bottleneck():
    X = table()
    model = codec(hidden_layer_sizes=(30,), warm_start=True, n_components=4).fit(X)
    first = model.mean_distortion(X)
    for k in (3, 3, 5):
        model.set_params(n_components=k).fit(X)
        assert model.transform(X).shape == (600, k)
        assert model.mean_distortion(X) < first + 0.5
    before = model.mean_distortion(X)
    # Of five bits for four words, one can go.
    model.set_params(n_components=4, fine_tune_epochs=0).fit(X)
    assert model.mean_distortion(X) < before + 1.0
    with pytest.raises(ValueError, match=r"warm_start=True cannot change the layers \[30, 30\]"):
        model.set_params(hidden_layer_sizes=(9,)).fit(X)
    assert model.n_components_ == 4


def test_history_and_estimates_stand_by(fitted):
    history = fitted.history_
    assert history["stage"].tolist() == [0] * 4 + [1] * 20 + [2] * 30
    tuning = history["loss"][history["stage"] == 1]
    assert tuning.iloc[-1] < tuning.iloc[0]
    # Thirty units are too many to go over.
    assert fitted.rate_distortion_estimate_ is None
    estimate = codec(beta=1.0, fine_tune_epochs=0).fit(table()).rate_distortion_estimate_
    assert estimate["rate_bits"] > 0 and estimate["distortion"] > 0


def test_grid_searches_over_beta_and_over_bits():
    X = table().astype(float) * 7
    pipe = make_pipeline(
        Binarizer(threshold=1.0), codec(hidden_layer_sizes=(30,), fine_tune_epochs=60)
    )
    for grid in (
        {"dbnblahutarimoto__beta": [1.0, 4.0]},
        {"dbnblahutarimoto__n_components": [1, 2]},
    ):
        search = GridSearchCV(pipe, grid, cv=2).fit(X)
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_params_["dbnblahutarimoto__n_components"] == 2


def test_probabilities_are_drawn_afresh():
    P = np.where(table() == 1, 0.9, 0.1)
    model = codec(binarize="sample").fit(P)
    bits = model._bits(P)
    assert set(np.unique(bits)) == {0.0, 1.0}
    assert model.rate(P) == model.rate(P)
    np.testing.assert_array_equal(model.transform(P[7:9]), model.transform(P)[7:9])
    assert "_source" not in vars(model)


@pytest.mark.parametrize(
    "params, X, words",
    [
        ({}, [[0, 2], [1, 0]], r"binarize=None, but column 1 contains 2.*threshold"),
        ({}, np.array([[0, np.nan], [1, 0]]), "NaN in row 0 of column 1"),
        ({"distortion": SquaredError()}, np.eye(3), "SquaredError.*has no tilt of bits"),
        ({"distortion": "bernoulli"}, np.eye(3), "'distortion' parameter"),
        ({"beta": -1.0}, np.eye(3), "'beta' parameter"),
        ({"encoder_search": "all", "n_components": 13}, np.eye(3), r"2\*\*13 codewords.*'flips'"),
        ({"hidden_layer_sizes": (0,)}, np.eye(3), r"hidden_layer_sizes=\(0,\) must be positive"),
        ({"learning_rate_init": 1e39}, np.eye(3), "not finite after round.*lower learning_rate"),
        ({"device": "cuda"}, np.eye(3), 'device="cuda" needs'),
        ({}, [[0, 1, 1]], "1 sample"),
    ],
)
def test_unusable_tables_and_parameters_are_named(params, X, words):
    with (
        warnings.catch_warnings(),
        np.errstate(all="ignore"),
        pytest.raises(ValueError, match=words),
    ):
        warnings.simplefilter("ignore")
        codec(**params).fit(X)


def test_costs_must_be_positive():
    with pytest.raises(ValueError, match="costs of Hamming must be positive, got a=-1"):
        Hamming(a=-1)


def test_a_failed_fit_changes_nothing(fitted):
    before = fitted.params_.copy()
    with pytest.raises(ValueError):
        fitted.fit(table() * 2)
    np.testing.assert_array_equal(fitted.params_, before)
    assert "_source" not in vars(fitted)


def test_words_nobody_expected_cost_little_more_than_themselves():
    model = codec(n_components=8, hidden_layer_sizes=(30,)).fit(table())
    far = np.random.default_rng(5).integers(0, 2, size=(300, 30))
    # A fair-bit component of weight 2**-8, and roundings.
    assert model.rate_samples(far).max() < 8 + 8.1
    worst = far[model.rate_samples(far) > 8]
    assert len(worst) and model.rate(worst) == 8
    assert 8 * len(model._tables.encode(model._quantize(far))) <= 8 * 300


def test_a_warm_start_of_one_machine_goes_on():
    X = table()
    rules = {"beta": 2.0, "fine_tune_epochs": 0, "warm_start": True}
    model = codec(**rules).fit(X)
    stack = model.stack_.copy()
    model.set_params(max_iter=1, n_epochs=1, learning_rate_init=1e-7).fit(X)
    np.testing.assert_allclose(model.stack_, stack, atol=1e-4)
    assert len(model.history_) == 1


def test_nothing_of_a_code_outlives_it():
    X = table()
    model = codec(hidden_layer_sizes=(5,)).fit(X)
    model.set_params(hidden_layer_sizes=(30,), distortion=Hamming(a=np.inf)).fit(X)
    assert not {"params_", "mixture_"} & set(vars(model))
    with pytest.raises(ValueError, match="bars flips"):
        _ = model.fingerprint
    model.set_params(distortion="hamming", warm_start=True).fit(X)
    assert model.mean_distortion(X) < 30 * 0.2


@pytest.mark.parametrize(
    "search, words", [("all", r"2\*\*13 codewords"), ("foo", "='foo' must be")]
)
def test_a_search_chosen_after_the_fit_is_checked(search, words, tmp_path):
    model = codec(n_components=13, fine_tune_epochs=1).fit(table())
    model.set_params(encoder_search=search)
    with pytest.raises(ValueError, match=words):
        model.transform(table())
    model.save(tmp_path / "m.rdl")
    with pytest.raises(CorruptStreamError):
        load(tmp_path / "m.rdl")


@pytest.mark.parametrize(
    "name, value",
    [
        ("_estimate", [1.0, 2.0]),
        ("_estimate", "much"),
        ("resolution_", np.ones(3)),
        ("noise_scale_", 1),
        ("sizes_", np.array([30, -3, 3])),
        ("stack_", np.zeros(5, np.float32)),
        ("params_", np.zeros(5, np.float32)),
        ("base_", np.full(30, np.nan)),
    ],
)
def test_models_that_contradict_themselves_do_not_load(fitted, name, value, tmp_path):
    import copy

    broken = copy.deepcopy(fitted)
    setattr(broken, name, value)
    broken.save(tmp_path / "m.rdl")
    with pytest.raises(CorruptStreamError):
        load(tmp_path / "m.rdl")


def test_codes_out_of_range_are_named(fitted):
    with pytest.raises(ValueError, match="Z contains 3, but bits are 0 or 1"):
        fitted.inverse_transform(np.full((1, 3), 3.0))


@pytest.mark.parametrize("n", [40, 100])
def test_short_tables_are_trained_long_enough(n):
    X = np.random.default_rng(0).integers(0, 2, size=(n, 4))
    model = DBNBlahutArimoto(4, beta=np.inf, random_state=0).fit(X)
    # The best constant loses about 1.8 of four fair bits.
    assert model.mean_distortion(X) < 0.3
