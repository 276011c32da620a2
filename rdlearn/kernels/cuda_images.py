"""On a GPU: patches of images and divisive normalization; operations as those of the CPU."""

import numpy as np
from numba import cuda

from rdlearn.kernels.convolution import gdn_slopes, window
from rdlearn.kernels.grid import COLUMNS, LANES, over_columns, over_elements, sum_in_order

__all__ = [
    "gather_patches",
    "gdn_backward",
    "gdn_forward",
    "gdn_pool_gradient",
    "scatter_patches",
]


@over_elements(of=4)
def gather_patches(images, kernel, stride, start, patches):
    _, height, width, channels = images.shape
    zero = images.dtype.type(0)
    for at in range(cuda.grid(1), patches.size, cuda.gridsize(1)):
        r, place = divmod(at, patches.shape[1])
        across, c = divmod(place, channels)
        down, across = divmod(across, kernel)
        image, top, left = window(start + r, height, width, kernel, stride)
        v, u = top + down, left + across
        inside = 0 <= v < height and 0 <= u < width
        patches[r, place] = images[image, v, u, c] if inside else zero


@over_elements(of=4)
def scatter_patches(patches, kernel, stride, start, images):
    _, height, width, channels = images.shape
    # Each pixel collects what patches have for it, so that sums have one order.
    half, stop = kernel // 2, start + patches.shape[0]
    n_down, n_across = (height + stride - 1) // stride, (width + stride - 1) // stride
    for at in range(cuda.grid(1), images.size, cuda.gridsize(1)):
        rest, c = divmod(at, channels)
        rest, u = divmod(rest, width)
        image, v = divmod(rest, height)
        total = images[image, v, u, c]
        first_down = max(0, (v + half - kernel) // stride + 1)
        first_across = max(0, (u + half - kernel) // stride + 1)
        for down in range(first_down, min(n_down, (v + half) // stride + 1)):
            for across in range(first_across, min(n_across, (u + half) // stride + 1)):
                place = (image * n_down + down) * n_across + across
                if start <= place < stop:
                    row, column = v + half - down * stride, u + half - across * stride
                    total += patches[place - start, (row * kernel + column) * channels + c]
        images[image, v, u, c] = total


@over_elements()
def gdn_forward(x, pool, beta, inverse, y):
    k = x.shape[1]
    for place in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        i, c = divmod(place, k)
        norm = pool[i, c] + beta[c]
        pool[i, c] = norm
        y[i, c] = x[i, c] * norm if inverse else x[i, c] / norm


@over_columns()
def gdn_pool_gradient(grad, x, pool, inverse, by_pool, by_beta):
    n, k = grad.shape
    column, lane, lanes = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockDim.y
    c = cuda.blockIdx.x * COLUMNS + column
    parts = cuda.shared.array((LANES, COLUMNS), np.float64)
    total = 0.0
    if c < k:
        for i in range(lane, n, lanes):
            grad[i, c], slope = gdn_slopes(grad[i, c], x[i, c], pool[i, c], inverse)
            by_pool[i, c] = slope
            total += slope
    parts[lane, column] = total
    cuda.syncthreads()
    if lane == 0 and c < k:
        by_beta[c] += sum_in_order(parts[:, column], lanes)


@over_elements()
def gdn_backward(x, by_magnitude, grad):
    k, zero = x.shape[1], x.dtype.type(0)
    for place in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        i, c = divmod(place, k)
        grad[i, c] += by_magnitude[i, c] if x[i, c] > zero else -by_magnitude[i, c]
