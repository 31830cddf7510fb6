"""Subgroups of images by a column of the metadata: which there are, how they differ, and a test that they do."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrobust.analysis.all_regimes import all_regimes_estimates
from cxrobust.analysis.classical.result import floor_note
from cxrobust.analysis.contrasts import Contrast, contrasts
from cxrobust.analysis.counts import FindingCounts, Scope, count_findings, counts_held
from cxrobust.analysis.estimates import Estimated, estimate, without_value
from cxrobust.analysis.evaluating import evaluate
from cxrobust.analysis.metrics import Mean, Metric
from cxrobust.analysis.notes import OF_THESE_RUNS, flat_sides, joined, note_on_sides, notes_on_counts, why_undefined
from cxrobust.analysis.permutation import Joint, joint_sign_flips
from cxrobust.analysis.purposes import Purpose
from cxrobust.analysis.sample import Sample
from cxrobust.analysis.testing import metrics_in_pairs, no_test
from cxrobust.analysis.unread import Unread, cells_of
from cxrobust.analysis.values import Values, averages
from cxrobust.blanks import told
from cxrobust.errors import StudyError, nearest, some
from cxrobust.results import WORST, Estimand, Estimate
from cxrobust.study.analysis import Subgroups

MOST_LEVELS = 12
FEWEST_PATIENTS = 20
AT_ONCE = 32
"""Estimands whose gaps are tested in one go."""
MISSING = "missing"
ESTIMANDS: tuple[Estimand, ...] = ("value", "perturbed-clean", "regime-reference", "difference-in-differences")


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """One subgroup."""

    name: str
    """Text of results, for example `sex=F`."""
    short: str
    """The value alone."""
    sample: Sample
    counts: tuple[FindingCounts, ...]

    @property
    def n_patients(self) -> int:
        """Patients with an image in the subgroup."""
        return self.counts[-1].n_patients


@dataclass(frozen=True, kw_only=True, slots=True)
class Groups:
    """The subgroups that a column makes of images, the one with most patients first."""

    column: str
    of_images: NDArray[np.object_]
    """(n_images,): the value of each."""
    names: tuple[str, ...]
    """The values, alone."""

    @property
    def texts(self) -> tuple[str, ...]:
        """What results may say of them in the column `subgroup`: each, each against the first, and all together."""
        each = (level_text(self.column, value) for value in self.names)
        gaps = (gap_text(self.column, value, self.names[0]) for value in self.names[1:])
        return (*each, *gaps, interaction_text(self.column))


def level_text(column: str, value: str) -> str:
    """Name one subgroup in results."""
    return f"{column}={value}"


def gap_text(column: str, value: str, base: str) -> str:
    """Name in results one subgroup less another."""
    return f"{column}: {value} − {base}"


def interaction_text(column: str) -> str:
    """Name in results the test that all subgroups are alike."""
    return f"{column}: interaction"


def column_of(text: str) -> str:
    """Return the column that a subgroup of results, or a comparison of subgroups, is of.

    Examples
    --------
    >>> column_of("view=PA: erect"), column_of("view: PA=1 − AP"), column_of("")
    ('view', 'view', '')
    """
    return text.partition(_mark(text))[0]


def is_comparison(text: str) -> bool:
    """Whether a text of results is of several subgroups, and not of a single one or of all images.

    Examples
    --------
    >>> is_comparison("view: PA=1 − AP"), is_comparison("view=PA: erect"), is_comparison("")
    (True, False, False)
    """
    return _mark(text) == ": "


def _mark(text: str) -> str:
    """Return what stands behind the column: of the two the first, since a value may hold the other."""
    level, gap = text.find("="), text.find(": ")
    return "=" if gap < 0 or 0 <= level < gap else ": "


def split(
    wanted: Subgroups,
    *,
    metadata: pd.DataFrame,
    image_ids: Sequence[str],
    patients: Sequence[str] | NDArray[np.int32],
    findings: Sequence[str],
    labels: NDArray[np.int8],
) -> Groups:
    """Split images by a column of their metadata; blank values are a subgroup like another.

    Blank are also the words that say nothing as labels, `BLANK`.

    Raises
    ------
    StudyError
        When there is no such column, or a finding is called so; when it has too many values, only one, or one that is
        no number where bands are wanted; when some values are blank and others the text that blank ones go by.
    """
    texts = _texts(wanted, metadata, image_ids, findings)
    is_labelled, codes = (labels >= 0).any(axis=1), pd.factorize(np.asarray(patients))[0]
    counts = {name: len(np.unique(codes[is_labelled & (texts == name)])) for name in sorted(set(texts))}
    names = sorted(counts, key=lambda name: -counts[name])
    return Groups(column=wanted.column, of_images=texts, names=tuple(names))


def levels(sample: Sample, wanted: Subgroups) -> tuple[Level, ...]:
    """Return the subgroups of a column as samples, the one with most patients first; see `split`."""
    data = sample.predictions
    groups = split(
        wanted,
        metadata=data.metadata,
        image_ids=data.image_ids,
        patients=data.patients,
        findings=data.findings,
        labels=data.labels,
    )
    found = []
    for value in groups.names:
        name = level_text(wanted.column, value)
        part = sample.among(np.asarray(groups.of_images == value), subgroup=name)
        found.append(Level(name=name, short=value, sample=part, counts=tuple(count_findings(part))))
    return tuple(found)


def _texts(
    wanted: Subgroups, metadata: pd.DataFrame, image_ids: Sequence[str], findings: Sequence[str]
) -> NDArray[np.object_]:
    """Return the subgroup of each image."""
    where = f"[[analysis.subgroups]] column = {wanted.column!r}"
    if wanted.column not in metadata.columns and wanted.column in findings:
        raise StudyError(f"{where} is taken for a finding: name the findings, without it, in [data]")
    if wanted.column not in metadata.columns:
        known = [str(column) for column in metadata.columns]
        mend = f"known are {some(known, most=12)}" if known else "there is none: name a table with metadata in [data]"
        raise StudyError(f"{where} is no column of the metadata{nearest(wanted.column, known)}: {mend}")
    texts = told(metadata[wanted.column]).fillna("").to_numpy(dtype=object)
    if wanted.edges:
        texts = _bands(texts, wanted.edges, where, image_ids)
    is_blank = texts == ""
    if is_blank.any() and (texts == MISSING).any():
        raise StudyError(
            f"{where} has blank values (as nan, NA, N/A and null are), whose subgroup is {MISSING!r}, and the text "
            f"{MISSING!r} as well: "
            f"write another word for one of them in the metadata"
        )
    texts = np.where(is_blank, MISSING, texts)
    names = sorted(set(texts))
    if len(names) > MOST_LEVELS:
        raise StudyError(
            f"{where} has {len(names):,} different values ({some(names)}): give edges of bands if they are numbers, "
            f"or name a column of at most {MOST_LEVELS} values"
        )
    if len(names) < 2:
        raise StudyError(f"{where} has only the value {names[0]!r}: name a column that tells images apart")
    return texts


def _bands(
    texts: NDArray[np.object_], edges: Sequence[float], where: str, image_ids: Sequence[str]
) -> NDArray[np.object_]:
    numbers = pd.to_numeric(pd.Series(np.where(texts == "", "nan", texts)), errors="coerce").to_numpy(np.float64)
    wrong = np.flatnonzero(~np.isfinite(numbers) & (texts != ""))
    if len(wrong):
        raise StudyError(
            f"{where} has edges, and image {image_ids[wrong[0]]!r} has {texts[wrong[0]]!r}, which is no number: "
            f"leave the edges out, or correct the metadata"
        )
    said = [f"{edge:.15g}" for edge in edges]  # every digit, so that no two bands have one name
    first, last = f"<{said[0]}", f"≥{said[-1]}"
    between = [f"{low} to <{high}" for low, high in pairwise(said)]
    band = np.array([first, *between, last], dtype=object)[np.searchsorted(edges, np.nan_to_num(numbers), "right")]
    return np.where(np.isnan(numbers), "", band)


def subgroup_estimates(
    name: str, metric: Metric, sample: Sample, wanted: Subgroups, *, reference: str
) -> Iterator[Estimated]:
    """Estimate a metric in each subgroup, each against the largest, and test whether they differ.

    Macro averages are over the findings that all subgroups define. A subgroup of fewer than 20 patients is not
    estimated, which one row says.
    """
    every = levels(sample, wanted)
    used = [level for level in every if level.n_patients >= FEWEST_PATIENTS]
    yield Estimated(estimates=tuple(_too_small(name, level, sample) for level in every if level not in used))
    if not used:
        return
    values = evaluate({name: metric}, [level.sample for level in used])[name]
    predictions = sample.predictions
    n_regimes = len(predictions.regimes)
    kept = _places(len(predictions.findings), findings=wanted.findings)
    of_level = [
        [
            one
            for one in contrasts(
                predictions.regimes, predictions.conditions, reference=reference, first_row=index * n_regimes
            )
            if one.estimand in ESTIMANDS
        ]
        for index in range(len(used))
    ]
    for level, mine in zip(used, of_level, strict=True):
        scope = Scope(findings=counts_held(level.counts, level.sample, values.left_out), subgroup=level.name)
        estimated = estimate(name, metric, values, contrasts=mine, scope=scope)
        yield Estimated(estimates=_only(estimated, kept, level.counts), values=values, contrasts=mine)
        if isinstance(metric, Mean) and name in metrics_in_pairs(sample.settings, predictions):
            tested = all_regimes_estimates(name, metric, values, mine, scope=scope)
            yield Estimated(estimates=_only(tested, kept, level.counts))
    gaps_of = [[_gap(one, base) for one, base in zip(mine, of_level[0], strict=True)] for mine in of_level[1:]]
    for level, gaps in zip(used[1:], gaps_of, strict=True):
        scope = _of_several((level, used[0]), gap_text(wanted.column, level.short, used[0].short), sample, values)
        estimated = estimate(name, metric, values, contrasts=gaps, scope=scope)
        yield Estimated(estimates=_only(estimated, kept, scope.findings), values=values, contrasts=gaps)
    if len(used) > 1:
        scope = _of_several(used, interaction_text(wanted.column), sample, values)
        yield Estimated(estimates=_interactions(name, metric, values, gaps_of, scope, kept))


def _of_several(compared: Sequence[Level], text: str, sample: Sample, values: Values) -> Scope:
    """Return the scope of a comparison, whose counts are those of the subgroups that it compares."""
    images = sample.among(np.any([one.sample.kept for one in compared], axis=0))
    return Scope(
        findings=counts_held(count_findings(images), images, values.left_out),
        subgroup=text,
        compared=tuple((one.name, one.counts) for one in compared),
    )


def _places(n_findings: int, *, findings: bool) -> frozenset[int]:
    n_averages = len(averages(n_findings))
    return frozenset(range(0 if findings else n_findings, n_findings + n_averages))


def _only(estimates: Sequence[Estimate], kept: frozenset[int], counts: Sequence[FindingCounts]) -> tuple[Estimate, ...]:
    names = {counts[place].name for place in kept}
    return tuple(one for one in estimates if one.finding in names)


def _gap(one: Contrast, base: Contrast) -> Contrast:
    return replace(one, terms=(*one.terms, *((row, c, -weight) for row, c, weight in base.terms)), across=True)


def _interactions(
    name: str,
    metric: Metric,
    values: Values,
    gaps_of: Sequence[Sequence[Contrast]],
    scope: Scope,
    kept: frozenset[int],
) -> tuple[Estimate, ...]:
    """Test for each estimand whether all its gaps to the largest subgroup are 0 together."""
    counts, places = scope.findings, [place for place in sorted(kept) if _is_tested(metric, scope, place)]
    thresholds = values.samples[0].thresholds if metric.of_decisions else ()
    on_counts = notes_on_counts(scope, values.named_left_out, thresholds)
    unread = Unread.of(values.samples, n_places=len(counts))
    found = []
    for gaps, untested, outcomes in _together(metric, values, list(zip(*gaps_of, strict=True)), places):
        runs = OF_THESE_RUNS if values.has_runs(gaps[0]) else ""
        flat = flat_sides(metric, gaps, values)
        cells = [cell for one in gaps for cell in cells_of(metric, one, values.samples[0])]
        for place, (reason, outcome) in zip(places, outcomes, strict=True):
            notes = [*on_counts[place].notes, *unread.notes(cells, place)]
            if outcome is None:
                notes.append(untested)
            else:
                notes += [_told(outcome, len(gaps)), *note_on_sides(flat[place], has_p=True, has_interval=False)]
                notes += filter(None, [runs, metric.caution])
            found.append(
                without_value(
                    name,
                    counts[place],
                    regime=gaps[0].regime,
                    reference=gaps[0].reference,
                    condition=gaps[0].condition,
                    estimand=gaps[0].estimand,
                    subgroup=scope.subgroup,
                    p_value=None if outcome is None else outcome.p_value,
                    test=None if outcome is None else "interaction",
                    reason=reason,
                    note=joined(reason, [] if reason else notes),
                )
            )
    return tuple(found)


def _is_tested(metric: Metric, scope: Scope, place: int) -> bool:
    return metric.better is not None or scope.findings[place].name != WORST


def _together(
    metric: Metric, values: Values, compared: Sequence[tuple[Contrast, ...]], places: Sequence[int]
) -> Iterator[tuple[tuple[Contrast, ...], str, list[tuple[str | None, Joint | None]]]]:
    """Yield the gaps of each estimand, why it has no test, and of each place why none is estimable, or the test."""
    sample = values.samples[0]
    for first in range(0, len(compared), AT_ONCE):
        some = compared[first : first + AT_ONCE]
        untested = [no_test(metric, gaps[0]) for gaps in some]
        reasons = [[_reason(values, gaps, place) for place in places] for gaps in some]
        wanted = [(i, j) for i, row in enumerate(reasons) for j, why in enumerate(row) if not (why or untested[i])]
        found: dict[tuple[int, int], Joint] = {}
        if wanted:
            parts = [np.stack([one.contributions(values)[places] for one in gaps], axis=1) for gaps in some]
            each, rng = np.stack([parts[i][j] for i, j in wanted]), sample.rng(Purpose.PERMUTATIONS)
            found = dict(zip(wanted, joint_sign_flips(each, n_draws=sample.settings.resamples, rng=rng), strict=True))
        for i, gaps in enumerate(some):
            yield gaps, untested[i], [(why, found.get((i, j))) for j, why in enumerate(reasons[i])]


def _reason(values: Values, gaps: Sequence[Contrast], place: int) -> str | None:
    """Say why gaps are not tested: one is not estimable, or in too many resamples."""
    never = next((why for one in gaps if (why := values.reason(one, place)) is not None), None)
    if never is not None:
        return never
    undefined = max(float(np.isnan(one.of(values.resampled[:, :, place])).mean()) for one in gaps)
    return why_undefined(undefined, most_undefined=values.samples[0].settings.most_undefined)


def _told(outcome: Joint, n_gaps: int) -> str:
    """Return what the note says of the test."""
    statistic = f"T² of {outcome.statistic:.4g}"
    said = f"{statistic}, over signs of {n_gaps} gaps together, that all {n_gaps + 1} subgroups are alike"
    said = said if n_gaps > 1 else f"{statistic}, over signs, that both subgroups are alike"
    n = outcome.n_exact
    return "; ".join(filter(None, [said, floor_note(n, f"exact over {2**n:,} sign patterns") if n > 0 else ""]))


def _too_small(name: str, level: Level, sample: Sample) -> Estimate:
    reason = f"fewer than {FEWEST_PATIENTS} patients in this subgroup, for any regime and condition"
    return without_value(
        name,
        level.counts[-1],
        regime=sample.predictions.regimes[0],
        reference=None,
        condition=sample.predictions.conditions[0],
        estimand="value",
        subgroup=level.name,
        reason=reason,
        note=joined(reason, []),
    )
