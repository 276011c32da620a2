"""EchoAutoencoder: closed forms, exactness, determinism, files."""

import subprocess
import sys

import joblib
import numpy as np
import pytest
import reference
from echo_data import SMALL, table
from scipy.special import ndtri
from scipy.stats import ks_2samp, kurtosis
from sklearn.base import clone
from sklearn.datasets import load_digits

from rdlearn import EchoAutoencoder, load
from rdlearn.channels.diagonal_echo import truncation_clip
from rdlearn.kernels.whitening import MARGIN

DIGITS = load_digits().data
# A normal law without sampling error: what is drawn from these rows has variance 1.
GRID = np.random.default_rng(0).permutation(ndtri((np.arange(2000) + 0.5) / 2000))[:, None]
GRID /= GRID.std()


@pytest.fixture(scope="module")
def fitted():
    return EchoAutoencoder(3, beta=3.0, data_range=20.0, **SMALL).fit(table())


def layers(codec):
    """Weights and biases from the vector of parameters, encoder then decoder, in float64."""
    hidden, k, d = codec.hidden_sizes_.tolist(), codec.n_components_, codec.n_features_in_
    sizes = [d, *hidden, 2 * k], [k, *hidden[::-1], d]
    rest, nets = codec.params_.astype(np.float64), []
    for widths in sizes:
        net = []
        for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
            weights, bias, rest = np.split(rest, [n_in * n_out, (n_in + 1) * n_out])
            net.append({"weights": weights.reshape(n_in, n_out), "bias": bias})
        nets.append(net)
    assert rest.size == 0
    return nets


def naive_outputs(codec, X):
    """f and sigma of rows, and the decoder as a function of codes."""
    encoder, decoder = layers(codec)
    units = X.std(axis=0) if codec.standardize else 1.0
    t = (X - X.mean(axis=0)) / units
    spread = np.sqrt(np.mean(t.var(axis=0)))
    rules = [codec.activation] * len(codec.hidden_sizes_) + ["identity"]
    x = t / spread / max(1.0, np.sqrt(X.shape[1] / 64))
    f, b = np.split(reference.naive_network(encoder, x, rules), 2, axis=1)

    def decode(code):
        return reference.naive_network(decoder, code, rules) * spread * units + X.mean(axis=0)

    if codec.noise_terms is not None:
        return f, truncation_clip(codec.noise_terms) / (1 + np.exp(-b)), decode
    return f, np.exp(b), decode


def naive_mixing(f, scale):
    """Mean and inverse Cholesky factor of the code's covariance, where noise is white."""
    covariance = np.cov(f.T, bias=True) + (1 + MARGIN) * np.diag(np.mean(scale**2, axis=0))
    return f.mean(axis=0), np.linalg.inv(np.linalg.cholesky(covariance))


# Closed forms.


@pytest.mark.parametrize(
    "beta, noise_terms",
    [(1, None), (2, None), (8, None), (32, None)] + [(2, 40), (8, 40), (32, 40)],
)
def test_a_gaussian_reaches_the_shannon_bound_and_never_beats_it(beta, noise_terms):
    rng = np.random.default_rng(1)
    X, fresh = rng.normal(size=(10_000, 1)), rng.normal(size=(50_000, 1))
    codec = EchoAutoencoder(
        1, hidden_layer_sizes=(), beta=beta, max_iter=30, noise_terms=noise_terms, random_state=0
    )
    # A sample of 2000 would get the variance of the noise wrong by 3 %.
    codec.fit(X).set_noise_pool(GRID)
    error = (fresh - codec.inverse_transform(codec.sample_codes(fresh, random_state=2)))[:, 0] ** 2
    distortion = error.mean()
    standard_error = error.std() / np.sqrt(len(fresh)) / distortion / 2
    nats = codec.rate(fresh) * np.log(2)
    shannon = -0.5 * np.log(distortion)
    assert shannon - 3 * standard_error <= nats <= shannon + 0.02
    # dR/dD = -beta gives D = 1 / (2 beta), and R = -ln S.
    assert distortion == pytest.approx(1 / (2 * beta), rel=0.03)
    assert np.exp(-nats) == pytest.approx(np.sqrt(1 / (2 * beta)), rel=0.015)


def test_a_gaussian_vector_reaches_reverse_water_filling():
    variances = np.array([4.0, 1.0, 0.04])
    rng = np.random.default_rng(0)
    X = rng.normal(size=(10_000, 3)) * np.sqrt(variances)
    X *= np.sqrt(variances) / X.std(axis=0)
    # At beta 2 the water stands at 1/4: the last feature is not worth a bit.
    codec = EchoAutoencoder(3, hidden_layer_sizes=(), beta=2.0, max_iter=60, random_state=0).fit(X)
    level, shannon = reference.reverse_water_filling(variances, codec.mean_distortion(X))
    nats = codec.rate(X) * np.log(2)
    # The noise of 2000 pool rows has a variance right to 3 %, half of that in nats and component.
    assert shannon - 0.03 <= nats <= shannon + 0.05
    assert level == pytest.approx(0.25, rel=0.1)


def unit_rows(rng, n, k):
    """Normal rows whose own covariance is the identity, not an estimate of it."""
    X = rng.normal(size=(n, k))
    X -= X.mean(axis=0)
    return np.linalg.solve(np.linalg.cholesky(X.T @ X / n), X.T).T


@pytest.mark.parametrize(
    "k, noise_terms, seed", [(1, None, 2), (1, None, 3), (1, 99, 2), (16, None, 1)]
)
def test_the_rate_of_a_gaussian_does_not_depend_on_which_rows_the_pool_took(k, noise_terms, seed):
    # Seeds whose pools of 2000 have variances that are off by up to 5 %.
    rng, n, draws = np.random.default_rng(seed), 200_000 // (3 + k), 8
    X, fresh = unit_rows(rng, 20_000, k), unit_rows(rng, n, k)
    params = {"hidden_layer_sizes": (), "beta": 2.0, "max_iter": 20, "random_state": seed}
    codec = EchoAutoencoder(k, noise_terms=noise_terms, **params).fit(X)
    for _ in ("training rows", "the rows themselves"):
        codes = (codec.sample_codes(fresh, random_state=s) for s in range(draws))
        errors = np.mean([(fresh - codec.inverse_transform(Z)) ** 2 for Z in codes])
        gap = codec.rate(fresh) * np.log(2) + k / 2 * np.log(errors)
        # Of k n draws of squares of normal errors, half of which goes into every rate.
        standard_error = k / 2 * np.sqrt(2 / (k * n * draws))
        assert -4 * standard_error <= gap <= 0.01 * np.sqrt(k)
        codec.set_noise_pool(fresh)


def test_truncated_noise_has_the_floor_of_its_clip():
    X = table(200, 3)
    params = {"hidden_layer_sizes": (), "learning_rate_init": 0.05, "max_iter": 200}
    codec = EchoAutoencoder(2, beta=1e-6, noise_terms=40, random_state=0, **params).fit(X)
    floor = -2 * np.log(truncation_clip(40))
    # The sigmoid only nears the clip.
    assert floor <= codec.rate(X) * np.log(2) <= floor + 0.05


@pytest.mark.filterwarnings("ignore:The code takes:UserWarning")
def test_chained_noise_has_next_to_no_floor():
    X = table(200, 3)
    params = {"hidden_layer_sizes": (), "learning_rate_init": 0.05, "max_iter": 200}
    codec = EchoAutoencoder(2, beta=1e-6, random_state=0, **params).fit(X)
    # Twice, and what covariance a net of next to no signal leaves.
    assert np.log1p(MARGIN) - 1e-6 <= codec.rate(X) * np.log(2) <= 0.05


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"activation": "tanh", "standardize": True},
        {"activation": "softplus", "hidden_layer_sizes": (9, 4)},
        {"activation": "identity", "hidden_layer_sizes": ()},
        {"noise_terms": 9},
    ],
)
@pytest.mark.parametrize("d", [3, 100])
def test_rate_and_decoder_follow_their_definitions(params, d):
    X = table(150, d)
    codec = EchoAutoencoder(3, beta=8.0 / d, **SMALL | params).fit(X)
    f, scale, decode = naive_outputs(codec, X)
    # All 150 rows are the pool.
    mean, mixing = (0, np.eye(3)) if codec.noise_terms else naive_mixing(f, scale)
    log_det = np.linalg.slogdet(mixing)[1]
    bits = -(np.log(scale).sum(axis=1) + log_det) / np.log(2)
    assert codec.log_det_ == pytest.approx(log_det, abs=1e-4)
    np.testing.assert_allclose(codec.mixing_, mixing, atol=1e-3 * np.abs(mixing).max())
    np.testing.assert_allclose(codec.pool_mean_, np.broadcast_to(mean, 3), atol=1e-4)
    assert codec.rate(X) >= 0
    # float32 nets: a few roundings of 1e-7, times the size of their inputs.
    np.testing.assert_allclose(codec.rate_samples(X), bits, rtol=1e-4, atol=1e-5)
    assert codec.rate(X) == pytest.approx(bits.mean(), rel=1e-5)
    Z = codec.sample_codes(X, random_state=0)
    np.testing.assert_allclose(codec.inverse_transform(Z), decode(Z), atol=1e-4 * X.std())
    np.testing.assert_allclose(codec.pool_scale_.mean(), scale.mean(), rtol=1e-4)
    # transform has the mean of the noise in place of a draw.
    epsilon = (codec.transform(X) - f) / scale
    np.testing.assert_allclose(epsilon, np.broadcast_to(epsilon[0], f.shape), atol=1e-3)


# Exactness.


def plug_in_information(x, z, cells):
    """Mutual information of two samples in nats, from equally full cells, less its bias."""
    ranks = [np.argsort(np.argsort(v)) * cells // len(v) for v in (x, z)]
    joint = np.bincount(ranks[0] * cells + ranks[1], minlength=cells**2) / len(x)
    positive = joint[joint > 0]
    # Marginals are uniform; Miller & Madow's correction of the occupied cells.
    bias = (len(positive) - 2 * cells + 1) / (2 * len(x))
    return np.sum(positive * np.log(positive * cells**2)) - bias


@pytest.mark.parametrize("distortion", ["squared_error", "absolute_error"])
def test_rate_is_the_information_in_the_codes_of_a_net(distortion):
    params = {"hidden_layer_sizes": (16,), "activation": "tanh", "max_iter": 20}
    rng = np.random.default_rng(0)
    codec = EchoAutoencoder(1, beta=6.0, distortion=distortion, random_state=0, **params)
    codec.fit(rng.normal(size=(5000, 1))).set_noise_pool(GRID)
    x = rng.normal(size=(400_000, 1))
    z = codec.sample_codes(x, random_state=1)[:, 0]
    estimate = plug_in_information(x[:, 0], z, 150)
    # Cells of 1/150 of the mass lose under 0.02 nats at a noise of a quarter of the spread.
    assert codec.rate(x) * np.log(2) == pytest.approx(estimate, abs=0.03)


@pytest.mark.parametrize("noise_terms", [None, 40])
def test_noise_has_the_law_of_the_code(noise_terms):
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(-2, 0.3, (1000, 1)), rng.exponential(1.0, (1000, 1))])
    params = SMALL | {"activation": "tanh", "noise_terms": noise_terms}
    codec = EchoAutoencoder(1, beta=1.0, **params).fit(X)
    codes, others = (codec.sample_codes(X, random_state=seed)[:, 0] for seed in (1, 2))
    f, scale, _ = naive_outputs(codec, X)
    noise = (others - f[:, 0]) / scale[:, 0]
    # Up to an affine map, which is the identity where noise is cut off.
    codes = codec.mixing_[0, 0] * (codes - codec.pool_mean_[0])
    assert np.ptp(scale) > 0.02
    # Two samples of 2000 of one law: beyond this once in 10,000 times.
    assert ks_2samp(codes, noise).statistic < 2.2 * np.sqrt(2 / 2000)


def law_of_noise(f, scale, mean, mixing):
    """Mean and covariance of noise that is mixed from codes of these rows and such noise."""
    f = f - mean
    centre, square = np.zeros(f.shape[1]), np.eye(f.shape[1])
    for _ in range(1000):
        crossed = (f.T @ scale / len(f)) * centre
        square = f.T @ f / len(f) + crossed + crossed.T + scale.T @ scale / len(f) * square
        square = mixing @ square @ mixing.T
        centre = mixing @ (f + scale * centre).mean(axis=0)
    return centre, square - np.outer(centre, centre)


@pytest.mark.parametrize("beta, noise_terms", [(3.0, None), (0.1, None), (3.0, 40)])
def test_noise_has_the_moments_of_all_rows_though_it_is_made_of_some(beta, noise_terms):
    X, n = table(6000), 100_000
    codec = EchoAutoencoder(3, beta=beta, noise_terms=noise_terms, **SMALL | {"max_iter": 5})
    f, scale, _ = naive_outputs(codec.fit(X), X)
    for rows in (slice(None), slice(3000)):
        part = f[rows], scale[rows]
        mean, mixing = (0.0, np.eye(3)) if noise_terms else naive_mixing(*part)
        assert codec.log_det_ == pytest.approx(np.linalg.slogdet(mixing)[1], abs=1e-4)
        centre, covariance = law_of_noise(*part, mean, mixing)
        # A row that is not in the pool has noise of all of it.
        row = np.flatnonzero(~np.isin(codec._encode(X)[3], codec.pool_keys_))[-1]
        codes = codec.sample_codes(np.repeat(X[row : row + 1], n, axis=0), random_state=0)
        noise = (codes - f[row]) / scale[row]
        deviation = np.sqrt(np.diag(covariance))
        error = np.abs(noise.mean(axis=0) - centre) / deviation
        assert np.all(error < 5 / np.sqrt(n))
        # Room for an excess kurtosis of 1.
        error = np.abs(np.cov(noise.T) - covariance) / np.outer(deviation, deviation)
        assert np.all(np.diag(error) < 5 * np.sqrt(3 / n))
        # What the places of a chain have in common is taken out of variances only.
        assert error.max() < 0.04
        codec.set_noise_pool(X[:3000])


def test_noise_is_white():
    X = table(2000)
    codec = EchoAutoencoder(3, beta=3.0, **SMALL).fit(X)
    f, scale, _ = naive_outputs(codec, X)
    noise = (codec.sample_codes(X, random_state=1) - f) / scale
    # Means and covariances of 2000 draws from 2000 codes: sqrt(2 (1 / 2000 + 1 / 2000)) = 0.045
    # for a variance, and four of that.
    np.testing.assert_allclose(noise.mean(axis=0), 0, atol=0.13)
    np.testing.assert_allclose(np.cov(noise.T), np.eye(3), atol=0.18)


def test_noise_has_the_law_of_the_code_though_the_pool_came_sorted():
    x = np.random.default_rng(0).normal(size=(50_000, 1))
    codec = EchoAutoencoder(1, hidden_layer_sizes=(), beta=2.0, max_iter=20, random_state=0)
    codec.fit(x[:5000]).set_noise_pool(np.sort(GRID, axis=0))
    # Linear maps of normal rows: excess kurtosis is 0, with a standard error of 0.02.
    assert abs(kurtosis(codec.sample_codes(x, random_state=0))[0]) < 0.1


# Determinism.

FIT_ELSEWHERE = """
import numpy as np
from sklearn.datasets import load_digits
from rdlearn import EchoAutoencoder
codec = EchoAutoencoder(4, beta=0.05, hidden_layer_sizes=(12,), max_iter=3, random_state=7)
print(codec.fit(load_digits().data[:250]).params_.tobytes().hex())
"""


def quick_fit(seed):
    codec = EchoAutoencoder(4, beta=0.05, hidden_layer_sizes=(12,), max_iter=3, random_state=seed)
    return codec.fit(DIGITS[:250]).params_


def test_the_same_seed_gives_the_same_bits_in_every_process_and_thread():
    expected = quick_fit(7)
    np.testing.assert_array_equal(quick_fit(7), expected)
    assert not np.array_equal(quick_fit(8), expected)
    result = subprocess.run(
        [sys.executable, "-c", FIT_ELSEWHERE], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == expected.tobytes().hex()
    for backend in ("loky", "threading"):
        with joblib.parallel_config(backend, n_jobs=2):
            seeds = (7, 8, 7)
            fits = joblib.Parallel()(joblib.delayed(quick_fit)(seed) for seed in seeds)
        for seed, params in zip(seeds, fits, strict=True):
            assert np.array_equal(params, expected) == (seed == 7)


@pytest.mark.parametrize("noise_terms", [None, 5])
def test_what_a_row_gets_does_not_depend_on_the_others(noise_terms):
    # More rows than a pass of inference.
    X = DIGITS[np.random.default_rng(0).integers(len(DIGITS), size=2500)]
    codec = EchoAutoencoder(4, beta=0.05, noise_terms=noise_terms, **SMALL).fit(DIGITS)
    order = np.random.default_rng(1).permutation(len(X))
    for method in (
        codec.transform,
        codec.rate_samples,
        codec.distortion_samples,
        codec.reconstruct,
    ):
        whole = method(X)
        np.testing.assert_array_equal(method(X[order]), whole[order])
        np.testing.assert_array_equal(method(X[100:107]), whole[100:107])
        np.testing.assert_array_equal(method(X[-1:]), whole[-1:])
    Z = codec.transform(X)
    np.testing.assert_array_equal(
        codec.inverse_transform(Z[order]), codec.inverse_transform(Z)[order]
    )


def test_sampled_codes_follow_the_random_state(fitted):
    X = np.repeat(table()[:1], 20, axis=0)
    Z = fitted.sample_codes(X, random_state=3)
    np.testing.assert_array_equal(fitted.sample_codes(X, random_state=3), Z)
    same = fitted.sample_codes(X, random_state=np.random.RandomState(3))
    np.testing.assert_array_equal(same, Z)
    assert not np.array_equal(fitted.sample_codes(X, random_state=4), Z)
    assert not np.array_equal(fitted.sample_codes(X), fitted.sample_codes(X))
    # Equal rows, other noise.
    assert len(np.unique(Z, axis=0)) == 20
    EchoAutoencoder(2, **SMALL | {"random_state": np.random.RandomState(0)}).fit(table())


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_dtypes_in_and_out(dtype):
    X = (table() * 10).astype(dtype)
    codec = EchoAutoencoder(3, beta=0.1, **SMALL).fit(X)
    expected = np.float32 if dtype == np.float32 else np.float64
    for Z in (codec.transform(X), codec.sample_codes(X)):
        assert Z.dtype == codec.inverse_transform(Z).dtype == expected
    assert codec.reconstruct(X).dtype == expected and codec.params_.dtype == np.float32
    assert codec.rate_samples(X).dtype == codec.distortion_samples(X).dtype == np.float64


# Models as files.


def test_models_survive_being_stored(fitted, tmp_path):
    X = table()
    fitted.save(tmp_path / "model")
    joblib.dump(fitted, tmp_path / "pickle")
    for back in (load(tmp_path / "model"), joblib.load(tmp_path / "pickle")):
        for method in ("transform", "rate_samples", "reconstruct", "distortion_samples", "score"):
            np.testing.assert_array_equal(getattr(back, method)(X), getattr(fitted, method)(X))
        np.testing.assert_array_equal(back.params_, fitted.params_)
        np.testing.assert_array_equal(
            back.sample_codes(X, random_state=1), fitted.sample_codes(X, random_state=1)
        )
        assert back.history_.equals(fitted.history_)
        again = clone(back)
        assert not hasattr(again, "params_")
        np.testing.assert_array_equal(again.fit(X).params_, fitted.params_)
