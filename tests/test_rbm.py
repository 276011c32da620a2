"""RestrictedBoltzmannMachine: the estimator, its likelihoods and its tilted law."""

import numpy as np
import pytest
from reference import Enumerated, words
from scipy import stats
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import BernoulliRBM

from rdlearn import RestrictedBoltzmannMachine, load
from rdlearn._binary import tilt_towards
from rdlearn.distortions import Hamming

INF = np.inf


def bits(n=2000, d=6, seed=0):
    """Noisy copies of three words."""
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 2, size=(3, d))[rng.integers(0, 3, size=n)]
    return (base != (rng.random((n, d)) < 0.1)).astype(float)


def rbm(**params):
    return RestrictedBoltzmannMachine(
        **{"n_components": 4, "learning_rate_init": 0.5, "max_iter": 20, "random_state": 0} | params
    )


@pytest.fixture(scope="module")
def fitted():
    return rbm().fit(bits())


def law(model):
    return Enumerated(model.components_.T, model.intercept_visible_, model.intercept_hidden_)


def test_likelihoods_are_those_of_the_enumerated_law(fitted):
    exact = law(fitted)
    np.testing.assert_allclose(fitted.score_samples(words(6)), np.log(exact.p_v), atol=1e-5)
    value, error = fitted.log_partition()
    assert value == pytest.approx(exact.log_z, abs=1e-5) and error == 0.0
    assert fitted.score(bits()) == pytest.approx(np.mean(fitted.score_samples(bits())))


def test_transform_is_that_of_scikit_learns_machine(fitted):
    theirs = BernoulliRBM(4).fit(bits()[:10])
    theirs.components_ = fitted.components_.astype(float)
    theirs.intercept_hidden_ = fitted.intercept_hidden_.astype(float)
    theirs.intercept_visible_ = fitted.intercept_visible_.astype(float)
    X = bits()
    np.testing.assert_allclose(fitted.transform(X), theirs.transform(X), atol=1e-6)
    np.testing.assert_allclose(fitted.free_energy(X), theirs._free_energy(X), rtol=1e-5)
    H = np.random.default_rng(0).random((5, 4))
    want = 1 / (1 + np.exp(-(H @ theirs.components_ + theirs.intercept_visible_)))
    np.testing.assert_allclose(fitted.inverse_transform(H), want, atol=1e-6)
    assert fitted.transform(X.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("gradient", ["exact", "cd", "pcd"])
def test_fits_learn_and_are_the_same_to_the_bit(gradient):
    X = bits()
    model = rbm(gradient=gradient, n_gibbs=5, max_iter=40).fit(X)
    again = clone(model).fit(X)
    np.testing.assert_array_equal(model.components_, again.components_)
    counts = np.unique(X, axis=0, return_counts=True)[1] / len(X)
    entropy = -(counts @ np.log(counts))
    apart = stats.entropy(np.stack([X.mean(axis=0), 1 - X.mean(axis=0)])).sum()
    # Most of what the bits say of each other.
    assert entropy < -model.score(X) < entropy + 0.25 * (apart - entropy)
    assert model.gradient_ == gradient and model.n_iter_ == 40
    assert len(model.history_) == 40
    assert not np.array_equal(rbm(random_state=1).fit(X).components_, model.components_)


@pytest.mark.parametrize(
    "n_components, d, kind", [(4, 30, "exact"), (30, 6, "exact"), (13, 13, "pcd")]
)
def test_auto_is_exact_where_it_can_be(n_components, d, kind):
    model = rbm(n_components=n_components, max_iter=1).fit(bits(50, d))
    assert model.gradient_ == kind


# The tilt.


@pytest.mark.parametrize("beta", [0.0, 0.7, 3.0, INF])
@pytest.mark.parametrize("a, b", [(1.0, 1.0), (0.5, 2.0), (INF, 1.0), (1.0, INF)])
def test_the_tilt_is_the_exponential_of_the_distortion(beta, a, b):
    x, y, d = words(3).astype(float), words(3).astype(float), Hamming(a, b)
    shift, constant = tilt_towards(x, beta, d)
    for i, row in enumerate(x):
        loss = d.samples(np.tile(row, (8, 1)), y)
        # Nothing costs nothing at any price, and an infinite cost bars at any price.
        want = [
            0.0 if cost == 0 else -INF if INF in (cost, beta) else -beta * cost for cost in loss
        ]
        barred = (np.isneginf(shift[i]) & (y == 1)) | (np.isposinf(shift[i]) & (y == 0))
        finite = np.where(np.isfinite(shift[i]), shift[i], 0.0)
        got = np.where(barred.any(axis=1), -INF, constant[i] + y @ finite)
        np.testing.assert_allclose(got, want, atol=1e-12)


@pytest.mark.parametrize("beta", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("distortion", ["hamming", Hamming(0.5, 2.0), Hamming(INF, 1.0)])
def test_log_tilted_mass(fitted, beta, distortion):
    p, X = law(fitted).p_v, bits(20, seed=3)
    d = Hamming() if distortion == "hamming" else distortion
    loss = np.stack([d.samples(np.tile(x, (64, 1)), words(6).astype(float)) for x in X])
    with np.errstate(invalid="ignore"):
        logs = np.where(np.isinf(loss), -INF, -beta * loss)
    value, error = fitted.log_tilted_mass(X, beta, distortion)
    np.testing.assert_allclose(value, logsumexp(logs, b=p, axis=1), atol=1e-5)
    assert not error.any()


def test_annealed_where_enumeration_ends():
    model = rbm(n_components=20, max_iter=5).fit(bits(500, 20))
    X = bits(5, 20, seed=1)
    value, error = model.log_tilted_mass(X, 1.0, n_particles=200)
    again, _ = model.log_tilted_mass(X, 1.0, n_particles=200)
    np.testing.assert_array_equal(value, again)
    other, other_error = model.log_tilted_mass(X, 1.0, n_particles=200, random_state=1)
    assert np.all(error > 0) and np.all(error < 0.2)
    assert np.all(np.abs(value - other) < 4 * np.hypot(error, other_error))
    total, total_error = model.log_partition(n_steps=200)
    assert total_error > 0
    np.testing.assert_allclose(model.score_samples(X), -model.free_energy(X) - total, atol=0.3)
    hard = rbm(n_components=60, max_iter=1).fit(bits(500, 40))
    hard.components_ = (30 * np.random.default_rng(0).standard_normal((60, 40))).astype(np.float32)
    X = bits(5, 40)
    with pytest.raises(ValueError, match=r"effective sample size.*n_steps.*free_energy"):
        hard.score_samples(X)


@pytest.mark.parametrize("beta, distortion", [(0.0, "hamming"), (1.5, Hamming(0.5, 2.0))])
def test_gibbs_tends_to_the_tilted_law(fitted, beta, distortion):
    x = np.array([1.0, 0, 1, 1, 0, 0])
    Y = fitted.gibbs(np.tile(x, (20_000, 1)), 60, beta=beta, distortion=distortion, random_state=0)
    d = Hamming() if distortion == "hamming" else distortion
    p = law(fitted).p_v * np.exp(-beta * d.samples(np.tile(x, (64, 1)), words(6).astype(float)))
    counts = np.bincount((Y @ 2 ** np.arange(6)).astype(int), minlength=64)
    assert stats.chisquare(counts, 20_000 * p / p.sum()).pvalue > 1e-4
    again = fitted.gibbs(np.tile(x, (50, 1)), 60, beta=beta, distortion=distortion, random_state=0)
    np.testing.assert_array_equal(again, Y[:50])


@pytest.mark.parametrize("beta", [0.0, 1.0, INF])
def test_barred_flips_do_not_happen(fitted, beta):
    X = bits(500, seed=5)
    Y = fitted.gibbs(X, 5, beta=beta, distortion=Hamming(INF, 1.0), random_state=0)
    assert not np.any((X == 0) & (Y == 1))
    assert np.any((X == 1) & (Y == 0)) == np.isfinite(beta)
    Y = fitted.gibbs(X, 5, beta=beta, distortion=Hamming(1.0, INF), random_state=0)
    assert not np.any((X == 1) & (Y == 0))


def test_samples_are_of_the_model(fitted):
    V = fitted.sample(20_000, n_gibbs=60, random_state=0)
    counts = np.bincount((V @ 2 ** np.arange(6)).astype(int), minlength=64)
    assert stats.chisquare(counts, 20_000 * law(fitted).p_v).pvalue > 1e-4
    assert fitted.sample().shape == (1, 6)


# What goes in.


def test_binarize():
    X = bits()
    shifted = 3 * X - 1
    np.testing.assert_array_equal(
        rbm(binarize=0.5).fit(shifted).components_, rbm().fit(X).components_
    )
    P = np.random.default_rng(0).random((3000, 5)) ** 2
    drawn = rbm(binarize="sample").fit(P)
    assert set(np.unique(drawn._bits(P))) == {0.0, 1.0}
    np.testing.assert_allclose(1 / (1 + np.exp(-drawn.base_)), P.mean(axis=0), atol=0.04)
    np.testing.assert_array_equal(drawn.transform(P[5:9]), drawn.transform(P)[5:9])


@pytest.mark.parametrize(
    "params, X, words",
    [
        ({}, [[0, 2], [1, 0]], r"binarize=None, but column 1 contains 2.*set binarize"),
        ({}, [[0, 0.5], [1, 0]], r"binarize=None, but column 1 contains 0.5.*'sample'"),
        ({"binarize": "sample"}, [[0, 1.5], [1, 0]], r"'sample', but column 1 contains 1.5.*resc"),
        ({}, np.array([[0, np.nan], [1, 0]]), r"NaN in row 0 of column 1"),
        ({"gradient": "exact", "n_components": 13}, np.eye(13), "13 units, but 12 are the most"),
        ({"binarize": "often"}, np.eye(2), "'binarize' parameter"),
        ({"device": "cuda"}, np.eye(2), 'device="cuda" needs'),
        ({"learning_rate_init": 1e30}, np.eye(2), "not finite after epoch.*lower learning_rate"),
    ],
)
def test_unusable_tables_and_parameters_are_named(params, X, words):
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=words):
        rbm(**params).fit(X)


def test_unusable_codes_are_named(fitted):
    with pytest.raises(ValueError, match="H has 3 columns, but this machine has 4 hidden units"):
        fitted.inverse_transform(np.zeros((2, 3)))


def test_warm_start_goes_on_and_cannot_change_shape():
    X = bits()
    model = rbm(warm_start=True, max_iter=3).fit(X)
    before = model.score(X)
    model.fit(X)
    assert model.score(X) > before
    with pytest.raises(ValueError, match="warm_start=True cannot change n_components=4"):
        model.set_params(n_components=5).fit(X)
    assert model.components_.shape == (4, 6)


def test_saved_and_loaded(fitted, tmp_path):
    fitted.save(tmp_path / "m.rdl")
    again = load(tmp_path / "m.rdl")
    X = bits()
    np.testing.assert_array_equal(again.transform(X), fitted.transform(X))
    assert again.score(X) == fitted.score(X) and len(again.history_) == 20
    assert list(again.get_feature_names_out())[0] == "restrictedboltzmannmachine0"


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda m, X: m.gibbs(X, beta=-1), ValueError, "beta=-1 must be a number, 0 or more"),
        (lambda m, X: m.gibbs(X, beta=np.nan), ValueError, "beta=nan"),
        (lambda m, X: m.gibbs(X, distortion="squared_error"), ValueError, "no tilt of bits"),
        (lambda m, X: m.gibbs(X, -1), ValueError, "n_gibbs == -1, must be >= 1"),
        (lambda m, X: m.gibbs(X, 1.5), TypeError, "n_gibbs must be an instance of int"),
        (lambda m, X: m.sample(0), ValueError, "n_samples == 0, must be >= 1"),
        (lambda m, X: m.log_partition(n_steps=0), ValueError, "n_steps == 0, must be >= 1"),
        (lambda m, X: m.log_partition(n_particles=1), ValueError, "n_particles == 1, must be >= 2"),
        (lambda m, X: m.inverse_transform(9 * X[:, :4] + 2), ValueError, "H contains .* 0 or 1"),
    ],
)
def test_unusable_arguments_are_named(fitted, call, error, words):
    with pytest.raises(error, match=words):
        call(fitted, bits())


@pytest.mark.parametrize("method", ["score", "free_energy", "score_samples", "transform", "gibbs"])
def test_what_is_not_fitted_says_so(method):
    with pytest.raises(NotFittedError):
        getattr(rbm(), method)(bits())


def test_parameters_set_after_the_fit_do_not_spoil_the_file(fitted, tmp_path):
    model = clone(fitted).fit(bits()).set_params(n_components=7)
    model.save(tmp_path / "m.rdl")
    np.testing.assert_array_equal(
        load(tmp_path / "m.rdl").transform(bits()), fitted.transform(bits())
    )
