"""How often whole procedures hold, by simulation with known truth: what the counts of intervals and tests leave out.

Coverage of bands, micro and worst, curves over strengths, half-margins, gaps of subgroups, recalibrated predictions,
effect sizes, replicates and averages over a finding that some resamples leave undefined; the share of families, of
Cochran's Q and the pairs beside it, of McNemar's tests for patients and of tests of interaction that reject although
nothing differs. Studies, those of whole_studies.py, are analysed whole, by `cxrobust.analysis.analyze`, and what stands
in their estimates is judged by the truth, of whole_truths.py.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from running import made_with, one_core
from whole_studies import DESIGNS, KEPT_POSITIVE, LARGEST_SITE, REGIMES, SITE, STRENGTHS, Design, simulate, thinned
from whole_truths import FITS, METRICS, fitted_truths, recalibrated_truths, true_value, truths

from cxrobust.analysis import analyze
from cxrobust.files import atomic_write_text
from cxrobust.predictions import PredictionSet
from cxrobust.results import Estimate
from cxrobust.study.analysis import AnalysisSection, Family, MetricSection, Subgroups, TestName

ALPHA = 0.05
ALONE: dict[str, Any] = {"subgroups": (), "per_metric": {}, "effect_sizes": (), "sensitivity_analyses": False}
"""What an analysis of one thing leaves out."""


def run_procedures(out: Path, *, studies: int, resamples: int, workers: int) -> None:
    """Simulate so many studies of each design that `out` lacks, writing each design as soon as it is done.

    Raises
    ------
    SystemExit
        When `out` was made with another number of resamples.
    """
    content: dict[str, Any] = {"resamples": resamples, "made_with": made_with(), "rows": []}
    if out.exists():
        content = json.loads(out.read_text(encoding="utf-8"))
        if content["resamples"] != resamples:
            raise SystemExit(
                f"{out} was made with {content['resamples']} resamples, not {resamples}: name another file"
            )
    there = [row["design"] for row in content["rows"]]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=one_core) as pool:
        for design in DESIGNS:
            if asdict(design) in there:
                continue
            begun = time.perf_counter()
            counts: Counter[tuple[str, str]] = Counter()
            for one in pool.map(judged, [design] * studies, range(studies), [resamples] * studies):
                counts.update(one)
            content["rows"].append({"design": asdict(design), "studies": studies, "counts": _nested(counts)})
            atomic_write_text(out, json.dumps(content, indent=1) + "\n")
            print(f"{design}: {studies} studies in {time.perf_counter() - begun:.0f} s", flush=True)


def recount_procedures(out: Path, part: str, *, workers: int) -> None:
    """Judge one part of the studies that `out` counts anew, and put its counts in the place of those that are there.

    For when the code of that part has changed or is new, and the rest has not: one of `PARTS`.
    """
    content = json.loads(out.read_text(encoding="utf-8"))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=one_core) as pool:
        for row in content["rows"]:
            design, studies = Design(**row["design"]), row["studies"]
            if part != "effects" and design.replicates > 1:
                continue
            begun, counts = time.perf_counter(), Counter[tuple[str, str]]()
            each = [design] * studies, range(studies), [content["resamples"]] * studies, [part] * studies
            for one in pool.map(judged_again, *each):
                counts.update(one)
            kept = {key: value for key, value in row["counts"].items() if not re.match(PARTS[part], key)}
            row["counts"] = dict(sorted({**kept, **_nested(counts)}.items()))
            content["made_with"] = made_with()
            atomic_write_text(out, json.dumps(content, indent=1) + "\n")
            print(f"{design}: {part} of {studies} studies in {time.perf_counter() - begun:.0f} s", flush=True)


PARTS = {
    "recalibrated": r"recalibrated\b",
    "effects": r"covered: (accuracy|confidence)-",
    "cochran": r"rejected: (cochran-q|mcnemar)(, | of one image)",
    "filled": "filled, ",
}
"""How the counts of each part begin."""


def judged_again(design: Design, repetition: int, resamples: int, part: str) -> Counter[tuple[str, str]]:
    """Count one part of what `judged` counts of a study."""
    predictions, settings, seed = _study(design, repetition, resamples)
    if part == "recalibrated":
        found = list(_of_recalibration(predictions, settings, seed, design))
    elif part == "cochran":
        only = settings.model_copy(update=OF_COCHRAN)
        estimates = analyze(predictions, only, reference=REGIMES[0], seed=seed).estimates
        found = [*_of_all_regimes(estimates), *_of_one_image(predictions, only, seed)]
    elif part == "filled":
        found = list(_of_filled(predictions, settings, seed, design))
    else:
        only = {"metrics": ("accuracy",), **ALONE, "effect_sizes": settings.effect_sizes}
        estimates = analyze(predictions, settings.model_copy(update=only), reference=REGIMES[0], seed=seed).estimates
        covered = _covered(estimates, truths(design), design)
        found = [(what, hit) for what, hit in covered if re.match(PARTS[part], what)]
    counts: Counter[tuple[str, str]] = Counter()
    for what, hit in found:
        counts[what, "tried"] += 1
        counts[what, "hits"] += hit
    return counts


def _nested(counts: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    return {
        what: {kind: int(counts[what, kind]) for kind in ("hits", "tried")} for what in sorted({w for w, _ in counts})
    }


def judged(design: Design, repetition: int, resamples: int) -> Counter[tuple[str, str]]:
    """Simulate and analyse one study; count for each procedure how often it was tried, and held or rejected."""
    predictions, settings, seed = _study(design, repetition, resamples)
    found = analyze(predictions, settings, reference=REGIMES[0], seed=seed).estimates
    truth = truths(design)
    counts: Counter[tuple[str, str]] = Counter()
    for what, hit in [*_covered(found, truth, design), *_bands(found, truth), *_rejected(found)]:
        counts[what, "tried"] += 1
        counts[what, "hits"] += hit
    if design.spread == 0:
        family = Family(name="all", metrics=("auroc", "brier"), conditions=design.conditions[-1:], adjust="max-t")
        alike = replace_settings(settings, family)
        by_max_t = analyze(predictions, alike, reference=REGIMES[0], seed=seed).estimates
        p = [e.p_adjusted for e in by_max_t if e.family == "all" and e.p_adjusted is not None]
        counts["any rejected: primary family, max-t", "tried"] += 1
        counts["any rejected: primary family, max-t", "hits"] += min(p) <= ALPHA
    if design.replicates == 1:
        for what, hit in [
            *_of_recalibration(predictions, settings, seed, design),
            *_of_mcnemar(predictions, settings, seed),
            *_of_one_image(predictions, settings, seed),
            *_of_filled(predictions, settings, seed, design),
        ]:
            counts[what, "tried"] += 1
            counts[what, "hits"] += hit
    return counts


def _study(design: Design, repetition: int, resamples: int) -> tuple[PredictionSet, AnalysisSection, int]:
    """Return a simulated study, how it is analysed, and the seed of that."""
    rng = np.random.default_rng(
        [
            7,
            design.n_patients,
            round(100 * design.prevalence),
            design.replicates,
            round(100 * design.spread),
            repetition,
        ]
    )
    predictions = simulate(design, rng)
    settings = AnalysisSection(
        metrics=METRICS,
        resamples=resamples,
        operating_point=design.prevalence,
        primary_condition=design.conditions[-1],
        subgroups=tuple(Subgroups(column=column) for column in ("sex", "view", SITE)),
        per_metric={} if design.replicates > 1 else {"accuracy": MetricSection(test="cochran-q")},
    )
    seed = int(rng.integers(2**31))
    return predictions, settings, seed


def _of_recalibration(
    predictions: PredictionSet, settings: AnalysisSection, seed: int, design: Design
) -> Iterator[tuple[str, bool]]:
    """Judge the Brier score after each method of recalibration, and what it gains."""
    only = {"metrics": ("brier",), "recalibrate": tuple(FITS), **ALONE}
    found = analyze(predictions, settings.model_copy(update=only), reference=REGIMES[0], seed=seed).estimates
    raw, known, fitted = truths(design)["brier"], recalibrated_truths(design), fitted_truths(design)
    for one in found:
        if one.recalibration and one.ci_low is not None and one.ci_high is not None and one.finding == "macro":
            at, after = design.conditions.index(one.condition), fitted[one.recalibration]
            true = {
                "value": after[at],
                "perturbed-clean": after[at] - after[0],
                "recalibrated-raw": after[at] - raw[at],
            }.get(one.estimand, 0.0)
            yield f"recalibrated by {one.recalibration}, covered: {one.estimand}", one.ci_low <= true <= one.ci_high
            if (one.estimand, one.recalibration) == ("recalibrated-raw", "platt"):
                yield "recalibrated by platt, known map covered", one.ci_low <= known[at] - raw[at] <= one.ci_high


def _of_mcnemar(predictions: PredictionSet, settings: AnalysisSection, seed: int) -> Iterator[tuple[str, bool]]:
    """Judge the clustered forms of McNemar's test, between regimes."""
    tests: tuple[TestName, ...] = ("mcnemar-clustered", "mcnemar-durkalski")
    for test in tests:
        only = {"metrics": ("accuracy",), "test": test, "subgroups": (), "per_metric": {}}
        found = analyze(predictions, settings.model_copy(update=only), reference=REGIMES[0], seed=seed).estimates
        for one in found:
            if one.test == test and one.estimand == "regime-reference" and one.p_value is not None:
                yield f"rejected: {test}, {one.finding}", one.p_value <= ALPHA


OF_COCHRAN: dict[str, Any] = {
    **ALONE,
    "metrics": ("accuracy",),
    "per_metric": {"accuracy": MetricSection(test="cochran-q")},
}


def _of_all_regimes(found: Sequence[Estimate], of: str = "") -> Iterator[tuple[str, bool]]:
    """Judge Cochran's Q, and the exact McNemar tests of the pairs of regimes beside it."""
    for one in found:
        if one.p_value is not None and not one.subgroup and one.test in {"cochran-q", "mcnemar"}:
            yield f"rejected: {one.test}{of}, {one.finding}", one.p_value <= ALPHA


def _of_one_image(predictions: PredictionSet, settings: AnalysisSection, seed: int) -> Iterator[tuple[str, bool]]:
    """Judge the same of the first image of each patient, which images are independent of, finding by finding."""
    first = np.unique(predictions.patients, return_index=True)[1]
    alone = replace(
        predictions,
        image_ids=tuple(predictions.image_ids[i] for i in first),
        patients=predictions.patients[first],
        labels=predictions.labels[first],
        probabilities=predictions.probabilities[:, :, first],
        metadata=predictions.metadata.iloc[first].reset_index(drop=True),
    )
    found = analyze(alone, settings.model_copy(update=OF_COCHRAN), reference=REGIMES[0], seed=seed).estimates
    yield from _of_all_regimes([one for one in found if one.finding in alone.findings], " of one image a patient")


PAIRED = frozenset({"value", "perturbed-clean", "regime-reference", "difference-in-differences"})
FILLED = "in resamples that do not define a finding the sample's value stands for it"
"""How the note of an average begins whose interval holds such resamples."""


def _of_filled(
    predictions: PredictionSet, settings: AnalysisSection, seed: int, design: Design
) -> Iterator[tuple[str, bool]]:
    """Judge macro AUROCs where some resamples, but not too many, leave the second finding without a positive image."""
    few = thinned(predictions, np.random.default_rng([seed, KEPT_POSITIVE]))
    only = settings.model_copy(update={**ALONE, "metrics": ("auroc",)})
    found = analyze(few, only, reference=REGIMES[0], seed=seed).estimates
    truth = truths(design)
    for one in found:
        if one.finding != "macro" or FILLED not in one.note:
            continue
        true = true_value(one, truth, design)
        kind = "value" if one.estimand == "value" else "difference"
        if true is not None and one.ci_low is not None and one.ci_high is not None and one.estimand in PAIRED:
            yield f"filled, covered: {kind}", one.ci_low <= true <= one.ci_high
        if one.reference and one.estimand in PAIRED and one.p_value is not None:
            yield "filled, rejected: sign flips", one.p_value <= ALPHA


def replace_settings(settings: AnalysisSection, family: Family) -> AnalysisSection:
    return settings.model_copy(
        update={"metrics": ("auroc", "brier"), "families": (family,), "subgroups": (), "per_metric": {}}
    )


def _covered(
    found: Sequence[Estimate], truth: Mapping[str, NDArray[np.float64]], design: Design
) -> Iterator[tuple[str, bool]]:
    for one in found:
        true = true_value(one, truth, design)
        if true is None or one.ci_low is None or one.ci_high is None or one.finding not in {"micro", "worst", "macro"}:
            continue
        kind = _place(one)
        yield f"covered: {one.metric}, {one.estimand}, {kind}", one.ci_low <= true <= one.ci_high


def _place(one: Estimate) -> str:
    """Name the average that an estimate is of, or that it is of a subgroup or a gap, and whether of a small one."""
    if not one.subgroup:
        return one.finding
    is_small = one.subgroup.startswith(SITE) and one.subgroup != f"{SITE}={LARGEST_SITE}"
    return ("small " if is_small else "") + ("gap" if ": " in one.subgroup else "subgroup")


def _bands(found: Sequence[Estimate], truth: Mapping[str, NDArray[np.float64]]) -> Iterator[tuple[str, bool]]:
    """Judge whether a band holds the whole curve, and whether all its intervals do."""
    on_curves = [
        e for e in found if e.band_low is not None and e.finding == "macro" and not e.subgroup and "pgd" in e.condition
    ]
    for (name, estimand, _, _), some in groupby(sorted(on_curves, key=_curve_of), key=_curve_of):
        if name not in truth:
            continue
        curve = list(some)
        held = {"band": True, "intervals": True}
        for one in curve:
            at = STRENGTHS.index(int(one.condition.split("=")[1].split("/")[0])) + 1
            values = truth[name]
            true = 0.0 if one.reference else values[at] - (values[0] if estimand == "perturbed-clean" else 0.0)
            held["band"] &= _holds(one.band_low, true, one.band_high)
            held["intervals"] &= _holds(one.ci_low, true, one.ci_high)
        if len(curve) == len(STRENGTHS):
            yield from ((f"whole curve held by its {kind}: {name}, {estimand}", hit) for kind, hit in held.items())


def _curve_of(one: Estimate) -> tuple[str, str, str, str]:
    return one.metric, one.estimand, one.regime, one.reference or ""


def _holds(low: float | None, true: float, high: float | None) -> bool:
    return low is not None and high is not None and low <= true <= high


def _rejected(found: Sequence[Estimate]) -> Iterator[tuple[str, bool]]:
    primary = [e.p_adjusted for e in found if e.family == "primary" and e.p_adjusted is not None]
    if primary:
        yield "any rejected: primary family, holm", min(primary) <= ALPHA
    yield from _of_all_regimes(found)
    for one in found:
        if one.test == "interaction" and one.p_value is not None and one.finding == "macro":
            column = one.subgroup.partition(":")[0]
            yield f"rejected: interaction, {one.metric}, {one.estimand}, {column}", one.p_value <= ALPHA
        elif (
            one.reference
            and one.p_value is not None
            and one.test == "permutation"
            and one.finding in {"micro", "worst", "macro"}
            and not one.subgroup
        ):
            yield f"rejected: sign flips, {one.metric}, {one.estimand}, {one.finding}", one.p_value <= ALPHA
