"""Names of lines: labels at their ends, moved apart just as far as they need, or a legend where there is no room."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from numpy.typing import NDArray

from cxrobust.reports.figures.style import Mark
from cxrobust.reports.words import shortened

LINE = 7.4
"""Distance of two labels in points."""
OFFSET = 7.0
"""Distance of a label from its line's end in points."""
ENTRY, LETTER, ENTRY_LINE = 11.0, 1.2, 3.2
"""Of a legend, in mm: width of an entry without its name, of a letter, and height of a line."""


def spread(wanted: Sequence[float], *, gap: float, low: float, high: float) -> NDArray[np.float64]:
    """Positions at least `gap` apart that move as little as they can, in the sense of least squares, in [low, high].

    With the positions in order, y_i − i·gap must not decrease: isotonic regression of x_i − i·gap, clipped to the
    bounds, is the least-squares solution. When the labels need more room than there is, the gap shrinks. The regression
    is written out because importing scipy.optimize takes longer than drawing a figure.

    Parameters
    ----------
    wanted
        (n,): where the labels would stand by themselves, in any order.

    Examples
    --------
    >>> spread([0.0, 1.0, 9.0], gap=3.0, low=-10.0, high=10.0)
    array([-1.,  2.,  9.])
    """
    x = np.asarray(wanted, dtype=np.float64)
    if len(x) == 0:
        return x
    order = np.argsort(x, kind="stable")
    steps = np.arange(len(x)) * min(gap, (high - low) / max(len(x) - 1, 1))
    moved = np.clip(_isotonic(x[order] - steps), low, high - steps[-1]) + steps
    placed = np.empty_like(x)
    placed[order] = moved
    return placed


def _isotonic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Non-decreasing values nearest to x in the sense of least squares: pool adjacent violators."""
    means: list[float] = []
    sizes: list[int] = []
    for value in x:
        mean, size = float(value), 1
        while means and means[-1] > mean:
            mean = (means[-1] * sizes[-1] + mean * size) / (sizes[-1] + size)
            size += sizes.pop()
            means.pop()
        means.append(mean)
        sizes.append(size)
    return np.repeat(means, sizes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """A name at the end of a line."""

    axes: Axes
    text: Annotation
    end: tuple[float, float]
    """Where the line ends, in data."""
    mark: Mark


def label_line_ends(axes: Axes, ends: Sequence[tuple[float, float, str, Mark]]) -> list[Label]:
    """Write each line's name at its end (x, y, name, mark) in its own ink; `part` then moves them apart."""
    return [
        Label(
            axes=axes,
            text=axes.annotate(
                shortened(name),
                (x, y),
                xytext=(OFFSET, 0),
                textcoords="offset points",
                color=mark.ink,
                va="center",
                fontsize=6.5,
                annotation_clip=False,
            ),
            end=(x, y),
            mark=mark,
        )
        for x, y, name, mark in ends
    ]


def part(figure: Canvas, labels: Sequence[Label]) -> None:
    """Lay the figure out, freeze it, and move each axes' labels apart; a hair leads to a label that moved."""
    layout = figure.get_layout_engine()
    if layout is not None:
        layout.execute(figure)
    figure.set_layout_engine("none")
    for axes in dict.fromkeys(label.axes for label in labels):
        mine = [label for label in labels if label.axes is axes]
        own = [float(axes.transData.transform(label.end)[1]) for label in mine]
        box = axes.get_window_extent()
        for label, before, placed in zip(mine, own, spread(own, gap=LINE, low=box.y0, high=box.y1), strict=True):
            shift = float(placed) - before
            label.text.set_position((OFFSET, shift))
            if abs(shift) > 2:
                axes.annotate(
                    "",
                    label.end,
                    xytext=(OFFSET - 0.5, shift),
                    textcoords="offset points",
                    arrowprops={"arrowstyle": "-", "lw": 0.3, "color": label.mark.colour, "shrinkA": 0, "shrinkB": 2},
                    annotation_clip=False,
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class Legend:
    """A legend below the panels of a narrow figure."""

    drawn_as: Mapping[str, Mark]
    columns: int

    @classmethod
    def of(cls, drawn_as: Mapping[str, Mark], *, width: float) -> "Legend":
        """Return the legend of regimes with as many columns as the width in mm holds."""
        longest = max(len(shortened(name)) for name in drawn_as)
        return cls(drawn_as=drawn_as, columns=max(1, int(width / (ENTRY + LETTER * longest))))

    @property
    def height(self) -> float:
        """Height in mm that the figure needs for it."""
        return ENTRY_LINE * math.ceil(len(self.drawn_as) / self.columns) + 2

    def draw(self, figure: Canvas) -> None:
        """Put it below the panels, which make room for it."""
        handles = [
            Line2D(
                [], [], color=mark.colour, marker=mark.marker, linestyle=cast(Any, mark.dashes), label=shortened(name)
            )
            for name, mark in self.drawn_as.items()
        ]
        figure.legend(handles=handles, loc="outside lower left", ncols=self.columns)
