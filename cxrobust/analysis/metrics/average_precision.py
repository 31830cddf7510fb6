"""Average precision: area under the precision-recall curve."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.metrics import Carriers, Usual, metric
from cxrobust.analysis.ranks import HeadShares, resample_ranked, resampled_head_share
from cxrobust.analysis.resampling import Counts


class AveragePrecision(Usual):
    """Mean over positive images of the precision at their score; in (0, 1]; higher is better; chance is the prevalence.

    Precision at a score is the share of positives among images that score no lower, so tied images enter together. It
    is scikit-learn's Σ_g (R_g − R_{g−1}) P_g over groups of tied scores, with recall R and precision P, and nothing is
    interpolated (Davis and Goadrich 2006, doi:10.1145/1143844.1143874).

    Examples
    --------
    >>> from cxrobust.analysis.cells import Cell
    >>> cell = Cell(
    ...     labels=np.array([0, 0, 1, 1], np.int8),
    ...     probabilities=np.array([0.1, 0.4, 0.3, 0.8]),
    ...     patients=np.arange(4, dtype=np.int32),
    ...     n_patients=4,
    ...     threshold=0.5,
    ...     clean=np.array([0.1, 0.4, 0.3, 0.8]),
    ...     weaker=(),
    ... )
    >>> round(AveragePrecision().value(cell), 6)  # (1/1 + 2/3) / 2
    0.833333
    """

    carried_by: ClassVar[Carriers] = "positives"

    def chance(self, cell: Cell) -> float | None:
        """Return the prevalence."""
        return float(cell.is_positive.mean())

    def undefined(self, cell: Cell) -> str | None:
        """Say why the metric is not estimable on this cell, or None."""
        return super().undefined(cell) or ("one class only" if cell.one_class else None)

    def value(self, cell: Cell) -> float:
        """Return the average precision of the sample."""
        return _ranked(cell).value()

    def resample(self, cells: Sequence[Cell], counts: Counts) -> NDArray[np.float64]:
        """Return the average precision of each resample, (n_cells, n_lanes); NaN where it has one class only."""
        return resample_ranked(resampled_head_share, _arrays, cells, counts)

    def contributions(self, cell: Cell) -> NDArray[np.float64]:
        """Return each patient's influence plus its part of the positives times the value; sums to the value.

        With S positives in all, s_g of them in a group g of tied scores, and T_g among the N_g images that score no
        lower, an image of label y in group h has

            [y T_h/N_h + Σ_{g ≥ h} s_g (y − T_g/N_g) / N_g] / S,

        its own precision and what it does to the precision at the positives that score no higher.
        """
        return cell.by_patient(_ranked(cell).contributions())


def _ranked(cell: Cell) -> HeadShares:
    return cell.once("ranked by probability", _sorted)


def _sorted(cell: Cell) -> HeadShares:
    is_positive = cell.labels == 1
    return HeadShares.sort(cell.probabilities, selected=is_positive, hit=is_positive)


def _arrays(cell: Cell) -> tuple[NDArray[Any], ...]:
    return _ranked(cell).arrays(cell.patients)


metric("average-precision")(AveragePrecision())
