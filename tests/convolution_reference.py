"""Convolutions and divisive normalization by their definitions, one product at a time."""

import numpy as np


def window(centre, kernel, size):
    """(tap, index) of the taps about `centre` that lie inside 0 ... size - 1."""
    places = [(tap, centre + tap - kernel // 2) for tap in range(kernel)]
    return [(tap, index) for tap, index in places if 0 <= index < size]


def naive_conv(x, weights, bias, stride):
    """Position (v, u) of the output sums over the square about pixel (v * stride, u * stride)."""
    (n, height, width, _), kernel = x.shape, len(weights)
    across, down = range(0, width, stride), range(0, height, stride)
    y = np.zeros((n, len(down), len(across), weights.shape[3]))
    for v, top in enumerate(down):
        for u, left in enumerate(across):
            for a, i in window(top, kernel, height):
                for b, j in window(left, kernel, width):
                    y[:, v, u] += x[:, i, j].astype(np.float64) @ weights[a, b].astype(np.float64)
    return y + bias


def naive_transposed(x, weights, bias, stride):
    """Pixel (v, u) of the input paints its square about (v * stride, u * stride)."""
    (n, height, width, _), kernel = x.shape, len(weights)
    y = np.zeros((n, height * stride, width * stride, weights.shape[2]))
    for v in range(height):
        for u in range(width):
            for a, i in window(v * stride, kernel, height * stride):
                for b, j in window(u * stride, kernel, width * stride):
                    painted = weights[a, b].astype(np.float64).T
                    y[:, i, j] += x[:, v, u].astype(np.float64) @ painted
    return y + bias


def naive_gdn(x, gamma, beta, inverse):
    """gamma and beta themselves, not their roots."""
    y, channels = np.zeros(x.shape), range(x.shape[-1])
    for i in channels:
        pool = beta[i] + sum(gamma[i, j] * np.abs(x[..., j]) for j in channels)
        y[..., i] = x[..., i] * pool if inverse else x[..., i] / pool
    return y
