import inspect
import math
import pickle

import numpy as np
import pytest
from reference import blahut_arimoto, entropy, hamming_matrix, markov_rows, reverse_water_filling
from scipy import stats

from rdlearn import datasets
from rdlearn.datasets import (
    SOURCES,
    banana_source,
    binary_markov_source,
    binary_source,
    gaussian_source,
    source,
    student_t_source,
    toeplitz_gaussian_source,
)

LN2 = math.log(2)
N = 40_000
COVARIANCE = np.array([[2.0, -0.6, 0.3], [-0.6, 1.0, 0.4], [0.3, 0.4, 0.5]])
# Rank 2: the third feature is the sum of the others, the fourth is constant.
SINGULAR = np.array([[2.0, 0.5, 2.5, 0], [0.5, 1.0, 1.5, 0], [2.5, 1.5, 4.0, 0], [0, 0, 0, 0]])
# Largest of a handful of standard normal deviates: beyond 4.5 once in 10^5.
SIGMAS = 4.5


def assert_moments(X, mean, covariance):
    """Compare within `SIGMAS` standard errors estimated from the sample."""
    n = len(X)
    assert np.all(np.abs(X.mean(axis=0) - mean) <= SIGMAS * X.std(axis=0) / math.sqrt(n) + 1e-12)
    seconds = X.T @ X / n
    variances = (X**2).T @ X**2 / n - seconds**2
    error = np.abs(seconds - covariance - np.outer(mean, mean))
    assert np.all(error <= SIGMAS * np.sqrt(np.maximum(variances, 0) / n) + 1e-12)


def assert_monte_carlo_entropy(log_density, nats):
    """Compare -E log p with the entropy within `SIGMAS` standard errors."""
    standard_error = log_density.std() / math.sqrt(len(log_density))
    assert standard_error < 0.02
    assert -log_density.mean() == pytest.approx(nats, abs=SIGMAS * standard_error)


def entropy_behind_bound(made, distortion):
    """Differential entropy in nats that Shannon's lower bound at `distortion` implies."""
    n = made.n_features
    noise = 0.5 * n * math.log(2 * math.pi * math.e * distortion / n)
    return made.rate_bits(distortion) * LN2 + noise


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_is_made_by_name(name):
    made = source(name)
    assert made.name == name
    assert made.distortion == ("hamming" if name.startswith("binary") else "squared_error")
    exact = {"gaussian", "gaussian-equal", "gaussian-toeplitz", "binary"}
    assert made.bound == ("exact" if name in exact else "lower")
    assert repr(made).startswith(f"Source(name='{name}', n_features={made.n_features}, ")


def test_constructors_name_their_source():
    made = [toeplitz_gaussian_source(), gaussian_source([1.0]), binary_source(), banana_source()]
    made += [binary_markov_source(), student_t_source()]
    expected = ["gaussian-toeplitz", "gaussian", "binary", "banana", "binary-markov", "student-t"]
    assert [m.name for m in made] == expected


def test_unknown_name_lists_the_names():
    with pytest.raises(ValueError, match="got 'laplace'") as caught:
        source("laplace")
    assert all(name in str(caught.value) for name in SOURCES)


@pytest.mark.parametrize("name", SOURCES)
def test_sample_is_reproducible_in_either_dtype(name):
    made = source(name)
    X = made.sample(50, random_state=3)
    assert X.shape == (50, made.n_features) and X.dtype == np.float64
    np.testing.assert_array_equal(made.sample(50, random_state=np.random.RandomState(3)), X)
    single = made.sample(50, random_state=3, dtype=np.float32)
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single, X.astype(np.float32))
    assert not np.array_equal(made.sample(50, random_state=4), X)
    assert made.sample(0).shape == (0, made.n_features)
    with pytest.raises(ValueError, match="n_samples must not be negative, got -1"):
        made.sample(-1)


@pytest.mark.parametrize("name", SOURCES)
def test_sample_is_frozen(name):
    # Drawn once from numpy's frozen RandomState stream: a change would break published seeds.
    first = {
        "gaussian": [3.528105, 0.485415],
        "gaussian-equal": [1.764052, 0.400157],
        "gaussian-toeplitz": [2.7884725921644757, 2.541915039018437],
        "binary": [0.0, 0.0],
        "binary-markov": [0.0, 0.0],
        "banana": [5.292157, -2.600614],
        "student-t": [1.403364, 0.318339],
    }
    np.testing.assert_allclose(source(name).sample(1, 0)[0, :2], first[name], atol=1e-6)


@pytest.mark.parametrize("name", SOURCES)
def test_source_survives_pickling(name):
    made = source(name)
    copy = pickle.loads(pickle.dumps(made))
    np.testing.assert_array_equal(copy.sample(5, 0), made.sample(5, 0))
    assert copy.rate_bits(0.1) == made.rate_bits(0.1)


@pytest.mark.parametrize("name", SOURCES)
def test_rate_is_a_decreasing_convex_curve_of_the_row(name):
    made = source(name)
    X = made.sample(N, random_state=0)
    total = X.var(axis=0).sum()
    distortions = np.linspace(1e-3, 1.2, 60) * total
    rates = made.rate_bits(distortions)
    assert rates.shape == (60,) and np.all(np.diff(rates) <= 1e-12)
    assert np.all(np.diff(rates, 2) >= -1e-9)
    assert rates[0] > 0
    assert type(made.rate_bits(0.1)) is float
    assert made.rate_bits(100.0 * total) == 0.0
    for bad in (-2.0, math.nan, [0.1, -2.0]):
        shown = np.min(bad)
        with pytest.raises(ValueError, match=f"distortion must not be .* NaN, got {shown}"):
            made.rate_bits(bad)


@pytest.mark.parametrize(
    "made, covariance",
    [
        (gaussian_source(), np.diag([4 * math.exp(-k) for k in range(40)])),
        (gaussian_source(variances=[3, 0, 0.5]), np.diag([3, 0, 0.5])),
        (gaussian_source(covariance=COVARIANCE), COVARIANCE),
        (gaussian_source(covariance=SINGULAR), SINGULAR),
        (toeplitz_gaussian_source(3, 0.5), [[1, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 1]]),
        (toeplitz_gaussian_source(2, -0.8), [[1, -0.8], [-0.8, 1]]),
        (source("gaussian-equal"), np.eye(16)),
    ],
    ids=["default", "variances", "covariance", "singular", "toeplitz", "negative", "equal"],
)
def test_gaussian_moments_and_rate(made, covariance):
    covariance = np.array(covariance, dtype=np.float64)
    X = made.sample(N, random_state=1)
    assert_moments(X, np.zeros(len(covariance)), covariance)
    for column in X.T[covariance.diagonal() > 1e-3][:3]:
        assert stats.kstest(column / column.std(), "norm").pvalue > 1e-4
    spectrum = np.linalg.svd(covariance, compute_uv=False)  # semidefinite: the eigenvalues
    for fraction in (0.01, 0.2, 0.9):
        distortion = fraction * covariance.trace()
        _, rate = reverse_water_filling(spectrum, distortion)
        assert made.rate_bits(distortion) == pytest.approx(rate / LN2, rel=1e-10)


def test_gaussian_source_keeps_its_own_copy():
    variances, covariance = np.ones(2), np.eye(2)
    made = gaussian_source(variances=variances), gaussian_source(covariance=covariance)
    variances[:] = covariance[:] = 9.0
    assert [m.rate_bits(0.5) for m in made] == pytest.approx([2.0, 2.0])


@pytest.mark.parametrize("n_features, p", [(1, 0.5), (5, 0.1), (8, 0.9)])
def test_binary_moments_and_rate(n_features, p):
    made = binary_source(n_features, p)
    X = made.sample(N, random_state=2)
    assert set(np.unique(X)) == {0.0, 1.0}
    assert_moments(X, np.full(n_features, p), p * (1 - p) * np.eye(n_features))
    wrong = 0.4 * min(p, 1 - p)
    per_bit = (entropy([p, 1 - p]) - entropy([wrong, 1 - wrong])) / LN2
    assert made.rate_bits(n_features * wrong) == pytest.approx(n_features * per_bit, rel=1e-12)


@pytest.mark.parametrize("q", [0.1, 0.35, 0.8])
def test_markov_rows_have_the_chain_s_law(q):
    X = binary_markov_source(4, q).sample(N, random_state=3)
    rows, probabilities = markov_rows(4, q)
    seen = np.array([np.all(X == row, axis=1).sum() for row in rows])
    assert seen.sum() == N
    assert stats.chisquare(seen, N * probabilities).pvalue > 1e-4


@pytest.mark.parametrize("n_features, q", [(1, 0.3), (2, 0.1), (4, 0.2), (5, 0.4), (5, 0.7)])
@pytest.mark.parametrize("beta", [1.0, 2.5, 4.0])
def test_markov_bound_against_blocks(n_features, q, beta):
    made = binary_markov_source(n_features, q)
    rows, probabilities = markov_rows(n_features, q)
    rate, distortion, lower = blahut_arimoto(probabilities, hamming_matrix(rows), beta, 4000)
    gap = rate + beta * distortion - lower
    bound = made.rate_bits(distortion) * LN2
    assert bound <= rate + 1e-9
    ratio = min(q, 1 - q) / max(q, 1 - q)
    critical = 0.5 * (1 - math.sqrt(1 - ratio**2))
    if distortion <= n_features * critical:
        assert gap < 1e-6
        assert bound == pytest.approx(rate, abs=1e-6)
    infinite_chain = entropy([q, 1 - q]) - entropy(
        [distortion / n_features, 1 - distortion / n_features]
    )
    assert bound >= n_features * infinite_chain - 1e-12


def test_markov_blocks_reach_the_exact_region():
    # Guards the branch above: at beta 4 and q 0.4 the distortion lies below D_c.
    rows, probabilities = markov_rows(5, 0.4)
    _, distortion, _ = blahut_arimoto(probabilities, hamming_matrix(rows), 4.0, 4000)
    assert distortion < 5 * 0.5 * (1 - math.sqrt(1 - (0.4 / 0.6) ** 2))


def test_markov_row_without_loss_costs_its_entropy():
    for n_features, q in ((1, 0.2), (3, 0.2), (6, 0.45)):
        _, probabilities = markov_rows(n_features, q)
        rate = binary_markov_source(n_features, q).rate_bits(0.0)
        assert rate == pytest.approx(entropy(probabilities) / LN2, rel=1e-12)


def test_banana_moments_and_law():
    X = banana_source().sample(N, random_state=4)
    # E u0^2 = 9 and Var u0^2 = 2 * 81, so the bend adds 1.62 to the variance of 1/4.
    assert_moments(X, np.array([0.0, -0.9]), np.diag([9.0, 0.25 + 1.62]))
    straight = X[:, 1] + 0.1 * X[:, 0] ** 2
    assert stats.kstest(X[:, 0] / 3, "norm").pvalue > 1e-4
    assert stats.kstest(straight / 0.5, "norm").pvalue > 1e-4


@pytest.mark.parametrize("distortion", [1e-4, 0.1])
def test_banana_entropy_by_monte_carlo(distortion):
    x = banana_source().sample(N, random_state=5)
    log_density = stats.norm.logpdf(x[:, 0], scale=3.0)
    log_density += stats.norm.logpdf(x[:, 1], loc=-0.1 * x[:, 0] ** 2, scale=0.5)
    assert_monte_carlo_entropy(log_density, entropy_behind_bound(banana_source(), distortion))


def test_banana_bound_against_published_points():
    # Rate in nats and mean squared error of the two features.
    published = [(0.5858, 1.8427), (1.2198, 0.6060), (1.7782, 0.2666), (2.7122, 0.0996)]
    excess = [r - banana_source().rate_bits(2 * d) * LN2 for r, d in published]
    assert min(excess) >= 0
    assert excess[-1] < 2e-3
    assert excess == sorted(excess, reverse=True)


@pytest.mark.parametrize("df", [2.5, 5.0, 30.0])
def test_student_t_law_and_entropy(df):
    made = student_t_source(df=df)
    X = made.sample(N, random_state=6)
    radius = np.hypot(X[:, 0], X[:, 1])
    angle = np.arctan2(X[:, 1], X[:, 0])
    assert stats.kstest(radius, lambda r: 1 - (1 + r**2 / df) ** (-df / 2)).pvalue > 1e-4
    assert stats.kstest(angle, stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue > 1e-4
    log_density = stats.multivariate_t.logpdf(X, loc=[0, 0], df=df)
    assert_monte_carlo_entropy(log_density, entropy_behind_bound(made, 0.01))


def test_student_t_moments():
    X = student_t_source(df=12.0).sample(N, random_state=7)
    assert_moments(X, np.zeros(2), 12 / 10 * np.eye(2))


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda: gaussian_source([1.0], [[1.0]]), "variances and covariance must not both"),
        (lambda: gaussian_source([1.0, -1.0]), "variances must not be negative .* got -1.0"),
        (lambda: gaussian_source([]), "variances must have shape"),
        (lambda: gaussian_source(covariance=[1.0]), r"square matrix, got shape \(1,\)"),
        (lambda: gaussian_source(covariance=np.ones((2, 3))), r"square .* got shape \(2, 3\)"),
        (lambda: gaussian_source(covariance=np.ones((0, 0))), r"square .* got shape \(0, 0\)"),
        (lambda: gaussian_source(covariance=[[1, 2], [0, 5]]), "covariance must be symmetric"),
        (lambda: gaussian_source(covariance=[[math.nan]]), "covariance must be symmetric"),
        (lambda: gaussian_source(covariance=[[math.inf]]), "covariance must be .* finite"),
        (lambda: gaussian_source(covariance=[[1, 2], [2, 1]]), "positive semidefinite, got .* -1"),
        (lambda: toeplitz_gaussian_source(0), "n_features must be at least 1, got 0"),
        (lambda: toeplitz_gaussian_source(4, 1.0), "rho must lie strictly .* got 1.0"),
        (lambda: binary_source(-2), "n_features must be at least 1, got -2"),
        (lambda: binary_source(4, 1.5), "p must lie between 0 and 1, got 1.5"),
        (lambda: binary_markov_source(0), "n_features must be at least 1, got 0"),
        (lambda: binary_markov_source(4, -0.5), "q must lie between 0 and 1, got -0.5"),
        (lambda: student_t_source(df=2.0), "df must be above 2 and finite, got 2.0"),
        (lambda: student_t_source(df=math.inf), "df must be above 2 and finite, got inf"),
    ],
)
def test_bad_parameter_is_named_with_its_value(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_every_public_name_shows_an_example():
    public = [getattr(datasets, name) for name in datasets.__all__ if name != "SOURCES"]
    assert all(">>> " in inspect.getdoc(thing) for thing in public)
