"""Echo noise: the channel whose rate is exact."""

import math

import numpy as np

from rdlearn.kernels.echo import echo_backward, echo_forward

__all__ = ["EchoChannel"]


class EchoChannel:
    """code = f(x) + S(x) * noise, where the noise has the law of the code itself.

    Encoder outputs are (n, 2 k) = (f, b), S = clip * sigmoid(b). The rate, exactly the mutual
    information when codes and noise share their law, is -E sum_j log S_j(x), in nats
    (Brekelmans et al. 2019). The noise of a row is the code of the next row in a random cyclic
    order of the batch, and the last row's is `tail`, a code stored from an earlier batch: never
    the row itself, and no truncation, so the clip only keeps S below 1.

    Parameters
    ----------
    clip : float, default=0.9995
        Largest S: a floor of the rate of -log(clip) nats per component.
    """

    def __init__(self, clip=0.9995):
        self.log_clip = math.log(clip)

    def forward(self, encoded, rng, tail):
        """Code (n, k), rate (n,) in nats, and what `backward` needs.

        Parameters
        ----------
        encoded : ndarray of shape (n, 2 k)
        rng : numpy.random.Generator
            Draws the order of the rows.
        tail : ndarray of shape (k,)
            Stored code; zeros where none is stored yet.
        """
        n, k = len(encoded), encoded.shape[1] // 2
        order = rng.permutation(n)
        code, scale, noise = (np.empty((n, k), dtype=encoded.dtype) for _ in range(3))
        rate = np.empty(n, dtype=encoded.dtype)
        echo_forward(encoded, order, tail, self.log_clip, code, scale, noise, rate)
        return code, rate, (order, scale, noise)

    def backward(self, grad_code, grad_rate, cache):
        """Gradient (n, 2 k) by the encoder outputs; `tail` counts as a constant."""
        order, scale, noise = cache
        n, k = grad_code.shape
        out = np.empty((n, 2 * k), dtype=grad_code.dtype)
        echo_backward(grad_code, grad_rate, order, self.log_clip, scale, noise, out)
        return out

    @staticmethod
    def next_tail(code, cache):
        """The code to store for the next batch: the one with the longest chain behind it."""
        return code[cache[0][0]].copy()
