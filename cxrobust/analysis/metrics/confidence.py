"""Mean confidence."""

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.metrics import Mean, metric


class Confidence(Mean):
    """Mean of max(p, 1 − p): the probability given to the more probable class; in [0.5, 1]; neither way is better."""

    def score(self, cell: Cell) -> NDArray[np.float64]:
        """Return max(p, 1 − p) of each image."""
        return np.maximum(cell.probabilities, 1 - cell.probabilities)


metric("confidence")(Confidence())
