"""How far two or more judges agree beyond chance, with intervals that draw patients.

Every coefficient here is a function of sums over patients (counts of pairs of categories), so that it is taken of the
sums in each resample, and its influences come from a complex step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.intervals import Draws
from cxrobust.analysis.ratios import intervals_of
from cxrobust.analysis.resampling import LANES, patient_counts, resampled_sums

Weights = Literal["none", "linear", "quadratic"]
Level = Literal["nominal", "ordinal", "interval"]
Coefficient = Callable[[NDArray[Any]], NDArray[Any]]
"""(..., n_categories²) counts to (...)."""
MISSING = -1
"""The category of what a judge did not judge."""
MOST_UNDEFINED = 0.2
"""Share of resamples without a value up to which there is an interval."""
_STEP = 1e-20


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """One coefficient of agreement."""

    coefficient: str
    estimate: float | None
    """None where it is not defined, as where all judged everything alike."""
    se: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    n_units: int
    """What at least two judges judged."""
    n_patients: int
    note: str = ""


def cohens_kappa(counts: NDArray[Any], *, weights: Weights = "none") -> NDArray[Any]:
    """Agreement of two judges beyond that of independent ones with the same habits; in [−1, 1], 1 for full agreement.

    ``κ = 1 − n Σ w n_ab / Σ w r_a c_b`` with the sums r and c of rows and columns of n units, where w is 0 on the
    diagonal and elsewhere 1, the distance of a and b, or its square (Cohen 1960,
    doi:10.1177/001316446002000104; 1968, doi:10.1037/h0026256). NaN where the denominator is 0.

    Parameters
    ----------
    counts
        (..., n_categories²): how often the first judge said a and the second b.

    Examples
    --------
    >>> float(cohens_kappa(np.array([20.0, 5, 10, 15])))
    0.4
    """
    k, square = _square(counts)
    away = np.abs(np.arange(k)[:, None] - np.arange(k))
    w = {"none": away != 0, "linear": away, "quadratic": away**2}[weights].astype(np.float64)
    expected = square.sum(axis=-1)[..., :, None] * square.sum(axis=-2)[..., None, :]
    with np.errstate(invalid="ignore", divide="ignore"):
        chance = (w * expected).sum(axis=(-2, -1)) / square.sum(axis=(-2, -1))
        return np.asarray(1 - (w * square).sum(axis=(-2, -1)) / np.where(chance == 0, np.nan, chance))


def krippendorffs_alpha(
    coincidences: NDArray[Any], *, level: Level = "nominal", values: Sequence[float] | None = None
) -> NDArray[Any]:
    """Agreement of any number of judges beyond chance; at most 1, 0 where they agree as chance would have it.

    ``α = 1 − D_o / D_e`` with ``D_o = Σ o_cd δ²_cd / n`` and ``D_e = Σ n_c n_d δ²_cd / (n (n − 1))`` over
    coincidences o (Krippendorff 2004, ISBN 978-0-7619-1545-4, ch. 11). NaN where only one category occurs.

    Parameters
    ----------
    coincidences
        (..., n_categories²), from `coincidences`.
    level
        What δ is: whether two categories differ (`nominal`), how many judgements lie between them (`ordinal`), or the
        difference of their `values` (`interval`; 0, 1, … when absent).
    """
    k, o = _square(coincidences)
    n_c = o.sum(axis=-1)
    n = n_c.sum(axis=-1)
    if level == "ordinal":
        middle = np.cumsum(n_c, axis=-1) - n_c / 2
        delta = (middle[..., :, None] - middle[..., None, :]) ** 2
    elif level == "interval":
        v = np.arange(k, dtype=np.float64) if values is None else np.asarray(values, np.float64)
        delta = (v[:, None] - v) ** 2
    else:
        delta = 1 - np.eye(k)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = (n_c[..., :, None] * n_c[..., None, :] * delta).sum(axis=(-2, -1)) / (n - 1)
        return np.asarray(1 - (o * delta).sum(axis=(-2, -1)) / np.where(expected == 0, np.nan, expected))


def share_agreed(counts: NDArray[Any]) -> NDArray[Any]:
    """Share of units on which two judges say the same, in [0, 1]; see `cohens_kappa`."""
    _, square = _square(counts)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.trace(square, axis1=-2, axis2=-1) / square.sum(axis=(-2, -1)))


def contingencies(ratings: NDArray[np.int8], patients: NDArray[np.intp], *, n_categories: int) -> NDArray[np.float64]:
    """Return how often each patient's units were called a by the first judge and b by the second.

    Parameters
    ----------
    ratings
        (n_units, 2): categories from 0, or `MISSING`; units that one did not judge are left out.
    patients
        (n_units,): whose unit it is, from 0.

    Returns
    -------
    (n_patients, n_categories²)
    """
    both = (ratings != MISSING).all(axis=1)
    cells = ratings[both, 0].astype(np.intp) * n_categories + ratings[both, 1]
    return _tally(patients[both], cells, np.ones(len(cells)), n_patients=_n(patients), n_cells=n_categories**2)


def coincidences(ratings: NDArray[np.int8], patients: NDArray[np.intp], *, n_categories: int) -> NDArray[np.float64]:
    """Return each patient's sum of coincidences: each ordered pair of a unit's m judgements counts 1 / (m − 1).

    Parameters
    ----------
    ratings
        (n_units, n_judges): categories from 0, or `MISSING`; units of fewer than two judgements are left out.
    patients
        (n_units,): whose unit it is, from 0.

    Returns
    -------
    (n_patients, n_categories²)
    """
    m = (ratings != MISSING).sum(axis=1)
    found = np.zeros((_n(patients), n_categories**2))
    for one in range(ratings.shape[1]):
        for other in range(ratings.shape[1]):
            both = (ratings[:, one] != MISSING) & (ratings[:, other] != MISSING) & (one != other)
            cells = ratings[both, one].astype(np.intp) * n_categories + ratings[both, other]
            found += _tally(patients[both], cells, 1 / (m[both] - 1), n_patients=len(found), n_cells=n_categories**2)
    return found


def estimated(
    name: str,
    coefficient: Coefficient,
    parts: NDArray[np.float64],
    *,
    n_units: int,
    n_resamples: int,
    seed: int,
    level: float = 0.95,
    bounds: tuple[float, float] = (-1.0, 1.0),
) -> Agreement:
    """Return a coefficient of patients' counts with its standard error and interval over resamples of patients.

    Parameters
    ----------
    parts
        (n_patients, n_statistics), patients without any judgement being left out.
    """
    parts = parts[parts.any(axis=1)]
    known: dict[str, Any] = {"coefficient": name, "n_units": n_units, "n_patients": len(parts)}
    value = float(coefficient(parts.sum(axis=0)))
    if not np.isfinite(value):
        return Agreement(**known, estimate=None, note="not defined: nothing, or one category alone, was judged")
    counts = patient_counts(len(parts), n_resamples=n_resamples, rng=np.random.default_rng(seed))
    drawn = np.empty(len(counts) * LANES)
    for lanes, sums in resampled_sums(parts, counts):
        drawn[lanes] = coefficient(sums)
    moved = parts.sum(axis=0) + 1j * _STEP * parts
    influences = np.imag(coefficient(moved)) / _STEP
    draws = Draws(
        value=np.array([value]),
        resampled=drawn[None, :n_resamples],
        influences=influences[None] - influences.mean(),
        bounds=bounds,
    )
    (interval,) = intervals_of(draws, level, most_undefined=MOST_UNDEFINED)
    if not np.isfinite(interval.low) or interval.low == interval.high:
        return Agreement(**known, estimate=value, note="no interval: resamples of patients do not define one")
    return Agreement(**known, estimate=value, se=interval.se, ci_low=interval.low, ci_high=interval.high)


def agreement_of_two(
    ratings: NDArray[np.int8], patients: NDArray[np.intp], *, n_categories: int, n_resamples: int, seed: int
) -> tuple[Agreement, ...]:
    """Return what two judges' share agreed, Cohen's κ (plain, linear, quadratic) and Krippendorff's α are.

    Weights and the ordinal α take categories to be in order; see `contingencies` for the parameters.
    """
    both = int((ratings != MISSING).all(axis=1).sum())
    shared: dict[str, Any] = {"n_units": both, "n_resamples": n_resamples, "seed": seed}
    if not both:
        names = ("share-agreed", "kappa", "kappa-linear", "kappa-quadratic", "alpha-nominal", "alpha-ordinal")
        return tuple(
            Agreement(coefficient=one, estimate=None, n_units=0, n_patients=0, note="both judged nothing")
            for one in names
        )
    counts = contingencies(ratings, patients, n_categories=n_categories)
    together = coincidences(ratings, patients, n_categories=n_categories)
    return (
        estimated("share-agreed", share_agreed, counts, bounds=(0.0, 1.0), **shared),
        estimated("kappa", cohens_kappa, counts, **shared),
        estimated("kappa-linear", lambda one: cohens_kappa(one, weights="linear"), counts, **shared),
        estimated("kappa-quadratic", lambda one: cohens_kappa(one, weights="quadratic"), counts, **shared),
        *_alphas(together, **shared),
    )


def agreement_of_all(
    ratings: NDArray[np.int8], patients: NDArray[np.intp], *, n_categories: int, n_resamples: int, seed: int
) -> tuple[Agreement, ...]:
    """Return Krippendorff's α, nominal and ordinal, of all judges together; see `coincidences` for the parameters."""
    n_units = int(((ratings != MISSING).sum(axis=1) > 1).sum())
    together = coincidences(ratings, patients, n_categories=n_categories)
    if not n_units:
        return ()
    return _alphas(together, n_units=n_units, n_resamples=n_resamples, seed=seed)


def _alphas(together: NDArray[np.float64], **shared: Any) -> tuple[Agreement, ...]:
    nominal = estimated("alpha-nominal", krippendorffs_alpha, together, **shared)
    ordinal = estimated("alpha-ordinal", lambda one: krippendorffs_alpha(one, level="ordinal"), together, **shared)
    return nominal, ordinal


def _square(counts: NDArray[Any]) -> tuple[int, NDArray[Any]]:
    k = round(counts.shape[-1] ** 0.5)
    return k, counts.reshape(*counts.shape[:-1], k, k)


def _n(patients: NDArray[np.intp]) -> int:
    return int(patients.max(initial=-1)) + 1


def _tally(
    patients: NDArray[np.intp],
    cells: NDArray[np.intp],
    weights: NDArray[np.float64],
    *,
    n_patients: int,
    n_cells: int,
) -> NDArray[np.float64]:
    flat = np.bincount(patients * n_cells + cells, weights=weights, minlength=n_patients * n_cells)
    return np.asarray(flat.reshape(n_patients, n_cells), np.float64)
