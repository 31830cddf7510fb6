"""Confidence intervals, by name, from patient-level resamples and from what each patient contributes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, ndtr, ndtri, stdtrit
from statsmodels.stats.proportion import proportion_confint

from cxrobust.analysis.degrees import Training, degrees_of_both, degrees_of_freedom
from cxrobust.analysis.quantiles import moments, tail_quantiles
from cxrobust.results import finite

NO_BOUNDS = (-np.inf, np.inf)
ROUNDING = 1e-12


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
    """(n_values,): standard error that DeLong's intervals need, and `t` may be given."""
    n_patients: NDArray[np.intp] | None = None
    """(n_values,): patients that each share is of, which Wilson's interval needs where nothing spreads; else all."""
    training: Training | None = None
    """What training adds to the variance, where a regime has several runs; it is in the resampled values."""
    bounds: tuple[float, float] = NO_BOUNDS
    """What the quantity can be at least and at most; an end beyond becomes it."""

    @property
    def se(self) -> NDArray[np.float64]:
        """Standard error by linearisation, (n_values,)."""
        return linearised_se(self.influences)

    def only(self, index: int) -> "Draws":
        """Return one of the estimates."""
        return replace(
            self,
            value=self.value[index, None],
            resampled=self.resampled[index, None],
            influences=self.influences[index, None],
            training=None if self.training is None else self.training.only(np.array([index])),
            resampled_se=None,
            normal_se=None,
            n_patients=None,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A standard error and a two-sided interval; NaN where there is none."""

    se: float
    low: float
    high: float
    note: str = ""
    """Why there is none, where that is worth a word."""
    caution: str = ""
    """What is to be minded of one that there is."""


def no_interval(note: str = "", *, se: float = float("nan")) -> Interval:
    """Return what stands for an interval that cannot be given."""
    return Interval(se=se, low=float("nan"), high=float("nan"), note=note)


def se_of_results(se: float) -> float | None:
    """Return a standard error as results hold it: 0 where it is rounding alone, None where there is none.

    Examples
    --------
    >>> se_of_results(7e-16), se_of_results(0.02), se_of_results(float("nan"))
    (0.0, 0.02, None)
    """
    return 0.0 if se <= ROUNDING else finite(se)


def linearised_se(influences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return √(n/(n − 1) Σ influence²) over n patients: (..., n_patients) to (...)."""
    n = influences.shape[-1]
    return np.asarray(np.sqrt((influences**2).sum(axis=-1) * n / max(n - 1, 1)))


def means_of_defined(resampled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the resampled values that are defined: (..., n_resamples) to (...)."""
    known = ~np.isnan(resampled)
    return np.asarray(np.where(known, resampled, 0.0).sum(axis=-1) / np.maximum(known.sum(axis=-1), 1))


ALL_BUT_0 = 1e-9
"""Part of the sample's standard error below which a resample's is rounding."""
VERY_WIDE = 20
"""Standard errors from end to end, five times as many as a normal interval has, above which one is told to be wide."""
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
    return _between(draws.resampled, *_tails(level), draws.bounds)


def percentile_recentred(draws: Draws, level: float) -> tuple[Interval, ...]:
    """The percentile interval of resampled values that were shifted to have the estimate as their mean.

    This takes out the upward bias that a resampled absolute value has (the ECE's), and what is left of it in
    differences. Where the mean lies beyond a quantile, as where nearly all resamples are alike and a few far away, the
    shift is only as far as keeps the estimate in the interval: a few resamples do not move what all others say. The
    median, which is always between the quantiles, would be no better a centre: it takes out less of the bias.
    Nor does the shift carry an end past 0 that the quantiles hold: where few images change, many resampled differences
    are exactly 0, and none of them lies on the other side. Where training runs are few, it is as much wider as
    `expanded` is.

    Examples
    --------
    >>> draws = Draws(value=np.zeros(1), resampled=np.append(np.zeros(99), -1)[None], influences=np.zeros((1, 2)))
    >>> percentile_recentred(draws, 0.95)[0].high  # and not 0.01
    0.0
    """
    found = []
    for one, value, mean in zip(
        percentile(replace(draws, bounds=NO_BOUNDS), level), draws.value, means_of_defined(draws.resampled), strict=True
    ):
        shift = value - min(max(mean, one.low), one.high)
        low, high = one.low + shift, one.high + shift
        if one.low <= 0 <= one.high:
            low, high = min(low, 0.0), max(high, 0.0)
        found.append(_interval(one.se, low, high, draws.bounds, one.caution))
    return _for_few_runs(found, draws, level)


def basic(draws: Draws, level: float) -> tuple[Interval, ...]:
    """The percentile interval mirrored at the estimate: 2 estimate − upper quantile to 2 estimate − lower quantile."""
    return _between(2 * draws.value[:, None] - draws.resampled, *_tails(level), draws.bounds)


def bca(draws: Draws, level: float) -> tuple[Interval, ...]:
    """Percentile interval with quantiles corrected for bias and acceleration (Efron 1987, doi:10.2307/2289144).

    The bias is the share of resamples below the estimate, those counting half that equal it but for rounding; the
    acceleration comes from the influences, Σ u³ / (6 (Σ u²)^1.5), the infinitesimal form of leaving one patient out.
    Where the acceleration leaves no quantile, as of one patient who carries all at a level near 1, the end is that of
    all resamples. There is no interval where all resamples lie on one side of the estimate.
    """
    found = []
    for row, value, u in zip(_defined(draws), draws.value, draws.influences, strict=True):
        if len(row) < 2:
            found.append(no_interval())
            continue
        above, rounding = row - value, ROUNDING * np.abs(row).max()
        if np.abs(above).max() <= rounding:
            found.append(Interval(se=0.0, low=float(value), high=float(value)))
            continue
        spread = (u**2).sum()
        acceleration = (u**3).sum() / (6 * spread**1.5) if spread > 0 else 0.0
        n_below, n_not_above = np.count_nonzero(above < -rounding), np.count_nonzero(above <= rounding)
        bias = ndtri((n_below + n_not_above) / 2 / len(row))
        if not np.isfinite(bias):
            found.append(no_interval("all resamples lie on one side of the estimate", se=float(row.std(ddof=1))))
            continue
        z = bias + np.asarray(ndtri(_tails(level)))
        left = 1 - acceleration * z  # 0 is at infinity, whose other side is no quantile
        low, high = ndtr(bias + np.divide(z, left, out=np.copysign(np.inf, z), where=left > 0))
        found += _between(row[None], low, high, draws.bounds)
    return tuple(found)


def studentized(draws: Draws, level: float) -> tuple[Interval, ...]:
    """Bootstrap-t: estimate − t·se between quantiles of t = (resampled − estimate) / se of the resample.

    Efron and Tibshirani 1993, chapter 12. Standard errors are linearised; a resample's uses the sample's influences at
    the resample's weights. Resamples without spread are left out; one whose standard error is rounding has a t without
    bound, and where an end would be of such a t there is no interval.
    """
    if draws.resampled_se is None:
        raise ValueError("a studentised interval needs the standard error of each resample")
    found = []
    for row, value, se, ses in zip(draws.resampled, draws.value, draws.se, draws.resampled_se, strict=True):
        used = ~np.isnan(row) & (ses > 0)
        if used.sum() < 2:
            found.append(no_interval("resamples have no spread" if np.isfinite(value) else ""))
            continue
        t = (row[used] - value) / ses[used]
        most = np.abs(t[ses[used] > ALL_BUT_0 * se]).max(initial=0)
        first, last = (float(np.quantile(t, tail)) for tail in _tails(level))
        if max(abs(first), abs(last)) > most:
            found.append(no_interval("standard errors of resamples are all but 0"))
            continue
        known = row[~np.isnan(row)]
        error, flat = float(known.std(ddof=1)), 1 - used.sum() / len(known)
        widths = se * (last - first) / error if error > 0 else 0.0
        wide = (
            f"interval of {widths:,.0f} standard errors: those of resamples come near 0" if widths > VERY_WIDE else ""
        )
        left_out = f"no spread in {flat:.2%} of resamples, which are left out" if flat > 0 else ""
        few = _on_few_resamples(int(used.sum()), _tails(level)[0]) if last > first else ""
        found.append(
            Interval(
                se=error,
                low=_within(value - se * last, draws.bounds),
                high=_within(value - se * first, draws.bounds),
                caution="; ".join(filter(None, (wide, left_out, few))),
            )
        )
    return tuple(found)


def degrees_with_training(draws: Draws) -> NDArray[np.float64]:
    """Return the degrees of freedom of each standard error, (n_values,): of patients, and of training runs with them.

    Of a variance V of patients with f degrees of freedom and W of training whose `doubt` is D, (V + W)² / (V²/f + D)
    (Satterthwaite 1946, doi:10.2307/3002019), and no fewer than the least of f and those of each regime's runs: as many
    any sum of such variances has, but patients' noise in D, which is off in W, would make it less.

    Examples
    --------
    >>> alike = np.tile([1.0, -1.0], 50) / 100
    >>> three_runs = Training(variance=np.array([0.03]), doubt=np.array([0.03**2 / 2]), degrees=2)
    >>> given = {"value": np.zeros(1), "resampled": np.zeros((1, 2)), "influences": alike[None]}
    >>> round(float(degrees_with_training(Draws(training=three_runs, **given))[0]), 3)  # 0.0401² / (0.03² / 2)
    3.574
    """
    df = degrees_of_freedom(draws.influences)
    return df if draws.training is None else degrees_of_both(draws.se**2, df, draws.training)


def expanded(draws: Draws, level: float) -> tuple[Interval, ...]:
    """Percentile interval between quantiles moved out as far as Student's t is wider than the normal distribution.

    Hesterberg 2015 (doi:10.1080/00031305.2015.1089789): the tails are Φ(√(n/(n − 1)) t), t being the quantile at
    `degrees_of_freedom`; a percentile interval is too narrow by as much where patients are few or unequal. Where few
    training runs make the standard error uncertain, no quantile of what these few make lies far enough out: the ends'
    distances from the estimate grow by the ratio of the quantile of t at `degrees_with_training` to that.
    """
    n = draws.influences.shape[1]
    stretch = np.sqrt(n / max(n - 1, 1))
    lows = ndtr(stretch * stdtrit(degrees_of_freedom(draws.influences), _tails(level)[0]))
    return _for_few_runs(_between(draws.resampled, lows, 1 - lows, draws.bounds), draws, level)


def _for_few_runs(intervals: Sequence[Interval], draws: Draws, level: float) -> tuple[Interval, ...]:
    """Return the intervals, of patients and of drawn training runs, as much wider as few runs ask for."""
    if draws.training is None:
        return tuple(intervals)
    factors = wider_for_few_runs(degrees_with_training(draws), degrees_of_freedom(draws.influences), level)
    return tuple(
        stretched(one, value, by, draws.bounds)
        for one, value, by in zip(intervals, draws.value.tolist(), factors.tolist(), strict=True)
    )


def wider_for_few_runs(
    of_both: NDArray[np.float64] | float, of_patients: NDArray[np.float64] | float, level: float
) -> NDArray[np.float64]:
    """Return by how many times an interval of drawn training runs is to be wider, at least 1.

    The quantile of Student's t at the degrees of freedom of patients and training, by that at those of patients.

    Examples
    --------
    >>> round(float(wider_for_few_runs(2, np.inf, 0.95)), 2)  # 4.303 / 1.960
    2.2
    """
    tail = _tails(level)[0]
    few, many = (np.asarray(stdtrit(np.asarray(df, dtype=np.float64), tail)) for df in (of_both, of_patients))
    return np.asarray(np.maximum(few / many, 1))


def stretched(one: Interval, value: float, by: float, bounds: tuple[float, float] = NO_BOUNDS) -> Interval:
    """Return an interval whose ends are `by` times as far from the value, but within the bounds; an infinite one stays.

    Examples
    --------
    >>> found = stretched(Interval(se=1, low=2, high=np.inf), 3, 1.5)
    >>> found.low, found.high
    (1.5, inf)
    """
    if not by > 1:
        return one
    low, high = value - by * max(value - one.low, 0), value + by * max(one.high - value, 0)
    return replace(one, low=_within(low, bounds), high=_within(high, bounds))


def t_interval(draws: Draws, level: float) -> tuple[Interval, ...]:
    """Estimate ± t·se, Student's t at `degrees_with_training`; se is linearised, or `normal_se` where it is given."""
    errors = draws.se if draws.normal_se is None else draws.normal_se
    quantiles = np.asarray(stdtrit(degrees_with_training(draws), _tails(level)[1]))
    return tuple(
        Interval(se=float(se), low=_within(value - t * se, draws.bounds), high=_within(value + t * se, draws.bounds))
        if np.isfinite(value)
        else no_interval()
        for value, se, t in zip(draws.value, errors, quantiles, strict=True)
    )


def t_corrected(draws: Draws, level: float) -> tuple[Interval, ...]:
    """Estimate − b ± t·√(s² + b²): the bias b of resampled values is taken off, and counted as an error of its own.

    b is the mean of the resampled values less the estimate (Efron and Tibshirani 1993, chapter 10), the sample being
    biased as its resamples are; since b is hardly known, where a sum of absolute gaps is small, the half-width is of
    the mean squared error. s is the larger of the standard error that `t_interval` takes and of that over resamples,
    and t is at `degrees_with_training`.

    Examples
    --------
    >>> draws = Draws(value=np.array([0.2]), resampled=np.array([[0.2, 0.3, 0.4]]), influences=np.zeros((1, 2)))
    >>> t_corrected(draws, 0.95)[0].low  # 0.2 − 0.1 − 1.96 √(0.1² + 0.1²)
    -0.17718...
    """
    linear = draws.se if draws.normal_se is None else draws.normal_se
    quantiles = np.asarray(stdtrit(degrees_with_training(draws), _tails(level)[1]))
    means, spreads = moments(draws.resampled)
    found = []
    for mean, spread, value, se, t in zip(means, spreads, draws.value, linear, quantiles, strict=True):
        if np.isnan(mean) or not np.isfinite(value):
            found.append(no_interval())
            continue
        bias, error = float(mean - value), max(float(se), float(spread))
        bias = 0.0 if abs(bias) <= ROUNDING else bias
        half = t * np.hypot(error, bias)
        found.append(_interval(error, value - bias - half, value - bias + half, draws.bounds))
    return tuple(found)


def wilson(draws: Draws, level: float) -> tuple[Interval, ...]:
    """Wilson's interval of a share, at the number of independent images that would give its standard error.

    Wilson 1927, doi:10.1080/01621459.1927.10502953; the effective number p (1 − p) / se² after Korn and Graubard 1998.
    With one image a patient it is the number of images, less one. Where the share is 0 or 1, and its standard error 0,
    it is the number of patients that it is a share of.
    """
    every = draws.influences.shape[1]
    n_patients = np.full(len(draws.value), every) if draws.n_patients is None else draws.n_patients
    found = []
    for p, se, n_alike in zip(draws.value, draws.se, n_patients, strict=True):
        spreads = se > 0 and ROUNDING < p < 1 - ROUNDING  # of equal outcomes rounding may leave a spread
        n = p * (1 - p) / se**2 if spreads else float(n_alike)
        low, high = wilson_ends(p, n, level)
        found.append(Interval(se=float(se), low=low, high=high))
    return tuple(found)


def wilson_ends(share: float, n: float, level: float) -> tuple[float, float]:
    """Ends of Wilson's interval of a share of n independent ones."""
    low, high = proportion_confint(share * n, n, alpha=1 - level, method="wilson")
    return float(low), float(high)


def delong(draws: Draws, level: float) -> tuple[Interval, ...]:
    """Estimate ± z·se of AUROCs, on the logit scale within [0, 1]; from images or patients, as `normal_se` is."""
    if draws.normal_se is None:
        raise ValueError("DeLong's interval needs a standard error")
    z = ndtri(_tails(level)[1])
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
    "expanded": expanded,
    "t": t_interval,
    "t-corrected": t_corrected,
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


def _between(
    resampled: NDArray[np.float64], low: ArrayLike, high: ArrayLike, bounds: tuple[float, float]
) -> tuple[Interval, ...]:
    """The intervals between two quantiles of each row, `low` and `high` in [0, 1]; an infinite end stays."""
    n, n_resamples = resampled.shape
    first, last = np.broadcast_to(low, n), np.broadcast_to(high, n)
    tails = np.where(np.abs(first - (1 - last)) < ROUNDING, first, np.minimum(first, 1 - last))
    found = []
    for se, start, end, tail in zip(*tail_quantiles(resampled, first, last), tails.tolist(), strict=True):
        if np.isnan(start):
            found.append(no_interval())
            continue
        has_width = end > start + ROUNDING
        caution = _on_few_resamples(n_resamples, tail) if has_width else ""
        found.append(_interval(float(se), start, end, bounds, caution))
    return tuple(found)


def _on_few_resamples(n_resamples: int, tail: float) -> str:
    """Say that a quantile lies beyond all resamples, as it does where less than one of them is expected in the tail.

    Examples
    --------
    >>> _on_few_resamples(200, 0.0005)
    '200 resamples are too few for a tail of 0.0005: the interval may be too narrow'
    >>> _on_few_resamples(1999, 0.0005)
    ''
    """
    if tail * (n_resamples + 1) >= 1 - 1e-9:  # but for rounding
        return ""
    return f"{n_resamples:,} resamples are too few for a tail of {tail:.2g}: the interval may be too narrow"


def _interval(se: float, low: float, high: float, bounds: tuple[float, float], caution: str = "") -> Interval:
    return Interval(se=se, low=_within(low, bounds), high=_within(high, bounds), caution=caution)


def _within(end: float, bounds: tuple[float, float]) -> float:
    return float(min(max(end, bounds[0]), bounds[1]))
