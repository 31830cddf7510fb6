"""What makes results whole: estimates of subgroups and of recalibrated predictions, curves, attack checks, and so on."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from cxrobust.results import MACRO, Estimate, Results, RiskCoverage, RiskPoint, primary_estimand

SUBGROUPS = {
    "sex": {"F": 0.46, "M": 0.53, "missing": 0.001},
    "age": {"under 40": 0.3, "40 to 65": 0.45, "over 65": 0.25},
}
"""Levels of each column, with their share of the patients."""
RECALIBRATED = {"temperature": 0.6, "isotonic": 0.4}
"""What each method leaves of a calibration error."""
CHECK = {
    "replicate": 0,
    "n_images": 32,
    "clean": 1.0,
    "attacked": 3.0,
    "noise": 1.2,
    "longer": 3.06,
    "square": 2.5,
    "queries": 64,
    "unbounded": "pgd(eps=1.0, steps=80)",
    "unbounded_wrong": 1.0,
    "without_gradient": 0.0,
}


def whole(made: Results) -> Results:
    """Return results with all that a study can ask for beside what they have, invented from their estimates."""
    analysis = {
        **made.study["analysis"],
        "subgroups": [{"column": column} for column in SUBGROUPS],
        "recalibrate": list(RECALIBRATED),
    }
    return replace(
        made,
        study={**made.study, "analysis": analysis, "report": {**made.study["report"], "attack_checks": 32}},
        data={**made.data, "characteristics": [*_characteristics(made.data)]},
        estimates=(*made.estimates, *_of_subgroups(made), *_recalibrated(made)),
        risk_coverage=tuple(_curves(made)),
        attack_checks=tuple(_checks(made)),
    )


def _of_subgroups(made: Results) -> Iterator[Estimate]:
    """The values, the change and the difference that are primary, in each subgroup, and the tests of interaction."""
    primary, main = made.primary_condition, _main(made)
    wanted = {("value", "clean"), ("value", primary), ("perturbed-clean", primary), (main, primary or "clean")}
    chosen = [e for e in made.estimates if e.finding == MACRO and (e.estimand, e.condition) in wanted]
    for column, levels in SUBGROUPS.items():
        for place, (level, share) in enumerate(levels.items()):
            for e in chosen:
                n = round(share * e.n_patients)
                few = n < 20
                moved = None if few or e.estimate is None else e.estimate * (1 + 0.05 * place)
                yield replace(
                    _moved(e, moved, wider=1 / math.sqrt(share)),
                    subgroup=f"{column}={level}",
                    n_patients=n,
                    reason="fewer than 20 patients" if few else e.reason,
                )
        for k, e in enumerate(e for e in chosen if e.estimand == main):
            p = (0.004, 0.03, 0.2, 0.7)[k % 4]
            yield replace(
                _moved(e, None, wider=1.0), subgroup=f"{column}: interaction", reason=None, p_value=p,
                p_adjusted=min(1.0, 3 * p), test="interaction",
            )  # fmt: skip


def _recalibrated(made: Results) -> Iterator[Estimate]:
    """The calibration error after each method, and the change by it."""
    places = {"clean", made.primary_condition}
    chosen = [
        e
        for e in made.estimates
        if (e.estimand, e.metric, e.finding) == ("value", "ece", MACRO) and e.condition in places
    ]
    for method, left in RECALIBRATED.items():
        for e in chosen:
            assert e.estimate is not None
            of = {"recalibration": method, "fitted_on": "folds of the clean images"}
            yield replace(_moved(e, e.estimate * left, wider=1.0), **of)
            change = replace(_moved(e, e.estimate * (left - 1), wider=1.2), **of, estimand="recalibrated-raw")
            yield replace(change, p_value=0.0004, p_adjusted=0.0048, test="permutation")


def _moved(e: Estimate, value: float | None, *, wider: float) -> Estimate:
    """An estimate of another value, and of an interval so much wider."""
    if value is None or e.se is None:
        return replace(
            e, estimate=None, se=None, ci_low=None, ci_high=None, interval=None, p_value=None, p_adjusted=None
        )
    se = e.se * wider
    return replace(e, estimate=value, se=se, ci_low=value - 1.96 * se, ci_high=value + 1.96 * se)


def _main(made: Results) -> str:
    return primary_estimand(n_regimes=len(made.regimes), primary_condition=made.primary_condition)


def _curves(made: Results) -> Iterator[RiskCoverage]:
    for k, regime in enumerate(made.regimes):
        for condition in ("clean", made.primary_condition):
            steep = (0.15 + 0.012 * k) * (1.0 if condition == "clean" else 1.8)
            shares = [c / 20 for c in range(1, 21)]
            points = tuple(
                RiskPoint(coverage=c, risk=steep * c**1.5, ci_low=steep * c**1.5 * 0.9, ci_high=steep * c**1.5 * 1.1)
                for c in shares
            )
            yield RiskCoverage(regime=regime["name"], condition=condition or "clean", points=points)


def _checks(made: Results) -> Iterator[dict[str, Any]]:
    names = [one["name"] for one in made.regimes]
    for k, name in enumerate(names):
        losses = {other: 1.1 + 0.15 * ((k + place) % 12) for place, other in enumerate(names) if other != name}
        yield {**CHECK, "regime": name, "condition": made.primary_condition, "transferred": losses}


def _characteristics(data: dict[str, Any]) -> Iterable[dict[str, Any]]:
    n, patients = data["n_images"], data["n_patients"]
    yield {
        "column": "age",
        "images": {"n_missing": 3, "quartiles": [40.0, 50.0, 60.5]},
        "patients": {"n_missing": 1, "quartiles": [38.0, 49.0, 61.0]},
    }
    for column, levels in SUBGROUPS.items():
        if column != "age":
            known = {level: share for level, share in levels.items() if level != "missing"}
            yield {
                "column": column,
                "images": {"n_missing": 22, "levels": {one: round(n * share) for one, share in known.items()}},
                "patients": {"n_missing": 6, "levels": {one: round(patients * share) for one, share in known.items()}},
            }
