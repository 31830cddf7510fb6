"""A document: the sections that a study's results call for, their figures and tables numbered, filled into templates."""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment
from markupsafe import Markup, escape

from cxrobust.reports.alignment import Line, Piece, lined_up
from cxrobust.reports.bibliography import Citations
from cxrobust.reports.figures.formula import set_formula
from cxrobust.reports.figures.style import Files, dark_css, themed
from cxrobust.reports.fonts import characters_of, font_face_css
from cxrobust.reports.parts import Figure, Group, Table
from cxrobust.reports.pictures import address_of, check_pictures, source
from cxrobust.reports.sections import Kind, Section, sections
from cxrobust.reports.sources import names_all_patients
from cxrobust.reports.templating import Templates
from cxrobust.reports.view import View
from cxrobust.reports.words import (
    REGIME_BEGINS,
    REGIME_ENDS,
    condition_words,
    count,
    listed,
    metric_words,
    percent,
    readable,
)
from cxrobust.study.people import person

Medium = Literal["pdf", "html", "paper"]
"""The PDF, the HTML page, or words alone, as a manuscript takes them."""
Paper = Literal["A4", "Letter"]
PARAGRAPH = "manuscript/methods"
"""The methods in one paragraph, for a manuscript."""
OF_RESAMPLES = {"percentile", "percentile-recentred", "expanded", "basic", "bca", "studentized"}
NAMED = ("DeLong", "McNemar", "Student", "Wilcoxon", "Cochran")
LONG_WORD = 40
"""Letters of a word that may be wider than a column."""
FACES = Markup("/*<faces>*/")
"""Where the faces of an HTML document come to stand; whatever a study says is escaped and cannot hold it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Filled:
    """A section with the values for its template."""

    section: Section
    values: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbered:
    """A figure or table of a document."""

    key: str
    number: str
    """`Figure 1` or `Table 2`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """Sections in order, and the number of each figure and table."""

    kind: Kind | Literal["comparison"]
    view: View
    filled: tuple[Filled, ...]
    numbers: Mapping[str, str]
    """From a key to `Figure 1` or `Table 2`."""
    templates: Path | None = None
    """A user's templates, which come before ours."""
    drawn: dict[str, Files] = field(default_factory=dict)
    """Each figure that was drawn already, so that several media draw none twice."""
    later: frozenset[str] = frozenset()
    """Keys of figures that are being drawn: until they are, a PDF's pages name them by `pictures.address_of`."""

    @property
    def items(self) -> tuple[Figure | Table, ...]:
        """Figures and tables in their order."""
        return tuple(item for one in self.filled for item in _items(one.values.values()))

    def first_of(self, section: str, what: str) -> Numbered | None:
        """Return the first `Figure` or `Table` of a section, None where the document has none."""
        items = (item for one in self.filled if one.section.name == section for item in _items(one.values.values()))
        found = (Numbered(key=item.key, number=self.numbers[item.key]) for item in items)
        return next((one for one in found if what and one.number.startswith(what)), None)


def compose(view: View, kind: Kind = "report", *, templates: Path | None = None) -> Document:
    """Build every section of a document whose data exist, and number figures and tables in their order."""
    known = (sections[name] for name in sections)
    chosen = sorted((one for one in known if kind in one.documents), key=lambda one: (one.order, one.name))
    filled = tuple(Filled(section=one, values=one.build(view)) for one in chosen if one.needs(view))
    numbers: dict[str, str] = {}
    names = {one.name for one in chosen}
    counts = {"Figure": 0, "Table": 0}
    for item in (item for one in filled for item in _items(one.values.values())):
        what = "Figure" if isinstance(item, Figure) else "Table"
        counts[what] += 1
        if item.key in numbers:
            raise ValueError(f"two figures or tables have the key {item.key!r}")
        if item.key in names:
            raise ValueError(f"a figure or table has the name of a section, {item.key!r}, as its key")
        numbers[item.key] = f"{what} {counts[what]}"
    return Document(kind=kind, view=view, filled=filled, numbers=numbers, templates=templates)


def figure_numbers(document: Document) -> dict[str, str]:
    """Return the number of each figure by its text for those who cannot see it: `Figure 1`."""
    found = (item for one in document.filled for item in _items(one.values.values()))
    return {item.alt: document.numbers[item.key] for item in found if isinstance(item, Figure)}


def _items(values: Any) -> Iterator[Figure | Table]:
    for value in values:
        if isinstance(value, Figure | Table):
            yield value
        elif isinstance(value, tuple | list):
            yield from _items(value)


def fill(
    document: Document,
    *,
    medium: Medium,
    paper: Paper,
    report: Document | None = None,
    report_pages: Mapping[str, int] | None = None,
) -> str:
    """Return the document as HTML: with figures as images for the PDF, or for browsers, which need `with_faces` too.

    `report` is the report that the document refers to, itself when absent, and `report_pages` the page of each anchor
    of its PDF.
    """
    environment = _shared_environment(document, medium, paper, report_pages or {}, report=report)
    bodies = _bodies(document, environment)
    script = Markup(environment.get_template("report.js").render())  # noqa: S704  hashed below, so that no other runs
    environment.globals.update(script=script, script_hash=base64.b64encode(sha256(script.encode()).digest()).decode())
    template = environment.get_template(f"{document.kind}.html.j2")
    html = template.render(bodies=bodies, font_faces=FACES if medium == "html" else "")
    if document.templates is not None and medium == "pdf":
        _check_pictures(bodies, html, document.templates)
    return html


def _check_pictures(bodies: Iterable[tuple[Section, str]], html: str, folder: Path) -> None:
    """Refuse a picture that cannot be shown, by the file of a user's folder that gives it, or by the folder."""
    for section, body in bodies:
        template = folder / "sections" / f"{section.name}.html.j2"
        check_pictures(body, place=template if template.is_file() else folder)
    check_pictures(html, place=folder)


def with_faces(html: str, faces: str | None = None) -> str:
    """Return an HTML document with the faces that it needs embedded, or with those given."""
    return html.replace(FACES, font_face_css(letters_of(html)) if faces is None else faces, 1)


def letters_of(html: str) -> str:
    """Return the characters that the faces of an HTML document must hold."""
    return characters_of(html.replace(FACES, ""))


def section_bodies(document: Document) -> tuple[dict[str, Markup], Citations]:
    """Return the words of each section as HTML, without its figures, the methods in a paragraph, and the works they cite."""
    environment = _shared_environment(document, "paper", "A4", {})
    bodies = {section.name: body for section, body in _bodies(document, environment)}
    values = {one.section.name: one.values for one in document.filled}
    if "methods" in values and "primary" in values:
        paragraph = environment.get_template(f"{PARAGRAPH}.html.j2").render(**_of_paragraph(document, values))
        bodies[PARAGRAPH] = Markup(paragraph)  # noqa: S704  our own template, escaped
    citations = environment.globals["citations"]
    assert isinstance(citations, Citations)  # noqa: S101  put there by _environment
    return bodies, citations


def _of_paragraph(document: Document, values: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the methods in one paragraph are filled with, beside what every template has."""
    view = document.view
    tests = str(values["primary"]["tests"])
    return {
        "methods": values["methods"],
        "primary": values["primary"],
        "primary_condition": condition_words(view.primary) if view.primary else None,
        "metrics": listed([metric_words(metric).name for metric in view.metrics]),
        "tests": tests[:1].lower() + tests[1:] if tests[1:2].islower() and not tests.startswith(NAMED) else tests,
        "other_intervals": set(values["methods"]["intervals"]) - OF_RESAMPLES,
    }


def _bodies(document: Document, environment: Environment) -> list[tuple[Section, Markup]]:
    return [
        (one.section, Markup(environment.get_template(f"sections/{one.section.name}.html.j2").render(**one.values)))  # noqa: S704  our own template, escaped
        for one in document.filled
    ]


def _shared_environment(
    document: Document,
    medium: Medium,
    paper: Paper,
    report_pages: Mapping[str, int],
    *,
    report: Document | None = None,
) -> Environment:
    environment = _environment(document, medium)
    names = {one.section.name for one in document.filled}
    shared = {
        "kind": document.kind,
        "report_pages": report_pages,
        "first_of": document.first_of,
        "first_of_report": (report or document).first_of,
        "study": document.view.results.study,
        "results": document.view.results,
        "view": document.view,
        "authors": [person(one) for one in document.view.results.study["study"].get("authors") or ()],
        "medium": medium,
        "paper": paper,
        "knows_patients": names_all_patients(document.view),
        "has": lambda key: key in document.numbers or key in names,
    }
    environment.globals.update(shared)
    return environment


def _environment(document: Document, medium: Medium) -> Environment:
    packages = dict.fromkeys(["cxrobust", *(one.section.package for one in document.filled)])
    environment = Templates(packages, folder=document.templates)
    data = document.view.results.data
    citations = Citations(data=data.get("citation") or "", title=data["name"])

    def ref(key: str) -> Markup:
        return Markup('<a class="ref" href="#{}">{}</a>').format(
            key, document.numbers[key].replace(" ", "\N{NO-BREAK SPACE}")
        )

    environment.globals.update(
        ref=ref,
        number_of=lambda key: document.numbers[key].replace(" ", "\N{NO-BREAK SPACE}"),
        cite=citations.cite,
        citations=citations,
        picture=lambda figure: picture(figure, medium=medium, drawn=document.drawn, later=document.later),
        lined_up=_lines,
        figure_colours=dark_css(),
        formula=lambda latex, said, display=True: formula(latex, said, medium=medium, display=display),
    )
    environment.filters.update(
        prose=prose, set_apart=set_apart, count=count, percent=percent, readable=lambda text: readable(str(text))
    )
    return environment


def prose(text: str) -> Markup:
    """Escape a sentence and set the regimes' names in their own face."""
    escaped = str(escape(may_break(readable_but_marks(str(text)))))  # what is undefined says so here
    marked = escaped.replace(REGIME_BEGINS, '<b class="regime">').replace(REGIME_ENDS, "</b>")
    return Markup(marked)  # noqa: S704  escaped above


def may_break(text: str) -> str:
    """Let a word that fills a column, such as a long name without spaces, go on in the next line after a mark in it.

    Where a stretch without marks is long, it may be broken too. A hash, which is copied, stays as it is: its cells break anywhere.

    >>> may_break("x" * 40).split("\N{ZERO WIDTH SPACE}")
    ['xxxxxxxxxxxxxxxxxxxx', 'xxxxxxxxxxxxxxxxxxxx']
    >>> may_break("preference-human/preprocessor_config.json").split("\N{ZERO WIDTH SPACE}")
    ['preference-', 'human/', 'preprocessor_', 'config.', 'json']
    >>> may_break("0f" * 32) == "0f" * 32
    True
    """
    return re.sub(
        rf"(?<!\S)(?![0-9a-f]+(?!\S))[^\s\N{{ZERO WIDTH SPACE}}]{{{LONG_WORD},}}",
        lambda word: "\N{ZERO WIDTH SPACE}".join(
            part
            for stretch in re.split(r"(?<=[._/=-])(?=\w)", word[0])
            for part in re.findall(f".{{1,{LONG_WORD // 2}}}", stretch)
        ),
        text,
    )


def _lines(table: Table) -> list[tuple[Group, list[list[Line]]]]:
    return lined_up(table.columns, table.groups)


def set_apart(pieces: Sequence[Piece]) -> Markup:
    """Return a cell's text with the room that its numbers need."""
    return Markup("").join(
        Markup('<span style="padding:0 {:g}ch 0 {:g}ch">{}</span>').format(one.right, one.left, prose(one.text))
        if one.left or one.right
        else prose(one.text)
        for one in pieces
    )


def readable_but_marks(text: str) -> str:
    """Clean text of what no document may hold, and keep the marks of regimes' names."""
    parts = re.split(f"([{REGIME_BEGINS}{REGIME_ENDS}])", text)
    return "".join(part if part in {REGIME_BEGINS, REGIME_ENDS} else readable(part) for part in parts)


def picture(figure: Figure, *, medium: Medium, drawn: dict[str, Files], later: frozenset[str] = frozenset()) -> Markup:
    """Return a figure as an image element for the PDF, or as an inline SVG for browsers; nothing where words are wanted."""
    if medium == "paper":
        return Markup("")
    if medium == "pdf" and figure.key in later - drawn.keys():
        return Markup('<img src="{}" alt="{}">').format(address_of(figure.key), figure.alt)
    if figure.key not in drawn:
        drawn[figure.key] = figure.drawing.files()
    files = drawn[figure.key]
    if medium == "pdf":
        return Markup('<img src="{}" alt="{}">').format(source(files.pdf), figure.alt)
    return Markup(inline_svg(figure, files.telling))  # noqa: S704  matplotlib's own output


def formula(latex: str, said: str, *, medium: Medium, display: bool) -> Markup:
    """Return a formula as an image element for the PDF, or as an inline SVG for browsers; `said` is it in words.

    Where words are wanted it is its LaTeX.
    """
    if medium == "paper":
        return Markup('<span class="math{}" data-latex="{}">{}</span>').format(
            " display" if display else "", latex, said
        )
    size, ink = (12.4, "black") if medium == "pdf" else (16.0, "currentColor")
    made = set_formula(latex, size=size, ink=ink, display=display)
    style = f"vertical-align:{made.below:.1f}px"
    if medium == "pdf":
        data = base64.b64encode(made.svg.encode()).decode()
        return Markup('<img class="math" style="{}" src="data:image/svg+xml;base64,{}" alt="{}">').format(
            style, data, said
        )
    opening = Markup('<svg class="math" role="img" style="{}" aria-label="{}" ').format(style, said)
    return opening + Markup(made.svg.removeprefix("<svg "))  # noqa: S704  ziamath's own output


def inline_svg(figure: Figure, svg: str) -> str:
    """Return the SVG with ids that no other figure of the page has, scaled by the page, and named for screen readers."""
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{figure.key}-", themed(svg))
    opening = svg[: svg.index(">") + 1]
    width = re.search(r'\bwidth="([\d.]+)pt"', opening)
    wide = float(width[1]) if width else 493.0
    kept = re.sub(r'\s(?:width|height)="[^"]*"', "", opening)
    attributes = f' role="img" aria-label="{escape(figure.alt)}" style="--wide:{wide:.0f}pt">'
    return kept[:-1] + attributes + svg[len(opening) :]
