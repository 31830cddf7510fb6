"""What the tags say of tables and lists, against the HTML that they were printed from."""

import io
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import lxml.html
import pikepdf
import pytest

from cxrobust.reports.archive import archived
from cxrobust.reports.pdf import to_pdf
from cxrobust.verification.page_words import words
from cxrobust.verification.pages import steps

from .documents import Documents
from .made import TYPICAL

ROWS = "".join(
    f'<tbody><tr><th scope="rowgroup" rowspan="9">Group {k}</th><td>a{k}</td><td rowspan="2">b{k}</td></tr>'
    f"<tr><td>c{k}</td></tr>" + f"<tr><td colspan=2>d{k}</td></tr>" * 7 + "</tbody>"
    for k in range(8)
)
LONG = "".join(f"<p>Line {k}</p>" for k in range(60))
LISTS = "<div><dt>one</dt><dd>first</dd></div><div><dt>two</dt><dd>second</dd></div>"
PAGES = f"""<html lang="en"><title>t</title><style>@page {{ size: A6 }}</style>
<dl>{LISTS}</dl><ul><li>alone</li></ul>
<table><caption>Over pages</caption>
<thead><tr><th scope="col" rowspan="2">A</th><th scope="col" colspan="2">B and C</th></tr>
<tr><th scope="col">B</th><th scope="col">C</th></tr></thead>{ROWS}</table>
<table><thead><tr><th>Name</th><th>Text</th></tr></thead><tbody><tr><th>Long</th><td>{LONG}</td></tr></tbody></table>
"""
"""Groups of rows and one row go on over pages."""


@dataclass(frozen=True)
class Cell:
    row: int
    column: int
    tag: Any
    name: str
    text: str


@pytest.fixture(scope="module")
def typical(documents: Documents) -> tuple[str, pikepdf.Pdf]:
    return documents.html(TYPICAL), pikepdf.open(documents.of(TYPICAL) / "report.pdf")


@pytest.fixture(scope="module")
def over_pages() -> pikepdf.Pdf:
    return pikepdf.open(io.BytesIO(archived(to_pdf(PAGES), ())))


def kids(element: Any) -> list[Any]:
    found = element.get("/K", pikepdf.Array())
    return list(found) if isinstance(found, pikepdf.Array) else [found]


def below(element: Any) -> Iterator[Any]:
    """Walk over the elements of a structure, in its order."""
    for kid in kids(element):
        if isinstance(kid, pikepdf.Dictionary):
            yield kid
            yield from below(kid)


def kind(element: Any) -> str:
    return str(element.get("/S", "")).strip("/")


def letters(text: str) -> str:
    """Return letters and digits alone; numbers of pages, which HTML does not know, are left out."""
    return re.sub(r"\bp\.\s*\d+|[^0-9A-Za-z]", "", text)


def slots(rows: list[list[tuple[Any, int, int]]]) -> dict[tuple[int, int], tuple[int, int, Any]]:
    """Return what stands at each place of a grid, with where it begins; a cell is given with its two spans."""
    found: dict[tuple[int, int], tuple[int, int, Any]] = {}
    for r, row in enumerate(rows):
        c = 0
        for cell, down, along in row:
            while (r, c) in found:
                c += 1
            for place in [(r + i, c + j) for i in range(down) for j in range(along)]:
                assert place not in found
                found[place] = (r, c, cell)
    return found


def html_tables(html: str) -> Iterator[tuple[dict[tuple[int, int], set[tuple[int, int]]], dict[tuple[int, int], str]]]:
    """Return, of each table, the heads of each data cell, and the letters of each cell."""
    for table in lxml.html.document_fromstring(html).iter("table"):
        rows = [
            [(cell, int(cell.get("rowspan", 1)), int(cell.get("colspan", 1))) for cell in row.iterchildren("th", "td")]
            for row in table.iter("tr")
        ]
        grid = slots(rows)
        heads: dict[tuple[int, int], set[tuple[int, int]]] = defaultdict(set)
        for (r, c), (top, left, cell) in grid.items():
            if cell.tag != "td":
                continue
            for (y, x), (up, along, other) in grid.items():
                if other.tag != "th":
                    continue
                across = "row" in other.get("scope", "col" if other.getparent().getparent().tag == "thead" else "row")
                if (across and y == r) or (not across and x == c and y < r):
                    heads[top, left].add((up, along))
        yield dict(heads), {(top, left): letters(cell.text_content()) for top, left, cell in grid.values()}


def pdf_tables(
    pdf: pikepdf.Pdf,
) -> Iterator[tuple[dict[tuple[int, int], set[tuple[int, int]]], dict[tuple[int, int], str]]]:
    """Return the same as the tags say it."""
    texts: dict[tuple[tuple[int, int], int | None], str] = defaultdict(str)
    for number, page in enumerate(pdf.pages, start=1):
        for word in words(steps(page), page=number, margins=True):
            texts[page.obj.objgen, word.mark] += f" {word.text}"

    def said(cell: Any) -> str:
        return letters(
            "".join(
                texts[one.Pg.objgen, mark]
                for one in (cell, *below(cell))
                for mark in kids(one)
                if isinstance(mark, int)
            )
        )

    for table in (one for one in below(pdf.Root.StructTreeRoot) if kind(one) == "Table"):
        rows = [
            [(cell, int(cell.A.get("/RowSpan", 1)), int(cell.A.get("/ColSpan", 1))) for cell in kids(row)]
            for row in below(table)
            if kind(row) == "TR"
        ]
        grid = slots(rows)
        assert {r for r, _ in grid} == set(range(len(rows)))
        assert len(grid) == len(rows) * (1 + max(c for _, c in grid)), "the grid does not close"
        names = {str(cell.ID): (top, left) for top, left, cell in grid.values() if kind(cell) == "TH"}
        data = [(top, left, cell) for top, left, cell in grid.values() if kind(cell) == "TD"]
        heads = {(top, left): {names[str(name)] for name in cell.A.Headers} for top, left, cell in data}
        yield heads, {(top, left): said(cell) for top, left, cell in grid.values()}


def test_every_cell_of_a_report_names_its_own_heads(typical: tuple[str, pikepdf.Pdf]) -> None:
    html, pdf = typical
    expected, found = list(html_tables(html)), list(pdf_tables(pdf))
    assert len(found) == len(expected) > 20
    for (heads, texts), (wanted, words_there) in zip(found, expected, strict=True):
        assert texts == words_there
        assert heads == wanted
        assert all(len(named) > 1 for named in heads.values())


def test_a_table_that_goes_on_over_pages_is_one(over_pages: pikepdf.Pdf) -> None:
    assert len(over_pages.pages) > 4
    expected, found = list(html_tables(PAGES)), list(pdf_tables(over_pages))
    assert found == expected
    assert found[0][0][2, 2] == {(2, 0), (0, 1), (1, 2)}
    assert found[0][0][4, 1] == {(2, 0), (0, 1), (1, 1), (1, 2)}
    assert found[1][0] == {(1, 1): {(1, 0), (0, 1)}}


def test_a_head_that_is_printed_again_is_an_artefact(over_pages: pikepdf.Pdf) -> None:
    held = [one for one in below(over_pages.Root.StructTreeRoot) if kind(one) == "THead"]
    assert len(held) == 2
    for number, page in list(enumerate(over_pages.pages, start=1))[1:]:
        printed = [word.text for word in words(steps(page), page=number, margins=True)]
        read = [word.text for word in words(steps(page), page=number, margins=False)]
        assert len(printed) > len(read)
        assert printed[: len(printed) - len(read)] in (["A", "B", "and", "C", "B", "C"], ["Name", "Text"])


def test_heads_say_what_they_head_and_are_found_by_name(typical: tuple[str, pikepdf.Pdf]) -> None:
    html, pdf = typical
    found = [one for one in below(pdf.Root.StructTreeRoot) if kind(one) == "TH"]
    scopes = [cell.get("scope") for cell in lxml.html.document_fromstring(html).iter("th")]
    assert [str(one.A.Scope) for one in found] == ["/Column" if scope == "col" else "/Row" for scope in scopes]
    names = pdf.Root.StructTreeRoot.IDTree.Names
    tree = {str(names[k]): names[k + 1].objgen for k in range(0, len(names), 2)}
    assert list(tree) == sorted(tree)
    assert tree == {str(one.ID): one.objgen for one in found}


def test_lists_hold_items_and_items_stand_in_lists(typical: tuple[str, pikepdf.Pdf], over_pages: pikepdf.Pdf) -> None:
    for pdf in (typical[1], over_pages):
        root = pdf.Root.StructTreeRoot
        lists = [one for one in below(root) if kind(one) == "L"]
        assert {kind(item) for one in lists for item in kids(one)} <= {"LI", "L"}
        assert {
            kind(one)
            for one in below(root)
            for kid in kids(one)
            if isinstance(kid, pikepdf.Dictionary)
            if kind(kid) == "LI"
        } == {"L"}
    items = [one for one in below(over_pages.Root.StructTreeRoot) if kind(one) == "LI"]
    assert len(items) == 5


def test_what_is_held_names_what_holds_it(typical: tuple[str, pikepdf.Pdf], over_pages: pikepdf.Pdf) -> None:
    for pdf in (typical[1], over_pages):
        root = pdf.Root.StructTreeRoot
        for one in (root, *below(root)):
            for kid in kids(one):
                if isinstance(kid, pikepdf.Dictionary) and "/P" in kid:
                    assert kid.P.objgen == one.objgen


@pytest.mark.parametrize(
    "look", ["td {display: block}", "tr {display: block}", "table {display: block}", "table {display: inline-table}"]
)
def test_tables_that_a_style_sheet_makes_other_things_of_are_printed(look: str) -> None:
    html = f"<html lang=en><title>t</title><style>{look}</style><table><tr><th>a<td>b<tr><td><table><tr><td>c</table>"
    with pikepdf.open(io.BytesIO(archived(to_pdf(html), ()))) as pdf:
        read = [word.text for word in words(steps(pdf.pages[0]), page=1, margins=False)]
        assert sorted(read) == ["a", "b", "c"]
