"""Confidence intervals, by name, from patient-level resamples and from what each patient contributes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm
from statsmodels.stats.proportion import proportion_confint


@dataclass(frozen=True, kw_only=True, slots=True)
class Draws:
    """Several estimates with what their intervals are made from."""

    value: NDArray[np.float64]
    """(n_values,)."""
    resampled: NDArray[np.float64]
    """(n_values, n_resamples); NaN where a resample does not define the value, which is left out."""
    influences: NDArray[np.float64]
    """(n_values, n_patients): how much a value moves with a patient's weight; each row sums to 0."""
    resampled_se: NDArray[np.float64] | None = None
    """(n_values, n_resamples): standard error in each resample; what a studentised interval needs."""
    normal_se: NDArray[np.float64] | None = None
    """(n_values,): standard error of an AUROC or a contrast of AUROCs; what DeLong's intervals need."""
    bounds: tuple[float, float] = (-np.inf, np.inf)
    """What the quantity can be at least and at most; an end beyond becomes it."""

    @property
    def se(self) -> NDArray[np.float64]:
        """Standard error by linearisation, (n_values,)."""
        return linearised_se(self.influences)


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A standard error and a two-sided interval; NaN where there is none."""

    se: float
    low: float
    high: float
    note: str = ""
    """Why there is none, where that is worth a word."""


def no_interval(note: str = "", *, se: float = float("nan")) -> Interval:
    """Return what stands for an interval that cannot be given."""
    return Interval(se=se, low=float("nan"), high=float("nan"), note=note)


def linearised_se(influences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return √(n/(n − 1) Σ influence²) over n patients: (..., n_patients) to (...)."""
    n = influences.shape[-1]
    return np.asarray(np.sqrt((influences**2).sum(axis=-1) * n / max(n - 1, 1)))


Method = Callable[[Draws, float], tuple[Interval, ...]]


def percentile(draws: Draws, level: float) -> tuple[Interval, ...]:
    """Between the (1 − level)/2 and (1 + level)/2 quantiles of the resampled values (Efron and Tibshirani 1993).

    doi:10.1201/9780429246593

    Examples
    --------
    >>> draws = Draws(value=np.array([50.0]), resampled=np.arange(101.0)[None], influences=np.zeros((1, 2)))
    >>> percentile(draws, 0.75)[0].low
    12.5
    """
    return tuple(_between(row, *_tails(level), draws.bounds) for row in _defined(draws))


def percentile_recentred(draws: Draws, level: float) -> tuple[Interval, ...]:
    """The percentile interval of resampled values that were shifted to have the estimate as their mean.

    This takes out the upward bias that a resampled absolute value has (the ECE's), and what is left of it in
    differences.
    """
    return tuple(
        _between(row + (value - row.mean()) if len(row) > 1 else row, *_tails(level), draws.bounds)
        for row, value in zip(_defined(draws), draws.value, strict=True)
    )


def basic(draws: Draws, level: float) -> tuple[Interval, ...]:
    """The percentile interval mirrored at the estimate: 2 estimate − upper quantile to 2 estimate − lower quantile."""
    return tuple(
        _between(2 * value - row, *_tails(level), draws.bounds)
        for row, value in zip(_defined(draws), draws.value, strict=True)
    )


def bca(draws: Draws, level: float) -> tuple[Interval, ...]:
    """Percentile interval with quantiles corrected for bias and acceleration (Efron 1987, doi:10.2307/2289144).

    The bias is the share of resamples below the estimate, equals counting half; the acceleration comes from the
    influences, Σ u³ / (6 (Σ u²)^1.5), the infinitesimal form of leaving one patient out. There is no interval where all
    resamples lie on one side of the estimate.
    """
    found = []
    for row, value, u in zip(_defined(draws), draws.value, draws.influences, strict=True):
        if len(row) < 2:
            found.append(no_interval())
            continue
        if row.min() == row.max() == value:
            found.append(Interval(se=0.0, low=float(value), high=float(value)))
            continue
        spread = (u**2).sum()
        acceleration = (u**3).sum() / (6 * spread**1.5) if spread > 0 else 0.0
        bias = norm.ppf((np.count_nonzero(row < value) + np.count_nonzero(row == value) / 2) / len(row))
        if not np.isfinite(bias):
            found.append(no_interval("all resamples lie on one side of the estimate", se=float(row.std(ddof=1))))
            continue
        z = bias + np.asarray(norm.ppf(_tails(level)))
        low, high = norm.cdf(bias + z / (1 - acceleration * z))
        found.append(_between(row, low, high, draws.bounds))
    return tuple(found)


def studentized(draws: Draws, level: float) -> tuple[Interval, ...]:
    """Bootstrap-t: estimate − t·se between quantiles of t = (resampled − estimate) / se of the resample.

    Efron and Tibshirani 1993, chapter 12. Standard errors are linearised; a resample's uses the sample's influences at
    the resample's weights. Resamples without spread are left out.
    """
    if draws.resampled_se is None:
        raise ValueError("a studentised interval needs the standard error of each resample")
    found = []
    for row, value, se, ses in zip(draws.resampled, draws.value, draws.se, draws.resampled_se, strict=True):
        used = ~np.isnan(row) & (ses > 0)
        if used.sum() < 2:
            found.append(no_interval())
            continue
        t = (row[used] - value) / ses[used]
        found.append(
            Interval(
                se=float(row[~np.isnan(row)].std(ddof=1)),
                low=_within(value - se * np.quantile(t, _tails(level)[1]), draws.bounds),
                high=_within(value - se * np.quantile(t, _tails(level)[0]), draws.bounds),
            )
        )
    return tuple(found)


def wilson(draws: Draws, level: float) -> tuple[Interval, ...]:
    """Wilson's interval of a share, at the number of independent images that would give its standard error.

    Wilson 1927, doi:10.1080/01621459.1927.10502953; the effective number p (1 − p) / se² after Korn and Graubard 1998.
    With one image a patient it is the number of images, less one. Where the share is 0 or 1, and its standard error 0,
    it is the number of patients.
    """
    n_patients = draws.influences.shape[1]
    found = []
    for p, se in zip(draws.value, draws.se, strict=True):
        n = p * (1 - p) / se**2 if se > 0 else n_patients
        low, high = proportion_confint(p * n, n, alpha=1 - level, method="wilson")
        found.append(Interval(se=float(se), low=float(low), high=float(high)))
    return tuple(found)


def delong(draws: Draws, level: float) -> tuple[Interval, ...]:
    """Estimate ± z·se of AUROCs, on the logit scale within [0, 1]; from images or patients, as `normal_se` is."""
    if draws.normal_se is None:
        raise ValueError("DeLong's interval needs a standard error")
    z = norm.ppf(_tails(level)[1])
    on_logits = draws.bounds == (0, 1)
    found = []
    for value, se in zip(draws.value, draws.normal_se, strict=True):
        if not se > 0:
            found.append(no_interval("its estimated variance is 0" if se == 0 else ""))
            continue
        if on_logits and 0 < value < 1:
            half = z * se / (value * (1 - value))
            low, high = expit(logit(value) - half), expit(logit(value) + half)
        else:
            low, high = value - z * se, value + z * se
        found.append(Interval(se=float(se), low=_within(low, draws.bounds), high=_within(high, draws.bounds)))
    return tuple(found)


INTERVALS: dict[str, Method] = {
    "percentile": percentile,
    "percentile-recentred": percentile_recentred,
    "basic": basic,
    "bca": bca,
    "studentized": studentized,
    "wilson": wilson,
    "delong": delong,
    "delong-clustered": delong,
}


def _tails(level: float) -> tuple[float, float]:
    return (1 - level) / 2, (1 + level) / 2


def _defined(draws: Draws) -> Iterator[NDArray[np.float64]]:
    return (row[~np.isnan(row)] for row in draws.resampled)


def _between(resampled: NDArray[np.float64], low: float, high: float, bounds: tuple[float, float]) -> Interval:
    """The interval between two quantiles, `low` and `high` in [0, 1]."""
    if len(resampled) < 2:
        return no_interval()
    ends = np.quantile(resampled, [low, high])
    return Interval(se=float(resampled.std(ddof=1)), low=_within(ends[0], bounds), high=_within(ends[1], bounds))


def _within(end: float, bounds: tuple[float, float]) -> float:
    return float(min(max(end, bounds[0]), bounds[1]))
