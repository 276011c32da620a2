"""Echo noise as published: a diagonal S, and noise that is cut off."""

import math

import numpy as np
from scipy.special import log_expit

from rdlearn.kernels.echo import echo_code

__all__ = ["DiagonalEchoChannel", "truncation_clip"]

# Part of each component's variance that keeps a covariance of fewer dimensions invertible.
RIDGE = 1e-6
# Where S starts: more noise collapses codes before they learn, less hides the rate's price.
INITIAL_SCALE = 0.4


class DiagonalEchoChannel:
    """code = f(x) + S(x) * noise, where the noise has the law of the code itself.

    Encoder outputs are (n, 2 k) = (f, b), S = clip * sigmoid(b). The rate, exactly the mutual
    information when codes and noise share their law, is -E sum_j log S_j(x), in nats
    (Brekelmans et al. 2019). The noise of a row is the code of the next row in a random cyclic
    order of the batch, never the row itself.

    With a number of terms, every noise is a sum of at least that many terms over other rows, cut
    off there, and the clip makes what is cut off smaller than 2**-23 of a code: a floor of the
    rate of -log(clip) nats per component. With `n_terms=None`, which estimators leave to
    `EchoChannel`, the last row's noise is a code stored from an earlier batch: no truncation, so
    the clip only keeps S below 1.

    Parameters
    ----------
    n_components : int
    n_terms : int, default=None
    clip : float, default=None
        Largest S; None means 0.9995, or what `truncation_clip` says of `n_terms`.
    """

    n_parameters = 0
    pace = 1.0

    def __init__(self, n_components, n_terms=None, clip=None):
        self.n_components = n_components
        self.n_outputs = 2 * n_components
        self.n_terms = n_terms
        # Rows that a batch must have: a noise of so many terms, none of them the row itself.
        self.min_rows = 1 if n_terms is None else n_terms + 1
        if clip is None:
            clip = 0.9995 if n_terms is None else truncation_clip(n_terms)
        self.log_clip = math.log(clip)

    def init(self, rng, params, last):
        """Set the encoder's last layer so that S is about 0.4 everywhere."""
        k = self.n_components
        ratio = INITIAL_SCALE / math.exp(self.log_clip)
        ratio = min(ratio, 0.5)
        # The scale of f is free, but a small one is learned faster than a large one.
        last["weights"][:, :k] *= 0.3
        last["weights"][:, k:] *= 0.1
        last["bias"][k:] = math.log(ratio / (1 - ratio))

    def draw(self, rng, n):
        """The order of n rows, with rows named again at its end where chains are cut off."""
        order = rng.permutation(n)
        return order if self.n_terms is None else np.concatenate([order, order[: self.n_terms]])

    def start(self, dtype, ops, tail=None, settled=True):
        """The stored code at the start of an epoch: none, since it may contain any row."""
        return ops.to_device(np.zeros(self.n_components, dtype=dtype))

    def forward(self, params, encoded, draw, tail, work):
        """Code (n, k), rate (n,) in nats, and what `backward` needs.

        Parameters
        ----------
        params : empty
        encoded : ndarray of shape (n, 2 k)
        draw : ndarray of int
            What `draw` returned for n rows.
        tail : ndarray of shape (k,)
            Stored code that ends the chain.
        work : Workspace
        """
        n, k, m = len(encoded), self.n_components, len(draw)
        code = work.empty("code", (n, k), encoded.dtype)
        rate = work.empty("rate", (n,), encoded.dtype)
        scale = work.empty("echo scale", (m, k), encoded.dtype)
        noise = work.empty("echo noise", (m, k), encoded.dtype)
        work.ops.echo_forward(encoded, draw, tail, self.log_clip, code, scale, noise, rate)
        return code, rate, (draw, scale, noise)

    def backward(self, params, grads, grad_code, grad_rate, cache, work):
        """Gradient (n, 2 k) by the encoder outputs; the tail counts as a constant.

        grad_rate is one number, the gradient by the rate of every row.
        """
        order, scale, noise = cache
        out = work.empty("channel gradient", (len(grad_code), self.n_outputs), grad_code.dtype)
        work.ops.echo_backward(grad_code, grad_rate, order, self.log_clip, scale, noise, out)
        return out

    def split(self, encoded):
        """f and log S (n, k) of encoder outputs."""
        f, b = np.split(encoded, 2, axis=1)
        return f, (self.log_clip + log_expit(b)).astype(encoded.dtype)

    def mix(self, population, pool):
        """How codes of a pool become noise of the population, as `EchoChannel.mix` has it.

        Noise is the code of another row itself. Mean and covariance of codes of a pool differ by
        chance from those of the population, and an affine map makes them equal.
        """
        k = self.n_components
        centre = population.mean[:k] / (1 - population.mean[k:])
        covariance, carried = _code_moments(population, centre)
        covariance /= 1 - carried
        own, carried = _code_moments(pool, centre)
        mixing = _root(covariance) @ np.linalg.inv(_root(own + carried * covariance))
        mean = pool.mean[:k] + pool.mean[k:] * centre - np.linalg.solve(mixing, centre)
        deviation = np.sqrt(np.maximum(np.diag(covariance), 0))
        return mean, mixing, 0.0, centre, deviation

    def code(self, params, encoded, noise, work):
        """Code (n, k) and rate (n,) in nats under given noise (n, k)."""
        code = np.empty(noise.shape, dtype=encoded.dtype)
        rate = np.empty(len(encoded), dtype=encoded.dtype)
        echo_code(*self.split(encoded), noise, code, rate)
        return code, rate

    def louder(self, last, by, encoded):
        """Raise the log-odds of S by `by`, for all rows, in the encoder's last layer."""
        last["bias"][self.n_components :] += by

    def keep(self, code, cache, tail):
        """What the next batch's chain ends in: the code with the longest chain behind it."""
        return code[cache[0][0]].copy() if self.n_terms is None else tail


def _code_moments(moments, noise):
    """Covariance of f + S * noise under constant noise (k,), and E S S', both (k, k)."""
    k = len(noise)
    both = moments.scatter / moments.count
    crossed = both[:k, k:] * noise
    covariance = both[:k, :k] + crossed + crossed.T + both[k:, k:] * np.outer(noise, noise)
    return covariance, both[k:, k:] + np.outer(moments.mean[k:], moments.mean[k:])


def _root(covariance):
    """Cholesky factor, also where codes have fewer dimensions than components."""
    ridge = RIDGE * np.diag(covariance) + np.finfo(np.float64).tiny
    return np.linalg.cholesky(covariance + np.diag(ridge))


def truncation_clip(n_terms):
    """The largest r with r**n / (1 - r) <= 2**-23: what a sum of n terms leaves out.

    Examples
    --------
    >>> round(-math.log(truncation_clip(99)), 3)
    0.179
    """
    low, high = 0.0, 1.0 - 1e-12
    for _ in range(100):
        middle = (low + high) / 2
        fits = n_terms * math.log(middle) - math.log1p(-middle) <= -23 * math.log(2)
        low, high = (middle, high) if fits else (low, middle)
    return low
