import math

import numpy as np
import pytest
from reference import assert_slopes
from scipy.special import expit, log_expit, log_softmax, softmax

from rdlearn.distortions import AbsoluteError, Bernoulli, Distortion, Hamming, SquaredError
from rdlearn.nets.layers import Workspace
from rdlearn.nets.losses import ClassLoss, CustomLoss, DistortionLoss, make_loss


class Hyperbolic(Distortion):
    """A distortion of whole rows, not a sum over features, whose price depends on the place."""

    name, unit = "hyperbolic", "units"

    def root(self, x, x_hat):
        return np.sqrt(1 + np.square(x - x_hat).sum(axis=1, dtype=np.float64))

    def price(self, x):
        return 1 + np.square(x[:, 0])

    def samples(self, x, x_hat):
        return self.price(x) * (self.root(x, x_hat) - 1)

    def gradient(self, x, x_hat):
        return (self.price(x) / self.root(x, x_hat))[:, None] * (x_hat - x)


# A spread that float32 holds exactly, because CustomLoss scales in float32.
SPREAD = 1.75
DISTORTIONS = [SquaredError(), AbsoluteError(), Bernoulli(), Hyperbolic()]
SHAPES = [(1, 1), (5, 3), (4, 17)]


def case(distortion, n, d, seed=0, dtype=np.float64):
    """A loss, data in its units, decoder outputs."""
    rng = np.random.default_rng(seed)
    center = rng.uniform(0.1, 0.9, d).astype(np.float32).astype(np.float64)
    x = rng.random((n, d)) if distortion.name == "bernoulli" else rng.normal(0, 2, (n, d))
    return make_loss(distortion, center, SPREAD), x, rng.normal(0, 2, (n, d)).astype(dtype)


def value_and_gradient(loss, output, target, weight=1.0):
    values, grad = loss.forward(output, target, weight, Workspace())
    assert values.dtype == np.float64 and grad.dtype == output.dtype
    return values.copy(), grad.copy()


def assert_gradient(loss, output, target):
    _, gradient = value_and_gradient(loss, output, target, weight=0.3)

    def function():
        return 0.3 * value_and_gradient(loss, output, target)[0].sum()

    assert_slopes(function, output, gradient, np.random.default_rng(0), most=70)


@pytest.mark.parametrize("distortion", DISTORTIONS, ids=lambda d: d.name)
@pytest.mark.parametrize("n, d", SHAPES)
def test_gradients_against_finite_differences(distortion, n, d):
    loss, x, output = case(distortion, n, d)
    assert_gradient(loss, output, loss.target(x))


@pytest.mark.parametrize("n, d", [(1, 1), (5, 3), (4, 10)])
def test_gradients_of_classes_against_finite_differences(n, d):
    rng = np.random.default_rng(d)
    assert_gradient(ClassLoss(np.full(d, 1 / d)), rng.normal(0, 2, (n, d)), rng.integers(d, size=n))


@pytest.mark.parametrize("distortion", DISTORTIONS, ids=lambda d: d.name)
@pytest.mark.parametrize("n, d", SHAPES)
@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-6)])
def test_loss_is_the_distortion_of_what_outputs_decode_to(distortion, n, d, dtype, tolerance):
    # Targets are float32, so float64 outputs too are compared with rounded data. Logits within 9
    # stay clear of the clipping of reproductions.
    loss, x, output = case(distortion, n, d, dtype=dtype)
    values, _ = value_and_gradient(loss, output, loss.target(x))
    expected = distortion.samples(x, loss.decode(output, np.dtype(np.float64)))
    np.testing.assert_allclose(values, expected, rtol=tolerance * math.sqrt(d))


@pytest.mark.parametrize("distortion", DISTORTIONS, ids=lambda d: d.name)
def test_gradients_are_times_the_weight_and_values_are_not(distortion):
    loss, x, output = case(distortion, 5, 3)
    values, gradient = value_and_gradient(loss, output, loss.target(x))
    again, heavy = value_and_gradient(loss, output, loss.target(x), weight=4.0)
    np.testing.assert_array_equal(again, values)
    np.testing.assert_allclose(heavy, 4 * gradient, rtol=1e-15)


def cross_entropy(logits, t):
    return -t * log_expit(logits) - (1 - t) * log_expit(-logits)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("logit", [0.0, 3.0, 40.0, 700.0])
@pytest.mark.parametrize("d", [1, 511, 512, 513, 1300])
def test_bernoulli_logits_keep_their_digits_however_large_and_many(d, logit, dtype):
    loss = DistortionLoss(Bernoulli(), np.full(d, 0.5), 1.0)
    target = np.linspace(0, 1, d, dtype=np.float32)
    output = (logit * np.array([[1.0], [-1.0]]) * np.ones(d)).astype(dtype)
    values, gradient = value_and_gradient(loss, output, np.tile(target, (2, 1)))
    terms = cross_entropy(output.astype(np.float64), target.astype(np.float64))
    # A rounding of each term and of each 1 + exp(-|logit|).
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(values, terms.sum(axis=1), rtol=4 * eps + 1e-13, atol=d * eps)
    np.testing.assert_allclose(gradient, expit(output) - target, rtol=0, atol=4 * eps)
    assert np.isfinite(values).all() and np.isfinite(gradient).all()


def test_bernoulli_logits_far_out_cost_nothing_where_they_are_right():
    loss = DistortionLoss(Bernoulli(), np.full(3, 0.5), 1.0)
    output, target = np.array([[-700.0, 700.0, 700.0]]), np.array([[0.0, 1.0, 0.25]])
    values, gradient = value_and_gradient(loss, output, target)
    # -log sigmoid(700) = exp(-700), far below the rounding of the last entry, 0.75 * 700.
    assert values[0] == 525.0
    np.testing.assert_allclose(gradient[0], [np.exp(-700.0), 0.0, 0.75], rtol=1e-15)


@pytest.mark.parametrize("d", [2, 10])
@pytest.mark.parametrize("offset", [0.0, 700.0, -700.0])
def test_class_loss_is_the_cross_entropy_under_the_softmax(d, offset):
    rng = np.random.default_rng(d)
    output, target = rng.normal(0, 3, (8, d)) + offset, rng.integers(d, size=8)
    values, gradient = value_and_gradient(ClassLoss(np.full(d, 1 / d)), output, target, 2.0)
    # Logits near 700 are given to 1e-13.
    rows = np.arange(8)
    np.testing.assert_allclose(values, -log_softmax(output, axis=1)[rows, target], atol=1e-12)
    expected = softmax(output, axis=1) - np.eye(d)[target]
    np.testing.assert_allclose(gradient, 2 * expected, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.dtype(np.float32), np.dtype(np.float64)])
def test_decoding_undoes_the_units_of_targets(dtype):
    for distortion in (SquaredError(), AbsoluteError(), Hyperbolic()):
        loss, x, _ = case(distortion, 6, 4)
        decoded = loss.decode(loss.target(x), dtype)
        assert decoded.dtype == dtype
        np.testing.assert_allclose(decoded, x, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.dtype(np.float32), np.dtype(np.float64)])
def test_logits_decode_to_clipped_probabilities(dtype):
    loss = make_loss(Bernoulli(), np.full(4, 0.5), 1.0)
    output = np.array([[-800.0, -1.0, 2.0, 800.0]], dtype=np.float32)
    decoded = loss.decode(output, dtype)
    assert decoded.dtype == dtype
    expected = [[1e-6, expit(-1.0), expit(2.0), 1 - 1e-6]]
    np.testing.assert_allclose(decoded, expected, rtol=1e-6)
    classes = ClassLoss(np.full(4, 0.25)).decode(output, dtype)
    assert classes.dtype == dtype
    np.testing.assert_allclose(classes, [[0, 0, 0, 1]], atol=1e-12)


def test_networks_start_at_the_mean_of_the_data():
    center = np.array([0.3, 0.5, 0.9])
    for distortion in (SquaredError(), AbsoluteError(), Bernoulli(), Hyperbolic()):
        loss = make_loss(distortion, center, SPREAD)
        start = loss.decode(loss.initial_bias()[None], np.dtype(np.float64))[0]
        np.testing.assert_allclose(start, center, rtol=1e-12)
    start = ClassLoss(np.array([0.2, 0.7, 0.1]))
    decoded = start.decode(start.initial_bias()[None], np.dtype(np.float64))[0]
    np.testing.assert_allclose(decoded, [0.2, 0.7, 0.1], rtol=1e-12)
    # Features that never vary start with finite logits.
    flat = make_loss(Bernoulli(), np.array([0.0, 1.0]), SPREAD).initial_bias()
    np.testing.assert_allclose(expit(flat), [0.005, 0.995], rtol=1e-12)


def test_a_distortion_of_bits_is_refused_with_a_remedy():
    with pytest.raises(ValueError, match="distortion='bernoulli'"):
        make_loss(Hamming(), np.zeros(2), 1.0)


def test_custom_distortions_go_through_their_own_methods():
    assert type(make_loss(Hyperbolic(), np.zeros(2), 1.0)) is CustomLoss
    for known in (SquaredError(), AbsoluteError(), Bernoulli()):
        assert type(make_loss(known, np.zeros(2), 1.0)) is DistortionLoss
