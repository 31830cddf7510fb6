"""Brier score."""

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.metrics import Mean, metric


class Brier(Mean):
    """Mean squared difference of probability and label; in [0, 1]; lower is better (Brier 1950).

    doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2
    """

    def score(self, cell: Cell) -> NDArray[np.float64]:
        """Return (p − y)² of each image."""
        return np.asarray((cell.probabilities - cell.labels) ** 2)


metric("brier")(Brier())
