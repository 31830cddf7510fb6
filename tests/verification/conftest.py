"""Fixtures of the tests of verification."""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import pytest

from cxrobust import verification
from cxrobust.verification import comparisons


@pytest.fixture(scope="module", autouse=True)
def _printed_once() -> Iterator[None]:
    """Print the pages of the same results once for all tests of a file, each of which changes something else."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (verification, comparisons):
            patch.setattr(module, "print_again", once(module.print_again))
        yield


def once(print_again: Callable[..., Any]) -> Callable[..., Any]:
    """Keep what is printed of given results, unless it also depends on what folders of images or templates hold."""
    kept: dict[str, Any] = {}

    @wraps(print_again)
    def printed(*results: Any, **options: Any) -> Any:
        if options.get("images") or options.get("templates"):
            return print_again(*results, **options)
        key = repr((results, options))
        if key not in kept:
            kept[key] = print_again(*results, **options)
        return kept[key]

    return printed
