import numpy as np
import pytest
from reference import assert_slopes, naive_network
from test_channels import present
from test_losses import Hyperbolic

from rdlearn._objective import Objective, dense_net
from rdlearn.channels.diagonal_echo import DiagonalEchoChannel
from rdlearn.channels.flow import FlowChannel
from rdlearn.channels.gaussian import GaussianChannel
from rdlearn.distortions import AbsoluteError, Bernoulli, SquaredError
from rdlearn.nets.layers import Workspace
from rdlearn.nets.losses import ClassLoss, make_loss

N, D, K, SIDE = 5, 4, 3, 2
CHANNELS = {
    "echo": lambda: DiagonalEchoChannel(K),
    "echo of 3 terms": lambda: DiagonalEchoChannel(K, n_terms=3, clip=0.9),
    "gaussian": lambda: GaussianChannel(K),
    "flow": lambda: FlowChannel(K, 2),
}
DISTORTIONS = [SquaredError(), AbsoluteError(), Bernoulli(), Hyperbolic()]
LOSSES = {d.name: make_loss(d, np.linspace(0.25, 0.75, D), 1.5) for d in DISTORTIONS}
LOSSES["classes"] = ClassLoss(np.full(D, 1 / D))


class Case:
    """An objective with parameters, rows and draws in float64."""

    def __init__(self, channel, loss, side, activation="tanh"):
        self.rng = rng = np.random.default_rng(7)
        self.channel = CHANNELS[channel]()
        encoder = dense_net(D, [6], self.channel.n_outputs, activation, "encoder")
        decoder = dense_net(K + SIDE * side, [7], D, activation, "decoder")
        self.objective = Objective(encoder, self.channel, decoder, LOSSES[loss])
        self.flat = self.objective.init(rng).astype(np.float64)
        self.flat += 0.3 * rng.standard_normal(self.flat.size)
        self.x = rng.standard_normal((N, D))
        self.side = rng.standard_normal((N, SIDE)) if side else None
        target = rng.integers(D, size=N) if loss == "classes" else rng.random((N, D))
        self.target = target
        self.draw = self.channel.draw(rng, N)
        if self.draw.dtype.kind == "f":
            self.draw = self.draw.astype(np.float64)
        self.tail = rng.standard_normal(K)

    def forward(self, flat, work):
        views, inputs = self.objective.views(flat), (self.x, self.target, self.side)
        return self.objective.forward(views, *inputs, self.draw, self.tail, work, 0.7)

    def gradient(self):
        grads, work = np.full_like(self.flat, np.nan), Workspace()
        *_, cache = self.forward(self.flat, work)
        views, parts = self.objective.views(self.flat), self.objective.views(grads)
        self.objective.backward(views, parts, cache, 0.4, work)
        return grads


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("side", [False, True], ids=["alone", "with side information"])
def test_gradients_against_finite_differences(channel, loss, side):
    case = Case(channel, loss, side)
    # What is masked never moves.
    mask = np.ones(case.flat.size, dtype=bool)
    case.objective.views(mask)[1][:] = present(case.channel)
    case.flat *= mask
    gradient, small = case.gradient(), case.flat[mask]

    def function():
        case.flat[mask] = small
        _, rate, loss, _ = case.forward(case.flat, Workspace())
        return 0.4 * rate.sum() + 0.7 * loss.sum()

    assert not gradient[~mask].any()
    assert_slopes(function, small, gradient[mask], case.rng, most=30)


@pytest.mark.parametrize("side", [False, True])
def test_forward_is_encoder_channel_decoder_loss(side):
    case = Case("gaussian", "squared_error", side)
    code, rate, loss, _ = case.forward(case.flat, Workspace())
    encoder, _, decoder = case.objective.views(case.flat)
    mu, log_sigma = np.split(naive_network(encoder, case.x, ["tanh", "identity"]), 2, axis=1)
    expected = mu + np.exp(log_sigma) * case.draw
    np.testing.assert_allclose(code, expected, rtol=1e-12)
    divergence = (mu**2 + np.exp(2 * log_sigma) - 1) / 2 - log_sigma
    np.testing.assert_allclose(rate, divergence.sum(axis=1), rtol=1e-12)
    joined = np.concatenate([expected, case.side], axis=1) if side else expected
    output = naive_network(decoder, joined, ["tanh", "identity"])
    np.testing.assert_allclose(loss, 1.5**2 * ((output - case.target) ** 2).sum(axis=1), rtol=1e-12)
    again = case.objective.decode(case.objective.views(case.flat), code, case.side, Workspace())
    np.testing.assert_allclose(again, output, rtol=1e-12)


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("loss", LOSSES)
def test_fresh_parameters_start_at_the_mean_of_the_data(channel, loss):
    case = Case(channel, loss, False)
    flat = case.objective.init(np.random.default_rng(0))
    assert flat.dtype == np.float32 and flat.size == case.objective.n_parameters
    assert np.isfinite(flat).all()
    bias = case.objective.views(flat)[2][-1]["bias"]
    np.testing.assert_allclose(bias, LOSSES[loss].initial_bias(), rtol=1e-6)


def test_views_cover_the_flat_vector_once():
    case = Case("flow", "bernoulli", True)
    encoder, channel, decoder = case.objective.views(case.flat)
    arrays = [a for part in (*encoder, *decoder) for a in part.values()] + [channel]
    assert sum(a.size for a in arrays) == case.flat.size == case.objective.n_parameters
    assert channel.size == case.channel.n_parameters > 0
    for array in arrays:
        array += 1000.0
    # Every entry was raised, none twice.
    assert np.all((case.flat > 900) & (case.flat < 1100))


@pytest.mark.parametrize("side", [False, True])
def test_a_part_of_the_rows_can_use_the_same_workspace(side):
    case, work = Case("flow", "squared_error", side), Workspace(by_rows=True)
    whole = [array.copy() for array in case.forward(case.flat, work)[:3]]
    for rows in ([3], [4, 1], [2, 0, 1, 4, 3]):
        part = Case("flow", "squared_error", side)
        part.x, part.target, part.draw = part.x[rows], part.target[rows], part.draw[rows]
        part.side = None if part.side is None else part.side[rows]
        for ours, theirs in zip(part.forward(case.flat, work)[:3], whole, strict=True):
            np.testing.assert_array_equal(ours, theirs[rows])
