"""Work of other processes: what they are given and return, and what happens when one is lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cxrobust.reports import beside
from cxrobust.reports.beside import Beside, Task


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "_cores", lambda: 2)


def where(_: object = None) -> int:
    return os.getpid()


def lost() -> int:
    """Die in a worker, and return in the process that asks."""
    if os.getpid() != ASKING:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def refused() -> None:
    raise ValueError("said where it is asked")


ASKING = os.getpid()


class Unsendable:
    def __reduce__(self) -> str:
        raise TypeError("it cannot be pickled")


def waited_for(task: Task[int]) -> int:
    assert task._future is not None
    return task._future.result(timeout=60)


def with_no_other_thread(function: Callable[[], None]) -> None:
    """Call a function of this module in a Python of its own: tests of servers leave threads in this one."""
    here = Path(__file__)
    code = f"import sys; sys.path.append({str(here.parent)!r}); from {here.stem} import {function.__name__} as check; check()"
    subprocess.run([sys.executable, "-c", code], cwd=here.parents[2], check=True, timeout=120)


def copy_what_is_shared() -> None:
    beside._cores = lambda: 2
    shared = Unsendable()
    with Beside(shared=(shared,)) as others:
        copies = [waited_for(others.begin(where, one)) for one in (shared, [shared], 1)]
        assert os.getpid() not in copies
        assert len(set(copies)) == 1
        assert others.begin(where, Unsendable()).result() == os.getpid()  # done here, as it cannot be sent
    beside._may_copy = lambda: False
    with Beside(shared=(shared,)) as others:
        assert waited_for(others.begin(os.getpid)) not in {os.getpid(), *copies}


def test_a_copy_of_this_process_knows_what_is_shared_and_a_python_of_its_own_would_not() -> None:
    with_no_other_thread(copy_what_is_shared)


def ask_beside_a_thread() -> None:
    go = threading.Event()
    other = threading.Thread(target=go.wait)
    assert beside._may_copy()
    other.start()
    assert not beside._may_copy()
    go.set()
    other.join()
    assert beside._may_copy()


def test_nothing_is_copied_while_another_thread_may_hold_a_lock() -> None:
    with_no_other_thread(ask_beside_a_thread)


def copy_and_end() -> None:
    beside._cores = lambda: 2
    with Beside() as others:
        number = waited_for(others.begin(where))
        assert number != os.getpid()
        os.kill(number, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_a_copy_ends_with_this_process() -> None:
    with_no_other_thread(copy_and_end)


def lose_workers() -> None:
    with Beside() as others:
        for _ in range(2):
            task = others.begin(lost)
            assert task._future is not None
            while not task._future.done():
                time.sleep(0.01)
            assert task.result() == os.getpid()


def lose_copies() -> None:
    beside._cores = lambda: 2
    lose_workers()


def test_what_a_lost_copy_had_begun_is_done_here() -> None:
    with_no_other_thread(lose_copies)


def test_what_a_lost_worker_had_begun_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "_may_copy", lambda: False)
    monkeypatch.setattr(beside, "WORKER", "raise SystemExit(1)")
    lose_workers()


def test_an_error_is_raised_where_the_result_is_wanted() -> None:
    with Beside() as others, pytest.raises(ValueError, match="said where it is asked"):
        others.begin(refused).result()
