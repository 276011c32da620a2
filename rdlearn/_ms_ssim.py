"""Multi-scale structural similarity (Wang, Simoncelli & Bovik 2003) and its gradient."""

import numpy as np

from rdlearn.kernels.similarity import TAPS, similarity

__all__ = ["TAPS", "ms_ssim_samples", "n_scales"]

# Wang et al., Table 1: by scale, from the finest on.
WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
SIGMA = 1.5
K1, K2 = 0.01, 0.03
WINDOW = np.exp(-0.5 * (np.arange(TAPS) - TAPS // 2) ** 2 / SIGMA**2)
WINDOW /= WINDOW.sum()


def n_scales(height, width):
    """Scales that an image has room for: the window fits at the last of them, five at most."""
    side, scales = min(height, width), 0
    while side >= TAPS and scales < len(WEIGHTS):
        scales, side = scales + 1, -(-side // 2)
    return scales


def ms_ssim_samples(x, x_hat, data_range, with_gradient=False):
    """MS-SSIM of images (n, h, w, c), each channel on its own, as means over channels (n,).

    With its derivative by x_hat, (n, h, w, c), where asked for.
    """
    n, h, w, c = x.shape
    x, y = (np.moveaxis(a, 3, 1).reshape(n * c, h, w).astype(np.float64) for a in (x, x_hat))
    scales = n_scales(h, w)
    weights = WEIGHTS if scales == len(WEIGHTS) else WEIGHTS[:scales] / WEIGHTS[:scales].sum()
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    means, slopes = np.empty((scales, n * c)), []
    for scale in range(scales):
        if scale:
            x, y = _halve(x), _halve(y)
        slopes.append(np.empty(y.shape if with_gradient else (0, 0, 0)))
        similarity(x, y, WINDOW, c1, c2, scale == scales - 1, means[scale], slopes[scale])
    means = np.maximum(means, 0.0)
    value = np.prod(means ** weights[:, None], axis=0)
    samples = value.reshape(n, c).mean(axis=1)
    if not with_gradient:
        return samples
    # A channel that has lost its structure, whose mean is 0, has no slope.
    safe = np.where(means > 0, means, np.inf)
    grad = None
    for slope, factor in zip(
        slopes[::-1], (weights[:, None] * value / safe / c)[::-1], strict=True
    ):
        slope *= factor[:, None, None]
        if grad is not None:
            _add_halve_adjoint(grad, slope)
        grad = slope
    return samples, np.moveaxis(grad.reshape(n, c, h, w), 1, 3)


def _halve(x):
    """Means of squares of four; an odd side repeats its last row."""
    _, h, w = x.shape
    if h % 2 or w % 2:
        x = np.pad(x, ((0, 0), (0, h % 2), (0, w % 2)), mode="edge")
    tall = x[:, ::2] + x[:, 1::2]
    return (tall[:, :, ::2] + tall[:, :, 1::2]) / 4


def _add_halve_adjoint(grad, out):
    """Add to `out` the slopes by what `_halve` made into planes with the slopes `grad`."""
    _, h, w = out.shape
    grad = grad / 4
    for rows in (slice(0, None, 2), slice(1, None, 2)):
        for columns in (slice(0, None, 2), slice(1, None, 2)):
            part = out[:, rows, columns]
            part += grad[:, : part.shape[1], : part.shape[2]]
    # The repeated last row and column.
    if h % 2:
        out[:, -1, : w - w % 2] += np.repeat(grad[:, -1, : w // 2], 2, axis=1)
    if w % 2:
        out[:, : h - h % 2, -1] += np.repeat(grad[:, : h // 2, -1], 2, axis=1)
    if h % 2 and w % 2:
        out[:, -1, -1] += 3 * grad[:, -1, -1]
