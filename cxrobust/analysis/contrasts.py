"""Estimands as linear combinations of a metric's values over (regime, condition)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrobust.conditions import parse_condition
from cxrobust.results import Estimand


@dataclass(frozen=True, kw_only=True, slots=True)
class Contrast:
    """One estimand of one regime under one condition."""

    estimand: Estimand
    regime: str
    reference: str | None
    condition: str
    terms: tuple[tuple[int, int, float], ...]
    """(which regime, which condition, weight) of each value in the sum."""


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
    at = {name: index for index, name in enumerate(regimes)}
    under = {name: index for index, name in enumerate(conditions)}
    clean, perturbed = 0, conditions[1:]
    others = [regime for regime in regimes if regime != reference]
    base = at[reference]
    found = [
        Contrast(estimand="value", regime=r, reference=None, condition=c, terms=((at[r], under[c], 1),))
        for r in regimes
        for c in conditions
    ]
    found += [
        Contrast(
            estimand="perturbed-clean",
            regime=r,
            reference=None,
            condition=c,
            terms=((at[r], under[c], 1), (at[r], clean, -1)),
        )
        for r in regimes
        for c in perturbed
    ]
    found += [
        Contrast(
            estimand="regime-reference",
            regime=r,
            reference=reference,
            condition=c,
            terms=((at[r], under[c], 1), (base, under[c], -1)),
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
            terms=((at[r], under[c], 1), (at[r], clean, -1), (base, under[c], -1), (base, clean, 1)),
        )
        for r in others
        for c in perturbed
    ]
    for series, strengths in _series(perturbed).items():
        along = [clean, *(under[c] for c in strengths.values())]
        curves: tuple[tuple[Estimand, Estimand, list[float]], ...] = (
            ("trend", "trend-difference", _slope(list(strengths))),
            ("area", "area-difference", _area(list(strengths))),
        )
        for own, against, weights in curves:
            curve = list(zip(along, weights, strict=True))
            found += [
                Contrast(
                    estimand=own,
                    regime=r,
                    reference=None,
                    condition=series,
                    terms=tuple((at[r], c, weight) for c, weight in curve),
                )
                for r in regimes
            ]
            found += [
                Contrast(
                    estimand=against,
                    regime=r,
                    reference=reference,
                    condition=series,
                    terms=tuple(
                        (regime, c, sign * weight) for regime, sign in ((at[r], 1), (base, -1)) for c, weight in curve
                    ),
                )
                for r in others
            ]
    return tuple(found)


def combine(contrast: Contrast, array: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add up a contrast's terms of an array whose first two axes are regime and condition.

    Positive and negative terms are added apart, and what is left by rounding alone is 0, so that equal regimes or equal
    conditions differ by exactly 0.
    """
    plus, minus = np.zeros(array.shape[2:]), np.zeros(array.shape[2:])
    for regime, condition, weight in contrast.terms:
        side = plus if weight > 0 else minus
        side += abs(weight) * array[regime, condition]
    rounding = 8 * np.finfo(np.float64).eps * (np.abs(plus) + np.abs(minus))
    return np.where(np.abs(plus - minus) <= rounding, 0.0, plus - minus)


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
