"""Reliability diagrams: observed fraction against predicted probability, clean above perturbed."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from cxrobust.reports.figures.style import PALE, Mark, canvas, drawn, marks
from cxrobust.reports.view import CLEAN, View
from cxrobust.reports.words import condition_words, number, shortened
from cxrobust.results import Estimate, Reliability

MOST_COLUMNS = 6
SHARE = 0.25
"""Height of a bar that holds all predictions, as a share of the panel."""


@drawn
def reliability_figure(view: View, *, conditions: Sequence[str]) -> Canvas:
    """Draw one column for each regime, one row for each condition; further regimes follow below."""
    columns = min(len(view.regimes), MOST_COLUMNS)
    blocks = math.ceil(len(view.regimes) / columns)
    rows = blocks * len(conditions)
    side = min(150 / columns, 42.0)
    figure = canvas(rows * (side + 5) + 9)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    drawn_as = marks(view.regimes, reference=view.reference)
    diagrams = {(one.regime, one.condition): one for one in view.results.reliability}
    for axes in grid.flat:
        axes.set_axis_off()
    for place, regime in enumerate(view.regimes):
        for row, condition in enumerate(conditions):
            axes = grid[place // columns * len(conditions) + row, place % columns]
            axes.set_axis_on()
            _diagram(axes, diagrams.get((regime, condition)), view.value("ece", regime, condition), drawn_as[regime])
            if row == 0:
                axes.set_title(shortened(regime, most=18), color=drawn_as[regime].ink)
            if place % columns == 0:
                axes.set_ylabel(f"{_row_name(condition)}\nObserved fraction")
    figure.supxlabel("Predicted probability", fontsize=7)
    return figure


def _row_name(condition: str) -> str:
    return "Clean" if condition == CLEAN else shortened(condition_words(condition).split(", ")[0]) + ", primary"


def _diagram(axes: Axes, diagram: Reliability | None, ece: Estimate | None, mark: Mark) -> None:
    axes.plot([0, 1], [0, 1], color=PALE, linewidth=0.5, zorder=0)
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1), aspect="equal")
    axes.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
    axes.set_yticks((0, 0.5, 1), ("0", "0.5", "1"))
    if ece is not None and ece.estimate is not None:
        axes.annotate(f"ECE {number(ece.estimate)}", (0.04, 0.97), xycoords="axes fraction", fontsize=6.5, va="top")
    if diagram is None:
        return
    total = max(sum(one.n for one in diagram.bins), 1)
    axes.bar(
        [one.low for one in diagram.bins],
        [SHARE * one.n / total for one in diagram.bins],
        width=[0.92 * (one.high - one.low) for one in diagram.bins],
        align="edge",
        color="#DDDDDD",
        zorder=0,
    )
    points = [
        (one.mean_probability, one.observed, one.ci_low, one.ci_high)
        for one in diagram.bins
        if one.mean_probability is not None and one.observed is not None
    ]
    for p, _, low, high in points:
        if low is not None and high is not None:
            axes.plot([p, p], [low, high], color=mark.colour, linewidth=0.6)
    axes.plot(
        [p for p, *_ in points],
        [observed for _, observed, *_ in points],
        color=mark.colour,
        marker=mark.marker,
        linestyle=mark.dashes,
        markersize=2.4,
        linewidth=0.8,
    )
