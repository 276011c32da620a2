"""SOAP: Adam in the principal axes of each weight's gradients."""

import math

import numpy as np

from rdlearn.nets.adam import Adam

__all__ = ["Soap"]

# Steps between two looks at the gradients' moments, and between two turns of the axes.
LOOK, TURN = 2, 10
# How fast the gradients' moments are forgotten.
FORGET = 0.05
# Of Adam in the axes.
BETA_2 = 0.95


class _Weight:
    """One array of weights: where it lies, and the axes of each of its sides.

    A square kernel is one side, so that its axes are patterns of pixels.
    """

    def __init__(self, places, ops):
        start = int(places.flat[0])
        self.where = slice(start, start + places.size)
        square, sides = places.shape[:-2], places.shape[-2:]
        self.shape = (math.prod(square), *sides) if square else sides
        self.adam = Adam(places.size, ops, beta_2=BETA_2)
        zeros = (np.zeros((size, size), dtype=np.float32) for size in self.shape)
        self.moments = [ops.to_device(array) for array in zeros]
        self.axes = None

    def start(self, grad):
        """Axes of a first gradient, which has next to no other parts in them to step along."""
        self.look(grad)
        self.axes = [np.linalg.eigh(moment)[1] for moment in self.moments]

    def look(self, grad):
        """Let the moments of each side take in a gradient."""
        for side, moment in enumerate(self.moments):
            rows = np.moveaxis(grad, side, 0).reshape(len(moment), -1)
            moment *= 1 - FORGET
            moment += FORGET * (rows @ rows.T)

    def turn(self):
        """Axes one step of orthogonal iteration nearer to the moments' eigenvectors."""
        mean = self.unseen(self.adam.mean)
        pairs = zip(self.moments, self.axes, strict=True)
        self.axes = [np.linalg.qr(moment @ axes)[0] for moment, axes in pairs]
        self.adam.mean[:] = self.seen(mean).ravel()

    def step(self, grad, learning_rate):
        """What Adam adds to the weight, flat."""
        move = np.zeros_like(grad.ravel())
        self.adam.step(move, self.seen(grad).ravel(), learning_rate)
        return self.unseen(move).ravel()

    def seen(self, array):
        """Coordinates of an array in the axes."""
        return self._turned(array, self.axes)

    def unseen(self, array):
        """Inverse of `seen`."""
        return self._turned(array, [axes.T for axes in self.axes])

    def _turned(self, array, sides):
        for side, axes in enumerate(sides):
            before, after = math.prod(self.shape[:side]), math.prod(self.shape[side + 1 :])
            if after == 1:
                array = array.reshape(before, -1) @ axes
            else:
                array = np.matmul(axes.T, array.reshape(before, -1, after))
        return array.reshape(self.shape)


class Soap:
    r"""Adam in slowly turning coordinates, those in which the parts of a gradient go alone.

    For each weight they are the eigenvectors of the moments :math:`E[G G^T]` of its gradient G,
    unfolded along each of its sides (Vyas et al., "SOAP: Improving and stabilizing Shampoo using
    Adam", ICLR 2025). Vectors of parameters take Adam's steps as they are.

    Parameters
    ----------
    objective : Objective
        Whose parameters are stepped.
    ops : module
        Operations of the device that holds parameters and gradients.
    """

    def __init__(self, objective, ops):
        encoder, channel, decoder = objective.views(np.arange(objective.n_parameters))
        arrays = [array for net in (encoder, decoder) for layer in net for array in layer.values()]
        self._weights = [_Weight(array, ops) for array in arrays if array.ndim > 1]
        rest = np.concatenate([channel, *(a for a in arrays if a.ndim == 1)])
        self._rest = ops.to_device(rest)
        self._adam = Adam(self._rest.size, ops)
        self._n_steps = 0

    def step(self, params, grads, learning_rate):
        """Update the flat vector `params` in place; gradients that are no numbers end it."""
        # Only where eigenvectors of it would raise: later what is no number gets through by itself.
        if self._n_steps == 0 and not np.isfinite(grads).all():
            params[:] = np.nan
            return
        rest = params[self._rest]
        self._adam.step(rest, grads[self._rest], learning_rate)
        params[self._rest] = rest
        for weight in self._weights:
            grad = grads[weight.where].reshape(weight.shape)
            if self._n_steps == 0:
                weight.start(grad)
                continue
            if self._n_steps % LOOK == 0:
                weight.look(grad)
            if self._n_steps % TURN == 0:
                weight.turn()
            params[weight.where] += weight.step(grad, learning_rate)
        self._n_steps += 1
