"""The channel from x to y of a belief network tilted towards x: draws, rate, distortion."""

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from rdlearn._belief_net import BeliefNet
from rdlearn._binary import barred, tilt_towards
from rdlearn._boltzmann import Draws
from rdlearn._partition import partition
from rdlearn._threads import one_blas_thread
from rdlearn.information import nats_to_bits
from rdlearn.nets.layers import Workspace

__all__ = ["TiltedChannelMixin"]

# Rows whose draws are in memory at once.
BLOCK_ROWS = 4096
# What an estimate consists of.
ESTIMATES = ("rate_bits", "distortion", "rate_bits_error", "distortion_error")


class TiltedChannelMixin:
    """Methods over the network in `stack_` of layers `sizes_`, at the price `beta_`."""

    def _draw_blocks(self, net, bits, seed, device="cpu"):
        """y for rows of bits x, float32, by tilted draws that start at x; all on a device."""
        out, work = np.empty_like(bits), Workspace(device)
        keys = work.ops.to_device(np.arange(len(bits), dtype=np.uint64))
        for start in range(0, len(bits), BLOCK_ROWS):
            part = slice(start, start + BLOCK_ROWS)
            out[part] = self._draw(net, bits[part], Draws(keys[part], seed), work)
        return out

    def _draw(self, net, bits, draws, work):
        if np.isposinf(self.beta_):
            return bits
        shift = tilt_towards(bits, self.beta_, self.distortion_)[0].astype(np.float32)
        return net.draw(bits, shift, self.n_gibbs, draws, work)

    def reproduce(self, X, *, random_state=None):
        """Rows drawn from the network tilted towards each row of X: Algorithm 3 of the paper.

        An infinite cost is honoured: no barred flip happens. A row's draw depends on its place in
        the table.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        Y : ndarray of shape (n_samples, n_features), of 0 and 1, dtype of X
        """
        X = self._check_input(X)
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        with one_blas_thread():
            return self._draw_blocks(self._belief_net(), X.astype(np.float32), seed).astype(X.dtype)

    def _belief_net(self):
        return BeliefNet(self.sizes_.tolist(), self.stack_)

    @property
    def rate_distortion_estimate_(self):
        check_is_fitted(self, "stack_")
        return None if self._estimate is None else dict(zip(ESTIMATES, self._estimate, strict=True))

    def estimate_rate_distortion(self, X, *, n_particles=100, n_steps=1000, random_state=0):
        r"""Rate and distortion of mu(y | x), by equation (4) of the paper.

        :math:`R = E[-\log_2 \sum_y \mu(y) e^{-\beta d(x, y)}] - \beta D / \ln 2`, which is the
        information plus the divergence of Y's own law from the network's: an upper bound. Exact
        where the network can be enumerated, else (one hidden layer only) a ratio of partition
        functions by annealed importance sampling, biased upwards.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Some hundred rows will do: the cost grows with them.
        n_particles, n_steps : int
        random_state : int, RandomState instance or None, default=0

        Returns
        -------
        dict
            `rate_bits`, `distortion`, and the standard errors `rate_bits_error` and
            `distortion_error`, of sampled rows and annealing together.

        Raises
        ------
        ValueError
            The network is too deep, or the effective sample size is below 10.
        """
        bits = self._check_input(X)
        net = self._belief_net()
        if net.enumerable:
            values = self._exact_estimate(net, bits)
        elif len(net.machines) > 1:
            raise ValueError(
                f"The network of layers {net.sizes} has too many states to sum over, and annealing "
                "knows one hidden layer only; fit with hidden_layer_sizes=() or layers of at most "
                "12 units."
            )
        else:
            shift, constant = tilt_towards(bits, self.beta_, self.distortion_)
            both = np.vstack([np.zeros((1, bits.shape[1])), shift])
            seed = int(check_random_state(random_state).randint(2**31 - 1))
            found = partition(net.machines[0], both, self.base_, n_particles, n_steps, seed)
            mass = constant + found.log_z[1:] - found.log_z[0]
            values = self._estimate_of(bits, mass, found.visible_means[1:], found.standard_error)
        return dict(zip(ESTIMATES, values, strict=True))

    def _exact_estimate(self, net, bits):
        shift, constant = tilt_towards(bits, self.beta_, self.distortion_)
        mass, means = net.tilted(shift)
        return self._estimate_of(bits, constant + mass, means, np.zeros(len(bits) + 1))

    def _estimate_of(self, bits, mass, means, errors):
        # The distortion is linear in y, so that its mean is that of the mean. Barred flips do not
        # happen, whatever rounding says.
        d, n = self.distortion_, len(bits)
        a, b = (0.0 if barred(self.beta_, cost) else cost for cost in (d.a, d.b))
        loss = (a * (1 - bits) * means + b * bits * (1 - means)).sum(axis=1)
        rate = nats_to_bits(-mass - (self.beta_ * loss if a or b else 0.0))
        spread = [
            np.std(values, ddof=1) / np.sqrt(n) if n > 1 else np.inf for values in (rate, loss)
        ]
        annealing = np.hypot(nats_to_bits(errors[0]), nats_to_bits(np.linalg.norm(errors[1:])) / n)
        values = rate.mean(), loss.mean(), np.hypot(spread[0], annealing), spread[1]
        return [float(value) for value in values]
