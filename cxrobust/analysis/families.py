"""Families of tests: which p-values are adjusted together, and how."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from statsmodels.stats.multitest import multipletests

from cxrobust.results import Estimate
from cxrobust.study import Adjustment

PRIMARY = "primary"
METHODS: dict[Adjustment, str | None] = {
    "holm": "holm",
    "hommel": "hommel",
    "bonferroni": "bonferroni",
    "benjamini-hochberg": "fdr_bh",
    "benjamini-yekutieli": "fdr_by",
    "none": None,
}
"""Names of the study file, and statsmodels' own."""


def family_of(estimate: Estimate, *, primary_condition: str | None) -> str | None:
    """Name the family of an estimate's test.

    The primary family is the difference-in-differences of the macro averages under the primary condition, all metrics
    and regimes together; in a study of clean images alone it is the macro regime − reference. Other macro averages form
    one family for each estimand and metric, micro averages another; single findings one for each estimand, metric,
    regime and condition.
    """
    if estimate.estimand in {"value", "area"}:
        return None
    if estimate.finding == "micro":
        return f"{estimate.estimand}, {estimate.metric}, micro"
    if estimate.finding == "macro":
        wanted = "regime-reference" if primary_condition is None else "difference-in-differences"
        if estimate.estimand == wanted and estimate.condition == (primary_condition or "clean"):
            return PRIMARY
        return f"{estimate.estimand}, {estimate.metric}, macro"
    return f"{estimate.estimand}, {estimate.metric}, {estimate.regime}, {estimate.condition}, findings"


def adjust(
    estimates: Sequence[Estimate], *, primary_condition: str | None, method: Adjustment = "holm"
) -> tuple[Estimate, ...]:
    """Name each estimate's family and adjust its p-value within it.

    Holm 1979 (doi:10.2307/4615733), Hommel 1988 (doi:10.1093/biomet/75.2.383) and Bonferroni bound the chance of any
    false positive; Benjamini and Hochberg 1995 (doi:10.1111/j.2517-6161.1995.tb02031.x) the expected share of false
    ones among positives; Benjamini and Yekutieli 2001 (doi:10.1214/aos/1013699998) the same under any dependence.
    `none` leaves p-values as they are.
    """
    named = [replace(e, family=family_of(e, primary_condition=primary_condition)) for e in estimates]
    members: dict[str, list[int]] = {}
    for index, estimate in enumerate(named):
        if estimate.family is not None and estimate.p_value is not None:
            members.setdefault(estimate.family, []).append(index)
    with _quick_collections():
        for indices in members.values():
            p_values = [named[i].p_value for i in indices]
            name = METHODS[method]
            adjusted = p_values if name is None else multipletests(p_values, method=name)[1]
            for i, p in zip(indices, adjusted, strict=True):
                named[i] = replace(named[i], p_adjusted=float(p))
    return tuple(e if e.p_value is not None else replace(e, family=None) for e in named)


@contextmanager
def _quick_collections() -> Iterator[None]:
    """Spare what is alive from garbage collection: statsmodels' `multipletests` collects at each call."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
