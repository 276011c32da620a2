"""Layers: init, forward and backward over explicit parameters."""

import math

from rdlearn.kernels import get_ops
from rdlearn.kernels.elementwise import ACTIVATIONS

__all__ = ["Dense", "MaskedDense", "Workspace"]


class Workspace:
    """The operations of a device, and its arrays, allocated once and handed out by name.

    Parameters
    ----------
    device : {"cpu", "cuda", "auto"}, default="cpu"
    by_rows : bool, default=False
        Products in which a row of the result depends on its own row of the input only, to the
        bit, whatever the other rows and the number of threads; slower.
    sparse : bool, default=False
        Products that are quicker where inputs are mostly zeros.
    """

    def __init__(self, device="cpu", by_rows=False, sparse=False):
        self.ops = get_ops(device)
        of_bits = self._matmul_sparse if sparse else self.ops.matmul
        self.matmul = self.ops.matmul_by_rows if by_rows else of_bits
        self._arrays, self._fixed = {}, {}

    def empty(self, name, shape, dtype):
        """An uninitialised array; what the same name gave before is overwritten."""
        size = math.prod(shape)
        flat = self._arrays.get(name)
        if flat is None or flat.size < size or flat.dtype != dtype:
            flat = self._arrays[name] = self.ops.empty(size, dtype=dtype)
        return flat[:size].reshape(shape)

    def _matmul_sparse(self, a, b, out):
        return self.ops.matmul_sparse(a, b, out, self.empty)

    def fixed(self, name, array):
        """A host's array that never changes, on the device."""
        if name not in self._fixed:
            self._fixed[name] = self.ops.to_device(array)
        return self._fixed[name]


class Dense:
    """y = activation(x @ weights + bias).

    Parameters
    ----------
    n_out : int
    activation : {"identity", "relu", "tanh", "softplus", "logistic"}, default="identity"
    """

    def __init__(self, n_out, activation="identity"):
        self.n_out = n_out
        self.activation = activation
        self._kind = ACTIVATIONS[activation]

    def shapes(self, n_in):
        """Shapes of the parameters by name."""
        return {"weights": (n_in, self.n_out), "bias": (self.n_out,)}

    def init(self, rng, params):
        """Fill the parameters: He et al. 2015 for relu, Glorot & Bengio 2010 for the others."""
        n_in, n_out = params["weights"].shape
        fan = n_in if self.activation == "relu" else (n_in + n_out) / 2
        gain = 2.0 if self.activation == "relu" else 1.0
        params["weights"][:] = rng.standard_normal((n_in, n_out)) * math.sqrt(gain / fan)
        params["bias"][:] = 0.0

    def forward(self, params, x, work, name):
        """Output (n, n_out) and what `backward` needs; arrays live in `work` under `name`."""
        y = work.empty((name, "y"), (len(x), self.n_out), x.dtype)
        work.matmul(x, params["weights"], out=y)
        work.ops.bias_activation(y, params["bias"], self._kind)
        return y, (x, y)

    def backward(self, params, cache, grad, grads, work, name, wants_input=True):
        """Gradient by the input, or None; fills `grads`; `grad` (n, n_out) is used up."""
        x, y = cache
        work.ops.activation_gradient(grad, y, grads["bias"], self._kind)
        work.matmul(x.T, grad, out=grads["weights"])
        if not wants_input:
            return None
        out = work.empty((name, "grad"), x.shape, x.dtype)
        return work.matmul(grad, params["weights"].T, out=out)


class MaskedDense(Dense):
    """A dense layer some of whose weights are absent, hence zero for good.

    Parameters
    ----------
    mask : ndarray of shape (n_in, n_out), bool
        True where there is a weight.
    activation : str, default="identity"
    """

    def __init__(self, mask, activation="identity"):
        super().__init__(mask.shape[1], activation)
        self.mask = mask

    def init(self, rng, params):
        super().init(rng, params)
        params["weights"] *= self.mask

    def backward(self, params, cache, grad, grads, work, name, wants_input=True):
        out = super().backward(params, cache, grad, grads, work, name, wants_input)
        # Adam leaves alone what has never had a gradient.
        grads["weights"] *= work.fixed((name, "mask"), self.mask)
        return out
