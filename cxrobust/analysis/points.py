"""Each contrast at each place as numbers: value, interval, band, and shares of resamples without a value."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.bands import simultaneous_bands
from cxrobust.analysis.contrasts import Contrast
from cxrobust.analysis.degrees import Training
from cxrobust.analysis.intervals import INTERVALS, Draws, Interval, linearised_se
from cxrobust.analysis.metrics import Additive, Metric
from cxrobust.analysis.replicates import resampled, training_of
from cxrobust.analysis.resampling import resampled_sums
from cxrobust.analysis.sample import Sample
from cxrobust.analysis.testing import auroc_se, by_definition, is_linearised
from cxrobust.analysis.values import Values
from cxrobust.study.analysis import AnalysisSection

RECENTRED = "percentile-recentred"
WORST_AT = -2
"""Where the worst finding stands among the places, if there are several findings."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One contrast at one place."""

    value: float
    interval: Interval
    method: str
    undefined: float
    """Share of resamples without a value."""
    beyond: float
    """Share of resamples in which a strength is beyond the greatest."""
    se_patients: float
    se_training: float
    band: tuple[float, float]


def points_of(name: str, metric: Metric, values: Values, contrasts: Sequence[Contrast]) -> list[list[Point]]:
    """Return the points of each contrast, those of several with the band of the curve that they lie on."""
    sample = values.samples[0]
    level = sample.settings.level
    draws = [draws_of(name, metric, values, contrast) for contrast in contrasts]
    methods = [interval_of(name, metric, contrast, sample.settings) for contrast in contrasts]
    if len(contrasts) > 1:
        recentred = np.full(len(draws[0].value), metric.is_biased)
        recentred[WORST_AT] |= sample.n_findings > 1
        bands = simultaneous_bands(draws, level, recentred=recentred, most_undefined=sample.settings.most_undefined)
    else:
        bands = [((np.nan, np.nan),) * len(draws[0].value)]
    found = []
    for contrast, drawn, method, of_curve in zip(contrasts, draws, methods, bands, strict=True):
        intervals = list(INTERVALS[method](drawn, level))
        used = [interval_at(method, values, contrast, place) for place in range(len(intervals))]
        by_default = sample.settings.of(name).interval is None
        if sample.n_findings > 1 and (by_default or method in {"percentile", "expanded"}):
            # the least of several drawn values is biased as a drawn absolute value is
            used[WORST_AT], intervals[WORST_AT] = RECENTRED, INTERVALS[RECENTRED](drawn.only(WORST_AT), level)[0]
        band = tuple(of_curve)
        if contrast.across and not by_definition(metric, contrast):
            unseen = contrast.unseen(values, level)
            ends = _widened([(one.low, one.high) for one in intervals], drawn, unseen)
            intervals = [replace(one, low=low, high=high) for one, (low, high) in zip(intervals, ends, strict=True)]
            band = _widened(band, drawn, unseen)
        se_patients, se_training = _parts_of_variance(drawn)
        undefined, beyond = _shares_without(drawn.resampled)
        found.append(
            [
                Point(
                    value=float(drawn.value[place]),
                    interval=interval,
                    method=used[place],
                    undefined=float(undefined[place]),
                    beyond=float(beyond[place]),
                    se_patients=float(se_patients[place]),
                    se_training=float(se_training[place]),
                    band=band[place],
                )
                for place, interval in enumerate(intervals)
            ]
        )
    return found


def _widened(
    ends: Sequence[tuple[float, float]], drawn: Draws, unseen: NDArray[np.float64]
) -> tuple[tuple[float, float], ...]:
    """Add to each interval's ends, by squares, how far off a part of its value may be besides; see `Contrast.unseen`.

    So intervals of two independent parts make that of their difference (Newcombe 1998,
    doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I; Zou and Donner 2008, doi:10.1002/sim.3095).
    """
    low, high = np.transpose(ends)
    below, above = (
        np.hypot(np.maximum(drawn.value - low, 0), unseen),
        np.hypot(np.maximum(high - drawn.value, 0), unseen),
    )
    wide = np.clip(np.stack([drawn.value - below, drawn.value + above], axis=1), *drawn.bounds)
    told = np.where((unseen > 0)[:, None] & np.isfinite(ends), wide, ends)
    return tuple((float(one), float(other)) for one, other in told)


def draws_of(name: str, metric: Metric, values: Values, contrast: Contrast) -> Draws:
    """Return a contrast at every place with what its interval is made from."""
    sample = values.samples[0]
    influences, training = contrast.influences(values), training_of(contrast, values)
    method = interval_of(name, metric, contrast, sample.settings)
    return Draws(
        value=contrast.of(values.value),
        resampled=resampled(contrast, values),
        influences=influences,
        resampled_se=resampled_se(influences, sample) if method == "studentized" else None,
        normal_se=_normal_se(method, contrast, values, linearised_se(influences), training),
        training=training,
        n_patients=patients_of_share(metric, contrast, values) if method == "wilson" else None,
        bounds=contrast.bounds(metric.bounds),
    )


def patients_of_share(metric: Metric, contrast: Contrast, values: Values) -> NDArray[np.intp]:
    """Count the patients that a share is of at each place; of the worst finding and the macro average with a label."""
    [(row, condition, _)] = contrast.terms
    found = np.count_nonzero(values.shares[row], axis=-1)
    for place in range(values.samples[0].n_findings + 1):  # the last pools all findings
        if isinstance(metric, Additive) and values.reason(contrast, place) is None:
            found[place] = min(metric.n_patients(cell) for cell in values.cells(row, condition, place))
    return np.asarray(found)


def _normal_se(
    method: str, contrast: Contrast, values: Values, of_patients: NDArray[np.float64], training: Training | None
) -> NDArray[np.float64] | None:
    """Standard errors (n_places,) of the methods that need them; None for the others."""
    if method.startswith("delong"):
        return auroc_se(values, contrast, clustered=method == "delong-clustered")
    if not method.startswith("t"):
        return None
    of_training = 0.0 if training is None else np.nan_to_num(training.variance)
    return np.asarray(np.sqrt(of_patients**2 + of_training))


def interval_of(name: str, metric: Metric, contrast: Contrast, settings: AnalysisSection) -> str:
    """Name the interval of an estimand: the one asked for where it fits, else the metric's own."""
    asked = settings.of(name).interval
    if contrast.estimand.startswith("half-margin"):
        return "percentile" if asked == "percentile" else "expanded"  # between quantiles, since it may be infinite
    is_share = contrast.estimand == "value" and not contrast.across
    return metric.interval if asked is None or (asked == "wilson" and not is_share) else asked


def interval_at(method: str, values: Values, contrast: Contrast, place: int) -> str:
    """Name the interval that an estimand has at a place: `delong` of what is linearised is of patients too."""
    return "delong-clustered" if method == "delong" and is_linearised(values, contrast, place) else method


def resampled_se(influences: NDArray[np.float64], sample: Sample) -> NDArray[np.float64]:
    """Standard error of each value in each resample, (n_values, n_resamples), from the sample's influences."""
    n_values, n_patients = len(influences), sample.counts.shape[1]
    known, others = np.nan_to_num(influences[:, :n_patients]), influences[:, n_patients:]
    out = np.empty((n_values, sample.counts.shape[0] * sample.counts.shape[2]))
    for lanes, sums in resampled_sums(np.concatenate([known, known**2]).T, sample.counts):
        first, second = sums[:, :n_values], sums[:, n_values:]
        spread = second - first**2 / n_patients
        spread[spread < 1e-12 * second] = 0  # what rounding alone leaves
        out[:, lanes] = np.sqrt(spread * n_patients / max(n_patients - 1, 1) + (others**2).sum(axis=1)).T
    out[np.isnan(influences).any(axis=1)] = np.nan
    return out[:, : sample.settings.resamples]


def _parts_of_variance(draws: Draws) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standard errors from patients, linearised, and from training, (n_places,) each; NaN without replicates."""
    nothing = np.full(len(draws.value), np.nan)
    return (nothing, nothing) if draws.training is None else (draws.se, np.sqrt(draws.training.variance))


def _shares_without(resampled: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the shares of resamples that are not defined, and that are infinite: (n_places, n) to (n_places,) each."""
    with np.errstate(invalid="ignore"):  # ∞ − ∞
        is_whole = np.isfinite(resampled.sum())
    if is_whole:
        return np.zeros(len(resampled)), np.zeros(len(resampled))
    return np.isnan(resampled).mean(axis=1), np.isinf(resampled).mean(axis=1)
