"""The 9/7 wavelet transform of Cohen, Daubechies and Feauveau, by lifting.

Four steps, each of which adds to every other row a multiple of its two neighbours; what lies
outside is mirrored. Source: Daubechies & Sweldens 1998; JPEG 2000 (ISO/IEC 15444-1, annex F).
"""

from numba import njit

from rdlearn.kernels.jit import JIT

__all__ = ["merge_rows", "split_rows"]

STEPS = (-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971)


@njit(inline="always")
def _lift(x, first, factor):
    n, width = x.shape
    c = x.dtype.type(factor)
    for i in range(first, n, 2):
        before = x[i - 1 if i > 0 else i + 1]
        after = x[i + 1 if i + 1 < n else i - 1]
        row = x[i]
        for j in range(width):
            row[j] += c * (before[j] + after[j])


@njit(**JIT)
def split_rows(x, out):
    """Low-pass rows of x (n, m), then high-pass ones, into out (n, m); x is used up."""
    n = len(x)
    if n > 1:
        for step in range(4):
            _lift(x, 1 - step % 2, STEPS[step])
    half = (n + 1) // 2
    for i in range(n):
        out[i // 2 + half * (i % 2)] = x[i]


@njit(**JIT)
def merge_rows(x, out):
    """Inverse of `split_rows`, up to rounding; x is kept."""
    n = len(x)
    half = (n + 1) // 2
    for i in range(n):
        out[i] = x[i // 2 + half * (i % 2)]
    if n > 1:
        for step in range(3, -1, -1):
            _lift(out, 1 - step % 2, -STEPS[step])
