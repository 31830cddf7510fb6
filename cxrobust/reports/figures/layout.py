"""Panels of one grid laid out: room for what stands around each, and the rest shared evenly.

It places panels as matplotlib's constrained layout does, which measures every text of every panel twice; here a second
time is only where ticks change.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import LayoutEngine
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

W_PAD, H_PAD = 0.02 * 72, 0.03 * 72
"""Room around a panel with all that stands beside it, in points."""
SPACE = 0.02
"""Share of a figure that goes between all its columns, or rows, where that is more."""
DPI = 72


class Panels(LayoutEngine):
    """The layout of a figure whose panels are those of one grid; `top` is room above it all, in points."""

    _adjust_compatible, _colorbar_gridspec = False, False

    def __init__(self, *, top: float = 0.0) -> None:
        super().__init__()
        self._top = top

    def set(self, **_: Any) -> None:
        """Set nothing: it has no settings of matplotlib's."""

    def execute(self, fig: Any) -> None:
        """Move and resize the panels of a figure."""
        for axis in (axis for axes in fig.axes for axis in (axes.xaxis, axes.yaxis)):
            if not axis.label.get_text():
                axis.set_label_coords(0.0, 0.0)  # else the labels of its ticks are measured again to place nothing
        panels = [axes for axes in fig.axes if axes.get_subplotspec() is not None and axes.get_in_layout()]
        if not panels:
            return
        measured = _ticks(panels)
        place(fig, panels, renderer=fig._get_renderer(), top=self._top)
        if _ticks(panels) != measured:  # of another height, an axis may have other ticks, whose labels are wider
            place(fig, panels, renderer=fig._get_renderer(), top=self._top)


def _ticks(panels: Iterable[Axes]) -> list[list[str]]:
    """Return what the ticks of each axis say."""
    every: list[Any] = [axis for axes in panels for axis in (axes.xaxis, axes.yaxis)]
    return [axis.get_major_formatter().format_ticks(axis.get_majorticklocs()) for axis in every]


def place(figure: Canvas, panels: Iterable[Axes], *, renderer: Any, top: float) -> None:
    """Move and resize panels so that what stands around each finds room."""
    found = [(axes, cast(Any, axes.get_subplotspec())) for axes in panels]
    rows, columns = found[0][1].get_gridspec().get_geometry()
    width, height = (DPI * float(side) for side in np.asarray(figure.get_size_inches()))
    left, right = np.zeros(columns), np.zeros(columns)
    above, below = np.zeros(rows), np.zeros(rows)
    for axes, spec in found:
        box = axes.get_position(original=True).transformed(figure.transFigure)
        seen = axes.get_tightbbox(renderer, for_layout_only=True) or box
        row, column = spec.rowspan.start, spec.colspan.start
        left[column] = max(left[column], box.x0 - seen.x0)
        right[column] = max(right[column], seen.x1 - box.x1)
        above[row] = max(above[row], seen.y1 - box.y1)
        below[row] = max(below[row], box.y0 - seen.y0)
    at_left, at_bottom = _outside(figure, renderer, height=height, width=width)
    across = rooms(width - at_left, left, right, outer=W_PAD, inner=max(W_PAD, SPACE / 2 / columns * width))
    down = rooms(height - top - at_bottom, above, below, outer=H_PAD, inner=max(H_PAD, SPACE / 2 / rows * height))
    if across[0].size <= 0 or down[0].size <= 0:
        return
    for axes, spec in found:
        column, row = across[spec.colspan.start], down[spec.rowspan.start]
        x, y = at_left + column.start, height - top - row.start - row.size
        cast(Any, axes)._set_position(Bbox.from_bounds(x / width, y / height, column.size / width, row.size / height))


class Room(NamedTuple):
    """Where a column begins, from the left, or a row, from above, and its width or height, in points."""

    start: float
    size: float


def rooms(
    length: float, before: NDArray[np.float64], after: NDArray[np.float64], *, outer: float, inner: float
) -> list[Room]:
    """Share a length evenly among columns, or rows, after what stands before and after each (n,); all in points.

    `outer` is the room at both ends, `inner` that on both sides of each place between two.
    """
    n = len(before)
    pads = np.array([outer, *[inner] * (n - 1)])
    before, after = before + pads, after + pads[::-1]
    size = float(length - before.sum() - after.sum()) / n
    return [Room(float(before[: k + 1].sum() + after[:k].sum()) + k * size, size) for k in range(n)]


def _outside(figure: Canvas, renderer: Any, *, height: float, width: float) -> tuple[float, float]:
    """Return the room left of all panels and below them, for labels that they share and for a legend."""
    drawn: Any = figure
    at_left, at_bottom = 0.0, 0.0
    if drawn._supxlabel is not None:
        drawn._supxlabel.set_position((drawn._supxlabel.get_position()[0], H_PAD / height))
        at_bottom = drawn._supxlabel.get_tightbbox(renderer).height + 2 * H_PAD
    if drawn._supylabel is not None:
        drawn._supylabel.set_position((W_PAD / width, drawn._supylabel.get_position()[1]))
        at_left = drawn._supylabel.get_tightbbox(renderer).width + 2 * W_PAD
    if any(legend._outside_loc != "lower" for legend in drawn.legends) or (drawn.legends and drawn._supxlabel):
        # of a ValueError matplotlib would draw on without a layout
        raise RuntimeError("a legend stands below all panels, where no label that they share stands")
    for legend in drawn.legends:
        at_bottom = max(at_bottom, legend.get_tightbbox(renderer).height + 2 * H_PAD)
    return at_left, at_bottom
