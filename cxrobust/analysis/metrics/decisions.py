"""Decisions at the operating point, counted: balanced accuracy, sensitivity, specificity, PPV, NPV, F1, Matthews."""

from abc import abstractmethod
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.metrics import Additive, Carriers, metric


class Confusion(NamedTuple):
    """True and false positives, false and true negatives, each (...)."""

    tp: NDArray[np.float64]
    fp: NDArray[np.float64]
    fn: NDArray[np.float64]
    tn: NDArray[np.float64]


class Decisions(Additive):
    """A metric of the confusion counts: true positives, false positives, false negatives, true negatives."""

    summed = "confusion counts"
    of_decisions = True
    needs: ClassVar[str]
    """What must not be empty: some of `positive`, `negative`, `predicted positive`, `predicted negative`."""

    def statistics(self, cell: Cell) -> NDArray[np.float64]:
        """Return in which of the four cells of the confusion table each image falls, and a count."""
        said, true = cell.decisions, cell.is_positive
        counted = (said & true, said & ~true, ~said & true, ~said & ~true, np.ones_like(said))
        return np.column_stack(counted).astype(np.float64)

    def finish(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn counts into the metric."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.of_counts(Confusion(*(sums[..., i] for i in range(4))))

    @abstractmethod
    def of_counts(self, n: Confusion) -> NDArray[np.float64]:
        """Return the metric of true and false positives, false and true negatives; NaN where it is not defined."""

    def undefined(self, cell: Cell) -> str | None:
        """Say why the metric is not estimable on this cell, or None."""
        counts = {
            "positive": cell.is_positive,
            "negative": ~cell.is_positive,
            "predicted positive": cell.decisions,
            "predicted negative": ~cell.decisions,
        }
        missing = [name for name in self.needs.split(", ") if name and not counts[name].any()]
        return super().undefined(cell) or (f"no {missing[0]} image" if missing else None)


class Sensitivity(Decisions):
    """Share of positive images that are predicted positive; in [0, 1]; higher is better."""

    needs = "positive"
    is_share = True
    carried_by: ClassVar[Carriers] = "positives"

    def of_counts(self, n: Confusion) -> NDArray[np.float64]:
        """Return TP / (TP + FN)."""
        return np.asarray(n.tp / (n.tp + n.fn))


class Specificity(Decisions):
    """Share of negative images that are predicted negative; in [0, 1]; higher is better."""

    needs = "negative"
    is_share = True
    carried_by: ClassVar[Carriers] = "negatives"

    def of_counts(self, n: Confusion) -> NDArray[np.float64]:
        """Return TN / (TN + FP)."""
        return np.asarray(n.tn / (n.tn + n.fp))


class BalancedAccuracy(Decisions):
    """Mean of sensitivity and specificity; in [0, 1]; chance 0.5; higher is better."""

    needs = "positive, negative"
    carried_by: ClassVar[Carriers] = "rarer class"

    def chance(self, cell: Cell) -> float | None:
        """Return 0.5."""
        return 0.5

    def of_counts(self, n: Confusion) -> NDArray[np.float64]:
        """Return (TP / (TP + FN) + TN / (TN + FP)) / 2."""
        return np.asarray((n.tp / (n.tp + n.fn) + n.tn / (n.tn + n.fp)) / 2)


class PPV(Decisions):
    """Positive predictive value: share of images predicted positive that are; in [0, 1]; higher is better."""

    needs = "predicted positive"
    is_share = True

    def of_counts(self, n: Confusion) -> NDArray[np.float64]:
        """Return TP / (TP + FP)."""
        return np.asarray(n.tp / (n.tp + n.fp))


class NPV(Decisions):
    """Negative predictive value: share of images predicted negative that are; in [0, 1]; higher is better."""

    needs = "predicted negative"
    is_share = True

    def of_counts(self, n: Confusion) -> NDArray[np.float64]:
        """Return TN / (TN + FN)."""
        return np.asarray(n.tn / (n.tn + n.fn))


class F1(Decisions):
    """Harmonic mean of sensitivity and PPV; in [0, 1]; higher is better; 0 where nothing is predicted positive.

    It is not defined where no image is positive, as sensitivity is not.
    """

    needs = "positive"

    def of_counts(self, n: Confusion) -> NDArray[np.float64]:
        """Return 2 TP / (2 TP + FP + FN), NaN where TP + FN is 0."""
        return np.where((n.tp + n.fn).real > 0, 2 * n.tp / (2 * n.tp + n.fp + n.fn), np.nan)

    def n_behind(self, cell: Cell) -> int:
        """Count the patients with a positive image."""
        return self.n_patients(cell)


class Matthews(Decisions):
    """Correlation of label and decision; in [−1, 1]; chance 0; higher is better (Matthews 1975).

    doi:10.1016/0005-2795(75)90109-9. It is not defined where labels or decisions are all alike.
    """

    needs = "positive, negative, predicted positive, predicted negative"
    carried_by: ClassVar[Carriers] = "rarer class"
    bounds = (-1.0, 1.0)

    def chance(self, cell: Cell) -> float | None:
        """Return 0."""
        return 0.0

    def of_counts(self, n: Confusion) -> NDArray[np.float64]:
        """Return (TP·TN − FP·FN) / √((TP+FP)(TP+FN)(TN+FP)(TN+FN))."""
        return np.asarray(
            (n.tp * n.tn - n.fp * n.fn) / np.sqrt((n.tp + n.fp) * (n.tp + n.fn) * (n.tn + n.fp) * (n.tn + n.fn))
        )


metric("sensitivity")(Sensitivity())
metric("specificity")(Specificity())
metric("balanced-accuracy")(BalancedAccuracy())
metric("ppv")(PPV())
metric("npv")(NPV())
metric("f1")(F1())
metric("matthews")(Matthews())
