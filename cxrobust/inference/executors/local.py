"""Units in this process, one after another."""

from collections.abc import Callable, Generator, Sequence

from cxrobust.inference.work import Outcome, Task, Worker


class Local:
    """Does each task here, in the order given."""

    def run(self, tasks: Sequence[Task], advance: Callable[[int], None]) -> Generator[Outcome, None, None]:
        """See `cxrobust.inference.executors.Executor`."""
        worker = Worker()
        for task in tasks:
            yield worker.do(task, advance)
