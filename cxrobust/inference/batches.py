"""A model on more images than its device holds at once, and what it raises as one sentence."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from cxrobust.errors import CxrobustError, DataError, OutOfMemoryError
from cxrobust.inference.checkpoints import one_line
from cxrobust.inference.compiling import why_not_compiled
from cxrobust.inference.runtime import free_memory, is_out_of_memory

T = TypeVar("T")

CORRECT = "correct it, or lower batch in [compute] where memory is short"
"""The usual mend."""
UNCOMPILED = "write compile = false in [compute], or install what its compiler lacks, such as g++"
"""The mend where a model runs, but not compiled."""


class Batches:
    """How many images a model reads at once: so many as asked for, until memory is short."""

    def __init__(self, size: int) -> None:
        self.size = size

    def over(self, n: int, work: Callable[[slice], T]) -> Iterator[T]:
        """Do work on so many images batch by batch; where memory is short, with batches half as large from then on.

        What belongs to an image does not depend on its batch, so this changes results by rounding alone.
        """
        first = 0
        while first < n:
            size = min(self.size, n - first)
            try:
                found = work(slice(first, first + size))
            except OutOfMemoryError:
                if size == 1:
                    raise
                self.size = size // 2
                free_memory()
                continue
            yield found
            first += size


@contextmanager
def explaining(what: str, *, mend: str = CORRECT) -> Iterator[None]:
    """Say in one sentence what a network of anyone's own raises.

    `what` is who failed: `regime 'lora': sampling`; `mend` is what to do about it.
    """
    try:
        yield
    except CxrobustError:
        raise
    except (Exception, SystemExit) as error:  # the user's code may raise anything, and may call sys.exit
        if is_out_of_memory(error):
            raise OutOfMemoryError(_failed(what, error, mend)) from error
        if (why := why_not_compiled(error)) is not None:
            raise DataError(f"{what} cannot be compiled by torch: {why}: {UNCOMPILED}") from error
        raise DataError(_failed(what, error, mend)) from error


def _failed(what: str, error: BaseException, mend: str) -> str:
    return f"{what} failed with {type(error).__name__} ({one_line(error)}): {mend}"
