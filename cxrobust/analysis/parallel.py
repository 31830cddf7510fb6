"""Work on all cores: NumPy and the kernels here let go of the interpreter's lock, so threads suffice."""

import os
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

    Examples
    --------
    >>> in_threads(abs, [-1, 2, -3])
    [1, 2, 3]
    """
    if CORES == 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(CORES) as pool:
        return list(pool.map(work, items))


def shared_out(n_blocks: int, *, n_cells: int) -> list[tuple[int, int]]:
    """Return ranges of blocks into which the work on each cell falls: one, or more where cells are fewer than cores.

    Examples
    --------
    >>> shared_out(32, n_cells=10**6)
    [(0, 32)]
    """
    n_parts = max(1, min(-(-CORES // max(n_cells, 1)), n_blocks))
    return list(pairwise(n_blocks * part // n_parts for part in range(n_parts + 1)))
