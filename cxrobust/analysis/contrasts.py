"""Estimands as functions of a metric's values over (row, condition): sums, ratios, and points of a curve."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from cxrobust.analysis.intervals import NO_BOUNDS, ROUNDING
from cxrobust.conditions import parse_condition
from cxrobust.results import Estimand

if TYPE_CHECKING:
    from cxrobust.analysis.metrics import Metric
    from cxrobust.analysis.values import Values

EPSILON = float(np.finfo(np.float64).eps)
Form = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Turns a regime's values under some conditions, (n, ...), into one (...)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contrast:
    """One estimand of one regime under one condition: a weighted sum of values, or of forms of values."""

    estimand: Estimand
    regime: str
    reference: str | None
    condition: str
    terms: tuple[tuple[int, int, float], ...]
    """(which row, which condition, weight) of each value in the sum; weights are those of the rows' forms if any."""
    form: Form | None = None
    """What is made of each row's values before they are added: terms then name each row once, with its sign."""
    along: tuple[int, ...] = ()
    """The conditions that the form takes."""
    across: bool = False
    """Whether its rows are of different images, as of two subgroups."""
    singly: bool = False
    """Whether it is of single findings and of all findings pooled alone, not of averages over findings."""

    @property
    def places(self) -> tuple[tuple[int, int], ...]:
        """Which (row, condition) it is made from."""
        if self.form is None:
            return tuple((row, condition) for row, condition, _ in self.terms)
        return tuple((row, condition) for row, _, _ in self.terms for condition in self.along)

    def bounds(self, of_value: tuple[float, float]) -> tuple[float, float]:
        """Return the least and the greatest that the estimand can be, where a value lies between two bounds.

        Ratios of values that are at least 0, and strengths, are at least 0; their differences have no bounds.
        """
        if self.form is not None:
            return (0.0, np.inf) if len(self.terms) == 1 else NO_BOUNDS
        weights = [weight for _, _, weight in self.terms if weight != 0]
        if min(weights) > 0:  # a value, or a mean of values
            return of_value
        least, most = of_value
        return (
            sum(weight * (least if weight > 0 else most) for weight in weights),
            sum(weight * (most if weight > 0 else least) for weight in weights),
        )

    def of(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the estimand of an array whose first two axes are row and condition.

        Positive and negative terms are added apart, and what is left by rounding alone is 0, so that equal regimes or
        equal conditions differ by exactly 0.
        """
        sides: dict[bool, NDArray[np.float64]] = {}
        for row, condition, weight in self.terms:
            part = array[row, condition] if self.form is None else self.form(array[row, list(self.along)])
            weighted, side = part if weight in {-1, 1} else abs(weight) * part, weight > 0
            sides[side] = sides[side] + weighted if side in sides else weighted
        if False not in sides:
            return np.array(sides[True])
        plus = sides.get(True, np.zeros_like(sides[False]))
        out = np.empty(plus.shape)
        _less(plus.reshape(-1), sides[False].reshape(-1), out.reshape(-1))
        return out

    def influences(self, values: "Values") -> NDArray[np.float64]:
        """Return how much the estimand moves with each patient's weight, (n_places, n_patients).

        What is less than 1e-12 of the largest patient's share of 1 is rounding, and 0, as in `Values.influences`.
        """
        found = self.of(values.influences) if self.form is None else self._slope_along(values, values.influences)
        share = values.shares[sorted({row for row, _, _ in self.terms})].max(axis=(0, 2))
        found[np.abs(found) <= ROUNDING * share[:, None]] = 0.0
        return found

    def contributions(self, values: "Values") -> NDArray[np.float64]:
        """Return what each patient contributes, (n_places, n_patients): influence + share of the estimand."""
        if self.form is None and not self.across:
            return self.of(values.contributions)
        estimate = self.of(values.value)
        known = np.where(np.isfinite(estimate), estimate, np.nan)  # a half-margin may be infinite, a share 0
        found = np.asarray(self.influences(values) + known[:, None] * self.shares(values))
        return found + self._of_one_otherwise(values) if self.across else found

    def shares(self, values: "Values") -> NDArray[np.float64]:
        """Return each patient's share of the estimand, (n_places, n_patients): the mean of those of its regimes.

        A gap between two subgroups is carried by the one that knows its side the least: whose variance, by the number
        of patients who carry it, is larger; or in which no patient moves anything, as where all are right.
        """
        if not self.across:
            return np.asarray(values.shares[list({row: None for row, _, _ in self.terms})].mean(axis=0))
        doubts, shares = [], []
        for _, side in self.sides(values):
            shares.append(side.shares(values))
            squares = (side.influences(values) ** 2).sum(axis=-1)
            doubts.append(np.where(squares > 0, squares * (shares[-1] ** 2).sum(axis=-1), np.inf))
        carrying = np.argmax(doubts, axis=0)
        return np.asarray(np.take_along_axis(np.stack(shares), carrying[None, :, None], axis=0)[0])

    def sides(self, values: "Values") -> Iterator[tuple[int, "Contrast"]]:
        """Yield the views that a contrast across them is of, in the order of its terms, and its part of each."""
        n_regimes = len(values.samples[0].predictions.regimes)
        for view in dict.fromkeys(row // n_regimes for row, _, _ in self.terms):
            terms = tuple(term for term in self.terms if term[0] // n_regimes == view)
            yield view, replace(self, terms=terms, across=False)

    def flat(self, values: "Values") -> Iterator[tuple[int, "Contrast", NDArray[np.bool_]]]:
        """Yield of each side its view, and at which places no patient moves it, as where all are right."""
        for view, side in self.sides(values):
            yield view, side, np.asarray(~side.influences(values).any(axis=-1))

    def unknown(self, values: "Values") -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Yield of each side how far one patient who differs by 1 would move it where nobody seems to, and its shares.

        The former, (n_places,), is 1/k of k patients who carry the side, or on whom it rests where these are fewer, and
        0 where patients differ: that all of a subgroup are alike does not mean that all patients are. A macro average
        adds up its findings' by squares, as of independent ones. The shares are (n_places, n_patients).
        """
        held = [k for k in range(values.samples[0].n_findings) if k not in values.left_out]
        for _, side, flat in self.flat(values):
            shares = side.shares(values)
            moved = np.where(flat, (shares**2).sum(axis=-1), 0.0)
            for place in map(int, np.flatnonzero(flat[:-1])):
                moved[place] = max(moved[place], 1 / side.n_behind(values, place))
            moved[-1] = np.sqrt((moved[held] ** 2).sum()) / max(len(held), 1)
            yield moved, shares

    def n_behind(self, values: "Values", place: int) -> float:
        """Count the patients whom each value of a contrast rests on at least, which may be fewer than have a share.

        A positive predictive value rests on those who are predicted positive. Infinite where a metric has no such.
        """
        n_findings, found = values.samples[0].n_findings, [np.inf]
        for row, condition in self.places:
            which = int(values.worst[row, condition]) if place > n_findings else place
            behind = [values.metric.n_behind(cell) for cell in values.cells(row, condition, which)]
            found += [max(n, 1) for n in behind if n is not None]
        return min(found)

    def _of_one_otherwise(self, values: "Values") -> NDArray[np.float64]:
        """Return what makes a side that no patient moves uncertain, (n_places, n_patients): sums to 0.

        Its variance is taken for that of the one patient of `unknown`: the two who carry most have ± 1/√2 of it.
        """
        out = np.zeros(values.value.shape[2:] + values.shares.shape[-1:])
        for moved, shares in self.unknown(values):
            for place in map(int, np.flatnonzero(moved)):
                most = np.argsort(-shares[place], kind="stable")[:2]
                out[place, most] += np.array([1, -1])[: len(most)] * moved[place] / np.sqrt(2)
        return out

    def unseen(self, values: "Values", level: float) -> NDArray[np.float64]:
        """Return how far off sides may be that no patient moves, (n_places,); 0 where every side has spread.

        As far as Wilson's interval of a share of 1 reaches (1927, doi:10.1080/01621459.1927.10502953), of as many
        patients as one of them moves it by 1/k, see `unknown`: z²/(k + z²).
        """
        z2 = norm.isf((1 - level) / 2) ** 2
        return np.asarray(np.sqrt(sum((z2 * moved / (1 + z2 * moved)) ** 2 for moved, _ in self.unknown(values))))

    def slopes(self, values: "Values") -> Iterator[tuple[int, int, NDArray[np.float64] | float]]:
        """Yield row, condition, and how much the estimand moves with the value there, or each place's value."""
        if self.form is None:
            yield from self.terms
            return
        for row, _, sign in self.terms:
            for condition, gradient in zip(
                self.along, self._gradient(values.value[row, list(self.along)]), strict=True
            ):
                yield row, condition, sign * gradient

    def _gradient(self, at: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Return the derivatives of the form by each of the values that it takes, by a complex step."""
        assert self.form is not None  # noqa: S101  its callers ask
        step, found = 1e-30, []
        for j in range(len(at)):
            moved = at.astype(np.complex128)
            moved[j] += 1j * step
            found.append(np.imag(self.form(moved)) / step)  # type: ignore[arg-type]  # complex on purpose: a step off the real axis
        return found

    def _slope_along(self, values: "Values", parts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the derivative along parts of the values; what is left by rounding alone is 0, as in `of`."""
        total, size = np.zeros(parts.shape[2:]), np.zeros(parts.shape[2:])
        for row, condition, slope in self.slopes(values):
            term = np.reshape(slope, (-1, 1)) * parts[row, condition]
            total += term
            size += np.abs(term)
        return np.where(np.abs(total) <= ROUNDING * size, 0.0, total)


@numba.njit(cache=True, nogil=True)
def _less(plus: Any, minus: Any, out: Any) -> None:
    """Fill `out` (n,) with plus − minus, and with 0 where that is what rounding leaves; ∞ less a number is ∞."""
    for i in range(len(out)):
        difference = plus[i] - minus[i]
        rounding = 8 * EPSILON * (abs(plus[i]) + abs(minus[i]))
        out[i] = 0.0 if abs(difference) <= rounding < np.inf else difference


def _more(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether the real part of one is more than that of the other, by more than rounding as in `_less`."""
    return np.asarray(one.real - other.real > 8 * EPSILON * (abs(one.real) + abs(other.real)))


def contrasts(
    regimes: Sequence[str],
    conditions: Sequence[str],
    *,
    reference: str,
    sets: Sequence[str] = (),
    chances: NDArray[np.float64] | None = None,
    ratios: bool = True,
    pairs: bool = False,
    first_row: int = 0,
) -> tuple[Contrast, ...]:
    """List every estimand of a study; `conditions` begins with `clean`.

    - value: v(regime, condition)
    - perturbed-clean: v(regime, condition) − v(regime, clean)
    - regime-reference: v(regime, condition) − v(reference, condition)
    - difference-in-differences: the regime's perturbed-clean − the reference's
    - relative: v(regime, condition) / v(regime, clean)
    - trend: least-squares slope of v(regime, ·) over the strengths of one perturbation, clean being strength 0; for
      each 1/255 of eps, for each step of severity
    - area: mean of v(regime, ·) over the strengths from 0 to the greatest, by the trapezoidal rule
    - half-margin: strength at which v(regime, ·) has lost half of its distance from guessing, between strengths by
      straight lines; infinite where it never does; in 1/255 of eps or steps of severity
    - relative-difference, trend-difference, area-difference, half-margin-difference: the regime's − the reference's

    Parameters
    ----------
    sets
        Names of sets of perturbations, which stand after the conditions.
    chances
        (n_places,): the value of guessing; without them there is no half-margin.
    ratios
        Whether values are at least 0, so that a part of them can be kept; without it nothing is relative.
    pairs
        Whether every other pair of regimes has a regime-reference too, the later of them less the earlier.
    first_row
        Where the regimes stand among the rows.

    Examples
    --------
    >>> [c.estimand for c in contrasts(["a", "b"], ["clean"], reference="a")]
    ['value', 'value', 'regime-reference']
    """
    under = {name: index for index, name in enumerate((*conditions, *sets))}
    perturbed = [name for name in under if name != conditions[0]]
    sides = _Sides(
        at={name: first_row + index for index, name in enumerate(regimes)},
        others=[regime for regime in regimes if regime != reference] if reference in regimes else [],
        reference=reference,
    )
    found = sides.of_value("value", "regime-reference", under)
    found += sides.of_pairs("regime-reference", under) if pairs else []
    found += sides.of_value("perturbed-clean", "difference-in-differences", {c: under[c] for c in perturbed}, less=0)
    for c in perturbed if ratios else ():
        found += sides.of_form("relative", "relative-difference", c, form=_ratio, along=(0, under[c]))
    for series, strengths in curves(conditions).items():
        along = (0, *(under[c] for c in strengths.values()))
        found += sides.of_weights("trend", "trend-difference", series, along, _slope(list(strengths)))
        found += sides.of_weights("area", "area-difference", series, along, _area(list(strengths)))
        if chances is not None and not np.isnan(chances).all():
            form = half_margin_form((0.0, *strengths), chances)
            found += sides.of_form("half-margin", "half-margin-difference", series, form=form, along=along)
    return tuple(found)


def contrasts_of(
    metric: "Metric",
    regimes: Sequence[str],
    conditions: Sequence[str],
    *,
    reference: str,
    sets: Sequence[str],
    chances: NDArray[np.float64],
    pairs: bool = False,
) -> tuple[Contrast, ...]:
    """List every estimand of one metric on all images: of sets where it can be taken over them, of ratios from 0 up."""
    return contrasts(
        regimes,
        conditions,
        reference=reference,
        sets=sets if metric.of_sets else (),
        chances=chances,
        ratios=metric.bounds[0] >= 0,
        pairs=pairs,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sides:
    """Makes an estimand of each regime, and each other regime's less the reference's."""

    at: dict[str, int]
    others: Sequence[str]
    reference: str

    def _each(self, own: Estimand, against: Estimand) -> Iterator[tuple[Estimand, str, str | None]]:
        yield from ((own, regime, None) for regime in self.at)
        yield from ((against, regime, self.reference) for regime in self.others)

    def _terms(
        self, regime: str, reference: str | None, weights: Sequence[tuple[int, float]]
    ) -> tuple[tuple[int, int, float], ...]:
        """Return the terms of a sum over weighted conditions, less those of the reference where there is one."""
        mine = (self.at[regime], 1.0)
        rows = (mine,) if reference is None else (mine, (self.at[reference], -1.0))
        return tuple((row, condition, sign * weight) for row, sign in rows for condition, weight in weights)

    def of_value(
        self, own: Estimand, against: Estimand, under: Mapping[str, int], *, less: int | None = None
    ) -> list[Contrast]:
        """List values under each condition, less those under another one where that is given."""
        from_value = () if less is None else ((less, -1.0),)
        return [
            Contrast(
                estimand=estimand,
                regime=regime,
                reference=reference,
                condition=name,
                terms=self._terms(regime, reference, ((index, 1.0), *from_value)),
            )
            for estimand, regime, reference in self._each(own, against)
            for name, index in under.items()
        ]

    def of_pairs(self, estimand: Estimand, under: Mapping[str, int]) -> list[Contrast]:
        """List each regime less each before it, the reference apart, under each condition."""
        return [
            Contrast(
                estimand=estimand,
                regime=later,
                reference=earlier,
                condition=name,
                terms=self._terms(later, earlier, ((index, 1.0),)),
                singly=True,
            )
            for earlier, later in combinations(self.others, 2)
            for name, index in under.items()
        ]

    def of_form(
        self, own: Estimand, against: Estimand, condition: str, *, form: Form, along: tuple[int, ...]
    ) -> list[Contrast]:
        return [
            Contrast(
                estimand=estimand,
                regime=regime,
                reference=reference,
                condition=condition,
                terms=self._terms(regime, reference, ((along[-1], 1.0),)),
                form=form,
                along=along,
            )
            for estimand, regime, reference in self._each(own, against)
        ]

    def of_weights(
        self, own: Estimand, against: Estimand, condition: str, along: tuple[int, ...], weights: Sequence[float]
    ) -> list[Contrast]:
        return [
            Contrast(
                estimand=estimand,
                regime=regime,
                reference=reference,
                condition=condition,
                terms=self._terms(regime, reference, tuple(zip(along, weights, strict=True))),
            )
            for estimand, regime, reference in self._each(own, against)
        ]


def curves(conditions: Sequence[str]) -> dict[str, dict[float, str]]:
    """Return the perturbations of several strengths, each {strength: condition}, the strengths rising.

    Strengths are in 1/255 of eps, in steps of severity, or in % of the image's side.
    """
    found: dict[str, dict[float, str]] = {}
    for name in conditions[1:]:
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


def _ratio(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The second value over the first, NaN where that is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(values[0] == 0, np.nan, values[1] / values[0]))


def half_margin_form(strengths: Sequence[float], chances: NDArray[np.float64]) -> Form:
    """Return what finds the strength at which a curve has lost half of its distance from guessing.

    A value that is half but for rounding is half, and a distance that is rounding is none.

    Parameters
    ----------
    strengths
        Of the values of a curve, rising from 0.
    chances
        (n_places,): the value of guessing.

    Examples
    --------
    >>> form = half_margin_form([0, 1, 2], np.array([0.5]))
    >>> form(np.array([[0.9], [0.8], [0.6]]))  # from 0.9 to 0.7, half way between 0.8 and 0.6
    array([1.5])
    """
    steps = np.asarray(strengths, dtype=np.float64)

    def form(values: NDArray[np.float64]) -> NDArray[np.float64]:
        chance = chances.reshape(-1, *(1,) * (values.ndim - 2))
        half = (values[0] + chance) / 2
        found = np.full(values.shape[1:], np.inf, dtype=values.dtype)
        with np.errstate(invalid="ignore", divide="ignore"):
            for j in range(len(steps) - 1, 0, -1):
                part = (values[j - 1] - half) / (values[j - 1] - values[j])
                found = np.where(~_more(values[j], half), steps[j - 1] + part * (steps[j] - steps[j - 1]), found)
            lost = np.isnan(values.real).any(axis=0) | ~_more(values[0], chance)
        return np.asarray(np.where(lost, np.nan, found))

    return form
