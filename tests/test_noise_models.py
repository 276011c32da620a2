import math

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from rdlearn.distortions import AbsoluteError, Bernoulli, Hamming, SquaredError

COSTS = [(1.0, 1.0), (3.0, 0.5), (0.2, 7.0), (np.inf, 2.0), (0.5, np.inf)]
HAMMINGS = [Hamming(a, b) for a, b in COSTS]
SCALED = [SquaredError(), AbsoluteError()]


# The scale of the noise model


@pytest.mark.parametrize(
    "distortion, law", [(SquaredError(), "norm"), (AbsoluteError(), "laplace")]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1e-3, 5.0])
def test_scale_of_real_residuals_is_the_maximum_likelihood_one(distortion, law, dtype, size):
    rng = np.random.default_rng(3)
    x = rng.normal(4, 2, (40, 3)).astype(dtype)
    x_hat = (x + size * rng.standard_t(5, x.shape)).astype(dtype)
    scale = distortion.fit_scale(x, x_hat)
    assert type(scale) is float
    expected = reference.best_location_scale(law, (x.astype(float) - x_hat).ravel())
    assert scale == pytest.approx(expected, rel=1e-6)
    # log_mass over narrow cells has its maximum there too.
    resolution = np.full(3, 1e-6)
    at = [distortion.log_mass(x, x_hat, s * scale, resolution).sum() for s in (0.98, 1, 1.02)]
    assert at[1] > max(at[0], at[2])


@pytest.mark.parametrize("distortion", SCALED, ids=repr)
def test_scale_of_perfect_reproductions_is_positive_and_follows_the_data(distortion):
    x = np.random.default_rng(4).normal(0, 1, (50, 2))
    scale = distortion.fit_scale(x, x)
    assert scale == pytest.approx(1e-6 * np.sqrt(x.var(axis=0).mean()), rel=1e-12)
    assert distortion.fit_scale(1e3 * x + 1e5, 1e3 * x + 1e5) == pytest.approx(
        1e3 * scale, rel=1e-9
    )
    constant = np.full((5, 2), 7.0)
    tiny = distortion.fit_scale(constant, constant)
    assert 0 < tiny < 1e-30
    resolution = np.ones(2)
    assert_array_equal(distortion.log_mass(constant, constant, tiny, resolution), 0)
    assert np.isfinite(distortion.log_mass(constant + 1e3, constant, tiny, resolution)).all()
    assert np.isfinite(distortion.log_mass(x + 1e3, x, scale, 1e-12 * resolution)).all()


@pytest.mark.parametrize("hamming", HAMMINGS[:3], ids=repr)
@pytest.mark.parametrize("flips", [(3, 5), (0, 1), (1, 0), (9, 2)])
def test_scale_of_hamming_maximises_the_likelihood(hamming, flips):
    one = np.repeat([1.0, 0.0], [20, 30])[:, None]
    x = one.copy()
    x[: flips[0]] = 0
    x[20 : 20 + flips[1]] = 1
    scale = hamming.fit_scale(x, one)
    assert type(scale) is float

    def likelihood(s):
        return reference.hamming_log_likelihood(x, one, hamming.a, hamming.b, s)

    grid = np.linspace(0, 20 / min(hamming.a, hamming.b), 401)
    coarse = grid[np.argmax([likelihood(s) for s in grid])]
    fine = np.linspace(max(coarse - grid[1], 0), coarse + grid[1], 401)
    best = fine[np.argmax([likelihood(s) for s in fine])]
    assert scale == pytest.approx(best, abs=1.01 * (fine[1] - fine[0]))
    total = hamming.log_mass(x, one, scale, np.ones(1)).sum()
    assert total == pytest.approx(likelihood(scale), rel=1e-12)
    probabilities = np.where(one == 1, 0.999, 0.001)
    assert hamming.fit_scale(x.astype(np.float32), probabilities) == scale


def test_scale_of_hamming_in_closed_form():
    # a = b: the flip rate q gives s = ln((1 - q) / q) / a.
    x = np.zeros((1000, 4))
    x_hat = x.copy()
    x_hat[:50, 0] = x_hat[50:70, 1] = 1
    for cost in (1e-5, 1.0, 1e5):
        expected = math.log((4000 - 70) / 70) / cost
        assert Hamming(cost, cost).fit_scale(x, x_hat) == pytest.approx(expected, rel=1e-12)
    # Very unequal costs: the dear flip settles first and leaves the cheap one its own equation.
    x = np.zeros((100, 1))
    x_hat = x.copy()
    x[:7] = 1
    x_hat[50:] = 1
    x[50:] = 1
    got = Hamming(1e9, 1.0).fit_scale(x, x_hat)
    assert got == pytest.approx(math.log(43 / 7), rel=1e-12)


def test_scale_of_hamming_at_its_ends():
    x = np.array([[0.0, 1.0, 1.0, 0.0]])
    for hamming in HAMMINGS:
        assert hamming.fit_scale(x, 1 - x) == 0  # more flips than not: s = 0 is the best
    x = np.tile(x, (25, 1))
    # Half a flip of average cost in 100 entries, when there was none.
    for cost in (0.5, 1.0, 4.0):
        assert Hamming(cost, cost).fit_scale(x, x) == pytest.approx(math.log(99.5 / 0.5) / cost)
    # The possible kind of flip alone counts when the other is forbidden: 50 entries each.
    assert Hamming(np.inf, 2.0).fit_scale(x, x) == pytest.approx(math.log(49.5 / 0.5) / 2)
    assert Hamming(2.0, np.inf).fit_scale(x, x) == pytest.approx(math.log(49.5 / 0.5) / 2)
    ones = np.ones((3, 2))
    assert Hamming(np.inf, 2.0).fit_scale(ones, ones) == 0  # no flip is possible: nothing to fit
    assert 0 < Hamming(3.0, 2.0).fit_scale(ones, ones) < np.inf


def test_bernoulli_has_no_scale():
    assert Bernoulli().fit_scale(np.zeros((2, 1)), np.ones((2, 1))) == 1.0


# The noise model

SCALES = [0.02, 1.0, 30.0]
ERRORS = [0.0, 1e-9, 0.3, -0.5, 2.0, -37.0, 1e3]
WIDTHS = [1e-12, 1e-4, 0.6, 1.0, 4.0, 75.0, 3e3]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    "distortion, oracle",
    [
        (SquaredError(), reference.log_normal_cell),
        (AbsoluteError(), reference.log_laplace_cell),
    ],
)
def test_mass_of_a_cell_is_right_far_in_the_tails(distortion, oracle, scale):
    e = np.tile(np.array(ERRORS)[:, None], len(WIDTHS))
    widths = np.array(WIDTHS)
    got = distortion.log_mass(e, np.zeros_like(e), scale, widths)
    expected = [[oracle(error, scale, r) for r in WIDTHS] for error in ERRORS]
    assert got.dtype == np.float64
    assert (got <= 0).all() and np.isfinite(got).all()
    # Near 0 a log mass is 1 - p, known to the rounding of p.
    assert_allclose(got, expected, rtol=1e-12, atol=1e-15)
    assert_array_equal(distortion.log_mass(-e, np.zeros_like(e), scale, widths), got)
    assert_array_equal(distortion.log_mass(e + 0.0, e * 0, scale, widths), got)


@pytest.mark.parametrize(
    "distortion, law", [(SquaredError(), "norm"), (AbsoluteError(), "laplace")]
)
def test_mass_of_a_cell_is_a_difference_of_scipy_cdfs(distortion, law):
    rng = np.random.default_rng(5)
    x, x_hat = rng.normal(size=(2, 200, 3))
    widths = np.array([0.1, 0.7, 3.0])
    cdf = getattr(stats, law)(loc=x_hat, scale=0.8).cdf
    expected = np.log(cdf(x + widths / 2) - cdf(x - widths / 2))
    got = distortion.log_mass(x, x_hat, 0.8, widths)
    # Masses down to 1e-6 from a difference of numbers near 1.
    assert_allclose(got, expected, rtol=1e-9, atol=1e-9)
    single = distortion.log_mass(x.astype(np.float32), x_hat.astype(np.float32), 0.8, widths)
    assert single.dtype == np.float64
    assert_allclose(single, got, atol=2e-5)


@pytest.mark.parametrize("distortion", SCALED, ids=repr)
def test_mass_of_a_cell_never_warns_and_never_exceeds_one(distortion):
    magnitudes = np.concatenate([[0], 10.0 ** np.arange(-30, 31, 3)])
    for scale in (1e-38, 1e-12, 1.0, 1e12):
        e = np.tile(magnitudes[:, None], len(magnitudes) - 1)
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            got = distortion.log_mass(e, np.zeros_like(e), scale, magnitudes[1:])
        assert np.isfinite(got).all() and (got <= 0).all()
        assert (np.diff(got, axis=0) <= 0).all()  # farther out is less likely,
        assert (np.diff(got, axis=1) >= 0).all()  # and a wider cell holds more


def test_mass_is_continuous_where_the_method_changes():
    for t in (0.3, 0.5, 2.0, 50.0):
        for h in (1 / max(t, 1), 2 * t):
            e = np.full((1, 2), t)
            widths = h * np.array([1 - 1e-12, 1 + 1e-12])
            left, right = SquaredError().log_mass(e, 0 * e, 1.0, widths)[0]
            assert left == pytest.approx(right, abs=1e-10)


def lattice(step, reach):
    count = round(reach / step)
    return np.arange(-count, count + 1)[:, None] * step


@pytest.mark.parametrize("step", [0.05, 0.9, 6.0])
@pytest.mark.parametrize("distortion", SCALED, ids=repr)
def test_masses_of_all_cells_of_the_line_sum_to_one(distortion, step):
    x = lattice(step, 60)
    for centre in (0.0, 0.37):
        for scale in (0.4, 1.5):
            mass = np.exp(distortion.log_mass(x, np.full_like(x, centre), scale, np.array([step])))
            assert mass.sum() == pytest.approx(1, abs=1e-13)


@pytest.mark.parametrize("p", [0.0, 0.03, 0.5, 0.5 + 1e-9, 0.8, 1.0])
@pytest.mark.parametrize("cells", [1, 4, 255])
def test_masses_of_all_cells_of_the_unit_interval_sum_to_one(p, cells):
    x = np.linspace(0, 1, cells + 1)[:, None]
    mass = np.exp(Bernoulli().log_mass(x, np.full_like(x, p), 1.0, np.array([1 / cells])))
    assert mass.sum() == pytest.approx(1, abs=1e-13)


@pytest.mark.parametrize("hamming", HAMMINGS, ids=repr)
@pytest.mark.parametrize("scale", [0.0, 0.7, 50.0])
def test_hamming_masses_sum_to_one_and_follow_the_costs(hamming, scale):
    x_hat = np.array([[0.0, 1.0]])
    masses = [np.exp(hamming.log_mass(np.full((1, 2), x), x_hat, scale, None)) for x in (0.0, 1.0)]
    assert_allclose(sum(masses), 1, rtol=1e-15)
    if math.isinf(hamming.a):
        assert masses[0][0, 1] == 0
    if math.isinf(hamming.b):
        assert masses[1][0, 0] == 0
    for column, (flip, keep) in enumerate([masses[::-1], masses]):
        price = (hamming.b, hamming.a)[column]
        if math.isfinite(price):
            ratio = flip[0, column] / keep[0, column]
            assert ratio == pytest.approx(math.exp(-scale * price), rel=1e-13)


@pytest.mark.parametrize("p", [1e-6, 0.01, 0.3, 0.499, 0.5 - 1e-8, 0.5, 0.5 + 1e-12, 0.77, 0.9999])
def test_continuous_bernoulli_mass_equals_quadrature_of_its_density(p):
    x = np.array([0.0, 1e-3, 0.25, 0.5, 0.8, 1.0])
    widths = [1e-6, 0.01, 0.3, 0.9]
    for r in widths:
        got = Bernoulli().log_mass(x[:, None], np.full((6, 1), p), 1.0, np.array([r]))
        expected = [reference.log_continuous_bernoulli_cell(v, p, r) for v in x]
        # A cell of 1e-6 at 0.8 has ends that are rounded by 1e-16: 1e-10 of its width.
        assert_allclose(got[:, 0], expected, rtol=1e-10, atol=1e-9 if r < 1e-3 else 1e-14)
        assert (got <= 0).all()


def test_continuous_bernoulli_mass_of_a_tiny_cell_is_its_density():
    # At p = 1/2 the law is uniform, so the mass is the width, or half of it at the ends.
    x = np.array([[0.0, 0.3, 1.0]])
    got = Bernoulli().log_mass(x, np.full((1, 3), 0.5), 1.0, np.full(3, 1e-12))
    assert_allclose(got, [[math.log(5e-13), math.log(1e-12), math.log(5e-13)]], rtol=1e-14)


def test_continuous_bernoulli_mass_of_almost_everything_is_at_most_one():
    p = np.concatenate([np.linspace(0, 1, 2001), 0.5 + 10.0 ** np.arange(-16, -3)])
    for r in 1 - np.arange(9) * 2.0**-53:
        got = Bernoulli().log_mass(np.full((p.size, 1), 0.5), p[:, None], 1.0, np.array([r]))
        assert (got <= 0).all() and (got > -1e-13).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bernoulli_mass_is_a_probability_on_binary_features_only(dtype):
    x = np.array([[0, 1, 0.25, 0, 1]], dtype=dtype)
    p = np.array([[0.25, 0.25, 0.25, 0.25, 1.0]], dtype=dtype)
    got = Bernoulli().log_mass(x, p, 1.0, np.array([1.0, 2.0, 1.0, 0.5, 1.0]))
    assert got.dtype == np.float64
    expected = [
        math.log(0.75),
        math.log(0.25),
        reference.log_continuous_bernoulli_cell(0.25, 0.25, 1.0),
        reference.log_continuous_bernoulli_cell(0.0, 0.25, 0.5),
        math.log(1 - 1e-6),
    ]
    assert_allclose(got[0], expected, rtol=1e-9)
