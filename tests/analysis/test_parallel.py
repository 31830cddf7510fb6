"""Work on all cores, and in the caller's own thread where there is one core."""

import threading

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
