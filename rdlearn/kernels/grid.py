"""How kernels run on a GPU: compiled by numba-cuda, launched over elements, rows or columns.

Imported only where a GPU is asked for.
"""

import functools
import warnings

from numba import cuda, njit

from rdlearn.kernels.jit import JIT

__all__ = [
    "COLUMNS",
    "LANES",
    "MOST_THREADS",
    "SHARERS",
    "WARP",
    "by_blocks",
    "in_one_block",
    "over_columns",
    "over_elements",
    "over_rows",
    "sum_in_order",
]

# Threads of a block, and blocks after which each thread takes several elements.
THREADS, MOST_BLOCKS = 256, 4096
# Threads that share a row.
WARP = 32
# Threads that share an element's sum, and the most that a block can have.
SHARERS, MOST_THREADS = 128, 1024
# Arrays whose places are remembered.
MOST_SEEN = 4096
# Columns of a block, and threads that share a column.
COLUMNS, LANES = 32, 32


@njit(**JIT)
def sum_in_order(parts, n):
    """Sum of the first n parts: the same whatever thread wrote its own first."""
    total = parts[0]
    for i in range(1, n):
        total += parts[i]
    return total


def over_elements(of=0):
    """A kernel as an operation over the elements of its argument number `of`, in strides."""

    def shape(arguments):
        size = arguments[of].size
        # Small arrays take few threads.
        threads = min(THREADS, max(WARP, size))
        return min(MOST_BLOCKS, -(-size // threads)), threads

    return _operation(shape)


def over_rows(of=0):
    """A kernel as an operation over the rows of an argument, a block of WARP threads for each."""
    return _operation(lambda arguments: (len(arguments[of]), WARP))


def in_one_block(of):
    """A kernel as an operation in one block, whose threads share an argument's elements."""
    return _operation(
        lambda arguments: (1, min(MOST_THREADS, -(-arguments[of].size // WARP) * WARP))
    )


def by_blocks(of):
    """A kernel as an operation in a block of SHARERS threads for each element of an argument."""
    return _operation(lambda arguments: (arguments[of].size, SHARERS))


def over_columns(of=0):
    """A kernel as an operation over the columns of an argument.

    A block has COLUMNS columns and LANES threads for each, fewer where there are few rows.
    """

    def shape(arguments):
        n, k = arguments[of].shape
        return -(-k // COLUMNS), (COLUMNS, min(LANES, n))

    return _operation(shape)


def _operation(shape):
    def decorate(function):
        kernel, known = cuda.jit(cache=JIT["cache"])(function), {}

        @functools.wraps(function)
        def launch(*arguments):
            grid = shape(arguments)
            if grid[0] == 0:
                return
            if grid not in known:
                with warnings.catch_warnings():
                    # Few blocks are all that small arrays need.
                    warnings.simplefilter("ignore")
                    known[grid] = kernel[grid]
            known[grid](*map(_argument, arguments))

        return launch

    return decorate


# What kernels see of arrays, by place and form, since making it costs more than a launch. Views own
# nothing, hence are right for whatever lies there later in the same form.
_seen = {}


def _argument(value):
    """What a kernel takes for a value: arrays of CuPy share its stream, so nothing waits."""
    if not hasattr(type(value), "__cuda_array_interface__"):
        return value
    key = value.data.ptr, value.shape, value.strides, value.dtype
    view = _seen.get(key)
    if view is None:
        view = cuda.from_cuda_array_interface(value.__cuda_array_interface__, sync=False)
        # Other threads may be at it too, so that nothing is taken out singly.
        if len(_seen) >= MOST_SEEN:
            _seen.clear()
        _seen[key] = view
    return view
