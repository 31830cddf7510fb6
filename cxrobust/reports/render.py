"""Results to documents, each as PDF and HTML and written whole or not at all."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import get_args

from cxrobust.files import atomic_write_bytes, atomic_write_text
from cxrobust.reports.document import Document, Medium, Paper, compose, fill
from cxrobust.reports.pdf import PangoError, to_pdf
from cxrobust.reports.sections import Kind
from cxrobust.reports.view import View
from cxrobust.results import Results

KINDS: tuple[Kind, ...] = get_args(Kind)


def render(
    results: Results,
    *,
    formats: Sequence[Medium],
    out: Path,
    images: Path | None,
    paper: Paper = "A4",
    say: Callable[[str], None] = lambda message: None,
) -> tuple[Path, ...]:
    """Write the documents of a study: the report, and the appendix alone.

    Parameters
    ----------
    results
        Everything that the documents say.
    formats
        `pdf`, `html` or both.
    out
        Folder for `report.pdf`, `report.html`, `appendix.pdf` and `appendix.html`.
    images
        Folder that example images' paths are relative to, or None to show none.
    say
        Told in one sentence when the PDF's system libraries are missing; HTML is then written instead.

    Returns
    -------
    tuple[Path, ...]
        The documents written, in the order of `formats`, the report first.
    """
    view = View.of(results, images=images)
    written: list[Path] = []
    pages: Mapping[str, int] = {}
    for kind in KINDS:
        document = compose(view, kind)
        for medium in formats:
            if medium == "html":
                written.append(_write_html(document, out, paper))
                continue
            try:
                path, found = _write_pdf(document, out, paper, pages)
            except PangoError as error:
                say(f"{error}; the documents are HTML alone until then")
                return render(results, formats=("html",), out=out, images=images, paper=paper)
            written.append(path)
            pages = found if kind == "report" else pages
    return tuple(written)


def _write_html(document: Document, out: Path, paper: Paper) -> Path:
    path = out / f"{document.kind}.html"
    atomic_write_text(path, fill(document, medium="html", paper=paper))
    return path


def _write_pdf(
    document: Document, out: Path, paper: Paper, report_pages: Mapping[str, int]
) -> tuple[Path, Mapping[str, int]]:
    """Write the PDF and return its path and the page of each of its anchors."""
    path = out / f"{document.kind}.pdf"
    printed = to_pdf(fill(document, medium="pdf", paper=paper, report_pages=report_pages))
    atomic_write_bytes(path, printed.content)
    return path, printed.pages
