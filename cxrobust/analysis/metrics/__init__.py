"""Metrics of one cell: each module registers one or more for `[analysis] metrics = [...]`."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.accelerator import OnDevice, sums_of_tables
from cxrobust.analysis.cells import Cell
from cxrobust.analysis.parallel import CORES, in_threads, shared_out
from cxrobust.analysis.resampling import LANES, Counts, resampled_sums
from cxrobust.registry import Registry
from cxrobust.results import Better
from cxrobust.study.analysis import IntervalName

Carriers: TypeAlias = Literal["images", "positives", "negatives", "rarer class"]
"""Which images carry a value, each the same part of it, where it is split over patients."""


class Metric(Protocol):
    """A number that describes one cell, its patient-level resamples, and what each patient contributes."""

    interval: ClassVar[IntervalName]
    """The interval that holds its level best; `benchmarks/interval_coverage` says how well."""
    is_biased: ClassVar[bool]
    """Whether a resampled value is biased upwards, as that of an absolute value is."""
    bounds: ClassVar[tuple[float, float]]
    """The least and the greatest value."""
    is_share: ClassVar[bool]
    """Whether the value is a share of images, so that Wilson's interval fits."""
    better: ClassVar[Better]
    of_probabilities: ClassVar[bool]
    """Whether it asks what probabilities are worth as such, so that recalibration can mend it."""
    of_decisions: ClassVar[bool]
    """Whether it is of decisions, so that another operating point gives another value."""
    of_confidence: ClassVar[bool]
    """Whether, of decisions, it also asks how sure they are."""
    of_sets: ClassVar[bool]
    """Whether it can be taken over a set of perturbations."""
    of_risk_and_coverage: ClassVar[bool]
    """Whether it sums up the risk-coverage curve, which then stands beside it in the results."""
    against_clean: ClassVar[bool]
    """Whether it compares with the clean images, on which it is therefore 0 by definition."""
    of_labels: ClassVar[bool]
    """Whether it is of the labels alone, and therefore the same for every regime and condition by definition."""
    of_reports: ClassVar[bool]
    """Whether it is of what a generator wrote, and stands at the place `report`."""
    swapped: ClassVar[bool]
    """Whether `permutation` swaps patients' sums between two sides in place of flipping the signs of contributions."""
    untestable: ClassVar[str]
    """Why no test of its differences holds its level, so that they have no p-value; empty where one does."""
    biased_by_size: ClassVar[bool]
    """Whether it is biased by as much as its images are few, so that no gap between subgroups of unequal size is 0."""
    caution: ClassVar[str]
    """What is to be said beside the p-values of its sign flips; empty where they hold their level."""
    carried_by: ClassVar[Carriers]
    """Those whose number limits how well the value is known.

    An influence is centred by the mean of its class. Where one class is rare and all images carry a difference, what
    centring its few images takes away is given back to the many others, and signs reject far too often.
    """

    def undefined(self, cell: Cell) -> str | None:
        """Say why the metric is not estimable on this cell, or None."""

    def value(self, cell: Cell) -> float:
        """Return the metric on the sample."""

    def resample(self, cells: Sequence[Cell], counts: Counts) -> NDArray[np.float64]:
        """Return the metric on each resample, (n_cells, n_lanes); NaN where it is not defined."""

    def share(self, cell: Cell) -> NDArray[np.float64]:
        """Return each patient's part of the cell, (n_patients,), from 0; sums to 1 and depends on the labels alone."""

    def contributions(self, cell: Cell) -> NDArray[np.float64]:
        """Return what each patient contributes, (n_patients,): influence + value × share, which sums to the value."""

    def chance(self, cell: Cell) -> float | None:
        """Return the value that guessing would have, None where there is no such value."""

    def n_behind(self, cell: Cell) -> int | None:
        """Count the patients that a value rests on, where these may be fewer than have a share; else None."""


BYTES_AT_ONCE = 2**28
"""Memory of the tables of sums by patient that are held together."""

STATISTICS_AT_ONCE = 64
"""Sums that are added up together: all of them for 64 resamples stay in the cache nearest to a core."""

metric: Registry[Metric] = Registry("metric", package="cxrobust.analysis.metrics")


class Usual:
    """What holds for most metrics: in [0, 1], higher is better, expanded percentile intervals."""

    interval: ClassVar[IntervalName] = "expanded"
    is_biased: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    is_share: ClassVar[bool] = False
    better: ClassVar[Better] = "higher"
    of_probabilities: ClassVar[bool] = False
    of_decisions: ClassVar[bool] = False
    of_confidence: ClassVar[bool] = False
    of_sets: ClassVar[bool] = False
    of_risk_and_coverage: ClassVar[bool] = False
    against_clean: ClassVar[bool] = False
    of_labels: ClassVar[bool] = False
    of_reports: ClassVar[bool] = False
    swapped: ClassVar[bool] = False
    untestable: ClassVar[str] = ""
    biased_by_size: ClassVar[bool] = False
    caution: ClassVar[str] = ""
    carried_by: ClassVar[Carriers] = "images"

    def undefined(self, cell: Cell) -> str | None:
        """Say why the metric is not estimable on this cell, or None."""
        return "no labelled image" if len(cell.labels) == 0 else None

    def share(self, cell: Cell) -> NDArray[np.float64]:
        """Return each patient's part of the images that carry the value, (n_patients,)."""
        images = cell.patients if self.carried_by == "images" else cell.patients[_carrying(cell, self.carried_by)]
        return np.asarray(np.bincount(images, minlength=cell.n_patients) / len(images))

    def chance(self, cell: Cell) -> float | None:
        """Return the value that guessing would have, None where there is no such value."""
        return None

    def n_behind(self, cell: Cell) -> int | None:
        """Return None: those who have a share."""
        return None


def _carrying(cell: Cell, by: Carriers) -> NDArray[np.bool_]:
    """Return whether each image is one that carries the value; of classes as large as each other positives do.

    The rarer class is that of fewer patients, each counting by how many of its images are theirs.
    """
    is_positive = cell.is_positive
    if by == "rarer class":
        fewer = _effective_patients(cell, is_positive) <= _effective_patients(cell, ~is_positive)
        return is_positive if fewer else ~is_positive
    return is_positive if by == "positives" else ~is_positive


def _effective_patients(cell: Cell, chosen: NDArray[np.bool_]) -> float:
    """Return how many patients with as many images each would vary as those of some images do: (Σ m)² / Σ m²."""
    images = np.bincount(cell.patients[chosen])
    return float(images.sum() ** 2 / max((images**2).sum(), 1))


class Additive(Usual, ABC):
    """A metric that is a function of sums over images."""

    summed: ClassVar[str] = ""
    """Name of what is summed, where other metrics sum the same, so that all of a study are summed once."""
    is_fitted: ClassVar[bool] = False
    """Whether sums hold what is fitted to the whole cell, so that images of a part cannot be moved by their sums."""

    def statistics(self, cell: Cell) -> NDArray[np.float64]:
        """Return what is summed over images, (n_images, n_statistics); the last statistic is 1, which counts images."""
        raise NotImplementedError(f"{type(self).__name__} says neither what it sums over images nor its sums")

    def sums(self, cell: Cell) -> NDArray[np.float64]:
        """Return each patient's sums, (n_patients, n_statistics): of `statistics`, or found in a quicker way."""
        return cell.by_patient(self.statistics(cell))

    def moved_sums(self, cell: Cell, whole: Cell) -> NDArray[np.float64]:
        """Return each patient's sums of a cell whose probabilities have moved a little from those of `whole`.

        What sums hold of the cell as a whole, such as how many images a bin has, stays as it is in `whole`.
        """
        return self.sums(cell)

    @abstractmethod
    def finish(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn sums (..., n_statistics) into values (...)."""

    def split(self, sums: NDArray[np.float64], by_patient: NDArray[np.float64]) -> NDArray[np.float64]:
        """Split the value over patients by images: (n_patients, n_statistics) to (n_patients,), summing to the value.

        A patient's influence is the derivative of the value along what the patient adds to the sums, which is exact to
        rounding by a complex step (Squire and Trapp 1998, doi:10.1137/S003614459631241X) where `finish` is analytic.
        What the value gains when all weights grow alike, which is 0 for most metrics, is taken off in equal shares.
        """
        step = 1e-30
        gradient = self.finish(sums + 1j * step * np.eye(len(sums))).imag / step
        return np.asarray(by_patient @ gradient + (self.finish(sums) - sums @ gradient) * by_patient[:, -1] / sums[-1])

    def n_patients(self, cell: Cell) -> int:
        """Count the patients whose own images define the metric: of a share, those it is a share of."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return int(np.isfinite(self.finish(self.sums(cell))).sum())

    def n_behind(self, cell: Cell) -> int | None:
        """Count the patients that a value rests on, of a share those that it is a share of."""
        return self.n_patients(cell) if self.is_share else None

    def value(self, cell: Cell) -> float:
        """Return the metric on the sample."""
        return float(self.finish(self.sums(cell).sum(axis=0)))

    def resample(self, cells: Sequence[Cell], counts: Counts) -> NDArray[np.float64]:
        """Return the metric on each resample, (n_cells, n_lanes); NaN where a resample has no labelled image."""
        return np.asarray(_resample_tables([self], in_threads(self.sums, cells), counts)[0])

    def contributions(self, cell: Cell) -> NDArray[np.float64]:
        """Return what each patient contributes, (n_patients,): sums to the value."""
        by_patient = self.sums(cell)
        return self.carried(by_patient.sum(axis=0), by_patient, self.share(cell))

    def carried(
        self, sums: NDArray[np.float64], by_patient: NDArray[np.float64], share: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Split the value over patients as `split` does, but let those carry it who have a share, (n_patients,)."""
        parts = self.split(sums, by_patient)
        if self.carried_by == "images":
            return parts
        return np.asarray(parts + float(self.finish(sums)) * (share - by_patient[:, -1] / sums[-1]))


class Ratio(Additive):
    """A metric that is the first sum over the second: a mean or share of some of the images."""

    def finish(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Divide the first sum by the second."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(sums[..., 0] / sums[..., 1])


class Mean(Additive):
    """A metric that is the mean over images of a number that each image has."""

    @abstractmethod
    def score(self, cell: Cell) -> NDArray[np.float64]:
        """Return the number of each image, (n_images,)."""

    def statistics(self, cell: Cell) -> NDArray[np.float64]:
        """Return the scores and a count."""
        score = self.score(cell)
        return np.column_stack([score, np.ones_like(score)])

    def finish(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Divide the sum of scores by the number of images."""
        return np.asarray(sums[..., 0] / sums[..., 1])

    def split(self, sums: NDArray[np.float64], by_patient: NDArray[np.float64]) -> NDArray[np.float64]:
        """Divide each patient's sum of scores by the number of all images."""
        return np.asarray(by_patient[:, 0] / sums[1])


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One metric of one cell."""

    value: float
    resampled: NDArray[np.float64]
    """(n_lanes,)."""
    contributions: NDArray[np.float64]
    """(n_patients,)."""
    share: NDArray[np.float64]
    """(n_patients,)."""


def grouped(metrics: Mapping[str, Metric]) -> list[tuple[str, ...]]:
    """Put the names of metrics together that sum the same over images; the others stand alone, all in order."""
    found: dict[str, list[str]] = {}
    for name, one in metrics.items():
        shared = one.summed if isinstance(one, Additive) else ""
        found.setdefault(f"sums of {shared}" if shared else name, []).append(name)
    return [tuple(names) for names in found.values()]


def measure(
    metrics: Sequence[Metric], cells: Sequence[Cell], counts: Counts, *, defined: NDArray[np.bool_]
) -> list[list[Measured | None]]:
    """Measure a group of metrics on cells where they are defined, (n_metrics, n_cells), on all cores: by cell.

    Parameters
    ----------
    metrics
        One, or several of one group of `grouped`.
    counts
        (n_blocks, n_patients, LANES), from `patient_counts`.
    """
    additive = [one for one in metrics if isinstance(one, Additive)]
    if len(additive) == len(metrics):
        return _measure_sums(additive, cells, counts, defined)
    found: list[list[Measured | None]] = [[None] * len(metrics) for _ in cells]
    for m, one in enumerate(metrics):
        at = [int(i) for i in np.flatnonzero(defined[m])]
        if at:
            shares = _shares(one, [cells[i] for i in at])
            drawn = one.resample([cells[i] for i in at], counts)

            def rest(i: int, one: Metric = one) -> tuple[float, NDArray[np.float64]]:
                value, contributions = one.value(cells[i]), one.contributions(cells[i])
                cells[i].forget()
                return value, contributions

            for i, share, row, (value, contributions) in zip(at, shares, drawn, in_threads(rest, at), strict=True):
                found[i][m] = Measured(value=value, resampled=row, contributions=contributions, share=share)
    return found


def _measure_sums(
    metrics: Sequence[Additive], cells: Sequence[Cell], counts: Counts, defined: NDArray[np.bool_]
) -> list[list[Measured | None]]:
    """Measure metrics of the same sums, as many cells at a time as have tables of bounded memory."""
    found: list[list[Measured | None]] = [[None] * len(metrics) for _ in cells]
    at = [int(i) for i in np.flatnonzero(defined.any(axis=0))]
    step = max(1, BYTES_AT_ONCE // max(metrics[0].sums(cells[at[0]]).nbytes, 1)) if at else 1
    for first in range(0, len(at), step):
        some = at[first : first + step]
        tables = in_threads(lambda i: metrics[0].sums(cells[i]), some)
        drawn = _resample_tables(metrics, tables, counts)
        totals = in_threads(lambda table: np.asarray(table.sum(axis=0)), tables)
        for m, one in enumerate(metrics):
            rows = [int(row) for row in np.flatnonzero(defined[m, some])]

            shares = _shares(one, [cells[some[row]] for row in rows])

            def part(
                at: int, one: Additive = one, rows: Any = rows, of: Any = (totals, tables), shares: Any = shares
            ) -> NDArray[np.float64]:
                return one.carried(of[0][rows[at]], of[1][rows[at]], shares[at])

            for row, share, contributions in zip(rows, shares, in_threads(part, range(len(rows))), strict=True):
                found[some[row]][m] = Measured(
                    value=float(one.finish(totals[row])),
                    resampled=drawn[m, row],
                    contributions=contributions,
                    share=share,
                )
    return found


def _shares(metric: Metric, cells: Sequence[Cell]) -> list[NDArray[np.float64]]:
    """Return each patient's part of each cell, made once for cells of the same labels."""
    made: dict[tuple[int, int], NDArray[np.float64]] = {}
    for cell in cells:
        key = id(cell.labels), id(cell.patients)
        made[key] = made[key] if key in made else metric.share(cell)
    return [made[id(cell.labels), id(cell.patients)] for cell in cells]


def _resample_tables(
    metrics: Sequence[Additive], tables: Sequence[NDArray[np.float64]], counts: Counts
) -> NDArray[np.float64]:
    """Return metrics of the same sums on each table and resample, (n_metrics, n_tables, n_lanes).

    Several tables are summed at once. The last column, a count of images, is that of many tables, and summed once.
    """
    if isinstance(counts, OnDevice):
        return _resample_on_device(metrics, tables, counts)
    out = np.empty((len(metrics), len(tables), len(counts) * LANES))
    n_images, n_statistics = _resampled_images(tables, counts), tables[0].shape[1]
    step = max(1, min(STATISTICS_AT_ONCE // n_statistics, len(tables) // CORES))
    starts = range(0, len(tables), step)

    def fill(at: tuple[int, tuple[int, int]]) -> None:
        first, (low, high) = at
        some = slice(first, first + step)
        beside = np.concatenate(tables[some], axis=1) if step > 1 else tables[first]
        for part, found in resampled_sums(beside, counts[low:high], but_last_of=n_statistics):
            lanes = slice(low * LANES + part.start, low * LANES + part.stop)
            totals = found.reshape(len(found), -1, n_statistics)
            totals[:, :, -1] = n_images[some, lanes].T
            with np.errstate(invalid="ignore", divide="ignore"):
                for m, one in enumerate(metrics):
                    out[m, some, lanes] = one.finish(totals).T

    parts = shared_out(len(counts), n_cells=len(starts))
    in_threads(fill, [(first, part) for first in starts for part in parts])
    return out


def _resample_on_device(
    metrics: Sequence[Additive], tables: Sequence[NDArray[np.float64]], counts: OnDevice
) -> NDArray[np.float64]:
    """Return the same as `_resample_tables`: summed on the device, finished here on all cores."""
    out = np.empty((len(metrics), len(tables), len(counts) * LANES))
    for cells, lanes, totals in sums_of_tables(tables, counts):

        def finish(row: int, found: NDArray[np.float64] = out[:, cells, lanes], sums: Any = totals) -> None:
            with np.errstate(invalid="ignore", divide="ignore"):
                for m, one in enumerate(metrics):
                    found[m, row] = one.finish(sums[row])

        in_threads(finish, range(len(totals)))
    return out


def _resampled_images(tables: Sequence[NDArray[np.float64]], counts: Counts) -> NDArray[np.float64]:
    """Sum the last column of each table, its images, over each resample: (n_tables, n_lanes); once for those alike."""
    found: dict[bytes, NDArray[np.float64]] = {}
    each = []
    for table in tables:
        column = np.ascontiguousarray(table[:, -1:])
        key = column.tobytes()
        if key not in found:
            found[key] = np.concatenate([totals[:, 0] for _, totals in resampled_sums(column, counts)])
        each.append(found[key])
    return np.stack(each)
