"""Strided convolutions, their adjoints and divisive normalization, on images (n, h, w, channels).

In every forward pass an image is worked on alone, by BLAS products whose shapes depend on its
size only: on one BLAS thread its output is the same to the bit whatever images come with it.
All arrays are contiguous.
"""

import math

import numpy as np

from rdlearn.kernels.elementwise import ACTIVATIONS

__all__ = ["GDN", "Conv", "TransposedConv"]

# Least beta of a normalization; roots of gamma begin at ROOT off the diagonal, as a root of
# exactly zero would have no gradient and stay.
LEAST_BETA = 1e-6
ROOT = 2.0**-10


def _blocks(n_rows, n_columns, work):
    """Slices of nearly equal length that cover n_rows rows of n_columns values."""
    step = math.ceil(n_rows / math.ceil(n_rows * n_columns / work.ops.PATCH_VALUES))
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


def _together(n, work):
    """Slices of n images: one by one where their outputs must not know of each other."""
    step = 1 if work.ops.ONE_BY_ONE else n
    return [slice(start, start + step) for start in range(0, n, step)]


def _rows(images):
    """All positions as the rows of a matrix."""
    return images.reshape(-1, images.shape[-1])


class _Strided:
    """What a convolution shares with its adjoint: patches of fine images at coarse positions.

    Parameters
    ----------
    n_out : int
        Channels of the output.
    kernel : int, odd
        Side of the squares of weights.
    stride : int
    """

    def __init__(self, n_out, kernel, stride):
        self.n_out = n_out
        self.kernel = kernel
        self.stride = stride

    def init(self, rng, params):
        """Fill the parameters: the output's variance is that of the input (LeCun et al. 1998)."""
        weights = params["weights"]
        weights[:] = rng.standard_normal(weights.shape) / math.sqrt(self._fan(weights.shape))
        params["bias"][:] = 0.0

    def _empty_patches(self, fine, work):
        """Blocks of coarse positions, each with an array for its patches of `fine`."""
        n, height, width, channels = fine.shape
        n_rows = n * math.ceil(height / self.stride) * math.ceil(width / self.stride)
        n_columns = self.kernel**2 * channels
        for block in _blocks(n_rows, n_columns, work):
            shape = (block.stop - block.start, n_columns)
            yield block, work.empty("patches", shape, fine.dtype)

    def _patches(self, fine, work):
        """Blocks of coarse positions, each with its patches of `fine`."""
        for block, patches in self._empty_patches(fine, work):
            work.ops.gather_patches(fine, self.kernel, self.stride, block.start, patches)
            yield block, patches

    def _scatter(self, coarse, weights, fine, work):
        """fine += the patches that `coarse` gives by its weights."""
        for block, patches in self._empty_patches(fine, work):
            work.ops.matmul(_rows(coarse)[block], _rows(weights).T, out=patches)
            work.ops.scatter_patches(patches, self.kernel, self.stride, block.start, fine)

    def _weight_gradient(self, patches, coarse, block, out, work):
        """The share of a block of positions; the first one overwrites."""
        add = float(block.start > 0)
        work.ops.add_dense_product(patches, _rows(coarse)[block], 1.0, add, _rows(out))

    def _bias_gradient(self, grad, out, work):
        # A row of pixels at once: rows of three channels would be slow.
        n, height, *row = grad.shape
        sums = work.empty("bias", row, grad.dtype)
        grad = grad.reshape(n * height, -1)
        work.ops.activation_gradient(grad, grad, sums.reshape(-1), ACTIVATIONS["identity"])
        sums.sum(axis=0, out=out)


class Conv(_Strided):
    """Cross-correlation at every stride-th pixel, zeros beyond the border, plus bias.

    Output (n, ceil(h / stride), ceil(w / stride), n_out): position (v, u) sums over the square
    of inputs whose centre is (v * stride, u * stride).
    """

    def shapes(self, n_in):
        """Shapes of the parameters by name."""
        return {"weights": (self.kernel, self.kernel, n_in, self.n_out), "bias": (self.n_out,)}

    def _fan(self, shape):
        return math.prod(shape[:3])

    def forward(self, params, x, work, name):
        """Output and what `backward` needs; arrays live in `work` under `name`."""
        n, height, width, _ = x.shape
        down, across = math.ceil(height / self.stride), math.ceil(width / self.stride)
        y = work.empty((name, "y"), (n, down, across, self.n_out), x.dtype)
        for images in _together(n, work):
            for block, patches in self._patches(x[images], work):
                part = _rows(y[images])[block]
                work.ops.matmul(patches, _rows(params["weights"]), out=part)
                work.ops.bias_activation(part, params["bias"], ACTIVATIONS["identity"])
        return y, x

    def backward(self, params, cache, grad, grads, work, name, wants_input=True):
        """Gradient by the input, or None; fills `grads`."""
        x = cache
        self._bias_gradient(grad, grads["bias"], work)
        for block, patches in self._patches(x, work):
            self._weight_gradient(patches, grad, block, grads["weights"], work)
        if not wants_input:
            return None
        out = work.empty((name, "grad"), x.shape, x.dtype)
        out[:] = 0.0
        self._scatter(grad, params["weights"], out, work)
        return out


class TransposedConv(_Strided):
    """The adjoint of a `Conv` with the same weights, plus bias: n_out is that one's n_in.

    Output (n, h * stride, w * stride, n_out).
    """

    def shapes(self, n_in):
        """Shapes of the parameters by name."""
        return {"weights": (self.kernel, self.kernel, self.n_out, n_in), "bias": (self.n_out,)}

    def _fan(self, shape):
        return self.kernel**2 * shape[3] / self.stride**2

    def forward(self, params, x, work, name):
        """Output and what `backward` needs; arrays live in `work` under `name`."""
        n, height, width, _ = x.shape
        shape = (n, height * self.stride, width * self.stride, self.n_out)
        y = work.empty((name, "y"), shape, x.dtype)
        row = work.empty("bias", shape[2:], x.dtype)
        row[:] = params["bias"]
        for images in _together(n, work):
            y[images] = row
            self._scatter(x[images], params["weights"], y[images], work)
        return y, x

    def backward(self, params, cache, grad, grads, work, name, wants_input=True):
        """Gradient by the input, or None; fills `grads`."""
        x = cache
        self._bias_gradient(grad, grads["bias"], work)
        by_x = work.empty((name, "grad"), x.shape, x.dtype) if wants_input else None
        for block, patches in self._patches(grad, work):
            self._weight_gradient(patches, x, block, grads["weights"], work)
            if wants_input:
                work.ops.matmul(patches, _rows(params["weights"]), out=_rows(by_x)[block])
        return by_x


class GDN:
    """Divisive normalization y_i = x_i / (beta_i + sum_j gamma_ij |x_j|), or its inverse's product.

    The simple form of Johnston et al. 2019. Parameters are roots: gamma is a square and beta a
    square plus 1e-6 (Balle et al. 2016), hence neither needs a bound.

    Parameters
    ----------
    n_channels : int
    inverse : bool, default=False
        y_i = x_i * (beta_i + sum_j gamma_ij |x_j|).
    """

    def __init__(self, n_channels, inverse=False):
        self.n_out = n_channels
        self.inverse = inverse

    def shapes(self, n_in):
        """Shapes of the parameters by name."""
        return {"gamma": (n_in, n_in), "beta": (n_in,)}

    def init(self, rng, params):
        """Every channel divided by 1 + 0.1 |x_i|."""
        params["gamma"][:] = ROOT
        np.fill_diagonal(params["gamma"], math.sqrt(0.1))
        params["beta"][:] = math.sqrt(1 - LEAST_BETA)

    def forward(self, params, x, work, name):
        """Output and what `backward` needs; arrays live in `work` under `name`."""
        gamma, beta = (work.empty((name, key), a.shape, a.dtype) for key, a in params.items())
        np.square(params["gamma"], out=gamma)
        np.square(params["beta"], out=beta)
        beta += LEAST_BETA
        y, pool = (work.empty((name, key), x.shape, x.dtype) for key in ("y", "pool"))
        for images in _together(len(x), work):
            rows = _rows(x[images])
            for block in _blocks(*rows.shape, work):
                part, norm, out = (_rows(array[images])[block] for array in (x, pool, y))
                magnitude = work.empty("magnitude", part.shape, x.dtype)
                np.abs(part, out=magnitude)
                work.ops.matmul(magnitude, gamma.T, out=norm)
                work.ops.gdn_forward(part, norm, beta, self.inverse, out)
        return y, (x, pool, gamma)

    def backward(self, params, cache, grad, grads, work, name, wants_input=True):
        """Gradient by the input, in the place of `grad`, or None; fills `grads`."""
        x, pool, gamma = cache
        rows = _rows(x)
        grads["beta"][:] = 0.0
        for block in _blocks(*rows.shape, work):
            part, norm, by_y = rows[block], _rows(pool)[block], _rows(grad)[block]
            keys = ("by pool", "magnitude", "by magnitude")
            by_pool, magnitude, by_magnitude = (work.empty(k, part.shape, x.dtype) for k in keys)
            work.ops.gdn_pool_gradient(by_y, part, norm, self.inverse, by_pool, grads["beta"])
            np.abs(part, out=magnitude)
            add = float(block.start > 0)
            work.ops.add_dense_product(by_pool, magnitude, 1.0, add, grads["gamma"])
            if wants_input:
                work.ops.matmul(by_pool, gamma, out=by_magnitude)
                work.ops.gdn_backward(part, by_magnitude, by_y)
        for key in ("gamma", "beta"):
            grads[key] *= params[key]
            grads[key] *= 2.0
        return grad if wants_input else None
