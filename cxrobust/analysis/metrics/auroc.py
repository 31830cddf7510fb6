"""Area under the receiver operating characteristic curve."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.metrics import Carriers, Usual, metric
from cxrobust.analysis.ranks import last_of_ties, resample_ranked, resampled_auroc
from cxrobust.analysis.resampling import Counts


class AUROC(Usual):
    """Probability that a positive image scores above a negative one, ties counting half; in [0, 1]; chance 0.5."""

    carried_by: ClassVar[Carriers] = "rarer class"

    def chance(self, cell: Cell) -> float | None:
        """Return 0.5."""
        return 0.5

    def undefined(self, cell: Cell) -> str | None:
        """Say why the metric is not estimable on this cell, or None."""
        return super().undefined(cell) or ("one class only" if cell.one_class else None)

    def value(self, cell: Cell) -> float:
        """Return the AUROC of the sample."""
        return float(placements(cell)[0].mean())

    def resample(self, cells: Sequence[Cell], counts: Counts) -> NDArray[np.float64]:
        """Return the AUROC of each resample, (n_cells, n_lanes); NaN where a resample has one class only."""
        return resample_ranked(resampled_auroc, _ascending, cells, counts)

    def contributions(self, cell: Cell) -> NDArray[np.float64]:
        """Return each patient's influence plus its share of the value, (n_patients,): sums to the value.

        The influence is that of DeLong et al. 1988 (doi:10.2307/2531595) summed over a patient's images as in
        Obuchowski 1997 (doi:10.2307/2533958); the share is the patient's part of the rarer class.
        """
        positive, negative = placements(cell)
        value = positive.mean()
        is_positive = cell.labels == 1
        each = np.empty(len(cell.labels))
        each[is_positive] = (positive - value) / len(positive)
        each[~is_positive] = (negative - value) / len(negative)
        return np.asarray(cell.by_patient(each) + value * self.share(cell))


def placements(cell: Cell) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Placement values: for each positive the share of negatives below it, for each negative of positives above it.

    Ties count half; both means are the AUROC. Order of images is kept.
    """
    return cell.once("placements", _placed)


def _placed(cell: Cell) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    is_positive, order = cell.labels == 1, cell.once("order by probability", _order)
    last = last_of_ties(cell.probabilities[order])
    group: NDArray[np.intp] = np.cumsum(last) - last
    n_positive = np.bincount(group, weights=is_positive[order])
    n_negative = np.bincount(group) - n_positive
    below = np.cumsum(n_negative) - n_negative / 2
    above = n_positive.sum() - np.cumsum(n_positive) + n_positive / 2
    of_image = np.empty(len(order), np.intp)
    of_image[order] = group
    return below[of_image[is_positive]] / n_negative.sum(), above[of_image[~is_positive]] / n_positive.sum()


def _ascending(cell: Cell) -> tuple[Any, ...]:
    order = cell.once("order by probability", _order)
    return cell.patients[order], cell.is_positive[order], last_of_ties(cell.probabilities[order])


def _order(cell: Cell) -> NDArray[np.intp]:
    return np.argsort(cell.probabilities)  # the order of equals changes no whole-number sum


metric("auroc")(AUROC())
