"""Progress for people: a bar with rate and time left on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

PLAIN_INTERVAL = 10.0
"""Seconds between two plain lines of one task."""


class Reporter(Protocol):
    """Tells how far a task is; several tasks may follow one another."""

    def __call__(self, task: str, done: int, total: int) -> None:
        """Say that `done` of `total` steps of a task are done."""


def silent(task: str, done: int, total: int) -> None:
    """Report nothing."""


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.1f}/s" if task.speed else "", style="dim")


class _Plain:
    """One line when a task begins, one every few seconds with rate and time left, and one when it ends.

    A task that is over at once says nothing.
    """

    def __init__(self) -> None:
        self.task = ""
        self.begun = self.said = 0.0
        self.first = 0
        self.announced = False

    def __call__(self, task: str, done: int, total: int) -> None:
        now = time.monotonic()
        if task != self.task:
            self.task, self.begun, self.said, self.first = task, now, now, done
            self.announced = done == 0
            if self.announced:
                self._say(f"{task}: 0 of {total:,}" if total > 1 else task)
        elif done >= total:
            if self.announced and total > 1:
                self._say(f"{task}: {total:,} of {total:,}, {now - self.begun:,.1f} s")
            self.announced = False
        elif now - self.said >= PLAIN_INTERVAL:
            self.said, self.announced = now, True
            rate = (done - self.first) / (now - self.begun)
            left = f", {rate:,.1f}/s, {(total - done) / rate:,.0f} s left" if rate > 0 else ""
            self._say(f"{task}: {done:,} of {total:,}{left}")

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)  # noqa: T201  plain progress goes to stderr


@contextmanager
def reporting() -> Iterator[Reporter]:
    """Yield a reporter that suits where standard error goes."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Plain()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, int] = {}

        def report(task: str, done: int, total: int) -> None:
            if task not in tasks:
                tasks[task] = bars.add_task(task, total=total)
            bars.update(tasks[task], completed=done, total=total)  # type: ignore[arg-type]

        yield report
