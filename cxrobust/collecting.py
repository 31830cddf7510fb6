"""How often Python looks for unreachable cycles, which takes long among many objects that stay."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

SELDOM = (1_000_000, 20, 20)


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Look for unreachable cycles seldom while it lasts: of many objects that stay that takes a fifth of the time."""
    before = gc.get_threshold()
    gc.set_threshold(*SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def end_uncollected() -> Iterator[None]:
    """Leave unreachable cycles to the end of the process, which is near: going through all that is alive takes long."""
    gc.set_threshold(*SELDOM)
    yield
    gc.freeze()
