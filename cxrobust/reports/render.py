"""Results to documents: `report.pdf` and `report.html`, each written whole or not at all."""

from collections.abc import Callable, Sequence
from pathlib import Path

from cxrobust.files import atomic_write_bytes, atomic_write_text
from cxrobust.reports.document import Document, Medium, Paper, compose, fill
from cxrobust.reports.pdf import PangoError, to_pdf
from cxrobust.reports.view import View
from cxrobust.results import Results

NAME = "report"


def render(
    results: Results,
    *,
    formats: Sequence[Medium],
    out: Path,
    images: Path | None,
    paper: Paper = "A4",
    say: Callable[[str], None] = lambda message: None,
) -> tuple[Path, ...]:
    """Write the report of a study.

    Parameters
    ----------
    results
        Everything that the report says.
    formats
        `pdf`, `html` or both.
    out
        Folder for `report.pdf` and `report.html`.
    images
        Folder that example images' paths are relative to, or None to show none.
    say
        Told in one sentence when the PDF's system libraries are missing; the HTML report is then written instead.

    Returns
    -------
    tuple[Path, ...]
        The documents written, in the order of `formats`.
    """
    document = compose(View.of(results, images=images))
    written: dict[str, Path] = {}
    if "pdf" in formats:
        try:
            written["pdf"] = _write_pdf(document, out, paper)
        except PangoError as error:
            say(f"{error}; the report is HTML alone until then")
            written["html"] = _write_html(document, out, paper)
    if "html" in formats:
        written["html"] = _write_html(document, out, paper)
    return tuple(written[name] for name in dict.fromkeys((*formats, "html")) if name in written)


def _write_html(document: Document, out: Path, paper: Paper) -> Path:
    path = out / f"{NAME}.html"
    atomic_write_text(path, fill(document, medium="html", paper=paper))
    return path


def _write_pdf(document: Document, out: Path, paper: Paper) -> Path:
    path = out / f"{NAME}.pdf"
    atomic_write_bytes(path, to_pdf(fill(document, medium="pdf", paper=paper)))
    return path
