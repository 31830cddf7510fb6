"""Which intervals and tests fit which metric, for the study file."""

from cxrobust.analysis.intervals import INTERVALS
from cxrobust.analysis.metrics import Mean, metric

WITH_A_MARGIN = ("tost", "noninferiority")


def fitting_intervals(name: str) -> tuple[str, ...]:
    """Name the intervals that fit a metric: those from resamples always; Wilson's a share; DeLong's the AUROC."""
    only = {"wilson": metric[name].is_share, "delong": name == "auroc", "delong-clustered": name == "auroc"}
    return tuple(interval for interval in INTERVALS if only.get(interval, True))


def fitting_tests(name: str) -> tuple[str, ...]:
    """Name the tests that fit a metric: McNemar's and Cochran's a share; Wilcoxon's a mean; DeLong's the AUROC.

    None fits a metric that is untestable. Of one of labels alone, which no regime and no condition moves, gaps between
    subgroups are all that can be tested, and margins are held against nothing.
    """
    if is_untestable(name):
        return ()
    one = metric[name]
    if one.of_labels:
        return ("permutation",)
    found = ["permutation", "tost", *(["noninferiority"] if one.better else [])]
    if isinstance(one, Mean):
        found += ["wilcoxon", "wilcoxon-clustered"]
        if one.is_share:
            found += ["mcnemar", "mcnemar-midp", "mcnemar-clustered", "mcnemar-durkalski", "cochran-q"]
    if name == "auroc":
        found += ["delong", "delong-clustered"]
    return tuple(found)


def is_untestable(name: str, *, between_subgroups: bool = False) -> bool:
    """Whether no test fits a metric, or its gaps; effect sizes are no metrics, and tested."""
    return name in metric and bool(metric[name].untestable or (between_subgroups and metric[name].biased_by_size))


def has_tested_differences(name: str) -> bool:
    """Whether a test fits the differences between regimes and conditions, which a metric of labels alone has not."""
    return not is_untestable(name) and not (name in metric and metric[name].of_labels)


def widest(name: str) -> float:
    """Return how far apart two values of a metric can be; infinite where it has no bounds."""
    low, high = metric[name].bounds
    return high - low
