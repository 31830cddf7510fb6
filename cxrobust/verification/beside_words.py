"""What stands on pages beside the words that are compared, and whether these can be seen.

Running heads and page numbers, heads of tables that are repeated, links, what is painted over words: only what the
document printed again has, too.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

import numpy as np
import pikepdf

from cxrobust.verification.drawn import NO_NUMBER, Drawn
from cxrobust.verification.fingerprints import DEFAULTS, Fingerprints
from cxrobust.verification.grounds import overlap, sides
from cxrobust.verification.page_boxes import Box
from cxrobust.verification.page_words import HYPHEN
from cxrobust.verification.pages import Step
from cxrobust.verification.reading import tables
from cxrobust.verification.told import cut, first_few

BOXES = ("/MediaBox", "/CropBox", "/BleedBox", "/TrimBox", "/ArtBox")
OTHER_PICTURES = frozenset({"/F", "/Ref", "/OC", "/OPI", "/Alternates"})
"""Keys by which a picture is fetched from elsewhere, or shown to some readers and not to others."""
TEXTS = ("/Alt", "/ActualText", "/E")
"""Texts of the structure that are read in place of what is shown."""
RIM = 0.3
"""Millimetres of a letter that may be cut off."""
PAGE, PAGES = "\x00", "\x01"
"""Stand for the number of a page and of all pages in a text of the margin."""


def differences_beside_words(here: Drawn, there: Drawn) -> list[str]:
    """Tell what a document shows beside its words that the one expected, which is laid out otherwise, does not."""
    return [
        difference
        for found in (
            _margins(here, there),
            _notes(here.pdf, there.pdf),
            _frames(here.pdf, there.pdf),
            _unnamed(here.pdf, there.pdf),
            _texts_read(here.pdf, there.pdf),
            _covered(here),
            _cut_off(here),
        )
        for difference in first_few(list(found))
    ]


def _margins(here: Drawn, there: Drawn) -> Iterator[str]:
    """Tell texts of artefacts that are no running head, page number or head of a table, or stand among other text."""
    allowed = {*_heads_and_headings(there), *_margin_texts(there), *_tables_going_on(there)}
    for number, page in enumerate(here.pages, start=1):
        artefacts = [(step.artefact, step) for step in page if step.text.strip() and step.artefact is not None]
        text = "".join(_letters(step.text for _, step in its) for _, its in groupby(artefacts, key=lambda one: one[0]))
        pieces = {_numbered(piece, number, len(here.pages)) for piece in allowed}
        rest = text[_made_of(text, pieces) :]
        if rest:
            yield f"page {number}: {cut(rest, 80)} stands beside the text, where the results give nothing such"
        lines = [step.down for step in page if step.text.strip() and step.artefact is None]
        among = [step.text for _, step in artefacts if lines and min(lines) <= step.down <= max(lines)]
        if among and not rest:
            yield f"page {number}: {cut(' '.join(among), 80)} stands among the text, but is no part of it"


def _heads_and_headings(drawn: Drawn) -> set[str]:
    """Return what repeated heads of tables and running heads may say."""
    found: dict[int, list[tuple[int, str]]] = {}
    for number, page in enumerate(drawn.pages, start=1):
        for step in page:
            place = drawn.place(number, step.mark)
            for one in (place.head, place.heading):
                if one is not None:
                    found.setdefault(one, []).append((place.order, step.text))
    return {_letters(text for _, text in sorted(its, key=lambda one: one[0])) for its in found.values()} - {""}


def _margin_texts(drawn: Drawn) -> set[str]:
    """Return the text of each artefact, with signs in place of the page's number and the number of pages."""
    found = set()
    for number, page in enumerate(drawn.pages, start=1):
        for artefact, its in groupby(page, key=lambda step: step.artefact):
            if artefact is not None:
                found.add(_letters([_unnumbered("".join(step.text for step in its), number, len(drawn.pages))]))
    return found - {""}


def _tables_going_on(drawn: Drawn) -> set[str]:
    """Return what a running head may say of a table that goes on: `Table 5, continued`, of each that there is."""
    pages = (_letters(step.text for step in page if step.artefact is None) for page in drawn.pages)
    return {f"Table{number},continued" for text in pages for number in re.findall(r"Table(\d+)\.", text)}


def _unnumbered(text: str, number: int, n_pages: int) -> str:
    for one, sign in ((number, PAGE), (n_pages, PAGES)):  # in `1 / 1`, the first is the page's
        text = re.sub(rf"(?<![\w.]){one}(?![\w.])", sign, text, count=1 if sign == PAGE else 0)
    return text


def _numbered(text: str, number: int, n_pages: int) -> str:
    return text.replace(PAGE, str(number)).replace(PAGES, str(n_pages))


def _made_of(text: str, pieces: Iterable[str]) -> int:
    """Return up to where a text is made of pieces.

    Examples
    --------
    >>> _made_of("MethodsPage3", {"Methods", "Page", "3"}), _made_of("Methods0.9", {"Methods"})
    (12, 7)
    """
    reached = {0}
    for start in range(len(text)):
        if start in reached:
            reached |= {start + len(piece) for piece in pieces if text.startswith(piece, start)}
    return max(reached)


def _letters(texts: Iterable[str]) -> str:
    """Return texts without spaces and hyphens, which move with the ends of lines."""
    return "".join("".join(texts).split()).replace("-", "").replace(HYPHEN, "")


def _notes(given: pikepdf.Pdf, expected: pikepdf.Pdf) -> Iterator[str]:
    """Tell links and notes that are, wherever they stand, none of those expected."""
    here, there = Fingerprints(given), Fingerprints(expected)
    allowed = {note for number in range(1, len(expected.pages) + 1) for note in there.notes(number)}
    for number, page in enumerate(given.pages, start=1):
        for note, its in zip(page.obj.get("/Annots", []), here.notes(number), strict=True):
            if its not in allowed:
                kind, says = str(note.get("/Subtype", "")).strip("/"), str(note.get("/Contents", ""))
                yield f"page {number}: a link or note ({kind} {cut(says, 40)}) that the results do not give"


def _frames(given: pikepdf.Pdf, expected: pikepdf.Pdf) -> Iterator[str]:
    """Tell pages that have what none expected has, such as an action, or that show only a part of themselves."""
    here, there = Fingerprints(given), Fingerprints(expected)
    allowed = {key for page in expected.pages for key in _keys(page)}
    values = {pair for number in range(1, len(expected.pages) + 1) for pair in there.keys(number).items()}
    for number, page in enumerate(given.pages, start=1):
        for key in sorted(_keys(page) - allowed):
            yield f"page {number}: it has {key.strip('/')}, which cxrobust writes into none"
        for pair in sorted(here.keys(number).items()):
            if pair[0] in allowed - {*BOXES, "/Annots"} and pair not in values:
                yield f"page {number}: its {pair[0].strip('/')} is another than cxrobust writes into any"
        boxes = {tuple(float(side) for side in page.obj[name]) for name in BOXES if name in page.obj}
        if len(boxes) != 1 or min(boxes)[:2] != (0, 0):
            yield f"page {number}: its frames are not all the whole page"


def _unnamed(given: pikepdf.Pdf, expected: pikepdf.Pdf) -> Iterator[str]:
    """Tell what changes how pages or pictures look though no content names it, and what comes from another file."""
    for key in sorted(_acting(given) - _acting(expected)):
        yield f"the document has {key.strip('/')}, which cxrobust writes into none"


def _acting(pdf: pikepdf.Pdf) -> set[str]:
    """Return which default colour spaces a document has, and which keys that let a picture be another."""
    return {
        key
        for one in tables(pdf)
        for key in (DEFAULTS | OTHER_PICTURES if isinstance(one, pikepdf.Stream) else DEFAULTS)
        if key in one
    }


def _keys(page: pikepdf.Page) -> set[str]:
    """Return what is said of a page, also by the parts of the document that it inherits from."""
    found, node = set(map(str, page.obj.keys())), page.obj.get("/Parent")
    seen = set()
    while node is not None and node.objgen not in seen:
        seen.add(node.objgen)
        found |= set(map(str, node.keys()))
        node = node.get("/Parent")
    return found


def _texts_read(given: pikepdf.Pdf, expected: pikepdf.Pdf) -> Iterator[str]:
    """Tell texts in place of pictures and words, and bookmarks, that are not those expected."""
    for what, texts in (("the text in place of a figure", _instead), ("the bookmark", _bookmarks)):
        here, there = texts(given), texts(expected)
        if here == there:
            continue
        more, missing = Counter(here) - Counter(there), Counter(there) - Counter(here)
        yield from (f"{what} {cut(one.text, 80)} is not one that the results give" for one in sorted(more))
        yield from (f"{what} {cut(one.text, 80)} is missing" for one in sorted(missing))
        if not more and not missing:
            one, other = next(pair for pair in zip(here, there, strict=True) if pair[0] != pair[1])
            yield f"{what} {cut(one.text, 80)} stands where the results give {cut(other.text, 80)}"


class _Read(NamedTuple):
    """A text that is read in place of something, or leads there."""

    text: str
    of: str
    """What it belongs to: the kind of the element and of the text, or how deep a bookmark lies."""


def _instead(pdf: pikepdf.Pdf) -> list[_Read]:
    """Return texts in the order of the structure."""
    found = []
    rest = [pdf.Root.StructTreeRoot] if "/StructTreeRoot" in pdf.Root else []
    seen: set[tuple[int, int]] = set()
    while rest:
        element = rest.pop()
        if element.objgen in seen:
            continue
        seen |= {element.objgen} - {NO_NUMBER}
        found += [_Read(str(element[key]), f"{element.get('/S')} {key}") for key in TEXTS if key in element]
        kids = element.get("/K")
        each = kids if isinstance(kids, pikepdf.Array) else [] if kids is None else [kids]
        rest += [kid for kid in reversed(list(each)) if isinstance(kid, pikepdf.Dictionary)]
    return found


def _bookmarks(pdf: pikepdf.Pdf) -> list[_Read]:
    """Return titles in their order."""
    found = []
    with pdf.open_outline() as outline:
        rest = [(one, 1) for one in reversed(outline.root)]
        while rest:
            one, deep = rest.pop()
            found.append(_Read(one.title, str(deep)))
            rest += [(child, deep + 1) for child in reversed(one.children)]
    return found


def _covered(drawn: Drawn) -> Iterator[str]:
    """Tell words that something is painted over; cxrobust paints nothing over any."""
    for number, page in enumerate(drawn.pages, start=1):
        shown = [(k, step) for k, step in enumerate(page) if step.text.strip()]
        painted = [(k, step) for k, step in enumerate(page) if not step.codes]
        if not shown or not painted:
            continue
        over = overlap(*(sides(step.box for _, step in some) for some in (shown, painted)))
        later = np.array([k for k, _ in painted])[None] > np.array([k for k, _ in shown])[:, None]
        for k in np.flatnonzero((over & later).any(axis=1)):
            yield f"page {number}: something is painted over {cut(shown[k][1].text, 80)}"


def _cut_off(drawn: Drawn) -> Iterator[str]:
    """Tell words that do not stand within their page and what is shown of it."""
    for number, (page, steps) in enumerate(zip(drawn.pdf.pages, drawn.pages, strict=True), start=1):
        sheet = _sheet(page)
        for step in steps:
            if step.text.strip() and not step.in_figure and not _is_seen(step, sheet):
                yield f"page {number}: {cut(step.text, 80)} is cut off, or has no width"


def _sheet(page: pikepdf.Page) -> Box:
    left, bottom, right, top = (float(side) * 25.4 / 72 for side in page.mediabox)
    return Box(left, 0, right, top - bottom)


def _is_seen(step: Step, sheet: Box) -> bool:
    limits = step.clip.within(sheet).wider(RIM)
    return not step.box.is_empty and step.box.within(limits) == step.box
