"""The words of a page, put together of what its steps of drawing show."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from cxrobust.verification.pages import Look, Step

HYPHEN = "\N{HYPHEN}"
"""Where a word was broken at the end of a line; in some faces a hyphen that was written is read as this one too."""
WORD = re.compile(r"\S+")
NEAR = 2.6
"""Letters of a figure's text that are no further apart, in mm, belong together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """A word on a page."""

    text: str
    page: int
    """From 1."""
    mark: int | None
    looks: tuple[Look | None, ...]
    """Of each letter."""

    def joined(self, after: "Word") -> "Word":
        """Return it with the rest of it that stands in another step or on another line."""
        return replace(self, text=self.text + after.text, looks=self.looks + after.looks)


def words(drawn: Iterable[Step], *, page: int, margins: bool) -> list[Word]:
    """Return the words of a page in the order in which they are drawn; those of margins only where asked for.

    In figures a text is a step for each of its faces, or for each letter; letters that stand close are one word.
    """
    found: list[Word] = []
    last: Step | None = None
    for step in drawn:
        if not step.text or (step.in_margin and not margins):
            continue
        pieces = [
            Word(text=word[0], page=page, mark=step.mark, looks=step.looks[word.start() : word.end()])
            for word in WORD.finditer(step.text)
        ]
        if last is not None and found and pieces and _continues(last, step):
            pieces[0] = found.pop().joined(pieces[0])
        found += pieces
        last = step
    return found


def joined(found: list[Word]) -> list[Word]:
    """Return words with those that a line's end broke put together again."""
    whole: list[Word] = []
    for word in found:
        if whole and whole[-1].text.endswith(HYPHEN) and len(whole[-1].text) > 1:
            first = whole.pop()
            without = replace(first, text=first.text[:-1], looks=first.looks[:-1])
            whole.append(without.joined(word))
        else:
            whole.append(word)
    return whole


def _continues(last: Step, step: Step) -> bool:
    is_near = abs(step.right - last.right) + abs(step.down - last.down) < NEAR
    is_one_text = step.goes_on or (len(last.text) == len(step.text) == 1 and is_near)
    return is_one_text and last.mark == step.mark and not last.text[-1].isspace() and not step.text[0].isspace()
