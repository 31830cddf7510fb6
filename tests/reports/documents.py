"""Documents of made studies, each written once for the tests of all files and workers that look at it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from cxrobust.files import sha256_bytes
from cxrobust.reports import render
from cxrobust.reports.document import Document, Paper, compose, fill
from cxrobust.reports.parts import Figure
from cxrobust.reports.view import View

from .made import Made, results


@dataclass(frozen=True, kw_only=True, slots=True)
class Documents:
    """Where they are written, and this process's own place for images."""

    folder: Path
    own: Path

    def of(self, made: Made, paper: Paper = "A4") -> Path:
        """Return the folder with report and appendix of a study, as PDF and HTML, with example images."""
        out = self.folder / f"{sha256_bytes(repr(made).encode())[:12]}-{paper}"
        with _in_turn(out.with_suffix(".lock")):
            if not (out / "written").exists():
                found = results(made, images=out)
                render(found, formats=("pdf", "html"), out=out, images=out, paper=paper)
                (out / "written").touch()
        return out

    def composed(self, made: Made) -> Document:
        """Return the report before it is filled."""
        return _composed(made, self.own)

    def html(self, made: Made, paper: Paper = "A4") -> str:
        """Return what the report's pages were printed from, but with its figures named and not drawn."""
        return _html(made, paper, self.own)


@contextmanager
def _in_turn(path: Path) -> Iterator[None]:
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


@cache
def _composed(made: Made, own: Path) -> Document:
    return compose(View.of(results(made, images=own), images=own))


@cache
def _html(made: Made, paper: Paper, own: Path) -> str:
    document = _composed(made, own)
    figures = frozenset(one.key for one in document.items if isinstance(one, Figure))
    return fill(replace(document, later=figures), medium="pdf", paper=paper)
