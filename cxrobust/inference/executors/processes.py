"""Units in processes of this machine: one for each GPU, or as many as the study says."""

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from typing import BinaryIO

from cxrobust.errors import DataError
from cxrobust.inference.runtime import visible_gpus
from cxrobust.inference.work import Outcome, Task, Worker, lost, unexpected
from cxrobust.study import ComputeSection

SERVE = "from cxrobust.inference.executors.processes import serve; serve()"


class Processes:
    """Gives each process the next task of the model that it has loaded, or of the model with the most left."""

    def __init__(self, compute: ComputeSection) -> None:
        gpus = () if compute.device == "cpu" else visible_gpus()
        n = compute.workers or len(gpus)
        if not n:
            raise DataError(
                'executor = "processes": there is no GPU here to count them by: say how many by workers in [compute]'
            )
        self._gpus = [gpus[place % len(gpus)] if gpus else None for place in range(n)]
        cores = os.cpu_count() or 1
        self._threads = compute.threads or max(1, cores // n)

    def run(self, tasks: Sequence[Task], advance: Callable[[int], None]) -> Generator[Outcome, None, None]:
        """See `cxrobust.inference.executors.Executor`."""
        shared = _Shared(tasks)
        servants = [_Servant(shared, gpu, self._threads) for gpu in self._gpus[: len(tasks)]]
        try:
            for servant in servants:
                servant.start()
            for _ in tasks:
                while isinstance(said := shared.said.get(), int):
                    advance(sum(servant.advanced for servant in servants))
                yield said
        finally:
            shared.close()
            for servant in servants:
                servant.end()


class _Shared:
    """Tasks that no process has taken yet, and what processes say: a number of images, or an outcome."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._left = list(tasks)
        self._lock = threading.Lock()
        self.said: queue.Queue[int | Outcome] = queue.Queue()

    def take(self, before: Task | None) -> Task | None:
        """Return the next task for a process that did the task `before`."""
        with self._lock:
            if not self._left:
                return None
            models = Counter(task.unit.model for task in self._left)
            mine = None if before is None else before.unit.model
            wanted = mine if mine in models else models.most_common(1)[0][0]
            place = next(place for place, task in enumerate(self._left) if task.unit.model == wanted)
            return self._left.pop(place)

    def close(self) -> None:
        """Give no more tasks."""
        with self._lock:
            self._left.clear()


class _Servant(threading.Thread):
    """The thread that talks to one process, and starts another where it is lost."""

    def __init__(self, shared: _Shared, gpu: str | None, threads: int) -> None:
        super().__init__(daemon=True)
        self._shared = shared
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "OMP_NUM_THREADS": str(threads),
            **({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False
        self.advanced = 0

    def run(self) -> None:
        before: Task | None = None
        while not self._ended and (task := self._shared.take(before)) is not None:
            try:
                outcome = self._done(task)
            except Exception as error:  # or the main thread would wait for ever
                outcome = unexpected(task, error)
            self._shared.said.put(outcome)
            self.advanced, before = 0, task

    def _done(self, task: Task) -> Outcome:
        sent = task.alone(here=True)
        if self._ended:
            return lost(task, "the run ended")
        process = self._process if self._process is not None else self._begun()
        if process.stdin is None or process.stdout is None:
            raise AssertionError("a process without streams")
        try:
            pickle.dump(sent, process.stdin)
            process.stdin.flush()
            while isinstance(said := pickle.load(process.stdout), int):  # noqa: S301  our own process
                self.advanced = said
                self._shared.said.put(said)
        except (EOFError, OSError, pickle.UnpicklingError):
            code = self._kill()
            return lost(task, f"killed by signal {-code}" if code < 0 else f"it ended with {code}")
        outcome: Outcome = said
        return outcome

    def _begun(self) -> "subprocess.Popen[bytes]":
        self._process = subprocess.Popen(  # noqa: S603  this Python and this module
            [sys.executable, "-c", SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._environment
        )
        return self._process

    def end(self) -> None:
        """Kill the process, whose unit, if it has one, is nobody's any more."""
        self._ended = True
        if (process := self._process) is not None:
            process.kill()
        if self.is_alive():
            self.join()
        self._kill()

    def _kill(self) -> int:
        """Kill the process where there is one, close the streams to it, and return with what it ended."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # what was not sent yet goes nowhere
                    stream.close()
        return process.wait()


def serve() -> None:
    """Do the tasks that come in on standard input until it ends, as it does when the main process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process ends this one
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a model prints must not stand among the answers
    worker = Worker()
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            task: Task = pickle.load(sys.stdin.buffer)  # noqa: S301  our own process
            try:
                outcome = worker.do(task, lambda n_images: _say(answers, n_images))
            except BrokenPipeError:
                raise
            except Exception as error:  # the main process says what it was
                outcome = unexpected(task, error)
            _say(answers, outcome)


def _say(answers: BinaryIO, what: int | Outcome) -> None:
    pickle.dump(what, answers)
    answers.flush()
