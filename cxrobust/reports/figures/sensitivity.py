"""The primary comparison under other choices: for each regime the analysis and each alternative below it."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from cxrobust.reports.figures.style import INK, PALE, QUIET, Mark, canvas, drawn, is_narrow, marks
from cxrobust.reports.figures.told_points import estimate_words, tell
from cxrobust.reports.units import in_units
from cxrobust.reports.view import View
from cxrobust.reports.words import capitalised, metric_words, shortened
from cxrobust.results import Estimate

ROW, MARGIN = 3.3, 15.0
MOST_PANELS, MOST_NARROW = 5, 2
MOST_REGIMES = 4
"""Of one figure, so that it finds room on a page that text or a table has begun."""
MOST_HEIGHT = 230
"""In mm, of the rows of panels that metrics take at one column's width."""
AS_ANALYSED = "As analysed"


@drawn
def sensitivity_figure(width: float, view: View, *, regimes: Sequence[str], metrics: Sequence[str]) -> Canvas:
    """Draw a panel for each metric; in it a block of rows for each regime, the analysis first."""
    columns = MOST_NARROW if is_narrow(width) else MOST_PANELS
    n_rows = max(1, min(math.ceil(len(metrics) / columns), int(MOST_HEIGHT / _height(view, regimes, metrics))))
    shown = metrics[: n_rows * columns]
    choices = _choices(view, shown)
    columns = min(columns, len(shown))
    figure = canvas(width, n_rows * _height(view, regimes, shown))
    grid = figure.subplots(n_rows, columns, squeeze=False, sharey=True)
    for axes, metric in zip(grid.flat, shown, strict=False):
        _panel(axes, view, metric, regimes=regimes, choices=choices)
    for axes in grid.flat[len(shown) :]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        _name_rows(axes, view, regimes=regimes, choices=choices)
    if len(shown) < len(metrics) and is_narrow(width):
        figure.supxlabel(f"The first {len(shown)} of {len(metrics)} metrics", fontsize=6, color=QUIET)
    return figure


def _choices(view: View, metrics: Sequence[str]) -> list[str]:
    """Return the choices under which any of the metrics is estimated."""
    return list(dict.fromkeys(one.choice for one in view.results.sensitivity if one.estimate.metric in metrics))


def _block(choices: Sequence[str]) -> int:
    """Return the rows of a regime: its name, the analysis, each choice."""
    return len(choices) + 2


def _height(view: View, regimes: Sequence[str], metrics: Sequence[str]) -> float:
    """Return the height in mm of a row of panels."""
    return ROW * _block(_choices(view, metrics)) * len(regimes) + MARGIN


def _panel(axes: Axes, view: View, metric: str, *, regimes: Sequence[str], choices: Sequence[str]) -> None:
    """Draw one metric."""
    found = {(one.choice, one.estimate.metric, one.estimate.regime): one.estimate for one in view.results.sensitivity}
    drawn_as, block = marks(view.regimes, reference=view.reference), _block(choices)
    if view.comparison != "value":
        axes.axvline(0, color=INK, linewidth=0.5)
    for place, regime in enumerate(regimes):
        top = -place * block
        main, mark = view.contrast(metric, regime), drawn_as[regime]
        if main is not None and main.estimate is not None:
            axes.plot([main.estimate] * 2, [top - 0.6, top - block + 1.6], color=PALE, linewidth=0.5, zorder=0)
        _point(axes, main, top - 1, mark, filled=True, level=view.level)
        for row, choice in enumerate(choices):
            one = found.get((choice, metric, regime))
            _point(axes, one, top - 2 - row, mark, filled=False, level=view.level, choice=in_units(view, choice))
    axes.set_title(capitalised(metric_words(metric).name))
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelbottom=True)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(3))


def _name_rows(axes: Axes, view: View, *, regimes: Sequence[str], choices: Sequence[str]) -> None:
    """Write beside the first panel of a row which regime and which choice each of its rows is."""
    drawn_as, block = marks(view.regimes, reference=view.reference), _block(choices)
    places = [(-place * block - row, place, row) for place in range(len(regimes)) for row in range(block)]
    names = [
        shortened(regimes[p]) if r == 0 else AS_ANALYSED if r == 1 else capitalised(in_units(view, choices[r - 2]))
        for _, p, r in places
    ]
    axes.set_yticks([y for y, _, _ in places], names)
    for label, (_, place, row) in zip(axes.get_yticklabels(), places, strict=True):
        if row == 0:
            label.set_fontweight("semibold")
            label.set_color(drawn_as[regimes[place]].ink)
    axes.set_ylim(-block * len(regimes) + 0.6, 0.6)


def _point(
    axes: Axes, one: Estimate | None, y: float, mark: Mark, *, filled: bool, level: float, choice: str = AS_ANALYSED
) -> None:
    if one is None or one.estimate is None:
        return
    if one.ci_low is not None and one.ci_high is not None:
        axes.plot([one.ci_low, one.ci_high], [y, y], color=mark.colour, linewidth=1.1 if filled else 0.7)
    face = mark.colour if filled else "white"
    axes.plot(one.estimate, y, marker=mark.marker, color=mark.colour, markerfacecolor=face, markersize=3.0)
    tell(axes, one.estimate, y, f"{capitalised(choice)} · {estimate_words(one, level=level)}")
