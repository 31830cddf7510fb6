"""Metrics against the strength of a perturbation, a line with a band for each regime."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_lowercase

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from cxrobust.reports.figures.labels import LINE, Label, Legend, label_line_ends, part
from cxrobust.reports.figures.style import PALE, QUIET, Mark, canvas, drawn, is_narrow, marks
from cxrobust.reports.figures.told_points import tell_estimate
from cxrobust.reports.sentences import metric_name
from cxrobust.reports.view import CLEAN, Series, View
from cxrobust.reports.words import capitalised, compact, condition_words, metric_words
from cxrobust.results import Estimate

MOST_LINEAR = 8.0
"""Ratio of the strongest to the weakest strength up to which the axis is linear; beyond it follows the square root."""


LABEL = LINE * 25.4 / 72
"""Height in mm that a label needs."""
BESIDE, MOST_BESIDE = 0.015, 0.05
"""How far regimes stand beside one another where there is one strength, and all of them together, of the axis."""
HAIR = 0.35
"""Width in points of what stands for a control's interval."""


STRENGTHS = {"side": "Side of the patch, in % of the image's"}
"""What an axis is called, where the strength's name does not say it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """Where the conditions of a series stand on the horizontal axis; clean is 0."""

    conditions: tuple[str, ...]
    positions: tuple[float, ...]
    ticks: tuple[str, ...]
    label: str
    is_root: bool

    @classmethod
    def of(cls, series: Series) -> "Scale":
        """Choose the scale of a series."""
        conditions = (CLEAN, *series.conditions)
        strengths = (0.0, *series.strengths)
        if series.strength_name is None:
            return cls(conditions=conditions, positions=(0, 1), ticks=(CLEAN, "perturbed"), label="", is_root=False)
        if series.strength_name != "eps":
            ticks = (CLEAN, *map(compact, strengths[1:]))
            label = STRENGTHS.get(series.strength_name, capitalised(series.strength_name))
            return cls(conditions=conditions, positions=strengths, ticks=ticks, label=label, is_root=False)
        is_root = strengths[1] > 0 and strengths[-1] / strengths[1] > MOST_LINEAR
        return cls(
            conditions=conditions,
            positions=tuple(map(math.sqrt, strengths)) if is_root else strengths,
            ticks=("0", *(compact(round(255 * strength, 3)) for strength in strengths[1:])),
            label="Perturbation size ε, in 1/255" + (" (square-root scale)" if is_root else ""),
            is_root=is_root,
        )


@drawn
def strength_figure(
    width: float, view: View, series: Series, *, metrics: Sequence[str], control: Series | None
) -> Canvas:
    """Draw each metric against the strength of one series; dotted, the control of equal size."""
    legend = _legend(view, width)
    columns = 3 if len(metrics) == 3 and legend is None else min(len(metrics), 2)
    rows = math.ceil(len(metrics) / columns)
    height = 42.0 * rows if columns > 1 else 66.0
    figure = canvas(width, height if legend is None else 0.9 * height + legend.height)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
    labels: list[Label] = []
    for letter, axes, metric in zip(ascii_lowercase, grid.flat, metrics, strict=False):
        labels += panel(axes, view, series, metric, control=control, named=legend is None)
        axes.set_title(f"{letter}  {metric_words(metric).title}")
        axes.set_ylabel(capitalised(metric_name(view, metric)))
        axes.tick_params(labelbottom=True)
    for axes in grid.flat[len(metrics) :]:
        axes.set_axis_off()
    for axes in grid.flat[len(metrics) - columns : len(metrics)]:
        axes.set_xlabel(Scale.of(series).label)
    _name(figure, legend, labels)
    return figure


@drawn
def multiples_figure(width: float, view: View, many: Sequence[Series], *, metrics: Sequence[str]) -> Canvas:
    """Draw small multiples: a column for each series, a row for each metric, each metric with one vertical axis.

    In one column of a journal two series stand side by side, and the others follow below.
    """
    legend = _legend(view, width)
    columns = len(many) if legend is None else min(len(many), 2)
    blocks = math.ceil(len(many) / columns)
    row_height = 27.0 if legend else max(33.0, 9 + LABEL * len(view.regimes))
    figure = canvas(width, 8 * blocks + row_height * len(metrics) * blocks + (legend.height if legend else 0))
    grid = figure.subplots(blocks * len(metrics), columns, squeeze=False)
    labels: list[Label] = []
    for row, metric in enumerate(metrics):
        for place, series in enumerate(many):
            column, last = place % columns, place % columns == columns - 1 or place == len(many) - 1
            axes = grid[place // columns * len(metrics) + row, column]
            if place:
                axes.sharey(grid[row, 0])
            axes.tick_params(labelleft=column == 0, labelbottom=row == len(metrics) - 1)
            labels += panel(axes, view, series, metric, control=None, named=legend is None and last)
            if row == 0:
                axes.set_title(capitalised(condition_words(series.name)))
            if column == 0:
                axes.set_ylabel(capitalised(metric_name(view, metric)))
            if row == len(metrics) - 1:
                axes.set_xlabel(Scale.of(series).label)
    for place in range(len(many), blocks * columns):
        for row in range(len(metrics)):
            grid[place // columns * len(metrics) + row, place % columns].set_axis_off()
    _name(figure, legend, labels)
    return figure


def _legend(view: View, width: float) -> Legend | None:
    return Legend.of(marks(view.regimes, reference=view.reference), width=width) if is_narrow(width) else None


def _name(figure: Canvas, legend: Legend | None, labels: Sequence[Label]) -> None:
    if legend is None:
        part(figure, labels)
    else:
        legend.draw(figure)


def panel(
    axes: Axes, view: View, series: Series, metric: str, *, control: Series | None, named: bool = True
) -> list[Label]:
    """Draw every regime's line with its band into one axes; of one strength two points, each with its interval."""
    scale = Scale.of(series)
    drawn_as = marks(view.regimes, reference=view.reference)
    ends = []
    shares = _asides(len(view.regimes))
    asides = [share * scale.positions[-1] * series.is_one for share in shares]
    for regime, aside, share in zip(view.regimes, asides, shares, strict=True):
        mark = drawn_as[regime]
        points = [(x + aside, estimate) for x, estimate in _points(view, metric, regime, scale)]
        end = _pair(axes, points, mark) if series.is_one else _line(axes, points, mark)
        for x, estimate in points:
            tell_estimate(axes, x, estimate.estimate or 0.0, estimate, level=view.level)
        if control is not None:
            beside = _points(view, metric, regime, _within(Scale.of(control), scale))
            _control_line(axes, beside, mark, aside=share * scale.positions[-1] / 2)
        if end is not None:
            ends.append((end[0] - aside + asides[-1], end[1], regime, mark))
    axes.set_xticks(scale.positions, scale.ticks)
    axes.set_xlim(-0.03 * scale.positions[-1], 1.02 * scale.positions[-1])
    _chance(axes, metric)
    return label_line_ends(axes, ends) if named else []


def interval_marks(many: Sequence[Series]) -> str:
    """Say what stands for the intervals of estimates in a figure of these series, for its caption."""
    single = sum(one.is_one for one in many)
    return "bands" if not single else "bars" if single == len(many) else "bands (bars where there is one strength)"


def _points(view: View, metric: str, regime: str, scale: Scale) -> list[tuple[float, Estimate]]:
    found = [(x, view.value(metric, regime, c)) for x, c in zip(scale.positions, scale.conditions, strict=True)]
    return [(x, estimate) for x, estimate in found if estimate is not None and estimate.estimate is not None]


def _within(control: Scale, scale: Scale) -> Scale:
    """Return the control's conditions at the places of the series' own strengths; others are left out."""
    own = {round(x**2 if scale.is_root else x, 9): x for x in scale.positions}
    kept = [
        (condition, own[round(x**2 if control.is_root else x, 9)])
        for condition, x in zip(control.conditions, control.positions, strict=True)
        if round(x**2 if control.is_root else x, 9) in own
    ]
    return Scale(
        conditions=tuple(condition for condition, _ in kept),
        positions=tuple(x for _, x in kept),
        ticks=(),
        label="",
        is_root=scale.is_root,
    )


def _line(axes: Axes, points: Sequence[tuple[float, Estimate]], mark: Mark) -> tuple[float, float] | None:
    if not points:
        return None
    x, y = [at for at, _ in points], [estimate.estimate or 0.0 for _, estimate in points]
    bands = [(at, e.ci_low, e.ci_high) for at, e in points if e.ci_low is not None and e.ci_high is not None]
    axes.fill_between(
        [at for at, _, _ in bands],
        [low for _, low, _ in bands],
        [high for _, _, high in bands],
        color=mark.colour,
        alpha=0.13,
        linewidth=0,
    )
    axes.plot(x, y, color=mark.colour, marker=mark.marker, linestyle=mark.dashes, clip_on=False)
    return x[-1], y[-1]


def _asides(n: int) -> list[float]:
    """Return how far each of n regimes stands beside a strength, as a share of the axis."""
    step = min(BESIDE, MOST_BESIDE / max(n - 1, 1))
    return [(place - (n - 1) / 2) * step for place in range(n)]


def _pair(axes: Axes, points: Sequence[tuple[float, Estimate]], mark: Mark) -> tuple[float, float] | None:
    """Draw what was measured at two places, each with its interval; a hair leads from one to the other."""
    if not points:
        return None
    x, y = [at for at, _ in points], [estimate.estimate or 0.0 for _, estimate in points]
    for at, one in points:
        if one.ci_low is not None and one.ci_high is not None:
            axes.plot([at, at], [one.ci_low, one.ci_high], color=mark.colour, linewidth=0.9, clip_on=False)
    axes.plot(x, y, color=mark.colour, linewidth=0.4, linestyle=mark.dashes)
    axes.plot(x, y, color=mark.colour, marker=mark.marker, linestyle="none", clip_on=False)
    return x[-1], y[-1]


def _control_line(axes: Axes, points: Sequence[tuple[float, Estimate]], mark: Mark, *, aside: float) -> None:
    """Draw the control as a dotted line, with hairs for its intervals; on clean images it has that of the regime."""
    for at, one in points:
        if at > 0 and one.ci_low is not None and one.ci_high is not None:
            axes.plot([at + aside] * 2, [one.ci_low, one.ci_high], color=mark.colour, linewidth=HAIR, clip_on=False)
    axes.plot(
        [at for at, _ in points],
        [estimate.estimate or 0.0 for _, estimate in points],
        color=mark.colour,
        linewidth=0.7,
        linestyle=(0, (0.8, 1.6)),
    )


def _chance(axes: Axes, metric: str) -> None:
    low, high = axes.get_ylim()
    if metric == "auroc" and low < 0.52 and high > 0.5:
        axes.axhline(0.5, color=PALE, linewidth=0.5, zorder=0)
        axes.annotate(
            "chance",
            (0, 0.5),
            xycoords=("axes fraction", "data"),
            xytext=(2, 1.5),
            textcoords="offset points",
            color=QUIET,
            fontsize=6,
        )
