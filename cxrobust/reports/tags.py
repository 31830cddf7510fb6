"""Tags of tables and lists as PDF/UA asks for them, where WeasyPrint's are otherwise.

WeasyPrint writes a table that goes on over pages as one table a page, loses count of columns under a cell that spans
rows, and keeps what HTML puts between a list and its items.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

ROW_SCOPES = ("row", "rowgroup")
BETWEEN = ("/Div", "/NonStruct")
"""What may stand in HTML between a list and its items, and in no PDF."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A cell in its table's grid, rows counted over all pages."""

    tag: Any
    row: int
    column: int
    rowspan: int
    colspan: int
    heads: str | None
    """`Column` or `Row` where it is the head of one, else None."""

    def meets_row(self, other: "Cell") -> bool:
        """Return whether some row holds both."""
        return self.row < other.row + other.rowspan and other.row < self.row + self.rowspan

    def meets_column(self, other: "Cell") -> bool:
        """Return whether some column holds both."""
        return self.column < other.column + other.colspan and other.column < self.column + self.colspan

    def is_head_of(self, cell: "Cell") -> bool:
        """Return whether it says what another cell is about: the row's head, or a column's from above."""
        if self.heads == "Row":
            return self.meets_row(cell)
        return self.heads == "Column" and self.meets_column(cell) and self.row < cell.row


@dataclass(frozen=True, kw_only=True, slots=True)
class _Table:
    """A table of the document, with all of its parts on all pages."""

    tag: Any
    rows: set[Any] = field(default_factory=set)
    """The rows' elements in HTML."""
    tags: dict[Any, Any] = field(default_factory=dict)
    """The tag of each cell by its element in HTML."""
    cells: list[Cell] = field(default_factory=list)


def mend_tags(document: Any, pdf: Any, floats: Iterable[Sequence[Any]] = ()) -> None:
    """Change a tagged document of WeasyPrint, before it is written, so that tables and lists are whole.

    `floats` are the tags of each element that floats, on the pages in turn: what floated to a later page is read where
    the document has it.
    """
    dictionaries: list[Any] = [one for one in pdf.objects if isinstance(one, dict)]
    tags = {one.reference: one for one in dictionaries}
    root = next((one for one in dictionaries if one.get("Type") == "/StructTreeRoot"), None)
    if root is None:
        return
    for first, *later in floats:
        for one in later:
            _join(first, one, tags)
    ids: dict[str, Any] = {}
    for table in _tables(document, tags):
        ids |= _name_heads(table)
    if ids:
        names = [part for name in sorted(ids) for part in (_string(name), ids[name].reference)]
        root["IDTree"] = _dictionary(Names=_array(names))
    for one in tags.values():
        if one.get("S") == "/L":
            one["K"] = _array(_items(one, one, tags))


def _tables(document: Any, tags: dict[bytes, Any]) -> list[_Table]:
    """Return every table, with what WeasyPrint tagged as further tables joined to the first of them."""
    found: dict[Any, _Table] = {}
    for page in document.pages:
        for box in _table_boxes(page._page_box):
            groups = [(group, row) for group in box.children for row in group.children if _cells(row)]
            tag = _above(_cells(groups[0][1])[0].mark, tags, "/Table") if groups else None
            if tag is None:
                continue
            table = found.setdefault(box.element, _Table(tag=tag))
            goes_on = table.tag is not tag
            for group, row in groups:
                if not (goes_on and (group.is_header or group.is_footer)):
                    _add_row(table, row, group, tags)
            if goes_on:
                _join(table.tag, tag, tags)
    return list(found.values())


def _table_boxes(box: Any) -> Iterator[Any]:
    """Walk over the boxes of HTML's tables on a page, outer ones first."""
    from weasyprint.formatting_structure import boxes
    from weasyprint.layout.absolute import AbsolutePlaceholder

    rest = [box]
    while rest:
        one = rest.pop()
        one = one._box if isinstance(one, AbsolutePlaceholder) else one
        if isinstance(one, boxes.TableBox) and one.element_tag == "table":
            yield one
        if not isinstance(one, boxes.MarginBox):
            rest += reversed(getattr(one, "children", ()))


def _above(tag: Any, tags: dict[bytes, Any], kind: str) -> Any:
    """Return the nearest tag of a kind that holds another, or None."""
    while tag is not None and tag.get("S") != kind:
        tag = tags.get(tag.get("P"))
    return tag


def _cells(row: Any) -> list[Any]:
    """Return a row's cells that are tagged as such, which those that a style sheet alone makes are not."""
    return [cell for cell in row.children if getattr(cell, "mark", None) is not None]


def _add_row(table: _Table, row: Any, group: Any, tags: dict[bytes, Any]) -> None:
    """Count a row in; one that a page break cut in two is joined."""
    if row.element in table.rows:
        for cell in _cells(row):
            _join(table.tags[cell.element], cell.mark, tags)
        _take_out(tags[_cells(row)[0].mark["P"]], tags)
        return
    for cell in _cells(row):
        scope = cell.element.get("scope")
        heads_row = not group.is_header if scope is None else scope in ROW_SCOPES
        table.cells.append(
            Cell(
                tag=cell.mark,
                row=len(table.rows),
                column=cell.grid_x,
                rowspan=cell.rowspan,
                colspan=cell.colspan,
                heads=None if cell.element_tag != "th" else "Row" if heads_row else "Column",
            )
        )
        table.tags[cell.element] = cell.mark
    table.rows.add(row.element)


def _join(first: Any, further: Any, tags: dict[bytes, Any]) -> None:
    """Move what a tag holds to the end of another; a head that is printed again is left to be an artefact."""
    if first is further:
        return
    for kid in further["K"]:
        tag = tags.get(kid)
        if tag is None or tag.get("S") not in {"/THead", "/TFoot"}:
            first["K"].append(kid)
            if tag is not None and "P" in tag:
                tag["P"] = first.reference
    further["K"] = _array([])
    _take_out(further, tags)


def _take_out(tag: Any, tags: dict[bytes, Any]) -> None:
    """Take a tag out of the tree."""
    above = tags[tag["P"]]
    above["K"] = _array([kid for kid in above["K"] if kid != tag.reference])


def _name_heads(table: _Table) -> dict[str, Any]:
    """Say of each head what it heads and of each other cell what its heads are; return heads by their names."""
    heads = [cell for cell in table.cells if cell.heads]
    names = {id(cell): f"{table.tag.number}-{cell.row}-{cell.column}" for cell in heads}
    for cell in table.cells:
        if cell.heads:
            cell.tag["ID"], cell.tag["A"]["Scope"] = _string(names[id(cell)]), f"/{cell.heads}"
        else:
            cell.tag["A"]["Headers"] = _array([_string(names[id(one)]) for one in heads if one.is_head_of(cell)])
    return {names[id(cell)]: cell.tag for cell in heads}


def _items(holder: Any, root: Any, tags: dict[bytes, Any]) -> list[bytes]:
    """Return what a list holds without what stands between it and its items."""
    found: list[bytes] = []
    for kid in holder["K"]:
        tag = tags.get(kid)
        if tag is not None and tag.get("S") in BETWEEN:
            found += _items(tag, root, tags)
            continue
        if tag is not None and "P" in tag:
            tag["P"] = root.reference
        found.append(kid)
    return found


def _array(some: Sequence[Any]) -> Any:
    import pydyf

    return pydyf.Array(some)


def _string(text: str) -> Any:
    import pydyf

    return pydyf.String(text)


def _dictionary(**values: Any) -> Any:
    import pydyf

    return pydyf.Dictionary(values)
