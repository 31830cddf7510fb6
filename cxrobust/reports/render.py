"""Results to documents, each as PDF and HTML and written whole or not at all."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

from cxrobust.files import atomic_write_bytes, atomic_write_text
from cxrobust.reports.archive import archived, pack
from cxrobust.reports.beside import MOST_WORKERS, Beside
from cxrobust.reports.document import Document, Paper, compose, fill, with_faces
from cxrobust.reports.drawing import begin_drawing, end_drawing
from cxrobust.reports.evidence import Evidence, attachments_of, evidence
from cxrobust.reports.manuscript.write import begin_figures, write_manuscript
from cxrobust.reports.model_cards import write_model_cards
from cxrobust.reports.pdf import PangoError, lay_out, to_pdf
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
    text: str | None = None,
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
    text
        The text that the results were read from, to attach it as it is.

    Returns
    -------
    tuple[Path, ...]
        The documents written, in the order of `formats`, the report first; of the folder `paper` its
        `paper.tex`, and the folder `model-cards`.
    """
    if templates is not None:
        check_folder(templates)
    view = View.of(results, images=images)
    report = compose(view, templates=templates)
    with Beside(MOST_WORKERS if {"pdf", "paper"} & set(formats) else 0) as beside:  # a worker takes a second to start
        figures = begin_drawing(report, beside) if {"pdf", "html"} & set(formats) else {}
        gathered = evidence(results, folder=images, text=text) if "pdf" in formats else None
        end_drawing(report, figures)
        begun = begin_figures(report, beside) if "paper" in formats else None
        try:
            written = _documents(report, formats=formats, out=out, paper=paper, gathered=gathered, beside=beside)
        except PangoError as error:
            say(f"{error}; the documents are HTML alone until then")
            without = tuple(dict.fromkeys("html" if one == "pdf" else one for one in formats))
            return render(results, formats=without, out=out, images=images, paper=paper, templates=templates)
        written += [write_manuscript(report, out, begun=begun)] if begun is not None else []
        written += [write_model_cards(view, out, templates=templates)] if "model-cards" in formats else []
    return tuple(written)


def _documents(
    report: Document,
    *,
    formats: Sequence[Format],
    out: Path,
    paper: Paper,
    gathered: Evidence | None,
    beside: Beside,
) -> list[Path]:
    """Write report and appendix; the appendix is printed beside, once it is known on which page the report has what."""
    documents = (report, compose(report.view, "appendix", templates=report.templates))
    with ThreadPoolExecutor(max_workers=1) as executor:
        printing: dict[str, Callable[[], bytes]] = {}
        if gathered is not None:
            packed = {one.name: executor.submit(pack, one) for one in gathered.attachments}
            laid_out = lay_out(fill(report, medium="pdf", paper=paper))
            html = fill(documents[1], medium="pdf", paper=paper, report_pages=laid_out.pages)
            printing = {"report": laid_out.pdf, "appendix": beside.begin(to_pdf, html).result}
        filled = [fill(one, medium="html", paper=paper) for one in documents if "html" in formats]
        begun = [beside.begin(with_faces, one) for one in filled]
        if gathered is not None:
            for document in documents:
                content = printing[document.kind]()
                attached = attachments_of(document, gathered, report=report, kind=document.kind, paper=paper)
                carried = [packed[one.name].result() if one.name in packed else pack(one) for one in attached]
                atomic_write_bytes(out / f"{document.kind}.pdf", archived(content, carried))
        for document, task in zip(documents, begun, strict=False):
            atomic_write_text(out / f"{document.kind}.html", task.result())
    media = [one for one in formats if one in {"pdf", "html"}]
    return [out / f"{kind}.{medium}" for kind in KINDS for medium in media]


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
        laid_out = lay_out(fill(document, medium="pdf", paper=paper, report_pages=pages))
        pages = laid_out.pages
    return archived(laid_out.pdf(), ()), document
