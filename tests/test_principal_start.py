"""Targets of dense nets on small tables: what nets start as, what bits are spent on."""

import functools

import numpy as np
import pytest
import sklearn.datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from rdlearn import EchoAutoencoder, PCACodec, UniformNoiseCodec, VariationalAutoencoder
from rdlearn._objective import Objective, dense_net
from rdlearn._principal_start import PrincipalStart
from rdlearn.channels.centers import CentersChannel
from rdlearn.channels.uniform_noise import LEAST_SCALE, UniformNoiseChannel
from rdlearn.distortions import SquaredError
from rdlearn.kernels import get_ops
from rdlearn.nets.layers import Workspace
from rdlearn.nets.losses import make_loss

ACTIVATIONS = ["relu", "softplus", "identity", "tanh", "logistic"]


@functools.cache
def halves(name):
    X = getattr(sklearn.datasets, f"load_{name}")().data
    return train_test_split(X, test_size=0.3, random_state=0)


@pytest.mark.parametrize(
    "name, target", [("breast_cancer", 6), ("breast_cancer", 20), ("wine", 6), ("digits", 6)]
)
def test_targets_on_small_tables_are_met_better_than_by_principal_components(name, target):
    train, held = halves(name)
    nets = UniformNoiseCodec(target_rate=target, standardize=True, random_state=0).fit(train)
    linear = PCACodec(target_rate=target, standardize=True).fit(train)
    assert 0.95 * target <= nets.rate(train) <= target
    assert nets.mean_distortion(train) <= linear.mean_distortion(train)
    assert nets.mean_distortion(held) <= 1.02 * linear.mean_distortion(held)
    # Rows that were not learned from take a few bits for symbols that were not seen.
    assert nets.rate(held) < 1.25 * target


def test_a_target_does_not_depend_on_the_units_of_a_table():
    # Squared units span six orders of magnitude, and beta with them.
    X = halves("wine")[0]
    fits = [UniformNoiseCodec(target_rate=6, random_state=0).fit(unit * X) for unit in (1, 1024)]
    np.testing.assert_allclose(fits[1].beta_ * 1024**2, fits[0].beta_, rtol=0.1)
    lost = [fit.mean_distortion(unit * X) for fit, unit in zip(fits, (1, 1024), strict=True)]
    assert lost[1] / 1024**2 == pytest.approx(lost[0], rel=0.1)
    assert lost[0] < 0.05 * X.var(axis=0).sum()


def test_a_target_of_absolute_error_and_of_centres():
    X = halves("breast_cancer")[0]
    mean = np.abs((X - X.mean(axis=0)) / X.std(axis=0)).sum(axis=1).mean()
    for params in ({"distortion": "absolute_error"}, {"quantizer": "centers"}):
        codec = UniformNoiseCodec(target_rate=6, standardize=True, random_state=0, **params).fit(X)
        assert 5.7 <= codec.rate(X) <= 6
        free = mean if "distortion" in params else 30
        assert codec.mean_distortion(X) < 0.6 * free


def loss_of(X):
    return make_loss(SquaredError(), X.mean(axis=0), 2.0)


def started(X, channel, hidden=(24, 20), activation="relu", **targets):
    """Objective, its parameters and the price, for centred rows that the encoder sees halved."""
    k, d = channel.n_components, X.shape[1]
    nets = [
        dense_net(n_in, layers, n_out, activation, name)
        for n_in, layers, n_out, name in (
            (d, hidden, k, "encoder"),
            (k, hidden[::-1], d, "decoder"),
        )
    ]
    objective = Objective(nets[0], channel, nets[1], loss_of(X))
    params = objective.init(np.random.default_rng(0))
    inputs = (X / 2).astype(np.float32)
    price = PrincipalStart(X)(objective, params, inputs, 6.0, np.random.default_rng(1), **targets)
    return objective, params, price


def gaussian_rows(n=1500):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 6)) @ (rng.normal(size=(6, 6)) * [5, 3, 2, 1, 0.5, 0.1])
    return X - X.mean(axis=0)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", [(), (24,), (24, 20)])
def test_nets_start_as_the_transform_and_its_inverse(activation, hidden):
    X = gaussian_rows()
    objective, params, price = started(X, UniformNoiseChannel(4), hidden, activation)
    # Without a target the price is the one given, and 6 is that of a step of 1.
    assert price == 6.0
    views, work = objective.views(params), Workspace()
    code = objective.encode(views, (X / 2).astype(np.float32), work).copy()
    variances, axes = np.linalg.eigh(X.T @ X / len(X))
    expected = X @ axes[:, ::-1][:, :4]
    exact = hidden == () or activation in ("relu", "softplus", "identity")
    for column, wanted in zip(code.T, expected.T, strict=True):
        # Axes have no sign; saturating units bend at a deviation, layer after layer.
        wanted = wanted * np.sign(wanted @ column)
        assert np.std(column - wanted) < (1e-3 if exact else 0.4) * np.std(wanted)
    out = objective.decode(views, code, None, work) * 2.0
    lost = np.mean(((X - out) ** 2).sum(axis=1))
    # The Wiener factors of the noise lose what is left out and little more.
    assert lost < variances[:2].sum() + 4 / 12 + (0.05 if exact else 0.3) * variances.sum()


@pytest.mark.parametrize("nats", [1.0, 4.0, 12.0])
def test_the_first_price_is_that_of_gaussian_components(nats):
    X = gaussian_rows()
    price = started(X, UniformNoiseChannel(6), target_rate=nats)[2]
    variances = np.linalg.eigvalsh(X.T @ X / len(X))
    level = 0.5 / price
    assert 0.5 * np.log(np.maximum(variances / level, 1)).sum() == pytest.approx(nats, rel=1e-6)
    # The distortion at that level leads to it as well.
    lost = np.minimum(variances, level).sum()
    assert started(X, UniformNoiseChannel(6), target_loss=lost)[2] == pytest.approx(price, rel=1e-6)


def test_first_laws_and_shares_are_those_of_the_codes():
    X = gaussian_rows()
    objective, params, _ = started(X, UniformNoiseChannel(6))
    views, rng = objective.views(params), np.random.default_rng(2)
    draw = objective.channel.draw(rng, len(X))
    x = (X / 2).astype(np.float32)
    _, rate, _, _ = objective.forward(views, x, loss_of(X).target(X), None, draw, None, Workspace())
    # No code of six Gaussian components with noise takes less, and laws of their width not much
    # more: the logistic law is 0.014 nats from the normal one.
    widths = np.linalg.eigvalsh(X.T @ X / len(X)) + 1 / 12
    least = 0.5 * np.log(2 * np.pi * np.e * widths).sum()
    assert least - 0.6 < rate.mean() < least + 0.6
    objective, params, _ = started(X, CentersChannel(6, 4))
    code = objective.encode(objective.views(params), x, Workspace())
    assert code.std(axis=0).max() <= 1.001
    assert np.ptp(objective.views(params)[1].reshape(2, 6, 4)[1], axis=1).max() > 1


@pytest.mark.parametrize("rows", [np.zeros((5, 3)), np.eye(2), np.ones((1, 4))])
def test_tables_of_next_to_nothing(rows):
    objective, params, price = started(rows, UniformNoiseChannel(4), target_rate=1.0)
    assert np.isfinite(params).all() and 0 < price < np.inf
    narrow = started(gaussian_rows(), UniformNoiseChannel(4), hidden=(1,))[1]
    assert np.isfinite(narrow).all()


def test_laws_learn_faster_than_nets_and_stay_wide_enough():
    objective, params, _ = started(gaussian_rows(), UniformNoiseChannel(4), ())
    optimizer, before = objective.optimizer(get_ops("cpu")), params.copy()
    optimizer.step(params, np.ones_like(params), 1e-3)
    moved = [part for part in objective.views(before - params)]
    # The first step of Adam is the learning rate.
    np.testing.assert_allclose(moved[0][0]["weights"], 1e-3, rtol=1e-2)
    np.testing.assert_allclose(moved[2][0]["weights"], 1e-3, rtol=1e-2)
    np.testing.assert_allclose(moved[1], 1e-2, rtol=1e-2)
    for _ in range(1000):
        optimizer.step(params, np.ones_like(params), 1e-3)
    log_scale = objective.views(params)[1].reshape(3, 4, -1)[2]
    np.testing.assert_array_equal(log_scale, LEAST_SCALE)


@pytest.mark.parametrize("estimator", [EchoAutoencoder, VariationalAutoencoder, UniformNoiseCodec])
def test_bits_that_are_spent_on_nothing_have_a_warning(estimator):
    X = halves("wine")[0]
    # One epoch at next to no learning rate, of nets too narrow to start as anything.
    still = {"max_iter": 1, "learning_rate_init": 1e-9, "hidden_layer_sizes": (1,)}
    codec = estimator(8, standardize=True, random_state=0, **still)
    with pytest.warns(ConvergenceWarning, match="bits per sample on nothing.*max_iter=1"):
        codec.fit(X)
    assert codec.rate(X) > 0.1 and codec.mean_distortion(X) > 12.9
    settled = estimator(8, beta=2.0, standardize=True, random_state=0, max_iter=100).fit(X)
    assert settled.mean_distortion(X) < 9


@pytest.mark.parametrize("target", [0.3, 1])
@pytest.mark.parametrize("name", ["gauss", "breast_cancer"])
def test_a_target_of_less_than_a_bit_is_met(name, target):
    gauss = np.random.default_rng(0).normal(size=(300, 20))
    X = gauss if name == "gauss" else halves(name)[0]
    codec = UniformNoiseCodec(target_rate=target, standardize=True, random_state=0).fit(X)
    assert 0.95 * target <= codec.rate(X) <= target
    # No bits lose the variance of the columns.
    assert codec.mean_distortion(X) < X.shape[1]
    # Steps that bits are weighed in, and points between whole steps, are those of the stream.
    again = codec.decompress(codec.compress(X))
    np.testing.assert_array_equal(again, codec.inverse_transform(codec.transform(X)))


def test_nets_cost_no_more_than_the_components_they_start_from():
    # Columns without structure have nothing for nets to learn; principal components weigh bits.
    X = np.random.default_rng(0).uniform(size=(1000, 5))
    plain = {"target_rate": 2, "standardize": True}
    codec = UniformNoiseCodec(**plain, random_state=0, max_iter=40).fit(X)
    assert codec.mean_distortion(X) < 1.02 * PCACodec(**plain).fit(X).mean_distortion(X)
    X = np.random.default_rng(0).normal(size=(500, 1))
    codec = UniformNoiseCodec(target_rate=2, random_state=0, max_iter=40).fit(X)
    linear = PCACodec(target_rate=2).fit(X)
    assert codec.mean_distortion(X) < 1.1 * linear.mean_distortion(X)
    # At a bit more a quarter is lost, so that -dR/dD is 1 / (2 D).
    slope = 1 / (2 * codec.mean_distortion(X))
    assert codec.beta_ == pytest.approx(slope, rel=0.5)
    bits, aim = codec.rate(X), codec.mean_distortion(X)
    other = UniformNoiseCodec(target_distortion=aim, random_state=0, max_iter=40).fit(X)
    assert 0.95 * aim <= other.mean_distortion(X) <= aim
    assert other.rate(X) < 1.1 * bits
