"""Forest plots: one panel for each regime, findings as rows, the macro average as a diamond."""

import math
import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from cxrobust.reports.figures.style import INK, QUIET, Mark, canvas, drawn, is_narrow, marks
from cxrobust.reports.figures.told_points import tell_estimate
from cxrobust.reports.view import View, is_few
from cxrobust.reports.words import count, finding_words, shortened
from cxrobust.results import MACRO, Estimate

MOST_COLUMNS, MOST_NARROW = 5, 2
ROW, MARGIN = 3.5, 17.0
"""Height in mm of a finding and of what is above and below a row of panels."""
CLIP = 2.0
"""An interval of few positives may widen the axis to so many times what the others need."""

NAMES, LETTER = 70, 3.2
"""Width in points of the findings' names, about, and of a letter of what stands beside 0."""
MOST_SHARE = 0.4
"""Of a panel, that such words may take."""
PER_LETTER, LABEL_LINE = 1.5, 3.0
"""Width in mm of a letter of the axis' label, more than most need, and the height of a line of it."""


@drawn
def forest_figure(
    width: float, view: View, metric: str, *, regimes: Sequence[str], label: str, sides: tuple[str, str]
) -> Canvas:
    """Draw the comparison of every finding for some regimes; `sides` name what is left and right of 0."""
    findings = by_frequency(view)
    rows = math.ceil(len(regimes) / (MOST_NARROW if is_narrow(width) else MOST_COLUMNS))
    columns = math.ceil(len(regimes) / rows)
    lines = textwrap.wrap(label, int(width / PER_LETTER), break_on_hyphens=False)
    figure = canvas(width, rows * forest_height(view) + LABEL_LINE * (len(lines) - 1))
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    drawn_as = marks(view.regimes, reference=view.reference)
    room = (width * 72 / 25.4 - NAMES) / columns
    low, high = _with_room(*_limits(view, metric, findings), sides=[(len(text) + 2) * LETTER / room for text in sides])
    places = [*(-float(row) for row in range(len(findings))), -len(findings) - 0.5]
    for axes, regime in zip(grid.flat, regimes, strict=False):
        axes.set_xlim(low, high)
        axes.axvline(0, color=INK, linewidth=0.5)
        for y, finding in zip(places, (*findings, MACRO), strict=True):
            estimate = view.contrast(metric, regime, finding)
            if finding == MACRO:
                _diamond(axes, estimate, y)
            else:
                _finding(axes, estimate, y, drawn_as[regime])
            if estimate is not None and estimate.estimate is not None:
                tell_estimate(axes, estimate.estimate, y, estimate, level=view.level)
        axes.set_title(shortened(regime), color=drawn_as[regime].ink, loc="left", pad=10)
        _sides(axes, sides)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", labelbottom=True)
        axes.spines["left"].set_visible(False)
    for axes in grid.flat[len(regimes) :]:
        axes.set_axis_off()
    names = [f"{shortened(finding_words(f), most=26)}  {count(_positives(view, f))}" for f in findings]
    for axes in grid[:, 0]:
        axes.set_yticks(places, [*names, "Macro average"])
        axes.get_yticklabels()[-1].set_fontweight("semibold")
        axes.set_ylim(-len(findings) - 1.1, 0.7)
    figure.supxlabel("\n".join(lines), fontsize=7)
    return figure


def forest_height(view: View) -> float:
    """Return the height in mm of a row of panels."""
    return ROW * (len(view.findings) + 1.5) + MARGIN


def rows_of_panels(view: View) -> list[tuple[str, ...]]:
    """Return the compared regimes in rows of panels, as few and as even as they can be: a figure each, to fill pages."""
    n_rows = math.ceil(len(view.compared) / MOST_COLUMNS)
    size = math.ceil(len(view.compared) / n_rows)
    return [view.compared[first : first + size] for first in range(0, len(view.compared), size)]


def by_frequency(view: View) -> tuple[str, ...]:
    """Return the findings from many positive patients to few."""
    found = sorted(view.findings, key=lambda finding: -finding["n_positive_patients"])
    return tuple(finding["name"] for finding in found)


def _positives(view: View, finding: str) -> int:
    return next(int(one["n_positive_patients"]) for one in view.findings if one["name"] == finding)


def _limits(view: View, metric: str, findings: Sequence[str]) -> tuple[float, float]:
    estimates = [view.contrast(metric, regime, finding) for regime in view.compared for finding in (*findings, MACRO)]
    known = [e for e in estimates if e is not None and e.estimate is not None]
    firm = [bound for e in known if not is_few(e) for bound in (e.ci_low, e.ci_high, e.estimate) if bound is not None]
    wide = [bound for e in known for bound in (e.ci_low, e.ci_high, e.estimate) if bound is not None]
    low, high = min([0.0, *(firm or wide)]), max([0.0, *(firm or wide)])
    reach = max(high - low, 1e-3)
    low, high = max(min([low, *wide]), low - CLIP * reach / 2), min(max([high, *wide]), high + CLIP * reach / 2)
    margin = 0.04 * max(high - low, 1e-3)  # equal predictions leave nothing between the ends
    return low - margin, high + margin


def _with_room(low: float, high: float, *, sides: Sequence[float]) -> tuple[float, float]:
    """Return limits between which 0 has the words on its left and right beside it, which take such shares of a panel."""
    left, right = (min(share, MOST_SHARE) for share in sides)
    low = min(low, -high * left / (1 - left))
    return low, max(high, -low * right / (1 - right))


def _finding(axes: Axes, estimate: Estimate | None, y: float, mark: Mark) -> None:
    if estimate is None or estimate.estimate is None:
        axes.annotate(
            "not estimable", (0, y), xytext=(3, 0), textcoords="offset points", va="center", fontsize=6, color=QUIET
        )
        return
    few = is_few(estimate)
    if estimate.ci_low is not None and estimate.ci_high is not None:
        axes.plot(
            [estimate.ci_low, estimate.ci_high], [y, y], color=mark.colour, linewidth=0.9, alpha=0.55 if few else 1
        )
        _beyond(axes, estimate.ci_low, estimate.ci_high, y, mark)
    axes.plot(
        estimate.estimate,
        y,
        marker=mark.marker,
        color=mark.colour,
        markerfacecolor="white" if few else mark.colour,
        markersize=3.2,
    )


def _beyond(axes: Axes, low: float, high: float, y: float, mark: Mark) -> None:
    """Put an arrowhead where an interval goes on past the axis."""
    left, right = axes.get_xlim()
    for passed, x, marker in ((low < left, left, 4), (high > right, right, 5)):
        if passed:
            axes.plot(x, y, marker=marker, color=mark.colour, markersize=2.5, clip_on=False)


def _diamond(axes: Axes, estimate: Estimate | None, y: float) -> None:
    if estimate is None or estimate.estimate is None:
        return
    low, high = (estimate.ci_low, estimate.ci_high)
    if low is None or high is None:
        axes.plot(estimate.estimate, y, marker="D", color=INK, markersize=3.2)
        return
    axes.fill([low, estimate.estimate, high, estimate.estimate], [y, y + 0.34, y, y - 0.34], color=INK, linewidth=0.6)


def _sides(axes: Axes, sides: tuple[str, str]) -> None:
    for text, offset, align in ((f"{sides[0]} ←", -3, "right"), (f"→ {sides[1]}", 3, "left")):
        axes.annotate(
            text,
            (0, 1),
            xycoords=("data", "axes fraction"),
            xytext=(offset, 1),
            textcoords="offset points",
            ha=align,
            fontsize=6,
            color=QUIET,
            annotation_clip=False,
        )
