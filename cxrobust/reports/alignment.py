"""Numbers of a table's column stand with their points below one another, by room beside them and no further character.

The room is given in widths of a digit, CSS's `ch`: in the tables' face each digit and sign is one wide, a point or comma half.
Text that is copied or read out is therefore that of the cell.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import itemgetter

from cxrobust.reports.parts import Cell, Column, Group
from cxrobust.reports.words import MINUS, SPACE

NUMBER = re.compile(rf"(?P<whole>[<>]?[{MINUS}+]?\d[\d,]*)(?P<part>(?:\.\d+)?)(?P<unit>%?)")
BEFORE, AFTER = frozenset("(["), frozenset(")];,")
"""What stays beside its number, so that room is before or after it."""
NOTE = 0.7
"""Width of a footnote's letter."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A part of a cell's text, with the room that it needs on either side, in widths of a digit."""

    text: str
    left: float = 0.0
    right: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A cell as it is set: its text and the smaller line below it, in pieces."""

    cell: Cell
    text: tuple[Piece, ...]
    under: tuple[Piece, ...]


def lined_up(columns: Sequence[Column], groups: Sequence[Group]) -> list[tuple[Group, list[list[Line]]]]:
    """Return groups with the cells of their rows, the points of each column that is not set to the left in line.

    The first of `columns` holds the groups' heads. The smaller lines below are in line within their group, whose
    numbers have as many decimals as one another.
    """
    rows = [row for group in groups for row in group.rows]
    group_of = [g for g, group in enumerate(groups) for _ in group.rows]
    texts: dict[tuple[int, int], tuple[tuple[Piece, ...], tuple[Piece, ...]]] = {}
    for place, column in enumerate(columns[1:]):
        cells = [(k, row[place]) for k, row in enumerate(rows) if place < len(row)]
        found = (
            [(as_it_is(cell.text), as_it_is(cell.under)) for _, cell in cells]
            if column.left
            else zip(
                _with_room_for_notes([cell for _, cell in cells]),
                _in_line_by_group([(group_of[k], cell.under) for k, cell in cells]),
                strict=True,
            )
        )
        texts |= {(k, place): pieces for (k, _), pieces in zip(cells, found, strict=True)}
    lines = [
        [Line(cell=cell, text=texts[k, place][0], under=texts[k, place][1]) for place, cell in enumerate(row)]
        for k, row in enumerate(rows)
    ]
    left = iter(lines)
    return [(group, [next(left) for _ in group.rows]) for group in groups]


def as_it_is(text: str) -> tuple[Piece, ...]:
    """Return a text as one piece."""
    return (Piece(text=text),)


def _in_line_by_group(texts: Sequence[tuple[int, str]]) -> list[tuple[Piece, ...]]:
    """Return texts, whose group stands before each, as `in_line` does those of a group; groups are in order."""
    return [pieces for _, group in groupby(texts, key=itemgetter(0)) for pieces in in_line([text for _, text in group])]


def in_line(texts: Sequence[str]) -> list[tuple[Piece, ...]]:
    """Return texts that end at one line in pieces such that the points of those of the same form stand below one another.

    Texts have the same form when they differ in their numbers alone: `0.84 (0.80 to 0.88)` and `−0.1 (−0.2 to 0.05)`.
    Within an interval there is no room, so that of its lower ends the points are in line where its upper ends are alike.

    Examples
    --------
    >>> [[(piece.text, piece.left, piece.right) for piece in pieces] for pieces in in_line(["0.049", "<0.5"])]
    [[('0.049', 0.0, 0.0)], [('<0.5', 0.0, 2.0)]]
    """
    forms: dict[str, list[int]] = defaultdict(list)
    for place, text in enumerate(texts):
        forms[NUMBER.sub("#", text)].append(place)
    found = [as_it_is(text) for text in texts]
    for form, places in forms.items():
        if "#" in form and len(places) > 1:
            numbers = [list(NUMBER.finditer(texts[place])) for place in places]
            most = [
                (max(_width(one["whole"]) for one in same), max(_width(one["part"]) for one in same))
                for same in zip(*numbers, strict=True)
            ]
            for place, own in zip(places, numbers, strict=True):
                found[place] = _pieces(texts[place], own, most)
    return found


def _pieces(text: str, numbers: Sequence[re.Match[str]], most: Sequence[tuple[float, float]]) -> tuple[Piece, ...]:
    """Cut a text at its numbers where these need room; before the first none is needed."""
    pieces: list[Piece] = []
    begun = 0
    for one, (left, right) in zip(numbers, _rooms(text, numbers, most), strict=True):
        if left or right:
            first = one.start() - (text[: one.start()][-1:] in BEFORE)
            last = one.end() + (text[one.end() : one.end() + 1] in AFTER)
            pieces += [Piece(text=text[begun:first]), Piece(text=text[first:last], left=left, right=right)]
            begun = last
    return tuple(piece for piece in (*pieces, Piece(text=text[begun:])) if piece.text) or as_it_is(text)


def _rooms(
    text: str, numbers: Sequence[re.Match[str]], most: Sequence[tuple[float, float]]
) -> list[tuple[float, float]]:
    """Return the room before and after each number; what the ends of an interval need between them stands before it."""
    lefts = [whole - _width(one["whole"]) for one, (whole, _) in zip(numbers, most, strict=True)]
    rights = [part - _width(one["part"]) for one, (_, part) in zip(numbers, most, strict=True)]
    for k, (low, high) in enumerate(pairwise(numbers)):
        if text[low.end() : high.start()].strip(f" {SPACE}") == "to":
            lefts[k] += rights[k] + lefts[k + 1]
            rights[k] = lefts[k + 1] = 0.0
    return list(zip([0.0, *lefts[1:]], rights, strict=True))


def _width(text: str) -> float:
    """Return the width of a part of a number, in widths of a digit."""
    return len(text) - 0.5 * (text.count(".") + text.count(","))


def _with_room_for_notes(cells: Sequence[Cell]) -> list[tuple[Piece, ...]]:
    """Line up texts but of cells that stand alone, those without a footnote's letter with room where others have one."""
    together = iter(in_line([cell.text for cell in cells if not cell.alone]))
    pieces = [as_it_is(cell.text) if cell.alone else next(together) for cell in cells]
    if not any(cell.note for cell in cells):
        return pieces
    return [
        of_one
        if cell.note or not NUMBER.search(cell.text)
        else (*of_one[:-1], Piece(text=of_one[-1].text, left=of_one[-1].left, right=of_one[-1].right + NOTE))
        for cell, of_one in zip(cells, pieces, strict=True)
    ]
