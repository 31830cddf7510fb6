"""A document as its pages draw it, with the place of each marked content in its structure."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import pikepdf

from cxrobust.verification.grounds import on_grounds
from cxrobust.verification.page_fonts import Fonts
from cxrobust.verification.pages import Step, steps

NO_NUMBER = (0, 0)
"""Of an object that stands within another."""
HEADINGS = frozenset({"/H", "/H1", "/H2", "/H3", "/H4", "/H5", "/H6"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a marked content stands in a document's structure."""

    order: int
    head: int | None
    """The head of a table that it is a part of, by number."""
    heading: int | None
    """The heading that it is a part of, by number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """A document with all that its pages show."""

    pdf: pikepdf.Pdf
    pages: tuple[tuple[Step, ...], ...]
    """The steps of each page that show text or paint."""
    places: Mapping[tuple[int, int | None], Place]
    """By page, from 1, and number of the marked content."""

    @classmethod
    def of(cls, pdf: pikepdf.Pdf) -> "Drawn":
        """Read a document's pages."""
        fonts: Fonts = {}
        return cls(
            pdf=pdf,
            pages=tuple(
                on_grounds([step for step in steps(page, fonts) if step.codes or not step.box.is_empty])
                for page in pdf.pages
            ),
            places=_places(pdf),
        )

    def place(self, page: int, mark: int | None) -> Place:
        """Return where a marked content stands: after all others where the structure does not name it."""
        return self.places.get((page, mark)) or Place(len(self.places), None, None)


def _places(pdf: pikepdf.Pdf) -> dict[tuple[int, int | None], Place]:
    pages = {page.obj.objgen: number for number, page in enumerate(pdf.pages, start=1)}
    found: dict[tuple[int, int | None], Place] = {}
    numbers = count()
    root = [pdf.Root.StructTreeRoot] if "/StructTreeRoot" in pdf.Root else []
    rest: list[tuple[Any, Any, int | None, int | None]] = [(one, None, None, None) for one in root]
    seen: set[tuple[int, int]] = set()
    while rest:
        element, page, head, heading = rest.pop()
        if isinstance(element, int):
            number = pages.get(page.objgen, 0) if page is not None else 0
            found.setdefault((number, element), Place(len(found), head, heading))
            continue
        if element.objgen in seen:
            continue
        seen |= {element.objgen} - {NO_NUMBER}
        page = element.get("/Pg", page)
        head = next(numbers) if element.get("/S") == "/THead" else head
        heading = next(numbers) if str(element.get("/S")) in HEADINGS else heading
        kids = element.get("/MCID", element.get("/K"))
        if kids is not None:
            each = list(kids) if isinstance(kids, pikepdf.Array) else [kids]
            rest += [(kid, page, head, heading) for kid in reversed(each)]
    return found
