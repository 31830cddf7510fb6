"""Estimands as linear combinations of a metric's values over (regime, condition)."""

from collections.abc import Sequence
from dataclasses import dataclass

from cxrobust.results import Estimand


@dataclass(frozen=True, kw_only=True, slots=True)
class Contrast:
    """One estimand of one regime under one condition."""

    estimand: Estimand
    regime: str
    reference: str | None
    condition: str
    terms: tuple[tuple[str, str, int], ...]
    """(regime, condition, +1 or −1) of each value in the sum."""


def contrasts(regimes: Sequence[str], conditions: Sequence[str], *, reference: str) -> tuple[Contrast, ...]:
    """List every estimand of a study; `conditions` begins with `clean`.

    - value: v(regime, condition)
    - perturbed-clean: v(regime, condition) − v(regime, clean)
    - regime-reference: v(regime, condition) − v(reference, condition)
    - difference-in-differences: the regime's perturbed-clean − the reference's

    Examples
    --------
    >>> [c.estimand for c in contrasts(["a", "b"], ["clean"], reference="a")]
    ['value', 'value', 'regime-reference']
    """
    clean, *perturbed = conditions
    others = [regime for regime in regimes if regime != reference]
    found = [
        Contrast(estimand="value", regime=r, reference=None, condition=c, terms=((r, c, 1),))
        for r in regimes
        for c in conditions
    ]
    found += [
        Contrast(estimand="perturbed-clean", regime=r, reference=None, condition=c, terms=((r, c, 1), (r, clean, -1)))
        for r in regimes
        for c in perturbed
    ]
    found += [
        Contrast(
            estimand="regime-reference",
            regime=r,
            reference=reference,
            condition=c,
            terms=((r, c, 1), (reference, c, -1)),
        )
        for r in others
        for c in conditions
    ]
    found += [
        Contrast(
            estimand="difference-in-differences",
            regime=r,
            reference=reference,
            condition=c,
            terms=((r, c, 1), (r, clean, -1), (reference, c, -1), (reference, clean, 1)),
        )
        for r in others
        for c in perturbed
    ]
    return tuple(found)
