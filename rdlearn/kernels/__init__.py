"""The seam to numba: scalar rules and the loops over them, one theme a file.

Nothing compiles at import: every kernel is lazily typed (read-only arrays and both float
widths are welcome), compiles at its first call and is cached on disk beside its file.
"""

import functools
import importlib.util

import numpy as np

__all__ = ["device_note", "get_ops"]


def get_ops(device):
    """The module of operations of a device: "cpu", "cuda", or "auto" for the best that works.

    Raises
    ------
    ValueError
        device="cuda", and no GPU works; the sentence names what is missing.
    """
    missing = None if device == "cpu" else _missing()
    if device == "cuda" and missing:
        raise ValueError(
            f'device="cuda" needs {missing}; device="cpu" computes the same, and device="auto" '
            "takes a GPU where one works."
        )
    from rdlearn.kernels import cpu

    if device == "cpu" or missing:
        return cpu
    from rdlearn.kernels import cuda

    return cuda


def device_note(device):
    """What computes, for people, and what a better device would need."""
    missing = None if device == "cpu" else _missing()
    name = get_ops(device).device_name()
    return f"{name}; a GPU needs {missing}" if missing else name


@functools.cache
def _missing():
    """What keeps a GPU from working, or None."""
    for module, package in (("numba_cuda", "numba-cuda"), ("cupy", "CuPy")):
        if importlib.util.find_spec(module) is None:
            return f"{package}, which is not installed: pip install 'rdlearn[cuda]'"
    try:
        from rdlearn.kernels import cuda

        # Drivers, compilers and libraries show that they work by working.
        one = cuda.to_device(np.ones(1, dtype=np.float32))
        cuda.decayed_add(one, np.float32(1), one)
        cuda.matmul(one, one)
        np.linalg.eigh(one[:, None])
        if cuda.to_host(one)[0] != 2:
            return "a GPU that adds up, and here 1 + 1 is not 2"
    except Exception as error:
        line = str(error).strip().split("\n")[0]
        return f"a working GPU with its driver, and trying one gave {type(error).__name__}: {line}"
    return None
