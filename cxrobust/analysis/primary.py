"""The primary comparison of a study: which estimand, under which condition, of the macro averages."""

from collections.abc import Iterable

from cxrobust.analysis.sample import REPORT
from cxrobust.analysis.values import MACRO
from cxrobust.conditions import CLEAN
from cxrobust.results import Estimand, Estimate


def primary_estimand(*, n_regimes: int, primary_condition: str | None) -> Estimand:
    """Return the estimand that answers the question: what a study's regimes and conditions allow."""
    if n_regimes > 1:
        return "regime-reference" if primary_condition is None else "difference-in-differences"
    return "value" if primary_condition is None else "perturbed-clean"


def primary_comparisons(
    estimates: Iterable[Estimate], *, estimand: Estimand, primary_condition: str | None, reference: str
) -> tuple[Estimate, ...]:
    """Return the estimates of the primary comparison, of all images and of predictions as they are, in order."""
    return tuple(
        one
        for one in estimates
        if (one.estimand, one.condition) == (estimand, primary_condition or str(CLEAN))
        and one.finding in {MACRO, REPORT}
        and one.reference in {None, reference}
        and not one.subgroup
        and not one.recalibration
    )
