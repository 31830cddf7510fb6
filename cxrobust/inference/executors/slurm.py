"""Units as an array of Slurm jobs, by submitit: each job does a share of them, one after another."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

from cxrobust.errors import DataError, require
from cxrobust.inference.images import reason
from cxrobust.inference.work import Outcome, Task, Worker, lost, unexpected
from cxrobust.study import ComputeSection

FOLDER = "slurm"
"""Where submitit keeps what it sends and what jobs print; it may be deleted when none runs."""
POLL = {"slurm": 10.0, "local": 0.5}
"""Seconds between two looks at the jobs."""


class OnSlurm:
    """Submits one array; a job whose time is up is submitted again and goes on with what is left of its share."""

    def __init__(self, compute: ComputeSection, *, cluster: Literal["slurm", "local"] = "slurm") -> None:
        self._compute = compute
        self._cluster = cluster

    def run(self, tasks: Sequence[Task], advance: Callable[[int], None]) -> Generator[Outcome, None, None]:
        """See `cxrobust.inference.executors.Executor`."""
        submitit = require("submitit", group="slurm")
        shares = _shares(tasks, self._compute.workers or 1)
        try:
            executor = submitit.AutoExecutor(folder=tasks[0].folder / FOLDER, cluster=self._cluster)
            executor.update_parameters(name="cxrobust", **self._parameters())
            jobs = executor.map_array(Share(), [[task.alone() for task in share] for share in shares])
        except (RuntimeError, OSError, ValueError) as error:
            raise DataError(f"the Slurm array cannot be submitted ({reason(error)}): correct [compute]") from error
        running = dict(zip(jobs, shares, strict=True))
        try:
            while running:
                for job in [job for job in running if job.done()]:
                    yield from _outcomes(job, running.pop(job))
                advance(sum(len(task.unit.rows) for share in running.values() for task in share if task.is_done()))
                if running:
                    time.sleep(POLL[self._cluster])
        finally:
            for job in running:
                job.cancel()

    def _parameters(self) -> dict[str, Any]:
        compute = self._compute
        gpus = (0 if compute.device == "cpu" else 1) if compute.gpus is None else int(compute.gpus)
        wanted: dict[str, Any] = {"timeout_min": compute.minutes, "cpus_per_task": compute.cpus, "gpus_per_node": gpus}
        if compute.memory is not None:
            wanted["mem_gb"] = compute.memory
        if compute.slurm:
            wanted["slurm_additional_parameters"] = dict(compute.slurm)
        return wanted


class Share:
    """What one job does."""

    def __call__(self, tasks: Sequence[Task]) -> list[Outcome]:
        """Do the tasks whose file is not there."""
        worker, outcomes = Worker(), []
        for task in tasks:
            if task.is_done():
                outcomes.append(Outcome(key=task.unit.key))
                continue
            try:
                outcomes.append(replace(worker.do(task), ended=time.time()))
            except Exception as error:  # the others of the share are done all the same
                outcomes.append(unexpected(task, error))
        return outcomes

    def checkpoint(self, tasks: Sequence[Task]) -> Any:
        """Return what submitit submits again when a job's time is up or another one takes its place."""
        helpers = require("submitit.helpers", group="slurm")
        return helpers.DelayedSubmission(self, tasks)


def _shares(tasks: Sequence[Task], n: int) -> list[list[Task]]:
    """Divide tasks into runs of nearly as many images, in order, so that a job loads few models."""
    shares: list[list[Task]] = [[] for _ in range(min(n, len(tasks)))]
    total, images = sum(len(task.unit.rows) for task in tasks), 0
    for task in tasks:
        shares[min(len(shares) - 1, images * len(shares) // total)].append(task)
        images += len(task.unit.rows)
    return [share for share in shares if share]


def _outcomes(job: Any, share: Sequence[Task]) -> Iterator[Outcome]:
    """Give what a job says of its share; of one that was lost, what its files say."""
    error = job.exception()
    if error is None:
        yield from job.result()
        return
    for task in share:
        yield Outcome(key=task.unit.key) if task.is_done() else lost(task, reason(error))
