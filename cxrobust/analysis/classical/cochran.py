"""Binary outcomes of several regimes on the same images: one test of all, and one of each pair."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from statsmodels.stats.contingency_tables import cochrans_q
from statsmodels.stats.multitest import multipletests

from cxrobust.analysis.classical.clusters import binary
from cxrobust.analysis.classical.mcnemar import Weighting, mcnemar_clustered, mcnemar_exact
from cxrobust.analysis.classical.result import TestResult, no_test


@dataclass(frozen=True, kw_only=True, slots=True)
class PairTest:
    """McNemar's test of two regimes out of several."""

    first: int
    """Column of the one regime."""
    second: int
    """Column of the other."""
    test: TestResult
    p_adjusted: float
    """Holm's p-value over all pairs; NaN where the test is not estimable."""


def cochran_q(outcomes: ArrayLike) -> TestResult:
    """Cochran's Q test that k regimes succeed equally often; the statistic is χ² with k − 1 degrees of freedom.

    Cochran 1950 (doi:10.1093/biomet/37.3-4.256). Images on which all regimes agree have no say. Images count as
    independent: with several to a patient, take the clustered `pairwise_mcnemar` instead.

    Parameters
    ----------
    outcomes
        (n_images, n_regimes) bool, or 0 and 1; at least 2 regimes.

    Returns
    -------
    TestResult
        NaN where the regimes agree on every image.

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
        return no_test(name, note="the regimes agree on every image")
    found = cochrans_q(table.astype(np.int64))
    return TestResult(name=name, statistic=float(found.statistic), p_value=float(found.pvalue))


def pairwise_mcnemar(
    outcomes: ArrayLike, clusters: ArrayLike | None = None, *, weighting: Weighting = "patients"
) -> tuple[PairTest, ...]:
    """McNemar's test of every pair of regimes, with Holm's adjustment; pairs in the order of their columns.

    Exact without clusters, else that of Durkalski et al.; see `mcnemar_exact` and `mcnemar_clustered`. Holm 1979
    (Scandinavian Journal of Statistics 6:65-70) bounds the chance of any false rejection under any dependence. Tests
    that are not estimable do not count among those adjusted.

    Parameters
    ----------
    outcomes
        (n_images, n_regimes) bool, or 0 and 1; at least 2 regimes.
    clusters
        (n_images,) the patient of each image; without them each image is its own.
    weighting
        With clusters: whether each patient counts the same, or each image.

    Raises
    ------
    ValueError
        When a shape does not fit or a value is neither 0 nor 1.

    Examples
    --------
    >>> pairs = pairwise_mcnemar([[1, 1, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    >>> [(pair.first, pair.second, pair.test.p_value, pair.p_adjusted) for pair in pairs]
    [(0, 1, 1.0, 1.0), (0, 2, 0.25, 0.75), (1, 2, 0.25, 0.75)]
    """
    table = _table(outcomes)
    columns = list(combinations(range(table.shape[1]), 2))
    tests = [
        mcnemar_exact(table[:, i], table[:, j])
        if clusters is None
        else mcnemar_clustered(table[:, i], table[:, j], clusters, weighting=weighting)
        for i, j in columns
    ]
    p_values = np.array([test.p_value for test in tests])
    adjusted = np.full(len(tests), np.nan)
    estimable = ~np.isnan(p_values)
    if estimable.any():
        adjusted[estimable] = multipletests(p_values[estimable], method="holm")[1]
    return tuple(
        PairTest(first=i, second=j, test=test, p_adjusted=float(p))
        for (i, j), test, p in zip(columns, tests, adjusted, strict=True)
    )


def _table(outcomes: ArrayLike) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    table = binary(outcomes, name="outcomes", ndim=2)
    if table.shape[1] < 2:
        raise ValueError(f"outcomes has {table.shape[1]} regime, expected at least 2")
    return table
