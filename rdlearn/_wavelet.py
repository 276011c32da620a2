"""The linear transform of images: decorrelated colours, then wavelet bands of unit norm."""

import math
from functools import lru_cache

import numpy as np

from rdlearn.coding.planes import band_shapes, bands
from rdlearn.kernels.products import affine, cast
from rdlearn.kernels.wavelet import merge_rows, split_rows

__all__ = ["LEVELS", "Wavelet", "colour_axes"]

LEVELS = 6
# Pixels whose colours are turned at a time, which a cache holds.
BLOCK_PIXELS = 1 << 14
# Side of the image whose centre says what a band's basis functions weigh.
PROBE = 1024


def colour_axes(images):
    """Orthonormal colour axes (c, c): principal axes of differences between neighbouring pixels.

    images : iterable of ndarray of shape (height, width, c)
    """
    scatter = 0.0
    for image in images:
        image = image.astype(np.float64)
        for axis in (0, 1):
            step = np.diff(image, axis=axis).reshape(-1, image.shape[2])
            scatter = scatter + step.T @ step
    axes = np.linalg.eigh(scatter)[1].T[::-1]
    return axes * np.where(axes.sum(axis=1) < 0, -1.0, 1.0)[:, None]


class Wavelet:
    """Coefficients of images of any size, in coding order, and back.

    Parameters
    ----------
    mean : ndarray of shape (n_channels,)
    axes : ndarray of shape (n_channels, n_channels)
        Orthonormal.
    """

    def __init__(self, mean, axes):
        self.mean, self.axes = mean, axes

    def places(self, height, width):
        """Height and width of what an image's planes are laid out for: its own."""
        return height, width

    def layout(self, height, width):
        return bands(height, width, len(self.mean), LEVELS)

    def analyse(self, image):
        """Coefficients (n_symbols,) of an image (height, width, n_channels), float32."""
        height, width, n_channels = image.shape
        flat = image.reshape(-1, n_channels)
        colours = self._turned(flat, self.mean, self.axes.T, 0 * self.mean)
        colours = np.ascontiguousarray(colours.T)
        layout = self.layout(height, width)
        out = np.empty(layout.n_symbols, dtype=np.float32)
        _, shapes = band_shapes(height, width, LEVELS)
        gains = _gains()
        for c, x in enumerate(colours.reshape(n_channels, height, width)):
            for level in range(LEVELS - 1, -1, -1):
                h, w = (sum(shapes[level][o][axis] for o in (0, 1)) for axis in (0, 1))
                rows = np.empty((h, w), dtype=np.float32)
                split_rows(x, rows)
                both = np.empty((w, h), dtype=np.float32)
                split_rows(np.ascontiguousarray(rows.T), both)
                (a, _), (_, b) = shapes[level][:2]
                for o, part in enumerate((both[b:, :a], both[:b, a:], both[b:, a:])):
                    where, _ = layout.symbols_of(_plane(c, level, o, n_channels))
                    np.multiply(part.T.ravel(), gains[level][o], out=out[where])
                x = np.ascontiguousarray(both[:b, :a].T)
            where, _ = layout.symbols_of(c)
            out[where] = x.ravel() * gains[0][3]
        return out

    def synthesise(self, values, height, width):
        """Image (height, width, n_channels), float32, of coefficients in coding order."""
        n_channels = len(self.mean)
        layout = self.layout(height, width)
        colours = np.empty((n_channels, height * width), dtype=np.float32)
        for c in range(n_channels):
            self._merge(values, c, layout, colours[c].reshape(height, width))
        return self._turned(colours.T, 0 * self.mean, self.axes, self.mean).reshape(
            height, width, n_channels
        )

    def _merge(self, values, c, layout, out):
        """Fill `out` (height, width) with channel c of coefficients in coding order."""
        n_channels, gains = len(self.mean), _gains()
        _, shapes = band_shapes(*out.shape, LEVELS)
        where, shape = layout.symbols_of(c)
        x = values[where].reshape(shape) / gains[0][3]
        for level in range(LEVELS):
            (a, _), (_, b) = shapes[level][:2]
            h, w = (sum(shapes[level][o][axis] for o in (0, 1)) for axis in (0, 1))
            both = np.empty((w, h), dtype=np.float32)
            both[:b, :a] = x.T
            for o, part in enumerate((both[b:, :a], both[:b, a:], both[b:, a:])):
                where, shape = layout.symbols_of(_plane(c, level, o, n_channels))
                part[:] = (values[where] * np.float32(1 / gains[level][o])).reshape(shape).T
            rows = np.empty_like(both)
            merge_rows(both, rows)
            # Large images: no more than two copies of a channel at a time.
            del both, part
            x = out if level == LEVELS - 1 else np.empty((h, w), dtype=np.float32)
            merge_rows(np.ascontiguousarray(rows.T), x)

    @staticmethod
    def _turned(flat, center, axes, bias):
        """Pixels (n, n_channels) in other colours, float32: the same on every machine."""
        out, operands = np.empty(flat.shape, np.float32), cast(np.float32, center, axes, bias)
        for start in range(0, len(flat), BLOCK_PIXELS):
            block = np.ascontiguousarray(flat[start : start + BLOCK_PIXELS], dtype=np.float32)
            affine(block, *operands, out[start : start + BLOCK_PIXELS])
        return out


def _plane(c, level, o, n_channels):
    """Number of a band's plane in `planes.bands`."""
    return n_channels + (3 * level + o) * n_channels + c


@lru_cache(maxsize=1)
def _gains():
    """Norms of the basis functions of (HL, LH, HH, LL) at each level, from the coarsest on."""
    out = []
    for level in range(LEVELS):
        norms = []
        for high in (0, 1):
            x = np.zeros((PROBE >> (LEVELS - level - 1), 1))
            half = len(x) // 2
            x[half // 2 + high * half] = 1
            for _ in range(LEVELS - level):
                y = np.empty_like(x)
                merge_rows(x, y)
                x = np.vstack([y, np.zeros_like(y)])
            # An exact sum: numpy's depends on the machine's vector instructions.
            norms.append(math.sqrt(math.fsum((x**2).ravel())))
        low, high = norms
        out.append([np.float32(v) for v in (low * high, low * high, high * high, low * low)])
    return out
