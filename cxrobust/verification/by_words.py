"""Two documents that are laid out otherwise: whether they say the same, and show what they say.

The words are held against those expected in the order of the structure, each letter's face, size and ink too; what
stands beside them, or over them, is looked at in `beside_words.py`, and what their fonts draw in `outlines.py`.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import groupby, islice, pairwise

import pikepdf

from cxrobust.verification.beside_words import differences_beside_words
from cxrobust.verification.drawn import Drawn
from cxrobust.verification.grounds import are_alike
from cxrobust.verification.outlines import differing_outlines
from cxrobust.verification.page_words import HYPHEN, Word, joined, words
from cxrobust.verification.pages import Look, Step
from cxrobust.verification.told import CONTEXT, cut, first_few, quoted, word_differences

PAGE_NUMBER = re.compile(r"\d+(?P<after>\W*)")
ALIKE_SIZE = 1.25
"""Times by which letters of another version may be larger or smaller."""
ALIKE_INK = 0.25
"""Shares of an ink or an opacity by which they may be lighter or darker."""
NEAR = 0.3
"""Millimetres by which places are no others."""


def differences_by_words(given: pikepdf.Pdf, expected: pikepdf.Pdf) -> list[str]:
    """Tell where two documents that are laid out otherwise do not say and show the same.

    What another place of page breaks changes is no difference: where a word is broken, the number of a page, and a
    table's head that is printed once more.
    """
    here, there = Drawn.of(given), Drawn.of(expected)
    printed, wanted = _all_words(here), _all_words(there)
    return [
        *first_few(_differences(printed, wanted) or list(_other_looks(printed, wanted))),
        *first_few(list(_out_of_order(here, there))),
        *differences_beside_words(here, there),
        *first_few(differing_outlines(here, there)),
    ]


def _differences(printed: Sequence[Word], wanted: Sequence[Word]) -> list[str]:
    if _letters(printed) == _letters(wanted):
        return []
    matcher = SequenceMatcher(a=[word.text for word in printed], b=[word.text for word in wanted], autojunk=False)
    found = []
    for kind, a, b, c, d in matcher.get_opcodes():
        here, there = printed[a:b], wanted[c:d]
        if kind == "equal" or _letters(here) == _letters(there):
            continue
        found += word_differences(here, there) if a < b else [_missing(printed, there, a)]
    return found


def _missing(printed: Sequence[Word], wanted: Sequence[Word], place: int) -> str:
    before = printed[max(0, place - CONTEXT) : place]
    page = printed[max(0, place - 1)].page if printed else 1
    return f"page {page}: printed nothing, expected {quoted(wanted)} after {quoted(before)}"


def _other_looks(printed: Sequence[Word], wanted: Sequence[Word]) -> Iterator[str]:
    """Tell each run of words whose letters are those expected, but look otherwise."""
    rest = (look for _, look in _looking(wanted))
    others = [_looks_otherwise(word, rest) for word in printed]
    for other, run in groupby(zip(printed, others, strict=True), key=lambda one: one[1]):
        its = [word for word, _ in run]
        if other:
            yield f"page {its[0].page}: {quoted(its)} does not look as the results give it: {other}"


def _looks_otherwise(word: Word, rest: Iterator[Look | None]) -> str:
    """Return how a word looks otherwise than the rest of those expected begins, whose letters are taken; else ``."""
    looks = [look for _, look in _looking([word])]
    others = list(islice(rest, len(looks)))
    if not all(map(_alike, looks, others)):
        return "another face, size or colour, or stretched, moved or hidden"
    return "" if are_alike(looks, others, most=ALIKE_INK) else "on another ground, or with something painted at it"


def _alike(look: Look | None, other: Look | None) -> bool:
    if look is None or other is None:
        return look is other
    return (
        (look.face, look.set, len(look.ink)) == (other.face, other.set, len(other.ink))
        and max(look.size, other.size) <= ALIKE_SIZE * min(look.size, other.size)
        and abs(look.opacity - other.opacity) <= ALIKE_INK
        and all(abs(one - two) <= ALIKE_INK for one, two in zip(look.ink, other.ink, strict=True))
    )


def _all_words(drawn: Drawn) -> list[Word]:
    """Return the words of all pages in the order of the document's structure.

    The order in which a page draws its words changes with what stands on it; that of the structure does not. Left out
    is what page breaks bring: numbers of pages, and a table's head on a page where the table goes on.
    """
    found = [
        word for number, page in enumerate(drawn.pages, start=1) for word in words(page, page=number, margins=False)
    ]
    ordered = sorted(found, key=lambda word: drawn.place(word.page, word.mark).order)
    once = _without_repeated_heads(ordered, lambda word: drawn.place(word.page, word.mark).head)
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
        found += [replace(word, text=text, looks=word.looks[-len(text) :])] if text else []
        tells_a_page = is_leader or word.text == "p."
    return found


def _looking(some: Sequence[Word]) -> Iterator[tuple[str, Look | None]]:
    """Return each letter with its look, without hyphens, which move with the ends of lines; minus signs are others."""
    return (pair for word in some for pair in zip(word.text, word.looks, strict=True) if pair[0] not in ("-", HYPHEN))


def _letters(some: Sequence[Word]) -> str:
    return "".join(letter for letter, _ in _looking(some))


def _out_of_order(here: Drawn, there: Drawn) -> Iterator[str]:
    """Tell text that stands before the text that it follows, where what is expected has none such.

    Text follows to the right on its line, below it, or in the next column.
    """
    usual = {(before, after) for _, before, after in _backward(there)}
    for page, before, after in _backward(here):
        if (before, after) not in usual:
            yield f"page {page}: {cut(after, 60)} stands before or over {cut(before, 60)}, though it is read after it"
    for number, drawn in enumerate(here.pages, start=1):
        for step in drawn:
            if step.goes_back and not step.in_figure:
                yield f"page {number}: letters of {cut(step.text, 80)} are drawn over one another"


def _backward(drawn: Drawn) -> Iterator[tuple[int, str, str]]:
    """Return the page, the last word of a text and the first of the next, where that stands before or over it."""
    found = [
        (number, step)
        for number, page in enumerate(drawn.pages, start=1)
        for step in page
        if step.text.strip() and not step.in_figure
    ]
    found.sort(key=lambda one: (one[1].in_margin, drawn.place(one[0], one[1].mark).order))
    for (page, step), (next_page, following) in pairwise(found):
        if page == next_page and _stands_before(following, step):
            yield page, step.text.split()[-1], following.text.split()[0]


def _stands_before(step: Step, other: Step) -> bool:
    """Whether text stands left of or over other text and not below it; in the margins, on its line."""
    is_in_place = step.in_margin and step.down < other.down - NEAR  # a running head is drawn after a table's head
    return step.box.left < other.box.right - NEAR and step.down < other.down + NEAR and not is_in_place
