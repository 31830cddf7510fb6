"""Work done beside the main process, since Python does one thing at a time in each.

A worker is a process that reads what to do and writes what came of it. Where this process has no other thread it is a
copy of it, which knows all that was read and loaded before; else, as after an analysis in threads, which a copy would
hang on, a Python of its own. No script that calls us has to be importable.
"""

import gc
import os
import pickle
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Lock, active_count
from types import TracebackType
from typing import IO, Any, Generic, TypeVar, cast

from cxrobust.collecting import seldom_collected

T = TypeVar("T")
MOST_WORKERS = 4


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
    """As many workers as there are cores beside this process's own; those that are no copies start when there is work."""

    def __init__(self, most: int = MOST_WORKERS, *, shared: Sequence[Any] = ()) -> None:
        """`shared` are large objects that calls are given again and again, which copies of this process have."""
        n = min(most, _cores() - 1)
        self._workers = [_Worker(shared) for _ in range(n)]
        self._free: SimpleQueue[_Worker] = SimpleQueue()
        for worker in self._workers:
            self._free.put(worker)
        self._pool = ThreadPoolExecutor(max_workers=n) if n > 0 else None

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
        worker = self._free.get()
        try:
            return worker.ask(function, given)
        finally:
            self._free.put(worker)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Process:
    """A process that works, the two streams to it, and how to end it."""

    to: IO[bytes]
    out: IO[bytes]
    pickler: pickle.Pickler
    end: Callable[[], object]


class _Worker:
    """A process for calls; what was once sent to it is not sent again."""

    def __init__(self, shared: Sequence[Any]) -> None:
        self._process = _copied(shared) if _may_copy() else None
        self._is_over = False
        self._ending = Lock()

    def ask(self, function: Callable[..., Any], given: tuple[Any, ...]) -> Any:
        try:
            if self._is_over:
                raise LostError
            if self._process is None:
                self._process = _started()
            self._process.pickler.dump((function, given))
            self._process.to.flush()
            return pickle.load(self._process.out)  # noqa: S301  our own worker's
        except (OSError, EOFError, pickle.PickleError, AttributeError, TypeError) as error:
            self.end()
            raise LostError from error

    def end(self) -> None:
        """End the process once, whoever else sees at the same time that it has to end."""
        with self._ending:
            self._is_over = True
            process, self._process = self._process, None
        if process is not None:
            process.end()


def _may_copy() -> bool:
    return sys.platform == "linux" and active_count() == 1


def _copied(shared: Sequence[Any]) -> _Process:
    """Copy this process into one that works until this one ends."""
    (there_in, here_to), (here_out, there_out) = os.pipe(), os.pipe()
    gc.freeze()  # a collection in the copy would write to, and so copy, every page of memory
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)  # BLAS can be copied
        number = os.fork()
    if number == 0:
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            for one in (here_to, here_out):
                os.close(one)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            calls = _Receiver(os.fdopen(there_in, "rb"), shared)
            _work(calls, os.fdopen(there_out, "wb"))
        finally:
            os._exit(0)  # nothing of this process's own end is the copy's to do
    gc.unfreeze()
    for one in (there_in, there_out):
        os.close(one)
    to, out = os.fdopen(here_to, "wb"), os.fdopen(here_out, "rb")

    def end() -> None:
        os.kill(number, signal.SIGKILL)
        os.waitpid(number, 0)
        for stream in (to.raw, out):  # what is not written yet nobody will read
            stream.close()

    return _Process(to=to, out=out, pickler=_Sender(to, shared), end=end)


def _started() -> _Process:
    """Start a Python that works until this one ends."""
    process = subprocess.Popen(  # noqa: S603  this Python and this module
        [sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    to, out = cast(Any, process.stdin), cast(Any, process.stdout)

    def end() -> None:
        process.kill()
        process.communicate()

    try:
        to.write(pickle.dumps(sys.path))
    except OSError:
        end()
        raise
    return _Process(to=to, out=out, pickler=pickle.Pickler(to, protocol=pickle.HIGHEST_PROTOCOL), end=end)


class _Sender(pickle.Pickler):
    """Sends of what is shared its place alone."""

    def __init__(self, to: IO[bytes], shared: Sequence[Any]) -> None:
        super().__init__(to, protocol=pickle.HIGHEST_PROTOCOL)
        self._places = {id(one): place for place, one in enumerate(shared)}

    def persistent_id(self, value: Any) -> int | None:
        return self._places.get(id(value))


class _Receiver(pickle.Unpickler):
    """Takes what is shared from this process."""

    def __init__(self, calls: IO[bytes], shared: Sequence[Any]) -> None:
        super().__init__(calls)
        self._shared = shared

    def persistent_load(self, place: int) -> Any:
        return self._shared[place]


WORKER = """
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from cxrobust.reports.beside import work
work()
"""


def work() -> None:
    """Be a worker that was started: read calls, make them, write what they return."""
    out, sys.stdout = sys.stdout.buffer, sys.stderr
    with seldom_collected():
        _work(pickle.Unpickler(sys.stdin.buffer), out)  # noqa: S301  from the process that started this one


def _work(calls: pickle.Unpickler, out: IO[bytes]) -> None:
    while True:
        try:
            function, given = calls.load()
        except EOFError:
            return
        pickle.dump(function(*given), out, protocol=pickle.HIGHEST_PROTOCOL)
        out.flush()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
