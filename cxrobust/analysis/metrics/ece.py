"""Expected calibration error."""

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.metrics import Additive, metric

N_BINS = 15


def bin_index(probabilities: NDArray[np.float64], n_bins: int = N_BINS) -> NDArray[np.intp]:
    """Return the equal-width bin [i/n, (i+1)/n) of each probability; 1.0 falls into the last one."""
    edges = np.linspace(0, 1, n_bins + 1)
    return np.clip(np.searchsorted(edges, probabilities, side="right") - 1, 0, n_bins - 1)


class ECE(Additive):
    """Expected calibration error of the positive class's probability; in [0, 1]; lower is better.

    Σ_b n_b/n · |mean p − observed fraction| over 15 equal-width bins (Naeini et al. 2015, doi:10.1609/aaai.v29i1.9602).
    A resampled ECE is biased upwards, so its interval is recentred at the estimate.
    """

    interval: ClassVar[Literal["percentile", "percentile-recentred"]] = "percentile-recentred"

    def statistics(self, cell: Cell) -> NDArray[np.float64]:
        """Return p − y in the column of each image's bin, and a count."""
        table = np.zeros((len(cell.labels), N_BINS + 1))
        table[np.arange(len(cell.labels)), bin_index(cell.probabilities)] = cell.probabilities - cell.labels
        table[:, -1] = 1
        return table

    def finish(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum the bins' absolute gaps and divide by the number of images."""
        return np.asarray(np.abs(sums[..., :-1]).sum(axis=-1) / sums[..., -1])

    def split(self, sums: NDArray[np.float64], by_patient: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give each patient its part of every bin's gap, with the sign of the whole bin."""
        return np.asarray(by_patient[:, :-1] @ np.sign(sums[:-1]) / sums[-1])


metric("ece")(ECE())
