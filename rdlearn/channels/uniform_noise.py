"""Uniform noise in place of rounding, under a learned law of each channel."""

import math

import numpy as np

from rdlearn.channels.memoryless import Memoryless

__all__ = ["UniformNoiseChannel"]

# Logistic components of a law, and the logarithm of their scales at first.
N_MIXTURE, FIRST_SCALE = 3, 0.5
# The least logarithm of a scale. Still narrower laws save less than 0.05 bit each, and the slopes
# of their ends, which codes meet now and then, throw rare rows out of their place in the code.
LEAST_SCALE = -4.0
# Scale of three logistic components side by side, as a part of the root mean square of all.
PART = 0.75 * math.sqrt(3) / math.pi


class UniformNoiseChannel(Memoryless):
    r"""code = encoded + noise, uniform in [-1/2, 1/2].

    The rate is :math:`-\ln(F(z + 1/2) - F(z - 1/2))` with a law F of each channel, a mixture of
    three logistic ones: its mean is the cross-entropy of the code with noise, and, at rounded
    codes, of the integers (Balle, Laparra & Simoncelli, "End-to-end optimized image compression",
    ICLR 2017).

    Parameters
    ----------
    n_components : int
        Channels.
    n_places : int, default=1
        Places that a row has a value of each channel in.
    """

    # Laws that lag behind the codes make a rate that is far too high, and targets of rate then
    # lead to codes that say nothing.
    pace = 10.0
    # Deviation of codes that laws cover from the start.
    widest = 2.0**20

    def __init__(self, n_components, n_places=1):
        self.n_components = self.n_outputs = n_components
        self.n_places = n_places
        self.n_parameters = 3 * n_components * N_MIXTURE

    def _split(self, params):
        """Logits of shares, means and logarithms of scales, (n_components, 3) each."""
        return params.reshape(3, self.n_components, N_MIXTURE)

    def init(self, rng, params, last):
        """Three wide laws side by side."""
        share, mean, log_scale = self._split(params)
        share[:], mean[:], log_scale[:] = 0.0, np.linspace(-1, 1, N_MIXTURE), FIRST_SCALE

    def fit_laws(self, params, code):
        """Laws about 0 that are as wide as codes (n, n_components) with noise."""
        _, mean, log_scale = self._split(params)
        scale = PART * np.sqrt((code**2).mean(axis=0, dtype=np.float64))[:, None]
        mean[:], log_scale[:] = np.linspace(-1, 1, N_MIXTURE) * scale, np.log(scale)

    def confine(self, params):
        """Keep scales from below the least, in place."""
        log_scale = self._split(params)[2]
        np.maximum(log_scale, log_scale.dtype.type(LEAST_SCALE), out=log_scale)

    def draw(self, rng, n):
        """Uniform noise (n, n_places * n_components), float32."""
        size = (n, self.n_places * self.n_components)
        return rng.random(size, dtype=np.float32) - np.float32(0.5)

    def forward(self, params, encoded, draw, state, work):
        """Code of the shape of `encoded`, rate (n,) in nats, and what `backward` needs."""
        code = work.empty("code", encoded.shape, encoded.dtype)
        np.add(encoded, draw.reshape(encoded.shape), out=code)
        rate = work.empty("rate", (len(code),), np.float64)
        by_code = work.empty("rate slope", code.shape, code.dtype)
        by_law = work.empty("law slope", (3, self.n_components, N_MIXTURE), np.float64)
        shape = (len(code), -1, self.n_components)
        work.ops.mixture_rate(
            code.reshape(shape), *self._split(params), rate, by_code.reshape(shape), *by_law
        )
        return code, rate, (by_code, by_law)

    def code(self, params, encoded, noise, work):
        """Code and rate (n,) in nats under given noise; both are copies."""
        code, rate, _ = self.forward(params, encoded, noise, None, work)
        return code.copy(), rate.copy()

    def backward(self, params, grads, grad_code, grad_rate, cache, work):
        """Gradient by the encoder outputs; grad_rate is one number for all rows."""
        by_code, by_law = cache
        np.multiply(by_law.ravel(), grad_rate, out=grads, casting="same_kind")
        by_code *= by_code.dtype.type(grad_rate)
        by_code += grad_code.reshape(by_code.shape)
        return by_code
