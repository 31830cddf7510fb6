"""Results to documents: `report.pdf` and `report.html`, each written whole or not at all."""

from collections.abc import Sequence
from pathlib import Path

from cxrobust.errors import DataError
from cxrobust.files import atomic_write_bytes, atomic_write_text
from cxrobust.reports.document import Document, Medium, Paper, compose, fill
from cxrobust.reports.pdf import PangoError, to_pdf
from cxrobust.reports.view import View
from cxrobust.results import Results

NAME = "report"


def render(
    results: Results, *, formats: Sequence[Medium], out: Path, images: Path | None, paper: Paper = "A4"
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

    Returns
    -------
    tuple[Path, ...]
        The documents in the order of `formats`.

    Raises
    ------
    DataError
        When the PDF's system libraries are missing; the HTML report is then written all the same.
    """
    document = compose(View.of(results, images=images))
    written: dict[str, Path] = {}
    if "html" in formats:
        written["html"] = _write_html(document, out, paper)
    if "pdf" in formats:
        written["pdf"] = _write_pdf(document, out, paper)
    return tuple(written[name] for name in formats)


def _write_html(document: Document, out: Path, paper: Paper) -> Path:
    path = out / f"{NAME}.html"
    atomic_write_text(path, fill(document, medium="html", paper=paper))
    return path


def _write_pdf(document: Document, out: Path, paper: Paper) -> Path:
    path = out / f"{NAME}.pdf"
    try:
        content = to_pdf(fill(document, medium="pdf", paper=paper))
    except PangoError as error:
        instead = _write_html(document, out, paper)
        raise DataError(f"{path}: {error}; the same report was written to {instead}") from error
    atomic_write_bytes(path, content)
    return path
