"""Metrics on every cell of a sample: from images to values, by member, then by regime, then with averages."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.averages import with_averages
from cxrobust.analysis.cells import Cell
from cxrobust.analysis.intervals import ROUNDING
from cxrobust.analysis.map_errors import MapErrors
from cxrobust.analysis.metrics import Additive, Measured, Metric, measure
from cxrobust.analysis.parallel import in_threads
from cxrobust.analysis.sample import Sample
from cxrobust.analysis.values import Values

CELLS_AT_ONCE = 256
"""Cells resampled together: enough to share the work on the counts, few enough to bound memory."""


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
        name: with_averages(_over_replicates(metrics[name], table, tuple(samples)), metrics[name])
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


def _over_replicates(metric: Metric, table: _Table, samples: tuple[Sample, ...]) -> Values:
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
        metric=metric,
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
