"""What decoder outputs lose against the data, and the reproductions they stand for.

Nets see data as t = (x / units - center) / spread; `factor` and the rest translate.
"""

import numpy as np
from scipy.special import expit, softmax

from rdlearn.distortions import AbsoluteError, Bernoulli, Distortion, Hamming, SquaredError
from rdlearn.kernels.losses import LOSSES

__all__ = ["ClassLoss", "DistortionLoss", "WeightedLoss", "make_loss"]


class DistortionLoss:
    """A distortion of the kernels on decoder outputs: differences, or logits for "bernoulli".

    Parameters
    ----------
    distortion : Distortion
    center : ndarray of shape (n_features,)
        Of the data in units of the distortion.
    spread : float
        Divisor of the centred data.
    """

    def __init__(self, distortion, center, spread):
        self.distortion = distortion
        self.center, self.spread = center, spread
        self._kind = LOSSES[distortion.name]
        self._factor = {"squared_error": spread**2, "absolute_error": spread}.get(
            distortion.name, 1.0
        )

    @property
    def _logits(self):
        return type(self.distortion) is Bernoulli

    def target(self, x):
        """What `forward` compares outputs with, of data x (n, d) in units of the distortion."""
        if self._logits:
            return np.ascontiguousarray(x, dtype=np.float32)
        return ((x - self.center) / self.spread).astype(np.float32)

    def initial_bias(self):
        """Bias of the last layer: its outputs start at the mean of the data."""
        if self._logits:
            mean = np.clip(self.center, 0.005, 0.995)
            return np.log(mean / (1 - mean))
        return np.zeros(len(self.center))

    @property
    def slope(self):
        """Of the outputs by the data where they are near the mean; of logits at most that."""
        return 4.0 if self._logits else 1 / self.spread

    def forward(self, output, target, weight, work):
        """Loss (n,) and `weight` times its gradient (n, d)."""
        grad = work.empty("loss gradient", output.shape, output.dtype)
        samples = work.empty("loss", (len(output),), np.float64)
        work.ops.loss(self._kind, output, target, self._factor, weight, grad, samples)
        return samples, grad

    def decode(self, output, dtype):
        """Reproductions, in units of the distortion, that outputs stand for."""
        if self._logits:
            return self.distortion.reproduction(expit(output.astype(dtype, copy=False)))
        return output.astype(dtype, copy=False) * dtype.type(self.spread) + self.center.astype(
            dtype
        )


class CustomLoss(DistortionLoss):
    """Any distortion with a gradient, through numpy on the host."""

    def __init__(self, distortion, center, spread):
        self.distortion = distortion
        self.center, self.spread = center, spread

    def forward(self, output, target, weight, work):
        x, x_hat = (
            work.ops.to_host(array) * np.float32(self.spread) + self.center.astype(np.float32)
            for array in (target, output)
        )
        samples, slope = self.distortion.samples_and_gradient(x, x_hat)
        slope = np.ascontiguousarray(slope * (weight * self.spread), dtype=output.dtype)
        return work.ops.to_device(samples), work.ops.to_device(slope)


class WeightedLoss:
    """Another loss times a weight of each row, which is the last column of the target.

    Parameters
    ----------
    loss : DistortionLoss
    """

    def __init__(self, loss):
        self.loss = loss
        self.target, self.initial_bias, self.decode = loss.target, loss.initial_bias, loss.decode
        self.distortion, self.slope = loss.distortion, loss.slope

    def forward(self, output, target, weight, work):
        """Weighted loss (n,) and `weight` times its gradient (n, d)."""
        rows = target[:, -1]
        inner = target[:, :-1].copy()
        samples, grad = self.loss.forward(output, inner, weight, work)
        grad *= rows[:, None]
        return samples * rows, grad


def make_loss(distortion, center, spread):
    """The loss of a distortion, or a sentence that says why there is none."""
    if type(distortion) is Hamming:
        raise ValueError(
            "distortion='hamming' has a reproduction of bits, which nets do not output; use "
            "distortion='bernoulli', and threshold inverse_transform at 1/2 for bits."
        )
    if type(distortion).gradient is Distortion.gradient:
        raise ValueError(
            f"The distortion {distortion!r} has no gradient, which nets learn by; define "
            "gradient(x, x_hat), or choose a codec without nets."
        )
    # By type: a distortion of a user's own may bear a known name.
    known = type(distortion) in (SquaredError, AbsoluteError, Bernoulli)
    return (DistortionLoss if known else CustomLoss)(distortion, center, spread)


class ClassLoss:
    """Cross-entropy, in nats, of classes under the softmax of decoder outputs.

    Parameters
    ----------
    frequencies : ndarray of shape (n_classes,)
    """

    def __init__(self, frequencies):
        self.frequencies = frequencies

    def initial_bias(self):
        """Bias of the last layer: its outputs start at the classes' frequencies."""
        return np.log(self.frequencies)

    def forward(self, output, target, weight, work):
        """Loss (n,) and `weight` times its gradient (n, n_classes)."""
        grad = work.empty("loss gradient", output.shape, output.dtype)
        samples = work.empty("loss", (len(output),), np.float64)
        work.ops.cross_entropy(output, target, weight, grad, samples)
        return samples, grad

    def decode(self, output, dtype):
        """Probabilities of the classes."""
        return softmax(output.astype(dtype, copy=False), axis=1)
