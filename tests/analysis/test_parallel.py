"""Work on all cores, and in the caller's own thread where there is one core."""

import threading
import time

import pytest

from cxrobust.analysis import parallel


@pytest.mark.parametrize("cores", [1, 3])
def test_results_stand_in_the_order_of_the_items(monkeypatch, cores):
    monkeypatch.setattr(parallel, "CORES", cores)
    found = parallel.in_threads(
        lambda item: (item**2, threading.current_thread() is threading.main_thread()), range(50)
    )
    assert [square for square, _ in found] == [item**2 for item in range(50)]
    assert {is_main for _, is_main in found} == {cores == 1}


@pytest.mark.parametrize("cores", [1, 3])
def test_what_is_raised_is_raised_and_nothing_more_is_begun(monkeypatch, cores):
    monkeypatch.setattr(parallel, "CORES", cores)
    begun = []

    def work(item):
        begun.append(item)
        if item == 4:
            raise ValueError("the fifth item")
        time.sleep(0.01)

    with pytest.raises(ValueError, match="the fifth item"):
        parallel.in_threads(work, range(1000))
    assert set(range(5)) <= set(begun)
    assert len(begun) < 100
