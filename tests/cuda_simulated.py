"""Runs every CUDA kernel on numba-cuda's simulator beside its CPU twin; prints a line for each.

Started by test_cuda.py in a process of its own, with the simulator switched on before numba is
imported.
"""

import copy
import json

import numpy as np
import quick_simulator
from cuda_cases import cases

from rdlearn.kernels import cpu, cuda_channels, cuda_dense, cuda_images

# Rounding: sums of some tens of terms, each a few roundings off.
TOLERANCE = {np.float32: 2e-5, np.float64: 1e-12}


def main():
    quick_simulator.install()
    modules = (cuda_dense, cuda_channels, cuda_images)
    of_gpu = {name: getattr(module, name) for module in modules for name in module.__all__}
    for name, variant, dtype, arguments, results in cases():
        pair = copy.deepcopy(arguments), copy.deepcopy(arguments)
        getattr(cpu, name)(*pair[0])
        of_gpu[name](*pair[1])
        differences = [_difference(*(side[place] for side in pair)) for place in results]
        print(
            json.dumps([name, f"{variant} {dtype.__name__}", max(differences) / TOLERANCE[dtype]])
        )


def _difference(one, other):
    """The largest, as a part of 1 + the number; 1 where a number is none."""
    assert one.shape == other.shape and one.dtype == other.dtype and np.isfinite(one).all()
    if not np.isfinite(other).all():
        return 1.0
    return float(np.max(abs(one - other) / (1 + abs(one))))


if __name__ == "__main__":
    main()
