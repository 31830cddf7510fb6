"""The folder `paper/` from a document: what the report says and shows, for a manuscript."""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from cxrobust.errors import DataError
from cxrobust.files import atomic_write_bytes, atomic_write_text
from cxrobust.reports.document import PARAGRAPH, Document, section_bodies
from cxrobust.reports.figures.style import ONE_COLUMN, TWO_COLUMNS, Files
from cxrobust.reports.kept import Wanted
from cxrobust.reports.manuscript.latex import PREAMBLE, Latex, escape, label
from cxrobust.reports.manuscript.markup import Element, read, to_latex
from cxrobust.reports.manuscript.numbers import macros, numbers_tex
from cxrobust.reports.manuscript.references import references_bib
from cxrobust.reports.manuscript.tables import Words, csv_of, html_of, is_running, latex_of
from cxrobust.reports.parts import Figure, Table
from cxrobust.reports.sections import sections
from cxrobust.reports.sources import names_all_patients
from cxrobust.reports.templating import Templates
from cxrobust.study.people import person

METHODS = ("design", "estimands", "registration", "methods")
"""Sections whose sentences make up the methods of the supplement, those that a study has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A figure or a table with what the report says of it."""

    item: Figure | Table
    words: Words
    drawn: Element
    """The element that the report shows it by."""


def write_manuscript(document: Document, out: Path, *, begun: Mapping[float, dict[str, Wanted[Files]]]) -> Path:
    """Write `OUT/paper/` and return `OUT/paper/paper.tex`, the example that takes in all of it.

    `begun` holds the figures by width in mm and by key, as `begin_drawing` began them.
    """
    folder = out / "paper"
    bodies, citations = section_bodies(document)
    trees = {name: read(body) for name, body in bodies.items()}
    shown = _shown(document, trees)
    figures = {name: one for name, one in shown.items() if isinstance(one.item, Figure)}
    tables = {name: one for name, one in shown.items() if isinstance(one.item, Table)}
    texts = {
        "numbers.tex": numbers_tex(document.view),
        "captions.tex": _captions(figures),
        "methods.tex": "\n".join(PREAMBLE) + "\n" + to_latex(list(trees[PARAGRAPH].children)),
        "supplement.tex": _methods(trees),
        **{f"tables/{name}{suffix}": text for name, one in tables.items() for suffix, text in _table(one)},
    }
    texts["paper.tex"] = _example(
        document, list(figures), {name: is_running(texts[f"tables/{name}.tex"]) for name in tables}
    )
    cited = {
        key for text in texts.values() for found in re.findall(r"\\cite\{([^}]*)\}", text) for key in found.split(",")
    }
    texts["references.bib"] = references_bib(citations, cited)
    pictures: dict[str, bytes] = {}
    for width, by_key in begun.items():
        for key, task in reversed(by_key.items()):  # the last may not be begun
            files = task.result()
            pictures[f"figures/{label(key)}-{width:g}mm.svg"] = f"{SVG_HEAD}{files.svg}\n".encode()
            pictures[f"figures/{label(key)}-{width:g}mm.pdf"] = files.pdf
    _sweep(folder, kept={*texts, *pictures})
    for path, text in texts.items():
        atomic_write_text(folder / path, text)
    for path, content in pictures.items():
        atomic_write_bytes(folder / path, content)
    return folder / "paper.tex"


def _shown(document: Document, trees: Mapping[str, Element]) -> dict[str, Shown]:
    """Return figures and tables by the name of their files, in the order of the report."""
    items = {item.key: item for item in document.items}
    found: dict[str, Shown] = {}
    for tree in trees.values():
        siblings = list(tree.walk())
        for place, element in enumerate(siblings):
            item = items.get(element.attributes.get("id", ""))
            if item is None:
                continue
            name = label(item.key)
            if name in found:
                raise DataError(
                    f"two figures or tables of the paper are both called {name!r}: rename one of their keys"
                )
            notes = _notes_after(element, siblings[place:])
            found[name] = Shown(
                item=item, words=_words(element, document.numbers[item.key], notes), drawn=_art(element)
            )
    return found


def _art(element: Element) -> Element:
    return next((one for one in element.walk() if one.tag == "table"), element)


def _notes_after(element: Element, following: Sequence[Element]) -> Sequence[Element | str]:
    """Return the notes that stand next after a table, and after no other one."""
    own = {id(one) for one in (element, *element.walk())}
    after = next((one for one in following if id(one) not in own), None)
    return after.children if after is not None and {"notes"} == set(after.classes) else ()


def _words(element: Element, number: str, notes: Sequence[Element | str]) -> Words:
    """Return caption and notes; the number in front is left to LaTeX."""
    caption = next(one for one in element.walk() if one.tag in {"caption", "figcaption"})
    inner = caption.elements[0] if caption.elements and caption.elements[0].tag == "span" else caption
    title = next((one for one in inner.elements if one.tag == "b"), None)
    if title is None or not title.text.replace("\N{NO-BREAK SPACE}", " ").startswith(f"{number}. "):
        raise DataError(
            f"the caption of {number} does not begin with its number in bold: let its template call the macro"
        )
    rest = title.text[len(number) + 2 :]
    after = inner.children[inner.children.index(title) + 1 :]
    return Words(caption=(Element("b", {}, [rest]), *after), notes=tuple(notes))


def _captions(figures: Mapping[str, Shown]) -> str:
    r"""Return `captions.tex`: `\cxcaption{KEY}` is the caption of a figure."""
    lines = [
        rf"\expandafter\def\csname cxcaption@{name}\endcsname{{{' '.join(to_latex(one.words.caption).split())}}}"
        for name, one in figures.items()
    ]
    return "\n".join([*PREAMBLE, r"\newcommand{\cxcaption}[1]{\csname cxcaption@#1\endcsname}", *lines]) + "\n"


def _methods(trees: Mapping[str, Element]) -> str:
    prose = (child for name in METHODS if name in trees for child in _headed(name, trees[name]))
    return "\n".join(PREAMBLE) + "\n" + to_latex(list(prose))


def _headed(name: str, tree: Element) -> list[Element]:
    """Return the prose of a section under its title, where it has no headings of its own to begin with."""
    prose = [child for child in tree.elements if _is_prose(child)]
    is_headed = not prose or prose[0].tag == "h3"
    return prose if is_headed else [Element("h3", {}, [sections[name].title]), *prose]


def _is_prose(element: Element) -> bool:
    return element.tag in {"p", "h3", "ul", "ol", "dl"} and "notes" not in element.classes


def _table(one: Shown) -> Iterator[tuple[str, str]]:
    if isinstance(one.item, Table):
        yield ".tex", latex_of(one.item, one.words)
        yield ".csv", csv_of(one.item)
        yield ".html", html_of(one.words, one.drawn)


SVG_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'


def _example(document: Document, figures: Sequence[str], tables: Mapping[str, bool]) -> str:
    """Return `paper.tex`; `tables` tells by name whether each runs over pages, which those that float keep their side of."""
    environment = Templates(folder=document.templates)
    environment.finalize = _as_latex
    environment.bytecode_cache = None  # what is compiled with it fits no other document
    told = next((one for one in macros(document.view) if one.name.endswith(("Did", "Difference", "Change"))), None)
    return environment.get_template("manuscript/paper.tex.j2").render(
        knows_patients=names_all_patients(document.view),
        authors=[person(one).name for one in document.view.results.study["study"].get("authors") or ()],
        title=document.view.results.study["study"]["title"],
        paper="letterpaper" if document.view.results.study["report"].get("paper") == "Letter" else "a4paper",
        figures=[
            {
                "one_column": Latex(rf"\includegraphics{{{name}-{ONE_COLUMN:g}mm.pdf}}"),
                "two_columns": Latex(rf"\includegraphics{{{name}-{TWO_COLUMNS:g}mm.pdf}}"),
                "caption": Latex(rf"\caption{{\cxcaption{{{name}}}}}\label{{fig:{name}}}"),
            }
            for name in figures
        ],
        tables=[
            Latex(rf"\FloatBarrier\input{{tables/{name}}}\suppressfloats[t]" if runs else rf"\input{{tables/{name}}}")
            for name, runs in tables.items()
        ],
        example=told and Latex(rf"\texttt{{\textbackslash {told.name}}} is \{told.name}{{}} ({escape(told.said)})"),
    )


def _as_latex(value: Any) -> Any:
    """Escape a text for LaTeX before Jinja would for HTML; a template needs no filter for it."""
    return Markup(escape(value)) if isinstance(value, str) else value  # noqa: S704  escaped, for LaTeX


def _sweep(folder: Path, *, kept: Set[str]) -> None:
    """Remove the files of figures and tables of an earlier run that this one does not write."""
    ours = [path for path in (folder / "figures").glob("*-*mm.*") if re.search(r"-\d+mm\.(pdf|svg)$", path.name)]
    for path in (folder / "tables").glob("*.tex"):
        if path.read_text(encoding="utf-8", errors="replace").startswith(PREAMBLE[0]):
            ours += [path.with_suffix(suffix) for suffix in (".tex", ".csv", ".html")]
    for path in ours:
        if path.relative_to(folder).as_posix() not in kept:
            path.unlink(missing_ok=True)
