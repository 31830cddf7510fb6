"""Results to documents, each as PDF and HTML and written whole or not at all."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

from cxrobust.files import atomic_write_bytes, atomic_write_text
from cxrobust.reports.archive import archived, pack
from cxrobust.reports.document import Document, Paper, compose, fill
from cxrobust.reports.evidence import Evidence, attachments_of, evidence
from cxrobust.reports.manuscript.write import begin_figures, write_manuscript
from cxrobust.reports.model_cards import write_model_cards
from cxrobust.reports.pdf import PangoError, Printed, to_pdf
from cxrobust.reports.sections import Kind
from cxrobust.reports.templating import check_folder
from cxrobust.reports.view import View
from cxrobust.results import Results
from cxrobust.study import Format

KINDS: tuple[Kind, ...] = get_args(Kind)


def render(
    results: Results,
    *,
    formats: Sequence[Format],
    out: Path,
    images: Path | None,
    paper: Paper = "A4",
    templates: Path | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> tuple[Path, ...]:
    """Write the documents of a study: the report, the appendix alone, the folder for a manuscript, and model cards.

    Parameters
    ----------
    results
        Everything that the documents say.
    formats
        Of `pdf`, `html`, `paper` and `model-cards`.
    out
        Folder for `report.pdf`, `report.html`, `appendix.pdf`, `appendix.html`, and the folders `paper` and
        `model-cards`.
    images
        Folder of the predictions, which example images' paths are relative to; None to show and attach none.
    templates
        A folder of a user's templates, which come before ours.
    say
        Told in one sentence when the PDF's system libraries are missing; HTML is then written instead.

    Returns
    -------
    tuple[Path, ...]
        The documents written, in the order of `formats`, the report first; of the folder `paper` its
        `paper.tex`, and the folder `model-cards`.
    """
    if templates is not None:
        check_folder(templates)
    view = View.of(results, images=images)
    written: list[Path] = []
    pages: Mapping[str, int] = {}
    report = compose(view, templates=templates)
    begun = begin_figures(report) if "paper" in formats else None
    gathered = evidence(results, folder=images) if "pdf" in formats else None
    for kind in KINDS:
        document = report if kind == "report" else compose(view, kind, templates=templates)
        for medium in formats:
            if medium in {"paper", "model-cards"}:
                continue
            if medium == "html" or gathered is None:
                written.append(_write_html(document, out, paper))
                continue
            try:
                path, found = _write_pdf(document, out, paper, pages, gathered)
            except PangoError as error:
                say(f"{error}; the documents are HTML alone until then")
                without = tuple(dict.fromkeys("html" if one == "pdf" else one for one in formats))
                return render(results, formats=without, out=out, images=images, paper=paper, templates=templates)
            written.append(path)
            pages = found if kind == "report" else pages
    written += [write_manuscript(report, out, drawn=begun)] if begun is not None else []
    written += [write_model_cards(view, out, templates=templates)] if "model-cards" in formats else []
    return tuple(written)


def _write_html(document: Document, out: Path, paper: Paper) -> Path:
    path = out / f"{document.kind}.html"
    atomic_write_text(path, fill(document, medium="html", paper=paper))
    return path


def _write_pdf(
    document: Document, out: Path, paper: Paper, report_pages: Mapping[str, int], gathered: Evidence
) -> tuple[Path, Mapping[str, int]]:
    """Write the PDF and return its path and the page of each of its anchors."""
    path = out / f"{document.kind}.pdf"
    with ThreadPoolExecutor(max_workers=1) as executor:
        attached = attachments_of(document, gathered, kind=document.kind, paper=paper)
        packed = [executor.submit(pack, one) for one in attached]
        printed = _printed(document, paper, report_pages)
        atomic_write_bytes(path, archived(printed.content, [one.result() for one in packed]))
    return path, printed.pages


def _printed(document: Document, paper: Paper, report_pages: Mapping[str, int]) -> Printed:
    return to_pdf(fill(document, medium="pdf", paper=paper, report_pages=report_pages))


def print_again(
    results: Results, *, kind: Kind, images: Path | None, paper: Paper, templates: Path | None = None
) -> tuple[bytes, Document]:
    """Return a document's PDF as `render` writes it, but without attachments, and what it was filled with.

    Raises
    ------
    PangoError
        When the PDF's system libraries are missing.
    """
    view = View.of(results, images=images)
    pages: Mapping[str, int] = {}
    for one in KINDS[: KINDS.index(kind) + 1]:
        document = compose(view, one, templates=templates)
        printed = _printed(document, paper, pages)
        pages = printed.pages if one == "report" else pages
    return archived(printed.content, ()), document
