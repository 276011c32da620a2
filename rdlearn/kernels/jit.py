"""How every kernel is compiled."""

import warnings

from numba import njit

__all__ = ["JIT"]


def _nothing():
    pass


def _can_cache():
    """Whether numba finds a folder for compiled kernels; warns where it does not."""
    try:
        # It looks for the folder, the same for all files beside this one, when it decorates.
        njit(cache=True)(_nothing)
    except RuntimeError:
        warnings.warn(
            "numba finds no folder that it may write compiled kernels to, so that every process "
            "compiles them anew, for seconds; set NUMBA_CACHE_DIR to a writable folder.",
            stacklevel=2,
        )
        return False
    return True


# nogil: joblib's threads run side by side. error_model: no hidden zero-division branches.
# No fastmath: it would let the compiler reorder sums that decide symbols.
JIT = {"nogil": True, "cache": _can_cache(), "error_model": "numpy"}
