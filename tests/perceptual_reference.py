"""Naive float64 versions of the perceptual metrics: loops over pixels, from the definitions."""

import math

import numpy as np


def texture(height, width):
    """A pair of 8-bit images made of integers alone, whose metrics are known."""
    i, j = np.mgrid[:height, :width]
    image = (i * i // 7 + 3 * j + i * j // 11) % 256
    return image, np.clip(image + (31 * i + 17 * j) % 41 - 20, 0, 255)


def over_channels(metric):
    """A metric of planes as one of images (height, width, channels): the mean over channels."""

    def mean(x, y, *args):
        values = [metric(x[:, :, c], y[:, :, c], *args) for c in range(x.shape[2])]
        return sum(values) / len(values)

    return mean


@over_channels
def ms_ssim(x, y, data_range):
    window = np.array(
        [[math.exp(-(a * a + b * b) / 4.5) for a in range(-5, 6)] for b in range(-5, 6)]
    )
    window /= window.sum()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    known, side = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333], min(x.shape)
    n = 0
    while n < 5 and side >= 11:
        n, side = n + 1, (side + 1) // 2
    weights = known if n == 5 else [w / sum(known[:n]) for w in known[:n]]
    value = 1.0
    for scale, weight in enumerate(weights):
        terms = []
        for i in range(x.shape[0] - 10):
            for j in range(x.shape[1] - 10):
                a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
                ma, mb = (window * a).sum(), (window * b).sum()
                va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
                covariance = (window * (a - ma) * (b - mb)).sum()
                term = (2 * covariance + c2) / (va + vb + c2)
                if scale == n - 1:
                    term *= (2 * ma * mb + c1) / (ma**2 + mb**2 + c1)
                terms.append(term)
        value *= max(0.0, sum(terms) / len(terms)) ** weight
        x, y = _mean_of_four(x), _mean_of_four(y)
    return value


def _mean_of_four(x):
    h, w = x.shape
    half = np.empty(((h + 1) // 2, (w + 1) // 2))
    for i, j in np.ndindex(half.shape):
        below, right = min(2 * i + 1, h - 1), min(2 * j + 1, w - 1)
        half[i, j] = (x[2 * i, 2 * j] + x[below, 2 * j] + x[2 * i, right] + x[below, right]) / 4
    return half


FILTER = np.outer([0.05, 0.25, 0.4, 0.25, 0.05], [0.05, 0.25, 0.4, 0.25, 0.05])


def _correlate(x, kernel):
    """Kernels of 5 x 5 over x and the zeros around it."""
    h, w = x.shape
    out = np.zeros((h, w))
    for i, j in np.ndindex(h, w):
        for a, b in np.ndindex(5, 5):
            if 0 <= i + a - 2 < h and 0 <= j + b - 2 < w:
                out[i, j] += kernel[a, b] * x[i + a - 2, j + b - 2]
    return out


def _level_2016(x):
    """Band and low-pass as NLP_dist.m makes them."""
    h, w = x.shape
    blurred = _correlate(np.pad(x, 2, "symmetric"), FILTER)[2:-2, 2:-2]
    low = blurred[::2, ::2]
    padded = np.pad(low, 1, "edge")
    wide = np.zeros((2 * padded.shape[0], 2 * padded.shape[1]))
    wide[::2, ::2] = 4 * padded
    return x - _correlate(wide, FILTER)[2 : 2 + h, 2 : 2 + w], low


def _level_2017(x):
    """Band and low-pass with one padding of 4 and a transposed convolution."""
    h, w = x.shape
    padded = np.pad(x, 4, "reflect")
    coarse = np.empty(((h + 4 + 1) // 2, (w + 4 + 1) // 2))
    for i, j in np.ndindex(coarse.shape):
        coarse[i, j] = (FILTER * padded[2 * i : 2 * i + 5, 2 * j : 2 * j + 5]).sum()
    up = np.zeros((h + 12, w + 12))
    for i, j in np.ndindex(coarse.shape):
        up[2 * i : 2 * i + 5, 2 * j : 2 * j + 5] += 4 * FILTER * coarse[i, j]
    return x - up[4 : 4 + h, 4 : 4 + w], coarse[1:-1, 1:-1]


# Of each band: constant, weights above, left, right, far right, below.
NORMS_2016 = [
    (0.0248, 0.1011, 0.1493, 0.1460, 0.0072, 0.1015),
    (0.0185, 0.0757, 0.1986, 0.1846, 0, 0.0837),
    (0.0179, 0.0477, 0.2138, 0.2243, 0, 0.0467),
    (0.0191, 0, 0.2503, 0.2616, 0, 0),
    (0.0220, 0, 0.2598, 0.2552, 0, 0),
    (0.2782, 0, 0.2215, 0.0717, 0, 0),
]
POOL_2017 = np.array(
    [
        [0.04, 0.04, 0.05, 0.04, 0.04],
        [0.04, 0.03, 0.04, 0.03, 0.04],
        [0.05, 0.04, 0.05, 0.04, 0.05],
        [0.04, 0.03, 0.04, 0.03, 0.04],
        [0.04, 0.04, 0.05, 0.04, 0.04],
    ]
)


def _normalised(x, version):
    bands = []
    for _ in range(5):
        band, x = (_level_2016 if version == 2016 else _level_2017)(x)
        bands.append(band)
    bands.append(x)
    divided = []
    for level, band in enumerate(bands):
        if version == 2016:
            constant, *weights = NORMS_2016[level]
            kernel = np.zeros((5, 5))
            for place, weight in zip(
                [(1, 2), (2, 1), (2, 3), (2, 4), (3, 2)], weights, strict=True
            ):
                kernel[place] = weight
            # A convolution turns its kernel.
            below = constant + _correlate(np.abs(band), kernel[::-1, ::-1])
        elif level < 5:
            below = 0.17 + _correlate(np.abs(band), POOL_2017)
        else:
            below = 4.86 + np.abs(band)
        divided.append(band / below)
    return divided


@over_channels
def nlpd(x, y, data_range, version):
    x, y = x / data_range, y / data_range
    if version == 2017:
        x, y = ((175 * v**2.4 + 5) ** (1 / 2.6) for v in (x, y))
    pairs = zip(_normalised(x, version), _normalised(y, version), strict=True)
    rms = [math.sqrt(np.mean((a - b) ** 2)) for a, b in pairs]
    p = 1 if version == 2016 else 0.6
    return (sum(r**p for r in rms) / 6) ** (1 / p)


def assert_slopes(samples, y, gradient, rng, step=1e-6):
    """Central differences of the values of images (n, ...) by corners, some pixels, and ways.

    All images move at once: the slopes of one do not depend on another.
    """
    n = len(y)
    size = y[0].size
    single = [0, size - 1, *rng.choice(size, min(size, 25), replace=False)]
    ways = [np.eye(1, size, k)[0] for k in single] + list(rng.standard_normal((3, size)))
    for way in ways:
        way = way.reshape(y.shape[1:])
        up, down = samples(y + step * way), samples(y - step * way)
        slopes = (gradient * way).reshape(n, -1).sum(axis=1)
        # Rounding of values below 1 and the step squared, against the slopes of single pixels.
        bound = 1e-9 + 1e-5 * np.abs(gradient).max() * np.linalg.norm(way)
        np.testing.assert_allclose(slopes, (up - down) / (2 * step), rtol=0, atol=bound)
