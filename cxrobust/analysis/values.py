"""Metrics on every regime, condition and finding: values, resamples, and what each patient contributes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.contrasts import Contrast
from cxrobust.analysis.intervals import ROUNDING
from cxrobust.analysis.map_errors import MapErrors
from cxrobust.analysis.metrics import Additive, Measured, Metric, measure
from cxrobust.analysis.parallel import in_threads
from cxrobust.analysis.sample import Sample
from cxrobust.errors import some
from cxrobust.results import MACRO, MICRO, WORST

CELLS_AT_ONCE = 256
"""Cells resampled together: enough to share the work on the counts, few enough to bound memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOutFinding:
    """Why no macro average counts a finding, and a cell of which that is so."""

    why: str
    regime: str
    condition: str
    subgroup: str
    """Empty for all images."""

    @property
    def where(self) -> str:
        """The cell, as notes name it."""
        return ", ".join(filter(None, (self.regime, self.condition, self.subgroup)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Values:
    """One metric; after the findings stand `averages`, the macro average last.

    A row is a regime. Where several views of a sample were evaluated together (subgroups, or raw and recalibrated
    probabilities), the regimes of the first view stand first, then those of the second.
    """

    value: NDArray[np.float64]
    """(n_rows, n_conditions, n_places)."""
    resampled: NDArray[np.float64]
    """(n_rows, n_conditions, n_places, n_resamples)."""
    contributions: NDArray[np.float64]
    """(n_rows, n_conditions, n_places, n_patients): sums to the value."""
    influences: NDArray[np.float64]
    """(n_rows, n_conditions, n_places, n_patients): how much the value moves with a patient's weight; sums to 0."""
    shares: NDArray[np.float64]
    """(n_rows, n_places, n_patients): each patient's part of what is averaged; sums to 1."""
    chances: NDArray[np.float64]
    """(n_places,): value of guessing on clean images; NaN where there is none."""
    reasons: NDArray[np.object_]
    """(n_rows, n_conditions, n_places): why a value is not estimable, or None."""
    worst: NDArray[np.intp]
    """(n_rows, n_conditions): the worst finding; -1 where there is none."""
    replicates: tuple[NDArray[np.float64], ...]
    """For each row (n_replicates, n_conditions, n_places): the value of each training run."""
    run_influences: tuple[NDArray[np.float64], ...]
    """For each row (n_replicates, n_conditions, n_places, n_patients); of one run none are kept, they are its row's."""
    drawn_runs: tuple[NDArray[np.intp], ...]
    """For each row (n_replicates, n_resamples): which runs each resample draws, the same in every view."""
    samples: tuple[Sample, ...]
    """The views, in the order of the rows."""
    left_out: Mapping[int, LeftOutFinding]
    """Findings that no macro average or worst finding counts, with the first cell that has a reason."""

    def reason(self, contrast: Contrast, place: int) -> str | None:
        """Say why one of the values in a contrast is not estimable, or return None."""
        for row, condition in contrast.places:
            reason = self.reasons[row, condition, place]
            if reason is not None:
                return str(reason)
        return None

    def has_runs(self, contrast: Contrast) -> bool:
        """Whether a regime of the contrast has several training runs."""
        return any(len(self.replicates[row]) > 1 for row, _, _ in contrast.terms)

    @property
    def named_left_out(self) -> dict[str, str]:
        """Those left out by the findings' names, with the reason, and the subgroup where it is of one."""
        names = self.samples[0].predictions.findings
        return {
            names[k]: f"{one.why} in {one.subgroup}" if one.subgroup else one.why for k, one in self.left_out.items()
        }

    def filled(self, contrasts: Sequence[Contrast]) -> dict[str, float]:
        """Return in which share of resamples averages of contrasts have the sample's value of a finding, where in any.

        See `with_sample_values`.
        """
        names, n_regimes = self.samples[0].predictions.findings, len(self.samples[0].predictions.regimes)
        held = [k for k in range(len(names)) if k not in self.left_out]
        if not held:
            return {}
        found = np.zeros((len(held), self.resampled.shape[-1]), dtype=np.bool_)
        for view in {row // n_regimes for one in contrasts for row, _, _ in one.terms}:
            rows = slice(view * n_regimes, (view + 1) * n_regimes)
            found |= are_filled([np.asarray(np.isnan(self.resampled[rows, :, k]).any(axis=(0, 1))) for k in held])
        return {names[k]: float(one.mean()) for k, one in zip(held, found, strict=True) if one.any()}

    def cells(self, row: int, condition: int, place: int) -> list[Cell]:
        """Return the cell of each replicate; `place` is a finding, or the one after the last: all of them pooled."""
        view, regime = divmod(row, len(self.samples[0].predictions.regimes))
        sample = self.samples[view]
        return [sample.cell(member=m, condition=condition, finding=place) for m in sample.members(regime)]


def averages(n_findings: int) -> tuple[str, ...]:
    """Name the places after the findings, where there are several: all pooled, the worst of them, their mean."""
    return (MICRO, WORST, MACRO) if n_findings > 1 else (MACRO,)


def evaluate(
    metrics: Mapping[str, Metric],
    samples: Sequence[Sample],
    *,
    pooled: bool = True,
    errors: MapErrors | None = None,
) -> dict[str, Values]:
    """Evaluate a group of metrics (see `grouped`) on every cell of one view of a sample, or of several.

    Replicates of a regime are averaged. A finding that is not estimable in one cell is left out of the macro average in
    every cell of every view alike.

    Parameters
    ----------
    pooled
        Whether all findings pooled are evaluated too, which takes as long as all findings; if not, that place is NaN.
    errors
        Of the maps that made the probabilities of the second view from those of the first: resamples and contributions
        then hold what they do. Patients of validation images stand after those of the study.
    """
    predictions, group = samples[0].predictions, list(metrics.values())
    n_members, n_conditions = len(predictions.members), samples[0].n_conditions(*group)
    n_findings = len(predictions.findings)
    n_cells = n_findings + (n_findings > 1)
    n_more = 0 if errors is None else errors.n_more
    n_resamples = min(samples[0].settings.resamples, samples[0].counts.shape[0] * samples[0].counts.shape[2])
    shape = (len(samples) * n_members, n_conditions, n_cells)
    tables = [
        _Table.blank(shape, n_resamples=n_resamples, n_patients=len(predictions.patient_ids), n_more=n_more)
        for _ in group
    ]
    places = [
        (m, c, k)
        for k in range(n_cells if pooled else n_findings)
        for m in range(shape[0])
        for c in range(n_conditions)
    ]
    for first in range(0, len(places), CELLS_AT_ONCE):
        some = places[first : first + CELLS_AT_ONCE]
        cells = [samples[m // n_members].cell(member=m % n_members, condition=c, finding=k) for m, c, k in some]
        said = [in_threads(one.undefined, cells) for one in group]
        defined = np.array([[why is None for why in row] for row in said])
        found = measure(group, cells, samples[0].counts, defined=defined)
        for j, (one, table) in enumerate(zip(group, tables, strict=True)):
            for i, place in enumerate(some):
                table.put(place, found[i][j], said[j][i])
            table.put_chances(one, {k: cells[i] for i, (m, c, k) in enumerate(some) if m == c == 0 and defined[j, i]})
            if errors is not None:
                at = [(m - n_members, c, k) for m, c, k in some if m >= n_members]
                for (m, c, k), moved, drawn in _moved_by_maps(one, samples, errors, at):
                    table.contributions[n_members + m, c, k, -errors.counts.shape[1] :] += moved
                    table.resampled[n_members + m, c, k] += drawn[:n_resamples]
    return {
        name: _with_averages(_over_replicates(table, tuple(samples)), metrics[name])
        for name, table in zip(metrics, tables, strict=True)
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class _Table:
    """One metric on every cell (member, condition, place), filled cell by cell; NaN where it is not defined."""

    n_patients: int
    """Patients of the study; those of validation images stand after them."""
    value: NDArray[np.float64]
    resampled: NDArray[np.float64]
    contributions: NDArray[np.float64]
    shares: NDArray[np.float64]
    chances: NDArray[np.float64]
    reasons: NDArray[np.object_]

    @classmethod
    def blank(cls, shape: tuple[int, int, int], *, n_resamples: int, n_patients: int, n_more: int) -> "_Table":
        """Return a table that nothing was put into."""
        n_members, _, n_cells = shape
        return cls(
            n_patients=n_patients,
            value=np.full(shape, np.nan),
            resampled=np.full((*shape, n_resamples), np.nan),
            contributions=np.full((*shape, n_patients + n_more), np.nan),
            shares=np.full((n_members, n_cells, n_patients + n_more), np.nan),
            chances=np.full(n_cells, np.nan),
            reasons=np.full(shape, None, dtype=object),
        )

    def put(self, place: tuple[int, int, int], one: Measured | None, reason: str | None) -> None:
        """Put a cell into its place, or why there is none."""
        self.reasons[place] = reason
        if one is None:
            return
        m, _, k = place
        self.value[place], self.resampled[place] = one.value, one.resampled[: self.resampled.shape[-1]]
        for array, at, of_patients in (
            (self.contributions, place, one.contributions),
            (self.shares, (m, k), one.share),
        ):
            array[at][: self.n_patients], array[at][self.n_patients :] = of_patients, 0

    def put_chances(self, one: Metric, clean: Mapping[int, Cell]) -> None:
        """Put in what guessing would have on clean images, by place."""
        for k, cell in clean.items():
            chance = one.chance(cell)
            self.chances[k] = np.nan if chance is None else chance


def _moved_by_maps(
    one: Metric, samples: Sequence[Sample], errors: MapErrors, places: Sequence[tuple[int, int, int]]
) -> Iterator[tuple[tuple[int, int, int], NDArray[np.float64], NDArray[np.float64]]]:
    """Yield of each (member, condition, place) that has maps what they do to a metric: by patient, and in resamples."""
    if not isinstance(one, Additive):
        return
    raw, mapped = samples

    def of(at: tuple[int, int, int]) -> NDArray[np.float64] | None:
        m, c, k = at
        findings = range(raw.n_findings) if k == raw.n_findings else [k]
        before, after = ([s.cell(member=m, condition=c, finding=f) for f in findings] for s in (raw, mapped))
        return errors.contributions(one, after, before, member=m, findings=findings)

    defined = [at for at in places if one.undefined(mapped.cell(member=at[0], condition=at[1], finding=at[2])) is None]
    found = [(at, moved) for at, moved in zip(defined, in_threads(of, defined), strict=True) if moved is not None]
    if found:
        drawn = errors.drawn([moved for _, moved in found])
        yield from ((at, moved, row) for (at, moved), row in zip(found, drawn, strict=True))


def _over_replicates(table: _Table, samples: tuple[Sample, ...]) -> Values:
    """Average a regime's replicates; resamples are of patients, and `analysis.replicates` adds what training does."""
    predictions, value, reasons = samples[0].predictions, table.value, table.reasons
    names = [name for name, _ in predictions.members]
    rows = [
        [view * len(names) + m for m, name in enumerate(names) if name == regime]
        for view in range(len(samples))
        for regime in predictions.regimes
    ]
    if len(predictions.regimes) < len(names):
        reasons = np.stack([_first_reason(reasons[some]) for some in rows])

    def mean(array: NDArray[np.float64]) -> NDArray[np.float64]:
        return array if len(rows) == len(array) else np.stack([array[some].mean(axis=0) for some in rows])

    averaged, contributed, share = mean(value), mean(table.contributions), mean(table.shares)
    return Values(
        value=averaged,
        resampled=mean(table.resampled),
        contributions=contributed,
        influences=_influences(averaged, contributed, share),
        shares=share,
        chances=table.chances,
        reasons=reasons,
        worst=np.full(averaged.shape[:2], -1),
        replicates=tuple(value[some] for some in rows),
        run_influences=tuple(
            table.contributions[several] - value[several][..., None] * table.shares[several][:, None]
            for several in (some if len(some) > 1 else [] for some in rows)
        ),
        drawn_runs=samples[0].drawn_runs(table.resampled.shape[-1]) * len(samples),
        samples=samples,
        left_out={},
    )


def _influences(
    value: NDArray[np.float64], contributions: NDArray[np.float64], shares: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return contributions less each patient's share of the value, (n_rows, n_conditions, n_places, n_patients).

    What rounding leaves, of contributions or of a value of 1, is 0: of a value that no patient moves, as where every
    image is right, it would be all that a test of gaps or ratios has to weigh.
    """
    influences = contributions - value[..., None] * shares[:, None]
    size = np.maximum(np.abs(contributions).max(axis=-1), shares.max(axis=-1)[:, None])
    influences[np.abs(influences) <= ROUNDING * size[..., None]] = 0.0
    return influences


def _first_reason(reasons: NDArray[np.object_]) -> NDArray[np.object_]:
    """Return the first replicate's reason that is one, for each condition and place."""
    found = np.full(reasons.shape[1:], None, dtype=object)
    for place in np.ndindex(found.shape):
        found[place] = next((reason for reason in reasons[(slice(None), *place)] if reason is not None), None)
    return found


def _why_left_out(one: Values, k: int) -> LeftOutFinding | None:
    """Say why no macro average counts a finding: not estimable in a cell, or undefined in too many resamples."""
    for row, condition in np.ndindex(one.reasons.shape[:2]):
        if one.reasons[row, condition, k] is not None:
            return _left_out(one, str(one.reasons[row, condition, k]), row, condition)
    missing, most = np.isnan(one.resampled[:, :, k]), one.samples[0].settings.most_undefined
    undefined = missing.mean(axis=-1)
    row, condition = (int(i) for i in np.unravel_index(undefined.argmax(), undefined.shape))
    if undefined.max() > most:
        return _left_out(one, f"not defined in {undefined.max():.1%} of resamples", row, condition)
    in_some_cell = _of_views(missing, len(one.samples)).any(axis=(1, 2)).mean(axis=-1).max()
    if in_some_cell > most:
        return _left_out(one, f"not defined in some cell in {in_some_cell:.1%} of resamples", row, condition)
    return None


def _left_out(one: Values, why: str, row: int, condition: int) -> LeftOutFinding:
    of = one.samples[0]
    view, regime = divmod(row, len(of.predictions.regimes))
    conditions = (*of.predictions.conditions, *of.settings.sets)
    return LeftOutFinding(
        why=why,
        regime=of.predictions.regimes[regime],
        condition=conditions[condition],
        subgroup=one.samples[view].subgroup,
    )


def _with_averages(one: Values, metric: Metric) -> Values:
    """Add the worst finding, where there are several and one way is better, and the macro average."""
    n_findings = one.samples[0].n_findings
    if n_findings == 1:
        return _alone(one)
    why = {k: _why_left_out(one, k) for k in range(n_findings)}
    one = replace(one, left_out={k: left_out for k, left_out in why.items() if left_out is not None})
    estimable = [k for k in range(n_findings) if k not in one.left_out]
    held = _taking(estimable, n_findings)
    nothing = None if estimable else _nothing(one)
    macro = _Place(
        value=one.value[:, :, held].mean(axis=2) if estimable else np.full(one.value.shape[:2], np.nan),
        resampled=mean_over_findings(one.value[:, :, held], one.resampled[:, :, held], n_views=len(one.samples)),
        contributions=_mean(one.contributions[:, :, held], axis=2),
        influences=_mean(one.influences[:, :, held], axis=2),
        shares=_mean(one.shares[:, held], axis=1),
        chance=float(_mean(one.chances[held], axis=0)),
        reason=nothing,
        replicates=tuple(_mean(each[:, :, held], axis=2) for each in one.replicates),
        run_influences=tuple(_mean(each[:, :, held], axis=2) for each in one.run_influences),
    )
    if not metric.better:
        nothing = nothing or "neither way is better"
        estimable = []
    worst, which = _worst(one, estimable, sign=1 if metric.better == "higher" else -1, reason=nothing)
    return _extended(one, [worst, macro], which)


def _alone(one: Values) -> Values:
    """Let the only finding be its macro average too, which lacks what the finding lacks and nothing else."""
    return replace(
        one,
        value=np.repeat(one.value, 2, axis=2),
        resampled=np.repeat(one.resampled, 2, axis=2),
        contributions=np.repeat(one.contributions, 2, axis=2),
        influences=np.repeat(one.influences, 2, axis=2),
        shares=np.repeat(one.shares, 2, axis=1),
        chances=np.repeat(one.chances, 2),
        reasons=np.repeat(one.reasons, 2, axis=2),
        replicates=tuple(np.repeat(each, 2, axis=2) for each in one.replicates),
        run_influences=tuple(np.repeat(each, 2, axis=2) for each in one.run_influences),
    )


def _taking(estimable: Sequence[int], n_findings: int) -> slice | Sequence[int]:
    """Return what takes the estimable findings out of an array: of all a slice, which copies nothing."""
    return slice(n_findings) if len(estimable) == n_findings else estimable


def _nothing(one: Values) -> str:
    """Say of which cell each finding is not estimable, where none is left for the macro average.

    A finding counts in every cell or in none, so that a cell may have values of findings and no average of them.
    """
    names = one.samples[0].predictions.findings
    each = [f"{names[k]} ({left_out.why} in {left_out.where})" for k, left_out in one.left_out.items()]
    return f"no finding is estimable in every cell: {some(each)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """What `Values` holds of one place."""

    value: NDArray[np.float64]
    resampled: NDArray[np.float64]
    contributions: NDArray[np.float64]
    influences: NDArray[np.float64]
    shares: NDArray[np.float64]
    chance: float
    reason: str | None
    replicates: tuple[NDArray[np.float64], ...]
    run_influences: tuple[NDArray[np.float64], ...]


def _worst(one: Values, estimable: Sequence[int], *, sign: int, reason: str | None) -> tuple[_Place, NDArray[np.intp]]:
    """Return the least value over findings, or the greatest where lower is better, and which finding it is."""
    n_rows, n_conditions = one.value.shape[:2]
    if not estimable:
        blank = np.full((n_rows, n_conditions), np.nan)
        return _Place(
            value=blank,
            resampled=np.full((n_rows, n_conditions, one.resampled.shape[-1]), np.nan),
            contributions=np.full((n_rows, n_conditions, one.contributions.shape[-1]), np.nan),
            influences=np.full((n_rows, n_conditions, one.contributions.shape[-1]), np.nan),
            shares=one.shares[:, 0],
            chance=np.nan,
            reason=reason,
            replicates=tuple(np.full(each.shape[:2], np.nan) for each in one.replicates),
            run_influences=tuple(np.full((*each.shape[:2], each.shape[3]), np.nan) for each in one.run_influences),
        ), one.worst
    which = np.asarray(estimable)[(sign * one.value[:, :, estimable]).argmin(axis=2)]

    def of_worst(array: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.take_along_axis(array, which[:, :, None, None], axis=2)[:, :, 0]

    def of_worst_runs(arrays: Sequence[NDArray[np.float64]]) -> tuple[NDArray[np.float64], ...]:
        return tuple(
            np.stack([each[:, c, which[row, c]] for c in range(n_conditions)], axis=1)
            for row, each in enumerate(arrays)
        )

    held = _taking(estimable, one.samples[0].n_findings)
    drawn = with_sample_values(one.value[:, :, held], one.resampled[:, :, held], n_views=len(one.samples))
    return _Place(
        value=np.take_along_axis(one.value, which[:, :, None], axis=2)[:, :, 0],
        resampled=drawn.min(axis=2) if sign > 0 else drawn.max(axis=2),
        contributions=of_worst(one.contributions),
        influences=of_worst(one.influences),
        shares=one.shares[:, estimable].mean(axis=1),
        chance=np.nan,
        reason=reason,
        replicates=of_worst_runs(one.replicates),
        run_influences=of_worst_runs(one.run_influences),
    ), which


def _extended(one: Values, places: Sequence[_Place], worst: NDArray[np.intp]) -> Values:
    """Append places to the findings."""
    reasons = [np.full(one.reasons.shape[:2], place.reason, dtype=object) for place in places]

    def joined(array: NDArray[np.float64], more: Sequence[NDArray[np.float64]], axis: int) -> NDArray[np.float64]:
        return np.concatenate([array, *(np.expand_dims(each, axis) for each in more)], axis=axis)

    return Values(
        value=joined(one.value, [p.value for p in places], 2),
        resampled=joined(one.resampled, [p.resampled for p in places], 2),
        contributions=joined(one.contributions, [p.contributions for p in places], 2),
        influences=joined(one.influences, [p.influences for p in places], 2),
        shares=joined(one.shares, [p.shares for p in places], 1),
        chances=np.append(one.chances, [p.chance for p in places]),
        reasons=np.concatenate([one.reasons, np.stack(reasons, axis=2)], axis=2),
        worst=worst,
        replicates=tuple(
            joined(each, [p.replicates[row] for p in places], 2) for row, each in enumerate(one.replicates)
        ),
        run_influences=tuple(
            joined(each, [p.run_influences[row] for p in places], 2) for row, each in enumerate(one.run_influences)
        ),
        drawn_runs=one.drawn_runs,
        samples=one.samples,
        left_out=one.left_out,
    )


def _mean(array: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Mean along an axis; NaN where it is empty."""
    if array.shape[axis] == 0:
        return np.full(np.delete(array.shape, axis), np.nan)
    return np.asarray(array.mean(axis=axis))


def mean_over_findings(
    value: NDArray[np.float64], resampled: NDArray[np.float64], *, n_views: int = 1
) -> NDArray[np.float64]:
    """Return the mean of resampled values over findings (axis 2); NaN without any; see `with_sample_values`."""
    return _mean(with_sample_values(value, resampled, n_views=n_views), axis=2)


def with_sample_values(
    value: NDArray[np.float64], resampled: NDArray[np.float64], *, n_views: int = 1
) -> NDArray[np.float64]:
    """Return resampled values of findings, (n_rows, n_conditions, n_findings, n_resamples), without single gaps.

    A finding that a resample does not define in one cell of a view has there the sample's value, (n_rows, n_conditions,
    n_findings), in every cell of that view, so that differences stay paired: averages over the others alone would be of
    another estimand, and move with how far this finding is from them. Where no finding is defined all stay NaN.
    """
    views = _of_views(resampled, n_views)
    defined = ~np.isnan(views).any(axis=(1, 2))[:, None, None]  # (n_views, 1, 1, n_findings, n_resamples)
    if defined.all():
        return resampled
    filled = np.where(defined, views, _of_views(value, n_views)[..., None])
    return np.where(defined.any(axis=3, keepdims=True), filled, np.nan).reshape(resampled.shape)


def are_filled(missing: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Return where averages have the sample's value of a finding, (n_findings, n_resamples): where not all miss."""
    every = np.array(missing, dtype=np.bool_)
    return every & ~every.all(axis=0)


def _of_views(array: NDArray[Any], n_views: int) -> NDArray[Any]:
    """Return the rows of each view: (n_rows, ...) to (n_views, n_rows of one, ...)."""
    return array.reshape(n_views, len(array) // n_views, *array.shape[1:])
