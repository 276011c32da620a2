import inspect
import math
import subprocess
import sys

import numpy as np
import pytest
from reference import blahut_arimoto, entropy, reverse_water_filling

import rdlearn
from rdlearn import information
from rdlearn.information import (
    binary_entropy_bits,
    binary_markov_rate_bits,
    binary_rate_bits,
    bits_to_nats,
    entropy_bits,
    gaussian_distortion,
    gaussian_rate_bits,
    gaussian_water_level,
    laplace_rate_bits,
    nats_to_bits,
    shannon_lower_bound_bits,
)

LN2 = math.log(2)
SPECTRA = {
    "one": [2.5],
    "equal": [0.7] * 5,
    "pairs": [3.0, 1.0, 1.0, 3.0, 0.2],
    "zero": [2.0, 0.0, 0.5, 0.0],
    "steep": list(4 * np.exp(-np.arange(40.0))),
    "large": [1e12, 1.0, 1e-12],
    "nearly equal": [50.0, 1.0, np.nextafter(50.0, 51.0)],
}
# m = 40, sigma_k = 2 exp(-k/2): published pairs of summed squared error and bits.
GAUSSIAN_40 = [
    (4.3502, 0.4920),
    (1.8202, 2.3286),
    (0.7872, 4.8218),
    (0.4549, 6.7931),
    (0.3051, 8.4152),
    (0.1869, 10.574),
]
RATES = {
    "gaussian_rate": lambda d: gaussian_rate_bits([1.0, 0.5], d),
    "gaussian_level": lambda d: gaussian_water_level([1.0, 0.5], d),
    "gaussian_inverse": lambda d: gaussian_distortion([1.0, 0.5], d),
    "binary": lambda d: binary_rate_bits(0.3, d),
    "markov": lambda d: binary_markov_rate_bits(0.4, d),
    "laplace": lambda d: laplace_rate_bits(0.8, d),
    "shannon": lambda d: shannon_lower_bound_bits(0.4, 3, d),
}


def critical_distortion(q):
    return 0.5 * (1 - math.sqrt(1 - (min(q, 1 - q) / max(q, 1 - q)) ** 2))


@pytest.mark.parametrize("nats", [0.0, 1.0, -3.5, 1e-300, math.inf])
def test_units_are_each_others_inverse(nats):
    assert nats_to_bits(nats) == pytest.approx(nats * math.log2(math.e), rel=1e-15)
    assert bits_to_nats(nats_to_bits(nats)) == pytest.approx(nats, rel=1e-15)
    assert type(nats_to_bits(nats)) is type(bits_to_nats(nats)) is float


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_units_keep_shape_and_dtype(dtype):
    nats = np.array([[0.5, 1.0, 2.0]], dtype=dtype)
    for convert in (nats_to_bits, bits_to_nats):
        assert convert(nats).shape == (1, 3)
        assert convert(nats).dtype == dtype
        assert convert([1, 2]) == pytest.approx([convert(1), convert(2)])


@pytest.mark.parametrize("n_symbols", [1, 2, 7, 256])
@pytest.mark.parametrize("scale", [1, 1e-3, 1000])
def test_entropy_of_counts(n_symbols, scale):
    counts = np.random.RandomState(n_symbols).poisson(2.0, n_symbols) + (np.arange(n_symbols) == 0)
    expected = entropy(counts / counts.sum()) / LN2
    assert entropy_bits(counts * scale) == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_entropy_goes_along_the_last_axis():
    counts = np.random.RandomState(0).randint(1, 9, size=(2, 3, 5))
    rows = [[entropy_bits(row) for row in table] for table in counts]
    np.testing.assert_allclose(entropy_bits(counts), rows, rtol=1e-14)
    assert entropy_bits(np.full(64, 3)) == pytest.approx(6.0, rel=1e-14)


@pytest.mark.parametrize("p", [0.0, 1e-9, 0.11, 0.5, 0.8, 1.0])
def test_binary_entropy(p):
    expected = entropy([p, 1 - p]) / LN2
    assert binary_entropy_bits(p) == pytest.approx(expected, rel=1e-14)
    assert binary_entropy_bits([[p, 0.5]]) == pytest.approx(np.array([[expected, 1.0]]))


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("fraction", [1e-15, 1e-6, 0.03, 0.3, 0.7, 0.999])
def test_water_filling_against_bisection(spectrum, fraction):
    variances = SPECTRA[spectrum]
    distortion = fraction * sum(variances)
    level, rate = reverse_water_filling(variances, distortion)
    assert gaussian_water_level(variances, distortion) == pytest.approx(level, rel=1e-12)
    assert gaussian_rate_bits(variances, distortion) == pytest.approx(rate / LN2, rel=1e-11)


@pytest.mark.parametrize("distortion, rate", GAUSSIAN_40)
def test_gaussian_published_figures(distortion, rate):
    # Four digits of D move R by at most beta * 5e-5 / ln 2 < 0.001 bit.
    assert gaussian_rate_bits(SPECTRA["steep"], distortion) == pytest.approx(rate, abs=1e-3)
    assert gaussian_distortion(SPECTRA["steep"], rate) == pytest.approx(distortion, rel=2e-4)


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("rate", [0.0, 1e-6, 0.3, 2.0, 17.0, 300.0])
def test_gaussian_distortion_inverts_the_rate(spectrum, rate):
    variances = SPECTRA[spectrum]
    distortion = gaussian_distortion(variances, rate)
    assert gaussian_rate_bits(variances, distortion) == pytest.approx(rate, rel=1e-9, abs=1e-9)
    level, _ = reverse_water_filling(variances, distortion)
    assert distortion == pytest.approx(sum(min(level, v) for v in variances), rel=1e-12)


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_gaussian_ends_of_the_curve(spectrum):
    variances = np.array(SPECTRA[spectrum])
    for beyond in (variances.sum() * (1 + 1e-12), variances.sum() * 3, math.inf):
        assert gaussian_rate_bits(variances, beyond) == 0.0
        level = gaussian_water_level(variances, beyond)
        assert level == variances.max() and not np.any(variances > level)
    assert gaussian_rate_bits(variances, 0.0) == math.inf
    assert gaussian_water_level(variances, 0.0) == 0.0
    assert gaussian_distortion(variances, math.inf) == 0.0
    assert gaussian_distortion(variances, 0.0) == pytest.approx(variances.sum(), rel=1e-15)


def test_a_constant_vector_needs_no_rate():
    assert gaussian_rate_bits([0.0, 0.0], [0.0, 1.0]).tolist() == [0.0, 0.0]
    assert gaussian_distortion([0.0, 0.0], [0.0, 1.0]).tolist() == [0.0, 0.0]


def test_active_components_are_those_above_the_level():
    variances = np.array([4.0, 2.0, 1.0, 0.5])
    distortions = np.array([0.4, 1.9, 2.1, 3.4, 3.6, 5.4, 5.6, 7.4, 7.6])
    levels = gaussian_water_level(variances, distortions)
    active = (variances > levels[:, np.newaxis]).sum(axis=1)
    assert active.tolist() == [4, 4, 3, 3, 2, 2, 1, 1, 0]


@pytest.mark.parametrize("p", [0.05, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("beta", [1.5, 3.0, 5.0])
def test_binary_rate_against_blahut_arimoto(p, beta):
    rate, distortion, lower = blahut_arimoto([1 - p, p], [[0, 1], [1, 0]], beta, n_iter=3000)
    assert rate + beta * distortion - lower < 1e-10
    assert bits_to_nats(binary_rate_bits(p, distortion)) == pytest.approx(rate, abs=1e-9)


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_binary_ends_of_the_curve(p):
    assert binary_rate_bits(p, 0.0) == pytest.approx(entropy([p, 1 - p]) / LN2, rel=1e-14)
    assert binary_rate_bits(p, [min(p, 1 - p), 0.5, 1.0, 64.0]).tolist() == [0.0] * 4


@pytest.mark.parametrize("q", [0.05, 0.2, 0.5, 0.7])
@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_markov_rate_is_gray_s(q, fraction):
    distortion = fraction * critical_distortion(q)
    expected = (entropy([q, 1 - q]) - entropy([distortion, 1 - distortion])) / LN2
    assert binary_markov_rate_bits(q, distortion) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("q", [0.05, 0.2, 0.7])
def test_markov_rate_is_refused_above_the_critical_distortion(q):
    above = critical_distortion(q) * (1 + 1e-9)
    for distortion in (above, [0.0, above], 0.5):
        with pytest.raises(ValueError, match=rf"D_c = .* for q = {q}, got .* lower bound"):
            binary_markov_rate_bits(q, distortion)


@pytest.mark.parametrize("scale, ratio", [(0.5, 0.5), (1.0, 0.2), (3.0, 0.8)])
def test_laplace_rate_against_blahut_arimoto(scale, ratio):
    grid = np.linspace(-9, 9, 601)
    pmf = np.exp(-np.abs(grid))
    errors = scale * np.abs(grid[:, np.newaxis] - grid)
    beta = 1 / (ratio * scale)  # the slope of ln(scale / D) at D = ratio * scale
    rate, distortion, lower = blahut_arimoto(pmf / pmf.sum(), errors, beta, n_iter=400)
    assert rate + beta * distortion - lower < 1.5e-3
    # Measured cost of the grid step of 0.03 scales: 0.0032 nats at ratio 0.2, less elsewhere.
    assert bits_to_nats(laplace_rate_bits(scale, distortion)) == pytest.approx(rate, abs=5e-3)
    assert distortion == pytest.approx(ratio * scale, rel=0.01)


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_laplace_ends_of_the_curve(scale):
    rates = laplace_rate_bits(scale, [0.0, scale / 8, scale, 2 * scale, math.inf])
    assert rates.tolist() == [math.inf, 3.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("n_features", [1, 2, 9])
@pytest.mark.parametrize("variance", [0.01, 1.0, 40.0])
def test_shannon_lower_bound_is_exact_for_a_white_gaussian(n_features, variance):
    nats = 0.5 * n_features * math.log(2 * math.pi * math.e * variance)
    for distortion in (0.3 * variance, 0.9 * n_features * variance, 2 * n_features * variance):
        _, rate = reverse_water_filling([variance] * n_features, distortion)
        bound = shannon_lower_bound_bits(nats, n_features, distortion)
        assert bound == pytest.approx(rate / LN2, rel=1e-11, abs=1e-12)
    assert shannon_lower_bound_bits(nats, n_features, 0.0) == math.inf


@pytest.mark.parametrize("name", RATES)
def test_a_number_gives_a_float_and_an_array_an_array(name):
    rate = RATES[name]
    distortions = np.array([[0.01, 0.03], [0.08, 0.1]])
    table = rate(distortions)
    assert table.shape == (2, 2) and table.dtype == np.float64
    assert type(rate(0.03)) is float and type(rate(np.float32(0.03))) is float
    np.testing.assert_array_equal(table, [[rate(float(d)) for d in row] for row in distortions])
    assert rate(np.array([])).shape == (0,)
    np.testing.assert_allclose(rate(distortions.astype(np.float32)), table, rtol=1e-5)


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("bad", [-1e-9, math.nan, [0.01, -2.0]])
def test_bad_distortion_is_named_with_its_value(name, bad):
    argument = "rate_bits" if name == "gaussian_inverse" else "distortion"
    shown = np.asarray(bad).min()
    with pytest.raises(ValueError, match=f"{argument} must not be negative or NaN, got {shown}"):
        RATES[name](bad)


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda: entropy_bits([1, -2]), "counts must not be negative or NaN, got -2.0"),
        (lambda: entropy_bits([0, 0]), "counts must have a positive sum"),
        (lambda: entropy_bits([]), "counts must have a positive sum"),
        (lambda: entropy_bits([1, math.inf]), "counts must be a finite array"),
        (lambda: entropy_bits(3), "counts must be a finite array"),
        (lambda: binary_entropy_bits(1.5), "p must lie between 0 and 1, got 1.5"),
        (lambda: binary_entropy_bits(-0.5), "p must not be negative or NaN, got -0.5"),
        (lambda: binary_rate_bits(1.5, 0.1), "p must lie between 0 and 1, got 1.5"),
        (lambda: binary_markov_rate_bits(0.0, 0.0), "q must lie strictly between 0 and 1, got 0"),
        (lambda: binary_markov_rate_bits(math.nan, 0.0), "q must lie strictly .* got nan"),
        (lambda: gaussian_rate_bits([1.0, -3.0], 0.1), "variances must not be .* got -3.0"),
        (lambda: gaussian_water_level([[1.0]], 0.1), r"variances must have shape .* \(1, 1\)"),
        (lambda: gaussian_distortion([], 0.1), r"variances must have shape .* got \(0,\)"),
        (lambda: gaussian_distortion([math.inf], 0.1), "variances must be finite, got inf"),
        (lambda: laplace_rate_bits(0.0, 0.1), "scale must be positive and finite, got 0.0"),
        (lambda: laplace_rate_bits(math.inf, 0.1), "scale must be positive and finite, got inf"),
        (lambda: shannon_lower_bound_bits(math.nan, 1, 0.1), "entropy_nats must be .* got nan"),
        (lambda: shannon_lower_bound_bits(0.0, 0, 0.1), "n_features must be at least 1, got 0"),
    ],
)
def test_bad_parameter_is_named_with_its_value(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_every_function_is_public_and_shows_an_example():
    public = [getattr(information, name) for name in information.__all__]
    defined = inspect.getmembers(information, inspect.isfunction)
    own = {n for n, f in defined if f.__module__ == information.__name__ and n[0] != "_"}
    assert own == set(information.__all__)
    assert all(">>> " in function.__doc__ for function in public)


@pytest.mark.parametrize("module", ["information", "datasets"])
def test_import_stays_light(module):
    heavy = {"pandas", "sklearn", "scipy.stats", "numba", "matplotlib", "PIL"}
    # An empty stand-in for the package, whose own __init__ imports the estimators.
    code = (
        "import sys, types; package = types.ModuleType('rdlearn'); "
        f"package.__path__ = {list(rdlearn.__path__)}; sys.modules['rdlearn'] = package; "
        f"import rdlearn.{module}; print(*sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0 and f"rdlearn.{module}" in result.stdout.split()
    assert not heavy & set(result.stdout.split())
