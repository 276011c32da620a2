"""PCACodec: transform, quantizers at a price or a target, rates against theory, partial fits."""

import tracemalloc
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import reference
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score

from rdlearn import PCACodec, _moments, _pca_design, base
from rdlearn.distortions import Hamming

DIGITS = load_digits().data


def correlated(seed, n_samples, n_features, offset=0.0):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(n_features, n_features)) * np.linspace(3, 0.5, n_features)
    return rng.normal(size=(n_samples, n_features)) @ mixing + offset


# The transform.


@pytest.mark.parametrize("shape", [(200, 7), (7, 200), (30, 30)])
@pytest.mark.parametrize("n_components", [None, 3])
@pytest.mark.parametrize("standardize", [False, True])
def test_components_agree_with_scikit_learn(shape, n_components, standardize):
    X = correlated(1, *shape, offset=1e3)
    codec = PCACodec(n_components, n_bits=2, standardize=standardize).fit(X)
    units = X.std(axis=0) if standardize else np.ones(shape[1])
    oracle = PCA(n_components, svd_solver="full").fit(X / units)
    np.testing.assert_allclose(codec.mean_, X.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(codec.scale_, X.std(axis=0), rtol=1e-10)
    variance = oracle.explained_variance_ * (shape[0] - 1) / shape[0]
    np.testing.assert_allclose(codec.explained_variance_, variance, rtol=1e-9, atol=1e-9)
    # Where the variance is rounding error, axes are arbitrary.
    real = variance > 1e-6
    cosines = np.sum(codec.components_ * oracle.components_, axis=1)[real]
    np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-9)
    largest = np.abs(codec.components_).argmax(axis=1)
    assert np.all(codec.components_[np.arange(len(largest)), largest] > 0)


def test_covariance_and_svd_paths_agree():
    X = correlated(2, 20, 21, offset=5)
    svd = PCACodec(target_rate=20).fit(X)
    covariance = PCACodec(target_rate=20).partial_fit(X)
    assert svd.n_components_ == covariance.n_components_ == 20
    np.testing.assert_allclose(
        svd.explained_variance_[:19], covariance.explained_variance_[:19], rtol=1e-9
    )
    np.testing.assert_allclose(svd.components_[:19], covariance.components_[:19], atol=1e-7)
    assert svd.rate(X) == pytest.approx(covariance.rate(X), rel=1e-3)


def test_few_rows_of_many_features_need_no_covariance():
    X = np.random.default_rng(0).normal(size=(10, 3000))
    PCACodec(n_bits=1).fit(X)
    tracemalloc.start()
    PCACodec(n_bits=1).fit(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The covariance matrix alone would take 72 MB.
    assert peak < 20 * X.nbytes


def test_large_offsets_and_constant_columns_keep_their_units():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3)) + [1.7e9, -1e8, 0]
    X = np.column_stack([X, np.full(400, 0.1), np.full(400, -1e8 / 3)])
    codec = PCACodec(target_rate=9, standardize=True).fit(X)
    np.testing.assert_allclose(codec.scale_[:3], X[:, :3].std(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(codec.scale_[3:], 1.0)
    np.testing.assert_allclose(codec.reconstruct(X)[:, 3:], X[:, 3:], rtol=1e-14)


# Targets.


def sources():
    rng = np.random.default_rng(7)
    return {
        "digits": DIGITS,
        "gaussian": rng.normal(size=(1500, 5)) * [5, 3, 1, 0.5, 0.1],
        "student": rng.standard_t(2, size=(1200, 4)),
        "correlated": correlated(3, 800, 10) @ np.diag([1] * 5 + [1e-2] * 5),
        "one feature": rng.normal(size=(500, 1)),
        "integers": rng.integers(0, 4, size=(800, 6)).astype(float),
        "wide": rng.normal(size=(50, 120)),
        "float32": rng.laplace(size=(600, 3)).astype(np.float32),
    }


SOURCES = sources()


@pytest.mark.parametrize("distortion", ["squared_error", "absolute_error"])
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("name", SOURCES)
def test_targets_are_met_from_below(name, standardize, distortion):
    X = SOURCES[name]
    params = {"standardize": standardize, "distortion": distortion}
    for bits in (0.4, 1.0, 3.7):
        target = bits * min(X.shape)
        codec = PCACodec(target_rate=target, **params).fit(X)
        assert 0.98 * target <= codec.rate(X) <= target
    target = codec.mean_distortion(X)
    for share in (0.3, 1.0, 3.0):
        codec = PCACodec(target_distortion=share * target, **params).fit(X)
        assert 0.98 * share * target <= codec.mean_distortion(X) <= share * target


@pytest.mark.parametrize("distortion", ["squared_error", "absolute_error"])
@pytest.mark.parametrize("targets", [{"target_rate": 11.0}, {"target_distortion": 1.5}])
def test_targets_hold_on_all_rows_though_the_search_sees_few(monkeypatch, targets, distortion):
    monkeypatch.setattr(_pca_design, "SEARCH_ROWS", 64)
    monkeypatch.setattr(_pca_design, "SEARCH_VALUES", 300)
    monkeypatch.setattr(base, "MAX_RESIDUALS", 2000)
    X = SOURCES["gaussian"]
    codec = PCACodec(distortion=distortion, **targets).fit(X)
    ((name, target),) = targets.items()
    reached = codec.rate(X) if name == "target_rate" else codec.mean_distortion(X)
    assert 0.98 * target <= reached <= target
    # 7500 values are four times the cap: every fourth row is described.
    error = (X - codec.reconstruct(X))[::4]
    scale = np.sqrt((error**2).mean()) if distortion == "squared_error" else np.abs(error).mean()
    assert codec.noise_scale_ == pytest.approx(scale)


@pytest.mark.parametrize("n_samples", [2, 5, 20])
@pytest.mark.parametrize("bits", [0.3, 1, 2.5])
def test_few_rows_stay_below_their_target_and_say_so(n_samples, bits):
    X = np.random.default_rng(n_samples).normal(size=(n_samples, 3))
    target = bits * 3
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        codec = PCACodec(target_rate=target).fit(X)
    assert codec.rate(X) <= target
    assert len(caught) == (codec.rate(X) < 0.98 * target)
    for warning in caught:
        assert warning.category is ConvergenceWarning
        assert f"target_rate={target:g}: the {n_samples} training" in str(warning.message)
        assert "fit on more samples" in str(warning.message)


@pytest.mark.parametrize("params", [{}, {"distortion": "absolute_error"}, {"standardize": True}])
def test_the_price_a_target_led_to_is_the_price(params):
    # Fitting at beta_ gives the target back: beta_ is the slope of the curve there.
    # Scaled, so that prices of squared and of absolute error are not alike.
    X = 10 * correlated(5, 3000, 6)
    targeted = PCACodec(target_rate=15, **params).fit(X)
    priced = PCACodec(beta=targeted.beta_, **params).fit(X)
    assert priced.rate(X) == pytest.approx(15, rel=0.06 if "distortion" in params else 0.01)
    low, high = (PCACodec(target_rate=rate, **params).fit(X) for rate in (14, 16))
    fall = low.mean_distortion(X) - high.mean_distortion(X)
    slope = (high.rate(X) - low.rate(X)) * np.log(2) / fall
    assert targeted.beta_ == pytest.approx(slope, rel=0.1)
    # The start of a search is not where it ends.
    far = PCACodec(target_rate=15, beta=1e6, **params).fit(X)
    assert far.rate(X) == pytest.approx(targeted.rate(X), rel=0.01)


# Rates against theory and against the bytes.


@pytest.mark.parametrize("beta", [2.0, 10.0, 300.0, 1e4])
def test_gaussian_payload_is_near_the_rate_distortion_function(beta):
    variances = [4.0, 1.0, 0.25]
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(2, 200_000, 3)) * np.sqrt(variances)
    codec = PCACodec(beta=beta).fit(train)
    chunk_rows = 50_000
    payload = 8 * (len(codec.compress(test, chunk_rows=chunk_rows)) - 54 - 4 * 40) / len(test)
    assert codec.rate(test) == pytest.approx(payload, rel=0.005)
    level, nats = reference.reverse_water_filling(variances, codec.mean_distortion(test))
    active = sum(variance > level for variance in variances)
    # 0.2546 bit is the most that optimal scalar quantization loses.
    assert 0 < payload - nats / np.log(2) <= 0.26 * active


@pytest.mark.parametrize("rate, gap", [(0.22, 0.10), (0.26, 0.10), (0.38, 0.16), (0.42, 0.16)])
def test_gaussian_payload_at_low_rates(rate, gap):
    X = np.random.default_rng(1).normal(size=(200_000, 1))
    codec = PCACodec(target_rate=rate).fit(X)
    payload = 8 * (len(codec.compress(X)) - 94) / len(X)
    bits = reference.reverse_water_filling([X.var()], codec.mean_distortion(X))[1] / np.log(2)
    assert bits < {0.10: 0.18, 0.16: 0.3}[gap]
    assert 0 < payload - bits <= gap
    assert codec.rate(X) == pytest.approx(payload, rel=0.005)


@pytest.mark.parametrize("params", [{}, {"standardize": True}, {"distortion": "absolute_error"}])
def test_larger_beta_more_bits_less_loss(params):
    X = SOURCES["student"]
    codecs = [PCACodec(beta=beta, **params).fit(X) for beta in (0.3, 1, 4, 30, 300, 1e4)]
    rates = [codec.rate(X) for codec in codecs]
    losses = [codec.mean_distortion(X) for codec in codecs]
    assert rates == sorted(rates) and rates[0] < rates[-1] / 5
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0] / 5
    # Each is the best of them at its own price (cells are counted, hence the small slack).
    for codec in codecs:
        costs = np.log(2) * np.array(rates) + codec.beta * np.array(losses)
        assert costs[codecs.index(codec)] <= costs.min() * 1.02


@pytest.mark.parametrize("n_bits", [1, 2, 5, 12])
@pytest.mark.parametrize("n_components", [1, 4])
def test_n_bits_is_exact(n_bits, n_components):
    X = np.column_stack([correlated(1, 500, 4), np.ones(500)])
    codec = PCACodec(n_components, n_bits=n_bits).fit(X)
    np.testing.assert_array_equal(codec.rate_samples(X * 3), n_bits * n_components)
    payload = len(codec.compress(X)) - 54 - 48
    # The coder's eight states carry up to 16 bits each.
    assert -128 <= 8 * payload - 500 * n_bits * n_components <= 16
    Z = codec.transform(X)
    assert all(len(np.unique(column)) <= 2**n_bits for column in Z.T)
    assert codec.beta_ == codec.beta == 1.0 and len(codec.history_) == 1
    if n_bits == 1:
        scores = (X - X.mean(axis=0)) @ codec.components_.T
        for z, y in zip(Z.T, scores.T, strict=True):
            sides = [y[z == value].mean() for value in np.unique(z)]
            # Centroids, kept on a grid of 1/32 of half the largest deviation.
            np.testing.assert_allclose(np.unique(z), sides, atol=np.std(scores[:, 0]) / 128)


# Other distortions.


@pytest.mark.parametrize("distortion", ["hamming", "bernoulli", Hamming(a=4.0), "absolute_error"])
def test_binary_data(distortion):
    rng = np.random.default_rng(0)
    X = (rng.random((600, 3)) < 0.4).astype(float)[:, [0, 0, 1, 1, 2, 2, 2]]
    X = np.abs(X - (rng.random(X.shape) < 0.05))
    low, high = (PCACodec(beta=beta, distortion=distortion).fit(X) for beta in (3.0, 90.0))
    assert low.mean_distortion(X) > high.mean_distortion(X)
    X_hat = high.reconstruct(X)
    name = high.distortion_.name
    price = {"a": 4.0} if isinstance(distortion, Hamming) else {}
    loss = np.vectorize(lambda x, p: reference.entry_loss(name, x, p, **price))(X, X_hat)
    np.testing.assert_allclose(high.distortion_samples(X), loss.sum(axis=1), rtol=1e-9)
    np.testing.assert_allclose(high.distortion_per_feature_, loss.mean(axis=0), rtol=1e-9)
    if name == "hamming":
        assert set(np.unique(X_hat)) <= {0.0, 1.0}
        assert high.mean_distortion(X) < 0.05
    if name == "bernoulli":
        assert 0 < X_hat.min() and X_hat.max() < 1
    assert -np.inf < high.score(X) <= 0


def test_fewer_components_lose_the_rest():
    X = correlated(0, 600, 5)
    codec = PCACodec(2, target_rate=15).fit(X)
    assert codec.transform(X).shape == (600, 2)
    lost = np.linalg.eigvalsh(np.cov(X.T, bias=True))[:3].sum()
    assert lost < codec.mean_distortion(X) < 1.01 * lost
    assert codec.history_.distortion.min() > lost
    with pytest.raises(ValueError, match=f"between {lost:.4g} and"):
        PCACodec(2, target_distortion=lost / 2).fit(X)
    error = X - codec.reconstruct(X)
    np.testing.assert_allclose(codec.distortion_per_feature_, (error**2).mean(axis=0))


def test_standardized_codecs_do_not_see_units():
    X, units = correlated(4, 500, 4, offset=3), np.array([1e-3, 7.0, 400.0, 1.0])
    one = PCACodec(beta=5.0, standardize=True, resolution=[0.1, 0.2, 0.1, 0.3]).fit(X)
    other = PCACodec(beta=5.0, standardize=True, resolution=units * one.resolution).fit(X * units)
    np.testing.assert_allclose(other.transform(X * units), one.transform(X), atol=1e-9)
    np.testing.assert_allclose(other.reconstruct(X * units), one.reconstruct(X) * units, rtol=1e-9)
    assert other.rate(X * units) == pytest.approx(one.rate(X), rel=1e-12)
    assert other.mean_distortion(X * units) == pytest.approx(one.mean_distortion(X), rel=1e-9)
    # The cells scale with the data, so their probabilities stay.
    assert other.score(X * units) == pytest.approx(one.score(X), rel=1e-9)
    # With learned cells too, which scale by themselves.
    learned = [PCACodec(beta=5.0, standardize=True).fit(Y).score(Y) for Y in (X, X * units)]
    assert learned[1] == pytest.approx(learned[0], rel=1e-6)
    error = (X - one.reconstruct(X)) / X.std(axis=0)
    np.testing.assert_allclose(one.distortion_samples(X), (error**2).sum(axis=1), rtol=1e-9)


# Model selection.


@pytest.mark.parametrize("degenerate", [False, True])
def test_score_has_an_interior_maximum_over_beta(degenerate):
    X = DIGITS[:900]
    if degenerate:
        X = np.column_stack([X, np.full(900, 3.0), X[:, 20]])
    betas = [0.01, 0.1, 1.0, 3.0, 10.0, 100.0, 1e4]
    scores = [cross_val_score(PCACodec(beta=beta), X, cv=3).mean() for beta in betas]
    best = int(np.argmax(scores))
    assert betas[best] in (1.0, 3.0, 10.0)
    assert all(np.diff(scores[: best + 1]) > 0) and all(np.diff(scores[best:]) < 0)
    assert scores[best] - max(scores[0], scores[-1]) > 20


def test_grid_search_gives_one_table_under_every_backend():
    grid = {"beta": [0.3, 3.0], "distortion": ["squared_error", "absolute_error"]}
    tables = []
    for backend in ("sequential", "threading", "loky"):
        with joblib.parallel_config(backend=backend):
            search = GridSearchCV(PCACodec(), grid, cv=3, n_jobs=2).fit(DIGITS[:150])
        table = pd.DataFrame(search.cv_results_)
        tables.append(table[[name for name in table if "time" not in name]])
    pd.testing.assert_frame_equal(tables[0], tables[1], check_exact=True)
    pd.testing.assert_frame_equal(tables[0], tables[2], check_exact=True)
    assert tables[0]["mean_test_score"].nunique() == 4


# Partial fits.


@pytest.mark.parametrize("cuts", [[], [2], [100, 103, 250], list(range(50, 400, 50))])
@pytest.mark.parametrize("params", [{"beta": 3.0}, {"target_rate": 8.0, "standardize": True}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_partial_fits_add_up_to_a_fit(cuts, params, dtype):
    X = correlated(8, 400, 5, offset=20).astype(dtype)
    whole, parts = PCACodec(**params).fit(X), PCACodec(**params, random_state=4)
    # Only the last call must reach the target.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for part in np.split(X, cuts):
            parts.partial_fit(part)
    assert parts.n_samples_seen_ == whole.n_samples_seen_ == 400
    for name in ("mean_", "scale_", "explained_variance_", "resolution_", "beta_"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-6)
    np.testing.assert_allclose(parts.components_, whole.components_, atol=1e-7)
    tolerance = 1e-4 if dtype == np.float32 else 1e-7
    assert parts.rate(X) == pytest.approx(whole.rate(X), rel=1e-3)
    close = np.abs(parts.transform(X) - whole.transform(X)).max(axis=1) < tolerance * 100
    assert close.mean() > 0.99
    assert parts.score(X) == pytest.approx(whole.score(X), rel=1e-3)


def test_partial_fit_beyond_the_capacity(monkeypatch):
    monkeypatch.setattr(_moments, "LEAST_ROWS", 256)
    monkeypatch.setattr(_moments, "SAMPLE_ROWS", 256)
    X = correlated(9, 4000, 3, offset=-2)
    models = []
    for cuts in ([1500], [300, 1000, 1001, 3000]):
        codec = PCACodec(beta=5.0, random_state=0)
        for part in np.split(X, cuts):
            codec.partial_fit(part)
        models.append(codec)
    assert len(models[0]._partial.rows) == 256
    one, other = models
    np.testing.assert_allclose(one.mean_, X.mean(axis=0), rtol=1e-12)
    covariance = one.components_.T * one.explained_variance_ @ one.components_
    np.testing.assert_allclose(covariance, np.cov(X.T, bias=True), rtol=1e-9, atol=1e-9)
    assert one.rate(X) == pytest.approx(other.rate(X), rel=1e-3)
    # 256 rows stand for all: within 3 % of what all of them give.
    assert one.rate(X) == pytest.approx(PCACodec(beta=5.0).fit(X).rate(X), rel=0.03)


def test_partial_fit_after_fit_starts_over():
    X = correlated(0, 100, 3)
    codec = PCACodec(beta=5).fit(X)
    with pytest.warns(UserWarning, match="partial_fit starts over"):
        codec.partial_fit(X[:50])
    assert codec.n_samples_seen_ == 50
    codec.partial_fit(X[50:])
    assert codec.n_samples_seen_ == 100
    assert codec.fit(X[:30]).n_samples_seen_ == 30
    with pytest.warns(UserWarning, match="partial_fit starts over"):
        assert codec.partial_fit(X).n_samples_seen_ == 100


def test_a_first_partial_fit_that_fails_leaves_no_rows_behind():
    X = correlated(0, 100, 3)
    codec = PCACodec(3, beta=5)
    with pytest.raises(ValueError, match="n_components=3 must be at most 2"):
        codec.partial_fit(X[:2])
    assert codec.partial_fit(X).n_samples_seen_ == 100
    # One more row is enough, once there are two.
    assert codec.partial_fit(X[:1]).n_samples_seen_ == 101
