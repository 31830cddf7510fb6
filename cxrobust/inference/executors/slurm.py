"""Units as an array of Slurm jobs, by submitit: each job does a share of them, one after another."""

import os
import subprocess
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
SETTLING = 60.0
"""Seconds for which the result of a job that Slurm says has ended may not be seen yet on a disk of the network."""
LOOK = ("squeue", "--me", "--array", "--states=all", "--noheader", "--format=%i %T")
"""Lists this user's jobs and their states, also on a cluster that keeps no accounts, where `sacct` knows nothing."""
ENDED = frozenset(
    {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED",
     "TIMEOUT"}
)  # fmt: skip
"""States in which a job stays, and is forgotten by Slurm after some minutes."""
TOLD, OF_SITE = ("SLURM_", "SLURMD_", "SRUN_", "SUBMITIT_"), frozenset({"SLURM_CONF"})
"""Variables in which Slurm tells a job about itself, and one that says which Slurm it is."""


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
            with _outside_of_jobs():
                executor = submitit.AutoExecutor(folder=tasks[0].folder / FOLDER, cluster=self._cluster)
                executor.update_parameters(name="cxrobust", **self._parameters())
                jobs = executor.map_array(Share(), [[task.alone() for task in share] for share in shares])
        except (RuntimeError, OSError, ValueError) as error:
            raise DataError(f"the Slurm array cannot be submitted ({reason(error)}): correct [compute]") from error
        running = dict(zip(jobs, shares, strict=True))
        gone: dict[str, float] = {}
        try:
            while running:
                for job in [job for job in running if self._has_result(job)]:
                    yield from _outcomes(job, running.pop(job))
                states = _states() if self._cluster == "slurm" else None
                for job, state in _gone_for_good(running, states, gone, now=time.monotonic()):
                    yield from _without_result(job, state, running.pop(job))
                advance(sum(len(task.unit.rows) for share in running.values() for task in share if task.is_done()))
                if running:
                    time.sleep(POLL[self._cluster])
        finally:
            for job in running:
                job.cancel(check=False)

    def _has_result(self, job: Any) -> bool:
        """Whether a job has written what came of it; a process of this machine ends so too when it is lost."""
        return bool(job.paths.result_pickle.exists() if self._cluster == "slurm" else job.done())

    def _parameters(self) -> dict[str, Any]:
        compute = self._compute
        gpus = (0 if compute.device == "cpu" else 1) if compute.gpus is None else int(compute.gpus)
        wanted: dict[str, Any] = {
            "timeout_min": compute.minutes,
            "cpus_per_task": compute.cpus,
            "gpus_per_node": gpus,
            "slurm_array_parallelism": compute.at_once or compute.workers or 1,
        }
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
    yield from _by_files(share, reason(error))


def _without_result(job: Any, state: str | None, share: Sequence[Task]) -> Iterator[Outcome]:
    """Give what the files of a share say whose job ended and said nothing."""
    how = "is no longer known to Slurm" if state is None else f"ended as {state}"
    printed = (job.stderr() or "").strip().splitlines()
    last = f", the last line of which is: {printed[-1]}" if printed else ""
    yield from _by_files(share, f"Slurm job {job.job_id} {how}; what it printed is in {job.paths.stderr}{last}")


def _by_files(share: Sequence[Task], why: str) -> Iterator[Outcome]:
    for task in share:
        yield Outcome(key=task.unit.key) if task.is_done() else lost(task, why)


def _states() -> Mapping[str, str] | None:
    """Return the states of this user's jobs by their ids; None where Slurm does not answer."""
    try:
        listed = subprocess.run(LOOK, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603  a fixed command
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(line.split() for line in listed.stdout.splitlines() if len(line.split()) == 2)


def _gone_for_good(
    jobs: Collection[Any], states: Mapping[str, str] | None, gone: dict[str, float], *, now: float
) -> list[tuple[Any, str | None]]:
    """Return jobs that have ended, for so long that their results would be seen, with their state, None if forgotten.

    `gone` keeps since when each has ended. Without states nothing is known.
    """
    if states is None:
        return []
    found = []
    for job in jobs:
        state = states.get(job.job_id)
        if state is not None and state not in ENDED:
            gone.pop(job.job_id, None)
        elif now - gone.setdefault(job.job_id, now) >= SETTLING:
            found.append((job, state))
    return found


@contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """Hide what Slurm tells the job that this process may run in: jobs that it submits would take it for theirs."""
    here = [name for name in os.environ if name.startswith(TOLD) and name not in OF_SITE]
    hidden = {name: os.environ.pop(name) for name in here if "SLURM_JOB_ID" in here}
    try:
        yield
    finally:
        os.environ.update(hidden)
