"""EchoClassifier: accuracy per bit, probabilities, the estimator contract, files."""

import io
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_digits, load_iris
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split

from rdlearn import CorruptStreamError, EchoClassifier, _persistence, load

IRIS = load_iris(return_X_y=True)
DIGITS = load_digits(return_X_y=True)
SMALL = {"hidden_layer_sizes": (16,), "max_iter": 60, "random_state": 0}
# Two steps an epoch want more epochs.
FLOWERS = SMALL | {"n_components": 4, "max_iter": 300}


@pytest.fixture(scope="module")
def fitted():
    return EchoClassifier(**FLOWERS).fit(*IRIS)


@pytest.mark.parametrize(
    "data, params, accuracy",
    [(IRIS, {"max_iter": 200}, 0.9), (DIGITS, {"max_iter": 100}, 0.9)],
    ids=["iris", "digits"],
)
def test_held_out_classes_are_predicted_from_few_bits(data, params, accuracy):
    X, test, y, truth = train_test_split(*data, random_state=0, stratify=data[1])
    classifier = EchoClassifier(4, beta=5.0, **SMALL | params).fit(X, y)
    assert classifier.score(test, truth) > accuracy
    # The class is log2(n) bits; noise that hits a class costs some more.
    n_classes = len(classifier.classes_)
    assert 0.8 * np.log2(n_classes) < classifier.rate(X) < np.log2(n_classes) + 2


def test_information_about_the_class_is_at_most_the_rate():
    X, y = DIGITS
    for beta in (1.0, 3.0, 30.0):
        classifier = EchoClassifier(8, beta=beta, **SMALL).fit(X, y)
        kept = np.log2(10) - log_loss(y, classifier.predict_proba(X)) / np.log(2)
        # Probabilities are means over draws, and their loss below the mean loss of one draw.
        assert kept <= classifier.rate(X) + 0.3


@pytest.mark.parametrize("noise_terms", [None, 20])
def test_larger_beta_more_bits_less_cross_entropy(noise_terms):
    X, y = DIGITS
    rates, losses = [], []
    for beta in (1.5, 5.0, 50.0):
        classifier = EchoClassifier(6, beta=beta, noise_terms=noise_terms, **SMALL).fit(X, y)
        rates.append(classifier.rate(X))
        losses.append(log_loss(y, classifier.predict_proba(X)))
    assert rates == sorted(rates) and losses == sorted(losses, reverse=True)
    assert rates[0] < rates[2] - 1 and losses[0] > losses[2] + 0.1


def test_a_price_below_one_leaves_the_frequencies_of_the_classes():
    # I(X; Z) >= I(Z; y): no bit pays at a beta below 1.
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(500, 3)), (rng.random(500) < 0.2).astype(int)
    X[:, 0] += 3 * y
    classifier = EchoClassifier(2, beta=0.5, **SMALL | {"max_iter": 150}).fit(X, y)
    assert classifier.rate(X) < 0.1
    np.testing.assert_allclose(
        classifier.predict_proba(X).mean(axis=0), [1 - y.mean(), y.mean()], atol=0.02
    )
    # What is left of the rate, under a tenth of a bit, moves them a little.
    assert np.ptp(classifier.predict_proba(X)[:, 0]) < 0.3
    np.testing.assert_allclose(classifier.class_prior_, [1 - y.mean(), y.mean()])


def test_probabilities_are_means_over_sampled_codes(fitted):
    X = IRIS[0]
    P = fitted.predict_proba(X)
    assert P.shape == (150, 3) and P.dtype == np.float64 and P.min() >= 0
    np.testing.assert_allclose(P.sum(axis=1), 1, rtol=1e-12)
    codes = [code for code, _ in fitted._draw_codes(X, 16)]
    one = [softmax(fitted._outputs(code, None).astype(float), axis=1) for code in codes]
    np.testing.assert_allclose(P, np.mean(one, axis=0), rtol=1e-6)
    assert not np.allclose(P, one[0])
    np.testing.assert_array_equal(fitted.predict(X), P.argmax(axis=1))


def test_sampled_codes_are_mean_codes_and_noise(fitted):
    X = IRIS[0]
    codes = np.mean([fitted.sample_codes(X, random_state=seed) for seed in range(200)], axis=0)
    noise = fitted.sample_codes(X, random_state=0) - fitted.transform(X)
    # Two hundred draws: five standard errors.
    assert np.abs(codes - fitted.transform(X)).mean() < 5 * noise.std() / np.sqrt(200)
    assert noise.std() > 0


def test_what_a_row_gets_does_not_depend_on_the_others(fitted):
    X = np.tile(IRIS[0], (15, 1))
    order = np.random.default_rng(0).permutation(len(X))
    for method in (fitted.predict_proba, fitted.transform, fitted.rate_samples):
        whole = method(X)
        np.testing.assert_array_equal(method(X[order]), whole[order])
        np.testing.assert_array_equal(method(X[40:47]), whole[40:47])
    assert fitted.rate(X) == pytest.approx(fitted.rate_samples(X).mean())


def test_the_same_seed_gives_the_same_bits(fitted):
    again = clone(fitted).fit(*IRIS)
    np.testing.assert_array_equal(again.params_, fitted.params_)
    other = clone(fitted).set_params(random_state=1).fit(*IRIS)
    assert not np.array_equal(other.params_, fitted.params_)


def test_units_of_features_do_not_matter(fitted):
    X, y = IRIS
    # Powers of two scale without rounding.
    other = X * [2.0**-10, 2.0**10, 1.0, 2.0**20]
    scaled = clone(fitted).fit(other, y)
    np.testing.assert_array_equal(scaled.params_, fitted.params_)
    np.testing.assert_array_equal(scaled.predict_proba(other), fitted.predict_proba(X))


def test_classes_may_be_words(fitted):
    X, y = IRIS
    names = np.array(["setosa", "versicolor", "virginica"])
    classifier = clone(fitted).fit(X, names[y])
    np.testing.assert_array_equal(classifier.classes_, names)
    np.testing.assert_array_equal(classifier.predict(X), names[fitted.predict(X)])
    assert classifier.score(X, names[y]) == fitted.score(X, y)
    flags = clone(fitted).fit(X, y == 0)
    assert flags.predict(X).dtype == bool and flags.score(X, y == 0) > 0.95


def test_it_is_a_classifier_to_scikit_learn(fitted):
    X, y = IRIS
    assert is_classifier(fitted)
    # Rows are sorted by class: folds that were not stratified would score next to nothing.
    assert cross_val_score(EchoClassifier(**FLOWERS), X, y, cv=3).mean() > 0.9
    search = GridSearchCV(EchoClassifier(**FLOWERS), {"beta": [0.3, 10.0]}, cv=2)
    assert search.fit(X, y).best_params_ == {"beta": 10.0}
    assert fitted.get_feature_names_out().tolist() == [f"echoclassifier{j}" for j in range(4)]
    assert fitted.transform(X.astype(np.float32)).dtype == np.float32


def test_history_and_early_stopping():
    X, y = IRIS
    params = {"early_stopping": True, "n_iter_no_change": 3, "validation_fraction": 0.3}
    classifier = EchoClassifier(2, **SMALL | {"max_iter": 300} | params).fit(X, y)
    assert classifier.n_iter_ == len(classifier.history_) < 300
    assert list(classifier.history_)[:4] == ["rate_bits", "distortion", "objective", "beta"]
    assert classifier.beta_ == 10.0


@pytest.mark.parametrize(
    "X, y, words",
    [
        (IRIS[0], np.zeros(150), r"y has one class.*needs two or more"),
        (IRIS[0], IRIS[1][:-1], "inconsistent numbers of samples"),
        (IRIS[0], np.linspace(0, 1, 150), "continuous"),
        (IRIS[0] * np.nan, IRIS[1], "X contains NaN in row 0 of column 0; fill"),
        (IRIS[0][:1], IRIS[1][:1], "minimum of 2"),
        (pd.DataFrame({"a": ["x"] * 150}), IRIS[1], "Column 'a' has dtype .* not numeric"),
    ],
)
def test_unusable_tables_are_named_and_leave_nothing(X, y, words):
    classifier = EchoClassifier(2, **SMALL)
    with pytest.raises(ValueError, match=words):
        classifier.fit(X, y)
    assert not [name for name in vars(classifier) if name.endswith("_")]


def test_far_rows_are_named_and_a_failed_refit_leaves_the_old_fit(fitted):
    classifier = joblib.load(dump(fitted))
    with pytest.raises(ValueError, match=r"Row 2 holds 1e\+300 in column 1"):
        classifier.predict(np.where(np.arange(12).reshape(3, 4) == 9, 1e300, IRIS[0][:3]))
    before = classifier.predict_proba(IRIS[0])
    with pytest.raises(ValueError, match="one class"):
        classifier.fit(IRIS[0][:, :2], np.ones(150))
    np.testing.assert_array_equal(classifier.predict_proba(IRIS[0]), before)


def dump(estimator):
    buffer = io.BytesIO()
    joblib.dump(estimator, buffer)
    buffer.seek(0)
    return buffer


WORDS = np.array(["a", "bc", "ü"])


@pytest.mark.parametrize(
    "labels",
    [np.arange(3), np.array([-1.0, 0.0, 7.0]), WORDS.astype(object), WORDS],
    ids=lambda labels: str(labels.dtype),
)
def test_models_survive_being_stored(labels, tmp_path):
    X, y = IRIS
    y = labels[y]
    classifier = EchoClassifier(2, **SMALL | {"max_iter": 10}).fit(X, y)
    classifier.save(tmp_path / "model")
    for back in (load(tmp_path / "model"), joblib.load(dump(classifier))):
        for method in ("predict_proba", "transform", "rate_samples", "predict"):
            np.testing.assert_array_equal(getattr(back, method)(X), getattr(classifier, method)(X))
        assert back.predict(X).dtype.kind == y.dtype.kind
        assert back.set_noise_pool(X[:20]).pool_keys_.shape == (20,)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["fitted"].update(classes_=np.arange(4)),
        lambda s: s["fitted"].update(class_prior_=np.array([1.0, 0.0, 0.0])),
        lambda s: s["fitted"].update(class_prior_=np.ones(2)),
        lambda s: s["fitted"].update(mean_=np.zeros(3)),
        lambda s: s["fitted"].update(scale_=np.zeros(4)),
        lambda s: s["fitted"].update(n_outputs_=2),
        lambda s: s["fitted"].update(pool_scale_=s["fitted"]["pool_scale_"][:, :1]),
        lambda s: s["fitted"].update(mixing_=s["fitted"]["mixing_"] * np.nan),
        lambda s: s["fitted"].pop("pool_chains_"),
        lambda s: s["fitted"].update(params_=s["fitted"]["params_"][1:]),
        lambda s: s["fitted"].update(hidden_sizes_=np.array([2**50])),
        lambda s: s["fitted"].pop("classes_"),
        lambda s: s["params"].update(n_draws=0),
    ],
)
def test_models_that_contradict_themselves_are_refused(fitted, change, tmp_path):
    state = fitted._to_state()
    change(state)
    _persistence.write(tmp_path / "model", state)
    with pytest.raises(CorruptStreamError):
        load(tmp_path / "model")


def test_a_fit_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EchoClassifier(2, **SMALL | {"max_iter": 3}).fit(*IRIS)
