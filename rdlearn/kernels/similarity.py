"""Structural similarity of image planes under a sliding window, and its slope."""

import numpy as np
from numba import njit

from rdlearn.kernels.jit import JIT

__all__ = ["TAPS", "similarity"]


# Of the window, which is symmetric.
TAPS = 11


@njit(**JIT)
def _blur_row(plane, i, window, down, out):
    """out = row i of the windowed means of a plane, where the window fits; `down` is scratch."""
    w0, w1, w2, w3, w4, w5 = window[0], window[1], window[2], window[3], window[4], window[5]
    # Written out: a quarter of the time of loops over taps.
    for j in range(len(down)):
        outer = w0 * (plane[i, j] + plane[i + 10, j]) + w1 * (plane[i + 1, j] + plane[i + 9, j])
        inner = w2 * (plane[i + 2, j] + plane[i + 8, j]) + w3 * (plane[i + 3, j] + plane[i + 7, j])
        down[j] = outer + inner + w4 * (plane[i + 4, j] + plane[i + 6, j]) + w5 * plane[i + 5, j]
    for j in range(len(out)):
        outer = w0 * (down[j] + down[j + 10]) + w1 * (down[j + 1] + down[j + 9])
        inner = w2 * (down[j + 2] + down[j + 8]) + w3 * (down[j + 3] + down[j + 7])
        out[j] = outer + inner + w4 * (down[j + 4] + down[j + 6]) + w5 * down[j + 5]


@njit(**JIT)
def similarity(x, y, window, c1, c2, with_luminance, means, grad):
    """Means over positions (n,) of the similarity of planes (n, h, w), and their slopes by y.

    Contrast and structure, times luminance where asked for. `grad` is (n, h, w), or empty where
    no slopes are wanted.
    """
    n, h, w = x.shape
    pad = TAPS - 1
    rows, columns = h - pad, w - pad
    share = 1.0 / (rows * columns)
    squares, products = np.empty((h, w)), np.empty((h, w))
    # Slopes by the windowed means of x y, of x^2 + y^2 and of y, with zeros around them.
    slopes = np.zeros((3, h + pad, w + pad))
    down, wide = np.empty(w), np.empty(w + pad)
    mean_x, mean_y = np.empty(columns), np.empty(columns)
    square, product = np.empty(columns), np.empty(columns)
    by_product, by_square, by_mean = np.empty(w), np.empty(w), np.empty(w)
    for p in range(n):
        for i in range(h):
            for j in range(w):
                a, b = x[p, i, j], y[p, i, j]
                squares[i, j], products[i, j] = a * a + b * b, a * b
        total = 0.0
        for i in range(rows):
            _blur_row(x[p], i, window, down, mean_x)
            _blur_row(y[p], i, window, down, mean_y)
            _blur_row(squares, i, window, down, square)
            _blur_row(products, i, window, down, product)
            to_product = slopes[0, i + pad, pad:]
            to_square, to_mean = slopes[1, i + pad, pad:], slopes[2, i + pad, pad:]
            for j in range(columns):
                a, b = mean_x[j], mean_y[j]
                bright = a * a + b * b
                # Population variances; the window sums to 1.
                contrast = 1 / (square[j] - bright + c2)
                structure = (2 * (product[j] - a * b) + c2) * contrast
                dim = 1 / (bright + c1)
                luminance = (2 * a * b + c1) * dim if with_luminance else 1.0
                square[j] = luminance * structure
                slope = share * luminance * contrast
                to_product[j], to_square[j] = 2 * slope, -slope * structure
                to_mean[j] = 2 * slope * (structure * b - a)
                if with_luminance:
                    to_mean[j] += 2 * share * structure * dim * (a - luminance * b)
            for j in range(columns):
                total += square[j]
        means[p] = total * share
        if grad.size:
            for i in range(h):
                _blur_row(slopes[0], i, window, wide, by_product)
                _blur_row(slopes[1], i, window, wide, by_square)
                _blur_row(slopes[2], i, window, wide, by_mean)
                for j in range(w):
                    own = x[p, i, j] * by_product[j] + 2 * y[p, i, j] * by_square[j]
                    grad[p, i, j] = own + by_mean[j]
