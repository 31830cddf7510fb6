"""Work of other processes: what they are given and return, and what happens when one is lost."""

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
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


CHECK_EACH = """
import importlib, json, sys, traceback
sys.path.append(sys.argv[1])
tests, holding = importlib.import_module(sys.argv[2]), []
for name in sys.argv[3:]:
    try:
        getattr(tests, name)()
        holding.append(name)
    except BaseException:
        traceback.print_exc()
print(json.dumps(holding))
"""


@pytest.fixture(scope="module")
def holding_with_no_other_thread() -> list[str]:
    """The functions whose assertions hold in a Python of its own: tests of servers leave threads in this one."""
    here = Path(__file__)
    names = [one.__name__ for one in (copy_what_is_shared, ask_beside_a_thread, copy_and_end, lose_copies)]
    command = [sys.executable, "-c", CHECK_EACH, str(here.parent), here.stem, *names]
    done = subprocess.run(command, cwd=here.parents[2], stdout=subprocess.PIPE, check=True, timeout=300)
    return json.loads(done.stdout)


def copy_what_is_shared() -> None:
    beside._cores = lambda: 2
    shared = Unsendable()
    with Beside(shared=(shared,)) as others:
        copies = [waited_for(others.begin(where, one)) for one in (shared, [shared], 1)]
        assert os.getpid() not in copies
        assert len(set(copies)) == 1
        assert others.begin(where, Unsendable()).result() == os.getpid()  # done here, as it cannot be sent
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beside, "_may_copy", lambda: False)
        with Beside(shared=(shared,)) as others:
            assert waited_for(others.begin(os.getpid)) not in {os.getpid(), *copies}


def test_a_copy_of_this_process_knows_what_is_shared_and_a_python_of_its_own_would_not(
    holding_with_no_other_thread: list[str],
) -> None:
    assert copy_what_is_shared.__name__ in holding_with_no_other_thread


def ask_beside_a_thread() -> None:
    go = threading.Event()
    other = threading.Thread(target=go.wait)
    assert beside._may_copy()
    other.start()
    assert not beside._may_copy()
    go.set()
    other.join()
    assert beside._may_copy()


def test_nothing_is_copied_while_another_thread_may_hold_a_lock(holding_with_no_other_thread: list[str]) -> None:
    assert ask_beside_a_thread.__name__ in holding_with_no_other_thread


def copy_and_end() -> None:
    beside._cores = lambda: 2
    with Beside() as others:
        number = waited_for(others.begin(where))
        assert number != os.getpid()
        os.kill(number, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_a_copy_ends_with_this_process(holding_with_no_other_thread: list[str]) -> None:
    assert copy_and_end.__name__ in holding_with_no_other_thread


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


def test_what_a_lost_copy_had_begun_is_done_here(holding_with_no_other_thread: list[str]) -> None:
    assert lose_copies.__name__ in holding_with_no_other_thread


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
