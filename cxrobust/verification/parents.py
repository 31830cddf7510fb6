"""Whether a document's list of parents, by which some readers find tags, says the same as its structure."""

from collections.abc import Iterator
from typing import Any

import pikepdf

Numbered = tuple[int, int]
"""Number and generation of an object."""


def wrong_parents(pdf: pikepdf.Pdf) -> Iterator[str]:
    """Tell marked contents and links that the list of parents gives to other tags than the structure does.

    The structure names what each tag holds; the list, `/ParentTree`, names the tag of each content again, the other way
    about. Each content of a page has a number, which is its place in the page's row of that list.
    """
    contents, objects = _holders(pdf)
    rows = _rows(pdf)
    for number, page in enumerate(pdf.pages, start=1):
        row = rows.get(_number(page.obj.get("/StructParents")))
        given = [_objgen(one) for one in row] if isinstance(row, pikepdf.Array) else []
        expected = contents.get(page.obj.objgen, {})
        wrong = [k for k in {*range(len(given)), *expected} if _at(given, k) != expected.get(k)]
        if wrong:
            yield f"page {number}: the tags of {len(wrong)} contents are others in the list of parents"
        notes = [note for note in page.obj.get("/Annots", []) if note.objgen in objects or "/StructParent" in note]
        others = [
            note for note in notes if _objgen(rows.get(_number(note.get("/StructParent")))) != objects.get(note.objgen)
        ]
        if others:
            yield f"page {number}: the tags of {len(others)} links or notes are others in the list of parents"


def _at(given: list[Numbered | None], place: int) -> Numbered | None:
    return given[place] if 0 <= place < len(given) else None


def _number(value: Any) -> int:
    return value if isinstance(value, int) else -1


def _objgen(value: Any) -> Numbered | None:
    return value.objgen if isinstance(value, pikepdf.Dictionary) else None


def _holders(pdf: pikepdf.Pdf) -> tuple[dict[Numbered, dict[int, Numbered]], dict[Numbered, Numbered]]:
    """Return the tag that holds each content, by page and number, and each object, as the structure says."""
    contents: dict[Numbered, dict[int, Numbered]] = {}
    objects: dict[Numbered, Numbered] = {}
    rest: list[Any] = [pdf.Root.StructTreeRoot] if "/StructTreeRoot" in pdf.Root else []
    seen: set[Numbered] = set()
    while rest:
        element = rest.pop()
        if element.objgen in seen:
            continue
        seen.add(element.objgen)
        kids = element.get("/K")
        for kid in kids if isinstance(kids, pikepdf.Array) else [] if kids is None else [kids]:
            if isinstance(kid, int):
                contents.setdefault(element.Pg.objgen, {})[kid] = element.objgen
            elif "/MCID" in kid:
                contents.setdefault(kid.get("/Pg", element.get("/Pg")).objgen, {})[int(kid.MCID)] = element.objgen
            elif "/Obj" in kid:
                objects[kid.Obj.objgen] = element.objgen
            else:
                rest.append(kid)
    return contents, objects


def _rows(pdf: pikepdf.Pdf) -> dict[int, Any]:
    """Return what the list of parents holds under each number."""
    tree = pdf.Root.StructTreeRoot.get("/ParentTree") if "/StructTreeRoot" in pdf.Root else None
    found: dict[int, Any] = {}
    rest: list[Any] = [] if tree is None else [tree]
    seen: set[Numbered] = set()
    while rest:
        node = rest.pop()
        if node.objgen in seen:
            continue
        seen |= {node.objgen} - {(0, 0)}
        numbers: Any = node.get("/Nums", [])
        found |= {int(numbers[k]): numbers[k + 1] for k in range(0, len(numbers) - 1, 2)}
        rest += list(node.get("/Kids", []))
    return found
