"""Metrics of one cell: each module registers one or more for `[analysis] metrics = [...]`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.resampling import Counts, resampled_sums
from cxrobust.registry import Registry

Better: TypeAlias = Literal["higher", "lower"] | None
"""Which way is better; None where neither is."""


class Metric(Protocol):
    """A number that describes one cell, its patient-level resamples, and what each patient contributes."""

    interval: ClassVar[Literal["percentile", "percentile-recentred"]]
    """The interval that holds its level for this metric's values."""
    bounds: ClassVar[tuple[float, float]]
    """The least and the greatest value."""
    is_share: ClassVar[bool]
    """Whether the value is a share of images, so that Wilson's interval fits."""
    better: ClassVar[Better]

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


metric: Registry[Metric] = Registry("metric", package="cxrobust.analysis.metrics")


class Usual:
    """What holds for most metrics: in [0, 1], higher is better, percentile intervals."""

    interval: ClassVar[Literal["percentile", "percentile-recentred"]] = "percentile"
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    is_share: ClassVar[bool] = False
    better: ClassVar[Better] = "higher"

    def share(self, cell: Cell) -> NDArray[np.float64]:
        """Return each patient's part of the images, (n_patients,)."""
        images = np.bincount(cell.patients, minlength=cell.n_patients)
        return np.asarray(images / len(cell.labels))


class Additive(Usual, ABC):
    """A metric that is a function of sums over images."""

    @abstractmethod
    def statistics(self, cell: Cell) -> NDArray[np.float64]:
        """Return what is summed over images, (n_images, n_statistics); the last statistic is 1, which counts images."""

    @abstractmethod
    def finish(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn sums (..., n_statistics) into values (...)."""

    def split(self, sums: NDArray[np.float64], by_patient: NDArray[np.float64]) -> NDArray[np.float64]:
        """Split the value over patients: (n_patients, n_statistics) to (n_patients,), which sums to the value.

        A patient's influence is the derivative of the value along what the patient adds to the sums, which is exact to
        rounding by a complex step (Squire and Trapp 1998, doi:10.1137/S003614459631241X) where `finish` is analytic.
        What the value gains when all weights grow alike, which is 0 for most metrics, is taken off in equal shares.
        """
        step = 1e-30
        gradient = np.array([self.finish(sums + 1j * step * unit).imag / step for unit in np.eye(len(sums))])
        return np.asarray(by_patient @ gradient + (self.finish(sums) - sums @ gradient) * by_patient[:, -1] / sums[-1])

    def undefined(self, cell: Cell) -> str | None:
        """Say why the metric is not estimable on this cell, or None."""
        return "no labelled image" if len(cell.labels) == 0 else None

    def value(self, cell: Cell) -> float:
        """Return the metric on the sample."""
        return float(self.finish(self.statistics(cell).sum(axis=0)))

    def resample(self, cells: Sequence[Cell], counts: Counts) -> NDArray[np.float64]:
        """Return the metric on each resample, (n_cells, n_lanes); NaN where a resample has no labelled image."""
        sums = [cell.by_patient(self.statistics(cell)) for cell in cells]
        n_statistics = sums[0].shape[1]
        out = np.empty((len(cells), counts.shape[0] * counts.shape[2]))
        for lanes, totals in resampled_sums(np.concatenate(sums, axis=1), counts):
            by_cell = totals.reshape(len(totals), len(cells), n_statistics)
            with np.errstate(invalid="ignore", divide="ignore"):
                out[:, lanes] = self.finish(by_cell).T
        return out

    def contributions(self, cell: Cell) -> NDArray[np.float64]:
        """Return what each patient contributes, (n_patients,): sums to the value."""
        by_patient = cell.by_patient(self.statistics(cell))
        return self.split(by_patient.sum(axis=0), by_patient)


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
