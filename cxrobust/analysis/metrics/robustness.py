"""Robustness of decisions at the operating point: which stay right, which change, which an attack turns."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.metrics import Mean, Ratio, metric
from cxrobust.results import Better


class RobustAccuracy(Mean):
    """Share of decisions right on the clean image and under the perturbation at every strength up to this; in [0, 1].

    The worst case over the conditions of one curve, so it never rises with the strength; higher is better. Of a set
    (`[analysis.sets]`): right on the clean image and under every perturbation of the set.
    """

    is_share = True
    of_decisions = True
    of_sets = True

    def chance(self, cell: Cell) -> float | None:
        """Return 0, where strong attacks end; so the half-margin is the median least strength that turns a decision."""
        return 0.0

    def score(self, cell: Cell) -> NDArray[np.float64]:
        """Return 1 where every decision is right, else 0."""
        right = np.stack([(p >= cell.threshold) == cell.is_positive for p in (cell.clean, *cell.weaker)])
        return np.asarray(right.all(axis=0), dtype=np.float64)


class FlipRate(Mean):
    """Share of decisions that differ from those on the clean images; in [0, 1]; 0 on clean images; lower is better."""

    is_share = True
    of_decisions = True
    against_clean = True
    better: ClassVar[Better] = "lower"

    def score(self, cell: Cell) -> NDArray[np.float64]:
        """Return 1 where the decision differs, else 0."""
        return np.asarray(cell.decisions != (cell.clean >= cell.threshold), dtype=np.float64)


class AttackSuccess(Ratio):
    """Share of the decisions right on the clean images that are wrong here; in [0, 1]; lower is better."""

    is_share = True
    of_decisions = True
    against_clean = True
    better: ClassVar[Better] = "lower"

    def statistics(self, cell: Cell) -> NDArray[np.float64]:
        """Return whether a decision was right and is wrong, whether it was right, and a count."""
        was_right = (cell.clean >= cell.threshold) == cell.is_positive
        turned = was_right & (cell.decisions != cell.is_positive)
        return np.column_stack([turned, was_right, np.ones_like(turned)]).astype(np.float64)

    def undefined(self, cell: Cell) -> str | None:
        """Say why the metric is not estimable on this cell, or None."""
        was_right = (cell.clean >= cell.threshold) == cell.is_positive
        return super().undefined(cell) or (None if was_right.any() else "no decision on a clean image is right")


metric("robust-accuracy")(RobustAccuracy())
metric("flip-rate")(FlipRate())
metric("attack-success")(AttackSuccess())
