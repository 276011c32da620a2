"""Patches of images as rows of a matrix and back, and the loops of divisive normalization."""

from numba import njit, uint64

from rdlearn.kernels.jit import JIT

__all__ = [
    "gather_patches",
    "gdn_backward",
    "gdn_forward",
    "gdn_pool_gradient",
    "gdn_slopes",
    "scatter_patches",
    "window",
]

# Indices are unsigned: numba would look at each signed one for a minus, which stops vectorising.


@njit(inline="always")
def window(place, height, width, kernel, stride):
    """Image, top row and left column of the patch at a position counted through all images."""
    down, across = -(-height // stride), -(-width // stride)
    image, place = divmod(place, down * across)
    v, u = divmod(place, across)
    return image, v * stride - kernel // 2, u * stride - kernel // 2


@njit(inline="always")
def gdn_slopes(grad, x, norm, inverse):
    """Gradients by x at a given norm, and by the norm, of y = x / norm or x * norm."""
    if inverse:
        return grad * norm, grad * x
    grad = grad / norm
    return grad, -grad * x / norm


@njit(**JIT)
def gather_patches(images, kernel, stride, start, patches):
    """patches[r] = the square of `images` about position start + r, zero beyond the border.

    Shapes (n, height, width, channels) and (rows, kernel * kernel * channels), both contiguous;
    position (v, u) of an image lies at its pixel (v * stride, u * stride).
    """
    _, height, width, channels = images.shape
    pixels, zero = images.reshape(-1), images.dtype.type(0)
    for r in range(len(patches)):
        row = patches[r]
        image, top, left = window(start + r, height, width, kernel, stride)
        first, last = max(-left, 0), min(kernel, width - left)
        high, low = max(-top, 0), min(kernel, height - top)
        if low - high < kernel or last - first < kernel:
            row[:] = zero
        size = uint64((last - first) * channels)
        for k in range(high, low):
            to = uint64((k * kernel + first) * channels)
            at = uint64(((image * height + top + k) * width + left + first) * channels)
            for c in range(size):
                row[to + c] = pixels[at + c]


@njit(**JIT)
def scatter_patches(patches, kernel, stride, start, images):
    """The adjoint of `gather_patches`: every patch is added to where it would be read."""
    _, height, width, channels = images.shape
    pixels = images.reshape(-1)
    for r in range(len(patches)):
        row = patches[r]
        image, top, left = window(start + r, height, width, kernel, stride)
        first, last = max(-left, 0), min(kernel, width - left)
        size = uint64((last - first) * channels)
        for k in range(max(-top, 0), min(kernel, height - top)):
            at = uint64((k * kernel + first) * channels)
            to = uint64(((image * height + top + k) * width + left + first) * channels)
            for c in range(size):
                pixels[to + c] += row[at + c]


@njit(**JIT)
def gdn_forward(x, pool, beta, inverse, y):
    """pool += beta; y = x / pool, or x * pool for the inverse; all (n, k) but beta (k,)."""
    n, k = x.shape
    for i in range(n):
        source, norm, row = x[i], pool[i], y[i]
        for c in range(k):
            norm[c] += beta[c]
        if inverse:
            for c in range(k):
                row[c] = source[c] * norm[c]
        else:
            for c in range(k):
                row[c] = source[c] / norm[c]


@njit(**JIT)
def gdn_pool_gradient(grad, x, pool, inverse, by_pool, by_beta):
    """From the gradient by y that by the pool, whose column sums are added to by_beta.

    `grad` becomes the gradient by x at a given pool; all (n, k) but by_beta (k,).
    """
    n, k = x.shape
    for i in range(n):
        source, norm, row, slope = x[i], pool[i], grad[i], by_pool[i]
        if inverse:
            for c in range(k):
                row[c], slope[c] = gdn_slopes(row[c], source[c], norm[c], True)
        else:
            for c in range(k):
                row[c], slope[c] = gdn_slopes(row[c], source[c], norm[c], False)
        for c in range(k):
            by_beta[c] += slope[c]


@njit(**JIT)
def gdn_backward(x, by_magnitude, grad):
    """grad += the gradient by x through |x|, whose slope at 0 is taken for -1; all (n, k)."""
    n, k = x.shape
    zero = x.dtype.type(0)
    for i in range(n):
        source, slope, row = x[i], by_magnitude[i], grad[i]
        for c in range(k):
            row[c] += slope[c] if source[c] > zero else -slope[c]
