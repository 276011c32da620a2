"""Rate-distortion functions of finite alphabets, with certificates."""

from dataclasses import dataclass, field
from numbers import Integral, Real

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_scalar

from rdlearn._training import warn
from rdlearn.information import nats_to_bits

__all__ = ["BlahutArimotoResult", "blahut_arimoto"]

# Part of the way to the boundary that a step may go, and of the barrier that it keeps.
TO_BOUNDARY, KEPT = 0.995, 0.1
# Part of a given start that is replaced by the uniform law, so that nothing is lost for good.
UNIFORM = 0.1


@dataclass(frozen=True)
class BlahutArimotoResult:
    """One point of a rate-distortion function, and how sure it is.

    Attributes
    ----------
    beta : float
        Price of distortion: nats per unit.
    rate_bits : float
        Mutual information of source and reproduction, in bits.
    distortion : float
        Mean distortion.
    lower_bound, upper_bound : float
        Certified bounds of the least ``rate + beta * distortion``, in nats. The upper one is that
        of this point.
    gap : float
        ``upper_bound - lower_bound``, in nats.
    converged : bool
        Whether the gap is within `tol`.
    n_iter : int
        Newton steps.
    p_y : ndarray of shape (n_reproductions,)
        Law of the reproduction.
    p_y_given_x : ndarray of shape (n_symbols, n_reproductions)
        The channel; rows of symbols of probability zero hold the law it would have.
    """

    beta: float
    rate_bits: float
    distortion: float
    lower_bound: float
    upper_bound: float
    gap: float
    converged: bool
    n_iter: int
    p_y: np.ndarray = field(repr=False)
    p_y_given_x: np.ndarray = field(repr=False)


def blahut_arimoto(p_x, distortion_matrix, beta, *, p_y=None, tol=1e-9, max_iter=100):
    r"""The point of slope ``-beta`` of the rate-distortion function of a finite source.

    Minimises :math:`I(X; Y) + \beta E d(X, Y)` over channels. In terms of the law q of Y this is
    the convex :math:`F(q) = -\sum_x p(x) \ln \sum_y q(y) e^{-\beta d(x, y)}`, which Blahut (1972)
    and Arimoto (1972) descend by alternating steps, slowly where reproductions die out; here a
    primal-dual interior-point method takes about ten to twenty Newton steps of
    ``n_reproductions**3`` operations each. Whatever q,

    .. math::

        F(q) - \ln \max_y \sum_x \frac{p(x) e^{-\beta d(x, y)}}{\sum_{y'} q(y') e^{-\beta d(x, y')}}

    is below the minimum (Blahut 1972), so that the result carries its own proof.

    Parameters
    ----------
    p_x : array-like of shape (n_symbols,)
        Probabilities of the source's symbols.
    distortion_matrix : array-like of shape (n_symbols, n_reproductions)
        Loss of each symbol under each reproduction; ``inf`` forbids the pair.
    beta : float
        Price of distortion, nats per unit, 0 or more.
    p_y : array-like of shape (n_reproductions,), default=None
        Where to start, such as the result at a nearby beta; None is the uniform law.
    tol : float, default=1e-9
        Gap between the bounds, in nats, to stop at.
    max_iter : int, default=100
        Newton steps at most.

    Returns
    -------
    result : BlahutArimotoResult

    Raises
    ------
    ValueError
        An argument is unusable; the sentence has the remedy.

    Warns
    -----
    ConvergenceWarning
        The gap is above `tol`.

    References
    ----------
    Blahut, "Computation of channel capacity and rate-distortion functions", IEEE Transactions on
    Information Theory 18 (1972). Arimoto, the same volume. Kim, Carbonetto, Stephens, Anitescu,
    "A fast algorithm for maximum likelihood estimation of mixture proportions", Journal of
    Computational and Graphical Statistics 29 (2020): the same convex problem.

    Examples
    --------
    A fair bit under Hamming distortion: R(D) = 1 - h(D) with D = 1 / (1 + e**beta).

    >>> point = blahut_arimoto([0.5, 0.5], [[0, 1], [1, 0]], beta=np.log(9))
    >>> round(point.distortion, 6), round(point.rate_bits, 6)
    (0.1, 0.531004)
    >>> point.upper_bound - point.lower_bound < 1e-9
    True
    """
    p, d = _check(p_x, distortion_matrix, beta)
    if not (isinstance(tol, Real) and tol > 0):
        raise ValueError(f"tol={tol!r} must be a number above 0.")
    check_scalar(max_iter, "max_iter", Integral, min_val=1)
    beta = float(beta)
    allowed = np.isfinite(d)
    seen = p > 0
    # A reproduction that no symbol may have stays out.
    usable = allowed[seen].any(axis=0)
    least = np.where(allowed, d, np.inf).min(axis=1, where=usable, initial=np.inf)
    least[np.isinf(least)] = 0.0
    factors = np.zeros(d.shape)
    np.exp(-beta * np.subtract(d, least[:, None], where=allowed, out=factors), out=factors)
    factors[~allowed] = 0.0
    a, m = factors[seen][:, usable], int(usable.sum())
    q = np.full(m, 1 / m)
    if p_y is not None:
        start = _law("p_y", p_y, d.shape[1])[usable]
        q = (1 - UNIFORM) * start + UNIFORM / m
    q, n_iter = _minimize(p[seen], a, q, tol, max_iter)
    mixed = a @ q
    lower = beta * (p @ least) - p[seen] @ np.log(mixed) - np.log((a.T @ (p[seen] / mixed)).max())
    law = np.zeros(d.shape[1])
    law[usable] = q
    channel = law * factors
    total = channel.sum(axis=1, keepdims=True)
    channel = np.divide(channel, total, out=np.tile(law, (len(p), 1)), where=total > 0)
    # The channel's own law of Y is no worse than q.
    law = p @ channel
    used = (channel > 0) & seen[:, None]
    logs = np.log(np.divide(channel, law, where=used, out=np.ones(d.shape)))
    rate = max(0.0, float(p @ (channel * logs).sum(axis=1)))
    loss = np.multiply(channel, d, where=used, out=np.zeros(d.shape))
    distortion = float(p @ loss.sum(axis=1))
    upper = rate + beta * distortion
    lower = min(float(lower), upper)
    gap = upper - lower
    if gap > tol:
        warn(
            f"The bounds are {gap:.3g} nats apart after {n_iter} steps, above tol={tol:g}; raise "
            f"max_iter={max_iter} or tol.",
            ConvergenceWarning,
        )
    bits = float(nats_to_bits(rate))
    return BlahutArimotoResult(
        beta, bits, distortion, lower, upper, gap, gap <= tol, n_iter, law, channel
    )


def _law(name, values, n):
    law = np.asarray(values, dtype=np.float64)
    if law.shape != (n,):
        raise ValueError(f"{name} has shape {law.shape}, but {n} probabilities are needed.")
    if not (np.isfinite(law).all() and np.all(law >= 0)):
        raise ValueError(
            f"{name} holds {law[~(law >= 0) | np.isinf(law)][0]}; probabilities do not."
        )
    if abs(law.sum() - 1) > 1e-6:
        raise ValueError(f"{name} sums to {law.sum():.6g}; divide it by its sum.")
    return law / law.sum()


def _check(p_x, distortion_matrix, beta):
    d = np.asarray(distortion_matrix, dtype=np.float64)
    if d.ndim != 2 or d.size == 0:
        raise ValueError(
            f"distortion_matrix has shape {d.shape}; it needs a row for each symbol and a column "
            "for each reproduction."
        )
    p = _law("p_x", p_x, len(d))
    bad = np.isnan(d) | np.isneginf(d)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"distortion_matrix holds {d[row, column]} in row {row}, column {column}; losses are "
            "numbers, or inf where a pair is forbidden."
        )
    lost = (p > 0) & ~np.isfinite(d).any(axis=1)
    if lost.any():
        raise ValueError(
            f"Row {np.argmax(lost)} of distortion_matrix is inf throughout, but its symbol has "
            f"probability {p[np.argmax(lost)]:.3g}: allow it a reproduction."
        )
    if not (isinstance(beta, Real) and 0 <= beta < np.inf):
        raise ValueError(f"beta={beta!r} must be a finite number, 0 or more.")
    return p, d


def _minimize(p, factors, q, tol, max_iter):
    """The law q that minimises -p @ log(factors @ q), and the number of steps.

    Without the constraint sum(q) = 1, minimising -p @ log(factors @ q) + sum(q) has the same
    solution (Kim, Carbonetto, Stephens, Anitescu 2020).
    """
    n = len(q)
    slack = 1 / (n * q)
    barrier = 0.5
    for step in range(max_iter + 1):
        mixed = factors @ q
        gradient = factors.T @ (p / mixed)
        if step == max_iter or np.log(gradient.max() * q.sum()) <= 0.5 * tol:
            break
        mu = barrier * (q @ slack) / n
        barrier = KEPT
        weighted = factors * (np.sqrt(p) / mixed)[:, None]
        hessian = weighted.T @ weighted
        hessian[np.diag_indices(n)] += slack / q
        try:
            by_q = cho_solve(cho_factor(hessian, lower=True), gradient - 1 + mu / q)
        except np.linalg.LinAlgError:
            # Rounding has the last word; the bounds say how good this is.
            break
        by_slack = mu / q - slack - slack / q * by_q
        q = q + _length(q, by_q) * by_q
        slack = slack + _length(slack, by_slack) * by_slack
    return q / q.sum(), step


def _length(value, by):
    return min(1.0, TO_BOUNDARY / max(float(np.max(-by / value)), 1e-300))
