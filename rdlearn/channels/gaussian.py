"""Gaussian posterior under a standard normal prior: the channel of the variational autoencoder."""

import numpy as np

__all__ = ["GaussianChannel"]


class GaussianChannel:
    """code = mu + sigma * noise, with encoder outputs (n, 2 k) = (mu, log sigma).

    The rate is the divergence of N(mu, sigma**2) from N(0, 1), an upper bound on the information
    (Kingma & Welling 2014): sum of (mu**2 + sigma**2 - 1) / 2 - log sigma, in nats.
    """

    def forward(self, encoded, rng):
        """Code (n, k), rate (n,) in nats, and what `backward` needs."""
        mu, log_sigma = np.split(encoded, 2, axis=1)
        noise = rng.standard_normal(mu.shape, dtype=encoded.dtype)
        sigma = np.exp(log_sigma)
        rate = (0.5 * (mu * mu + sigma * sigma - 1) - log_sigma).sum(axis=1)
        return mu + sigma * noise, rate, (mu, sigma, noise)

    def backward(self, grad_code, grad_rate, cache):
        """Gradient (n, 2 k) by the encoder outputs."""
        mu, sigma, noise = cache
        grad_rate = grad_rate[:, None]
        by_mu = grad_code + grad_rate * mu
        by_log_sigma = grad_code * noise * sigma + grad_rate * (sigma * sigma - 1)
        return np.concatenate([by_mu, by_log_sigma], axis=1)
