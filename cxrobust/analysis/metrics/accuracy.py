"""Accuracy at the operating point."""

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.metrics import Mean, metric


class Accuracy(Mean):
    """Share of images whose predicted class is the label; in [0, 1]; higher is better.

    The predicted class is 1 where probability ≥ the cell's threshold, which was chosen on clean images.
    """

    is_share = True
    of_decisions = True

    def score(self, cell: Cell) -> NDArray[np.float64]:
        """Return 1 where the decision is right, else 0."""
        return np.asarray(cell.decisions == cell.is_positive, dtype=np.float64)


metric("accuracy")(Accuracy())
