"""What the simulation found, in sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from adapter import OF_IMAGES
from running import METRICS
from scenarios import OF_PAIRS
from shares import (
    COVERAGE_BAND,
    DIFFERENCES,
    ENOUGH,
    INTERVALS,
    SIZE_BAND,
    VALUES,
    Share,
    chosen,
    default_interval,
    mean,
    rows,
    standard_error,
)

from cxrobust.analysis.choices import WITH_A_MARGIN, fitting_tests
from cxrobust.analysis.metrics import metric

LEVEL = 0.95
BETTER = 2.0
"""Points by which another interval is said to cover more than the default."""


def findings(content: Mapping[str, Any], covered: Sequence[Share], rejected: Sequence[Share]) -> list[str]:
    """Say what was found against the goal, with many positive patients and with few, as paragraphs and lists."""
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
        *_bullet(_by_patients(chosen(covered, few=False, **by_default))),
        "- " + _misplaced(chosen(covered, few=False, **by_default), chosen(flips, few=False)),
        "- " + _of_images(covered, rejected),
        *_bullet(_of_margins(rejected, few=False)),
        f"Below {ENOUGH} positive patients, where estimates carry a note (designs of more on average have such studies "
        "too):",
        *("- " + _still(chosen(covered, estimands=estimands, few=True, **by_default), what)
          for estimands, what in ((VALUES, "values"), (DIFFERENCES, "differences"))),
        "- " + _against(_each(flips, few=True), SIZE_BAND, what="Sign flips reject true nulls"),
    ]  # fmt: skip
    lines += [*_bullet(_of_margins(rejected, few=True)), *_alternatives(covered, few=True)]
    few = [one for one in covered if one.few and one.method == default_interval(one.metric)]
    without = sum(one.none for one in few) / max(sum(one.n + one.none for one in few), 1)
    return bulleted(
        [
            *lines,
            f"- {100 * without:.0f} % of default intervals could not be given, since a study had one class only or too "
            "many of its resamples had.",
        ]
    )


def blanks(rejected: Sequence[Share]) -> str:
    """Say why cells are blank."""
    shares = joined([f"`{name}`" for name in METRICS if "mcnemar" in fitting_tests(name)])
    no_side = joined([f"`{name}`" for name in METRICS if not metric[name].better and not metric[name].of_labels])
    pairs = joined([f"`{name}`" for name in OF_PAIRS])
    durkalski = {one.metric for one in rejected if one.method == "mcnemar-durkalski"}
    alone = durkalski and durkalski <= set(OF_PAIRS)
    return (
        f"Cells are blank where a method does not fit: McNemar's tests are of shares of all images ({shares}), "
        "Wilcoxon's of means of a number that each image has, DeLong's of AUROCs; non-inferiority needs a better side, "
        f"which {no_side} lack. `mce` has no row, since no test fits a maximum over bins, and has a true value at a "
        "prevalence of 50 % alone; `brier-uncertainty` has neither differences nor tests, since no model and no "
        "perturbation moves it. Of intervals Wilson's is of values of shares, DeLong's of AUROCs, and "
        "`percentile-recentred` and `t-corrected` were judged where resamples are biased, of `brier-reliability` the "
        "first alone. The nulls of "
        f"{pairs} are of studies of twins, two regimes that follow one law: between the usual two, which differ on "
        "clean images, none of their comparisons is 0 in truth."
        + (" `mcnemar-durkalski` was counted between twins alone." if alone else "")
        + " `cochran-q` has no column: its pairs of regimes are tested as by `mcnemar`, and how often Q itself rejects "
        "is counted of whole procedures, below."
    )


def reasons(content: Mapping[str, Any], covered: Sequence[Share]) -> list[str]:
    """Say why a default is what it is where another interval covers values better at some number of patients."""
    rates, jumping = ("sensitivity", "ppv", "npv"), ("ece-debiased", "coverage-at-risk-5")
    if not {*rates, *jumping, "brier-reliability", "mce"} <= {one.metric for one in covered if not one.few}:
        return []

    def of(method: str, names: Sequence[str], *, few: bool, estimands: Sequence[str]) -> str:
        return joined(
            [f"{mean(chosen(covered, name=n, method=method, estimands=estimands, few=few)):.1f}" for n in names]
        )

    def both(method: str, names: Sequence[str], *, few: bool) -> str:
        values, differences = (of(method, names, few=few, estimands=some) for some in (VALUES, DIFFERENCES))
        return f"`{method}` covers values in {values} % and differences in {differences} %"

    def without(method: str) -> str:
        each = [[o for o in covered if (o.metric, o.method, o.few) == (name, method, True)] for name in rates]
        return joined([f"{100 * sum(o.none for o in some) / sum(o.n + o.none for o in some):.0f}" for some in each])

    widest = max(
        width
        for place, _, (*_, width) in rows(content, "intervals")
        if (place["metric"], place["method"]) == ("mce", "studentized") and place["estimand"] in DIFFERENCES
    )
    wilson = of("wilson", rates, few=True, estimands=VALUES)
    lines = [
        _of_reliability(covered),
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
    return ["A metric has one default for all its estimands and all numbers of patients:", *bulleted(lines)]


def _of_reliability(covered: Sequence[Share]) -> str:
    """Compare the intervals of `brier-reliability` by number of patients, since their errors change sign with it."""
    some = [one for one in covered if one.metric == "brier-reliability"]

    def compared(*, few: bool) -> str:
        numbers = sorted({one.n_patients for one in some if one.few == few})

        def of(method: str, estimands: Sequence[str]) -> str:
            each = [chosen([one for one in some if one.n_patients == n], method=method, estimands=estimands, few=few)
                    for n in numbers]  # fmt: skip
            return f"{joined([f'{mean(one):.1f}' for one in each])} % by `{method}`"

        said = "; ".join(
            f"{what} in {joined([of(method, estimands) for method in ('t-corrected', 't', 'basic')])}"
            for what, estimands in (("values", VALUES), ("differences", DIFFERENCES))
        )
        which = f"fewer than {ENOUGH}" if few else f"{ENOUGH} or more"
        return f"with {joined([f'{n:,}' for n in numbers])} patients, of whom {which} are positive, are covered {said}"

    return (
        f"- `brier-reliability`, `t-corrected`: {compared(few=False)}; {compared(few=True)}. With more patients `t` "
        "comes to its level and `basic` leaves it, which is near 95 % in the mean over designs by errors of opposite "
        "signs; `t-corrected` alone covers no less than its level with any number of patients, "
        f"{ENOUGH} or more of them positive."
    )


def _against(found: Mapping[str, float], band: tuple[float, float], *, what: str) -> str:
    """Say how many metrics lie within a band, and which lie below and above it."""
    low = {k: v for k, v in sorted(found.items(), key=lambda kv: kv[1]) if round(v, 1) < 100 * band[0]}
    high = {k: v for k, v in sorted(found.items(), key=lambda kv: -kv[1]) if round(v, 1) > 100 * band[1]}
    parts = [f"{what} in {100 * band[0]:.0f} to {100 * band[1]:.0f} % for {len(found) - len(low) - len(high)} of "
             f"{len(found)} metrics"]  # fmt: skip
    parts += [f"less for {_valued(low)}"] if low else []
    parts += [f"more for {_valued(high)}"] if high else []
    return "; ".join(parts) + "."


def _each(shares: Sequence[Share], **wanted: Any) -> dict[str, float]:
    """Return the mean of each metric that has one."""
    found = {name: mean(chosen(shares, name=name, **wanted)) for name in METRICS}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _alternatives(covered: Sequence[Share], *, few: bool) -> list[str]:
    """Say which other interval of patients holds where the default does not, by `BETTER` points at least."""
    parts = []
    for estimands, what in ((VALUES, "values"), (DIFFERENCES, "differences")):
        found = []
        for name in METRICS:
            usual = mean(chosen(covered, name=name, method=default_interval, estimands=estimands, few=few))
            others = {
                method: chosen(covered, name=name, method=method, estimands=estimands, few=few)
                for method in INTERVALS
                if method not in {"delong", OF_IMAGES}
            }
            reaching = {k: mean(some) for k, some in others.items() if not _too_low(some)}
            holding = {k: v for k, v in reaching.items() if v >= 100 * COVERAGE_BAND[0] and v >= usual + BETTER}
            if usual < 100 * COVERAGE_BAND[0] and holding:
                best = min(holding, key=lambda method: abs(holding[method] - 100 * LEVEL))
                found.append(f"`{name}` {best} {holding[best]:.1f}")
        if found:
            parts.append(f"{what} of {', '.join(found)}")
    said = (
        "Where the default covers less than 94 %, another interval covers 2 points more and reaches that, with no "
        "number of patients less than chance explains"
    )
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
        f"standard errors in {where(low, covered)}, and sign flips above 6 % in {where(high, flips)}. So few studies "
        f"of a design do not tell 90 from 94 %: of {between(*_ends(covered))} studies 94 % has a standard error of "
        f"{_error_of(_ends(covered)[1]):.1f} to {_error_of(_ends(covered)[0]):.1f} %. In single designs only what is "
        "far off shows; means over designs tell more."
    )


def _ends(shares: Sequence[Share]) -> tuple[int, int]:
    n = [one.n + one.none for one in shares]
    return min(n), max(n)


def _error_of(n: int) -> float:
    low = COVERAGE_BAND[0]
    return 100 * float(np.sqrt(low * (1 - low) / n))


def _still(covered: Sequence[Share], what: str) -> str:
    """Say for which metrics coverage holds in spite of few positive patients, in every design or in their mean."""
    each = {name: some for name in METRICS if (some := chosen(covered, name=name))}
    holds = {k: some for k, some in each.items() if all(one.beyond(COVERAGE_BAND) >= 0 for one in some)}
    rest = {k: some for k, some in each.items() if k not in holds}
    on_average = {k: some for k, some in rest.items() if round(mean(some), 1) >= 100 * COVERAGE_BAND[0]}
    nearly = {k: some for k, some in rest.items() if k not in on_average and mean(some) >= 90}
    fails = dict(sorted(((k, some) for k, some in rest.items() if mean(some) < 90), key=lambda kv: mean(kv[1])))
    return (
        f"Intervals of {what} (mean and, in brackets, the least design) still cover in 94 % or more, in every design "
        f"up to two Monte Carlo standard errors, for {_with_least(holds)}. In the mean alone, while some designs lie "
        f"farther below, for {_with_least(on_average)}. In 90 to 94 % in the mean, with designs farther below, for "
        f"{_with_least(nearly)}; in less than 90 % for {_with_least(fails)}."
    )


def _with_least(found: Mapping[str, Sequence[Share]]) -> str:
    """List metrics with the mean and the least of their places."""
    return ", ".join(
        f"`{name}` {mean(some):.1f} ({100 * min(one.share for one in some):.0f})" for name, some in found.items()
    ) or "none"  # fmt: skip


def _by_patients(covered: Sequence[Share]) -> str:
    """Say where the mean over designs of as many patients lies below the goal by more than chance."""
    parts = []
    for estimands, what in ((VALUES, "values"), (DIFFERENCES, "differences")):
        low = []
        for name in METRICS:
            some = _too_low(chosen(covered, name=name, estimands=estimands))
            low += [f"`{name}` with {n:,} patients {found:.1f}" for n, found in some.items()]
        parts += [f"{what} of {', '.join(low)}"] if low else []
    said = (
        "In the mean over designs of as many patients, default intervals cover less than 94 % by more than two Monte "
    )
    return f"{said}Carlo standard errors: {'; '.join(parts)}." if parts else ""


def _too_low(some: Sequence[Share]) -> dict[int, float]:
    """Return by number of patients the mean share in % that lies below the goal by more than two standard errors."""
    each = {n: [one for one in some if one.n_patients == n] for n in sorted({one.n_patients for one in some})}
    return {
        n: mean(alike)
        for n, alike in each.items()
        if mean(alike) + 2 * standard_error(alike, LEVEL) < 100 * COVERAGE_BAND[0]
    }


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


def _bullet(said: str) -> list[str]:
    return [f"- {said}"] if said else []


def bulleted(lines: Sequence[str]) -> list[str]:
    """Join neighbouring bullets into one list."""
    parts: list[str] = []
    for line in lines:
        if line.startswith("- ") and parts and parts[-1].startswith("- "):
            parts[-1] += "\n" + line
        else:
            parts.append(line)
    return parts


def between(least: int, most: int) -> str:
    """Say a range, or the number where both ends are alike."""
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def listed(names: Sequence[str]) -> str:
    """List names as code, with an `and` before the last."""
    return joined([f"`{name}`" for name in names]) if names else ""


def _valued(found: Mapping[str, float]) -> str:
    """List metrics with their numbers, the farthest first."""
    return ", ".join(f"`{name}` {value:.1f}" for name, value in found.items())


def joined(words: Sequence[str]) -> str:
    """List words with an `and` before the last."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _magnitude(value: float) -> str:
    return f"{value:.0e}".replace("e+", "e") if value >= 1000 else f"{value:.2f}"
