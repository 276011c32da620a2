"""Sources whose rate-distortion function is known, and loaders of real data.

Rates and distortions of a source are per sample, that is per row: bits, and loss summed over the
features of the row. An argument outside the range that its docstring states raises a `ValueError`
that names it and its value.
"""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from rdlearn._loaders import load_bsds, load_kodak, load_mnist, load_omniglot
from rdlearn.information import (
    binary_entropy_bits,
    binary_rate_bits,
    gaussian_rate_bits,
    shannon_lower_bound_bits,
)

__all__ = [
    "SOURCES",
    "Source",
    "banana_source",
    "binary_markov_source",
    "binary_source",
    "gaussian_source",
    "load_bsds",
    "load_kodak",
    "load_mnist",
    "load_omniglot",
    "source",
    "student_t_source",
    "toeplitz_gaussian_source",
]


@dataclass(frozen=True)
class Source:
    """A random row vector with known R(D), made by the functions of this module.

    Attributes
    ----------
    name : str
        Short name.
    n_features : int
        Length of a row.
    distortion : str
        The distortion that `rate_bits` is stated in: ``"squared_error"`` or ``"hamming"``.
    bound : {"exact", "lower"}
        Whether `rate_bits` is R(D) itself or never above it.

    Examples
    --------
    >>> from rdlearn.datasets import binary_source
    >>> coin = binary_source(n_features=8)
    >>> coin.sample(100, random_state=0).shape
    (100, 8)
    >>> coin.rate_bits([0.0, 4.0])
    array([8., 0.])
    """

    name: str
    n_features: int
    distortion: str
    bound: str
    _draw: Callable = field(repr=False)
    _rate_bits: Callable = field(repr=False)

    def sample(self, n_samples, random_state=None, dtype=np.float64):
        """Draw independent rows.

        Parameters
        ----------
        n_samples : int
            Number of rows, non-negative.
        random_state : int, RandomState instance or None, default=None
            The same seed gives the same rows, in float64 before the cast to `dtype`.
        dtype : dtype, default=numpy.float64

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
        """
        from sklearn.utils import check_random_state  # brings pandas: not at import time

        if operator.index(n_samples) < 0:
            raise ValueError(f"n_samples must not be negative, got {n_samples}.")
        return self._draw(check_random_state(random_state), n_samples).astype(dtype, copy=False)

    def rate_bits(self, distortion):
        """R(D), or its lower bound where `bound` says so.

        Parameters
        ----------
        distortion : float or array-like of any shape
            Loss per row, summed over the features, non-negative.

        Returns
        -------
        rate : float or ndarray of the shape of `distortion`, float64
            Bits per row.
        """
        distortion = np.asarray(distortion, dtype=np.float64)
        if not np.all(distortion >= 0):
            raise ValueError(f"distortion must not be negative or NaN, got {distortion.min()}.")
        return self._rate_bits(distortion)


def gaussian_source(variances=None, covariance=None):
    """Centred Gaussian vector; R(D) exact, by `rdlearn.information.gaussian_rate_bits`.

    Parameters
    ----------
    variances : array-like of shape (n_features,), default=None
        Variances of independent features, finite and non-negative.
    covariance : array-like of shape (n_features, n_features), default=None
        Covariance, symmetric and positive semidefinite. With neither argument: 40 independent
        features with standard deviations ``2 exp(-k / 2)``, k from 0 to 39.

    Returns
    -------
    source : Source
        Under summed squared error.

    Examples
    --------
    >>> from rdlearn.datasets import gaussian_source
    >>> gaussian_source(variances=[4.0, 1.0, 0.25]).rate_bits(1.25)
    2.0
    """
    if variances is not None and covariance is not None:
        raise ValueError("variances and covariance must not both be given.")
    if covariance is None:
        variances = 4.0 * np.exp(-np.arange(40.0)) if variances is None else variances
        variances = np.array(variances, dtype=np.float64)
        gaussian_rate_bits(variances, 0.0)  # refuses bad variances now rather than at first use
        draw = partial(_draw_independent, np.sqrt(variances))
    else:
        covariance = np.array(covariance, dtype=np.float64)
        variances, root = _eigenvalues_and_root(covariance)
        draw = partial(_draw_correlated, root)
    rate_bits = partial(gaussian_rate_bits, variances)
    return Source("gaussian", len(variances), "squared_error", "exact", draw, rate_bits)


def toeplitz_gaussian_source(n_features=16, rho=0.9):
    """Centred Gaussian vector with covariance ``rho ** |i - j|``; R(D) exact.

    Parameters
    ----------
    n_features : int, default=16
        Length of a row, at least 1.
    rho : float, default=0.9
        Correlation of neighbours, between -1 and 1, both excluded.

    Returns
    -------
    source : Source
        Under summed squared error.

    Examples
    --------
    >>> from rdlearn.datasets import toeplitz_gaussian_source
    >>> round(toeplitz_gaussian_source(n_features=2, rho=0.6).rate_bits(0.4), 9)
    2.0
    """
    _check_n_features(n_features)
    if not -1 < rho < 1:
        raise ValueError(f"rho must lie strictly between -1 and 1, got {rho}.")
    index = np.arange(n_features)
    covariance = float(rho) ** np.abs(index[:, np.newaxis] - index)
    return replace(gaussian_source(covariance=covariance), name="gaussian-toeplitz")


def binary_source(n_features=64, p=0.5):
    """Independent Bernoulli bits; ``R(D) = n (h(p) - h(D / n))`` exact, `h` the binary entropy.

    Parameters
    ----------
    n_features : int, default=64
        Bits per row, n, at least 1.
    p : float, default=0.5
        Probability of a one, from 0 to 1.

    Returns
    -------
    source : Source
        Under Hamming distortion: the number of wrong bits in a row.

    Examples
    --------
    >>> from rdlearn.datasets import binary_source
    >>> round(binary_source(n_features=64, p=0.5).rate_bits(6.4), 3)
    33.984
    """
    _check_n_features(n_features)
    binary_entropy_bits(p)  # refuses a bad p now rather than at first use
    draw = partial(_draw_bits, np.full(n_features, p))
    rate_bits = partial(_binary_rate, n_features, p)
    return Source("binary", n_features, "hamming", "exact", draw, rate_bits)


def binary_markov_source(n_features=64, q=0.2):
    """Rows cut from a stationary symmetric binary Markov chain.

    `rate_bits` is Shannon's lower bound for the row of n bits, its entropy less the largest
    entropy of n error bits: ``1 + (n - 1) h(q) - n h(D / n)``. It exceeds n times Gray's rate of
    the infinite chain by the ``1 - h(q)`` that the first bit, without a past, costs more. Up to
    ``D = n D_c`` (see `rdlearn.information.binary_markov_rate_bits`) it is R(D) itself: there the
    chain is another process with independent errors added, and so is every row of it.

    Parameters
    ----------
    n_features : int, default=64
        Bits per row, n, at least 1.
    q : float, default=0.2
        Probability that a bit differs from the one before, from 0 to 1.

    Returns
    -------
    source : Source
        Under Hamming distortion: the number of wrong bits in a row. A lower bound.

    Examples
    --------
    >>> from rdlearn.datasets import binary_markov_source
    >>> round(binary_markov_source(n_features=3, q=0.2).rate_bits(0.0), 4)
    2.4439
    """
    _check_n_features(n_features)
    if not 0 <= q <= 1:
        raise ValueError(f"q must lie between 0 and 1, got {q}.")
    row_entropy = 1.0 + (n_features - 1) * binary_entropy_bits(q)
    draw = partial(_draw_markov, np.append(0.5, np.full(n_features - 1, q)))
    rate_bits = partial(_binary_markov_bound, n_features, row_entropy)
    return Source("binary-markov", n_features, "hamming", "lower", draw, rate_bits)


def banana_source():
    """Banana-shaped density in the plane: ``u0 ~ N(0, 9)``, ``u1 ~ N(0, 1/4) - u0^2 / 10``.

    The bend is a shear, whose Jacobian is 1, so the differential entropy is that of the two
    Gaussians, ``ln(2 pi e) + ln(3 / 2)`` nats, and `rate_bits` Shannon's lower bound for it
    (`rdlearn.information.shannon_lower_bound_bits`).

    Returns
    -------
    source : Source
        Under summed squared error. A lower bound, tight as D goes to 0.

    Examples
    --------
    >>> from rdlearn.datasets import banana_source
    >>> round(banana_source().rate_bits(0.2), 4)
    3.9069
    """
    entropy_nats = math.log(2 * math.pi * math.e) + math.log(3.0 * 0.5)
    rate_bits = partial(shannon_lower_bound_bits, entropy_nats, 2)
    return Source("banana", 2, "squared_error", "lower", _draw_banana, rate_bits)


def student_t_source(df=5.0):
    """Spherical Student-t vector in the plane: heavy tails, dependent but uncorrelated.

    Density ``(1 + |x|^2 / df)^-(df / 2 + 1) / (2 pi)``, differential entropy
    ``ln(2 pi) + 1 + 2 / df`` nats (Kotz and Nadarajah, "Multivariate t Distributions and Their
    Applications", 2004). `rate_bits` is Shannon's lower bound
    (`rdlearn.information.shannon_lower_bound_bits`).

    Parameters
    ----------
    df : float, default=5.0
        Degrees of freedom, above 2 and finite, so that each variance is ``df / (df - 2)``.

    Returns
    -------
    source : Source
        Under summed squared error. A lower bound, tight as D goes to 0.

    Examples
    --------
    >>> from rdlearn.datasets import student_t_source
    >>> round(student_t_source(df=4.0).rate_bits(0.2), 4)
    4.0433
    """
    if not 2 < df < math.inf:
        raise ValueError(f"df must be above 2 and finite, got {df}.")
    entropy_nats = math.log(2 * math.pi) + 1 + 2 / df
    rate_bits = partial(shannon_lower_bound_bits, entropy_nats, 2)
    draw = partial(_draw_student_t, df)
    return Source("student-t", 2, "squared_error", "lower", draw, rate_bits)


_CONSTRUCTORS = {
    "gaussian": gaussian_source,
    "gaussian-equal": partial(gaussian_source, variances=np.ones(16)),
    "gaussian-toeplitz": toeplitz_gaussian_source,
    "binary": binary_source,
    "binary-markov": binary_markov_source,
    "banana": banana_source,
    "student-t": student_t_source,
}
SOURCES = tuple(_CONSTRUCTORS)


def source(name):
    """Source of a short name, with its default parameters.

    Parameters
    ----------
    name : str
        One of `SOURCES`; ``"gaussian-equal"`` has 16 independent features of variance 1.

    Returns
    -------
    source : Source

    Raises
    ------
    ValueError
        If there is no such name; the message lists the names.

    Examples
    --------
    >>> from rdlearn.datasets import source
    >>> source("banana").n_features
    2
    """
    if name not in SOURCES:
        raise ValueError(f"name must be one of {', '.join(SOURCES)}, got {name!r}.")
    return replace(_CONSTRUCTORS[name](), name=name)


def _check_n_features(n_features):
    if operator.index(n_features) < 1:
        raise ValueError(f"n_features must be at least 1, got {n_features}.")


def _eigenvalues_and_root(covariance):
    if covariance.ndim != 2 or not covariance.shape[0] == covariance.shape[1] > 0:
        raise ValueError(f"covariance must be a square matrix, got shape {covariance.shape}.")
    symmetric = np.allclose(covariance, covariance.T, rtol=1e-10, atol=0.0)
    if not symmetric or not np.all(np.isfinite(covariance)):
        raise ValueError("covariance must be symmetric and finite.")
    eigenvalues, axes = np.linalg.eigh(covariance)
    # The relative margin is the rounding error of the eigenvalues.
    if eigenvalues[0] < -len(covariance) * np.finfo(np.float64).eps * eigenvalues[-1]:
        raise ValueError(
            f"covariance must be positive semidefinite, got eigenvalue {eigenvalues[0]}."
        )
    eigenvalues = np.maximum(eigenvalues, 0.0)
    # Unlike eigenvectors, the symmetric root is unique: the same draws on every machine.
    return eigenvalues, (axes * np.sqrt(eigenvalues)) @ axes.T


def _draw_independent(scales, rng, n_samples):
    return rng.standard_normal((n_samples, len(scales))) * scales


def _draw_correlated(factor, rng, n_samples):
    return rng.standard_normal((n_samples, len(factor))) @ factor.T


def _draw_bits(p, rng, n_samples):
    return (rng.random_sample((n_samples, len(p))) < p).astype(np.float64)


def _draw_markov(p_change, rng, n_samples):
    return np.cumsum(_draw_bits(p_change, rng, n_samples), axis=1) % 2


def _draw_banana(rng, n_samples):
    u = rng.standard_normal((n_samples, 2)) * (3.0, 0.5)
    u[:, 1] -= 0.1 * u[:, 0] ** 2
    return u


def _draw_student_t(df, rng, n_samples):
    normal = rng.standard_normal((n_samples, 2))
    return normal / np.sqrt(rng.chisquare(df, (n_samples, 1)) / df)


def _binary_rate(n_features, p, distortion):
    return n_features * binary_rate_bits(p, np.divide(distortion, n_features))


def _binary_markov_bound(n_features, row_entropy, distortion):
    # 1 - h(D / n), at D / n = 1/2 and beyond no more than independent fair bits.
    beyond_error = binary_rate_bits(0.5, np.divide(distortion, n_features))
    bound = np.maximum(row_entropy - n_features * np.subtract(1.0, beyond_error), 0.0)
    return float(bound) if bound.ndim == 0 else bound
