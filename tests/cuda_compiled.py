"""Compiles every CUDA kernel for the arguments of its cases, without a GPU; prints a line for each.

Started by test_cuda.py in a process of its own. The simulator checks no types; this does.
"""

import json
from types import SimpleNamespace

import numba
from cuda_cases import cases
from numba import cuda
from numba.cuda import dispatcher

# Of the first GPUs that today's compilers still know, so that what compiles does so everywhere.
CAPABILITY = (7, 5)


class Compiled:
    """What stands for a kernel: a launch compiles it for its arguments."""

    def __init__(self, function):
        self.function, self.seen = function, {}

    def __getitem__(self, grid):
        return self

    def __call__(self, *arguments):
        types = tuple(map(numba.typeof, arguments))
        if types not in self.seen:
            self.seen[types] = cuda.compile_ptx(self.function, types, cc=CAPABILITY)[0]
            lines = len(self.seen[types].splitlines())
            print(json.dumps([self.function.__name__, len(self.seen), lines]))


cuda.jit = lambda cache: Compiled
# Asked for where a rule has one form for each width of floats; there is none.
dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=CAPABILITY)


def main():
    # Kernels are made as these are imported.
    from rdlearn.kernels import cuda_channels, cuda_dense, cuda_images

    for name, _, _, arguments, _ in cases():
        for module in (cuda_dense, cuda_channels, cuda_images):
            if name in module.__all__:
                getattr(module, name)(*arguments)


if __name__ == "__main__":
    main()
