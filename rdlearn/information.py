"""Units, entropies and rate-distortion functions in closed form.

The only place that converts between nats (inside the package) and bits (at every public
surface). Every R(D) takes its distortion as a number or an array and answers in kind: a number
gives a `float`, an array gives a float64 array of the same shape. An argument outside the range
that its docstring states, or NaN, raises a `ValueError` that names it and its value.

References
----------
Berger, "Rate Distortion Theory", 1971. Cover and Thomas, "Elements of Information Theory", 2006.
Gray, "Information rates of autoregressive processes", IEEE Trans. Information Theory 16, 1970.
Kolmogorov, "On the Shannon theory of information transmission in the case of continuous signals",
1956. Shannon, "A mathematical theory of communication", 1948, and "Coding theorems for a discrete
source with a fidelity criterion", 1959.
"""

import math
import operator

import numpy as np
from scipy.special import entr

__all__ = [
    "binary_entropy_bits",
    "binary_markov_rate_bits",
    "binary_rate_bits",
    "bits_to_nats",
    "entropy_bits",
    "gaussian_distortion",
    "gaussian_rate_bits",
    "gaussian_water_level",
    "laplace_rate_bits",
    "nats_to_bits",
    "shannon_lower_bound_bits",
]

_NATS_PER_BIT = math.log(2.0)


def nats_to_bits(nats):
    """Convert nats to bits, ``bits = nats / ln 2``.

    Parameters
    ----------
    nats : float or array-like of any shape

    Returns
    -------
    bits : float or ndarray of the same shape
        float32 arrays stay float32.

    Examples
    --------
    >>> from rdlearn.information import nats_to_bits
    >>> round(nats_to_bits(1.0), 4)
    1.4427
    """
    return _number_or_array(np.divide(nats, _NATS_PER_BIT))


def bits_to_nats(bits):
    """Convert bits to nats, ``nats = bits * ln 2``.

    Parameters
    ----------
    bits : float or array-like of any shape

    Returns
    -------
    nats : float or ndarray of the same shape
        float32 arrays stay float32.

    Examples
    --------
    >>> from rdlearn.information import bits_to_nats
    >>> round(bits_to_nats(1.0), 4)
    0.6931
    """
    return _number_or_array(np.multiply(bits, _NATS_PER_BIT))


def entropy_bits(counts):
    """Entropy of the distribution proportional to `counts`, ``-sum_i p_i log2 p_i`` (Shannon 1948).

    Parameters
    ----------
    counts : array-like of shape (..., n_symbols)
        Counts or probabilities, non-negative and finite. Each distribution lies along the last
        axis and is divided by its sum, which must not be 0.

    Returns
    -------
    entropy : float or ndarray of shape (...), float64
        Bits per symbol.

    Examples
    --------
    >>> from rdlearn.information import entropy_bits
    >>> entropy_bits([2, 1, 1])
    1.5
    """
    counts = _non_negative("counts", counts)
    if counts.ndim == 0 or not np.all(np.isfinite(counts)):
        raise ValueError(f"counts must be a finite array of counts, got {counts}.")
    total = counts.sum(axis=-1, keepdims=True)
    if not np.all(total > 0):
        raise ValueError("counts must have a positive sum along the last axis, got 0.")
    return nats_to_bits(entr(counts / total).sum(axis=-1))


def binary_entropy_bits(p):
    """Entropy of a Bernoulli variable, ``-p log2 p - (1 - p) log2(1 - p)`` (Shannon 1948).

    Parameters
    ----------
    p : float or array-like of any shape
        Probabilities, from 0 to 1.

    Returns
    -------
    entropy : float or ndarray of the same shape, float64
        Bits per symbol.

    Examples
    --------
    >>> from rdlearn.information import binary_entropy_bits
    >>> binary_entropy_bits(0.5)
    1.0
    """
    p = _non_negative("p", p)
    if np.any(p > 1):
        raise ValueError(f"p must lie between 0 and 1, got {p.max()}.")
    return nats_to_bits(entr(p) + entr(1 - p))


def gaussian_water_level(variances, distortion):
    """Level of reverse water-filling: solves ``sum_k min(level, variance_k) = distortion``.

    Component k is reproduced with squared error ``min(level, variance_k)``. A component is active
    (carries bits) when its variance exceeds the level (Cover and Thomas 2006, section 10.3.3).

    Parameters
    ----------
    variances : array-like of shape (n_components,)
        Variances of independent Gaussian components (of correlated ones, the eigenvalues of the
        covariance), non-negative and finite.
    distortion : float or array-like of any shape
        Squared error summed over the components, non-negative.

    Returns
    -------
    level : float or ndarray of the shape of `distortion`, float64
        Squared error per active component. The largest variance from ``sum(variances)`` on,
        where no component is active.

    Examples
    --------
    >>> import numpy as np
    >>> from rdlearn.information import gaussian_water_level
    >>> variances = np.array([4.0, 1.0, 0.25])
    >>> level = gaussian_water_level(variances, 1.25)
    >>> level, int(np.sum(variances > level))
    (0.5, 2)
    """
    levels = np.sort(np.append(_variances(variances), 0.0))
    distortion = _non_negative("distortion", distortion)
    # The distortion is piecewise linear in the level, with a knot at each variance.
    n_above = np.arange(levels.size - 1, 0, -1)
    knots = np.append(0.0, np.cumsum(np.diff(levels) * n_above))
    return _number_or_array(np.interp(distortion, knots, levels))


def gaussian_rate_bits(variances, distortion):
    """R(D) of a Gaussian vector under squared error, by reverse water-filling.

    ``R(D) = sum_k max(0, 1/2 log2(variance_k / level))`` at the level of `gaussian_water_level`
    (Kolmogorov 1956; Cover and Thomas 2006, theorem 10.3.3).

    Parameters
    ----------
    variances : array-like of shape (n_components,)
        Variances of independent Gaussian components (of correlated ones, the eigenvalues of the
        covariance), non-negative and finite.
    distortion : float or array-like of any shape
        Squared error summed over the components, non-negative.

    Returns
    -------
    rate : float or ndarray of the shape of `distortion`, float64
        Bits per vector; 0 from ``sum(variances)`` on, infinite at 0.

    Examples
    --------
    >>> from rdlearn.information import gaussian_rate_bits
    >>> gaussian_rate_bits([4.0, 1.0, 0.25], 1.25)
    2.0
    """
    variances = _variances(variances)
    level = np.asarray(gaussian_water_level(variances, distortion))[..., np.newaxis]
    with np.errstate(divide="ignore"):  # at distortion 0 the level is 0 and the rate infinite
        excess = np.log2(variances[variances > 0]) - np.log2(level)
    return _number_or_array(0.5 * np.maximum(excess, 0.0).sum(axis=-1))


def gaussian_distortion(variances, rate_bits):
    """D(R) of a Gaussian vector under squared error, the inverse of `gaussian_rate_bits`.

    ``D(R) = sum_k min(level, variance_k)`` at the level whose rate is `rate_bits` (Cover
    and Thomas 2006, section 10.3.3).

    Parameters
    ----------
    variances : array-like of shape (n_components,)
        Variances of independent Gaussian components (of correlated ones, the eigenvalues of the
        covariance), non-negative and finite.
    rate_bits : float or array-like of any shape
        Bits per vector, non-negative.

    Returns
    -------
    distortion : float or ndarray of the shape of `rate_bits`, float64
        Squared error summed over the components.

    Examples
    --------
    >>> from rdlearn.information import gaussian_distortion
    >>> round(gaussian_distortion([4.0, 1.0, 0.25], 2.0), 12)
    1.25
    """
    variances = _variances(variances)
    rate_bits = _non_negative("rate_bits", rate_bits)
    variances = np.sort(variances[variances > 0])[::-1]
    if variances.size == 0:
        return _number_or_array(np.zeros(rate_bits.shape))
    n_active = np.arange(1, variances.size + 1)
    log_product = np.cumsum(np.log2(variances))
    # Component k becomes active at the rate that the larger ones spend down to its variance.
    onset = 0.5 * (log_product - n_active * np.log2(variances))
    last = np.searchsorted(onset, rate_bits, side="right") - 1
    level = np.exp2((log_product[last] - 2 * rate_bits) / n_active[last])
    return _number_or_array(np.minimum(level[..., np.newaxis], variances).sum(axis=-1))


def binary_rate_bits(p, distortion):
    """R(D) of Bernoulli(p) under Hamming distortion, ``h(p) - h(D)`` (Cover and Thomas 10.3.1).

    Parameters
    ----------
    p : float
        Probability of a one, from 0 to 1.
    distortion : float or array-like of any shape
        Probability that a symbol is reproduced wrongly, non-negative.

    Returns
    -------
    rate : float or ndarray of the shape of `distortion`, float64
        Bits per symbol; 0 from ``min(p, 1 - p)`` on.

    Examples
    --------
    >>> from rdlearn.information import binary_rate_bits
    >>> round(binary_rate_bits(0.5, 0.11), 4)
    0.5001
    """
    source_entropy = binary_entropy_bits(p)
    wrong = np.minimum(_non_negative("distortion", distortion), min(p, 1 - p))
    return _number_or_array(source_entropy - binary_entropy_bits(wrong))


def binary_markov_rate_bits(q, distortion):
    """R(D) of the symmetric binary Markov chain under Hamming distortion, where it is known.

    ``R(D) = h(q) - h(D)`` for ``D <= D_c = (1 - sqrt(1 - (q / (1 - q))^2)) / 2`` and
    ``q <= 1/2`` (Gray 1970). q and 1 - q give the same function: flipping every second symbol
    turns one chain into the other.

    Parameters
    ----------
    q : float
        Probability that a symbol differs from the one before, between 0 and 1, both excluded.
    distortion : float or array-like of any shape
        Probability that a symbol is reproduced wrongly, from 0 to ``D_c``.

    Returns
    -------
    rate : float or ndarray of the shape of `distortion`, float64
        Bits per symbol of the infinite stationary chain.

    Raises
    ------
    ValueError
        If `q` lies outside (0, 1), a distortion is negative or NaN, or exceeds ``D_c``: there
        ``h(q) - h(D)`` is only a lower bound.

    Examples
    --------
    >>> from rdlearn.information import binary_markov_rate_bits
    >>> round(binary_markov_rate_bits(0.2, 0.01), 4)
    0.6411
    """
    if not 0 < q < 1:
        raise ValueError(f"q must lie strictly between 0 and 1, got {q}.")
    distortion = _non_negative("distortion", distortion)
    rare = min(q, 1 - q)
    critical = 0.5 * (1 - math.sqrt(1 - (rare / (1 - rare)) ** 2))
    if np.any(distortion > critical):
        raise ValueError(
            f"distortion must be at most D_c = {critical:.6g} for q = {q}, got "
            f"{distortion.max()}: above D_c only the lower bound h(q) - h(D) is known."
        )
    return _number_or_array(binary_entropy_bits(q) - binary_entropy_bits(distortion))


def laplace_rate_bits(scale, distortion):
    """R(D) of a Laplace variable under absolute error, ``log2(scale / D)`` (Berger 1971, 4.3).

    Parameters
    ----------
    scale : float
        Mean absolute deviation, positive and finite: the density is
        ``exp(-|x| / scale) / (2 scale)``.
    distortion : float or array-like of any shape
        Mean absolute error, non-negative.

    Returns
    -------
    rate : float or ndarray of the shape of `distortion`, float64
        Bits per value; 0 from `scale` on, infinite at 0.

    Examples
    --------
    >>> from rdlearn.information import laplace_rate_bits
    >>> laplace_rate_bits(2.0, 0.5)
    2.0
    """
    if not 0 < scale < math.inf:
        raise ValueError(f"scale must be positive and finite, got {scale}.")
    error = np.minimum(_non_negative("distortion", distortion), scale)
    with np.errstate(divide="ignore"):
        return _number_or_array(math.log2(scale) - np.log2(error))


def shannon_lower_bound_bits(entropy_nats, n_features, distortion):
    """Shannon's lower bound on R(D) of a continuous vector under squared error.

    ``R(D) >= max(0, h - n/2 ln(2 pi e D / n)) / ln 2`` for n features with differential entropy
    h (Shannon 1959); it becomes tight as D goes to 0.

    Parameters
    ----------
    entropy_nats : float
        Differential entropy of the vector, in nats, finite.
    n_features : int
        Dimension of the vector, at least 1.
    distortion : float or array-like of any shape
        Squared error summed over the features, non-negative.

    Returns
    -------
    rate : float or ndarray of the shape of `distortion`, float64
        Bits per vector, never above R(D); infinite at 0.

    Examples
    --------
    >>> import math
    >>> from rdlearn.information import shannon_lower_bound_bits
    >>> round(shannon_lower_bound_bits(0.5 * math.log(2 * math.pi * math.e), 1, 0.25), 9)
    1.0
    """
    if not math.isfinite(entropy_nats):
        raise ValueError(f"entropy_nats must be finite, got {entropy_nats}.")
    if operator.index(n_features) < 1:
        raise ValueError(f"n_features must be at least 1, got {n_features}.")
    distortion = _non_negative("distortion", distortion)
    with np.errstate(divide="ignore"):
        noise = 0.5 * n_features * np.log(2 * math.pi * math.e * distortion / n_features)
    return nats_to_bits(np.maximum(entropy_nats - noise, 0.0))


def _number_or_array(values):
    return float(values) if np.ndim(values) == 0 else values


def _non_negative(name, values):
    values = np.asarray(values, dtype=np.float64)
    wrong = ~(values >= 0)  # also catches NaN
    if np.any(wrong):
        raise ValueError(f"{name} must not be negative or NaN, got {values[wrong][0]}.")
    return values


def _variances(variances):
    variances = _non_negative("variances", variances)
    if variances.ndim != 1 or variances.size == 0:
        raise ValueError(f"variances must have shape (n_components,), got {variances.shape}.")
    if not np.all(np.isfinite(variances)):
        raise ValueError(f"variances must be finite, got {variances.max()}.")
    return variances
