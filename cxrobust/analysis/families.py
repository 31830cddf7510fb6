"""Families of tests: which p-values are adjusted together, by Holm's method."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from statsmodels.stats.multitest import multipletests

from cxrobust.results import Estimate

PRIMARY = "primary"


def family_of(estimate: Estimate, *, primary_condition: str | None) -> str | None:
    """Name the family of an estimate's test.

    The primary family is the difference-in-differences of the macro averages under the primary condition, all metrics
    and regimes together; in a study of clean images alone it is the macro regime − reference. Other macro averages form
    one family for each estimand and metric, micro averages another; single findings one for each estimand, metric,
    regime and condition.
    """
    if estimate.estimand == "value":
        return None
    if estimate.finding == "micro":
        return f"{estimate.estimand}, {estimate.metric}, micro"
    if estimate.finding == "macro":
        wanted = "regime-reference" if primary_condition is None else "difference-in-differences"
        if estimate.estimand == wanted and estimate.condition == (primary_condition or "clean"):
            return PRIMARY
        return f"{estimate.estimand}, {estimate.metric}, macro"
    return f"{estimate.estimand}, {estimate.metric}, {estimate.regime}, {estimate.condition}, findings"


def adjust(estimates: Sequence[Estimate], *, primary_condition: str | None) -> tuple[Estimate, ...]:
    """Name each estimate's family and adjust its p-value within it by Holm 1979 (doi:10.2307/4615733)."""
    named = [replace(e, family=family_of(e, primary_condition=primary_condition)) for e in estimates]
    members: dict[str, list[int]] = {}
    for index, estimate in enumerate(named):
        if estimate.family is not None and estimate.p_value is not None:
            members.setdefault(estimate.family, []).append(index)
    with _quick_collections():
        for indices in members.values():
            adjusted = multipletests([named[i].p_value for i in indices], method="holm")[1]
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
