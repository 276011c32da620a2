"""Tables of bits: what `binarize` makes of numbers, and the tilt by a Hamming distortion."""

from numbers import Real

import numpy as np

from rdlearn._sklearn import Interval, StrOptions
from rdlearn.distortions import Bernoulli, Hamming
from rdlearn.kernels.random import keys_of, row_bits

__all__ = ["BinaryMixin", "barred", "drawn_bits", "log_odds", "tilt_towards"]

# Nats of a flip that no probability is small enough for.
NEVER = 1e4


class BinaryMixin:
    """The parameter `binarize`: None, a threshold, or "sample"."""

    _parameter_constraints: dict = {
        "binarize": [None, Interval(Real, None, None, closed="neither"), StrOptions({"sample"})],
    }

    def _check_binary(self, X):
        """Raise ValueError where X is not what `binarize` takes."""
        if self.binarize is None or self.binarize == "sample":
            kind = Hamming() if self.binarize is None else Bernoulli()
            try:
                kind.check(X, getattr(self, "feature_names_in_", None))
            except ValueError as error:
                remedy = (
                    "set binarize to a threshold, or to 'sample' where values are probabilities"
                    if self.binarize is None
                    else "rescale X to [0, 1], or set binarize to a threshold"
                )
                fact = str(error).split(":")[0].split("but ", 1)[1]
                raise ValueError(f"binarize={self.binarize!r}, but {fact}: {remedy}.") from None

    def _bits(self, X, rng=None):
        """Bits of validated X, in its dtype; probabilities are drawn by rng, or by what is in a
        row."""
        if self.binarize is None:
            return X
        if self.binarize != "sample":
            return (X > self.binarize).astype(X.dtype)
        if rng is not None:
            return (rng.random(X.shape, dtype=np.float32) < X).astype(X.dtype)
        return drawn_bits(X)


def drawn_bits(X):
    """Bits of probabilities X, in its dtype, drawn by what is in a row; bits stay what they are."""
    words = np.empty(X.shape, dtype=np.uint32)
    row_bits(keys_of(X.astype(np.float32)), np.uint64(0), np.uint64(0), words)
    return (words < X * 2.0**32).astype(X.dtype)


def log_odds(mean, n):
    """Of bits whose mean over n rows is given; half a row more of each kind keeps them finite."""
    share = (mean * n + 0.5) / (n + 1)
    return np.log(share / (1 - share))


def barred(beta, cost):
    """Whether a flip of that cost cannot happen at a price."""
    return beta * cost > NEVER if np.isfinite([beta, cost]).all() else True


def tilt_towards(bits, beta, distortion):
    r"""The factor :math:`e^{-\beta d(x, y)}` of bits y as shifts of their biases.

    Parameters
    ----------
    bits : ndarray of shape (n, d)
        The source x, of 0 and 1.
    beta : float
        At least 0; infinite beta, like an infinite cost, bars flips that cost something.
    distortion : Hamming

    Returns
    -------
    shift : ndarray of shape (n, d)
        Logarithm of the factor of y = 1 against that of y = 0; -inf bars a 1, inf a 0.
    constant : ndarray of shape (n,)
        Logarithm of the factor of y = 0, over the bits where that is allowed.
    """
    if type(distortion) is not Hamming:
        raise ValueError(
            f"distortion={distortion!r} has no tilt of bits; choose 'hamming' or Hamming(a, b)."
        )
    if not (isinstance(beta, Real) and beta >= 0):
        raise ValueError(f"beta={beta!r} must be a number, 0 or more.")
    rise, fall = (
        np.inf if barred(beta, cost) else beta * cost for cost in (distortion.a, distortion.b)
    )
    ones = bits > 0.5
    shift = np.where(ones, fall, -rise)
    constant = -np.where(ones & np.isfinite(shift), fall if np.isfinite(fall) else 0.0, 0.0)
    return shift, constant.sum(axis=1)
