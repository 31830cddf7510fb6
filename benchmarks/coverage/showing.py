"""Counts of simulated studies as a Markdown table, a figure, and a list of what misses its level."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import matplotlib as mpl
import numpy as np
from adapter import OF_IMAGES, OF_IMAGES_METRICS
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.markers import CARETDOWN
from matplotlib.ticker import NullLocator
from running import METRICS

from cxrobust.analysis.intervals import INTERVALS
from cxrobust.analysis.metrics import metric
from cxrobust.reports.figures.style import INK, QUIET, RC, canvas
from cxrobust.reports.fonts import font_folders
from cxrobust.study_analysis import TestName

ENOUGH = 20
"""Mean number of positive patients from which on an estimate carries no note of few."""
COVERAGE_BAND, SIZE_BAND = (0.94, 0.96), (0.04, 0.06)
DIFFERENCES = ("perturbed-clean", "regime-reference", "difference-in-differences")
OF_PATIENTS = "of patients"
SERIES = {OF_PATIENTS: ("#0072B2", "o"), OF_IMAGES: ("#D55E00", "^"), "delong": ("#000000", "x")}
LABELS = {OF_PATIENTS: "resamples of patients", OF_IMAGES: "resamples of images", "delong": "DeLong, of images"}
"""Of what is drawn: the default interval, and what takes images for independent."""
LEAST_DRAWN = 0.5
"""What lies lower is drawn as an arrow there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """How often an interval held the truth, or a test rejected, in one scenario."""

    scenario: str
    correlation: float
    positive_patients: float
    metric: str
    estimand: str
    condition: str
    method: str
    n: int
    """Studies in which there was an interval or a p-value."""
    none: int
    """Studies in which there was none."""
    hits: int

    @property
    def share(self) -> float:
        """Hits of those that there were, in [0, 1]; NaN where there was none."""
        return self.hits / self.n if self.n else float("nan")

    @property
    def se(self) -> float:
        """Monte Carlo standard error of the share, with half a hit and half a miss more so that it is never 0."""
        p = (self.hits + 0.5) / (self.n + 1)
        return float(np.sqrt(p * (1 - p) / (self.n + 1)))

    @property
    def few(self) -> bool:
        """Whether the scenario's studies have fewer than 20 positive patients on average."""
        return self.positive_patients < ENOUGH

    def beyond(self, band: tuple[float, float]) -> int:
        """Return −1 or 1 where the share is below or above a band by more than two standard errors, else 0."""
        return int(self.share - 2 * self.se > band[1]) - int(self.share + 2 * self.se < band[0])


def coverages(content: Mapping[str, Any]) -> list[Share]:
    """Return each interval's coverage."""
    return [
        Share(**place, n=n - none, none=none, hits=n - none - below - above)
        for place, (n, none, below, above, _) in _rows(content, "intervals")
    ]


def sizes(content: Mapping[str, Any]) -> list[Share]:
    """Return how often each test rejects at 5 % what is true."""
    return [Share(**place, n=n - none, none=none, hits=hits) for place, (n, none, hits) in _rows(content, "tests")]


def coverage_table(content: Mapping[str, Any], *, figure: str | None = None) -> str:
    """Return a page of Markdown: coverage by metric and interval, size by metric and test; `figure` stands between."""
    settings, scenarios = content["settings"], content["scenarios"].values()
    each = sorted({one["repetitions"] for one in scenarios})
    worst = 100 * np.sqrt(0.95 * 0.05 / each[0])
    said = f"{each[0]:,}" if len(each) == 1 else f"{each[0]:,} to {each[-1]:,}"
    drawn = [
        f"![Coverage against the number of positive patients]({figure})",
        "",
        f"Each point is one scenario of the default interval or of one that takes images for independent; the band is "
        f"{COVERAGE_BAND[0]:.0%} to {COVERAGE_BAND[1]:.0%}, the dashed line {ENOUGH} positive patients.",
        "",
    ]
    lines = [
        "# Coverage and size by simulation",
        "",
        f"{len(content['scenarios'])} scenarios, {said} simulated studies in each, {settings['resamples']:,} resamples "
        f"and sign patterns in each study; `benchmarks/coverage/scenarios.py` says of what law. Cells are means over "
        f"scenarios and estimands and, in parentheses, the least and the greatest, in %; the Monte Carlo standard "
        f"error of one is at most {worst:.1f} % where the level holds. Columns split scenarios by their mean number of "
        f"positive patients. A number before `none` is the share of studies without an interval or p-value. The "
        f"default is bold.",
        "",
        "| metric | 95 % interval | value, ≥ 20 | value, < 20 | differences, ≥ 20 | differences, < 20 |",
        "| --- | --- | --- | --- | --- | --- |",
        *_table_rows(coverages(content), (("value",), DIFFERENCES), default=lambda name: metric[name].interval),
        "",
        *(drawn if figure else []),
        "| metric | test at 5 % | two cells, ≥ 20 | two cells, < 20 | interaction, ≥ 20 | interaction, < 20 |",
        "| --- | --- | --- | --- | --- | --- |",
        *_table_rows(sizes(content), (DIFFERENCES[:2], DIFFERENCES[2:]), default=lambda _: "permutation"),
    ]
    return "\n".join(lines) + "\n"


def misses(content: Mapping[str, Any]) -> str:
    """List what lies outside 94–96 % or 4–6 % by more than two standard errors at 20 positive patients or more."""
    lines = []
    for what, shares, band in (("covers", coverages(content), COVERAGE_BAND), ("rejects", sizes(content), SIZE_BAND)):
        for (name, method), some in _grouped([one for one in shares if not one.few and one.n]).items():
            low, high = ([one for one in some if one.beyond(band) == side] for side in (-1, 1))
            if low or high:
                far = max((*low, *high), key=lambda one: abs(one.share - sum(band) / 2))
                lines.append(
                    f"{name}, {method} {what} {np.mean([one.share for one in some]):.1%} on average; of {len(some)} "
                    f"places {len(low)} below and {len(high)} above {band[0]:.0%} to {band[1]:.0%}; farthest "
                    f"{far.share:.1%} ± {far.se:.1%} ({far.estimand}, {far.condition}, {far.scenario})"
                )
    return "\n".join(lines) if lines else "nothing lies outside its band by more than two standard errors"


def coverage_figure(content: Mapping[str, Any], path: Path) -> None:
    """Draw coverage against positive patients: a row for each metric, a column for each correlation; SVG or PNG."""
    shares = [one for one in coverages(content) if one.n >= one.none]
    correlations = sorted({one.correlation for one in shares})
    for folder in font_folders():
        for font in sorted(folder.glob("SourceSansPro-*.ttf")):
            font_manager.fontManager.addfont(font)
    with mpl.rc_context({**RC, "svg.fonttype": "path"}):  # a page shows the file without the report's fonts
        figure = canvas(26 * len(OF_IMAGES_METRICS) + 22)
        grid = figure.subplots(len(OF_IMAGES_METRICS), len(correlations), sharex=True, sharey=True, squeeze=False)
        for row, name in zip(grid, OF_IMAGES_METRICS, strict=True):
            for axes, correlation in zip(row, correlations, strict=True):
                _panel(axes, [one for one in shares if one.metric == name and one.correlation == correlation])
            row[0].set_ylabel("coverage, %")
            row[0].set_title(f"{name}, ρ = {correlations[0]:g}")
            for axes, correlation in zip(row[1:], correlations[1:], strict=True):
                axes.set_title(f"ρ = {correlation:g}")
        figure.supxlabel("positive patients in a study, mean", fontsize=7)
        figure.legend(
            handles=_handles(),
            loc="outside upper left",
            ncols=6,
            frameon=False,
            fontsize=6.5,
            columnspacing=1.2,
            handletextpad=0.2,
        )
        figure.savefig(path, dpi=200, **({"metadata": {"Date": None}} if path.suffix == ".svg" else {}))


def _panel(axes: Axes, shares: Sequence[Share]) -> None:
    axes.axhspan(*COVERAGE_BAND, color="#DDDDDD", linewidth=0, zorder=0)
    axes.axvline(ENOUGH, color=QUIET, linewidth=0.5, dashes=(3, 2), zorder=0)
    drawn: dict[tuple[str, bool, bool], list[Share]] = {}
    for one in shares:
        series = OF_PATIENTS if one.method == metric[one.metric].interval else one.method
        if series in SERIES and one.estimand in {"value", "difference-in-differences"}:
            drawn.setdefault((series, one.estimand == "value", one.share < LEAST_DRAWN), []).append(one)
    for (series, is_value, is_lower), some in drawn.items():
        colour, marker = SERIES[series]
        axes.plot(
            [one.positive_patients for one in some],
            [max(one.share, LEAST_DRAWN) for one in some],
            marker=CARETDOWN if is_lower else marker,
            color=colour,
            markerfacecolor=colour if is_value else "none",
            linestyle="none",
            markersize=3,
            clip_on=False,
        )
    axes.set_xscale("log")
    axes.set_ylim(LEAST_DRAWN - 0.02, 1.01)
    axes.set_yticks([0.5, 0.6, 0.7, 0.8, 0.9, 1.0], ["50", "60", "70", "80", "90", "100"])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.xaxis.set_minor_locator(NullLocator())


def _handles() -> list[Line2D]:
    kinds = [
        Line2D([], [], color=colour, marker=marker, linestyle="none", label=LABELS[name])
        for name, (colour, marker) in SERIES.items()
    ]
    look = {"color": INK, "marker": "s", "linestyle": "none"}
    value = Line2D([], [], label="filled: value", **look)
    difference = Line2D([], [], label="hollow: difference in differences", markerfacecolor="none", **look)
    lower = Line2D([], [], color=INK, marker=CARETDOWN, linestyle="none", label=f"below {LEAST_DRAWN:.0%}")
    return [*kinds, value, difference, lower]


def _rows(content: Mapping[str, Any], kind: str) -> Iterable[tuple[dict[str, Any], list[Any]]]:
    for name, scenario in content["scenarios"].items():
        for of_metric, estimand, condition, method, *counts in scenario[kind]:
            yield (
                {
                    "scenario": name,
                    "correlation": scenario["correlation"],
                    "positive_patients": scenario["mean_positive_patients"],
                    "metric": of_metric,
                    "estimand": estimand,
                    "condition": condition,
                    "method": method,
                },
                counts,
            )


def _place(one: Share) -> tuple[int, int, str]:
    """Order by metric as simulated, then by method, the images' last."""
    order = [*INTERVALS, *get_args(TestName), OF_IMAGES]
    return METRICS.index(one.metric), order.index(one.method), one.scenario


def _grouped(shares: Iterable[Share]) -> dict[tuple[str, str], list[Share]]:
    found: dict[tuple[str, str], list[Share]] = {}
    for one in sorted(shares, key=_place):
        found.setdefault((one.metric, one.method), []).append(one)
    return found


def _table_rows(
    shares: Sequence[Share], columns: Sequence[Sequence[str]], *, default: Callable[[str], str]
) -> list[str]:
    rows = []
    for (name, method), some in _grouped(shares).items():
        cells = [
            _cell([one for one in some if one.estimand in estimands and one.few == few])
            for estimands in columns
            for few in (False, True)
        ]
        rows.append(f"| {name} | {f'**{method}**' if method == default(name) else method} | {' | '.join(cells)} |")
    return rows


def _cell(some: Sequence[Share]) -> str:
    """Mean, range and share without; the range is over scenarios in which at least half of the studies have one."""
    n, none = sum(one.n for one in some), sum(one.none for one in some)
    if n + none == 0:
        return ""
    without = f"; {100 * none / (n + none):.0f} none" if none / (n + none) >= 0.005 else ""
    usual = [100 * one.share for one in some if one.n and one.n >= one.none]
    if not usual:
        return without.removeprefix("; ")
    return f"{np.mean(usual):.1f} ({min(usual):.1f}–{max(usual):.1f}){without}"
