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
    standard_error,
)
from wording import between, blanks, findings, joined, listed, reasons

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
        _counted(covered, rejected),
        "## By number of patients",
        f"Mean coverage of default intervals in %, in designs of {ENOUGH} positive patients or more, which with 50 "
        "patients are those of a prevalence of 50 % alone. Intervals of one study are of the same patients, so that "
        f"the standard error of a cell may be as large as {_largest_error(covered):.1f} %.",
        _by_patients(covered),
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
        *_flips(rejected),
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
        f"{len(single)} designs. `benchmarks/interval_coverage/scenarios.py` states the law, "
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
    each = {frozenset(one.scenario for one in covered if one.metric == name) for name in METRICS}
    some = sorted((designs for designs in each if 0 < len(designs) < len(few)), key=len, reverse=True)
    return "; ".join(
        [
            f"{sum(not one for one in few.values())} designs have {ENOUGH} or more, {sum(few.values())} have fewer",
            *(f"of the {len(one)} designs {sum(not few[name] for name in one)} and {sum(few[name] for name in one)}"
              for one in some),
        ]
    )  # fmt: skip


def _counted(covered: Sequence[Share], rejected: Sequence[Share]) -> str:
    """Say which designs count for a metric, and where these are fewer than were simulated."""
    by_default = [one for one in covered if one.method == default_interval(one.metric)]
    flips = [one for one in rejected if one.method == "permutation"]
    parts = [
        *_dropped(by_default, "the default intervals", few=True),
        *_dropped(flips, "sign flips", few=True),
        *_least_left([*covered, *rejected]),
    ]
    whole = not any(
        _left(some) for some in ([one for one in covered if not one.few], [one for one in rejected if not one.few])
    )
    said = (
        "A design counts for an interval where at least half of its studies have one, and for a test where at least "
        "half have a p-value; the others are left out of every mean on this page."
    )
    if whole:
        said += f" With {ENOUGH} positive patients or more all simulated designs count."
    if parts:
        said += f" With fewer there count {'; '.join(parts)}."
    return said


def _left(shares: Sequence[Share]) -> dict[tuple[str, str], tuple[int, int]]:
    """Of metrics and methods that lack designs, how many count of how many simulated."""
    found = {}
    for key, some in grouped(shares).items():
        designs = {one.scenario for one in some}
        counting = {one.scenario for one in some if one.is_usual}
        if len(counting) < len(designs):
            found[key] = len(counting), len(designs)
    return found


def _dropped(shares: Sequence[Share], what: str, *, few: bool) -> list[str]:
    """Name the metrics that lack designs, by how many they have."""
    alike: dict[tuple[int, int], list[str]] = {}
    for (name, _), numbers in _left([one for one in shares if one.few == few]).items():
        alike.setdefault(numbers, []).append(name)
    return [f"{n} of {of} designs for {what} of {listed(names)}" for (n, of), names in sorted(alike.items())]


def _least_left(shares: Sequence[Share]) -> list[str]:
    """Name the other methods of which the fewest designs count."""
    left = {key: numbers for key, numbers in _left([one for one in shares if one.few]).items()
            if key[1] not in {default_interval(key[0]), "permutation", OF_IMAGES}}  # fmt: skip
    if not left:
        return []
    least = min(n for n, _ in left.values())
    methods: dict[str, list[str]] = {}
    for (name, method), (n, _) in left.items():
        if n == least:
            methods.setdefault(method, []).append(name)
    named = [f"`{method}` of {listed(names)}" for method, names in methods.items()]
    return [f"of other methods at least {least}, which is what {joined(named)} have"]


def _by_patients(covered: Sequence[Share]) -> str:
    numbers = sorted({one.n_patients for one in covered})
    head = ("metric", "default interval", *(f"{what}, {n:,}" for what in ("values", "differences") for n in numbers))
    rows = []
    for name in METRICS:
        cells = []
        for estimands in (VALUES, DIFFERENCES):
            some = chosen(covered, name=name, method=default_interval, estimands=estimands, few=False)
            cells += [_mean([one for one in some if one.n_patients == n], COVERAGE_BAND) for n in numbers]
        if any(cells):
            rows.append([f"`{name}`", f"`{default_interval(name)}`", *cells])
    return _table(head, rows)


def _largest_error(covered: Sequence[Share]) -> float:
    """Return the greatest standard error of a mean over designs of as many patients."""
    some = [one for name in METRICS for one in chosen(covered, name=name, method=default_interval, few=False)]
    places = {(one.metric, one.n_patients, one.estimand in VALUES) for one in some}
    return max(
        standard_error([o for o in some if (o.metric, o.n_patients, o.estimand in VALUES) == place], 0.95)
        for place in places
    )


BANDS = (ENOUGH, 100, 300, 1000)
"""Numbers of positive patients from which on sign flips are told apart."""


def _flips(rejected: Sequence[Share]) -> list[str]:
    """Say how sign flips do with more positive patients, more patients and more correlation."""
    flips = [one for one in rejected if one.method == "permutation" and one.is_usual and not one.few]
    numbers, correlations = (sorted({getattr(one, name) for one in flips}) for name in ("n_patients", "correlation"))
    bands = [(low, high) for low, high in zip(BANDS, (*BANDS[1:], np.inf), strict=True)]
    groups = {
        **{f"{low:,} to {high:,} positive" if np.isfinite(high) else f"{low:,} positive or more":
           {one.scenario for one in flips if low <= one.positive_patients < high} for low, high in bands},
        **{f"{n:,} patients": {one.scenario for one in flips if one.n_patients == n} for n in numbers},
        **{f"ρ = {rho:g}": {one.scenario for one in flips if one.correlation == rho} for rho in correlations},
    }  # fmt: skip
    rows, errors = [], []
    for name in METRICS:
        some = [one for one in flips if one.metric == name]
        each = [[one for one in some if one.scenario in designs] for designs in groups.values()]
        if some:
            rows.append([f"`{name}`", *(_mean(one, SIZE_BAND) for one in each)])
            errors += [standard_error(one, 0.05) for one in each if one]
    if not rows:
        return []
    return [
        f"Sign flips with {ENOUGH} positive patients or more: rejections of true nulls in %, in the mean over designs "
        "of as many positive patients, as many patients, or this correlation. [Why they miss](#where-sign-flips-miss). "
        "The nulls of a study are tested on the same patients, so that the standard error of a cell may be as large as "
        f"{min(errors):.1f} to {max(errors):.1f} %, the larger the fewer designs it is of.",
        _table(("metric", *groups), rows),
    ]


def _mean(some: Sequence[Share], band: tuple[float, float]) -> str:
    """Return a mean in %, bold outside a band; blank of none."""
    if not some:
        return ""
    said = f"{mean(some):.1f}"
    return said if 100 * band[0] <= round(mean(some), 1) <= 100 * band[1] else f"**{said}**"


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
    each = [100 * one.share for one in some]
    return f"{_mean(some, band)} ({min(each):.0f}–{max(each):.0f})"


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
