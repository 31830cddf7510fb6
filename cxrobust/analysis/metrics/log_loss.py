"""Log loss."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.metrics import Mean, metric
from cxrobust.results import Better

SMALLEST = float(np.finfo(np.float64).eps)
"""Probabilities are kept this far from 0 and 1, as scikit-learn keeps them, so that one certain error is finite."""


class LogLoss(Mean):
    """Mean of −log of the probability given to the true class, in nats; from 0; lower is better.

    Probabilities of 0 and 1 count as 2.2e−16 and 1 − 2.2e−16.
    """

    of_probabilities = True
    better: ClassVar[Better] = "lower"
    bounds = (0.0, float("inf"))

    def score(self, cell: Cell) -> NDArray[np.float64]:
        """Return the negative log probability of each label."""
        p = np.clip(cell.probabilities, SMALLEST, 1 - SMALLEST)
        return np.asarray(-np.log(np.where(cell.is_positive, p, 1 - p)))


metric("log-loss")(LogLoss())
