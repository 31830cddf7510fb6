"""How often intervals held the truth and tests rejected, as shares of the studies that were simulated."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from adapter import OF_IMAGES
from running import METRICS

from cxrobust.analysis.choices import WITH_A_MARGIN, is_untestable
from cxrobust.analysis.metrics import metric

ENOUGH = 20
"""Mean number of positive patients from which on an estimate carries no note of few."""
COVERAGE_BAND, SIZE_BAND = (0.94, 0.96), (0.04, 0.06)
VALUES = ("value",)
DIFFERENCES = ("perturbed-clean", "regime-reference", "difference-in-differences")
INTERVALS = (
    "percentile", "percentile-recentred", "expanded", "t", "t-corrected", "basic", "bca", "studentized", "wilson",
    "delong-clustered", "delong", OF_IMAGES,
)  # fmt: skip
TESTS = (
    "permutation", "wilcoxon-clustered", "mcnemar-clustered", "mcnemar-durkalski", "delong-clustered", "wilcoxon",
    "mcnemar", "mcnemar-midp", "delong", *WITH_A_MARGIN,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """How often an interval held the truth, or a test rejected, in one scenario."""

    scenario: str
    n_patients: int
    correlation: float
    findings: int
    positive_patients: float
    metric: str
    estimand: str
    condition: str
    method: str
    n: int
    """Studies in which there was an interval or a p-value."""
    none: int
    """Studies in which there was none."""
    hits: int

    @property
    def share(self) -> float:
        """Hits of those that there were, in [0, 1]; NaN where there was none."""
        return self.hits / self.n if self.n else float("nan")

    @property
    def se(self) -> float:
        """Monte Carlo standard error of the share, with half a hit and half a miss more so that it is never 0."""
        p = (self.hits + 0.5) / (self.n + 1)
        return float(np.sqrt(p * (1 - p) / (self.n + 1)))

    @property
    def few(self) -> bool:
        """Whether the scenario's studies have fewer than 20 positive patients on average."""
        return self.positive_patients < ENOUGH

    @property
    def is_usual(self) -> bool:
        """Whether at least half of the studies have an interval or a p-value."""
        return self.n > 0 and self.n >= self.none

    def beyond(self, band: tuple[float, float]) -> int:
        """Return −1 or 1 where the share is below or above a band by more than two standard errors, else 0."""
        return int(self.share - 2 * self.se > band[1]) - int(self.share + 2 * self.se < band[0])


def coverages(content: Mapping[str, Any], *, findings: int = 1) -> list[Share]:
    """Return each interval's coverage, of studies of so many findings."""
    return [
        Share(**place, n=n - none, none=none, hits=n - none - below - above)
        for place, n, (none, below, above, _) in rows(content, "intervals")
        if place["findings"] == findings
    ]


def sizes(content: Mapping[str, Any], *, findings: int = 1) -> list[Share]:
    """Return how often each test rejects at 5 % what is true; of a margin, what is just as large.

    Without metrics that no test fits, which may have been simulated before that was known.
    """
    return [
        Share(**place, n=n - none, none=none, hits=hits)
        for place, n, (none, hits) in rows(content, "tests")
        if place["findings"] == findings and not is_untestable(place["metric"])
    ]


def rows(content: Mapping[str, Any], kind: str) -> Iterable[tuple[dict[str, Any], int, list[int]]]:
    """Yield of each metric, method and estimand what it is of, how many studies there were, and the counts."""
    for name, scenario in content["scenarios"].items():
        for of_metric, record in scenario["metrics"].items():
            for method, rows in record[kind].items():
                for place, *counts in rows:
                    estimand, condition = content["places"][place]
                    yield (
                        {
                            "scenario": name,
                            "n_patients": scenario["n_patients"],
                            "correlation": scenario["correlation"],
                            "findings": scenario["findings"],
                            "positive_patients": scenario["sums"][2] / scenario["studies"],
                            "metric": of_metric,
                            "estimand": estimand,
                            "condition": condition,
                            "method": method,
                        },
                        record["studies"],
                        counts,
                    )


def grouped(shares: Iterable[Share]) -> dict[tuple[str, str], list[Share]]:
    """Group by metric and method, in the order of the page."""
    order = [*INTERVALS, *TESTS]
    found: dict[tuple[str, str], list[Share]] = {}
    for one in sorted(shares, key=lambda s: (METRICS.index(s.metric), order.index(s.method), s.scenario)):
        found.setdefault((one.metric, one.method), []).append(one)
    return found


def chosen(
    shares: Iterable[Share],
    *,
    name: str | None = None,
    method: str | Callable[[str], str] | None = None,
    estimands: Sequence[str] | None = None,
    few: bool | None = None,
) -> list[Share]:
    """Return the shares of a metric, method, kind of estimand and number of positive patients that studies had."""
    return [
        one
        for one in shares
        if (name is None or one.metric == name)
        and (method is None or one.method == (method if isinstance(method, str) else method(one.metric)))
        and (estimands is None or one.estimand in estimands)
        and (few is None or one.few == few)
        and one.is_usual
    ]


def default_interval(name: str) -> str:
    """Name a metric's default interval."""
    return metric[name].interval


def mean(some: Sequence[Share]) -> float:
    """Mean share in %, over places; NaN of none."""
    return 100 * float(np.mean([one.share for one in some])) if some else float("nan")


def standard_error(some: Sequence[Share], level: float) -> float:
    """Monte Carlo standard error of a mean share in %, where the level holds and a study's places agree throughout."""
    studies = {one.scenario: one.n for one in some}
    each = [level * (1 - level) / n for n in studies.values()]
    return 100 * float(np.sqrt(sum(each))) / len(each) if each else float("nan")
