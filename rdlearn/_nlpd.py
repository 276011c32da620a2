"""Normalised Laplacian pyramid distance (Laparra, Ballé, Berardino & Simoncelli) and its gradient.

A Laplacian pyramid whose bands are divided by a local mean of magnitudes.
"""

from functools import lru_cache

import numpy as np
from scipy.sparse import csr_matrix

from rdlearn.kernels.pyramid import divide, divide_back, sandwich

__all__ = ["VERSIONS", "nlpd_samples"]

VERSIONS = (2016, 2017)
LEVELS = 6
TAPS = np.array([0.05, 0.25, 0.4, 0.25, 0.05])
# 2016: of each band, the low-pass last, its constant and the weights of its neighbours.
SIGMA = (0.0248, 0.0185, 0.0179, 0.0191, 0.0220, 0.2782)
ABOVE = (0.1015, 0.0837, 0.0467, 0, 0, 0)
LEFT = (0.1460, 0.1846, 0.2243, 0.2616, 0.2552, 0.0717)
FAR_LEFT = (0.0072, 0, 0, 0, 0, 0)
RIGHT = (0.1493, 0.1986, 0.2138, 0.2503, 0.2598, 0.2215)
BELOW = (0.1011, 0.0757, 0.0477, 0, 0, 0)
# 2017: one table of weights for all bands; the low-pass is divided by itself alone.
SQUARE = [[4, 4, 5, 4, 4], [4, 3, 4, 3, 4], [5, 4, 5, 4, 5], [4, 3, 4, 3, 4], [4, 4, 5, 4, 4]]
BAND, LOW = 0.17, 4.86
# 2017: light of a display in cd / m2, and the exponents of retina and of pooling.
GAMMA, BRIGHT, DARK, RETINA, POOL = 2.4, 175.0, 5.0, 1 / 2.6, 0.6
# Errors below it are those of flat bands, which pooling by a power would magnify.
ROUNDING = 1e-12


def _norms(version):
    """Of each band, the low-pass last: constant, weights of 5 x 5 neighbours, these mirrored."""
    tables = np.zeros((LEVELS, 5, 5))
    if version == 2016:
        constants = SIGMA
        tables[:, 1, 2], tables[:, 3, 2] = ABOVE, BELOW
        tables[:, 2, 0], tables[:, 2, 1], tables[:, 2, 3] = FAR_LEFT, LEFT, RIGHT
    else:
        constants = [BAND] * (LEVELS - 1) + [LOW]
        tables[:-1], tables[-1, 2, 2] = 0.01 * np.array(SQUARE), 1.0
    # Tuples: kernels keep the weights in registers.
    return [
        (constant, *(tuple(map(tuple, square.tolist())) for square in (table, table[::-1, ::-1])))
        for constant, table in zip(constants, tables, strict=True)
    ]


NORMS = {version: _norms(version) for version in VERSIONS}


def nlpd_samples(x, x_hat, data_range, version, with_gradient=False):
    """Distance of images (n, h, w, c), each channel on its own, as means over channels (n,).

    With its derivative by x_hat, (n, h, w, c), where asked for.
    """
    n, h, w, c = x.shape
    x, y = (np.moveaxis(a, 3, 1).reshape(n * c, h, w).astype(np.float64) for a in (x, x_hat))
    x, y = x / data_range, y / data_range
    slope = 1.0
    if version == 2017:
        (x, _), (y, slope) = _retina(x), _retina(y)
    maps = _maps(h, w, version)
    first, second = _pyramid(x, maps, version), _pyramid(y, maps, version)
    errors = [b - a for (_, _, a), (_, _, b) in zip(first, second, strict=True)]
    rms = np.array([np.sqrt(np.mean(np.square(error), axis=(1, 2))) for error in errors])
    rms[rms < ROUNDING] = 0.0
    power = 1.0 if version == 2016 else POOL
    pooled = np.mean(rms**power, axis=0)
    value = pooled ** (1 / power)
    samples = value.reshape(n, c).mean(axis=1)
    if not with_gradient:
        return samples
    # A band without error has no slope.
    factors = pooled ** (1 / power - 1) * np.where(rms > 0, rms, np.inf) ** (power - 2)
    grad = None
    levels = list(zip(errors, factors, second, NORMS[version], strict=True))
    for level in reversed(range(LEVELS)):
        error, factor, (band, below, _), (_, _, mirrored) = levels[level]
        by_divided = error * (factor / (LEVELS * c * error[0].size))[:, None, None]
        by_band = np.empty_like(band)
        divide_back(by_divided, band, mirrored, below, by_band)
        grad = by_band if grad is None else _split_back(by_band, grad, maps[level])
    grad *= slope / data_range
    return samples, np.moveaxis(grad.reshape(n, c, h, w), 1, 3)


def _retina(v):
    """What the eye makes of pixels in [0, 1], and its derivative; below black it is dark."""
    v = np.maximum(v, 0)
    light = BRIGHT * v**GAMMA
    seen = (light + DARK) ** RETINA
    # d seen / dv = seen * RETINA / (light + DARK) * GAMMA * light / v
    return seen, RETINA * GAMMA * seen / (light + DARK) * light / np.where(v > 0, v, 1)


def _pyramid(x, maps, version):
    """Of each band, the low-pass last: itself, its neighbourhood, the one over the other."""
    levels = []
    for level, (constant, weights, _) in enumerate(NORMS[version]):
        band, x = _split(x, maps[level]) if level < LEVELS - 1 else (x, None)
        below, divided = np.empty_like(band), np.empty_like(band)
        divide(band, weights, constant, below, divided)
        levels.append((band, below, divided))
    return levels


def _split(x, maps):
    """Planes minus what half of their rows and columns tell, and that half."""
    (down, up, _, _), (down_w, up_w, _, _) = maps
    half = np.empty((len(x), len(down[0]) - 1, len(down_w[0]) - 1))
    sandwich(down, down_w, x, half)
    band = np.empty_like(x)
    sandwich(up, up_w, half, band)
    return np.subtract(x, band, out=band), np.ascontiguousarray(half[:, 1:-1, 1:-1])


def _split_back(by_band, by_half, maps):
    """Slopes by the planes, of slopes by what `_split` made of them."""
    (down, _, down_t, up_t), (down_w, _, down_t_w, up_t_w) = maps
    half = np.empty((len(by_band), len(down[0]) - 1, len(down_w[0]) - 1))
    sandwich(up_t, up_t_w, by_band, half)
    np.negative(half, out=half)
    half[:, 1:-1, 1:-1] += by_half
    grad = np.empty_like(by_band)
    sandwich(down_t, down_t_w, half, grad)
    return np.add(grad, by_band, out=grad)


def _maps(h, w, version):
    """Of each band, `_side_maps` of its rows and of its columns."""
    maps = []
    for _ in range(LEVELS):
        maps.append((_side_maps(h, version), _side_maps(w, version)))
        h, w = -(-h // 2), -(-w // 2)
    return maps


@lru_cache(maxsize=64)
def _side_maps(side, version):
    """Matrices (half + 2, side) and (side, half + 2), and their transposes, for `sandwich`.

    The first blurs a side and takes every other value, from one outside on to one outside; the
    second puts zeros between these and blurs.
    """
    half = -(-side // 2)
    places = np.arange(-1, half + 1)
    if version == 2016:
        # What lies outside repeats the last values inside.
        places = places.clip(0, half - 1)
    around = np.pad(np.arange(side), 4, "symmetric" if version == 2016 else "reflect")
    columns = around[2 * places[:, None] + np.arange(-2, 3) + 4]
    down = csr_matrix((np.tile(TAPS, half + 2), columns.ravel(), 5 * np.arange(half + 3)))
    wide = np.arange(side)[:, None] + np.arange(5)
    fits = wide % 2 == 0
    row, tap = np.nonzero(fits)
    up = csr_matrix((2 * TAPS[tap], (row, wide[fits] // 2)), shape=(side, half + 2))
    down.resize(half + 2, side)
    down.sum_duplicates()
    matrices = (down, up, down.T.tocsr(), up.T.tocsr())
    return tuple((m.indptr, m.indices, m.data) for m in matrices)
