"""Units as tasks of a Ray cluster, with GPUs, cores and memory asked for; what a lost node did is done again."""

import os
import socket
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cxrobust.errors import DataError, require
from cxrobust.inference.images import reason
from cxrobust.inference.work import Outcome, Task, Worker, lost, unexpected
from cxrobust.study import ComputeSection

AHEAD = 2
"""How many tasks wait for each one that runs, so that no worker waits and few images lie about."""
GIB = 2**30
ANSWERS_WITHIN = 10
"""Seconds that a cluster of an address has to take a connection."""
MOST = 8
"""Nodes whose resources an error names."""


class OnRay:
    """Submits tasks to a cluster as it has room for them.

    Without a store the folder of predictions is on a disk that all nodes share, and pixels are read there, while others
    are decoded where all nodes are this machine; with one, pixels go through Ray's memory, and files come back through
    the store.
    """

    def __init__(self, compute: ComputeSection) -> None:
        self._compute = compute

    def run(self, tasks: Sequence[Task], advance: Callable[[int], None]) -> Generator[Outcome, None, None]:
        """See `cxrobust.inference.executors.Executor`."""
        ray = require("ray", group="ray")
        with _connected(ray, self._compute.address):
            wanted = self._resources(ray)
            _check_given(wanted, [node["Resources"] for node in ray.nodes() if node["Alive"]])
            do = ray.remote(_do).options(max_retries=self._compute.retries, **wanted)
            waiting, here = list(tasks), self._is_here(ray)
            flying: dict[Any, Task] = {}
            try:
                while waiting or flying:
                    while waiting and len(flying) < AHEAD * self._room(ray):
                        task = waiting.pop(0)
                        try:
                            sent = _sent(task, here=here)
                        except Exception as error:  # such as a damaged image; other tasks are done all the same
                            yield unexpected(task, error)
                        else:
                            flying[do.remote(sent)] = task
                    ended, _ = ray.wait(list(flying), num_returns=1, timeout=10) if flying else ([], [])
                    for one in ended:
                        yield _outcome(ray, one, flying.pop(one))
            finally:
                for one in flying:
                    ray.cancel(one, force=True)

    def _is_here(self, ray: Any) -> bool:
        """Whether every node is this machine and stays so: one of an address may get others."""
        own = ray.util.get_node_ip_address()
        return self._compute.address is None and all(
            node["NodeManagerAddress"] == own for node in ray.nodes() if node["Alive"]
        )

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


def _sent(task: Task, *, here: bool) -> Task:
    """Return a task with its own images: by their file, or, with a store, in it."""
    if task.store is None:
        return task.alone(here=here)
    folder = Path(tempfile.gettempdir()) / f"cxrobust-{task.run}"
    return replace(task.alone(copied=True), folder=folder)


def _check_given(wanted: Mapping[str, Any], nodes: Sequence[Mapping[str, float]]) -> None:
    """Raise where no node has, even when idle, what a task asks for, so that Ray would wait without end.

    Raises
    ------
    DataError
        With what is asked for, and what each node has.
    """
    names = {"num_cpus": ("CPU", "cpus", 1), "num_gpus": ("GPU", "gpus", 1), "memory": ("memory", "memory", GIB)}
    asked = {names[key]: amount for key, amount in wanted.items() if amount}
    if any(all(node.get(name, 0) >= amount for (name, _, _), amount in asked.items()) for node in nodes):
        return
    said = " and ".join(f"{key} = {amount / unit:g}" for (_, key, unit), amount in asked.items())
    has = "; ".join(
        " and ".join(f"{key} = {node.get(name, 0) / unit:.3g}" for name, key, unit in asked) for node in nodes[:MOST]
    )
    more = f"; and {len(nodes) - MOST} nodes more" if len(nodes) > MOST else ""
    raise DataError(
        f"[compute] {said}: no node of the Ray cluster has as much for a unit (its nodes have: {has}{more}): ask for "
        "less, or add a node that has it"
    )


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    """Connect to a cluster, or use the one that this process is connected to, and let go of what was connected here."""
    if ray.is_initialized():
        yield
        return
    if address is not None:
        _check_answers(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # 15 by default: beside other programs hardly a core's time
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR", include_dashboard=None)
    except Exception as error:  # Ray has many types of them
        if address is not None:
            raise _no_cluster(address, error) from error
        raise DataError(
            f'[compute] executor = "ray": Ray does not start on this machine ({reason(error)}): try again when it is '
            'less busy, write address for a cluster that runs, or executor = "processes"'
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Raise where nothing takes a connection at a host and port, which Ray itself would try for minutes.

    Raises
    ------
    DataError
        With the address and what the connection failed of.
    """
    try:
        place = urlsplit(f"//{address.rpartition('://')[2]}")
        if place.hostname is None or place.port is None:  # such as "auto", which Ray looks up
            return
        socket.create_connection((place.hostname, place.port), timeout=ANSWERS_WITHIN).close()
    except (OSError, ValueError) as error:  # ValueError of a host or port that cannot be one
        raise _no_cluster(address, error) from error


def _no_cluster(address: str, error: Exception) -> DataError:
    return DataError(
        f"[compute] address = {address!r}: no Ray cluster answers ({reason(error)}): write the address that "
        "`ray start --head` prints on the cluster's first machine, or leave address out to run on this one alone"
    )


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
