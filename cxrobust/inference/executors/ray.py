"""Units as tasks of a Ray cluster, with GPUs, cores and memory asked for; what a lost node did is done again."""

import os
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from cxrobust.errors import DataError, require
from cxrobust.inference.images import reason
from cxrobust.inference.work import Outcome, Task, Worker, lost, unexpected
from cxrobust.study import ComputeSection

AHEAD = 2
"""How many tasks wait for each one that runs, so that no worker waits and few images lie about."""
GIB = 2**30


class OnRay:
    """Submits tasks to a cluster as it has room for them.

    Without a store the folder of predictions is on a disk that all nodes share, and pixels are read there; with one,
    pixels go through Ray's memory, and files come back through the store.
    """

    def __init__(self, compute: ComputeSection) -> None:
        self._compute = compute

    def run(self, tasks: Sequence[Task], advance: Callable[[int], None]) -> Generator[Outcome, None, None]:
        """See `cxrobust.inference.executors.Executor`."""
        ray = require("ray", group="ray")
        with _connected(ray, self._compute.address):
            do = ray.remote(_do).options(max_retries=self._compute.retries, **self._resources(ray))
            waiting = list(tasks)
            flying: dict[Any, Task] = {}
            try:
                while waiting or flying:
                    while waiting and len(flying) < AHEAD * self._room(ray):
                        task = waiting.pop(0)
                        flying[do.remote(self._sent(task))] = task
                    ended, _ = ray.wait(list(flying), num_returns=1, timeout=10)
                    for one in ended:
                        yield _outcome(ray, one, flying.pop(one))
            finally:
                for one in flying:
                    ray.cancel(one, force=True)

    def _sent(self, task: Task) -> Task:
        if task.store is None:
            return task.alone()
        folder = Path(tempfile.gettempdir()) / f"cxrobust-{task.run}"
        return replace(task.alone(copied=True), folder=folder)

    def _gpus(self, ray: Any) -> float:
        if self._compute.gpus is not None:
            return self._compute.gpus
        return 1.0 if self._compute.device != "cpu" and ray.cluster_resources().get("GPU", 0) else 0.0

    def _resources(self, ray: Any) -> dict[str, Any]:
        memory = self._compute.memory
        wanted: dict[str, Any] = {"num_cpus": self._compute.cpus, "num_gpus": self._gpus(ray)}
        return wanted if memory is None else {**wanted, "memory": int(memory * GIB)}

    def _room(self, ray: Any) -> int:
        """Return how many tasks run at once."""
        has = ray.cluster_resources()
        gpus = self._gpus(ray)
        fits = [has.get("CPU", 0) / self._compute.cpus, *([has.get("GPU", 0) / gpus] if gpus else [])]
        return max(1, int(min(fits)))


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    """Connect to a cluster, or use the one that this process is connected to, and let go of what was connected here."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR", include_dashboard=None)
    except Exception as error:  # Ray has many types of them
        raise DataError(
            f"[compute] address = {address!r}: no Ray cluster answers ({reason(error)}): start one by ray start"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _outcome(ray: Any, done: Any, task: Task) -> Outcome:
    errors = ray.exceptions
    try:
        outcome: Outcome = ray.get(done)
    except errors.RayTaskError as error:
        return unexpected(task, error.cause if error.cause is not None else error)
    except errors.RayError as error:  # the worker or its node is gone, or took too much memory
        return lost(task, reason(error))
    return outcome


@cache
def _worker() -> Worker:
    """Return the worker of this process, which Ray uses for one task after another."""
    return Worker()


def _do(task: Task) -> Outcome:
    outcome = _worker().do(task)
    if task.store is not None:
        for unit in task.units:
            (task.folder / unit.file).unlink(missing_ok=True)  # it is in the store
    return outcome
