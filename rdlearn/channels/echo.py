"""Echo noise: the channel whose rate is exact."""

from dataclasses import dataclass, replace

import numpy as np

from rdlearn.channels.gaussian import GaussianChannel
from rdlearn.kernels.echo import echo_code
from rdlearn.kernels.gaussian import MAX_LOG_SIGMA
from rdlearn.kernels.whitening import MARGIN, whitening

__all__ = ["EchoChannel"]

# Memory of the moments of the code, in batches: long against a batch's chance, short against
# the time in which the nets change, hence at most this part of the batches so far.
MEMORY = 100
PART = 0.25


@dataclass(frozen=True)
class _State:
    """What passes from batch to batch: the stored code, and moments of the code."""

    tail: np.ndarray
    settled: bool
    n_batches: int
    mean: np.ndarray
    scatter: np.ndarray
    square: np.ndarray


class EchoChannel(GaussianChannel):
    """code = f(x) + sigma(x) * noise, noise = mixing @ (code of another row - mean).

    Encoder outputs are (n, 2 k) = (f, log sigma). This is echo noise with the matrix
    S(x) = diag(sigma(x)) @ mixing, so that the rate, exactly the mutual information, is
    -E log |det S(x)| = -E sum_j log sigma_j(x) - log |det mixing|, in nats (Brekelmans et al.
    2019, who take S diagonal). The mixing is the inverse of the Cholesky factor of the code's
    covariance: noise is white, as a Gaussian channel's is, in place of being largest where codes
    are, and the rate is that of a Gaussian channel under the best of Gaussian priors, without
    either of the two being assumed Gaussian.

    The noise of a row comes from the next row in a random cyclic order of the batch, never the
    row itself, and that of the last row from a code stored from an earlier batch. Its mean and
    covariance are the same whatever the nets do, so the gradient takes it as given, and moves
    the rate by what moves mean and covariance of the code.

    Parameters
    ----------
    n_components : int
    log_det : float, default=0.0
        log |det mixing| where `code` is asked for rates.
    """

    def __init__(self, n_components, log_det=0.0):
        super().__init__(n_components)
        self.log_det = log_det

    def draw(self, rng, n):
        """The order of n rows."""
        return rng.permutation(n)

    def start(self, dtype, ops, state=None, settled=True):
        """The state at the start of an epoch: no stored code, since it may contain any row."""
        k = self.n_components
        tail = ops.to_device(np.zeros(k, dtype=dtype))
        if state is not None:
            return replace(state, tail=tail, settled=settled)
        moments = (ops.to_device(np.zeros(shape)) for shape in (k, (k, k), k))
        return _State(tail, settled, 0, *moments)

    def keep(self, code, cache, state):
        """The state after a batch: its moments, and the code with the longest chain behind it."""
        order, moments = cache[0], cache[1]
        return replace(moments, tail=code[order[0]].copy())

    def forward(self, params, encoded, draw, state, work):
        """Code (n, k), rate (n,) in nats, and what `backward` needs."""
        n, k = len(encoded), self.n_components
        f, log_sigma = self.split(encoded)
        sigma = np.exp(log_sigma)
        moments, square = _moments(state, f, sigma)
        mixing = work.empty("mixing", (k, k), np.float64)
        deviation = work.empty("deviation", (k,), np.float64)
        log_det = work.empty("log det", (1,), np.float64)
        work.ops.whitening(moments.scatter, square, mixing, deviation, log_det)
        kind = encoded.dtype
        mean, mixing = moments.mean.astype(kind), mixing.astype(kind)
        # Precision of a prior of unit variances and the code's correlations: the scale of the
        # code is free, and is held where the nets start. Until the price has settled, without
        # correlations, or codes would save rate by saying the same thing several times.
        precision = (mixing.T @ mixing) * np.outer(deviation, deviation).astype(kind)
        if not state.settled:
            precision = work.fixed(("identity", k, kind), np.eye(k, dtype=kind))
        code = work.empty("code", (n, k), kind)
        noise = work.empty("noise", (n, k), kind)
        sigma = work.empty("sigma", (n, k), kind)
        rate = work.empty("rate", (n,), kind)
        work.ops.echo_chain(encoded, draw, state.tail, mean, mixing, code, sigma, noise, rate)
        rate -= log_det.astype(kind)
        return code, rate, (draw, moments, f - mean, precision, sigma, noise)

    def backward(self, params, grads, grad_code, grad_rate, cache, work):
        """Gradient by the encoder outputs; grad_rate is one number for all rows."""
        _, _, centred, precision, sigma, noise = cache
        out = work.empty("channel gradient", (len(grad_code), self.n_outputs), grad_code.dtype)
        pull = centred @ precision
        curvature = np.diag(precision).copy()
        work.ops.gaussian_backward(grad_code, grad_rate, pull, curvature, sigma, noise, out)
        return out

    def louder(self, last, by, encoded):
        """Raise log sigma by `by`, for all rows, in the encoder's last layer."""
        last["bias"][self.n_components :] += by

    def split(self, encoded):
        """f and log sigma (n, k) of encoder outputs."""
        k = self.n_components
        return encoded[:, :k], np.minimum(encoded[:, k:], encoded.dtype.type(MAX_LOG_SIGMA))

    def mix(self, population, pool):
        """How codes of a pool become noise of the population, and what noise that is.

        Both are `Moments` of (f, sigma). The covariance of a pool differs by chance from that of
        the population. The pool's own makes its codes white, and the population's gives the rate
        under white noise.

        Returns
        -------
        mean, mixing : ndarray of shape (k,) and (k, k)
            Noise is mixing @ (code - mean) of another row's code.
        log_det : float
            log |det| of the mixing that makes the population's codes white.
        centre, deviation : ndarray of shape (k,)
            Mean and standard deviation of the noise.
        """
        k = self.n_components
        _, _, log_det = self._whiten(population)
        mixing, square, _ = self._whiten(pool)
        # The margin takes a little off the variance of white noise, at every link of a chain.
        carried = mixing**2 * square
        lost = np.linalg.solve(np.eye(k) - carried, MARGIN * carried.sum(axis=1))
        return pool.mean[:k], mixing, log_det, np.zeros(k), np.sqrt(np.maximum(1 - lost, 0))

    def _whiten(self, moments):
        k = self.n_components
        square = moments.squares[k:] / moments.count + moments.mean[k:] ** 2
        mixing, deviation, log_det = np.empty((k, k)), np.empty(k), np.empty(1)
        scatter = moments.scatter[:k, :k] / moments.count
        whitening(scatter, square, mixing, deviation, log_det)
        return mixing, square, float(log_det[0])

    def code(self, params, encoded, noise, work):
        """Code (n, k) and rate (n,) in nats under given noise (n, k)."""
        code = np.empty(noise.shape, dtype=encoded.dtype)
        rate = np.empty(len(encoded), dtype=encoded.dtype)
        echo_code(*self.split(encoded), noise, code, rate)
        return code, rate - encoded.dtype.type(self.log_det)


def _scatter(f, mean):
    centred = f - mean
    return centred.T @ centred / len(f)


def _square(sigma):
    return np.mean(sigma * sigma, axis=0)


def _moments(state, f, sigma):
    """The moments with a batch taken in, and mean sigma**2 that the mixing must withstand.

    That is the batch's own where it exceeds the memory: mixing @ diag(square) @ mixing.T is
    then below 1 in every direction, and what a chain carries on shrinks.
    """
    f, sigma = f.astype(np.float64), sigma.astype(np.float64)
    part = 1 / min(MEMORY, 1 + PART * state.n_batches)
    mean = state.mean + part * (f.mean(axis=0) - state.mean)
    scatter = state.scatter + part * (_scatter(f, mean) - state.scatter)
    batch = _square(sigma)
    square = state.square + part * (batch - state.square)
    moments = _State(state.tail, state.settled, state.n_batches + 1, mean, scatter, square)
    return moments, np.maximum(square, batch)
