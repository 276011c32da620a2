"""One BLAS thread while it matters, safely from several Python threads."""

import contextlib
import threading

import threadpoolctl

__all__ = ["one_blas_thread"]

_lock = threading.Lock()
_users = 0
_limits = None


@contextlib.contextmanager
def one_blas_thread():
    """Hold BLAS at one thread: its results change with the number of threads.

    joblib's processes run BLAS on fewer threads than its threads do, so without this a grid
    search would depend on the backend. The limit is global to the process, hence counted: the
    first to enter sets it and the last to leave lifts it.
    """
    global _users, _limits
    with _lock:
        if _users == 0:
            _take_control()
            _limits = threadpoolctl.ThreadpoolController().limit(limits=1, user_api="blas")
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _take_control()
                _limits.restore_original_limits()
                _take_control()


def _take_control():
    # threadpoolctl 3.8 lets one thread set OpenBLAS's limit, the first that did, and ignores
    # all others without a word: free the seat before and after use.
    controller = getattr(threadpoolctl, "OpenBLASController", None)
    if hasattr(controller, "clear_controlling_thread"):
        controller.clear_controlling_thread(force=True)
