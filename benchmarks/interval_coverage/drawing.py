"""Figures of the simulation: every metric at a glance, and coverage against the number of positive patients."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from adapter import OF_IMAGES
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import CARETDOWN, CARETLEFT
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator
from shares import (
    COVERAGE_BAND,
    DIFFERENCES,
    ENOUGH,
    SIZE_BAND,
    VALUES,
    Share,
    chosen,
    default_interval,
)

from cxrobust.reports.figures.style import INK, PALE, QUIET, RC, WIDTH, canvas
from cxrobust.reports.fonts import font_folders

PATIENTS, IMAGES = "#0072B2", "#D55E00"
OF_PATIENTS = "of patients"
SERIES = {OF_PATIENTS: (PATIENTS, "o"), OF_IMAGES: (IMAGES, "^"), "delong": (INK, "x")}
LABELS = {OF_PATIENTS: "resamples of patients", OF_IMAGES: "resamples of images", "delong": "DeLong, of images"}
TREND = ("auroc", "accuracy", "ece")
LEAST_DRAWN = 0.5
"""What lies lower is drawn as an arrow there."""
MOST_REJECTED = 0.45
FAMILIES = (
    ("Discrimination", "auroc", "average-precision"),
    ("Decisions", "accuracy", "sensitivity", "specificity", "balanced-accuracy", "ppv", "npv", "f1", "matthews"),
    ("Confidence", "confidence", "confidence-right", "confidence-wrong", "confidence-shift", "over-confidence",
     "entropy"),
    ("Calibration", "ece", "ece-equal-mass", "ece-top-label",
     "ece-top-label-equal-mass", "ece-smooth", "ace", "mce", "ece-debiased",
     "calibration-slope", "calibration-intercept"),
    ("Proper scores", "brier", "brier-reliability", "brier-resolution", "brier-uncertainty", "log-loss"),
    ("Robustness and selection", "robust-accuracy", "flip-rate", "attack-success", "aurc", "coverage-at-risk-5"),
)  # fmt: skip
OF_IMAGES_TEST = {"auroc": "delong"}
"""The test that takes images for independent; of others Wilcoxon's, where it fits."""


def draw_metrics(covered: Sequence[Share], rejected: Sequence[Share], path: Path) -> None:
    """Draw each metric's coverage of values and differences, and its rejections of true nulls; SVG or PNG."""
    there = {one.metric for one in covered}
    heights: dict[str, float] = {}
    titles: dict[float, str] = {}
    at = 0.0
    for title, *names in FAMILIES:
        some = [name for name in names if name in there]
        if some:
            titles[at] = title
            at += 1.0
            for name in some:
                heights[name], at = at, at + 1.0
            at += 0.3
    with _look():
        figure = canvas(WIDTH, 3.9 * at + 22)
        axes = figure.subplots(1, 3, sharey=True, width_ratios=[1, 1, 1])
        panels = (
            ("Coverage of values, %", covered, VALUES, COVERAGE_BAND),
            ("Coverage of differences, %", covered, DIFFERENCES, COVERAGE_BAND),
            ("True nulls rejected, %", rejected, None, SIZE_BAND),
        )
        for panel, (title, shares, estimands, band) in zip(axes, panels, strict=True):
            is_size = band == SIZE_BAND
            panel.axvspan(100 * band[0], 100 * band[1], color="#DDDDDD", linewidth=0, zorder=0)
            panel.set_xlim(*((0, 100 * MOST_REJECTED) if is_size else (100 * LEAST_DRAWN, 100)))
            panel.set_title(title)
            panel.set_ylim(at - 0.3, -0.8)
            panel.tick_params(axis="y", length=0)
            panel.spines["left"].set_visible(False)
            panel.grid(axis="x", color=PALE, linewidth=0.3)
            panel.set_axisbelow(True)
            for name, height in heights.items():
                images = OF_IMAGES_TEST.get(name, "wilcoxon") if is_size else OF_IMAGES
                patients = "permutation" if is_size else default_interval(name)
                _interval(panel, chosen(shares, name=name, method=images, estimands=estimands, few=False),
                          height + 0.24, IMAGES, "^", is_size=is_size)  # fmt: skip
                _interval(panel, chosen(shares, name=name, method=patients, estimands=estimands, few=False),
                          height - 0.14, PATIENTS, "o", is_size=is_size)  # fmt: skip
                few = chosen(shares, name=name, method=patients, estimands=estimands, few=True)
                _mark(panel, few, height - 0.14, is_size=is_size)
        axes[0].set_yticks(list(heights.values()), list(heights))
        for height, title in titles.items():
            axes[0].annotate(title, (0, height), xycoords=("axes fraction", "data"), xytext=(-2, 0),
                             textcoords="offset points", ha="right", va="center", fontweight="semibold", fontsize=6.5,
                             annotation_clip=False)  # fmt: skip
        figure.legend(
            handles=[
                Line2D([], [], color=PATIENTS, marker="o", linewidth=0.8, label="default, of patients"),
                Line2D([], [], color=PATIENTS, marker="o", markerfacecolor="white", linestyle="none",
                       label=f"the same, < {ENOUGH} positive patients"),
                Line2D([], [], color=IMAGES, marker="^", linewidth=0.8, label="images as independent"),
                Patch(color="#DDDDDD", linewidth=0, label="goal"),
            ],
            loc="outside lower left", ncols=4, frameon=False, fontsize=6.5, columnspacing=1.4, handletextpad=0.4,
        )  # fmt: skip
        _save(figure, path)


def _interval(axes: Axes, some: Sequence[Share], height: float, colour: str, marker: str, *, is_size: bool) -> None:
    """Draw the mean over designs, and a line over the middle nine tenths of designs."""
    by_design: dict[str, list[float]] = {}
    for one in some:
        by_design.setdefault(one.scenario, []).append(100 * one.share)
    if not by_design:
        return
    each = [float(np.mean(shares)) for shares in by_design.values()]
    low, high = np.quantile(each, [0.05, 0.95])
    average = float(np.mean(each))
    least, most = (0.0, 100 * MOST_REJECTED) if is_size else (100 * LEAST_DRAWN, 100.0)
    axes.plot([max(low, least), min(high, most)], [height, height], color=colour, linewidth=0.7, alpha=0.7,
              solid_capstyle="butt")  # fmt: skip
    if low < least:
        axes.plot([least], [height], marker=CARETLEFT, color=colour, markersize=3, linestyle="none", clip_on=False)
    if average >= least:
        axes.plot([average], [height], marker=marker, color=colour, markersize=2.8, linestyle="none", clip_on=False)


def _mark(axes: Axes, some: Sequence[Share], height: float, *, is_size: bool) -> None:
    if some:
        least, most = (0.0, 100 * MOST_REJECTED) if is_size else (100 * LEAST_DRAWN, 100.0)
        average = min(max(100 * float(np.mean([one.share for one in some])), least), most)
        axes.plot([average], [height], marker="o", color=PATIENTS, markerfacecolor="white", markersize=2.8,
                  linestyle="none", clip_on=False, zorder=3)  # fmt: skip


def draw_trend(covered: Sequence[Share], path: Path) -> None:
    """Draw coverage against positive patients: a row for each metric, a column for each correlation; SVG or PNG."""
    shares = [one for one in covered if one.is_usual]
    correlations = sorted({one.correlation for one in shares})
    with _look():
        figure = canvas(WIDTH, 32 * len(TREND) + 22)
        grid = figure.subplots(len(TREND), len(correlations), sharex=True, sharey=True, squeeze=False)
        for row, name in zip(grid, TREND, strict=True):
            for axes, correlation in zip(row, correlations, strict=True):
                _panel(axes, [one for one in shares if one.metric == name and one.correlation == correlation])
            row[0].set_ylabel("coverage, %")
            row[0].set_title(f"{name}, ρ = {correlations[0]:g}")
            for axes, correlation in zip(row[1:], correlations[1:], strict=True):
                axes.set_title(f"ρ = {correlation:g}")
        grid[-1][len(correlations) // 2].set_xlabel("positive patients in a study, mean", fontsize=7)
        figure.legend(handles=_handles(), loc="outside lower left", ncols=6, frameon=False, fontsize=6.5,
                      columnspacing=1.2, handletextpad=0.2)  # fmt: skip
        _save(figure, path)


def _panel(axes: Axes, shares: Sequence[Share]) -> None:
    axes.axhspan(*COVERAGE_BAND, color="#DDDDDD", linewidth=0, zorder=0)
    axes.axvline(ENOUGH, color=QUIET, linewidth=0.5, dashes=(3, 2), zorder=0)
    drawn: dict[tuple[str, bool, bool], list[Share]] = {}
    for one in shares:
        series = OF_PATIENTS if one.method == default_interval(one.metric) else one.method
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
    look: dict[str, Any] = {"color": INK, "marker": "s", "linestyle": "none"}
    value = Line2D([], [], label="filled: value", **look)
    difference = Line2D([], [], label="hollow: difference in differences", markerfacecolor="none", **look)
    lower = Line2D([], [], color=INK, marker=CARETDOWN, linestyle="none", label=f"below {LEAST_DRAWN:.0%}")
    return [*kinds, value, difference, lower]


def _look() -> Any:
    """Return the look of the report's figures, with its face; text as paths, since pages lack it."""
    for folder in font_folders():
        for font in sorted(folder.glob("SourceSansPro-*.ttf")):
            font_manager.fontManager.addfont(font)
    return mpl.rc_context({**RC, "svg.fonttype": "path"})


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=200, **({"metadata": {"Date": None}} if path.suffix == ".svg" else {}))
