"""Figures drawn beside the main process, since matplotlib draws one at a time in each.

A worker is a Python process of its own that reads what to draw and writes what it drew: nothing is forked, so threads of
an analysis before it do no harm, and no script that calls us has to be importable.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from cxrobust.reports.figures.style import Drawing

MOST_WORKERS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """A figure for one width, as the files of a manuscript hold it."""

    svg: str
    pdf: bytes


Job = tuple[Drawing, float]
"""What to draw, and for which width in mm."""


class Drawn:
    """Figures that are being drawn, each for some widths."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        """Begin to draw in as many workers as there are cores beside this process's own; without any, wait for `files`."""
        self._jobs = tuple(jobs)
        n = min(MOST_WORKERS, _cores() - 1, len(self._jobs))
        self._pool = ThreadPoolExecutor(max_workers=n) if n > 0 else None
        self._parts: list[Future[list[Files]]] = []
        if self._pool is not None:
            self._parts = [self._pool.submit(_in_worker, self._jobs[first::n]) for first in range(n)]

    def files(self) -> list[Files]:
        """Return what was drawn, in the order of the jobs."""
        if self._pool is None:
            return [draw(job) for job in self._jobs]
        with self._pool:
            parts = [part.result() for part in self._parts]
        found: list[Files] = [parts[place % len(parts)][place // len(parts)] for place in range(len(self._jobs))]
        return found


def draw(job: Job) -> Files:
    """Draw one figure for one width."""
    drawing, width = job
    svg, pdf = drawing.svg_and_pdf(width)
    return Files(svg=svg, pdf=pdf)


def _in_worker(jobs: Sequence[Job]) -> list[Files]:
    """Let a process of its own draw some figures; where none can be started, or it fails, draw them here."""
    request = pickle.dumps((sys.path, None)) + pickle.dumps(list(jobs), protocol=pickle.HIGHEST_PROTOCOL)
    try:
        done = subprocess.run(  # noqa: S603  this Python and this module
            [sys.executable, "-c", WORKER], input=request, capture_output=True, check=True
        )
        found: list[Files] = pickle.loads(done.stdout)  # noqa: S301  our own worker's
    except (OSError, subprocess.CalledProcessError, pickle.UnpicklingError, EOFError):
        return [draw(job) for job in jobs]
    return found


WORKER = """
import pickle, sys
sys.path[:], _ = pickle.load(sys.stdin.buffer)
from cxrobust.reports.drawing import work
work()
"""


def work() -> None:
    """Be a worker: read jobs, draw them, write what was drawn."""
    jobs: list[Any] = pickle.load(sys.stdin.buffer)  # noqa: S301  from the process that started this one
    sys.stdout.buffer.write(pickle.dumps([draw(job) for job in jobs]))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
