"""What was estimated: the formulas of the estimands and metrics of this study, and of no others."""

from collections.abc import Mapping
from typing import Any

from cxrobust.reports.formulas import BINS, ESTIMANDS, NOTATION, Formula, metric_formula
from cxrobust.reports.sections import section
from cxrobust.reports.view import View
from cxrobust.reports.words import capitalised, listed, metric_words, readable
from cxrobust.results import MICRO, WORST, Estimand

NAMES = {
    "value": "Value",
    "perturbed-clean": "Change, perturbed − clean",
    "regime-reference": "Difference from the reference",
    "difference-in-differences": "Difference-in-differences",
    "relative": "Part that is kept",
    "relative-difference": "Difference in the part that is kept",
    "trend": "Trend over the strengths",
    "trend-difference": "Difference in trend",
    "area": "Area under the curve over the strengths",
    "area-difference": "Difference in area",
    "half-margin": "Half-margin",
    "half-margin-difference": "Difference in half-margin",
    "recalibrated-raw": "Change by recalibration",
    "all-regimes": "All regimes alike",
}
EFFECTS = {
    "accuracy-risk-difference": "Risk difference of right decisions",
    "accuracy-odds-ratio": "Odds ratio of right decisions",
    "confidence-superiority": "Probability of superiority, confidence",
    "confidence-cliffs-delta": "Cliff’s delta, confidence",
}
WORKS = {"ece": "naeini2015", "brier": "brier1950"}
SIDES = {"higher": "higher is better", "lower": "lower is better", None: ""}


@section("estimands", order=88, title="Estimands and metrics", documents=("report", "appendix"))
def estimands(view: View) -> Mapping[str, Any]:
    """Return the formulas of what the results hold."""
    held = {e.estimand for e in view.results.estimates}
    metrics = {e.metric for e in view.results.estimates}
    ordered = [*view.metrics, *(name for name in EFFECTS if name in metrics - set(view.metrics))]
    formulas = {name: metric_formula(name) for name in ordered}
    return {
        "estimands": [(NAMES[name], ESTIMANDS[name], name == view.comparison) for name in ESTIMANDS if name in held],
        "has_curves": bool(held & {"trend", "area", "half-margin"}),
        "metrics": [
            (_name(name), found, SIDES[view.better.get(name)], WORKS.get(name))
            for name, found in formulas.items()
            if found is not None
        ],
        "others": listed([readable(name) for name, found in formulas.items() if found is None]),
        "letters": (*NOTATION, *(BINS if any(_has_bins(found) for found in formulas.values()) else ())),
        "counts_decisions": any(found is not None and "TP" in found.latex for found in formulas.values()),
        "decides": bool({"accuracy", "sensitivity", "specificity"} & metrics)
        or any(found is not None and ("e_i" in found.latex or "d_i" in found.latex) for found in formulas.values()),
        "operating_point": view.results.study["analysis"]["operating_point"],
        "chosen_on": "clean validation images" if "validation" in view.results.data else "the clean images themselves",
        "reference": view.reference,
        "has_macro": view.has_averages,
        "has_worst": any(e.finding == WORST for e in view.results.estimates),
        "has_micro": any(e.finding == MICRO for e in view.results.estimates),
    }


def contrast_of(estimand: Estimand, of: str, *, reference: str = "the reference") -> str:
    """Name the estimand that answers the question, of a metric or of averages, for a caption or a label.

    >>> contrast_of("regime-reference", "AUROC"), contrast_of("perturbed-clean", "macro averages")
    ('Difference in AUROC to the reference', 'Change in macro averages, perturbed − clean')
    """
    return {
        "perturbed-clean": f"Change in {of}, perturbed − clean",
        "regime-reference": f"Difference in {of} to {reference}",
    }.get(estimand, f"{NAMES[estimand]} of {of}")


def _name(metric: str) -> str:
    return EFFECTS.get(metric, capitalised(metric_words(metric).name))


def _has_bins(formula: Formula | None) -> bool:
    return formula is not None and "bar p_b" in formula.latex
