"""Estimands as linear combinations of a metric's values over (regime, condition)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxrobust.conditions import parse_condition
from cxrobust.results import Estimand


@dataclass(frozen=True, kw_only=True, slots=True)
class Contrast:
    """One estimand of one regime under one condition."""

    estimand: Estimand
    regime: str
    reference: str | None
    condition: str
    terms: tuple[tuple[str, str, float], ...]
    """(regime, condition, weight) of each value in the sum."""


def contrasts(regimes: Sequence[str], conditions: Sequence[str], *, reference: str) -> tuple[Contrast, ...]:
    """List every estimand of a study; `conditions` begins with `clean`.

    - value: v(regime, condition)
    - perturbed-clean: v(regime, condition) − v(regime, clean)
    - regime-reference: v(regime, condition) − v(reference, condition)
    - difference-in-differences: the regime's perturbed-clean − the reference's
    - trend: least-squares slope of v(regime, ·) over the strengths of one perturbation, clean being strength 0; for
      each 1/255 of eps, for each step of severity
    - area: mean of v(regime, ·) over the strengths from 0 to the greatest, by the trapezoidal rule
    - trend-difference, area-difference: the regime's − the reference's

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
    for series, strengths in _series(perturbed).items():
        for kind, weights in (("trend", _slope(list(strengths))), ("area", _area(list(strengths)))):
            along = tuple(zip((clean, *strengths.values()), weights, strict=True))
            found += [_along(kind, regime, series, along) for regime in regimes]
            found += [_along(kind, regime, series, along, reference=reference) for regime in others]
    return tuple(found)


def _series(conditions: Sequence[str]) -> dict[str, dict[float, str]]:
    """Return the perturbations of several strengths, each {strength: condition}, the strengths rising."""
    found: dict[str, dict[float, str]] = {}
    for name in conditions:
        condition = parse_condition(name)
        if condition.strength is not None and condition.strength > 0:
            step = condition.strength * 255 if condition.strength_name == "eps" else condition.strength
            found.setdefault(condition.series, {})[step] = name
    return {series: dict(sorted(steps.items())) for series, steps in found.items() if len(steps) > 1}


def _slope(strengths: Sequence[float]) -> list[float]:
    """Weights of the values at 0 and at each strength whose sum is the least-squares slope."""
    x = np.array([0.0, *strengths])
    centred = x - x.mean()
    return [float(weight) for weight in centred / (centred**2).sum()]


def _area(strengths: Sequence[float]) -> list[float]:
    """Weights of the values at 0 and at each strength whose sum is the mean height of the curve."""
    widths = np.diff([0.0, *strengths])
    weights = (np.append(widths, 0.0) + np.append(0.0, widths)) / (2 * widths.sum())
    return [float(weight) for weight in weights]


def _along(
    kind: str, regime: str, series: str, along: Sequence[tuple[str, float]], *, reference: str | None = None
) -> Contrast:
    terms = [(regime, condition, weight) for condition, weight in along]
    if reference is not None:
        terms += [(reference, condition, -weight) for condition, weight in along]
    estimand: Estimand
    match kind, reference:
        case "trend", None:
            estimand = "trend"
        case "trend", _:
            estimand = "trend-difference"
        case _, None:
            estimand = "area"
        case _:
            estimand = "area-difference"
    return Contrast(estimand=estimand, regime=regime, reference=reference, condition=series, terms=tuple(terms))
