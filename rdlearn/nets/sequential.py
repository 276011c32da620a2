"""Networks as lists of layers over one flat vector of parameters."""

import math

import numpy as np

__all__ = ["Sequential"]


class Sequential:
    """Layers in a row.

    Parameters
    ----------
    layers : list of layers
    n_in : int
        Features of the input.
    name : str
        Prefix of the network's arrays in a workspace.
    """

    def __init__(self, layers, n_in, name):
        self.layers = layers
        self.name = name
        self._shapes = []
        for layer in layers:
            self._shapes.append(layer.shapes(n_in))
            n_in = layer.n_out
        self.n_parameters = sum(
            math.prod(shape) for shapes in self._shapes for shape in shapes.values()
        )

    def views(self, flat):
        """A flat vector of n_parameters values as one dictionary of arrays a layer."""
        views, start = [], 0
        for shapes in self._shapes:
            part = {}
            for key, shape in shapes.items():
                stop = start + math.prod(shape)
                part[key] = flat[start:stop].reshape(shape)
                start = stop
            views.append(part)
        return views

    def init(self, rng, dtype=np.float32):
        """A flat vector of fresh parameters."""
        flat = np.empty(self.n_parameters, dtype=dtype)
        for layer, params in zip(self.layers, self.views(flat), strict=True):
            layer.init(rng, params)
        return flat

    def forward(self, params, x, work):
        """Output of x (n, n_in) and the caches that `backward` takes."""
        caches = []
        for number, (layer, part) in enumerate(zip(self.layers, params, strict=True)):
            x, cache = layer.forward(part, x, work, (self.name, number))
            caches.append(cache)
        return x, caches

    def backward(self, params, caches, grad, grads, work, wants_input=True):
        """Gradient by the input (None unless wanted); fills `grads`; `grad` is used up."""
        for number in reversed(range(len(self.layers))):
            grad = self.layers[number].backward(
                params[number],
                caches[number],
                grad,
                grads[number],
                work,
                (self.name, number),
                wants_input or number > 0,
            )
        return grad
