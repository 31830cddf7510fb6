"""How sure decisions are, clean against perturbed: right ones above the line, wrong ones below it."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from cxrobust.reports.figures.style import INK, QUIET, Mark, canvas, drawn, is_narrow, marks
from cxrobust.reports.figures.told_points import ends_words, tell
from cxrobust.reports.view import CLEAN, View
from cxrobust.reports.words import SPACE, capitalised, condition_words, number, readable, shortened
from cxrobust.results import ConfidenceSpread

MOST_COLUMNS, MOST_NARROW, FEWEST_COLUMNS = 3, 2, 2
HEIGHT = 40.0
"""Of a panel in mm."""
LIFTS, ROOM = (0.1, 0.19), 0.25
"""How far outside the highest bin the means stand, clean and perturbed, and how far a panel reaches, of its height."""
SPIKE = 0.35
"""Share of decisions in one bin past which shares are drawn on a square-root scale."""
CLEAN_GREY, CLEAN_EDGE = "#DDDDDD", "#777777"


@drawn
def confidence_figure(width: float, view: View) -> Canvas:
    """Draw a panel for each regime, all with the same axes."""
    columns = min(max(len(view.regimes), FEWEST_COLUMNS), MOST_NARROW if is_narrow(width) else MOST_COLUMNS)
    rows = math.ceil(len(view.regimes) / columns)
    figure = canvas(width, rows * HEIGHT + 5)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    drawn_as = marks(view.regimes, reference=view.reference)
    found: dict[tuple[str, str, str], ConfidenceSpread] = {
        (one.regime, one.condition, one.decisions): one for one in view.results.confidence
    }
    is_root = is_on_roots(view)
    right, wrong = (_highest(view, decisions, is_root=is_root) for decisions in ("right", "wrong"))
    reach = right + wrong
    at_left = {decisions: _names_fit_left(view, decisions) for decisions in ("right", "wrong")}
    for axes in grid.flat[len(view.regimes) :]:
        axes.set_axis_off()
    for place, (axes, regime) in enumerate(zip(grid.flat, view.regimes, strict=False)):
        mark = drawn_as[regime]
        for side, decisions in ((1, "right"), (-1, "wrong")):
            clean, perturbed = (found.get((regime, c, decisions)) for c in (CLEAN, view.primary or ""))
            edge = side * (right if side > 0 else wrong)
            places = [edge + side * lift * reach for lift in LIFTS]
            _half(axes, clean, perturbed, side, mark, is_root=is_root, places=places, level=view.level)
            axes.annotate(
                decisions,
                (0.5 if at_left[decisions] else 1, places[0]),
                xytext=(2 if at_left[decisions] else -2, 0),
                textcoords="offset points",
                fontsize=6.5,
                color=QUIET,
                va="center",
                ha="left" if at_left[decisions] else "right",
            )
        axes.axhline(0, color=INK, linewidth=0.5)
        axes.set_title(shortened(regime), color=mark.ink)
        axes.tick_params(labelbottom=place + columns >= len(view.regimes))
    _axes(grid[0, 0], right, wrong, is_root=is_root)
    figure.supxlabel("Confidence, max(p, 1 − p)", fontsize=7)
    figure.supylabel("Share of decisions" + (" (square-root scale)" if is_root else ""), fontsize=7)
    return figure


def _names_fit_left(view: View, decisions: str) -> bool:
    """Whether the side's name is farther from its means and their intervals at the left end than at the right."""
    means = [one for one in view.results.confidence if one.decisions == decisions and one.mean is not None]
    ends = [end for one in means for end in (one.mean, one.ci_low, one.ci_high) if end is not None]
    return not ends or min(ends) - 0.5 >= 1 - max(ends)


def is_on_roots(view: View) -> bool:
    """Whether so many decisions are in one bin that shares are drawn on a square-root scale."""
    return any((b.share or 0.0) > SPIKE for one in view.results.confidence for b in one.bins)


def _scaled(share: float, is_root: bool) -> float:
    return math.sqrt(share) if is_root else share


def _highest(view: View, decisions: str, *, is_root: bool) -> float:
    """Return the height of the highest bin of right, or of wrong, decisions, with its interval."""
    bins = [b for one in view.results.confidence if one.decisions == decisions for b in one.bins]
    return max((_scaled(max(b.ci_high or 0.0, b.share or 0.0), is_root) for b in bins), default=0.0) or 1e-3


def _axes(axes: Axes, right: float, wrong: float, *, is_root: bool) -> None:
    axes.set_xlim(0.5, 1)
    axes.set_ylim(-wrong - ROOM * (right + wrong), right + ROOM * (right + wrong))
    axes.set_xticks((0.5, 0.75, 1), ("0.5", "0.75", "1"))
    if is_root:
        shares = (0.01, 0.1, 0.25, 0.5, 1.0)
        above = [math.sqrt(s) for s in shares if math.sqrt(s) <= right]
        below = [-math.sqrt(s) for s in shares if math.sqrt(s) <= wrong]
        axes.set_yticks([*below, *above])
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y * y:.0f}%"))
        return
    ticks = MaxNLocator(5).tick_values(-wrong, right)
    axes.set_yticks([y for y in ticks if -wrong <= y <= right])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{abs(100 * y):.0f}%"))


def _half(
    axes: Axes,
    clean: ConfidenceSpread | None,
    perturbed: ConfidenceSpread | None,
    side: int,
    mark: Mark,
    *,
    is_root: bool,
    places: Sequence[float],
    level: float,
) -> None:
    if clean is not None:
        heights, lows, highs, edges = _steps(clean, side, is_root)
        axes.stairs(heights, edges, fill=True, color=CLEAN_GREY, linewidth=0, zorder=0)
        _band(axes, lows, highs, edges, CLEAN_EDGE, alpha=0.35)
    if perturbed is not None:
        heights, lows, highs, edges = _steps(perturbed, side, is_root)
        _band(axes, lows, highs, edges, mark.colour, alpha=0.3)
        axes.stairs(heights, edges, baseline=None, color=mark.colour, linewidth=0.9)
    for one, y, colour, face in (
        (clean, places[0], CLEAN_EDGE, "white"),
        (perturbed, places[1], mark.colour, mark.colour),
    ):
        if one is not None and one.mean is not None:
            if one.ci_low is not None and one.ci_high is not None:
                axes.plot([one.ci_low, one.ci_high], [y, y], color=colour, linewidth=0.9)
            marker = "o" if one is clean else mark.marker
            axes.plot(one.mean, y, marker=marker, color=colour, markerfacecolor=face, markersize=2.8)
            tell(axes, one.mean, y, _words(one, level))


def _band(
    axes: Axes,
    lows: NDArray[np.float64],
    highs: NDArray[np.float64],
    edges: NDArray[np.float64],
    colour: str,
    *,
    alpha: float,
) -> None:
    """Draw the intervals of the bins as boxes around their heights."""
    axes.stairs(highs, edges, baseline=lows, fill=True, color=colour, alpha=alpha, linewidth=0)


def _steps(
    one: ConfidenceSpread, side: int, is_root: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return heights, lower and upper ends of the bins, on their side of the line, and the bins' edges."""
    ends = [(b.share, b.ci_low, b.ci_high) for b in one.bins]
    scaled = np.array([[side * _scaled(v or 0.0, is_root) for v in three] for three in ends])
    edges = np.array([*(b.low for b in one.bins), one.bins[-1].high])
    return scaled[:, 0], scaled[:, 1], scaled[:, 2], edges


def _words(one: ConfidenceSpread, level: float) -> str:
    """Return a mean in words: `lora · Clean · Mean confidence of 812 wrong decisions 0.71 (95% CI, ...)`."""
    mean = number(one.mean or 0.0) + ends_words(one.ci_low, one.ci_high, level)
    where = f"{readable(one.regime)} · {capitalised(condition_words(one.condition))}"
    return f"{where} · Mean confidence of {one.n:,} {one.decisions} decisions{SPACE}{mean}"
