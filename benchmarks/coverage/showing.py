"""Counts of simulated studies as a page of Markdown, and a list of what misses its level."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from adapter import OF_IMAGES
from running import METRICS
from shares import (
    COVERAGE_BAND,
    DIFFERENCES,
    ENOUGH,
    INTERVALS,
    SIZE_BAND,
    TESTS,
    VALUES,
    Share,
    chosen,
    coverages,
    default_interval,
    grouped,
    mean,
    sizes,
)
from wording import between, blanks, by_positives, findings, listed, reasons

from cxrobust.analysis.choices import WITH_A_MARGIN
from cxrobust.analysis.metrics import metric

CAPTIONS = (
    (
        "Coverage and size of every metric",
        f"Means over designs of {ENOUGH} positive patients or more, and the middle nine tenths of designs (lines); "
        "tests are sign flips and, taking images for independent, DeLong's of AUROCs and Wilcoxon's of means.",
    ),
    (
        "Coverage against the number of positive patients",
        f"Each point is one design of the default interval or of one that takes images for independent; the dashed "
        f"line is at {ENOUGH} positive patients.",
    ),
)


def coverage_page(content: Mapping[str, Any], *, figures: Sequence[str] = ()) -> str:
    """Return a page of Markdown: what was found in words, tables, and the figures named, relative to the page."""
    covered, rejected = coverages(content), sizes(content)
    parts = [
        "# Coverage and size by simulation",
        _design(content),
        "## What was found",
        *findings(content, covered, rejected),
        *(
            part
            for path, (said, caption) in zip(figures, CAPTIONS, strict=False)
            for part in (f"![{said}]({path})", caption)
        ),
        "## Defaults",
        "Coverage of the metric's default interval, share of true nulls that sign flips reject, and coverage of the "
        "percentile interval from resamples of images, in %: mean (least–greatest) over designs and estimands. The "
        f"least and the greatest are of {_studies(covered)} studies each, so chance spreads them too; the first row is "
        "what intervals and tests of exactly 95 % and 5 % would show. **Bold** means lie outside 94 to 96 or 4 to 6. "
        f"Columns split designs by their mean number of positive patients: {_split(covered)}.",
        _defaults(covered, rejected),
        "## All intervals",
        f"Mean coverage in % of values / of differences in designs of {ENOUGH} positive patients or more; the default "
        "is bold. `delong` and the last column take images for independent.",
        _matrix(covered, INTERVALS, few=False, default=lambda name: metric[name].interval),
        f"The same with fewer than {ENOUGH} positive patients, of studies that had an interval; the last column is the "
        "share that had none by default.",
        _matrix(covered, INTERVALS, few=True, default=lambda name: metric[name].interval),
        *reasons(content, covered),
        "## All tests",
        f"Rejections in % of nulls that are true, with {ENOUGH} positive patients or more / with fewer: means over "
        "designs, two-cell differences and interactions. `tost` and `noninferiority` are held against a margin that "
        "is the true difference, where 5 % is the most that they should reject.",
        _test_matrix(rejected),
        by_positives(rejected),
        blanks(rejected),
        *_macro(content),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def misses(content: Mapping[str, Any]) -> str:
    """List what lies outside 94–96 % or 4–6 % by more than two standard errors at 20 positive patients or more."""
    lines = []
    rejected = [one for one in sizes(content) if one.method not in WITH_A_MARGIN]
    for what, shares, band in (("covers", coverages(content), COVERAGE_BAND), ("rejects", rejected, SIZE_BAND)):
        for (name, method), some in grouped([one for one in shares if not one.few and one.n]).items():
            low, high = ([one for one in some if one.beyond(band) == side] for side in (-1, 1))
            if low or high:
                far = max((*low, *high), key=lambda one: abs(one.share - sum(band) / 2))
                lines.append(
                    f"{name}, {method} {what} {np.mean([one.share for one in some]):.1%} on average; of {len(some)} "
                    f"places {len(low)} below and {len(high)} above {band[0]:.0%} to {band[1]:.0%}; farthest "
                    f"{far.share:.1%} ± {far.se:.1%} ({far.estimand}, {far.condition}, {far.scenario})"
                )
    return "\n".join(lines) if lines else "nothing lies outside its band by more than two standard errors"


def _design(content: Mapping[str, Any]) -> str:
    single = [one for one in content["scenarios"].values() if one["findings"] == 1]
    n = {name: [one["metrics"][name]["studies"] for one in single if name in one["metrics"]] for name in METRICS}
    by_size: dict[int, list[int]] = {}
    for one in single:
        by_size.setdefault(one["n_patients"], []).extend(record["studies"] for record in one["metrics"].values())
    studies = "; ".join(
        f"{between(min(some), max(some))} with {size:,} patients" for size, some in sorted(by_size.items()) if some
    )
    of_metrics: dict[int, list[str]] = {}
    for name, some in n.items():
        if some:
            of_metrics.setdefault(len(some), []).append(name)
    coverage = "; ".join(
        f"{listed(names) if len(names) <= 14 else f'{len(names)} metrics'} in {count} designs"
        for count, names in sorted(of_metrics.items(), reverse=True)
    )
    total = sum(sum(some) for some in n.values())
    return (
        f"Studies are drawn from a law whose truth is known: 50, 200, 1,000 or 3,000 patients with 1 to 30 images "
        f"each, correlation ρ of a patient's images of 0, 0.4 or 0.8, prevalence of 0.5, 5 or 50 %: "
        f"{len(single)} designs. `benchmarks/coverage/scenarios.py` states the law, "
        f"`benchmarks/results/coverage.json` holds the counts. "
        f"Simulated studies of a design and metric: {studies}; {content['settings']['resamples']:,} resamples and sign "
        f"patterns in each. Simulated were {coverage}: {total:,} studies × metrics.{_absent(n)} Where the level holds, "
        f"the share of 100 studies has a Monte Carlo standard error of 2.2 %, of 60 one of 2.8 %, of 40 one of 3.4 %; "
        f"a mean over 20 designs has about 0.5 %."
    )


def _absent(n: Mapping[str, Sequence[int]]) -> str:
    names = [name for name, some in n.items() if not some]
    return f" Not simulated yet: {listed(names)}." if names else ""


def _defaults(covered: Sequence[Share], rejected: Sequence[Share]) -> str:
    head = ("metric", "default interval", "value, ≥ 20", "value, < 20", "differences, ≥ 20", "differences, < 20",
            "nulls rejected, ≥ 20", "nulls rejected, < 20", "of images: value, ≥ 20",
            "of images: differences, ≥ 20")  # fmt: skip
    columns = [
        *((covered, default_interval, estimands, few, COVERAGE_BAND) for estimands in (VALUES, DIFFERENCES)
          for few in (False, True)),
        *((rejected, "permutation", None, few, SIZE_BAND) for few in (False, True)),
        *((covered, OF_IMAGES, estimands, False, COVERAGE_BAND) for estimands in (VALUES, DIFFERENCES)),
    ]  # fmt: skip
    exact = []
    for shares, method, estimands, few, band in columns:
        of_auroc = chosen(shares, name="auroc", method=method, estimands=estimands, few=few)
        exact.append(_exact(of_auroc, sum(band) / 2))
    rows = [["*if exact*", "", *exact]]
    for name in METRICS:
        cells = [
            _cell(chosen(shares, name=name, method=method, estimands=estimands, few=few), band)
            for shares, method, estimands, few, band in columns
        ]
        if any(cells):
            rows.append([f"`{name}`", f"`{metric[name].interval}`", *cells])
    return _table(head, rows)


def _studies(covered: Sequence[Share]) -> str:
    n = [one.n + one.none for one in covered]
    return between(min(n), max(n))


def _split(covered: Sequence[Share]) -> str:
    """Say how many designs have enough positive patients, and how few patients that takes."""
    few = {one.scenario: one.few for one in covered}
    return f"{sum(not one for one in few.values())} designs have {ENOUGH} or more, {sum(few.values())} have fewer"


def _exact(some: Sequence[Share], level: float) -> str:
    """Return what a cell would say if every place had exactly the level: expected least and greatest of that many."""
    if not some:
        return ""
    n = np.array([one.n for one in some])
    drawn = np.random.default_rng(0).binomial(n, level, (2000, len(n))) / n
    return f"{100 * level:.1f} ({100 * drawn.min(axis=1).mean():.0f}–{100 * drawn.max(axis=1).mean():.0f})"


def _cell(some: Sequence[Share], band: tuple[float, float]) -> str:
    if not some:
        return ""
    average, each = mean(some), [100 * one.share for one in some]
    said = f"{average:.1f}"
    if not 100 * band[0] <= round(average, 1) <= 100 * band[1]:
        said = f"**{said}**"
    return f"{said} ({min(each):.0f}–{max(each):.0f})"


def _matrix(covered: Sequence[Share], methods: Sequence[str], *, few: bool, default: Callable[[str], str]) -> str:
    rows = []
    for name in METRICS:
        cells = []
        for method in methods:
            values, differences = (
                mean(chosen(covered, name=name, method=method, estimands=estimands, few=few))
                for estimands in (VALUES, DIFFERENCES)
            )
            said = " / ".join("–" if np.isnan(one) else f"{one:.1f}" for one in (values, differences))
            said = "" if np.isnan(values) and np.isnan(differences) else said
            cells.append(f"**{said}**" if method == default(name) and said else said)
        if any(cells):
            without = [one for one in covered if one.metric == name and one.few and one.method == default(name)]
            n, none = sum(one.n for one in without), sum(one.none for one in without)
            rows.append([f"`{name}`", *cells, *([f"{100 * none / (n + none):.0f}" if n + none else ""] if few else [])])
    return _table(("metric", *(f"`{one}`" if one != OF_IMAGES else one for one in methods), *(["none"] if few else [])),
                  rows)  # fmt: skip


def _test_matrix(rejected: Sequence[Share]) -> str:
    rows, tests = [], [test for test in TESTS if any(one.method == test for one in rejected)]
    for name in METRICS:
        cells = []
        for test in tests:
            both = [mean(chosen(rejected, name=name, method=test, few=few)) for few in (False, True)]
            said = " / ".join("–" if np.isnan(one) else f"{one:.1f}" for one in both)
            cells.append("" if np.isnan(both).all() else said)
        if any(cells):
            rows.append([f"`{name}`", *cells])
    return _table(("metric", *(f"`{test}`" for test in tests)), rows)


def _macro(content: Mapping[str, Any]) -> list[str]:
    covered, rejected = coverages(content, findings=2), sizes(content, findings=2)
    if not covered:
        return []
    scenarios = [one for one in content["scenarios"].values() if one["findings"] == 2]
    least, most = (f([r["studies"] for one in scenarios for r in one["metrics"].values()]) for f in (min, max))
    rows = []
    for name in METRICS:
        cells = [
            *(_cell(chosen(covered, name=name, method=default_interval, estimands=estimands), COVERAGE_BAND)
              for estimands in (VALUES, DIFFERENCES)),
            _cell(chosen(rejected, name=name, method="permutation"), SIZE_BAND),
        ]  # fmt: skip
        if any(cells):
            rows.append([f"`{name}`", *cells])
    return [
        "## Macro averages",
        f"Of two findings on the same images, half of whose variation is common: the macro average in {len(scenarios)} "
        f"designs of 200 and 1,000 patients, ρ of 0 and 0.8, prevalence of 5 and 50 %, {between(least, most)} studies "
        "each; default interval and sign flips, as above.",
        _table(("metric", "value", "differences", "nulls rejected"), rows),
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)
