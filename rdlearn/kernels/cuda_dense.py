"""On a GPU: activations, losses, optimizer and random bits; operations as those of the CPU."""

import math

import numpy as np
from numba import cuda
from numba.cuda.extending import overload

from rdlearn.kernels.elementwise import SOFTPLUS, activate, adam, logistic, slope, tilted
from rdlearn.kernels.grid import (
    COLUMNS,
    LANES,
    WARP,
    over_columns,
    over_elements,
    over_rows,
    sum_in_order,
)
from rdlearn.kernels.losses import LOGISTIC, difference, logit_slope
from rdlearn.kernels.random import HALF_WORD, LOW, philox

__all__ = [
    "activation_gradient",
    "adam_step",
    "bernoulli",
    "bias_activation",
    "cross_entropy",
    "decayed_add",
    "loss",
    "softplus_sums",
    "tilt",
]


@overload(logistic, target="cuda")
def _logistic(x):
    # A GPU has a quick exp, where the CPU's rule has a series of its own.
    return logistic


@over_elements()
def bias_activation(z, bias, kind):
    k, zero = z.shape[1], z.dtype.type(0)
    for place in range(cuda.grid(1), z.size, cuda.gridsize(1)):
        i, c = divmod(place, k)
        z[i, c] = activate(kind, z[i, c] + bias[c], zero)


@over_elements()
def tilt(z, bias, shift):
    k, zero = z.shape[1], z.dtype.type(0)
    for place in range(cuda.grid(1), z.size, cuda.gridsize(1)):
        i, c = divmod(place, k)
        z[i, c] = tilted(z[i, c] + bias[c], shift[i, c], zero)


@over_columns()
def activation_gradient(grad, y, grad_bias, kind):
    n, k = grad.shape
    zero = grad.dtype.type(0)
    column, lane, lanes = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockDim.y
    c = cuda.blockIdx.x * COLUMNS + column
    parts = cuda.shared.array((LANES, COLUMNS), np.float64)
    total = 0.0
    if c < k:
        for i in range(lane, n, lanes):
            g = slope(kind, grad[i, c], y[i, c], zero)
            grad[i, c] = g
            total += g
    parts[lane, column] = total
    cuda.syncthreads()
    if lane == 0 and c < k:
        grad_bias[c] = sum_in_order(parts[:, column], lanes)


@over_elements()
def adam_step(params, grads, mean, square, rate, beta_1, beta_2, epsilon):
    one = params.dtype.type(1)
    for i in range(cuda.grid(1), params.size, cuda.gridsize(1)):
        mean[i], square[i], step = adam(
            grads[i], mean[i], square[i], rate, beta_1, beta_2, epsilon, one
        )
        params[i] -= step


@over_elements()
def decayed_add(params, keep, velocity):
    for i in range(cuda.grid(1), params.size, cuda.gridsize(1)):
        params[i] = keep * params[i] + velocity[i]


@over_rows()
def softplus_sums(z, out):
    i, lane = cuda.blockIdx.x, cuda.threadIdx.x
    parts = cuda.shared.array(WARP, np.float64)
    total = 0.0
    for c in range(lane, z.shape[1], WARP):
        total += activate(SOFTPLUS, z[i, c], 0.0)
    parts[lane] = total
    cuda.syncthreads()
    if lane == 0:
        out[i] = sum_in_order(parts, WARP)


@over_elements()
def bernoulli(prob, keys, seed, stream, out):
    n, d = prob.shape
    blocks = (d + 3) // 4
    scale = prob.dtype.type(2.0**32)
    for place in range(cuda.grid(1), n * blocks, cuda.gridsize(1)):
        i, block = divmod(place, blocks)
        words = philox(
            np.uint64(block),
            stream & LOW,
            seed & LOW,
            seed >> HALF_WORD,
            keys[i] & LOW,
            keys[i] >> HALF_WORD,
        )
        for j in range(4 * block, min(4 * block + 4, d)):
            out[i, j] = 1 if words[j % 4] < prob[i, j] * scale else 0


@over_rows(of=1)
def loss(kind, output, target, factor, weight, grad, samples):
    i, lane = cuda.blockIdx.x, cuda.threadIdx.x
    zero, one = grad.dtype.type(0), grad.dtype.type(1)
    by_error = factor * weight * (2.0 if kind == 0 else 1.0)
    parts = cuda.shared.array(WARP, np.float64)
    total = 0.0
    for j in range(lane, output.shape[1], WARP):
        a, x = output[i, j], target[i, j]
        if kind == LOGISTIC:
            e = math.exp(-abs(a))
            total += activate(SOFTPLUS, a, zero) - a * x
            grad[i, j] = weight * logit_slope(a, x, e, zero, one)
        else:
            value, error_slope = difference(kind, a - x)
            total += factor * value
            grad[i, j] = by_error * error_slope
    parts[lane] = total
    cuda.syncthreads()
    if lane == 0:
        samples[i] = sum_in_order(parts, WARP)


@over_rows()
def cross_entropy(output, target, weight, grad, samples):
    i, lane = cuda.blockIdx.x, cuda.threadIdx.x
    d = output.shape[1]
    parts = cuda.shared.array(WARP, np.float64)
    # Classes are few: each thread finds the largest output for itself.
    top = output[i, 0]
    for j in range(1, d):
        top = max(top, output[i, j])
    total = 0.0
    for j in range(lane, d, WARP):
        total += math.exp(output[i, j] - top)
    parts[lane] = total
    cuda.syncthreads()
    total = sum_in_order(parts, WARP)
    for j in range(lane, d, WARP):
        hit = 1.0 if j == target[i] else 0.0
        grad[i, j] = weight * (math.exp(output[i, j] - top) / total - hit)
    if lane == 0:
        samples[i] = math.log(total) + top - output[i, target[i]]
