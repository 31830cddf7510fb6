"""Results to documents, each as PDF and HTML and written whole or not at all."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from cxrobust.environment import installed_versions
from cxrobust.files import atomic_write_bytes, atomic_write_text, sha256_json
from cxrobust.reports.archive import Packed, archived
from cxrobust.reports.beside import MOST_WORKERS, Beside, Task
from cxrobust.reports.document import Document, Paper, compose, fill, letters_of, with_faces
from cxrobust.reports.drawing import (
    begin_drawing,
    draw_files,
    draw_telling,
    end_drawing,
    pictures_of,
    share_drawn,
    with_drawn,
)
from cxrobust.reports.evidence import attachments_of, evidence, pack_estimates, pack_results, printed_with
from cxrobust.reports.figures.style import ONE_COLUMN, TWO_COLUMNS, Files
from cxrobust.reports.fonts import font_face_css
from cxrobust.reports.kept import BYTES, TEXT, Kept, Wanted, drawn_with
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
    formats = _possible(formats, say)
    view = View.of(results, images=images)
    report = compose(view, templates=templates)
    kept = Kept(keep, view=view)
    with Beside(MOST_WORKERS if {"pdf", "paper"} & set(formats) else 0, shared=(view,)) as beside:
        draw = draw_files if {"pdf", "paper"} & set(formats) else draw_telling
        figures = begin_drawing(report, beside, kept, draw=draw) if {"pdf", "html", "paper"} & set(formats) else {}
        estimates = beside.begin(pack_estimates, view) if "pdf" in formats else None
        narrow = begin_drawing(report, beside, kept, draw=draw, width=ONE_COLUMN) if "paper" in formats else {}
        written = _documents(
            report,
            formats=formats,
            out=out,
            paper=paper,
            packed=packed,
            estimates=estimates,
            figures=figures,
            beside=beside,
            kept=kept,
        )
        if "paper" in formats:
            written.append(write_manuscript(report, out, begun={ONE_COLUMN: narrow, TWO_COLUMNS: figures}))
        if "model-cards" in formats:
            written.append(write_model_cards(view, out, templates=templates))
    return tuple(written)


def _possible(formats: Sequence[Format], say: Callable[[str], None]) -> tuple[Format, ...]:
    """Return the formats that can be written here: HTML in the place of PDF, and why, where its libraries are missing."""
    if "pdf" in formats:
        try:
            pango_version()
        except PangoError as error:
            say(f"{error}; the documents are HTML alone until then")
            return tuple(dict.fromkeys("html" if one == "pdf" else one for one in formats))
    return tuple(formats)


def _documents(
    report: Document,
    *,
    formats: Sequence[Format],
    out: Path,
    paper: Paper,
    packed: Packed | None,
    estimates: Task[Packed] | None,
    figures: dict[str, Wanted[Files]],
    beside: Beside,
    kept: Kept,
) -> list[Path]:
    """Write report and appendix and return their paths.

    The report's pages are laid out while its figures are drawn; the appendix is printed beside, once it is known on
    which page the report has what.
    """
    view = report.view
    documents = (report, compose(view, "appendix", templates=report.templates))
    printed = begin_printing(report, figures, paper=paper, kept=kept) if estimates is not None else None
    if {"pdf", "html"} & set(formats):
        end_drawing(report, figures)
    share_drawn(report, documents[1])
    if estimates is not None and printed is not None:
        html = fill(documents[1], medium="pdf", paper=paper, report=report, report_pages=printed.pages)
        appendix = kept.begin(beside, to_pdf, html, name="appendix-pdf", key=key_of_pages(html), form=BYTES)
    filled = {one.kind: fill(one, medium="html", paper=paper, report=report) for one in documents if "html" in formats}
    letters = letters_of("".join(filled.values()))
    faces = kept.begin(beside, font_face_css, letters, name="faces", key=key_of_faces(letters), form=TEXT)
    if estimates is not None and printed is not None:
        gathered = evidence(view.results, folder=view.images)
        numbers = (packed or pack_results(results_text(view.results)), estimates.result())
        for document, pages in zip(documents, (printed.pdf, appendix.result), strict=True):
            carried = attachments_of(document, gathered, numbers, report=report, kind=document.kind, paper=paper)
            atomic_write_bytes(out / f"{document.kind}.pdf", archived(pages(), carried))
    for kind, text in filled.items():
        atomic_write_text(out / f"{kind}.html", with_faces(text, faces.result()))
    media = [one for one in formats if one in {"pdf", "html"}]
    return [out / f"{kind}.{medium}" for kind in KINDS for medium in media]


@dataclass(frozen=True, kw_only=True, slots=True)
class Printed:
    """The page of each anchor of a document, and how to get its PDF."""

    pages: Mapping[str, int]
    pdf: Callable[[], bytes]


def begin_printing(report: Document, figures: dict[str, Wanted[Files]], *, paper: Paper, kept: Kept) -> Printed:
    """Lay the report out, or take it as it was printed before with the same figures from the same HTML."""
    later = {key: task for key, task in figures.items() if not task.is_kept}
    end_drawing(report, {key: task for key, task in figures.items() if task.is_kept})
    html = fill(replace(report, later=frozenset(later)), medium="pdf", paper=paper)
    key = "" if later else key_of_pages(html)
    pages, content = kept.get("report-pages", key), kept.get("report-pdf", key)
    if pages is not None and content is not None:
        found: bytes = content
        return Printed(pages=json.loads(pages), pdf=lambda: found)
    laid_out = lay_out(html, pictures_of(report, later))

    def pdf() -> bytes:
        made = laid_out.pdf()
        end_drawing(report, later)
        key = key_of_pages(with_drawn(html, report))
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
    report: Document | None = None
    pages: Mapping[str, int] = {}
    for one in KINDS[: KINDS.index(kind) + 1]:
        document = compose(view, one, templates=templates)
        laid_out = lay_out(fill(document, medium="pdf", paper=paper, report=report, report_pages=pages))
        report, pages = report or document, laid_out.pages
    return archived(laid_out.pdf(), ()), document
