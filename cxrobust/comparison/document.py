"""The comparison of two runs as files: Markdown, CSV, HTML and PDF."""

from collections.abc import Callable, Sequence
from pathlib import Path

from cxrobust.comparison.parts import Part, estimates_csv, parts
from cxrobust.comparison.runs import Paired, Run
from cxrobust.comparison.text import to_markdown
from cxrobust.files import atomic_write_bytes, atomic_write_text
from cxrobust.reports.document import Document, Filled, Medium, Paper, fill, with_faces
from cxrobust.reports.pdf import PangoError, to_pdf
from cxrobust.reports.sections import Section, always
from cxrobust.reports.view import View
from cxrobust.results import write_estimates

NAME = "comparison"
TITLE = "What changed between two runs"


def write_comparison(
    old: Run,
    new: Run,
    paired: Paired,
    *,
    out: Path,
    formats: Sequence[Medium] = ("pdf", "html"),
    paper: Paper = "A4",
    say: Callable[[str], None] = lambda message: None,
) -> tuple[Path, ...]:
    """Write `comparison.md`, `.csv`, `.html` and `.pdf`, and `comparison-paired.csv` where there is a paired test.

    `say` is told in one sentence when the PDF's system libraries are missing; there is no PDF then.
    """
    found = parts(old, new, paired)
    runs = [("Old run", old.name, _title(old)), ("New run", new.name, _title(new))]
    lines = [f"- {which}: `{name}`, {title}" for which, name, title in runs]
    written = [out / f"{NAME}.md", out / f"{NAME}.csv"]
    atomic_write_text(written[0], to_markdown(TITLE, lines, found))
    atomic_write_text(written[1], estimates_csv(old, new))
    if paired.estimates:
        written.append(out / f"{NAME}-paired.csv")
        write_estimates(paired.estimates, written[-1])
    document = _document(new, runs, found)
    if "html" in formats:
        written.append(out / f"{NAME}.html")
        atomic_write_text(written[-1], with_faces(fill(document, medium="html", paper=paper)))
    if "pdf" in formats:
        try:
            printed = to_pdf(fill(document, medium="pdf", paper=paper))
        except PangoError as error:
            say(f"{error}; the comparison has no PDF until then")
        else:
            written.append(out / f"{NAME}.pdf")
            atomic_write_bytes(written[-1], printed)
    return tuple(written)


def _title(run: Run) -> str:
    return str(run.results.study["study"]["title"])


def _document(new: Run, runs: Sequence[tuple[str, str, str]], found: Sequence[Part]) -> Document:
    tables = [part.table for part in found if part.table is not None]
    one = Section(name=NAME, order=0, title="", needs=always, build=lambda view: {})
    return Document(
        kind="comparison",
        view=View.of(new.results, images=None),
        filled=(Filled(section=one, values={"runs": runs, "parts": found}),),
        numbers={table.key: f"Table {place}" for place, table in enumerate(tables, start=1)},
    )
