"""How estimates, intervals and tests were made, from what the results say of themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cxrobust.conditions import parse_condition
from cxrobust.reports.attack_works import BY_TORCHATTACKS, CITED
from cxrobust.reports.limits import WITHOUT_GRADIENTS
from cxrobust.reports.sections import section
from cxrobust.reports.sections.estimands import NAMES
from cxrobust.reports.sections.perturbations import done_by, further_of, strengths_of
from cxrobust.reports.sources import names_all_patients, names_no_patient
from cxrobust.reports.units import in_units
from cxrobust.reports.view import View
from cxrobust.reports.words import (
    ADJUSTMENTS,
    INTERVALS,
    SPACE,
    condition_words,
    count,
    listed,
    metric_words,
    named_tests,
    ordinal,
    p_number,
    percent,
    readable,
)
from cxrobust.results import WORST, Estimand, Estimate

ELSEWHERE = "elsewhere"
SIGN_FLIPS = {"permutation", "permutation (exact)"}
SWAPS = {"permutation (swaps)", "permutation (swaps, exact)"}
EXPLAINED = {"percentile", "percentile-recentred", "expanded", "t", "t-corrected"}
"""Tests and intervals that the template explains."""
OF_RUNS_AT_HAND = {"wilson": "Wilson’s", "delong": "DeLong’s", "delong-clustered": "DeLong’s"}
"""Whose intervals hold nothing of training again."""
PRIMARY_TESTS: dict[Estimand, str] = {
    "difference-in-differences": "difference-in-differences",
    "regime-reference": "regime − reference differences",
    "perturbed-clean": "changes, perturbed − clean,",
}
"""What the primary family tests, by the estimand that answers the question; values alone are not tested."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Perturbed:
    """What was done to images, with its parameters, and the works that it is from."""

    words: str
    told: str
    keys: tuple[str, ...]


@section("methods", order=90, title="Methods", documents=("report", "appendix"))
def methods(view: View) -> Mapping[str, Any]:
    """Return what the methods' text depends on."""
    results = view.results
    analysis = results.study["analysis"]
    shown = [e for e in results.find() if e.metric in view.metrics and e.finding != WORST]
    intervals, tests = {e.interval for e in shown if e.interval}, {e.test for e in shown if e.test}
    attacks = list(dict.fromkeys(parse_condition(one.name).name for one in view.of_kind("attack")))
    of_library = [condition_words(name) for name in attacks if name in BY_TORCHATTACKS]
    tail = 100 * (1 - view.level) / 2
    return {
        "resamples": analysis["resamples"],
        "low_percentile": ordinal(tail),
        "high_percentile": ordinal(100 - tail),
        "most_undefined": percent(analysis.get("most_undefined", 0.2)),
        "families": [_family(view, one["name"]) for one in analysis.get("families", ())],
        "primary_tests": PRIMARY_TESTS.get(view.comparison, ""),
        "intervals": intervals,
        "plain": _having(shown, "percentile"),
        "of_t": _having(shown, "t"),
        "of_t_corrected": _having(shown, "t-corrected"),
        "other_intervals": in_units(view, listed([INTERVALS[i] for i in INTERVALS if i in intervals - EXPLAINED])),
        "of_training": bool(intervals - OF_RUNS_AT_HAND.keys()),
        "of_runs_at_hand": listed(list({whose: None for one, whose in OF_RUNS_AT_HAND.items() if one in intervals})),
        "tests": tests,
        "flips_signs": bool(tests & SIGN_FLIPS),
        "least_p": f"1/{count(analysis['resamples'] + 1)}" if "permutation" in tests else "",
        "least_adjusted": _least_adjusted(view, draws=analysis["resamples"]),
        "swapped": listed(list(dict.fromkeys(metric_words(e.metric).name for e in shown if e.test in SWAPS))),
        "other_tests": in_units(view, named_tests(tests - SIGN_FLIPS - SWAPS)),
        "one_sided": bool(tests & {"tost", "noninferiority"}),
        "without_patients": "all" if names_no_patient(view) else "" if names_all_patients(view) else "some",
        "has_replicates": view.has_replicates,
        "has_perturbations": bool(view.series),
        "has_eps": any(one.strength_name == "eps" for one in view.series),
        "by_gradients": not set(attacks) <= set(WITHOUT_GRADIENTS),
        "is_perturbed_here": any(one.kind != ELSEWHERE for one in view.series),
        "is_made_elsewhere": any(one.get("family") == ELSEWHERE for one in results.regimes),
        "attacks": [(condition_words(name), CITED.get(name, ())) for name in attacks],
        "by_torchattacks": "all" if len(of_library) == len(attacks) else listed(of_library),
        "perturbed": {kind: perturbed(view, kind) for kind in ("attack", "corruption", "noise", ELSEWHERE)},
        "alpha": f"{view.alpha:g}",
    }


def perturbed(view: View, kind: str) -> list[Perturbed]:
    """Return every series of perturbations of a kind, with strengths, what it does, and its further parameters."""
    found = []
    for one in view.of_kind(kind):
        strengths, done = strengths_of(one), done_by(view, one)
        if strengths.replace("severity", "severities").replace(SPACE, " ") in done.replace(SPACE, " "):
            strengths = ""
        told = "; ".join(filter(None, (strengths, done, further_of(view, one))))
        keys = () if kind == ELSEWHERE else CITED.get(parse_condition(one.name).name, ())
        found.append(Perturbed(words=condition_words(one.name), told=told, keys=keys))
    return found


def _family(view: View, name: str) -> str:
    """Name a declared family, and how it is adjusted where that is not how the others are."""
    method = view.method_of(name)
    return readable(name) if method == view.method_of(None) else f"{readable(name)}, {ADJUSTMENTS[method]}"


def _least_adjusted(view: View, *, draws: int) -> str:
    """Return the least adjusted p-value that so many draws allow in the primary family: `0.006`; empty where none is so."""
    if view.results.study["analysis"].get("adjust", "holm") not in {"holm", "bonferroni"}:
        return ""
    tested = [e for e in view.results.estimates if e.family == "primary" and e.p_value is not None]
    if not tested or any(e.test != "permutation" for e in tested):
        return ""
    return p_number(min(len(tested) / (draws + 1), 1.0), alpha=view.alpha).replace("<", "below ")


def _having(shown: Sequence[Estimate], interval: str) -> str:
    """Name what has an interval: estimands that have no other, and else metrics."""
    others = {e.estimand for e in shown if e.interval not in {None, interval}}
    return listed(
        list(
            dict.fromkeys(
                metric_words(e.metric).name if e.estimand in others else NAMES[e.estimand].lower()
                for e in shown
                if e.interval == interval
            )
        )
    )
