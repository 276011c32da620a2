import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from rdlearn import PCACodec, _threads
from rdlearn._threads import one_blas_thread


def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def two_blas_threads():
    with threadpool_limits(2, user_api="blas"):
        if blas_threads() != {2}:
            pytest.skip("this BLAS cannot be set to two threads")
        yield
        assert blas_threads() == {2}


def test_nested_use_keeps_the_limit_until_the_last_leaves():
    with one_blas_thread():
        with one_blas_thread():
            assert blas_threads() == {1}
        assert blas_threads() == {1}
    assert blas_threads() == {2}


def test_an_exception_lifts_the_limit():
    with pytest.raises(KeyError), one_blas_thread():
        raise KeyError("inside")
    assert blas_threads() == {2}


def test_overlapping_threads_share_one_limit():
    # The first thread leaves while the second is inside: the limit must stay.
    entered, left, seen = threading.Event(), threading.Event(), []

    def second():
        with one_blas_thread():
            entered.set()
            left.wait(10)
            seen.append(blas_threads())

    with one_blas_thread():
        other = threading.Thread(target=second)
        other.start()
        assert entered.wait(10)
    seen.append(blas_threads())
    left.set()
    other.join(10)
    assert seen == [{1}, {1}]


def test_many_threads_leave_no_limit_behind():
    seen, start = [], threading.Barrier(6)

    def work():
        start.wait(10)
        for _ in range(5):
            with one_blas_thread():
                seen.append(blas_threads())

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seen == [{1}] * 30


def test_a_thread_that_is_not_the_first_to_set_a_limit_is_heard():
    # threadpoolctl 3.8 ignores every thread but one; a limit once set by the main thread must
    # not make the limits of joblib's threads void.
    with one_blas_thread():
        pass
    seen = []

    def work():
        with one_blas_thread():
            seen.append(blas_threads())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert seen == [{1}] and blas_threads() == {2}
    with threadpool_limits(1, user_api="blas"):
        assert blas_threads() == {1}


@pytest.mark.parametrize("shape", [(5000, 120), (60, 500)])
def test_a_fit_does_not_depend_on_the_number_of_blas_threads(shape):
    X = np.random.default_rng(0).normal(size=shape) @ np.diag(np.linspace(3, 0.1, shape[1]))
    models = []
    for limit in (1, 2):
        with threadpool_limits(limit, user_api="blas"):
            codec = PCACodec(target_rate=25).fit(X)
            partial = PCACodec(beta=3).partial_fit(X).partial_fit(X[:7])
            models.append((codec.fingerprint, partial.fingerprint, codec.score(X)))
    assert models[0] == models[1]


def interruptions(use):
    """Run `use` again and again, interrupted at the first line of _threads.py, the second, ..."""
    number, interrupted = 0, True
    while interrupted:
        left, interrupted = number, False

        def trace(frame, event, _):
            nonlocal left, interrupted
            if frame.f_code.co_filename != _threads.__file__:
                return None
            if event in ("call", "line") and not interrupted:
                left -= 1
                if left < 0:
                    interrupted = True
                    raise KeyboardInterrupt
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            use()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        number += 1
        yield number


def test_an_interrupt_at_any_line_leaves_no_limit_behind():
    def use():
        with one_blas_thread():
            pass

    def nested():
        with one_blas_thread(), one_blas_thread():
            pass

    for work, least in ((use, 30), (nested, 45)):
        for number in interruptions(work):
            with one_blas_thread():
                assert blas_threads() == {1}
            assert blas_threads() == {2}, number
        assert number > least


def test_an_interrupt_within_the_block_lifts_the_limit():
    with pytest.raises(KeyboardInterrupt), one_blas_thread():
        raise KeyboardInterrupt
    assert blas_threads() == {2}


FORKS = """
import os, sys, threading, time
from threadpoolctl import threadpool_info, threadpool_limits
from rdlearn import _threads

def blas():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

def child(work):
    # A hang is ended by the alarm, whose status is not 0.
    pid = os.fork()
    if pid == 0:
        import signal
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0, "the child hung or failed"

def use():
    assert blas() == {2}, blas()
    with _threads.one_blas_thread():
        assert blas() == {1}, blas()
    assert blas() == {2}, blas()

threadpool_limits(2, user_api="blas")
"""
WITHIN_A_STEP = """
# Another thread is in the middle of a step, for as long as nobody forks.
inside = threading.Event()
info = _threads._take_control
def slow():
    inside.set()
    time.sleep(1)
    info()
def work():
    with _threads.one_blas_thread():
        pass
_threads._take_control = slow
other = threading.Thread(target=work)
other.start()
assert inside.wait(10)
_threads._take_control = info
child(use)
other.join()
use()
"""
WITHIN_A_BLOCK = """
# Another thread is in the middle of a block, and this one in another that the child leaves.
entered, done = threading.Event(), threading.Event()
def work():
    with _threads.one_blas_thread():
        entered.set()
        done.wait(30)
other = threading.Thread(target=work)
other.start()
assert entered.wait(10)
child(use)
with _threads.one_blas_thread():
    block = _threads.one_blas_thread()
    block.__enter__()
    def leave():
        assert blas() == {1}
        block.__exit__(None, None, None)
        assert blas() == {1}
    child(leave)
    block.__exit__(None, None, None)
assert blas() == {1}
done.set()
other.join()
use()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("case", [WITHIN_A_STEP, WITHIN_A_BLOCK])
def test_a_child_forked_while_another_thread_holds_the_limit(case):
    done = subprocess.run(
        [sys.executable, "-c", FORKS + case], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
