"""What a restricted Boltzmann machine says of rows: energies, likelihoods, draws."""

from numbers import Integral

import numpy as np
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils.validation import check_is_fitted

from rdlearn._binary import tilt_towards
from rdlearn._boltzmann import Draws
from rdlearn._partition import partition
from rdlearn._threads import one_blas_thread
from rdlearn.distortions import get_distortion
from rdlearn.nets.layers import Workspace

__all__ = ["LikelihoodMixin"]


class LikelihoodMixin:
    """Methods over `_machine()`, `_read(X)` and `base_`."""

    def free_energy(self, X):
        r"""Minus the logarithm, in nats, of the unnormalised probability of each row.

        :math:`-b^T v - \sum_j \ln(1 + e^{c_j + (v^T W)_j})`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), float64
        """
        bits, _ = self._read(X)
        return self._machine().free_energy(bits)

    def log_partition(self, *, n_particles=100, n_steps=1000, random_state=0):
        """Logarithm of the sum that normalises the model.

        Exact where the states of the smaller layer, times the units of the other, are at most
        2**22; otherwise by annealed importance sampling from
        independent units at `base_`, whose mean errs downwards.

        Parameters
        ----------
        n_particles, n_steps : int
        random_state : int, RandomState instance or None, default=0

        Returns
        -------
        value, standard_error : float
            In nats; the error is 0 where the value is exact.

        Raises
        ------
        ValueError
            The effective sample size is below 10.
        """
        check_is_fitted(self)
        shift = np.zeros((1, self.n_features_in_))
        result = self._partition(shift, n_particles, n_steps, random_state)
        return float(result.log_z[0]), float(result.standard_error[0])

    def _partition(self, shift, n_particles, n_steps, random_state):
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        return partition(self._machine(), shift, self.base_, n_particles, n_steps, seed)

    def log_tilted_mass(
        self, X, beta, distortion="hamming", *, n_particles=100, n_steps=1000, random_state=0
    ):
        r"""Logarithm of :math:`\sum_y p(y) e^{-\beta d(x, y)}` of each row x.

        A ratio of partition functions: tilting the law of y by its distortion from x shifts the
        visible biases. As sure as `log_partition`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        beta : float
            Price of distortion, nats per unit, 0 or more.
        distortion : "hamming" or Hamming
        n_particles, n_steps : int
        random_state : int, RandomState instance or None, default=0

        Returns
        -------
        value, standard_error : ndarray of shape (n_samples,)
            In nats. The error of the untilted sum, common to all rows, is part of each.
        """
        bits, _ = self._read(X)
        shift, constant = tilt_towards(bits, beta, get_distortion(distortion))
        both = np.vstack([np.zeros((1, shift.shape[1])), shift])
        result = self._partition(both, n_particles, n_steps, random_state)
        value = constant + result.log_z[1:] - result.log_z[0]
        return value, np.hypot(result.standard_error[1:], result.standard_error[0])

    def score_samples(self, X):
        """Log-likelihood of each row, in nats, by `log_partition` with its defaults.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), float64

        Raises
        ------
        ValueError
            The log partition function is too hard to estimate: compare rows by `free_energy`.
        """
        energy = self.free_energy(X)
        try:
            return -energy - self.log_partition()[0]
        except ValueError as error:
            raise ValueError(f"{error} Rows compare by free_energy without it.") from None

    def score(self, X, y=None):
        """Mean of `score_samples`, nats per row: higher is better."""
        return float(np.mean(self.score_samples(X)))

    def gibbs(self, X, n_gibbs=1, *, beta=0.0, distortion="hamming", random_state=None):
        r"""Bits after Gibbs steps that start at rows x, in the law tilted by their distortion.

        With beta = 0 and finite costs the chain is that of the model; otherwise its law tends to
        :math:`\mu(y | x) \propto p(y) e^{-\beta d(x, y)}`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        n_gibbs : int, default=1
        beta : float, default=0.0
        distortion : "hamming" or Hamming, default="hamming"
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        Y : ndarray of shape (n_samples, n_features), of 0 and 1, dtype of X
        """
        check_scalar(n_gibbs, "n_gibbs", Integral, min_val=1)
        bits, dtype = self._read(X)
        shift, _ = tilt_towards(bits, beta, get_distortion(distortion))
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        draws = Draws(np.arange(len(bits), dtype=np.uint64), seed)
        with one_blas_thread():
            out = self._machine().gibbs(bits, n_gibbs, draws, Workspace(), shift.astype(np.float32))
        return out.astype(dtype)

    def sample(self, n_samples=1, *, n_gibbs=1000, random_state=None):
        """Rows drawn from the model, by chains that start at independent bits.

        Parameters
        ----------
        n_samples : int, default=1
        n_gibbs : int, default=1000
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        V : ndarray of shape (n_samples, n_features), of 0 and 1, float64
        """
        check_is_fitted(self)
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        check_scalar(n_gibbs, "n_gibbs", Integral, min_val=1)
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        draws = Draws(np.arange(n_samples, dtype=np.uint64), seed)
        start = np.tile(1 / (1 + np.exp(-self.base_)), (n_samples, 1)).astype(np.float32)
        work = Workspace()
        with one_blas_thread():
            out = self._machine().gibbs(draws.bits(start, work), n_gibbs, draws, work)
        return out.astype(np.float64)
