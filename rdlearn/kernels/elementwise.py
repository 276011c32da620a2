"""Element-wise work of the neural core, fused into single passes over each array."""

import math

import numpy as np
from numba import njit, types
from numba.extending import overload

from rdlearn.kernels.jit import JIT

__all__ = [
    "ACTIVATIONS",
    "activate",
    "activation_gradient",
    "adam",
    "adam_step",
    "bias_activation",
    "logistic",
    "slope",
    "tilt",
    "tilted",
]

IDENTITY, RELU, TANH, SOFTPLUS, LOGISTIC = range(5)
ACTIVATIONS = {
    "identity": IDENTITY,
    "relu": RELU,
    "tanh": TANH,
    "softplus": SOFTPLUS,
    "logistic": LOGISTIC,
}

# Exponents of float32 that neither overflow nor vanish.
LARGEST = 87.0


# Value, and derivative as a function of the value: the input need not be kept.


@njit(inline="always")
def _tanh(x):
    return math.tanh(x)


@njit(inline="always")
def _tanh_slope(y):
    return 1 - y * y


@njit(inline="always")
def _softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@njit(inline="always")
def _softplus_slope(y):
    return -math.expm1(-y)


def logistic(x):
    """1 / (1 + exp(-x)), for compiled code."""
    return 1 / (1 + math.exp(-x))


@overload(logistic, inline="always")
def _logistic(x):
    return _logistic_single if x == types.float32 else logistic


def _logistic_single(x):
    # exp(-x) = 2**k exp(r) by Taylor's series: unlike the library's exp, a loop over it
    # vectorises, and it is the same on every machine. Relative error at most 3e-7.
    f = np.float32
    t = min(max(-x, f(-LARGEST)), f(LARGEST))
    k = np.floor(t * f(1 / math.log(2)) + f(0.5))
    # ln 2 in two parts, the first of few bits, so that k times it is exact.
    r = (t - k * f(0.693359375)) - k * f(math.log(2) - 0.693359375)
    tail = f(1 / 24) + r * (f(1 / 120) + r * f(1 / 720))
    e = f(1) + r * (f(1) + r * (f(1 / 2) + r * (f(1 / 6) + r * tail)))
    return f(1) / (f(1) + e * np.int32((np.int32(k) + np.int32(127)) << np.int32(23)).view(f))


@njit(inline="always")
def _logistic_slope(y):
    return y * (1 - y)


@njit(inline="always")
def activate(kind, x, zero):
    """The activation at x; zero is one of x's own width, since a Python 0 would widen float32."""
    if kind == IDENTITY:
        return x
    if kind == RELU:
        return max(x, zero)
    if kind == TANH:
        return _tanh(x)
    if kind == LOGISTIC:
        return logistic(x)
    return _softplus(x)


@njit(inline="always")
def slope(kind, grad, y, zero):
    """grad times the slope of the activation where its value is y."""
    if kind == RELU:
        return grad if y > zero else zero
    if kind == TANH:
        return grad * _tanh_slope(y)
    if kind == SOFTPLUS:
        return grad * _softplus_slope(y)
    if kind == LOGISTIC:
        return grad * _logistic_slope(y)
    return grad


@njit(inline="always")
def tilted(x, shift, zero):
    """logistic(x + shift), and exactly 0 where the shift is -inf."""
    p = logistic(x + shift)
    return zero if shift == -np.inf else p


@njit(inline="always")
def adam(grad, mean, square, rate, beta_1, beta_2, epsilon, one):
    """Moments after a step, and what it takes off the parameter."""
    mean = beta_1 * mean + (one - beta_1) * grad
    square = beta_2 * square + (one - beta_2) * grad * grad
    return mean, square, rate * mean / (math.sqrt(square) + epsilon)


@njit(**JIT)
def bias_activation(z, bias, kind):
    """z = activation(z + bias), in place; shapes (n, k) and (k,)."""
    n, k = z.shape
    zero = z.dtype.type(0)
    for i in range(n):
        row = z[i]
        for c in range(k):
            row[c] = activate(kind, row[c] + bias[c], zero)


@njit(**JIT)
def tilt(z, bias, shift):
    """z = logistic(z + bias + shift), in place, and exactly 0 where shift is -inf.

    Shapes (n, d), (d,) and (n, d).
    """
    n, d = z.shape
    zero = z.dtype.type(0)
    for i in range(n):
        row, by = z[i], shift[i]
        for j in range(d):
            row[j] = tilted(row[j] + bias[j], by[j], zero)


@njit(**JIT)
def activation_gradient(grad, y, grad_bias, kind):
    """grad *= activation'(at the input whose value is y), in place; its column sums to grad_bias.

    Rows are added in order, so the sums are the same whatever the machine's vector width.
    """
    n, k = grad.shape
    zero = grad.dtype.type(0)
    grad_bias[:] = zero
    for i in range(n):
        row, value = grad[i], y[i]
        # A loop for each kind: the choice inside of one would stop it vectorising.
        if kind == RELU:
            for c in range(k):
                row[c] = slope(RELU, row[c], value[c], zero)
        elif kind == TANH:
            for c in range(k):
                row[c] = slope(TANH, row[c], value[c], zero)
        elif kind == SOFTPLUS:
            for c in range(k):
                row[c] = slope(SOFTPLUS, row[c], value[c], zero)
        elif kind == LOGISTIC:
            for c in range(k):
                row[c] = slope(LOGISTIC, row[c], value[c], zero)
        for c in range(k):
            grad_bias[c] += row[c]


@njit(**JIT)
def adam_step(params, grads, mean, square, rate, beta_1, beta_2, epsilon):
    """One Adam update, in place; all flat arrays of one float dtype, scalars of the same."""
    one = params.dtype.type(1)
    for i in range(params.size):
        mean[i], square[i], step = adam(
            grads[i], mean[i], square[i], rate, beta_1, beta_2, epsilon, one
        )
        params[i] -= step
