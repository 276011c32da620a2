"""Search for better codes of the one image at hand, by gradient through the decoder."""

import numpy as np

from rdlearn.kernels import get_ops
from rdlearn.nets.adam import Adam
from rdlearn.nets.layers import Workspace

__all__ = ["searched"]

# Learning rate, in steps of the code; the temperature at first, and at the end.
RATE, WARMEST, COLDEST = 0.02, 0.5, 0.2
# How near to a whole number a code's odds are still finite.
EDGE = 1e-3


def searched(objective, params, values, x_target, beta, offset, step, n_steps):
    r"""Encoder outputs that round to a better code: less of rate + beta * distortion.

    Of the whole numbers on both sides of a code, in units of `step` about `offset`, the decoder
    sees one at random, softly: at a part f of the way up the logarithm of the odds of the upper one
    is :math:`(\operatorname{artanh} f - \operatorname{artanh}(1 - f)) / T`, with a temperature T
    that falls. The code goes down the slope of what that costs (Yang, Bamler & Mandt, "Improving
    inference for neural image compression", NeurIPS 2020).

    Parameters
    ----------
    objective : ImageObjective
        With a loss, for images of this size.
    params : ndarray
        Of the objective.
    values : ndarray of shape (1, height, width, n_components), float32
        Encoder outputs.
    x_target : ndarray
        What the loss compares outputs with.
    beta : float
    offset : ndarray of shape (n_components,)
    step : float
    n_steps : int

    Returns
    -------
    ndarray of the shape of `values`
    """
    rng = np.random.Generator(np.random.Philox(0))
    codes = ((values - offset) / np.float32(step)).astype(np.float32)
    work, adam = Workspace(), Adam(codes.size, get_ops("cpu"))
    scratch = np.empty(objective.n_parameters, dtype=np.float32)
    views, spare = objective.views(params), objective.views(scratch)
    most = max(1.0, beta)
    for number in range(n_steps):
        heat = np.float32(WARMEST * (COLDEST / WARMEST) ** (number / n_steps))
        floor = np.floor(codes)
        part = np.clip(codes - floor, EDGE, 1 - EDGE)
        noise = rng.logistic(size=codes.shape).astype(np.float32)
        odds = (np.arctanh(part) - np.arctanh(1 - part)) / heat
        upper = 1 / (1 + np.exp(-np.clip((odds + noise) / heat, -60, 60)))
        soft = (floor + upper) * np.float32(step) + offset
        by_soft = objective.code_gradient(views, spare, soft, x_target, beta / most, 1 / most, work)
        slope = upper * (1 - upper) / heat**2
        slope *= 1 / (1 - part**2) + 1 / (1 - (1 - part) ** 2)
        grad = by_soft * slope * np.float32(step)
        adam.step(codes.reshape(-1), grad.reshape(-1), np.float32(RATE))
    return codes * np.float32(step) + offset
