import ast
import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, clone

from rdlearn import distortions
from rdlearn.distortions import (
    NLPD,
    AbsoluteError,
    Bernoulli,
    Distortion,
    Hamming,
    MultiScaleSSIM,
    SquaredError,
    get_distortion,
)

COSTS = [(1.0, 1.0), (3.0, 0.5), (0.2, 7.0), (np.inf, 2.0), (0.5, np.inf)]
HAMMINGS = [Hamming(a, b) for a, b in COSTS]
ALL = [SquaredError(), AbsoluteError(), Bernoulli(), *HAMMINGS]
FINITE = ALL[:6]
SCALED = [SquaredError(), AbsoluteError()]


def draw(distortion, rng, n=7, d=5):
    """Data in the domain, and decoder outputs with every boundary value among them."""
    if isinstance(distortion, (SquaredError, AbsoluteError)):
        return rng.normal(2, 3, (n, d)), rng.normal(2, 3, (n, d))
    p = rng.uniform(0.05, 0.95, (n, d))
    if isinstance(distortion, Bernoulli):
        return rng.choice([0, 1, 0.3, rng.uniform()], (n, d)), p
    return rng.integers(0, 2, (n, d)).astype(float), p


# Values


@pytest.mark.parametrize("distortion", ALL, ids=repr)
@pytest.mark.parametrize("dtype, rtol", [(np.float32, 3e-6), (np.float64, 1e-13)])
def test_values_and_their_sums_equal_the_definition(distortion, dtype, rtol):
    x, x_hat = (v.astype(dtype) for v in draw(distortion, np.random.default_rng(0)))
    if distortion.name in ("hamming", "bernoulli"):
        x_hat[0], x_hat[1] = x[0], 1 - x[1]
    expected = np.array(
        [
            [
                reference.entry_loss(distortion.name, *map(float, pair), **distortion.constants())
                for pair in zip(*rows, strict=True)
            ]
            for rows in zip(x, x_hat, strict=True)
        ]
    )
    elementwise = distortion.elementwise(x, x_hat)
    assert elementwise.dtype == dtype
    assert_allclose(elementwise, expected, rtol=rtol)
    for values, axis in [(distortion.samples, 1), (distortion.per_feature, 0)]:
        got = values(x, x_hat)
        assert got.dtype == np.float64
        assert_allclose(got, expected.sum(1) if axis else expected.mean(0), rtol=rtol)


def test_sums_of_float32_losses_accumulate_in_float64():
    # 2^24 + 1 is not a float32.
    x = np.array([[4096, 1, 1, 1]], dtype=np.float32)
    zero = np.zeros_like(x)
    assert SquaredError().samples(x, zero) == 2**24 + 3
    assert SquaredError().per_feature(x.T, zero.T) == (2**24 + 3) / 4


@pytest.mark.parametrize("distortion", FINITE, ids=repr)
@pytest.mark.parametrize("seed", [1, 2])
def test_gradient_equals_finite_differences_of_samples(distortion, seed):
    x, x_hat = draw(distortion, np.random.default_rng(seed))
    expected = reference.central_difference(
        lambda moved: sum(
            reference.entry_loss(distortion.name, *map(float, pair), **distortion.constants())
            for pair in zip(x.ravel(), moved.ravel(), strict=True)
        ),
        x_hat,
        step=1e-5,
    )
    # Third derivatives are at most 2 / 0.05^3, so truncation is below 3e-6; rounding is 1e-9.
    assert_allclose(distortion.gradient(x, x_hat), expected, rtol=1e-6, atol=4e-6)
    single = distortion.gradient(x.astype(np.float32), x_hat.astype(np.float32))
    assert single.dtype == np.float32
    assert_allclose(single, expected, rtol=1e-4, atol=1e-5)


def test_gradient_of_absolute_error_is_zero_at_the_kink():
    assert AbsoluteError().gradient(np.ones((1, 1)), np.ones((1, 1))) == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_infinite_costs_of_hamming(dtype):
    x, p = np.array([[0, 0, 0, 1, 1, 1], [0, 0.5, 1, 0, 0.5, 1]], dtype=dtype)[:, None]
    inf = np.inf
    assert_array_equal(Hamming(inf, 2).elementwise(x, p), [[0, inf, inf, 2, 1, 0]])
    assert_array_equal(Hamming(inf, 2).gradient(x, p), [[inf, inf, inf, -2, -2, -2]])
    assert_array_equal(Hamming(2, inf).elementwise(x, p), [[0, 1, 2, inf, inf, 0]])
    assert_array_equal(Hamming(2, inf).gradient(x, p), [[2, 2, 2, -inf, -inf, -inf]])
    assert Hamming(inf, 2).elementwise(x, p).dtype == Hamming(2, inf).gradient(x, p).dtype == dtype


def test_bernoulli_at_certainty():
    x, p = np.array([[0, 0, 1, 1, 0.5], [0, 1, 0, 1, 1]], dtype=np.float32)[:, None]
    assert_array_equal(Bernoulli().elementwise(x, p), [[0, np.inf, np.inf, 0, np.inf]])
    clipped = Bernoulli().samples(x[:, 1:3], Bernoulli().reproduction(p[:, 1:3]))
    assert_allclose(clipped, 2 * -math.log(1e-6), rtol=3e-3)  # 1 - 1e-6 rounds in float32
    gradient = Bernoulli().gradient(x, p)
    assert_allclose(gradient, [[1, 1e6, -1e6, -1, 5e5]], rtol=0.06)
    # A saturated sigmoid has derivative 0; the product of the two must not be NaN.
    assert_array_equal(gradient[:, :4] * (p * (1 - p))[:, :4], 0)


# Reproductions


@pytest.mark.parametrize("distortion", [Bernoulli(), *HAMMINGS], ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_reproduction_minimises_expected_loss(distortion, dtype):
    constants = distortion.constants()
    grid = [0, 1] if distortion.name == "hamming" else np.linspace(0, 1, 101)
    for p in [0, 0.02, 0.12, 0.16, 0.49, 0.51, 0.85, 0.88, 0.97, 1]:
        got = distortion.reproduction(np.full((1, 1), p, dtype=dtype))
        assert got.dtype == dtype
        assert_array_equal(distortion.reproduction(got), got)

        def expected_loss(q, p=p):
            pairs = [(w, x) for w, x in ((1 - p, 0), (p, 1)) if w > 0]
            return sum(
                w * reference.entry_loss(distortion.name, x, q, **constants) for w, x in pairs
            )

        best = min(grid, key=expected_loss)
        assert got.item() == pytest.approx(
            best, abs=1.1e-6 if distortion.name == "bernoulli" else 0
        )


def test_reproduction_of_other_decoder_outputs():
    x_hat = np.array([[-2.0, 0.5, 3.0]])
    assert_array_equal(SquaredError().reproduction(x_hat), x_hat)
    assert_array_equal(AbsoluteError().reproduction(x_hat), x_hat)
    assert_array_equal(Bernoulli().reproduction(x_hat), [[1e-6, 0.5, 1 - 1e-6]])
    for hamming in HAMMINGS:  # outside [0, 1] no cost tips the balance
        assert_array_equal(hamming.reproduction(x_hat)[:, ::2], [[0, 1]])
    assert_array_equal(Hamming().reproduction(x_hat), [[0, 0, 1]])  # a tie goes to 0
    assert Hamming(1e20, 1).reproduction(np.ones((1, 1))) == 1
    assert 0 < Bernoulli().reproduction(np.float32([[0, 1]]))[0, 1] < 1


# Domains


@pytest.mark.parametrize("bad", [2.0, -1.0, 0.5, np.nan])
def test_hamming_refuses_what_is_not_binary(bad):
    X = np.array([[0.0, 1.0], [1.0, bad]])
    Hamming().check(X[:1])
    sentence = f"takes only the values 0 and 1, but column 1 contains {bad}: binarize X first"
    with pytest.raises(ValueError, match=sentence):
        Hamming().check(X)
    with pytest.raises(ValueError, match=f"column 'age' contains {bad}: "):
        Hamming().check(X, feature_names=np.array(["sex", "age"], dtype=object))


@pytest.mark.parametrize("bad", [np.nextafter(1, 2), -1e-9, np.nan])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bernoulli_refuses_what_is_outside_the_unit_interval(bad, dtype):
    bad = np.nextafter(dtype(1), dtype(2)) if bad > 1 else dtype(bad)
    X = np.array([[0, 0.5], [bad, 1]], dtype=dtype)
    Bernoulli().check(X[:1])
    sentence = (
        f"takes only values from 0 to 1, but column 0 contains {bad!s}: rescale it, as MinMax"
    )
    with pytest.raises(ValueError, match=sentence):
        Bernoulli().check(X)
    with pytest.raises(ValueError, match=f"column 'age' contains {bad!s}: "):
        Bernoulli().check(X, feature_names=["age", "sex"])


@pytest.mark.parametrize("distortion", SCALED, ids=repr)
def test_errors_of_real_values_accept_everything(distortion):
    distortion.check(np.array([[-1e30, 1e30]]))


# Objects


@pytest.mark.parametrize("distortion", ALL, ids=repr)
def test_objects_are_values(distortion):
    class Codec(BaseEstimator):
        def __init__(self, distortion):
            self.distortion = distortion

    assert clone(Codec(distortion)).distortion == distortion
    copy = pickle.loads(pickle.dumps(distortion))
    assert copy == distortion and copy is not distortion and hash(copy) == hash(distortion)
    assert eval(repr(distortion), vars(distortions) | {"inf": np.inf}) == distortion
    constants = json.loads(json.dumps(distortion.constants()))
    assert type(distortion)(**constants) == distortion
    assert distortion.has_noise_model is True
    assert get_distortion(distortion) is distortion


def test_different_objects_differ():
    assert len({*ALL, *HAMMINGS, Hamming(1, 1)}) == len(ALL)
    assert Hamming(1, 2) != Hamming(2, 1)
    assert SquaredError() != AbsoluteError() != "absolute_error"
    assert repr(Hamming(2, np.inf)) == "Hamming(a=2.0, b=inf)"
    assert repr(Bernoulli()) == "Bernoulli()"
    assert [d.unit for d in ALL[:4]] == [
        "summed squared units",
        "summed absolute units",
        "nats",
        "weighted bit flips",
    ]


def test_names_find_their_distortion():
    known = {
        "squared_error": SquaredError(),
        "absolute_error": AbsoluteError(),
        "hamming": Hamming(a=1.0, b=1.0),
        "bernoulli": Bernoulli(),
        "ms_ssim": MultiScaleSSIM((28, 28, 1), 255),
        "nlpd": NLPD((28, 28, 1), 255),
    }
    for name, distortion in known.items():
        assert get_distortion(name, image_shape=(28, 28, 1), data_range=255) == distortion
        assert distortion.name == name
    listed = ", ".join(map(repr, known))
    for wrong in ("mse", None, Hamming, ["hamming"]):
        with pytest.raises(
            ValueError, match=f"must be one of {listed} or a Distortion, got "
        ) as error:
            get_distortion(wrong)
        assert repr(wrong) in str(error.value)


@pytest.mark.parametrize("a, b", [(0, 1), (1, 0), (-2, 1), (1, -np.inf), (np.nan, 1), (1, np.nan)])
def test_hamming_refuses_costs_that_are_not_positive(a, b):
    with pytest.raises(ValueError, match=f"must be positive, got a={a}, b={b}"):
        Hamming(a, b)


def test_hamming_refuses_two_infinite_costs():
    with pytest.raises(ValueError, match="At most one of the costs a and b .* can be infinite"):
        Hamming(np.inf, np.inf)


def test_base_class_is_a_contract_without_a_noise_model():
    base, x = Distortion(), np.ones((1, 1))
    assert base.has_noise_model is False
    for call in (base.elementwise, base.gradient, base.samples_and_gradient, base.fit_scale):
        with pytest.raises(NotImplementedError):
            call(x, x)
    with pytest.raises(NotImplementedError):
        base.log_mass(x, x, 1.0, np.ones(1))


@pytest.mark.parametrize("name", ["distortions", "_distortion", "_cells", "_perceptual"])
def test_modules_import_only_numpy_and_scipy_special(name):
    tree = ast.parse(Path(distortions.__file__).with_name(f"{name}.py").read_text())
    imported = [
        ast.unparse(n).split()[1]
        for n in ast.walk(tree)
        if isinstance(n, (ast.Import, ast.ImportFrom))
    ]
    outside = {module for module in imported if not module.startswith("rdlearn.")}
    assert outside <= {"math", "numbers", "numpy", "scipy.special"}
