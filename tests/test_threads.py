import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from rdlearn import PCACodec
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
