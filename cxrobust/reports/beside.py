"""Work done beside the main process, since Python does one thing at a time in each.

A worker is a Python process of its own that reads what to do and writes what came of it: nothing is forked, so threads of
an analysis before it do no harm, and no script that calls us has to be importable.
"""

import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import local
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")
MOST_WORKERS = 4
SELDOM = (200_000, 20, 20)


class LostError(Exception):
    """A worker could not be started, or ended before it answered."""


class Task(Generic[T]):
    """A call that a worker makes, or that is made here where no worker has begun it when its result is wanted."""

    def __init__(self, function: Callable[..., T], given: tuple[Any, ...], future: "Future[T] | None") -> None:
        self._function, self._given, self._future = function, given, future

    def result(self) -> T:
        """Return what the call returns."""
        if self._future is not None and not self._future.cancel():
            try:
                return self._future.result()
            except (LostError, CancelledError):
                pass
        return self._function(*self._given)


class Beside:
    """As many workers as there are cores beside this process's own, each started when there is work for it."""

    def __init__(self, most: int = MOST_WORKERS) -> None:
        n = min(most, _cores() - 1)
        self._pool = ThreadPoolExecutor(max_workers=n) if n > 0 else None
        self._thread = local()
        self._workers: list[_Worker] = []

    def begin(self, function: Callable[..., T], *given: Any) -> Task[T]:
        """Have a function of a module called; what it is given and returns must be picklable."""
        future = None if self._pool is None else self._pool.submit(self._ask, function, given)
        return Task(function, given, cast("Future[T] | None", future))

    def __enter__(self) -> "Beside":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=error is None, cancel_futures=True)
        for worker in self._workers:
            worker.end()

    def _ask(self, function: Callable[..., Any], given: tuple[Any, ...]) -> Any:
        if not hasattr(self._thread, "worker"):
            self._thread.worker = _Worker()
            self._workers.append(self._thread.worker)
        return self._thread.worker.ask(function, given)


class _Worker:
    """A process, and the two streams to it; what was once sent is not sent again."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = subprocess.Popen(  # noqa: S603  this Python and this module
                [sys.executable, "-c", WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            self._to, self._from = cast(Any, self._process.stdin), cast(Any, self._process.stdout)
            self._to.write(pickle.dumps(sys.path))
            self._pickler = pickle.Pickler(self._to, protocol=pickle.HIGHEST_PROTOCOL)
        except OSError:
            self.end()

    def ask(self, function: Callable[..., Any], given: tuple[Any, ...]) -> Any:
        if self._process is None:
            raise LostError
        try:
            self._pickler.dump((function, given))
            self._to.flush()
            return pickle.load(self._from)  # noqa: S301  our own worker's
        except (OSError, EOFError, pickle.PickleError, AttributeError, TypeError) as error:
            self.end()
            raise LostError from error

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


WORKER = """
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from cxrobust.reports.beside import work
work()
"""


def work() -> None:
    """Be a worker: read calls, make them, write what they return."""
    out, sys.stdout = sys.stdout.buffer, sys.stderr
    calls = pickle.Unpickler(sys.stdin.buffer)  # noqa: S301  from the process that started this one
    with seldom_collected():
        while True:
            try:
                function, given = calls.load()
            except EOFError:
                return
            pickle.dump(function(*given), out, protocol=pickle.HIGHEST_PROTOCOL)
            out.flush()


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Look for unreachable cycles seldom while it lasts: among many objects that stay, that takes a fifth of the time."""
    before = gc.get_threshold()
    gc.set_threshold(*SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def end_uncollected() -> Iterator[None]:
    """Leave unreachable cycles to the end of the process, which is near: going through all that is alive takes long."""
    gc.set_threshold(*SELDOM)
    yield
    gc.freeze()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
