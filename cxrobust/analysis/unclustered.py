"""What is published today: standard errors that take images for independent, beside the patient-level ones."""

import numpy as np

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.metrics.auroc import placements


def delong_se(cell: Cell) -> float:
    """Standard error of the AUROC if images were independent (DeLong et al. 1988, doi:10.2307/2531595).

    NaN where a class has fewer than two images.
    """
    positive, negative = placements(cell)
    if min(len(positive), len(negative)) < 2:
        return float("nan")
    return float(np.sqrt(positive.var(ddof=1) / len(positive) + negative.var(ddof=1) / len(negative)))
