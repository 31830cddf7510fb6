"""Tests by name: the p-value of each contrast of a metric."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from cxrobust.analysis.classical.delong import contrast_test, contrast_variance
from cxrobust.analysis.classical.equivalence import noninferiority, tost
from cxrobust.analysis.classical.mcnemar import mcnemar_clustered, mcnemar_exact, mcnemar_midp
from cxrobust.analysis.classical.result import TestResult, approximation_note, floor_note, never_0, student_note
from cxrobust.analysis.classical.wilcoxon import signed_rank, signed_rank_clustered
from cxrobust.analysis.contrasts import Contrast, Form
from cxrobust.analysis.degrees import degrees_of_freedom
from cxrobust.analysis.intervals import linearised_se
from cxrobust.analysis.metrics import Additive, Mean, Metric
from cxrobust.analysis.parallel import in_threads
from cxrobust.analysis.permutation import is_exact, n_exact_signs, sign_flip_p_values
from cxrobust.analysis.purposes import Purpose
from cxrobust.analysis.swaps import swap_p_value
from cxrobust.analysis.values import Values
from cxrobust.predictions import PredictionSet
from cxrobust.results import Estimand
from cxrobust.study.analysis import AnalysisSection

UNTESTED = ("value", "area", "relative", "half-margin")
"""Estimands of which 0 is no hypothesis."""
WITH_THE_UNIT_OF_THE_METRIC = ("perturbed-clean", "regime-reference", "difference-in-differences", "area-difference")
"""Estimands that a margin, which is in the metric's unit, can be held against; not their gaps between subgroups."""
COCHRAN = "cochran-q"
"""Cochran's Q of all regimes, beside which pairs of regimes are tested by McNemar's exact test."""
OF_OUTCOMES: dict[str, tuple[Estimand, ...]] = {
    "mcnemar": ("perturbed-clean", "regime-reference"),
    "mcnemar-midp": ("perturbed-clean", "regime-reference"),
    "mcnemar-clustered": ("perturbed-clean", "regime-reference"),
    "mcnemar-durkalski": ("perturbed-clean", "regime-reference"),
    COCHRAN: ("regime-reference",),
}
"""Tests that compare outcomes of an image, one a regime or condition, and of which estimands."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tested:
    """Outcome of one contrast's test on one finding."""

    name: str
    p_value: float
    """NaN where there is nothing to test."""
    margin: float | None = None
    """That an effect is held against; None where it is held against 0."""
    se: float | None = None
    """The linearised standard error that an effect is held against a margin with."""
    note: str = ""


FLIPS = {False: "permutation", True: "permutation (exact)"}
SWAPS = {False: "permutation (swaps)", True: "permutation (swaps, exact)"}
"""What the test `permutation` is called in results, by whether it is exact."""
OF_PATIENTS = "p is of the mean over patients, who count the same, and the estimate over images"
NOTHING = Tested(name="", p_value=float("nan"))


def metrics_in_pairs(settings: AnalysisSection, predictions: PredictionSet) -> frozenset[str]:
    """Name the metrics whose regimes Cochran's Q compares all together, beside which every pair of them is tested.

    None where a regime has several training runs, to which the test does not fit.
    """
    if len(predictions.members) > len(predictions.regimes):
        return frozenset()
    return frozenset(name for name in settings.metrics if settings.of(name).test == COCHRAN)


def run_tests(
    asked: str, metric: Metric, values: Values, contrasts: Sequence[Contrast], *, margin: float | None
) -> list[list[Tested]]:
    """Test that each contrast of a metric is 0, for every finding and average: by contrast, then place.

    The test asked for is used where it fits the contrast: McNemar's, which `cochran-q` makes of pairs of regimes,
    compare two outcomes on the same images; all but DeLong's, `tost` and `noninferiority` speak of single findings and
    of the micro average. Elsewhere patients' signs are flipped. Of a metric that is untestable, and of what is 0 by
    definition, there is only a note.
    """
    found = [[NOTHING] * values.value.shape[2] for _ in contrasts]
    swapped: list[tuple[int, int, _Mirrored]] = []
    flipped: list[tuple[int, int, str]] = []
    for row, contrast in enumerate(contrasts):
        if contrast.estimand in UNTESTED and not contrast.across:
            continue
        for k in map(int, np.flatnonzero(np.isfinite(contrast.of(values.value)))):
            if contrast.singly and _is_average(values, contrast, k):
                continue
            if why := no_test(metric, contrast):
                found[row][k] = replace(NOTHING, note=why)
                continue
            one = None if asked == "permutation" else named_test(asked, metric, values, contrast, k, margin)
            if one is not None:
                found[row][k] = one
            elif (sides := _mirrored(metric, values, contrast)) is not None:
                swapped.append((row, k, sides))
            else:
                flipped.append((row, k, _several_runs(asked, metric, values, contrast, k)))
    for row, k, one in (*_swapped(values, swapped), *_flipped(metric, values, contrasts, flipped)):
        found[row][k] = one
    return found


def _swapped(values: Values, places: Sequence[tuple[int, int, "_Mirrored"]]) -> Iterator[tuple[int, int, Tested]]:
    """Yield the outcome of each contrast at each place where patients' sums are swapped between its two sides."""
    rows = list({row: sides for row, _, sides in places}.items())  # a finding that is the only one is its mean too
    tested = dict(zip((row for row, _ in rows), in_threads(lambda at: _by_swaps(values, at[1]), rows), strict=True))
    yield from ((row, k, tested[row]) for row, k, _ in places)


def _flipped(
    metric: Metric, values: Values, contrasts: Sequence[Contrast], places: Sequence[tuple[int, int, str]]
) -> Iterator[tuple[int, int, Tested]]:
    """Yield the outcome of each contrast at each place where patients' signs are flipped, for the reason beside it."""
    if not places:
        return
    columns, sample = _Columns(values), values.samples[0]
    for row, k, _ in places:
        columns.add(contrasts[row], k)
    contributions, n_draws, rng = columns.stacked(), sample.settings.resamples, sample.rng(Purpose.PERMUTATIONS)
    p_values = sign_flip_p_values(contributions, n_draws=n_draws, rng=rng, sums=columns.sums)
    n_signs = n_exact_signs(contributions, n_draws=n_draws, sums=columns.sums)
    for (row, k, why), p, n in zip(places, p_values, map(int, n_signs), strict=True):
        floor = floor_note(n, f"exact over {2**n:,} sign patterns") if n > 0 else ""
        said = "; ".join(filter(None, (why, floor, metric.caution)))
        yield row, k, Tested(name=FLIPS[n >= 0], p_value=float(p), note=said)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Mirrored:
    """The two sides of a contrast, between which a patient's sums can be swapped."""

    metric: Additive
    one: Sequence[tuple[int, int]]
    """(row, condition) of each value that a side is made from."""
    other: Sequence[tuple[int, int]]
    combine: Form
    """Makes a side of its values, (n_values, n) to (n,)."""


def _mirrored(metric: Metric, values: Values, contrast: Contrast) -> _Mirrored | None:
    """Return the two sides of a contrast of a swapped metric; None where it has none that mirror one another.

    These are one regime under two conditions, or two regimes that weigh the same conditions alike and were trained as
    often.
    """
    if not isinstance(metric, Additive) or not metric.swapped or contrast.across or values.samples[0].n_findings > 1:
        return None
    weights: dict[int, dict[int, float]] = {}
    for row, condition, weight in contrast.terms:
        weights.setdefault(row, {})[condition] = weight
    rows = list(weights)
    if len(rows) == 1 and contrast.form is None and sorted(weights[rows[0]].values()) == [-1, 1]:
        one, other = ([(rows[0], condition)] for condition in weights[rows[0]])
        return _Mirrored(metric=metric, one=one, other=other, combine=lambda found: found[0])
    if len(rows) != 2 or len(values.replicates[rows[0]]) != len(values.replicates[rows[1]]):
        return None
    mine, theirs = (weights[row] for row in rows)
    if {condition: -weight for condition, weight in theirs.items()} != mine:
        return None
    each, form = np.array(list(mine.values())), contrast.form
    along = tuple(mine) if form is None else contrast.along
    one, other = ([(row, condition) for condition in along] for row in rows)
    combine = (lambda found: each @ found) if form is None else (lambda found: form(found[:, None])[0])  # of one place
    return _Mirrored(metric=metric, one=one, other=other, combine=combine)


def _by_swaps(values: Values, sides: _Mirrored) -> Tested:
    """Test that two sides are equal by swapping patients' sums, of every training run, between them."""
    metric, n_values, sample = sides.metric, len(sides.one), values.samples[0]
    one, other = (
        np.stack([metric.sums(cell) for row, condition in side for cell in values.cells(row, condition, 0)], axis=1)
        for side in (sides.one, sides.other)
    )
    n_draws = sample.settings.resamples
    p = swap_p_value(
        one,
        other,
        finish=metric.finish,
        combine=lambda found: sides.combine(found.reshape(n_values, -1, found.shape[-1]).mean(axis=1)),
        n_draws=n_draws,
        rng=sample.rng(Purpose.PERMUTATIONS),
    )
    n = int((one != other).any(axis=(1, 2)).sum())
    exact = is_exact(n, n_draws=n_draws)
    note = floor_note(n, f"exact over {2**n:,} swaps of patients") if exact and n else ""
    return Tested(name=SWAPS[exact], p_value=p, note="; ".join(filter(None, (note, metric.caution))))


def _n_other_than_0(parts: NDArray[np.float64]) -> int:
    """How many patients' parts are not 0, nor what rounding makes of it."""
    size = np.abs(parts)
    return int(np.count_nonzero(size > 1e-12 * size.max()))


BY_SIZE = "its bias depends on how many images a subgroup has, and so does a gap"


def no_test(metric: Metric, contrast: Contrast) -> str:
    """Say why a contrast of which 0 is a hypothesis has no p-value; empty where it has one."""
    by_size = BY_SIZE if metric.biased_by_size and contrast.across else ""
    why = metric.untestable or by_definition(metric, contrast) or by_size
    return f"no test: {why}" if why else ""


def by_definition(metric: Metric, contrast: Contrast) -> str:
    """Say why a contrast is what it is by definition, whatever the models do; empty where it tells something."""
    if metric.of_labels and contrast.estimand not in {"value", "area"}:
        return "labels alone make it, so that nothing differs"
    if metric.against_clean and all(condition == 0 for _, condition in contrast.places):
        return "on clean images it is 0 by definition"
    return ""


class _Columns:
    """The contributions that hypotheses are weighted sums of, each once."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.index: dict[tuple[int, int, int], int] = {}
        self.columns: list[NDArray[np.float64]] = []
        self.sums: list[list[tuple[int, float]]] = []
        self.last: tuple[Contrast, NDArray[np.float64]] | None = None
        """The last contrast that is no sum of columns, and its contributions, since its places follow one another."""

    def add(self, contrast: Contrast, place: int) -> None:
        """Add the hypothesis that a contrast is 0 at a place."""
        if contrast.form is not None or contrast.across:
            if self.last is None or self.last[0] is not contrast:
                self.last = contrast, contrast.contributions(self.values)
            self.columns.append(self.last[1][place])
            self.sums.append([(len(self.columns) - 1, 1.0)])
            return
        self.sums.append([(self._of_cell(row, condition, place), w) for row, condition, w in contrast.terms])

    def _of_cell(self, row: int, condition: int, place: int) -> int:
        key = row, condition, place
        if key not in self.index:
            self.index[key] = len(self.columns)
            self.columns.append(self.values.contributions[key])
        return self.index[key]

    def stacked(self) -> NDArray[np.float64]:
        """Return all columns, (n_patients, n_columns)."""
        return np.stack(self.columns).T


def auroc_se(values: Values, contrast: Contrast, *, clustered: bool) -> NDArray[np.float64]:
    """Standard error of a contrast of AUROCs for every place, of patients or as if images were independent.

    DeLong et al. 1988 (doi:10.2307/2531595), in patients Obuchowski 1997 (doi:10.2307/2533958). That of the macro
    average, of the worst finding and of a ratio is linearised: AUROCs of several findings share no labels.
    """
    n_places = values.value.shape[2]
    out = np.full(n_places, np.nan)
    linear = linearised_se(contrast.influences(values))
    for k in range(n_places):
        if is_linearised(values, contrast, k):
            out[k] = linear[k]
        elif values.reason(contrast, k) is None:
            out[k] = contrast_variance(*_aurocs(values, contrast, k, clustered=clustered)).standard_error
    return out


def is_linearised(values: Values, contrast: Contrast, k: int) -> bool:
    """Whether the standard error of a contrast of AUROCs is linearised over patients, and so `delong-clustered`."""
    return contrast.across or _is_average(values, contrast, k)


def named_test(
    asked: str, metric: Metric, values: Values, contrast: Contrast, k: int, margin: float | None
) -> Tested | None:
    """Return the outcome of the test asked for, or None where it does not fit, as between subgroups none does."""
    if contrast.across:
        return None
    is_average = _is_average(values, contrast, k)
    of_auroc = asked in {"delong", "delong-clustered"}
    if asked in {"tost", "noninferiority"} or (is_average and of_auroc):
        if asked in {"tost", "noninferiority"} and contrast.estimand not in WITH_THE_UNIT_OF_THE_METRIC:
            return None
        value, influences = float(contrast.of(values.value)[k]), contrast.influences(values)[k]
        n = _n_other_than_0(contrast.contributions(values)[k])
        if of_auroc:
            return _of_average(value, float(linearised_se(influences)), n)
        return _against_margin(asked, metric, value, influences, n, margin)
    if is_average:
        return None
    if of_auroc:
        return _kept(asked, contrast_test(*_aurocs(values, contrast, k, clustered=asked == "delong-clustered")))
    if not isinstance(metric, Mean):
        return None
    cells = [values.cells(row, condition, k) for row, condition, _ in contrast.terms]
    scores = [np.stack([metric.score(cell) for cell in one]) for one in cells]
    patients = cells[0][0].patients
    if asked in {"wilcoxon", "wilcoxon-clustered"}:
        weights = [weight for _, _, weight in contrast.terms]
        # equal up to rounding is equal, so that ties are ties
        differences = np.round(np.tensordot(weights, [one.mean(axis=0) for one in scores], axes=1), 12)
        one = signed_rank(differences) if asked == "wilcoxon" else signed_rank_clustered(differences, patients)
        return _kept(asked, one)
    if contrast.estimand not in OF_OUTCOMES[asked] or _several_runs(asked, metric, values, contrast, k):
        return None
    this, other = (one[0] == 1 for one in scores)
    return _of_pair(asked, this, other, patients, n_regimes=len(values.samples[0].predictions.regimes))


def _is_average(values: Values, contrast: Contrast, k: int) -> bool:
    """Whether a contrast at a place is of more than single cells: a finding's, or all findings' pooled."""
    n_cells = values.samples[0].n_findings + (values.value.shape[2] > 1)
    return k >= n_cells or contrast.form is not None


def _several_runs(asked: str, metric: Metric, values: Values, contrast: Contrast, k: int) -> str:
    """Say that several training runs, which have no one outcome, keep a test of outcomes from a contrast it fits."""
    of_outcomes = isinstance(metric, Mean) and contrast.estimand in OF_OUTCOMES.get(asked, ())
    if not of_outcomes or contrast.across or _is_average(values, contrast, k):
        return ""
    n_regimes = len(values.samples[0].predictions.regimes)
    every = asked == COCHRAN
    rows = range(n_regimes) if every else [row for row, _, _ in contrast.terms]
    if all(len(values.replicates[row]) == 1 for row in rows):
        return ""
    compared = "an outcome of every regime" if every else "two outcomes of an image"
    return f"{asked} compares {compared}; with several training runs patients' signs are flipped instead"


def _of_average(value: float, se: float, n: int) -> Tested:
    """Test that a sum of AUROCs of several findings, or a ratio, is 0, by its error of patients, n contributing."""
    p_value = 2 * norm.sf(abs(value) / se) if se > 0 else 1.0 if value == 0 else np.nan
    said = approximation_note(n) if se > 0 else "the variance is 0"
    return Tested(name="delong-clustered", p_value=never_0(float(p_value)), note=said)


def _against_margin(
    asked: str, metric: Metric, value: float, influences: NDArray[np.float64], n: int, margin: float | None
) -> Tested:
    """Test an estimate that n patients contribute to against a margin, by Student's t."""
    if margin is None:
        raise ValueError(f"{asked} needs a margin")
    se, df = float(linearised_se(influences)), float(degrees_of_freedom(influences))
    few = student_note(n, df)
    said = "; ".join(filter(None, (f"margin {margin:g}", *((few, metric.caution) if se > 0 else ()))))
    if asked == "noninferiority" and metric.better:
        found = noninferiority(value, se, margin, better=metric.better, df=df)
    else:
        found = tost(value, se, margin, df=df)
    return replace(_kept(asked, found, said), margin=margin, se=se)


def _of_pair(
    asked: str, this: NDArray[np.bool_], other: NDArray[np.bool_], patients: NDArray[np.int32], *, n_regimes: int
) -> Tested:
    if asked == "mcnemar-clustered":
        return _kept(asked, mcnemar_clustered(this, other, patients, weighting="images"))
    if asked == "mcnemar-durkalski":
        return _kept(asked, mcnemar_clustered(this, other, patients, weighting="patients"), OF_PATIENTS)
    if asked == "mcnemar-midp":
        return _kept(asked, mcnemar_midp(this, other))
    said = f"beside Cochran's Q of all {n_regimes} regimes" if asked == COCHRAN else ""
    return _kept("mcnemar", mcnemar_exact(this, other), said)


def _kept(name: str, one: TestResult, note: str = "") -> Tested:
    return Tested(name=name, p_value=never_0(one.p_value), note="; ".join(part for part in (note, one.note) if part))


def _aurocs(
    values: Values, contrast: Contrast, k: int, *, clustered: bool
) -> tuple[NDArray[np.int8], NDArray[np.float64], NDArray[np.float64], NDArray[np.int32] | None]:
    """Return labels, scores, weights and clusters of a contrast of AUROCs; replicates weigh alike."""
    sides = [(values.cells(row, condition, k), weight) for row, condition, weight in contrast.terms]
    first = sides[0][0][0]
    scores = np.stack([cell.probabilities for cells, _ in sides for cell in cells])
    weights = np.array([weight / len(cells) for cells, weight in sides for _ in cells])
    return first.labels, scores, weights, first.patients if clustered else None
