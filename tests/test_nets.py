import numpy as np
import pytest
from reference import naive_adam, naive_network

from rdlearn.nets.adam import Adam
from rdlearn.nets.layers import Dense, Workspace
from rdlearn.nets.sequential import Sequential

ACTIVATIONS = ["identity", "relu", "tanh", "softplus"]


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
    # Central differences in float64: error about step**2 plus rounding / step, about 1e-9 here.
    step = 1e-5
    for target, gradient in ((flat, by_params), (x, by_input)):
        entries, slopes = target.reshape(-1), gradient.reshape(-1)
        for index in rng.choice(entries.size, min(entries.size, 40), replace=False):
            kept, values = entries[index], []
            for sign in (1, -1):
                entries[index] = kept + sign * step
                values.append(loss_and_gradients(net, flat, x, weight)[0])
            entries[index] = kept
            difference = (values[0] - values[1]) / (2 * step)
            assert slopes[index] == pytest.approx(difference, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("activations", [("relu", "identity"), ("tanh", "softplus")])
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
    adam = Adam(50, dtype, *constants)
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
