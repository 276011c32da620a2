"""Losses of decoder outputs: value of each row and gradient, in one pass over the batch."""

import math

import numpy as np
from numba import njit

from rdlearn.kernels.jit import JIT

__all__ = ["LOSSES", "cross_entropy", "difference", "logit_slope", "loss"]

SQUARED, ABSOLUTE, LOGISTIC = range(3)
LOSSES = {"squared_error": SQUARED, "absolute_error": ABSOLUTE, "bernoulli": LOGISTIC}
# Factors of at most 2 whose product a float64 holds.
CHUNK = 512


@njit(inline="always")
def difference(kind, error):
    """What an error costs, and its slope but for factors."""
    if kind == SQUARED:
        return error * error, error
    return abs(error), (error > 0) - (error < 0)


@njit(inline="always")
def logit_slope(a, x, e, zero, one):
    """Slope, by the logit a, of the cross-entropy of x; e = exp(-|a|)."""
    return (one if a >= zero else e) / (one + e) - x


@njit(**JIT)
def _distance(kind, output, target, factor, weight, grad, samples):
    n, d = output.shape
    slope = grad.dtype.type(factor * weight * (2.0 if kind == SQUARED else 1.0))
    for i in range(n):
        total = 0.0
        for j in range(d):
            value, by_error = difference(kind, output[i, j] - target[i, j])
            total += value
            grad[i, j] = slope * by_error
        samples[i] = factor * total


@njit(**JIT)
def _logistic(output, target, weight, grad, samples):
    # On entry grad holds e = exp(-|output|). softplus(output) = max(output, 0) + log(1 + e).
    n, d = output.shape
    one, zero = grad.dtype.type(1), grad.dtype.type(0)
    slope = grad.dtype.type(weight)
    for i in range(n):
        total, logs = 0.0, 0.0
        for start in range(0, d, CHUNK):
            # One logarithm of a product costs less than many logarithms.
            product = 1.0
            for j in range(start, min(start + CHUNK, d)):
                e, a = grad[i, j], output[i, j]
                total += max(a, zero) - a * target[i, j]
                product *= one + e
                grad[i, j] = slope * logit_slope(a, target[i, j], e, zero, one)
            logs += math.log(product)
        samples[i] = total + logs


def loss(kind, output, target, factor, weight, grad, samples):
    """Loss of rows of decoder outputs (n, d) against targets (n, d).

    samples (n,), float64: factor * sum of squared or absolute differences, or the cross-entropy
    of targets in [0, 1] under the logits `output`. grad (n, d): its derivative by `output`
    times `weight`. `kind` is one of LOSSES.
    """
    if kind == LOGISTIC:
        np.abs(output, out=grad)
        np.negative(grad, out=grad)
        np.exp(grad, out=grad)
        _logistic(output, target, weight, grad, samples)
    else:
        _distance(kind, output, target, factor, weight, grad, samples)


@njit(**JIT)
def cross_entropy(output, target, weight, grad, samples):
    """As `loss`, of class numbers (n,) under the softmax of outputs (n, n_classes)."""
    n, d = output.shape
    for i in range(n):
        row = output[i]
        top = row[0]
        for j in range(1, d):
            top = max(top, row[j])
        total = 0.0
        for j in range(d):
            grad[i, j] = math.exp(row[j] - top)
            total += grad[i, j]
        for j in range(d):
            grad[i, j] *= weight / total
        grad[i, target[i]] -= weight
        samples[i] = math.log(total) + top - row[target[i]]
