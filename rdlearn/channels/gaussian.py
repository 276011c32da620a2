"""Gaussian posterior under a standard normal prior: the channel of the variational autoencoder."""

import numpy as np

from rdlearn.channels.memoryless import Memoryless

__all__ = ["GaussianChannel"]

# Where log sigma starts: below the prior's, so that codes carry something from the first step.
INITIAL_LOG_SIGMA = -1.0


class GaussianChannel(Memoryless):
    """code = mu + sigma * noise, with encoder outputs (n, 2 k) = (mu, log sigma).

    The rate is the divergence of N(mu, sigma**2) from N(0, 1), an upper bound on the information
    (Kingma & Welling 2014): sum of (mu**2 + sigma**2 - 1) / 2 - log sigma, in nats.

    Parameters
    ----------
    n_components : int
    """

    # Whether the rate is that of the sampled code rather than its mean.
    sampled = False

    def __init__(self, n_components):
        self.n_components = n_components
        self.n_outputs = 2 * n_components

    def init(self, rng, params, last):
        """Set the encoder's last layer so that sigma is about exp(-1) everywhere."""
        k = self.n_components
        last["weights"][:, k : 2 * k] *= 0.1
        last["bias"][k : 2 * k] = INITIAL_LOG_SIGMA

    def draw(self, rng, n):
        """Standard normal noise (n, k), float32."""
        return rng.standard_normal((n, self.n_components), dtype=np.float32)

    def forward(self, params, encoded, draw, state, work):
        """Code (n, k), rate (n,) in nats, and what `backward` needs."""
        shape = (len(encoded), self.n_components)
        code = work.empty("code", shape, encoded.dtype)
        sigma = work.empty("sigma", shape, encoded.dtype)
        rate = work.empty("rate", shape[:1], encoded.dtype)
        work.ops.gaussian_forward(encoded, draw, self.sampled, code, sigma, rate)
        return code, rate, (encoded, draw, sigma)

    def code(self, params, encoded, noise, work):
        """Code (n, k) and rate (n,) in nats under given noise (n, k); both are copies."""
        code, rate, _ = self.forward(params, encoded, noise, None, work)
        return code.copy(), rate.copy()

    def louder(self, last, by, encoded):
        """Raise log sigma by `by`, for all rows, in the encoder's last layer.

        Not past the prior's, from where more noise would only cost more, and less for
        components that are close to it; `encoded` are the encoder's outputs.
        """
        inner = slice(self.n_components, 2 * self.n_components)
        room = np.maximum(-encoded[:, inner].mean(axis=0, dtype=np.float64), 0)
        last["bias"][inner] += np.minimum(by * np.minimum(room, 1), room)

    def backward(self, params, grads, grad_code, grad_rate, cache, work):
        """Gradient by the encoder outputs; grad_rate is one number for all rows."""
        encoded, draw, sigma = cache
        k = self.n_components
        pull = np.zeros_like(sigma) if self.sampled else encoded[:, :k]
        curvature = np.full_like(sigma[0], 0.0 if self.sampled else 1.0)
        out = work.empty("channel gradient", (len(grad_code), self.n_outputs), grad_code.dtype)
        work.ops.gaussian_backward(grad_code, grad_rate, pull, curvature, sigma, draw, out)
        return out
