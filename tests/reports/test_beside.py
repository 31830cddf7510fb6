"""Work of other processes: what they are given and return, and what happens when one is lost."""

import io
import os
import pickle
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


def holds_with_no_other_thread(function: Callable[[], None]) -> bool:
    """Whether a function's assertions hold in a Python of its own: tests of servers leave threads in this one."""
    here = Path(__file__)
    code = f"import sys; sys.path.append({str(here.parent)!r}); from {here.stem} import {function.__name__} as check; check()"
    return subprocess.run([sys.executable, "-c", code], cwd=here.parents[2], check=False, timeout=120).returncode == 0


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
    assert holds_with_no_other_thread(copy_what_is_shared)


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
    assert holds_with_no_other_thread(ask_beside_a_thread)


def copy_and_end() -> None:
    beside._cores = lambda: 2
    with Beside() as others:
        number = waited_for(others.begin(where))
        assert number != os.getpid()
        os.kill(number, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_a_copy_ends_with_this_process() -> None:
    assert holds_with_no_other_thread(copy_and_end)


def where_lost_work_is_done() -> set[int]:
    """The processes in which two calls end, whose workers are killed or never begin."""
    with Beside() as others:
        tasks = [others.begin(lost) for _ in range(2)]
        for task in tasks:
            assert task._future is not None
            while not task._future.done():
                time.sleep(0.01)
        return {task.result() for task in tasks}


def lose_copies() -> None:
    beside._cores = lambda: 2
    assert where_lost_work_is_done() == {os.getpid()}


def test_what_a_lost_copy_had_begun_is_done_here() -> None:
    assert holds_with_no_other_thread(lose_copies)


def test_what_a_lost_worker_had_begun_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "_may_copy", lambda: False)
    monkeypatch.setattr(beside, "WORKER", "raise SystemExit(1)")
    assert where_lost_work_is_done() == {os.getpid()}


def test_an_error_is_raised_where_the_result_is_wanted() -> None:
    with Beside() as others, pytest.raises(ValueError, match="said where it is asked"):
        others.begin(refused).result()


def test_a_process_that_two_see_must_end_is_ended_once() -> None:
    ended, both = list[int](), threading.Barrier(2)

    def end() -> None:
        ended.append(1)
        time.sleep(0.05)

    worker = beside._Worker(())
    worker.end()
    worker._process = beside._Process(to=io.BytesIO(), out=io.BytesIO(), pickler=pickle.Pickler(io.BytesIO()), end=end)

    def see() -> None:
        both.wait()
        worker.end()

    seeing = [threading.Thread(target=see) for _ in range(2)]
    for one in seeing:
        one.start()
    for one in seeing:
        one.join()
    assert ended == [1]
