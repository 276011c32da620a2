"""Blocks of numba-cuda's simulator, run without its polling, which takes most of the time.

For kernels whose barriers all threads of a block come to, as those here.
"""

import copy
import threading

import numpy as np

__all__ = ["install"]


class _Worker(threading.Thread):
    """One thread of a block, or, where no barrier keeps them apart, all of them in turn."""

    def __init__(self, block, places, run, barrier):
        super().__init__(daemon=True)
        self.blockIdx, self.places, self.run_one, self.barrier = block, places, run, barrier
        self.threadIdx = self.exception = None

    def run(self):
        try:
            for place in self.places:
                self.threadIdx = place
                self.run_one()
        except BaseException as error:
            self.exception = error
            self.barrier.abort()

    def syncthreads(self):
        self.barrier.wait()


def install():
    """Replace the simulator's way to run a block."""
    from numba.cuda.simulator import kernel

    class Blocks(kernel.BlockManager):
        def run(self, grid_point, *args):
            places = [kernel.Dim3(*point) for point in np.ndindex(*self._block_dim)]
            apart = "syncthreads" in self._f.__code__.co_names
            parts = [[place] for place in places] if apart else [places]
            barrier, block = threading.Barrier(len(parts)), kernel.Dim3(*grid_point)
            workers = [_Worker(block, part, lambda: self._f(*args), barrier) for part in parts]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            errors = [worker.exception for worker in workers if worker.exception]
            # Those that a broken barrier gave up come second.
            errors.sort(key=lambda error: isinstance(error, threading.BrokenBarrierError))
            if errors:
                raise errors[0]

    kernel.BlockManager = Blocks
    configure = kernel.FakeCUDAKernel.__getitem__
    # A kernel of its own for each grid, as numba-cuda has.
    kernel.FakeCUDAKernel.__getitem__ = lambda self, grid: configure(copy.copy(self), grid)
