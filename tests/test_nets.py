import numpy as np
import pytest
from reference import assert_slopes, naive_adam, naive_network
from scipy.special import expit

from rdlearn.kernels import get_ops
from rdlearn.kernels.elementwise import ACTIVATIONS as ACTIVATION_NUMBERS
from rdlearn.kernels.elementwise import bias_activation
from rdlearn.nets.adam import Adam
from rdlearn.nets.layers import Dense, MaskedDense, Workspace
from rdlearn.nets.sequential import Sequential

ACTIVATIONS = ["identity", "relu", "tanh", "softplus", "logistic"]


def network(sizes, activations, seed=0, dtype=np.float64):
    layers = [Dense(n, a) for n, a in zip(sizes[1:], activations, strict=True)]
    net = Sequential(layers, sizes[0], "net")
    flat = net.init(np.random.default_rng(seed), dtype)
    # Biases start at 0, which would hide a wrong bias.
    flat += 0.1 * np.random.default_rng(seed + 1).standard_normal(flat.size)
    return net, flat


def loss_and_gradients(net, flat, x, weight):
    """sum(weight * output), its gradients by the parameters and by the input."""
    work, grads = Workspace(), np.empty_like(flat)
    y, caches = net.forward(net.views(flat), x, work)
    loss = float(np.sum(weight * y))
    by_input = net.backward(net.views(flat), caches, weight.copy(), net.views(grads), work)
    return loss, grads, by_input.copy()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("n, sizes", [(1, (3, 2)), (5, (4, 6, 3)), (7, (2, 9, 5, 4))])
def test_gradients_against_finite_differences(activation, n, sizes):
    rng = np.random.default_rng(len(sizes))
    net, flat = network(sizes, [activation] * (len(sizes) - 1))
    x, weight = rng.standard_normal((n, sizes[0])), rng.standard_normal((n, sizes[-1]))
    _, by_params, by_input = loss_and_gradients(net, flat, x, weight)
    for values, gradient in ((flat, by_params), (x, by_input)):
        assert_slopes(lambda: loss_and_gradients(net, flat, x, weight)[0], values, gradient, rng)


def masked_network(activation, seed=0):
    """Two masked layers (5, 7, 4) and the entries of the flat vector that are absent."""
    rng = np.random.default_rng(seed)
    masks = [rng.random(shape) < 0.5 for shape in ((5, 7), (7, 4))]
    net = Sequential([MaskedDense(masks[0], activation), MaskedDense(masks[1])], 5, "masked")
    flat = net.init(rng, np.float64)
    absent = np.zeros(flat.size, dtype=bool)
    for part, mask in zip(net.views(absent), masks, strict=True):
        part["weights"][:] = ~mask
    flat += 0.1 * ~absent * rng.standard_normal(flat.size)
    return net, flat, absent


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("n", [1, 6])
def test_gradients_of_masked_layers_against_finite_differences(activation, n):
    rng = np.random.default_rng(n)
    net, flat, absent = masked_network(activation)
    x, weight = rng.standard_normal((n, 5)), rng.standard_normal((n, 4))
    _, by_params, by_input = loss_and_gradients(net, flat, x, weight)
    assert not by_params[absent].any()

    def function():
        # What is absent cannot move.
        return loss_and_gradients(net, flat * ~absent, x, weight)[0]

    for values, gradient in ((flat, by_params), (x, by_input)):
        assert_slopes(function, values, gradient, rng, most=60)


def test_absent_weights_stay_exactly_zero_under_adam():
    net, flat, absent = masked_network("relu")
    rng, before = np.random.default_rng(3), flat.copy()
    adam = Adam(flat.size, get_ops("cpu"), np.float64)
    for _ in range(30):
        x, weight = rng.standard_normal((6, 5)), rng.standard_normal((6, 4))
        adam.step(flat, loss_and_gradients(net, flat, x, weight)[1], 0.01)
    assert absent.sum() > 10 and not flat[absent].any()
    assert np.mean(flat[~absent] != before[~absent]) > 0.8


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_by_rows_a_row_is_the_same_to_the_bit_in_any_company(activation, dtype):
    rng = np.random.default_rng(1)
    net, flat = network((19, 33, 17, 5), [activation] * 3, dtype=dtype)
    x = rng.standard_normal((50, 19)).astype(dtype)
    work, views = Workspace(by_rows=True), net.views(flat)
    whole = net.forward(views, x, work)[0].copy()
    for size in (1, 2, 7, 31, 50):
        rows = rng.permutation(50)[:size]
        part = net.forward(views, x[rows], work)[0]
        np.testing.assert_array_equal(part, whole[rows])
    close = naive_network(views, x, [activation] * 3)
    # Three sums of up to 33 terms of size about 1.
    np.testing.assert_allclose(whole, close, rtol=0, atol=1000 * np.finfo(dtype).eps)


@pytest.mark.parametrize(
    "activations", [("relu", "identity"), ("tanh", "softplus"), ("logistic", "logistic")]
)
@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 2e-5), (np.float64, 1e-12)])
def test_forward_is_the_definition(activations, dtype, tolerance):
    net, flat = network((5, 8, 3), activations, dtype=dtype)
    x = np.random.default_rng(2).standard_normal((11, 5)).astype(dtype)
    y, _ = net.forward(net.views(flat), x, Workspace())
    assert y.dtype == dtype
    np.testing.assert_allclose(
        y, naive_network(net.views(flat), x, activations), rtol=tolerance, atol=tolerance
    )


def test_softplus_keeps_its_digits_far_out():
    net = Sequential([Dense(1, "softplus")], 1, "net")
    params = net.views(np.array([1.0, 0.0]))
    x = np.array([[-700.0], [-40.0], [0.0], [40.0], [1e4]])
    y, caches = net.forward(params, x, Workspace())
    np.testing.assert_allclose(y[:, 0], [np.exp(-700.0), np.exp(-40.0), np.log(2), 40.0, 1e4])
    grads = net.views(np.zeros(2))
    slope = net.backward(params, caches, np.ones((5, 1)), grads, Workspace())
    np.testing.assert_allclose(slope[:, 0], [np.exp(-700.0), np.exp(-40.0), 0.5, 1.0, 1.0])


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 3e-7), (np.float64, 1e-15)])
def test_logistic_keeps_its_digits_far_out(dtype, tolerance):
    x = np.concatenate([np.linspace(-85, 85, 100_001), [-1e9, 1e9, -np.inf, np.inf, np.nan]])
    y = x.astype(dtype)[None]
    want = expit(y.astype(np.float64))
    bias_activation(y, np.zeros(y.size, dtype), ACTIVATION_NUMBERS["logistic"])
    np.testing.assert_allclose(y[0, :-5], want[0, :-5], rtol=tolerance)
    np.testing.assert_allclose(y[0, -5:], want[0, -5:], atol=1e-37)


@pytest.mark.parametrize("activation, gain", [("relu", 2.0), ("tanh", 1.0), ("identity", 1.0)])
def test_initial_weights_have_their_published_spread(activation, gain):
    params = Sequential([Dense(300, activation)], 200, "net")
    first = params.views(params.init(np.random.default_rng(0)))[0]
    fan = 200 if activation == "relu" else 250
    # 60,000 draws: the standard error of a variance is sqrt(2 / 60,000), 0.6 %.
    assert first["weights"].var() == pytest.approx(gain / fan, rel=0.03)
    assert not first["bias"].any()


def test_buffers_are_allocated_once_and_fit_smaller_batches():
    net, flat = network((4, 6, 3), ("relu", "identity"), dtype=np.float32)
    work, views = Workspace(), net.views(flat)
    x = np.random.default_rng(0).standard_normal((10, 4)).astype(np.float32)
    first, _ = net.forward(views, x, work)
    kept = first.copy()
    again, _ = net.forward(views, x[:7], work)
    assert np.shares_memory(first, again)
    # A product of fewer rows may round differently: within a few units of float32.
    np.testing.assert_allclose(again, kept[:7], rtol=1e-5, atol=1e-6)


def test_views_share_the_flat_vector():
    net, flat = network((3, 2, 4), ("relu", "identity"))
    views = net.views(flat)
    assert sum(array.size for part in views for array in part.values()) == flat.size
    views[1]["bias"][:] = 7.0
    assert np.array_equal(flat[-4:], np.full(4, 7.0))


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("constants", [(0.9, 0.999, 1e-8), (0.5, 0.9, 1e-3)])
def test_adam_is_the_published_algorithm(dtype, tolerance, constants):
    rng = np.random.default_rng(0)
    params = rng.standard_normal(50).astype(dtype)
    gradients = rng.standard_normal((30, 50)).astype(dtype) * np.geomspace(1e-4, 10, 50)
    rates = np.linspace(0.1, 0.01, 30)
    expected = naive_adam(params, gradients, rates, *constants)
    adam = Adam(50, get_ops("cpu"), dtype, *constants)
    for gradient, rate in zip(gradients.astype(dtype), rates, strict=True):
        adam.step(params, gradient, rate)
    np.testing.assert_allclose(params, expected, rtol=10 * tolerance, atol=10 * tolerance)


def test_the_gradient_by_the_input_is_only_made_on_request():
    net, flat = network((4, 3, 2), ("relu", "identity"))
    views, grads, work = net.views(flat), np.empty_like(flat), Workspace()
    x = np.random.default_rng(0).standard_normal((5, 4))
    _, caches = net.forward(views, x, work)
    out = net.backward(views, caches, np.ones((5, 2)), net.views(grads), work, wants_input=False)
    _, expected, _ = loss_and_gradients(net, flat, x, np.ones((5, 2)))
    assert out is None
    np.testing.assert_array_equal(grads, expected)
