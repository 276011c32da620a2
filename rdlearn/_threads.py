"""One BLAS thread while it matters, safely from several Python threads."""

import contextlib
import os
import threading
import weakref

import threadpoolctl

__all__ = ["one_blas_thread"]

# A signal's handler may come in while its own thread holds the lock.
_lock = threading.RLock()
# Blocks that are being run, weakly: one that an interrupt kept from leaving counts no longer.
_blocks = weakref.WeakSet()
# The BLAS libraries and their threads before the first block, None outside of all.
_before = None


def one_blas_thread():
    """Hold BLAS at one thread in a ``with`` block: its results change with the number of threads.

    joblib's processes run BLAS on fewer threads than its threads do, so without this a grid
    search would depend on the backend. The limit is global to the process, hence shared: the
    first block to begin sets it and the last to end lifts it.
    """
    return _Block()


class _Block:
    def __enter__(self):
        self.thread = threading.get_ident()
        try:
            with _lock:
                _blocks.add(self)
                _settle()
        except BaseException:
            self._leave()
            raise

    def __exit__(self, *_):
        try:
            self._leave()
        except BaseException:
            # Once more, for an interrupt may have come at any step.
            self._leave()
            raise

    def _leave(self):
        with _lock:
            _blocks.discard(self)
            _settle()


def _settle():
    """Set the limits that the present blocks ask for; right after any interrupt of itself."""
    global _before
    if _before is None and not _blocks:
        return
    _take_control()
    if _before is None:
        blas = threadpoolctl.ThreadpoolController().select(user_api="blas")
        found = [(library, library.num_threads) for library in blas.lib_controllers]
        # Noted before any is set, and by the first only where a signal's handler came between.
        _before = found if _before is None else _before
    for library, n_threads in _before:
        library.set_num_threads(1 if _blocks else n_threads)
    if not _blocks:
        _before = None
        _take_control()


def _take_control():
    # threadpoolctl 3.8 lets one thread set OpenBLAS's limit, the first that did, and ignores
    # all others without a word: free the seat before and after use.
    controller = getattr(threadpoolctl, "OpenBLASController", None)
    if hasattr(controller, "clear_controlling_thread"):
        controller.clear_controlling_thread(force=True)


def _release():
    # An interrupt may have kept the fork from taking it.
    with contextlib.suppress(RuntimeError):
        _lock.release()


def _begin_child():
    """Count the blocks of the thread that forked, the only one that lives on in the child."""
    global _lock
    _lock = threading.RLock()
    for block in list(_blocks):
        if block.thread != threading.get_ident():
            _blocks.discard(block)
    _settle()


if hasattr(os, "register_at_fork"):
    # No other thread is in the middle of a step, here or in threadpoolctl, while the process forks.
    os.register_at_fork(
        before=lambda: _lock.acquire(), after_in_parent=_release, after_in_child=_begin_child
    )
