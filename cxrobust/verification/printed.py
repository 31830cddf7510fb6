"""Whether a document shows what its results give: it is printed again, and both are compared page by page."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import count, groupby
from typing import Any

import pikepdf

from cxrobust.verification.fingerprints import Fingerprints
from cxrobust.verification.pages import HYPHEN, Step, Word, joined, steps, words

MOST_A_PAGE = 5
"""Differences that are told of a page, or of a document that was laid out otherwise."""
CONTEXT = 4
"""Words that are told before one that differs."""
UNTOLD = frozenset({"content"})
PAGE_NUMBER = re.compile(r"\d+(?P<after>\W*)")


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
    title, wanted = str(given.docinfo.get("/Title", "")), str(expected.docinfo.get("/Title", ""))
    if title != wanted:
        found.append(f"the document's title: {title!r}, expected {wanted!r}")
    if not same_printer and (other or not is_whole):
        found += _by_words(given, expected)
        return Comparison(n_pages=n_pages, n_same=n_same, by_words=True, differences=tuple(found))
    if not is_whole:
        found.append(f"it has {n_pages} pages, expected {len(expected.pages)}")
    alternatives = _alternatives(expected)
    for number in other:
        named = {mark: _figure(alt, figures) for mark, alt in alternatives.get(number, {}).items()}
        found += _page(number, given, expected, here.page(number), there.page(number), named)
    parts = () if other else _changed(here.document(), there.document())
    found += [
        f"what the document says beside its pages ({part.strip('/')}) is not what the results give" for part in parts
    ]
    return Comparison(n_pages=n_pages, n_same=n_same, by_words=False, differences=tuple(found))


def _added(given: Mapping[str, bytes], expected: Mapping[str, bytes]) -> Iterator[str]:
    """Tell what a document does beside its pages that none of ours does: actions, forms, scripts, layers."""
    for part in given:
        if part not in expected:
            yield f"the document has {part.strip('/')}, which cxrobust writes into none"


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
    found = _word_differences(
        words(drawn, page=number, margins=True), words(wanted, page=number, margins=True), figures=figures
    )
    if not found and (here["content"] != there["content"] or _texts(drawn) != _texts(wanted)):
        found = _drawing_differences(drawn, wanted, number, figures)
    if not found:
        parts = sorted(part for part in {*here, *there} - UNTOLD if here.get(part) != there.get(part))
        found = [f"page {number}: its {_part_words(part)} is not what the results give" for part in parts]
    more = len(found) - MOST_A_PAGE
    return found[:MOST_A_PAGE] + ([f"page {number}: and {more:,} more"] if more > 0 else [])


def _texts(drawn: Sequence[Step]) -> list[str]:
    return [step.said for step in drawn]


def _part_words(part: str) -> str:
    kind, _, name = part.partition(" ")
    words_for = {"/Font": "font", "/XObject": "image", "/ExtGState": "opacity", "/Annots": "links or notes"}
    return f"{words_for.get(kind, kind.strip('/'))} {name.strip('/')}".strip()


def _word_differences(
    given: Sequence[Word], expected: Sequence[Word], *, figures: Mapping[int, str] | None = None
) -> list[str]:
    """Tell each run of words that differs, with the page and the words before it."""
    first, last = _ends([word.text for word in given], [word.text for word in expected])
    inner, wanted = given[first : len(given) - last], expected[first : len(expected) - last]
    matcher = SequenceMatcher(a=[word.text for word in inner], b=[word.text for word in wanted], autojunk=False)
    found = []
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            continue
        near = inner[a] if a < len(inner) else given[min(first + a, len(given)) - 1] if given else None
        page = near.page if near is not None else wanted[c].page
        before = given[max(0, first + a - CONTEXT) : first + a]
        figure = (figures or {}).get(near.mark) if near is not None and near.mark is not None else None
        where = f"page {page}" + (f", {figure}" if figure else "")
        after = f" after {_quoted(before)}" if before else ""
        found.append(f"{where}: printed {_quoted(inner[a:b])}, expected {_quoted(wanted[c:d])}{after}")
    return found


def _quoted(some: Sequence[Word]) -> str:
    text = " ".join(word.text for word in some)
    return "nothing" if not text else f"'{text if len(text) <= 80 else text[:77] + '...'}'"


def _ends(given: Sequence[Any], expected: Sequence[Any]) -> tuple[int, int]:
    """Return how many members two sequences share at their beginning, and how many then at their end."""
    shortest = min(len(given), len(expected))
    first = next((k for k in range(shortest) if given[k] != expected[k]), shortest)
    last = next((k for k in range(shortest - first) if given[-1 - k] != expected[-1 - k]), shortest - first)
    return first, last


def _drawing_differences(
    drawn: Sequence[Step], wanted: Sequence[Step], number: int, figures: Mapping[int, str]
) -> list[str]:
    """Tell where a page is drawn otherwise, though its words are the same."""
    first, last = _ends(_texts(drawn), _texts(wanted))
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
            f"{_cut(given.said)}, expected {_cut(right.said)}"
        )
    if not found:
        one = (inner or expected or drawn or wanted)[:1]
        place = f" {one[0].right:.0f} mm from the left and {one[0].down:.0f} mm from the top" if one else ""
        figure = figures.get(one[0].mark) if one and one[0].mark is not None else None
        where = f"page {number}, {figure}" if figure else f"page {number}"
        found = [f"{where}: {len(inner)} steps of drawing{place}, expected {len(expected)}"]
    return found


def _cut(said: str) -> str:
    return f"'{said if len(said) <= 60 else said[:57] + '...'}'"


def _by_words(given: pikepdf.Pdf, expected: pikepdf.Pdf) -> list[str]:
    """Tell where two documents that are laid out otherwise differ in their words and numbers, margins left out.

    What another place of page breaks changes is no difference: where a word is broken, the number of a page, and a
    table's head that is printed once more.
    """
    printed, wanted = _all_words(given), _all_words(expected)
    if _letters(printed) == _letters(wanted):
        return []
    matcher = SequenceMatcher(a=[word.text for word in printed], b=[word.text for word in wanted], autojunk=False)
    found = []
    for kind, a, b, c, d in matcher.get_opcodes():
        here, there = printed[a:b], wanted[c:d]
        if kind == "equal" or _letters(here) == _letters(there):
            continue
        found += _word_differences(here, there) if a < b else [_missing(printed, there, a)]
    more = len(found) - MOST_A_PAGE
    return found[:MOST_A_PAGE] + ([f"and {more:,} more"] if more > 0 else [])


def _missing(printed: Sequence[Word], wanted: Sequence[Word], place: int) -> str:
    before = printed[max(0, place - CONTEXT) : place]
    page = printed[max(0, place - 1)].page if printed else 1
    return f"page {page}: printed nothing, expected {_quoted(wanted)} after {_quoted(before)}"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a marked content stands in a document's structure."""

    order: int
    head: int | None
    """The head of a table that it is a part of, by number."""


def _all_words(pdf: pikepdf.Pdf) -> list[Word]:
    """Return the words of all pages in the order of the document's structure.

    The order in which a page draws its words changes with what stands on it; that of the structure does not. Left out
    is what page breaks bring: numbers of pages, and a table's head on a page where the table goes on.
    """
    found = [
        word
        for number, page in enumerate(pdf.pages, start=1)
        for word in words(steps(page), page=number, margins=False)
    ]
    places = _places(pdf)
    beyond = _Place(len(places), None)

    def place(word: Word) -> _Place:
        return places.get((word.page, word.mark), beyond)

    ordered = sorted(found, key=lambda word: place(word).order)
    once = _without_repeated_heads(ordered, lambda word: place(word).head)
    return joined(_without_page_numbers(once))


def _without_repeated_heads(some: Sequence[Word], head_of: Callable[[Word], int | None]) -> list[Word]:
    """Return words without each head of a table that begins a page and is the same as the head before it."""
    found: list[Word] = []
    last: list[str] = []
    for head, group in groupby(some, key=head_of):
        its = list(group)
        texts = [word.text for word in its]
        if head is not None and texts == last and found[-1].page < its[0].page:
            continue
        last = last if head is None else texts
        found += its
    return found


def _without_page_numbers(some: Sequence[Word]) -> list[Word]:
    """Return words without rows of dots, and without the page's number that follows one, or `p.`."""
    found: list[Word] = []
    tells_a_page = False
    for word in some:
        is_leader = not word.text.strip(".")
        number = PAGE_NUMBER.fullmatch(word.text) if tells_a_page else None
        text = "" if is_leader else word.text if number is None else number["after"]
        found += [replace(word, text=text)] if text else []
        tells_a_page = is_leader or word.text == "p."
    return found


def _places(pdf: pikepdf.Pdf) -> dict[tuple[int, int | None], _Place]:
    """Return the place in the structure of each marked content, by page and number."""
    pages = {page.obj.objgen: number for number, page in enumerate(pdf.pages, start=1)}
    found: dict[tuple[int, int | None], _Place] = {}
    heads = count()
    root = [pdf.Root.StructTreeRoot] if "/StructTreeRoot" in pdf.Root else []
    rest: list[tuple[Any, Any, int | None]] = [(one, None, None) for one in root]
    while rest:
        element, page, head = rest.pop()
        if isinstance(element, int):
            number = pages.get(page.objgen, 0) if page is not None else 0
            found.setdefault((number, element), _Place(len(found), head))
            continue
        page = element.get("/Pg", page)
        head = next(heads) if element.get("/S") == "/THead" else head
        kids = element.get("/MCID", element.get("/K"))
        if kids is not None:
            rest += [(kid, page, head) for kid in reversed(list(kids) if isinstance(kids, pikepdf.Array) else [kids])]
    return found


def _letters(some: Sequence[Word]) -> str:
    """Return words without spaces and hyphens, which move with the ends of lines; minus signs are others."""
    return "".join(word.text for word in some).replace("-", "").replace(HYPHEN, "")


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
