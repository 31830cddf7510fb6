"""Results to documents, each as PDF and HTML and written whole or not at all."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from cxrobust.environment import installed_versions
from cxrobust.files import atomic_write_bytes, atomic_write_text, sha256_json
from cxrobust.reports.archive import Packed, archived
from cxrobust.reports.beside import MOST_WORKERS, Beside, Task
from cxrobust.reports.document import Document, Paper, compose, fill, letters_of, with_faces
from cxrobust.reports.drawing import begin_drawing, draw_files, draw_telling, end_drawing, share_drawn
from cxrobust.reports.evidence import attachments_of, evidence, pack_estimates, pack_results, printed_with
from cxrobust.reports.figures.style import ONE_COLUMN, TWO_COLUMNS
from cxrobust.reports.fonts import font_face_css
from cxrobust.reports.kept import BYTES, TEXT, Kept, drawn_with
from cxrobust.reports.manuscript.write import write_manuscript
from cxrobust.reports.model_cards import write_model_cards
from cxrobust.reports.pdf import PangoError, lay_out, pango_version, to_pdf
from cxrobust.reports.sections import Kind
from cxrobust.reports.templating import check_folder
from cxrobust.reports.view import View
from cxrobust.results import Results, results_text
from cxrobust.study import Format

KINDS: tuple[Kind, ...] = get_args(Kind)
LAID_OUT_WITH = (
    "tinycss2",
    "cssselect2",
    "tinyhtml5",
    "pyphen",
    "cffi",
    "font-source-sans-pro",
    "font-source-serif-pro",
)
EMBEDDED_WITH = ("fonttools", "brotli", "font-source-sans-pro", "font-source-serif-pro")
"""Packages beside those of `printed_with` whose version can change pages or faces."""


def render(
    results: Results,
    *,
    formats: Sequence[Format],
    out: Path,
    images: Path | None,
    paper: Paper = "A4",
    templates: Path | None = None,
    say: Callable[[str], None] = lambda message: None,
    packed: Packed | None = None,
    keep: Path | None = None,
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
    packed
        The text that the results were read from, as it is attached.
    keep
        A folder for what is drawn and printed, so that only what changes is drawn and printed again.

    Returns
    -------
    tuple[Path, ...]
        The documents written, in the order of `formats`, the report first; of the folder `paper` its
        `paper.tex`, and the folder `model-cards`.
    """
    if templates is not None:
        check_folder(templates)
    if "pdf" in formats:
        try:
            pango_version()
        except PangoError as error:
            say(f"{error}; the documents are HTML alone until then")
            formats = tuple(dict.fromkeys("html" if one == "pdf" else one for one in formats))
    view = View.of(results, images=images)
    report = compose(view, templates=templates)
    kept = Kept(keep, view=view)
    with Beside(MOST_WORKERS if {"pdf", "paper"} & set(formats) else 0, shared=(view,)) as beside:
        draw = draw_files if {"pdf", "paper"} & set(formats) else draw_telling
        figures = begin_drawing(report, beside, kept, draw=draw) if {"pdf", "html", "paper"} & set(formats) else {}
        estimates = beside.begin(pack_estimates, view) if "pdf" in formats else None
        narrow = begin_drawing(report, beside, kept, draw=draw, width=ONE_COLUMN) if "paper" in formats else {}
        if {"pdf", "html"} & set(formats):
            end_drawing(report, figures)
        written, finish = _documents(
            report, formats=formats, out=out, paper=paper, packed=packed, estimates=estimates, beside=beside, kept=kept
        )
        written += (
            [write_manuscript(report, out, begun={ONE_COLUMN: narrow, TWO_COLUMNS: figures})]
            if "paper" in formats
            else []
        )
        written += [write_model_cards(view, out, templates=templates)] if "model-cards" in formats else []
        finish()
    return tuple(written)


def _documents(
    report: Document,
    *,
    formats: Sequence[Format],
    out: Path,
    paper: Paper,
    packed: Packed | None,
    estimates: Task[Packed] | None,
    beside: Beside,
    kept: Kept,
) -> tuple[list[Path], Callable[[], None]]:
    """Write the report's PDF; return the paths of report and appendix, and what writes the others.

    The appendix is printed beside, once it is known on which page the report has what.
    """
    view = report.view
    documents = (report, compose(view, "appendix", templates=report.templates))
    share_drawn(report, documents[1])
    printing: dict[str, Callable[[], bytes]] = {}
    if estimates is not None:
        printed = begin_printing(fill(report, medium="pdf", paper=paper), kept)
        html = fill(documents[1], medium="pdf", paper=paper, report_pages=printed.pages)
        appendix = kept.begin(beside, to_pdf, html, name="appendix-pdf", key=key_of_pages(html), form=BYTES)
        printing = {"report": printed.pdf, "appendix": appendix.result}
    filled = [fill(one, medium="html", paper=paper) for one in documents if "html" in formats]
    letters = letters_of("".join(filled))
    faces = kept.begin(beside, font_face_css, letters, name="faces", key=key_of_faces(letters), form=TEXT)
    if estimates is not None:
        gathered = evidence(view.results, folder=view.images)
        numbers = (packed or pack_results(results_text(view.results)), estimates.result())

    def write_pdf(document: Document) -> None:
        content = printing[document.kind]()
        carried = attachments_of(document, gathered, numbers, report=report, kind=document.kind, paper=paper)
        atomic_write_bytes(out / f"{document.kind}.pdf", archived(content, carried))

    def finish() -> None:
        if estimates is not None:
            write_pdf(documents[1])
        for document, text in zip(documents, filled, strict=False):
            atomic_write_text(out / f"{document.kind}.html", with_faces(text, faces.result()))

    if estimates is not None:
        write_pdf(report)
    media = [one for one in formats if one in {"pdf", "html"}]
    return [out / f"{kind}.{medium}" for kind in KINDS for medium in media], finish


@dataclass(frozen=True, kw_only=True, slots=True)
class Printed:
    """The page of each anchor of a document, and how to get its PDF."""

    pages: Mapping[str, int]
    pdf: Callable[[], bytes]


def begin_printing(html: str, kept: Kept) -> Printed:
    """Lay the report out, or take it as it was printed before from the same HTML."""
    key = key_of_pages(html)
    pages, content = kept.get("report-pages", key), kept.get("report-pdf", key)
    if pages is not None and content is not None:
        found: bytes = content
        return Printed(pages=json.loads(pages), pdf=lambda: found)
    laid_out = lay_out(html)

    def pdf() -> bytes:
        made = laid_out.pdf()
        kept.put("report-pages", key, json.dumps(laid_out.pages).encode())
        kept.put("report-pdf", key, made)
        return made

    return Printed(pages=laid_out.pages, pdf=pdf)


def key_of_pages(html: str) -> str:
    """Return the key of what a document's HTML is printed as here."""
    return sha256_json([html, printed_with(), installed_versions(LAID_OUT_WITH)])


def key_of_faces(letters: str) -> str:
    """Return the key of the faces that hold these letters."""
    return sha256_json([letters, drawn_with(), installed_versions(EMBEDDED_WITH)])


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
