"""Fixtures of the tests of verification."""

from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from cxrobust import verification
from cxrobust.files import sha256_file
from cxrobust.verification import comparisons


@pytest.fixture(scope="module", autouse=True)
def _printed_once() -> Iterator[None]:
    """Print the pages of the same results once for all tests of a file, each of which changes something else."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (verification, comparisons):
            patch.setattr(module, "print_again", once(module.print_again))
        yield


def once(print_again: Callable[..., Any]) -> Callable[..., Any]:
    """Keep what is printed of given results, and of what given folders of images and templates hold."""
    kept: dict[str, Any] = {}

    @wraps(print_again)
    def printed(*results: Any, **options: Any) -> Any:
        key = repr((results, {name: held(one) if isinstance(one, Path) else one for name, one in options.items()}))
        if key not in kept:
            kept[key] = print_again(*results, **options)
        return kept[key]

    return printed


def held(folder: Path) -> dict[str, str]:
    """Hash of each file in a folder, by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256_file(path) for path in files}
