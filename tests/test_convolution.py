import tracemalloc

import numpy as np
import pytest
from convolution_reference import naive_conv, naive_gdn, naive_transposed
from reference import assert_slopes
from scipy.signal import correlate2d

from rdlearn._threads import one_blas_thread
from rdlearn.kernels import cpu
from rdlearn.nets.convolution import GDN, Conv, TransposedConv
from rdlearn.nets.layers import Workspace
from rdlearn.nets.sequential import Sequential

NAIVE = {Conv: naive_conv, TransposedConv: naive_transposed}
# n, height, width, channels in and out, kernel, stride.
SHAPES = [
    (1, 1, 1, 1, 1, 1, 1),
    (2, 4, 6, 3, 5, 1, 1),
    (3, 7, 5, 2, 4, 3, 1),
    (2, 2, 3, 3, 2, 5, 1),
    (2, 8, 6, 3, 2, 5, 2),
    (3, 9, 4, 1, 3, 5, 2),
    (2, 12, 9, 3, 4, 9, 4),
    (1, 3, 2, 2, 1, 9, 4),
    (2, 7, 8, 2, 3, 3, 3),
    (2, 10, 7, 2, 2, 1, 3),
]
LAYERS = [Conv, TransposedConv]
TYPES = [np.float32, np.float64]


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of few positions, which end inside rows and images."""
    monkeypatch.setattr(cpu, "PATCH_VALUES", 150)


def network(layers, n_in, seed=0, dtype=np.float64):
    """A network whose every parameter is away from its start."""
    net = Sequential(layers, n_in, "net")
    flat = net.init(np.random.default_rng(seed), dtype)
    flat += 0.1 * np.random.default_rng(seed + 1).standard_normal(flat.size)
    return net, flat


def images(shape, dtype=np.float64, seed=2):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def forward(net, flat, x):
    return net.forward(net.views(flat), x, Workspace())[0]


def loss_and_gradients(net, flat, x, weight):
    """sum(weight * output), its gradients by the parameters and by the input."""
    # NaN: what is not overwritten shows.
    work, grads = Workspace(), np.full_like(flat, np.nan)
    y, caches = net.forward(net.views(flat), x, work)
    loss = float(np.sum(weight * y))
    by_input = net.backward(net.views(flat), caches, weight.copy(), net.views(grads), work)
    return loss, grads, by_input.copy()


def assert_gradients(net, flat, x):
    rng = np.random.default_rng(3)
    weight = rng.standard_normal(forward(net, flat, x).shape)
    _, by_params, by_input = loss_and_gradients(net, flat, x, weight)
    for values, gradient in ((flat, by_params), (x, by_input)):
        assert_slopes(lambda: loss_and_gradients(net, flat, x, weight)[0], values, gradient, rng)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("n, height, width, n_in, n_out, kernel, stride", SHAPES)
def test_forward_is_the_definition(
    layer, n, height, width, n_in, n_out, kernel, stride, dtype, small_blocks
):
    net, flat = network([layer(n_out, kernel, stride)], n_in, dtype=dtype)
    x = images((n, height, width, n_in), dtype)
    y, (params,) = forward(net, flat, x), net.views(flat)
    naive = NAIVE[layer](x, params["weights"], params["bias"], stride)
    assert y.shape == naive.shape and y.dtype == dtype
    # Sums of at most 243 products of size about 1.
    np.testing.assert_allclose(y, naive, rtol=0, atol=1000 * np.finfo(dtype).eps)


@pytest.mark.parametrize("kernel", [1, 3, 5, 9])
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_convolution_is_that_of_scipy(kernel, stride):
    net, flat = network([Conv(2, kernel, stride)], 3)
    x, (params,) = images((2, 11, 14, 3)), net.views(flat)
    y = forward(net, flat, x)
    for i in range(2):
        for out in range(2):
            planes = [
                correlate2d(x[i, :, :, c], params["weights"][:, :, c, out], mode="same")
                for c in range(3)
            ]
            want = np.sum(planes, axis=0)[::stride, ::stride] + params["bias"][out]
            np.testing.assert_allclose(y[i, :, :, out], want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n, height, width, n_in, n_out, kernel, stride", SHAPES)
def test_transposed_convolution_is_the_adjoint(n, height, width, n_in, n_out, kernel, stride):
    conv = Sequential([Conv(n_out, kernel, stride)], n_in, "conv")
    back = Sequential([TransposedConv(n_in, kernel, stride)], n_out, "back")
    flat, other = (net.init(np.random.default_rng(0), np.float64) for net in (conv, back))
    back.views(other)[0]["weights"][:] = conv.views(flat)[0]["weights"]
    g = images((n, height, width, n_out))
    x = images((n, height * stride, width * stride, n_in), seed=4)
    # <conv x, g> = <x, conv^T g>.
    left, right = np.sum(forward(conv, flat, x) * g), np.sum(x * forward(back, other, g))
    assert left == pytest.approx(right, rel=0, abs=1e-11)
    by_input = loss_and_gradients(conv, flat, x, g)[2]
    np.testing.assert_allclose(by_input, forward(back, other, g), rtol=0, atol=1e-12)
    by_input = loss_and_gradients(back, other, g, x)[2]
    np.testing.assert_allclose(by_input, forward(conv, flat, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("n, height, width, n_in, n_out, kernel, stride", SHAPES)
def test_gradients_against_finite_differences(
    layer, n, height, width, n_in, n_out, kernel, stride, small_blocks
):
    net, flat = network([layer(n_out, kernel, stride)], n_in)
    assert_gradients(net, flat, images((n, height, width, n_in)))


@pytest.mark.parametrize("layer", LAYERS)
def test_blocks_do_not_matter(layer, monkeypatch):
    net, flat = network([layer(3, 5, 2), GDN(3)], 4)
    x = images((3, 9, 7, 4))
    weight = images(forward(net, flat, x).shape, seed=5)
    whole = loss_and_gradients(net, flat, x, weight)
    for size in (1, 100, 1000):
        monkeypatch.setattr(cpu, "PATCH_VALUES", size)
        for got, want in zip(loss_and_gradients(net, flat, x, weight), whole, strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-11)


def away_from_zero(x):
    """|x| has a kink there, which finite differences must not cross."""
    return x + 0.1 * np.sign(x)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("dtype", TYPES)
def test_gdn_is_the_definition(inverse, dtype, small_blocks):
    net, flat = network([GDN(5, inverse)], 5, dtype=dtype)
    x, (params,) = images((3, 4, 7, 5), dtype), net.views(flat)
    gamma, beta = (params[key].astype(np.float64) ** 2 for key in ("gamma", "beta"))
    y = forward(net, flat, x)
    assert y.dtype == dtype
    tolerance = 100 * np.finfo(dtype).eps
    np.testing.assert_allclose(y, naive_gdn(x, gamma, beta + 1e-6, inverse), rtol=tolerance)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 4, 7, 5)])
def test_gradients_of_gdn_against_finite_differences(inverse, shape, small_blocks):
    net, flat = network([GDN(shape[-1], inverse)], shape[-1])
    # Roots of either sign, as an optimizer may leave them.
    flat[::3] *= -1
    assert_gradients(net, flat, away_from_zero(images(shape)))


def test_gdn_starts_as_published_and_stays_positive():
    net = Sequential([GDN(4)], 4, "net")
    flat, x = net.init(np.random.default_rng(0), np.float64), images((1, 2, 3, 4))
    start = naive_gdn(x, 0.1 * np.eye(4), np.ones(4), False)
    # Off the diagonal gamma is 1e-6, so that it has a gradient.
    np.testing.assert_allclose(forward(net, flat, x), start, rtol=1e-5)
    assert np.all(loss_and_gradients(net, flat, x, np.ones_like(x))[1] != 0)
    np.testing.assert_allclose(forward(net, np.zeros_like(flat), x), x / 1e-6)


def autoencoder(dtype=np.float64, width=6, n_codes=4):
    """Both directions of everything, 16 x 16 x 3 to 2 x 2 x n_codes and back."""
    layers = [Conv(width, 9, 4), GDN(width), Conv(n_codes, 5, 2)]
    layers += [TransposedConv(width, 5, 2), GDN(width, inverse=True), TransposedConv(3, 9, 4)]
    return network(layers, 3, dtype=dtype)


def test_gradients_of_a_whole_autoencoder_against_finite_differences():
    net, flat = autoencoder()
    assert_gradients(net, flat, images((2, 16, 16, 3)))


@pytest.mark.parametrize("side", [4, 24, 40])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("block", [500, 10_000, cpu.PATCH_VALUES])
def test_an_image_is_the_same_to_the_bit_in_any_company(side, dtype, block, monkeypatch):
    monkeypatch.setattr(cpu, "PATCH_VALUES", block)
    # Wide enough for sums whose order is seen, and a side of 4 for products of a single row.
    net, flat = autoencoder(dtype, 37, 21)
    x = images((9, side, side, 3), dtype)
    work, views = Workspace(by_rows=True), net.views(flat)
    with one_blas_thread():
        whole = net.forward(views, x, work)[0].copy()
        for size in (1, 2, 5, 9):
            chosen = np.random.default_rng(size).permutation(9)[:size]
            part = net.forward(views, x[chosen], work)[0]
            np.testing.assert_array_equal(part, whole[chosen])


def test_float32_gradients_are_those_of_float64():
    net, flat = autoencoder()
    x = images((2, 16, 16, 3))
    exact = loss_and_gradients(net, flat, x, np.ones_like(x))[1:]
    x, flat = x.astype(np.float32), flat.astype(np.float32)
    for got, want in zip(loss_and_gradients(net, flat, x, np.ones_like(x))[1:], exact, strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize("layer", [Conv(4, 5, 2), TransposedConv(4, 5, 2), GDN(3)])
def test_the_gradient_by_the_input_is_only_made_on_request(layer):
    net, flat = network([layer], 3)
    x, work = images((2, 6, 5, 3)), Workspace()
    y, caches = net.forward(net.views(flat), x, work)
    weight, grads = images(y.shape, seed=6), np.empty_like(flat)
    expected = loss_and_gradients(net, flat, x, weight)[1]
    args = (net.views(flat), caches, weight.copy(), net.views(grads), work)
    assert net.backward(*args, wants_input=False) is None
    np.testing.assert_array_equal(grads, expected)


def test_a_training_step_allocates_no_arrays():
    net, flat = autoencoder(np.float32)
    x, work, grads = images((4, 128, 128, 3), np.float32), Workspace(), np.empty_like(flat)
    views, by_params = net.views(flat), net.views(grads)

    def step(n):
        y, caches = net.forward(views, x[:n], work)
        net.backward(views, caches, y, by_params, work, wants_input=False)
        return y

    first = step(4)
    tracemalloc.start()
    again = step(3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.shares_memory(first, again)
    # Views and tuples; the smallest array between layers has 12 kB.
    assert peak < 8_000


@pytest.mark.parametrize("layer, stride", [(Conv, 1), (Conv, 2), (TransposedConv, 1)])
def test_layers_start_with_outputs_as_large_as_their_inputs(layer, stride):
    net = Sequential([layer(32, 5, stride)], 32, "net")
    flat, x = net.init(np.random.default_rng(0), np.float64), images((2, 24, 24, 32))
    inside = forward(net, flat, x)[:, 2:-2, 2:-2]
    # 25,600 weights, and fewer than 10,000 outputs that are not independent.
    assert inside.var() == pytest.approx(1, rel=0.1)
    assert not net.views(flat)[0]["bias"].any()


def test_a_transposed_layer_starts_as_large_on_the_average_over_its_phases():
    net = Sequential([TransposedConv(32, 9, 4)], 32, "net")
    y = forward(net, net.init(np.random.default_rng(0), np.float64), images((1, 12, 12, 32)))
    assert y[:, 8:-8, 8:-8].var() == pytest.approx(1, rel=0.1)
