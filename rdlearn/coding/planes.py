"""Where symbols lie, and which symbols already coded tell something about them.

A layout is a list of planes in coding order. Each plane has taps: places, relative to a symbol's
own, whose magnitudes predict it. Taps that share a feature share a weight.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

__all__ = ["N_FEATURES", "Layout", "bands", "band_shapes", "columns", "grid"]

# Zeros around each plane, as far as taps reach, those into a plane that is one smaller included.
PAD = 2
# Features 0 and 1 are the two symbols before in the row; OWN are those in the two rows above.
OWN = ((-1, 0), (-2, 0), (-1, -1), (-1, 1), (-1, -2), (-1, 2), (-2, -1), (-2, 1))
CENTRE = ((0, 0),)
CROSS = ((-1, 0), (1, 0), (0, -1), (0, 1))
DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))
PARENT = 2 + len(OWN)
OTHERS = PARENT + 3
# Planes of the same size that a plane looks at, two features each.
MOST_OTHERS = 12
# The last feature is the constant.
N_FEATURES = OTHERS + 2 * MOST_OTHERS + 1


@dataclass
class Layout:
    """Planes of one image in the form that `rdlearn.kernels.contexts` reads.

    Parameters
    ----------
    planes, taps : ndarray of int64
        As `kernels.contexts.assign` says.
    features : ndarray of shape (n_taps,), int64
    n_symbols, n_places : int
        Symbols of an image, and bytes of its magnitudes.
    in_row : bool
        Whether a symbol looks at the two before it in its row.
    n_smooth : int
        Leading planes whose symbols are coded as differences to their neighbours.
    """

    planes: np.ndarray
    taps: np.ndarray
    features: np.ndarray
    n_symbols: int
    n_places: int
    in_row: bool = True
    n_smooth: int = 0

    def magnitudes(self):
        """Fresh zeros that the kernels fill."""
        return np.zeros(self.n_places, dtype=np.uint8)

    def symbols_of(self, plane):
        """The symbols of a plane as (slice, (height, width))."""
        height, width, first = self.planes[plane, 2:5].tolist()
        return slice(first, first + height * width), (height, width)


@dataclass
class _Builder:
    places: list = field(default_factory=list)
    rows: list = field(default_factory=list)
    taps: list = field(default_factory=list)
    features: list = field(default_factory=list)
    n_symbols: int = 0
    n_places: int = 0

    def place(self, height, width):
        """Room for a plane; returns its handle."""
        stride = width + 2 * PAD
        self.places.append((self.n_places + PAD * stride + PAD, stride, height, width))
        self.n_places += (height + 2 * PAD) * stride
        return len(self.places) - 1

    def look(self, plane, shifts, feature, half=0):
        """Taps of the plane under way into a plane: one weight for all shifts."""
        start, stride, _, _ = self.places[plane]
        for di, dj in shifts:
            self.taps.append((start + di * stride + dj, stride, half))
            self.features.append(feature)

    def look_around(self, plane, number):
        """Centre and cross of the `number`-th other plane of the same size."""
        self.look(plane, CENTRE, OTHERS + 2 * number)
        self.look(plane, CROSS, OTHERS + 2 * number + 1)

    def finish(self, plane, group, n_taps):
        """End of a plane whose taps are all those since `n_taps`."""
        start, stride, height, width = self.places[plane]
        last = len(self.taps)
        self.rows.append((start, stride, height, width, self.n_symbols, n_taps, last, group))
        self.n_symbols += height * width

    def layout(self, **facts):
        return Layout(
            np.array(self.rows, dtype=np.int64),
            np.array(self.taps, dtype=np.int64).reshape(-1, 3),
            np.array(self.features, dtype=np.int64),
            self.n_symbols,
            self.n_places,
            **facts,
        )


def band_shapes(height, width, levels):
    """Shapes of the low-pass band and, from the coarsest level on, of (HL, LH, HH)."""
    shapes = []
    for _ in range(levels):
        h, w = (height + 1) // 2, (width + 1) // 2
        shapes.append([(h, width - w), (height - h, w), (height - h, width - w)])
        height, width = h, w
    return (height, width), shapes[::-1]


@lru_cache(maxsize=64)
def bands(height, width, n_channels, levels):
    """Layout of the wavelet bands of an image: low-pass first, then from coarse to fine.

    A symbol looks at its own band, its parent a level up, the bands before it at its level, and
    the same band of the first ten channels. Groups: a channel's low-pass band, a channel's level.
    """
    build = _Builder()
    low, shapes = band_shapes(height, width, levels)
    at = {(c, 0, 0): build.place(*low) for c in range(n_channels)}
    keys = [(k, o, c) for k in range(levels) for o in range(3) for c in range(n_channels)]
    for k, o, c in keys:
        at[c, k + 1, o] = build.place(*shapes[k][o])
    for k, o, c in [(-1, 0, c) for c in range(n_channels)] + keys:
        first, plane = len(build.taps), at[c, k + 1, o]
        for feature, shift in enumerate(OWN, start=2):
            build.look(plane, [shift], feature)
        if k > 0:
            for feature, shifts in enumerate((CENTRE, CROSS, DIAGONAL), start=PARENT):
                build.look(at[c, k, o], shifts, feature, half=1)
        for number in range(o):
            build.look_around(at[c, k + 1, number], number)
        for number in range(min(c, MOST_OTHERS - 2)):
            build.look_around(at[number, k + 1, o], 2 + number)
        build.finish(plane, c * (levels + 1) + k + 1, first)
    return build.layout(n_smooth=n_channels)


@lru_cache(maxsize=64)
def grid(height, width, partners):
    """Layout of the channels of a net's code, all of one size.

    partners : tuple of tuples of int
        Of each channel, the earlier ones that it looks at, at most `MOST_OTHERS`.
    """
    build = _Builder()
    at = [build.place(height, width) for _ in partners]
    for c, others in enumerate(partners):
        first = len(build.taps)
        for feature, shift in enumerate(OWN, start=2):
            build.look(at[c], [shift], feature)
        for number, other in enumerate(others):
            build.look_around(at[other], number)
        build.finish(at[c], c, first)
    return build.layout()


@lru_cache(maxsize=64)
def columns(n_rows, partners):
    """Layout of the components of a table: a symbol looks at earlier ones of its own row only.

    partners : tuple of tuples of int
        Of each component, the earlier ones that it looks at, at most `N_FEATURES` - 3.
    """
    build = _Builder()
    at = [build.place(1, n_rows) for _ in partners]
    for c, others in enumerate(partners):
        first = len(build.taps)
        for number, other in enumerate(others):
            build.look(at[other], CENTRE, 2 + number)
        build.finish(at[c], c, first)
    return build.layout(in_row=False)
