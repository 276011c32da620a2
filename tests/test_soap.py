"""Adam in principal axes: against its formulas written out, and what it is for."""

import numpy as np
import pytest

from rdlearn.kernels import get_ops
from rdlearn.nets.adam import Adam
from rdlearn.nets.soap import BETA_2, FORGET, LOOK, TURN, Soap

SHAPES = {"weights": (3, 3, 4, 5), "gamma": (6, 6), "bias": (5,)}


class Parameters:
    """The layout of two nets with a channel between them."""

    def __init__(self, shapes=SHAPES, n_channel=7):
        self.shapes, self.n_channel = shapes, n_channel
        self.size = sum(np.prod(shape) for shape in shapes.values())
        self.n_parameters = int(2 * self.size + n_channel)

    def net(self, flat):
        parts = np.split(flat, np.cumsum([np.prod(s) for s in self.shapes.values()])[:-1])
        named = zip(self.shapes.items(), parts, strict=True)
        return [{name: part.reshape(shape)} for (name, shape), part in named]

    def views(self, flat):
        first, last = self.size, self.size + self.n_channel
        return self.net(flat[:first]), flat[first:last], self.net(flat[last:])


def written_out(grads, rate, shape):
    """Updates of one weight by a list of gradients, float64, sides one by one."""
    shape = (int(np.prod(shape[:-2])), *shape[-2:]) if len(shape) > 2 else shape
    moments = [np.zeros((n, n)) for n in shape]
    axes, total = None, np.zeros(shape)
    mean, square = np.zeros(shape), np.zeros(shape)

    def along(array, matrices):
        letters = "abc"[: array.ndim]
        for side, matrix in enumerate(matrices):
            to = letters.replace(letters[side], "z")
            array = np.einsum(f"{letters},{letters[side]}z->{to}", array, matrix)
        return array

    for t, grad in enumerate(grads):
        grad = grad.astype(np.float64).reshape(shape)
        if t % LOOK == 0:
            for side in range(len(shape)):
                others = [k for k in range(len(shape)) if k != side]
                product = np.tensordot(grad, grad, (others, others))
                moments[side] = (1 - FORGET) * moments[side] + FORGET * product
        if t == 0:
            axes = [np.linalg.eigh(m)[1] for m in moments]
            continue
        if t % TURN == 0:
            mean = along(mean, [a.T for a in axes])
            axes = [np.linalg.qr(m @ a)[0] for m, a in zip(moments, axes, strict=True)]
            mean = along(mean, axes)
        turned = along(grad, axes)
        mean = 0.9 * mean + 0.1 * turned
        square = BETA_2 * square + (1 - BETA_2) * turned**2
        step = mean / (1 - 0.9**t)
        step /= np.sqrt(square / (1 - BETA_2**t)) + 1e-8
        total -= rate * along(step, [a.T for a in axes])
    return total


def test_against_its_formulas():
    rng, parameters = np.random.default_rng(0), Parameters()
    n = parameters.n_parameters
    soap = Soap(parameters, get_ops("cpu"))
    params, plain = np.zeros(n, np.float32), np.zeros(n, np.float32)
    adam = Adam(n, get_ops("cpu"))
    grads = rng.normal(size=(2 * TURN + 3, n)).astype(np.float32)
    for grad in grads:
        soap.step(params, grad, 1e-2)
        adam.step(plain, grad, 1e-2)
    views = parameters.views(params)
    for k in (0, 2):
        seen = [parameters.views(grad)[k] for grad in grads]
        for number, layer in enumerate(views[k]):
            for name, array in layer.items():
                if array.ndim == 1:
                    continue
                each = [view[number][name] for view in seen]
                expected = written_out(each, 1e-2, array.shape).reshape(array.shape)
                np.testing.assert_allclose(array, expected, atol=1e-5 * np.abs(expected).max())
        np.testing.assert_array_equal(views[k][2]["bias"], parameters.views(plain)[k][2]["bias"])
    np.testing.assert_array_equal(views[1], parameters.views(plain)[1])


class Regression:
    """Minibatch gradients of |x W - y|^2 where inputs and outputs have very unlike axes."""

    def __init__(self, seed, turned):
        self.rng = np.random.default_rng(seed)
        turns = [np.linalg.qr(self.rng.normal(size=(n, n)))[0] for n in (5, 6)]
        self.left, self.right = turns if turned else (np.eye(5), np.eye(6))
        self.scales = np.geomspace(1, 0.03, 5), np.geomspace(1, 0.03, 6)
        self.goal = self.rng.normal(size=(5, 6))

    def gradient(self, params):
        x = self.rng.normal(size=(16, 5)) * self.scales[0]
        miss = x @ (self.left.T @ params.reshape(5, 6) @ self.right - self.goal) * self.scales[1]
        grad = self.left @ (x.T @ (miss * self.scales[1])) @ self.right.T
        return grad.astype(np.float32).ravel()

    def loss(self, params):
        inner = self.left.T @ params.reshape(5, 6) @ self.right - self.goal
        return np.sum((self.scales[0][:, None] * inner * self.scales[1]) ** 2)


class First:
    """Soap on the first of two nets, the second of which has no gradient."""

    def __init__(self):
        self.soap = Soap(Parameters({"weights": (5, 6)}, 0), get_ops("cpu"))

    def step(self, params, grad, rate):
        both, grads = np.zeros((2, 60), dtype=np.float32)
        both[:30], grads[:30] = params, grad
        self.soap.step(both, grads, rate)
        assert not both[30:].any()
        params[:] = both[:30]


def loss_after(optimizer, problem, n_steps):
    params = np.zeros(30, dtype=np.float32)
    for _ in range(n_steps):
        optimizer.step(params, problem.gradient(params), 0.01)
    return problem.loss(params)


@pytest.mark.parametrize("seed", range(4))
def test_turned_problems_are_as_easy(seed):
    soap, straight = (loss_after(First(), Regression(seed, turned), 600) for turned in (1, 0))
    adam = loss_after(Adam(30, get_ops("cpu")), Regression(seed, 1), 600)
    assert max(soap, straight) < 0.05 * adam


def test_a_gradient_that_is_no_number():
    parameters = Parameters()
    soap = Soap(parameters, get_ops("cpu"))
    params, grads = np.zeros((2, parameters.n_parameters), dtype=np.float32)
    grads[5] = np.nan
    soap.step(params, grads, 0.1)
    assert np.isnan(params).all()
