"""The comparison of two runs as files: Markdown, CSV, HTML and PDF."""

from collections.abc import Callable, Sequence
from pathlib import Path

from cxrobust.comparison.evidence import NAME, PAIRED, SIDE_BY_SIDE, attachments
from cxrobust.comparison.parts import Part, estimates_csv, parts
from cxrobust.comparison.runs import Paired, Run
from cxrobust.comparison.text import to_markdown
from cxrobust.files import atomic_write_bytes, atomic_write_text
from cxrobust.reports.archive import archived
from cxrobust.reports.document import Document, Filled, Medium, Paper, fill, with_faces
from cxrobust.reports.markdown import markdown
from cxrobust.reports.pdf import PangoError, to_pdf
from cxrobust.reports.sections import Section, always
from cxrobust.reports.templating import check_folder
from cxrobust.reports.view import View
from cxrobust.results import write_estimates

TITLE = "What changed between two runs"


def write_comparison(
    old: Run,
    new: Run,
    paired: Paired,
    *,
    out: Path,
    formats: Sequence[Medium] = ("pdf", "html"),
    paper: Paper = "A4",
    templates: Path | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> tuple[Path, ...]:
    """Write `comparison.md`, `.csv`, `.html` and `.pdf`, and `comparison-paired.csv` where there is a paired test.

    `templates` is a folder of a user's templates, which come before ours. `say` is told in one sentence when the PDF's
    system libraries are missing; there is no PDF then.
    """
    if templates is not None:
        check_folder(templates)
    found = parts(old, new, paired)
    side_by_side = estimates_csv(old, new)
    lines = [f"- {which}: {markdown(name)}, {markdown(title)}" for which, name, title in _runs(old, new)]
    written = [out / f"{NAME}.md", out / SIDE_BY_SIDE]
    atomic_write_text(written[0], to_markdown(TITLE, lines, found))
    atomic_write_text(written[1], side_by_side)
    if paired.estimates:
        written.append(out / PAIRED)
        write_estimates(paired.estimates, written[-1])
    document = _document(old, new, found, templates)
    if "html" in formats:
        written.append(out / f"{NAME}.html")
        atomic_write_text(written[-1], with_faces(fill(document, medium="html", paper=paper)))
    if "pdf" in formats:
        try:
            printed = to_pdf(fill(document, medium="pdf", paper=paper))
        except PangoError as error:
            say(f"{error}; the comparison has no PDF until then")
        else:
            carried = attachments(old, new, paired, document=document, side_by_side=side_by_side, paper=paper)
            written.append(out / f"{NAME}.pdf")
            atomic_write_bytes(written[-1], archived(printed, carried))
    return tuple(written)


def print_again(
    old: Run, new: Run, paired: Paired, *, paper: Paper, templates: Path | None = None
) -> tuple[bytes, Document]:
    """Return a comparison's PDF as `write_comparison` writes it, but without attachments, and what it was filled with.

    Raises
    ------
    PangoError
        When the PDF's system libraries are missing.
    """
    document = _document(old, new, parts(old, new, paired), templates)
    return archived(to_pdf(fill(document, medium="pdf", paper=paper)), ()), document


def _runs(old: Run, new: Run) -> list[tuple[str, str, str]]:
    return [(which, run.name, _title(run)) for which, run in (("Old run", old), ("New run", new))]


def _title(run: Run) -> str:
    return str(run.results.study["study"]["title"])


def _document(old: Run, new: Run, found: Sequence[Part], templates: Path | None) -> Document:
    tables = [part.table for part in found if part.table is not None]
    one = Section(name=NAME, order=0, title="", needs=always, build=lambda view: {})
    return Document(
        kind="comparison",
        view=View.of(new.results, images=None),
        filled=(Filled(section=one, values={"runs": _runs(old, new), "parts": found}),),
        numbers={table.key: f"Table {place}" for place, table in enumerate(tables, start=1)},
        templates=templates,
    )
