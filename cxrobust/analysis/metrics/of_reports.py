"""Scores of generated reports: what `cxrobust.radiology_reports.scores` measures, as metrics of the place `report`."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.metrics import Additive, Mean, Metric, metric
from cxrobust.radiology_reports.scores import Measure, measured

UNSCORED = "no report is scored"


class OfReports(Additive):
    """A function of sums over reports."""

    of_reports: ClassVar[bool] = True
    swapped: ClassVar[bool] = True

    def __init__(self, measure: Measure) -> None:
        self.measure = measure

    def undefined(self, cell: Cell) -> str | None:
        """Say why the metric is not estimable on this cell, or None."""
        if len(cell.labels) == 0:
            return UNSCORED
        with np.errstate(invalid="ignore", divide="ignore"):
            return None if np.isfinite(self.value(cell)) else self.measure.undefined

    def statistics(self, cell: Cell) -> NDArray[np.float64]:
        """Return what is summed over reports, and a count."""
        return np.column_stack([self.measure.of(cell.scores), np.ones(len(cell.labels))])

    def finish(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn sums into values."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.measure.finish(sums))


class MeanOfReports(Mean):
    """The mean over reports of a score that each has."""

    of_reports: ClassVar[bool] = True

    def __init__(self, measure: Measure) -> None:
        self.measure = measure

    def undefined(self, cell: Cell) -> str | None:
        """Say why the metric is not estimable on this cell, or None."""
        return None if len(cell.labels) else UNSCORED

    def score(self, cell: Cell) -> NDArray[np.float64]:
        """Return the score of each report."""
        return self.measure.of(cell.scores)[:, 0]


def of_reports(name: str) -> Metric:
    """Return the metric that tells a measure of `cxrobust.radiology_reports.scores`.

    Raises
    ------
    ValueError
        When no scorer has it.
    """
    try:
        _, measure = measured(name)
    except KeyError:
        raise ValueError(f"{name} is no measure of a scorer") from None
    told = {"__doc__": measure.says, "better": measure.better, "bounds": measure.bounds}
    kind = type("OfReports", (MeanOfReports if measure.is_mean else OfReports,), told)
    made: Metric = kind(measure)
    return made


metric.beginning("", rest="score of reports, see cxrobust list scores")(of_reports)
