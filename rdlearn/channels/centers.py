"""The nearest of a few learned centres in each channel."""

import numpy as np

from rdlearn.channels.memoryless import Memoryless

__all__ = ["CentersChannel"]

# Sharpness of the soft assignment that slopes are of, for centres at a distance of 1.
SHARPNESS = 4.0


class CentersChannel(Memoryless):
    r"""code = the nearest centre of its channel; rate = -ln of the centre's learned share.

    Neither has a slope by the encoder's output; there, those of a soft assignment stand in, with
    weights :math:`s_l \propto e^{-4 (z - c_l)^2}` (Agustsson et al., "Soft-to-hard vector
    quantization for end-to-end learning compressible representations", NeurIPS 2017). L centres
    take at most log2 L bits.

    Parameters
    ----------
    n_components : int
        Channels.
    n_centers : int
        L, of each channel.
    n_places : int, default=1
        Places that a row has a value of each channel in.
    """

    def __init__(self, n_components, n_centers, n_places=1):
        self.n_components = self.n_outputs = n_components
        self.n_centers = n_centers
        self.n_places = n_places
        self.n_parameters = 2 * n_components * n_centers

    def centers(self, params):
        """The centres (n_components, n_centers) in these parameters."""
        return self._split(params)[0]

    def _split(self, params):
        """Centres and logits of shares, (n_components, n_centers) each."""
        return params.reshape(2, self.n_components, self.n_centers)

    def init(self, rng, params, last):
        """Centres at a distance of 1 about 0, all of one share."""
        centers, share = self._split(params)
        centers[:] = np.arange(self.n_centers) - (self.n_centers - 1) / 2
        share[:] = 0.0

    @property
    def widest(self):
        """Deviation of codes that the centres cover from the start."""
        return self.n_centers / 4

    def fit_laws(self, params, code):
        """Shares of codes (n, n_components) with noise, each as if seen once more."""
        centers, share = self._split(params)
        nearest = np.abs(code[:, :, None] - centers).argmin(axis=2)
        seen = (nearest[:, :, None] == np.arange(self.n_centers)).sum(axis=0)
        share[:] = np.log(seen + 1.0)

    def draw(self, rng, n):
        """No noise."""
        return np.empty((n, 0), dtype=np.float32)

    def forward(self, params, encoded, draw, state, work):
        """Code of the shape of `encoded`, rate (n,) in nats, and what `backward` needs."""
        centers, share = self._split(params)
        code, slope, rate_slope = (
            work.empty(name, encoded.shape, encoded.dtype)
            for name in ("code", "code slope", "rate slope")
        )
        nearest = work.empty("nearest", encoded.shape, np.int32)
        rate = work.empty("rate", (len(code),), np.float64)
        share = share.astype(np.float64) - share.max(axis=1, keepdims=True)
        nats = np.log(np.exp(share).sum(axis=1, keepdims=True)) - share
        shape = (len(code), -1, self.n_components)
        work.ops.assign_centers(
            encoded.reshape(shape),
            centers,
            nats,
            SHARPNESS,
            nearest.reshape(shape),
            code.reshape(shape),
            rate,
            slope.reshape(shape),
            rate_slope.reshape(shape),
        )
        return code, rate, (nearest, nats, slope, rate_slope)

    def code(self, params, encoded, noise, work):
        """Code and rate (n,) in nats; both are copies."""
        code, rate, _ = self.forward(params, encoded, noise, None, work)
        return code.copy(), rate.copy()

    def backward(self, params, grads, grad_code, grad_rate, cache, work):
        """Gradient by the encoder outputs; grad_rate is one number for all rows."""
        nearest, nats, slope, rate_slope = cache
        by_center, by_share = self._split(grads)
        flat, seen = (-1, self.n_components), np.empty_like(nats)
        work.ops.center_sums(nearest.reshape(flat), grad_code.reshape(flat), by_center, seen)
        by_share[:] = grad_rate * (seen.sum(axis=1, keepdims=True) * np.exp(-nats) - seen)
        slope *= grad_code.reshape(slope.shape)
        rate_slope *= rate_slope.dtype.type(grad_rate)
        slope += rate_slope
        return slope
