"""Decisions that a perturbation turns wrong: missed findings and false alarms that it makes, for each regime."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from cxrobust.reports.figures.style import Mark, canvas, drawn, is_narrow, marks
from cxrobust.reports.figures.told_points import ends_words, tell
from cxrobust.reports.view import View
from cxrobust.reports.words import capitalised, condition_words, number, percent, readable, shortened
from cxrobust.results import Flip, Flips

NEWLY_MISSED, NEW_ALARM = (1, 1, 0), (0, 0, 1)
TITLES = {
    NEWLY_MISSED: "Findings newly missed,\nof those found\non clean images",
    NEW_ALARM: "New false alarms,\nof absent findings not\nmarked on clean images",
}
ROW, MARGIN = 4.6, 19.0
NOISE_GREY = "#777777"


@drawn
def flips_figure(width: float, view: View) -> Canvas:
    """Draw a panel for each kind of error and a row for each regime; grey, random noise of the same size."""
    found = {(one.regime, one.condition): one for one in view.results.flips}
    noise = next((one.condition for one in view.results.flips if one.condition != view.primary), None)
    figure = canvas(width, ROW * len(view.regimes) + MARGIN + (3 if is_narrow(width) else 0))
    panels = figure.subplots(1, 2, sharey=True)
    drawn_as = marks(view.regimes, reference=view.reference)
    for axes, (key, title) in zip(panels, TITLES.items(), strict=True):
        for row, regime in enumerate(view.regimes):
            _point(axes, found.get((regime, view.primary or "")), key, -row, drawn_as[regime], level=view.level)
            if noise is not None:
                _point(axes, found.get((regime, noise)), key, -row - 0.3, None, level=view.level)
        axes.set_title(title if is_narrow(width) else title.replace("\n", " "))
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(lambda share, _: percent(share))
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color="#DDDDDD", linewidth=0.4)
        axes.set_axisbelow(True)
    panels[0].set_yticks([-float(r) for r in range(len(view.regimes))], [shortened(r) for r in view.regimes])
    for label, regime in zip(panels[0].get_yticklabels(), view.regimes, strict=True):
        label.set_color(drawn_as[regime].ink)
    panels[0].set_ylim(-len(view.regimes) + 0.3, 0.6)
    return figure


def cell_of(one: Flips | None, key: tuple[int, int, int]) -> Flip | None:
    """Return one cell of a matrix: by label, clean and perturbed decision."""
    return next((c for c in (one.cells if one else ()) if (c.label, c.clean, c.perturbed) == key), None)


def _point(
    axes: Axes, one: Flips | None, key: tuple[int, int, int], y: float, mark: Mark | None, *, level: float
) -> None:
    cell = cell_of(one, key)
    if one is None or cell is None or cell.share is None:
        return
    colour = NOISE_GREY if mark is None else mark.colour
    if cell.ci_low is not None and cell.ci_high is not None:
        axes.plot([cell.ci_low, cell.ci_high], [y, y], color=colour, linewidth=0.6 if mark is None else 0.9)
    axes.plot(
        cell.share,
        y,
        marker="d" if mark is None else mark.marker,
        color=colour,
        markerfacecolor="white" if mark is None else colour,
        markersize=2.6 if mark is None else 3.4,
    )
    value = f"{100 * cell.share:.1f}%{_ends(cell, level)}"
    where = f"{readable(one.regime)} · {capitalised(condition_words(one.condition))}"
    tell(axes, cell.share, y, f"{where} · {TITLES[key].split(',')[0]} {value}")


def _ends(cell: Flip, level: float) -> str:
    if cell.ci_low is None or cell.ci_high is None:
        return ""
    said = ends_words(100 * cell.ci_low, 100 * cell.ci_high, level, 1)
    return said.replace(number(100 * cell.ci_high, digits=1) + ")", number(100 * cell.ci_high, digits=1) + "%)")
