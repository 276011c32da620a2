"""What the package asks of CuPy, on the host, and as strict: arrays of host and device do not mix.

With numba-cuda's simulator, whole fits run as on a GPU. `WAITS` counts what makes the host wait
for the device.
"""

import importlib.machinery
import sys
import types

import numpy as np

__all__ = ["WAITS", "install"]

WAITS = {"to host": 0, "number": 0}
FUNCTIONS = {
    np.concatenate,
    np.diag,
    np.empty_like,
    np.full_like,
    np.linalg.eigh,
    np.linalg.norm,
    np.linalg.qr,
    np.mean,
    np.moveaxis,
    np.outer,
    np.sum,
    np.where,
    np.zeros_like,
}

METHODS = {"all", "astype", "copy", "max", "mean", "min", "ravel", "reshape", "sum"}


class ndarray(np.lib.mixins.NDArrayOperatorsMixin):
    def __init__(self, host):
        self.host = host

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    @property
    def __cuda_array_interface__(self):
        return {"host": self.host}

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self.host.__array_interface__["data"][0])

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        assert method == "__call__", method
        if out is not None:
            kwargs["out"] = tuple(unwrapped(part) for part in out)
        result = ufunc(*map(unwrapped, inputs), **kwargs)
        return out[0] if out is not None else wrapped(result)

    def __array_function__(self, function, kinds, args, kwargs):
        assert function in FUNCTIONS, function
        return wrapped(function(*unwrapped(args), **unwrapped(kwargs)))

    def __getattr__(self, name):
        if name in ("shape", "dtype", "ndim", "size", "strides"):
            return getattr(self.host, name)
        if name == "T":
            return wrapped(self.host.T)
        if name in METHODS:
            method = getattr(self.host, name)
            return lambda *args, **kwargs: wrapped(method(*unwrapped(args), **unwrapped(kwargs)))
        raise AttributeError(name)

    def __len__(self):
        return len(self.host)

    def __iter__(self):
        return (self[place] for place in range(len(self)))

    def __getitem__(self, index):
        return wrapped(self.host[unwrapped(index)])

    def __setitem__(self, index, value):
        self.host[unwrapped(index)] = unwrapped(value)

    def _number(self, kind):
        WAITS["number"] += 1
        return kind(self.host)

    def __float__(self):
        return self._number(float)

    def __bool__(self):
        return self._number(bool)

    def __int__(self):
        return self._number(int)


def unwrapped(value):
    if isinstance(value, ndarray):
        return value.host
    if isinstance(value, tuple | list):
        return type(value)(map(unwrapped, value))
    if isinstance(value, dict):
        return {name: unwrapped(part) for name, part in value.items()}
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}: an array of the host on the device.")
    return value


def wrapped(value):
    if isinstance(value, np.ndarray | np.generic):
        return ndarray(np.asarray(value))
    if isinstance(value, tuple | list):
        # Named tuples of linear algebra too.
        return [wrapped(part) for part in value]
    return value


def asarray(array):
    return array if isinstance(array, ndarray) else ndarray(np.array(array, order="C"))


def asnumpy(array):
    WAITS["to host"] += 1
    return np.array(array.host)


def install():
    """Make `import cupy` give this, and kernels of the simulator take its arrays."""
    from numba import cuda
    from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

    module = types.ModuleType("cupy")
    module.__spec__ = importlib.machinery.ModuleSpec("cupy", None)
    module.ndarray, module.asarray, module.asnumpy = ndarray, asarray, asnumpy
    module.empty = lambda shape, dtype=float: ndarray(np.empty(shape, dtype))
    module.matmul = np.matmul
    runtime = types.SimpleNamespace(
        getDevice=lambda: 0, getDeviceProperties=lambda number: {"name": b"a simulated GPU"}
    )
    module.cuda = types.SimpleNamespace(runtime=runtime)
    sys.modules["cupy"] = module

    def seen(interface, sync):
        assert not sync
        return FakeCUDAArray(interface["host"])

    cuda.from_cuda_array_interface = seen
    from rdlearn.kernels import grid

    argument = grid._argument

    def strict(value):
        # numba-cuda takes arrays of the host too, and copies them there and back.
        assert not isinstance(value, np.ndarray), "an array of the host for a kernel"
        return argument(value)

    grid._argument = strict
