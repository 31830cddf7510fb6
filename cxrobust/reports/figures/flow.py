"""The flow of images as boxes and arrows, from the source to what was analysed, with what was left out at the side."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import FancyArrowPatch, Rectangle

from cxrobust.reports.figures.style import INK, QUIET, bare, canvas, drawn, is_narrow

LINE = 3.3
"""Height of a line of text in mm."""
PAD, GAP = 1.6, 5.0
"""Room within a box above and below its text, and between boxes, in mm."""
MOST_LETTERS = 60
MOST_FOLDS = 3
"""Lines that one text may take."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Left:
    """What is left out at a step."""

    title: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """One step: lines of text of which the first is set semibold, what is left out after it, and what stands beside it."""

    lines: tuple[str, ...]
    left: Left | None = None
    beside: tuple[str, ...] = ()
    n_title: int = 1
    """How many of the lines are its title."""


@drawn
def flow_figure(width: float, boxes: Sequence[Box]) -> Canvas:
    """Draw the boxes one under another, joined by arrows."""
    at, heights = 0.0, []
    narrow = is_narrow(width)
    has_side = any(box.left or box.beside for box in boxes)
    main = width * (0.5 if has_side else 0.7)
    side_from, side_wide = main + 6.0, width - main - 7.0
    boxes = [_folded_box(box, *(_most(wide, narrow=narrow) for wide in (main, side_wide))) for box in boxes]
    for box in boxes:
        heights.append(_height(box.lines))
        side = _height((box.left.title, *box.left.reasons)) if box.left else 0.0
        at += heights[-1] + max(GAP, side + 2.5 if side else 0.0)
    total = at - GAP
    figure = canvas(width, total + 2)
    axes = figure.add_subplot()
    bare(axes)
    axes.set_xlim(0, width)
    axes.set_ylim(total + 1, -1)
    y = 0.0
    for place, (box, height) in enumerate(zip(boxes, heights, strict=True)):
        _box(axes, 0.5, y, main, height, box.lines, narrow=narrow, n_title=box.n_title)
        if box.beside:
            tall = _height(box.beside)
            _box(axes, side_from, y + (height - tall) / 2, side_wide, tall, box.beside, narrow=narrow)
        below = y + height
        room = GAP
        if box.left is not None:
            lines = (box.left.title, *box.left.reasons)
            tall = _height(lines)
            room = max(GAP, tall + 2.5)
            middle = below + room / 2
            _box(axes, side_from, middle - tall / 2, side_wide, tall, lines, narrow=narrow)
            _arrow(axes, (0.5 + main / 2, middle), (side_from, middle))
        if place < len(boxes) - 1:
            _arrow(axes, (0.5 + main / 2, below), (0.5 + main / 2, below + room))
        y = below + room
    return figure


def _most(wide: float, *, narrow: bool) -> int:
    """Return how many letters a line of a box of this width in mm holds."""
    return int(MOST_LETTERS * wide / 87 * (1.15 if narrow else 1.0))


def _folded_box(box: Box, most: int, most_beside: int) -> Box:
    """Return a step whose texts stand on as many lines as they need."""
    title, rest = _folded(box.lines[:1], most, indent=""), _folded(box.lines[1:], most)
    left = None
    if box.left is not None:
        first, *more = _folded((box.left.title, *box.left.reasons), most_beside)
        left = Left(title=first, reasons=tuple(more))
    beside = _folded(box.beside, most_beside)
    return replace(box, lines=(*title, *rest), n_title=len(title), left=left, beside=beside)


def _folded(texts: Sequence[str], most: int, *, indent: str = "  ") -> tuple[str, ...]:
    """Return texts as lines of so many letters, up to `MOST_FOLDS` each, what follows in one set in."""
    folded = (
        textwrap.wrap(text, most, max_lines=MOST_FOLDS, placeholder="…", subsequent_indent=indent) or [""]
        for text in texts
    )
    return tuple(line for lines in folded for line in lines)


def _height(lines: Sequence[str]) -> float:
    return len(lines) * LINE + 2 * PAD


def _box(
    axes: Axes, x: float, y: float, wide: float, height: float, lines: Sequence[str], *, narrow: bool, n_title: int = 1
) -> None:
    axes.add_patch(Rectangle((x, y), wide, height, fill=False, edgecolor=INK, linewidth=0.5))
    most = _most(wide, narrow=narrow)
    for place, line in enumerate(lines):
        shown = line if len(line) <= most else f"{line[: most - 1]}…"
        axes.text(
            x + 2,
            y + PAD + (place + 0.5) * LINE,
            shown,
            va="center",
            ha="left",
            fontsize=6.5 if narrow else 7.0,
            fontweight="semibold" if place < n_title else "normal",
        )


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=5, linewidth=0.6, color=QUIET, shrinkA=0, shrinkB=0
        )
    )
