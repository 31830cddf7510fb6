"""How words that differ are told: with the page, what is printed, what was expected, and the words before."""

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from cxrobust.verification.page_words import Word

MOST_A_PAGE = 5
"""Differences that are told of a page, or of one kind of a document that was laid out otherwise."""
CONTEXT = 4
"""Words that are told before one that differs."""


def word_differences(
    given: Sequence[Word], expected: Sequence[Word], *, figures: Mapping[int, str] | None = None
) -> list[str]:
    """Tell each run of words that differs, with the page and the words before it."""
    first, last = ends([word.text for word in given], [word.text for word in expected])
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
        after = f" after {quoted(before)}" if before else ""
        found.append(f"{where}: printed {quoted(inner[a:b])}, expected {quoted(wanted[c:d])}{after}")
    return found


def quoted(some: Sequence[Word]) -> str:
    """Return words in quotation marks, cut where they are many."""
    text = " ".join(word.text for word in some)
    return "nothing" if not text else cut(text, 80)


def cut(text: str, most: int) -> str:
    """Return a text in quotation marks, cut where it is longer than `most`."""
    return f"'{text if len(text) <= most else text[: most - 3] + '...'}'"


def ends(given: Sequence[Any], expected: Sequence[Any]) -> tuple[int, int]:
    """Return how many members two sequences share at their beginning, and how many then at their end."""
    shortest = min(len(given), len(expected))
    first = next((k for k in range(shortest) if given[k] != expected[k]), shortest)
    last = next((k for k in range(shortest - first) if given[-1 - k] != expected[-1 - k]), shortest - first)
    return first, last


def first_few(found: Sequence[str], where: str = "") -> list[str]:
    """Return the first differences, and how many more there are."""
    more = len(found) - MOST_A_PAGE
    return [*found[:MOST_A_PAGE], *([f"{where}and {more:,} more"] if more > 0 else [])]
