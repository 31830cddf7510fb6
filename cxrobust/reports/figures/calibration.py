"""Reliability diagrams: observed fraction against predicted probability, clean above perturbed."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from cxrobust.reports.figures.style import PALE, Mark, canvas, drawn, is_narrow, marks
from cxrobust.reports.figures.told_points import ends_words, tell
from cxrobust.reports.view import CLEAN, View
from cxrobust.reports.words import (
    SPACE,
    capitalised,
    condition_words,
    counted,
    number,
    readable,
    shortened,
)
from cxrobust.results import Estimate, Reliability, ReliabilityBin

MOST_COLUMNS, MOST_NARROW = 6, 3
FEW = 20
"""Predictions under which a bin is drawn open."""
SHARE = 0.25
"""Height of a bar that holds all predictions, as a share of the panel."""


@drawn
def reliability_figure(width: float, view: View, *, conditions: Sequence[str]) -> Canvas:
    """Draw one column for each regime, one row for each condition; further regimes follow below.

    Where the width is of two columns, the conditions of a single regime stand side by side.
    """
    columns = min(len(view.regimes), MOST_NARROW if is_narrow(width) else MOST_COLUMNS)
    blocks = math.ceil(len(view.regimes) / columns)
    rows = blocks * len(conditions)
    is_alone = len(view.regimes) == 1 and not is_narrow(width)
    if is_alone:
        rows, columns = 1, len(conditions)
    side = min((width - 24) / columns, 36.0)
    figure = canvas(columns * (side + 20) if is_alone else width, rows * (side + 5) + 9)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=not is_alone)
    drawn_as = marks(view.regimes, reference=view.reference)
    diagrams = {(one.regime, one.condition): one for one in view.results.reliability}
    for axes in grid.flat:
        axes.set_axis_off()
    for place, regime in enumerate(view.regimes):
        for row, condition in enumerate(conditions):
            axes = grid[0, row] if is_alone else grid[place // columns * len(conditions) + row, place % columns]
            axes.set_axis_on()
            ece = view.value("ece", regime, condition)
            _diagram(axes, diagrams.get((regime, condition)), ece, drawn_as[regime], level=view.level)
            if row == 0:
                axes.set_title(shortened(regime, most=18), color=drawn_as[regime].ink)
            if place % columns == 0:
                axes.set_ylabel(f"{_row_name(condition)}\nObserved fraction")
    figure.supxlabel("Predicted probability", fontsize=7)
    return figure


def _row_name(condition: str) -> str:
    return "Clean" if condition == CLEAN else shortened(condition_words(condition).split(", ")[0]) + ", primary"


def _diagram(axes: Axes, diagram: Reliability | None, ece: Estimate | None, mark: Mark, *, level: float) -> None:
    axes.plot([0, 1], [0, 1], color=PALE, linewidth=0.5, zorder=0)
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1), aspect="equal")
    axes.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
    axes.set_yticks((0, 0.5, 1), ("0", "0.5", "1"))
    if ece is not None and ece.estimate is not None:
        axes.annotate(
            f"ECE {number(ece.estimate)}",
            (0.04, 0.93),
            xycoords="axes fraction",
            fontsize=6.5,
            va="top",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
            zorder=5,
        )
    if diagram is None:
        return
    total = max(sum(one.n for one in diagram.bins), 1)
    axes.stairs(
        [SHARE * one.n / total for one in diagram.bins],
        [*(one.low for one in diagram.bins), diagram.bins[-1].high],
        fill=True,
        color="#DDDDDD",
        linewidth=0,
        zorder=0,
    )
    for few in (True, False):
        _points(axes, [one if one.n and (one.n < FEW) == few else None for one in diagram.bins], mark, few=few)
    for one in diagram.bins:
        if one.mean_probability is not None and one.observed is not None:
            tell(axes, one.mean_probability, one.observed, _words(diagram, one, level))


def _words(diagram: Reliability, one: ReliabilityBin, level: float) -> str:
    """Return a bin in words: `lora · Clean · 1,204 predictions of 0.43 on average, observed 0.40 (95% CI, ...)`."""
    observed = number(one.observed or 0.0) + ends_words(one.ci_low, one.ci_high, level)
    mean = number(one.mean_probability or 0.0)
    return (
        f"{readable(diagram.regime)} · {capitalised(condition_words(diagram.condition))} · "
        f"{counted(one.n, 'prediction')} of{SPACE}{mean} on average · Observed{SPACE}fraction{SPACE}{observed}"
    )


def _points(axes: Axes, bins: Sequence[ReliabilityBin | None], mark: Mark, *, few: bool) -> None:
    """Draw bins with their intervals, neighbours joined; those with few predictions are open and not joined."""
    kept = [one for one in bins if one is not None and one.ci_low is not None and one.ci_high is not None]
    axes.plot(
        _numbers([x for one in kept for x in (one.mean_probability, one.mean_probability, None)]),
        _numbers([y for one in kept for y in (one.ci_low, one.ci_high, None)]),
        color=mark.colour,
        linewidth=0.6,
        alpha=0.4 if few else 1,
    )
    axes.plot(
        _numbers([None if one is None else one.mean_probability for one in bins]),
        _numbers([None if one is None else one.observed for one in bins]),
        color=mark.colour,
        marker=mark.marker,
        markerfacecolor="white" if few else mark.colour,
        linestyle="none" if few else mark.dashes,
        markersize=2.4,
        linewidth=0.8,
        clip_on=False,
    )


def _numbers(values: Sequence[float | None]) -> NDArray[np.float64]:
    """Return values with NaN, where a line breaks, for None."""
    return np.array(values, dtype=np.float64)
