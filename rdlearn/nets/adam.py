"""Adam: the optimizer keeps moments, never the parameters."""

import math

import numpy as np

__all__ = ["Adam"]


class Adam:
    """Kingma & Ba 2015, with bias correction folded into the rate.

    Parameters
    ----------
    n_parameters : int
    ops : module
        Operations of the device that holds parameters and gradients.
    dtype : dtype, default=float32
    beta_1, beta_2, epsilon : float
    """

    def __init__(self, n_parameters, ops, dtype=np.float32, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
        self.ops = ops
        self.mean = ops.to_device(np.zeros(n_parameters, dtype=dtype))
        self.square = ops.to_device(np.zeros(n_parameters, dtype=dtype))
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.n_steps = 0

    def step(self, params, grads, learning_rate):
        """Update the flat vector `params` in place."""
        self.n_steps += 1
        rise = math.sqrt(1 - self.beta_2**self.n_steps)
        rate = learning_rate * rise / (1 - self.beta_1**self.n_steps)
        scalars = (rate, self.beta_1, self.beta_2, self.epsilon * rise)
        kind = params.dtype.type
        self.ops.adam_step(params, grads, self.mean, self.square, *map(kind, scalars))
