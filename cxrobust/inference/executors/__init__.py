"""Where units of work run: one module for each `[compute] executor`.

An executor decides where a unit runs and keeps no state: a unit is done when its file is there.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Protocol

from cxrobust.inference.executors.local import Local
from cxrobust.inference.executors.processes import Processes
from cxrobust.inference.executors.ray import OnRay
from cxrobust.inference.executors.slurm import OnSlurm
from cxrobust.inference.work import Outcome, Task
from cxrobust.study import ComputeSection


class Executor(Protocol):
    """Does units of work."""

    def run(self, tasks: Sequence[Task], advance: Callable[[int], None]) -> Generator[Outcome, None, None]:
        """Do every task once, in any order, and give what came of each as it ends.

        `advance` is told how many images of units that have not ended yet are done, where that is known. Closing the
        iterator ends what is still running.
        """
        ...


def executor_of(compute: ComputeSection) -> Executor:
    """Return the executor that a study asks for.

    Raises
    ------
    DataError
        When it cannot be had here.
    """
    match compute.executor:
        case "processes":
            return Processes(compute)
        case "ray":
            return OnRay(compute)
        case "slurm":
            return OnSlurm(compute)
        case "local":
            return Local()
