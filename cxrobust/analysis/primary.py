"""The estimates of a study's primary comparison."""

from collections.abc import Iterable

from cxrobust.analysis.sample import REPORT
from cxrobust.analysis.values import MACRO
from cxrobust.conditions import CLEAN
from cxrobust.results import Estimand, Estimate


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
