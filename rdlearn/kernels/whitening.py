"""What makes echo noise white: the inverse Cholesky factor of the code's covariance."""

import numpy as np
from scipy.linalg import solve_triangular

__all__ = ["MARGIN", "whitening"]

# Noise is made as if codes had this much more of it, so that no chain of noise can grow: a floor
# of the rate of 0.001 nats per component.
MARGIN = 0.002


def whitening(scatter, square, mixing, deviation, log_det):
    """Inverse Cholesky factor of the code's covariance, its deviations and log-determinant.

    scatter (k, k): covariance of f, to whose diagonal white noise adds `square` (k,). The results
    are mixing (k, k), deviation (k,) and log_det (1,); all float64.
    """
    covariance = scatter.copy()
    diagonal = np.einsum("ii->i", covariance)
    diagonal += (1 + MARGIN) * square + np.finfo(np.float64).tiny
    if not np.isfinite(covariance).all():
        # The loop finds a lost fit by its losses.
        mixing[:], deviation[:], log_det[:] = np.nan, np.nan, np.nan
        return
    factor = np.linalg.cholesky(covariance)
    mixing[:] = solve_triangular(factor, np.eye(len(factor)), lower=True)
    deviation[:] = np.sqrt(diagonal)
    log_det[:] = -np.log(np.diag(factor)).sum()
