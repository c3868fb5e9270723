"""`threads` bounds NumPy and OpenCV as well, and gives both back."""

import threading

import cv2
import numpy as np
import pytest
import threadpoolctl

from deployment.threads import at_most_threads


def blas():
    np.ones((2, 2)) @ np.ones((2, 2))
    return [
        one["num_threads"] for one in threadpoolctl.threadpool_info() if one["user_api"] == "blas"
    ]


@pytest.fixture
def two_threads():
    had = cv2.getNumThreads()
    cv2.setNumThreads(2)
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        yield
    cv2.setNumThreads(had)


@pytest.mark.usefixtures("two_threads")
def test_everything_is_bounded_and_given_back():
    before = blas()
    assert set(before) == {2}
    with at_most_threads(1):
        assert set(blas()) == {1}
        assert cv2.getNumThreads() == 1
        with at_most_threads(2):
            assert set(blas()) == {1}
        assert set(blas()) == {1}
    assert blas() == before
    assert cv2.getNumThreads() == 2
    with at_most_threads(0):
        assert blas() == before
    with at_most_threads(64):
        assert blas() == before, "a bound never raises a number"


@pytest.mark.usefixtures("two_threads")
def test_two_callers_at_once_keep_the_smaller_bound_until_the_last_is_done():
    inside, leave = threading.Event(), threading.Event()

    def first():
        with at_most_threads(1):
            inside.set()
            leave.wait(30)

    caller = threading.Thread(target=first)
    caller.start()
    assert inside.wait(30)
    with at_most_threads(2):
        assert set(blas()) == {1}
        leave.set()
        caller.join()
    assert set(blas()) == {2}


def test_an_error_gives_them_back(two_threads):
    del two_threads
    with pytest.raises(ValueError, match="within"), at_most_threads(1):
        raise ValueError("within")
    assert set(blas()) == {2}
