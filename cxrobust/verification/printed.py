"""Whether a document shows what its results give: it is printed again, and both are compared page by page."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pikepdf

from cxrobust.verification.by_words import differences_by_words
from cxrobust.verification.fingerprints import Fingerprints
from cxrobust.verification.information import differing_information
from cxrobust.verification.page_words import words
from cxrobust.verification.pages import Step, steps
from cxrobust.verification.parents import wrong_parents
from cxrobust.verification.told import cut, ends, first_few, word_differences

UNTOLD = frozenset({"content"})
LAID_OUT = frozenset({"/StructTreeRoot", "/Outlines", "/Names/Dests"})
"""Parts of a document that change with its layout."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What came of comparing a document with the same results printed again."""

    n_pages: int
    n_same: int
    """Pages that are the same in every line, letter and point."""
    by_words: bool
    """Whether pages that are not were compared by their words and numbers, since another version laid them out."""
    differences: tuple[str, ...]


def compare(given: pikepdf.Pdf, expected: pikepdf.Pdf, *, figures: Mapping[str, str], same_printer: bool) -> Comparison:
    """Compare a document with the one expected; `figures` names each by its text for those who cannot see it.

    With `same_printer` False, pages that are laid out otherwise are compared by their words and numbers alone.
    """
    here, there = Fingerprints(given), Fingerprints(expected)
    n_pages = len(given.pages)
    both = range(1, min(n_pages, len(expected.pages)) + 1)
    other = [number for number in both if here.page(number) != there.page(number)]
    n_same = len(both) - len(other)
    is_whole = n_pages == len(expected.pages)
    found = list(_added(here.document(), there.document()))
    found += differing_information(given, expected, same_printer=same_printer)
    found += first_few(list(wrong_parents(given)))
    found += first_few([f"readers may take it otherwise than it was compared: {one}" for one in _faults(given)])
    if not same_printer and (other or not is_whole):
        found += _said_beside(set(_changed(here.document(), there.document())) - LAID_OUT)
        found += differences_by_words(given, expected)
        return Comparison(n_pages=n_pages, n_same=n_same, by_words=True, differences=tuple(found))
    if not is_whole:
        found.append(f"it has {n_pages} pages, expected {len(expected.pages)}")
    alternatives = _alternatives(expected)
    for number in other:
        named = {mark: _figure(alt, figures) for mark, alt in alternatives.get(number, {}).items()}
        found += _page(number, given, expected, here.page(number), there.page(number), named)
    found += _said_beside(() if other else _changed(here.document(), there.document()))
    return Comparison(n_pages=n_pages, n_same=n_same, by_words=False, differences=tuple(found))


def _added(given: Mapping[str, bytes], expected: Mapping[str, bytes]) -> Iterator[str]:
    """Tell what a document does beside its pages that none of ours does: actions, forms, scripts, layers."""
    for part in given:
        if part not in expected:
            yield f"the document has {part.strip('/')}, which cxrobust writes into none"


def _faults(pdf: pikepdf.Pdf) -> list[str]:
    """Return what is wrong with a file that was read all the same, such as a key that stands twice in a table."""
    return [one.partition(": ")[2] or one for one in pdf.get_warnings()]


def _said_beside(parts: Iterable[str]) -> Iterator[str]:
    for part in sorted(parts):
        yield f"what the document says beside its pages ({part.strip('/')}) is not what the results give"


def _changed(given: Mapping[str, bytes], expected: Mapping[str, bytes]) -> tuple[str, ...]:
    return tuple(part for part in expected if given.get(part) != expected[part])


def _page(
    number: int,
    given: pikepdf.Pdf,
    expected: pikepdf.Pdf,
    here: Mapping[str, bytes],
    there: Mapping[str, bytes],
    figures: Mapping[int, str],
) -> list[str]:
    """Tell what differs on a page: first its words, else its lines and points, else its images, fonts and links."""
    drawn, wanted = tuple(steps(given.pages[number - 1])), tuple(steps(expected.pages[number - 1]))
    found = word_differences(
        words(drawn, page=number, margins=True), words(wanted, page=number, margins=True), figures=figures
    )
    if not found and (here["content"] != there["content"] or _texts(drawn) != _texts(wanted)):
        found = _drawing_differences(drawn, wanted, number, figures)
    if not found:
        parts = sorted(part for part in {*here, *there} - UNTOLD if here.get(part) != there.get(part))
        found = [f"page {number}: its {_part_words(part)} is not what the results give" for part in parts]
    return first_few(found, f"page {number}: ")


def _texts(drawn: Sequence[Step]) -> list[str]:
    return [step.said for step in drawn]


def _part_words(part: str) -> str:
    kind, _, name = part.partition(" ")
    words_for = {"/Font": "font", "/XObject": "image", "/ExtGState": "opacity", "/Annots": "links or notes"}
    return f"{words_for.get(kind, kind.strip('/'))} {name.strip('/')}".strip()


def _drawing_differences(
    drawn: Sequence[Step], wanted: Sequence[Step], number: int, figures: Mapping[int, str]
) -> list[str]:
    """Tell where a page is drawn otherwise, though its words are the same."""
    first, last = ends(_texts(drawn), _texts(wanted))
    inner, expected = drawn[first : len(drawn) - last], wanted[first : len(wanted) - last]
    pairs = (
        list(zip(inner, expected, strict=False))
        if len(inner) == len(expected)
        else list(zip(inner[:1], expected[:1], strict=False))
    )
    found = []
    for given, right in (pair for pair in pairs if pair[0].said != pair[1].said):
        figure = figures.get(given.mark) if given.mark is not None else None
        where = f"page {number}, {figure}" if figure else f"page {number}"
        found.append(
            f"{where}: drawn otherwise {right.right:.0f} mm from the left and {right.down:.0f} mm from the top: "
            f"{cut(given.said, 60)}, expected {cut(right.said, 60)}"
        )
    if not found:
        one = (inner or expected or drawn or wanted)[:1]
        place = f" {one[0].right:.0f} mm from the left and {one[0].down:.0f} mm from the top" if one else ""
        figure = figures.get(one[0].mark) if one and one[0].mark is not None else None
        where = f"page {number}, {figure}" if figure else f"page {number}"
        found = [f"{where}: {len(inner)} steps of drawing{place}, expected {len(expected)}"]
    return found


def _alternatives(pdf: pikepdf.Pdf) -> dict[int, dict[int, str]]:
    """Return the alternative text of the figure that each marked content belongs to, by page and number."""
    pages = {page.obj.objgen: number for number, page in enumerate(pdf.pages, start=1)}
    found: dict[int, dict[int, str]] = {}
    rest: list[Any] = [pdf.Root.StructTreeRoot] if "/StructTreeRoot" in pdf.Root else []
    while rest:
        element = rest.pop()
        kids = element.get("/K")
        for kid in kids if isinstance(kids, pikepdf.Array) else [] if kids is None else [kids]:
            if isinstance(kid, pikepdf.Dictionary):
                rest.append(kid)
            elif isinstance(kid, int) and "/Alt" in element:
                found.setdefault(pages.get(element.Pg.objgen, 0), {})[kid] = str(element.Alt)
    return found


def _figure(alt: str, figures: Mapping[str, str]) -> str:
    return figures.get(alt) or f"the figure {alt[:40]!r}"
