"""Work on all cores: NumPy and the kernels here let go of the interpreter's lock, so threads suffice."""

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

ItemT = TypeVar("ItemT")
FoundT = TypeVar("FoundT")

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
"""Cores that this process may use, which a batch system may make fewer than the machine has."""


def in_threads(work: Callable[[ItemT], FoundT], items: Iterable[ItemT]) -> list[FoundT]:
    """Apply a function to each item, as many at a time as there are cores; results in the order of the items.

    What the function raises is raised, and nothing more is begun.

    Examples
    --------
    >>> in_threads(abs, [-1, 2, -3])
    [1, 2, 3]
    """
    given = list(items)
    if CORES == 1:
        return [work(item) for item in given]
    found: dict[int, FoundT] = {}
    left, failed = iter(range(len(given))), threading.Event()

    def do_what_is_left() -> None:
        for (
            place
        ) in left:  # the threads share one iterator: handing out each item by itself takes longer than many need
            if failed.is_set():
                return
            try:
                found[place] = work(given[place])
            except BaseException:
                failed.set()
                raise

    with ThreadPoolExecutor(CORES) as pool:
        for thread in [pool.submit(do_what_is_left) for _ in range(CORES)]:
            thread.result()
    return [found[place] for place in range(len(given))]


def shared_out(n_blocks: int, *, n_cells: int) -> list[tuple[int, int]]:
    """Return ranges of blocks into which the work on each cell falls: one, or more where cells are fewer than cores.

    Examples
    --------
    >>> shared_out(32, n_cells=10**6)
    [(0, 32)]
    """
    n_parts = max(1, min(-(-CORES // max(n_cells, 1)), n_blocks))
    return list(pairwise(n_blocks * part // n_parts for part in range(n_parts + 1)))
