"""The primary comparison of a study: under which condition, and which estimand, of the macro averages."""

from collections.abc import Iterable, Sequence

from cxrobust.conditions import CLEAN
from cxrobust.results.records import OVERALL, Estimand, Estimate


def primary_condition(named: str | None, conditions: Sequence[str]) -> str | None:
    """Return the condition of the primary comparison: the one named, else the first perturbed; None of clean alone.

    Examples
    --------
    >>> primary_condition(None, ("clean", "noise(eps=4/255)", "blur(severity=3)")), primary_condition(None, ("clean",))
    ('noise(eps=4/255)', None)
    """
    return named or next(iter(conditions[1:]), None)


def primary_estimand(*, n_regimes: int, primary_condition: str | None) -> Estimand:
    """Return the estimand that answers the question: what a study's regimes and conditions allow.

    Examples
    --------
    >>> primary_estimand(n_regimes=1, primary_condition="noise(eps=4/255)")
    'perturbed-clean'
    """
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
        and one.finding in OVERALL
        and one.reference in {None, reference}
        and not one.subgroup
        and not one.recalibration
    )
