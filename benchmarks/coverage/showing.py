"""Counts of simulated studies as a page of Markdown, and a list of what misses its level."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from adapter import OF_IMAGES
from running import METRICS
from scenarios import OF_PAIRS

from cxrobust.analysis.choices import WITH_A_MARGIN, fitting_tests, is_untestable
from cxrobust.analysis.metrics import metric

ENOUGH = 20
"""Mean number of positive patients from which on an estimate carries no note of few."""
MANY = 100
"""Positive patients from which on sign flips of few patients are told apart."""
LEVEL = 0.95
BETTER = 2.0
"""Points by which another interval is said to cover more than the default."""
COVERAGE_BAND, SIZE_BAND = (0.94, 0.96), (0.04, 0.06)
VALUES = ("value",)
DIFFERENCES = ("perturbed-clean", "regime-reference", "difference-in-differences")
INTERVALS = (
    "percentile", "percentile-recentred", "expanded", "t", "t-corrected", "basic", "bca", "studentized", "wilson",
    "delong-clustered", "delong", OF_IMAGES,
)  # fmt: skip
TESTS = (
    "permutation", "wilcoxon-clustered", "mcnemar-clustered", "mcnemar-durkalski", "delong-clustered", "wilcoxon",
    "mcnemar", "mcnemar-midp", "delong", *WITH_A_MARGIN,
)  # fmt: skip
IMAGES_TESTS = ("wilcoxon", "mcnemar", "mcnemar-midp", "delong")
"""Tests that take images for independent."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """How often an interval held the truth, or a test rejected, in one scenario."""

    scenario: str
    correlation: float
    findings: int
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

    @property
    def is_usual(self) -> bool:
        """Whether at least half of the studies have an interval or a p-value."""
        return self.n > 0 and self.n >= self.none

    def beyond(self, band: tuple[float, float]) -> int:
        """Return −1 or 1 where the share is below or above a band by more than two standard errors, else 0."""
        return int(self.share - 2 * self.se > band[1]) - int(self.share + 2 * self.se < band[0])


def coverages(content: Mapping[str, Any], *, findings: int = 1) -> list[Share]:
    """Return each interval's coverage, of studies of so many findings."""
    return [
        Share(**place, n=n - none, none=none, hits=n - none - below - above)
        for place, n, (none, below, above, _) in _rows(content, "intervals")
        if place["findings"] == findings
    ]


def sizes(content: Mapping[str, Any], *, findings: int = 1) -> list[Share]:
    """Return how often each test rejects at 5 % what is true; of a margin, what is just as large.

    Without metrics that no test fits, which may have been simulated before that was known.
    """
    return [
        Share(**place, n=n - none, none=none, hits=hits)
        for place, n, (none, hits) in _rows(content, "tests")
        if place["findings"] == findings and not is_untestable(place["metric"])
    ]


def coverage_page(content: Mapping[str, Any], *, figures: Sequence[str] = ()) -> str:
    """Return a page of Markdown: what was found in words, tables, and the figures named, relative to the page."""
    covered, rejected = coverages(content), sizes(content)
    parts = [
        "# Coverage and size by simulation",
        _design(content),
        "## What was found",
        *_findings(content, covered, rejected),
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
        *_reasons(content, covered),
        "## All tests",
        f"Rejections in % of nulls that are true, with {ENOUGH} positive patients or more / with fewer: means over "
        "designs, two-cell differences and interactions. `tost` and `noninferiority` are held against a margin that "
        "is the true difference, where 5 % is the most that they should reject.",
        _test_matrix(rejected),
        _by_positives(rejected),
        _blanks(rejected),
        *_macro(content),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def misses(content: Mapping[str, Any]) -> str:
    """List what lies outside 94–96 % or 4–6 % by more than two standard errors at 20 positive patients or more."""
    lines = []
    rejected = [one for one in sizes(content) if one.method not in WITH_A_MARGIN]
    for what, shares, band in (("covers", coverages(content), COVERAGE_BAND), ("rejects", rejected, SIZE_BAND)):
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


def _rows(content: Mapping[str, Any], kind: str) -> Iterable[tuple[dict[str, Any], int, list[int]]]:
    for name, scenario in content["scenarios"].items():
        for of_metric, record in scenario["metrics"].items():
            for method, rows in record[kind].items():
                for place, *counts in rows:
                    estimand, condition = content["places"][place]
                    yield (
                        {
                            "scenario": name,
                            "correlation": scenario["correlation"],
                            "findings": scenario["findings"],
                            "positive_patients": scenario["sums"][2] / scenario["studies"],
                            "metric": of_metric,
                            "estimand": estimand,
                            "condition": condition,
                            "method": method,
                        },
                        record["studies"],
                        counts,
                    )


def _grouped(shares: Iterable[Share]) -> dict[tuple[str, str], list[Share]]:
    """Group by metric and method, in the order of the page."""
    order = [*INTERVALS, *TESTS]
    found: dict[tuple[str, str], list[Share]] = {}
    for one in sorted(shares, key=lambda s: (METRICS.index(s.metric), order.index(s.method), s.scenario)):
        found.setdefault((one.metric, one.method), []).append(one)
    return found


def chosen(
    shares: Iterable[Share],
    *,
    name: str | None = None,
    method: str | Callable[[str], str] | None = None,
    estimands: Sequence[str] | None = None,
    few: bool | None = None,
) -> list[Share]:
    """Return the shares of a metric, method, kind of estimand and number of positive patients that studies had."""
    return [
        one
        for one in shares
        if (name is None or one.metric == name)
        and (method is None or one.method == (method if isinstance(method, str) else method(one.metric)))
        and (estimands is None or one.estimand in estimands)
        and (few is None or one.few == few)
        and one.is_usual
    ]


def default_interval(name: str) -> str:
    """Name a metric's default interval."""
    return metric[name].interval


def mean(some: Sequence[Share]) -> float:
    """Mean share in %, over places; NaN of none."""
    return 100 * float(np.mean([one.share for one in some])) if some else float("nan")


def _design(content: Mapping[str, Any]) -> str:
    single = [one for one in content["scenarios"].values() if one["findings"] == 1]
    n = {name: [one["metrics"][name]["studies"] for one in single if name in one["metrics"]] for name in METRICS}
    by_size: dict[int, list[int]] = {}
    for one in single:
        by_size.setdefault(one["n_patients"], []).extend(record["studies"] for record in one["metrics"].values())
    studies = "; ".join(
        f"{_between(min(some), max(some))} with {size:,} patients" for size, some in sorted(by_size.items()) if some
    )
    of_metrics: dict[int, list[str]] = {}
    for name, some in n.items():
        if some:
            of_metrics.setdefault(len(some), []).append(name)
    coverage = "; ".join(
        f"{_list(names) if len(names) <= 14 else f'{len(names)} metrics'} in {count} designs"
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
    return f" Not simulated yet: {_list(names)}." if names else ""


def _between(least: int, most: int) -> str:
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _list(names: Sequence[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]]) if len(quoted) > 1 else "".join(quoted)


def _valued(found: Mapping[str, float]) -> str:
    """List metrics with their numbers, the farthest first."""
    return ", ".join(f"`{name}` {value:.1f}" for name, value in found.items())


def _each(shares: Sequence[Share], **wanted: Any) -> dict[str, float]:
    """Return the mean of each metric that has one."""
    found = {name: mean(chosen(shares, name=name, **wanted)) for name in METRICS}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _against(found: Mapping[str, float], band: tuple[float, float], *, what: str) -> str:
    """Say how many metrics lie within a band, and which lie below and above it."""
    low = {k: v for k, v in sorted(found.items(), key=lambda kv: kv[1]) if round(v, 1) < 100 * band[0]}
    high = {k: v for k, v in sorted(found.items(), key=lambda kv: -kv[1]) if round(v, 1) > 100 * band[1]}
    parts = [f"{what} in {100 * band[0]:.0f} to {100 * band[1]:.0f} % for {len(found) - len(low) - len(high)} of "
             f"{len(found)} metrics"]  # fmt: skip
    parts += [f"less for {_valued(low)}"] if low else []
    parts += [f"more for {_valued(high)}"] if high else []
    return "; ".join(parts) + "."


def _findings(content: Mapping[str, Any], covered: Sequence[Share], rejected: Sequence[Share]) -> list[str]:
    by_default = {"method": default_interval}
    flips = [one for one in rejected if one.method == "permutation"]
    lines = [
        f"The goal is 94 to 96 % and 4 to 6 % where there are {ENOUGH} positive patients. Means over designs, in %:",
        "- " + _against(_each(covered, estimands=VALUES, few=False, **by_default), COVERAGE_BAND,
                        what="Default intervals cover values"),
        "- " + _against(_each(covered, estimands=DIFFERENCES, few=False, **by_default), COVERAGE_BAND,
                        what="Default intervals cover differences"),
        "- " + _against(_each(flips, few=False), SIZE_BAND, what="Sign flips reject true nulls"),
        *_alternatives(covered, few=False),
        "- " + _misplaced(chosen(covered, few=False, **by_default), chosen(flips, few=False)),
        "- " + _of_images(covered, rejected),
        *_bullet(_of_margins(rejected, few=False)),
        f"Below {ENOUGH} positive patients, where estimates carry a note:",
        "- " + _still(_each(covered, estimands=VALUES, few=True, **by_default), "values"),
        "- " + _still(_each(covered, estimands=DIFFERENCES, few=True, **by_default), "differences"),
        "- " + _against(_each(flips, few=True), SIZE_BAND, what="Sign flips reject true nulls"),
    ]  # fmt: skip
    lines += [*_bullet(_of_margins(rejected, few=True)), *_alternatives(covered, few=True)]
    few = [one for one in covered if one.few and one.method == default_interval(one.metric)]
    without = sum(one.none for one in few) / max(sum(one.n + one.none for one in few), 1)
    return _bulleted(
        [
            *lines,
            f"- {100 * without:.0f} % of default intervals could not be given, since a study had one class only or too "
            "many of its resamples had.",
        ]
    )


def _bullet(said: str) -> list[str]:
    return [f"- {said}"] if said else []


def _alternatives(covered: Sequence[Share], *, few: bool) -> list[str]:
    """Say which other interval of patients holds where the default does not, by `BETTER` points at least."""
    parts = []
    for estimands, what in ((VALUES, "values"), (DIFFERENCES, "differences")):
        found = []
        for name in METRICS:
            usual = mean(chosen(covered, name=name, method=default_interval, estimands=estimands, few=few))
            others = {
                method: mean(chosen(covered, name=name, method=method, estimands=estimands, few=few))
                for method in INTERVALS
                if method not in {"delong", OF_IMAGES}
            }
            holding = {k: v for k, v in others.items() if v >= 100 * COVERAGE_BAND[0] and v >= usual + BETTER}
            if usual < 100 * COVERAGE_BAND[0] and holding:
                best = min(holding, key=lambda method: abs(holding[method] - 100 * LEVEL))
                found.append(f"`{name}` {best} {holding[best]:.1f}")
        if found:
            parts.append(f"{what} of {', '.join(found)}")
    said = "Where the default covers less than 94 %, another interval reaches that and covers 2 points more"
    return [f"- {said}: {'; '.join(parts)}."] if parts else []


def _misplaced(covered: Sequence[Share], flips: Sequence[Share]) -> str:
    """Say in how many places a share misses its band by more than chance, on the side that matters."""

    def where(some: Sequence[Share], all_of_them: Sequence[Share]) -> str:
        n = {name: sum(one.metric == name for one in some) for name in METRICS}
        most = dict(sorted(((name, k) for name, k in n.items() if k), key=lambda kv: -kv[1])[:6])
        said = ", ".join(f"`{name}` {k}" for name, k in most.items())
        return f"{len(some)} of {len(all_of_them)}" + (f" (most: {said})" if said else "")

    low = [one for one in covered if one.beyond(COVERAGE_BAND) < 0]
    high = [one for one in flips if one.beyond(SIZE_BAND) > 0]
    return (
        f"Design by design and estimand by estimand, default intervals lie below 94 % by more than two Monte Carlo "
        f"standard errors in {where(low, covered)}, and sign flips above 6 % in {where(high, flips)}."
    )


def _bulleted(lines: Sequence[str]) -> list[str]:
    """Join neighbouring bullets into one list."""
    parts: list[str] = []
    for line in lines:
        if line.startswith("- ") and parts and parts[-1].startswith("- "):
            parts[-1] += "\n" + line
        else:
            parts.append(line)
    return parts


def _still(found: Mapping[str, float], what: str) -> str:
    """Say for which metrics coverage holds in spite of few positive patients."""
    holds = {k: v for k, v in found.items() if round(v, 1) >= 100 * COVERAGE_BAND[0]}
    nearly = {k: v for k, v in found.items() if k not in holds and v >= 90}
    fails = {k: v for k, v in sorted(found.items(), key=lambda kv: kv[1]) if v < 90}
    return (
        f"Intervals of {what} still cover in 94 % or more for {_list(list(holds)) or 'no metric'}; in 90 to 94 % for "
        f"{_list(list(nearly)) or 'none'}; in less than 90 % for {_valued(fails) or 'none'}."
    )


def _of_images(covered: Sequence[Share], rejected: Sequence[Share]) -> str:
    def at(correlation: float, method: str, shares: Sequence[Share], name: str | None = None) -> float:
        return mean([one for one in chosen(shares, method=method, few=False, name=name)
                     if one.correlation == correlation])  # fmt: skip

    def along(method: str, shares: Sequence[Share], name: str | None = None) -> str:
        return ", ".join(f"{at(rho, method, shares, name):.0f}" for rho in (0.0, 0.4, 0.8))

    return (
        f"Taking images for independent fails as ρ grows: at ρ = 0, 0.4 and 0.8 the percentile interval from resamples "
        f"of images covers in {along(OF_IMAGES, covered)} % over all metrics, DeLong's interval of AUROCs in "
        f"{along('delong', covered)} %; DeLong's test rejects true nulls in {along('delong', rejected)} %, McNemar's "
        f"in {along('mcnemar', rejected)} %, Wilcoxon's in {along('wilcoxon', rejected)} %. By patient these are: "
        f"DeLong's interval {along('delong-clustered', covered)} %; tests {along('delong-clustered', rejected)} %, "
        f"{along('mcnemar-clustered', rejected)} % and {along('wilcoxon-clustered', rejected)} %."
    )


def _of_margins(rejected: Sequence[Share], *, few: bool) -> str:
    parts = []
    for test in WITH_A_MARGIN:
        found = _each(rejected, method=test, few=few)
        if found:
            over = {k: v for k, v in sorted(found.items(), key=lambda kv: -kv[1]) if round(v, 1) > 6}
            parts.append(f"`{test}` {np.mean(list(found.values())):.1f} %"
                         + (f", most for {_valued(dict(list(over.items())[:6]))}" if over else ""))  # fmt: skip
    if not parts:
        return ""
    designs = {one.scenario for one in rejected if one.few == few}
    counted = {one.scenario for one in rejected if one.few == few and one.method in WITH_A_MARGIN}
    where = "" if len(counted) == len(designs) else f" in {len(counted)} of {len(designs)} designs"
    return f"At a margin that is just the true difference{where}, where 5 % is the most: {'; '.join(parts)}."


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
    return _between(min(n), max(n))


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


def _by_positives(rejected: Sequence[Share]) -> str:
    """Say how sign flips of metrics that miss their level do with more patients."""
    flips = [one for one in rejected if one.method == "permutation" and one.is_usual and not one.few]
    low, high = (100 * end for end in SIZE_BAND)
    said = []
    for name in METRICS:
        some = [one for one in flips if one.metric == name]
        if some and not low <= round(mean(some), 1) <= high:
            parts = [
                [one for one in some if one.positive_patients < MANY],
                [one for one in some if one.positive_patients >= MANY],
            ]
            if all(parts):
                fewer, more = (mean(part) for part in parts)
                said.append(f"`{name}` {fewer:.1f} and {more:.1f}")
    if not said:
        return ""
    return (
        f"Where sign flips miss 4 to 6 %, they reject with {ENOUGH} to {MANY} positive patients and with more, in %: "
        f"{', '.join(said)}. [Why](#where-sign-flips-miss)."
    )


def _blanks(rejected: Sequence[Share]) -> str:
    """Say why cells are blank."""
    shares = _and([f"`{name}`" for name in METRICS if "mcnemar" in fitting_tests(name)])
    no_side = _and([f"`{name}`" for name in METRICS if not metric[name].better and not metric[name].of_labels])
    pairs = _and([f"`{name}`" for name in OF_PAIRS])
    durkalski = {one.metric for one in rejected if one.method == "mcnemar-durkalski"}
    alone = durkalski and durkalski <= set(OF_PAIRS)
    return (
        f"Cells are blank where a method does not fit: McNemar's tests are of shares of all images ({shares}), "
        "Wilcoxon's of means of a number that each image has, DeLong's of AUROCs; non-inferiority needs a better side, "
        f"which {no_side} lack. `mce` has no row, since no test fits a maximum over bins, and has a true value at a "
        "prevalence of 50 % alone; `brier-uncertainty` has neither differences nor tests, since no model and no "
        "perturbation moves it. Of intervals Wilson's is of values of shares, DeLong's of AUROCs, and "
        "`percentile-recentred` and `t-corrected` were judged where resamples are biased. The nulls of "
        f"{pairs} are of studies of twins, two regimes that follow one law: between the usual two, which differ on "
        "clean images, none of their comparisons is 0 in truth."
        + (" `mcnemar-durkalski` was counted between twins alone." if alone else "")
    )


def _reasons(content: Mapping[str, Any], covered: Sequence[Share]) -> list[str]:
    """Say why a default is what it is where another interval covers values better at some number of patients."""
    rates, parts, jumping = (
        ("sensitivity", "ppv", "npv"),
        ("brier-reliability",),
        ("ece-debiased", "coverage-at-risk-5"),
    )
    if not {*rates, *parts, *jumping, "mce"} <= {one.metric for one in covered if not one.few}:
        return []

    def of(method: str, names: Sequence[str], *, few: bool, estimands: Sequence[str]) -> str:
        return _and(
            [f"{mean(chosen(covered, name=n, method=method, estimands=estimands, few=few)):.1f}" for n in names]
        )

    def both(method: str, names: Sequence[str], *, few: bool) -> str:
        values, differences = (of(method, names, few=few, estimands=some) for some in (VALUES, DIFFERENCES))
        return f"`{method}` covers values in {values} % and differences in {differences} %"

    def without(method: str) -> str:
        each = [[o for o in covered if (o.metric, o.method, o.few) == (name, method, True)] for name in rates]
        return _and([f"{100 * sum(o.none for o in some) / sum(o.n + o.none for o in some):.0f}" for some in each])

    widest = max(
        width
        for place, _, (*_, width) in _rows(content, "intervals")
        if (place["metric"], place["method"]) == ("mce", "studentized") and place["estimand"] in DIFFERENCES
    )
    wilson = of("wilson", rates, few=True, estimands=VALUES)
    lines = [
        f"- `brier-reliability`, `basic`: {both('basic', parts, few=False)}, {both('t', parts, few=False)}. With fewer "
        f"than {ENOUGH} positive patients {both('basic', parts, few=True)}, {both('t', parts, few=True)}, and `t` is "
        "the better choice.",
        f"- `mce`, `t-corrected`: {both('studentized', ('mce',), few=False)}, "
        f"{both('t-corrected', ('mce',), few=False)}. `t-corrected` is the default, since differences are what is "
        "compared, and since the standard error of a resample can be all but 0, which leaves a studentised interval no "
        f"bound: in one design it was {_magnitude(widest)} wide on average.",
        f"- `ece-debiased` and `coverage-at-risk-5`, `t-corrected`: {both('t-corrected', jumping, few=False)}; "
        f"{both('expanded', jumping, few=False)}, the quantiles of resamples lying above values near 0. With fewer "
        f"than {ENOUGH} positive patients {both('t-corrected', jumping, few=True)}, "
        f"{both('expanded', jumping, few=True)}.",
        f"- `sensitivity`, `ppv` and `npv`, `expanded`: with fewer than {ENOUGH} positive patients "
        f"{both('studentized', rates, few=True)}, {both('expanded', rates, few=True)}; but {without('studentized')} % "
        f"of studies have no `studentized` interval, against {without('expanded')} %, and with {ENOUGH} positive "
        f"patients or more {both('studentized', rates, few=False)}, {both('expanded', rates, few=False)}. `expanded` "
        f"stays; of values with few positive patients `wilson` covers {wilson} %.",
    ]
    return ["A metric has one default for all its estimands and all numbers of patients:", *_bulleted(lines)]


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _magnitude(value: float) -> str:
    return f"{value:.0e}".replace("e+", "e") if value >= 1000 else f"{value:.2f}"


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
        f"designs of 200 and 1,000 patients, ρ of 0 and 0.8, prevalence of 5 and 50 %, {_between(least, most)} studies "
        "each; default interval and sign flips, as above.",
        _table(("metric", "value", "differences", "nulls rejected"), rows),
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)
