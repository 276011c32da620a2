"""Bits through noise: the bottleneck of an autoencoder that will be cut to bits."""

import math

import numpy as np

from rdlearn.channels.memoryless import Memoryless
from rdlearn.kernels.elementwise import ACTIVATIONS

__all__ = ["BinaryChannel", "GivenBits"]

LOGISTIC = ACTIVATIONS["logistic"]
# Deviation of the noise: only values far from 0 get through it, and those survive the cut.
NOISE = 3.0


class BinaryChannel(Memoryless):
    """code = logistic(encoded + 3 noise), which learns to be 0 or 1.

    As in Salakhutdinov & Hinton, "Semantic hashing" (2009). The rate is n_components bits, whatever
    the parameters, and has no gradient.

    Parameters
    ----------
    n_components : int
    """

    def __init__(self, n_components):
        self.n_components = self.n_outputs = n_components

    def init(self, rng, params, last):
        """Nothing to set."""

    def draw(self, rng, n):
        """Standard normal noise (n, k), float32."""
        return rng.standard_normal((n, self.n_components), dtype=np.float32)

    def forward(self, params, encoded, draw, state, work):
        """Code (n, k) in [0, 1], rate (n,) in nats, and what `backward` needs."""
        code = work.empty("code", encoded.shape, encoded.dtype)
        np.multiply(draw, code.dtype.type(NOISE), out=code)
        code += encoded
        bias = np.zeros_like(code[0])
        work.ops.bias_activation(code, bias, LOGISTIC)
        rate = np.full_like(code[:, 0], self.n_components * math.log(2))
        return code, rate, code

    def backward(self, params, grads, grad_code, grad_rate, cache, work):
        """Gradient by the encoder outputs; `grad_code` is used up."""
        sums = np.empty_like(cache[0])
        work.ops.activation_gradient(grad_code, cache, sums, LOGISTIC)
        return grad_code


class GivenBits(Memoryless):
    """The code as it comes: a decoder that learns from words somebody else has chosen.

    Parameters
    ----------
    n_components : int
    """

    def __init__(self, n_components):
        self.n_components = self.n_outputs = n_components

    def draw(self, rng, n):
        """Nothing is random."""
        return np.empty(0, dtype=np.float32)

    def forward(self, params, encoded, draw, state, work):
        """The code, its rate, and nothing for `backward`."""
        rate = np.full_like(encoded[:, 0], self.n_components * math.log(2))
        return encoded, rate, None

    def backward(self, params, grads, grad_code, grad_rate, cache, work):
        """The gradient, which nobody asks for."""
        return grad_code
