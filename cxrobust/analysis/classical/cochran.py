"""Binary outcomes of several regimes on the same images: one test of all, and one of each pair."""

import numpy as np
from numpy.typing import ArrayLike
from statsmodels.stats.contingency_tables import cochrans_q

from cxrobust.analysis.classical.clusters import binary
from cxrobust.analysis.classical.result import TestResult, no_difference


def cochran_q(outcomes: ArrayLike) -> TestResult:
    """Cochran's Q test that k regimes succeed equally often; the statistic is χ² with k − 1 degrees of freedom.

    Cochran 1950 (doi:10.1093/biomet/37.3-4.256). Images on which all regimes agree have no say. Images count as
    independent: with several to a patient, compare pairs by `mcnemar_clustered` instead.

    Parameters
    ----------
    outcomes
        (n_images, n_regimes) bool, or 0 and 1; at least 2 regimes.

    Returns
    -------
    TestResult
        p = 1 where the regimes agree on every image.

    Raises
    ------
    ValueError
        When `outcomes` has another number of axes, fewer than 2 regimes, or values other than 0 and 1.

    Examples
    --------
    >>> round(cochran_q([[1, 1, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]).statistic, 4)
    4.5
    """
    name = "Cochran's Q test"
    table = _table(outcomes)
    if (table == table[:, :1]).all():
        return no_difference(name, note="the regimes agree on every image")
    found = cochrans_q(table.astype(np.int64))
    return TestResult(name=name, statistic=float(found.statistic), p_value=float(found.pvalue))


def _table(outcomes: ArrayLike) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    table = binary(outcomes, name="outcomes", ndim=2)
    if table.shape[1] < 2:
        raise ValueError(f"outcomes has {table.shape[1]} regime, expected at least 2")
    return table
