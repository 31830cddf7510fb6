"""Results as a report looks at them: estimates by name, conditions in series, what is primary."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrobust.conditions import parse_condition
from cxrobust.reports.words import ADJUSTMENTS
from cxrobust.results import FEW_PATIENTS, MACRO, REPORT, Better, Estimand, Estimate, Results, primary_estimand

CLEAN = "clean"

Key = tuple[str, str, str, str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """Conditions that differ in strength alone: one curve in a figure, or two points where there is one."""

    name: str
    """The condition's text without its strength."""
    kind: str
    """attack, noise, corruption or elsewhere."""
    strength_name: str | None
    conditions: tuple[str, ...]
    """From weak to strong."""
    strengths: tuple[float, ...]

    @property
    def is_one(self) -> bool:
        """Whether nothing was measured between clean images and its only condition."""
        return len(self.conditions) == 1


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """One study's results, indexed; nothing here is computed, only found."""

    results: Results
    images: Path | None
    """Folder that example images' paths are relative to."""
    estimates: dict[Key, Estimate]
    """Of regimes alone and against the reference; other pairs stand in `estimates.csv`."""
    level: float
    reference: str
    regimes: tuple[str, ...]
    metrics: tuple[str, ...]
    better: dict[str, Better]
    """Of each metric of the study which way is better."""
    findings: tuple[dict[str, Any], ...]
    conditions: dict[str, dict[str, Any]]
    series: tuple[Series, ...]
    primary: str | None
    """The primary condition, when it has estimates."""
    procedures: tuple[str, ...]
    """Every interval and test of the estimates, by name and each once."""

    @classmethod
    def of(cls, results: Results, *, images: Path | None) -> "View":
        """Index results."""
        present = {estimate.metric for estimate in results.estimates}
        conditions = {condition["name"]: condition for condition in results.conditions}
        reference = results.study["study"]["reference"]
        return cls(
            results=results,
            images=images,
            estimates={
                (e.estimand, e.metric, e.regime, e.condition, MACRO if e.finding == REPORT else e.finding): e
                for e in results.find()
                if e.reference in {None, reference}
            },
            level=float(results.study["analysis"]["level"]),
            reference=reference,
            regimes=tuple(regime["name"] for regime in results.regimes),
            metrics=tuple(metric for metric in results.study["analysis"]["metrics"] if metric in present),
            better={metric.name: metric.better for metric in results.metrics},
            findings=tuple(results.data["findings"]),
            conditions=conditions,
            series=_series(conditions.values()),
            primary=results.primary_condition if results.primary_condition in conditions else None,
            procedures=tuple(sorted({one for e in results.estimates for one in (e.interval, e.test) if one})),
        )

    @property
    def clean_and_primary(self) -> list[str]:
        """The clean condition, and the primary one where there is one."""
        return [CLEAN, *([self.primary] if self.primary else [])]

    @property
    def fixed_operating_point(self) -> float | None:
        """The threshold in (0, 1) that the study fixes for all decisions; None where it is chosen on images."""
        point = self.results.study["analysis"].get("operating_point")
        return point if isinstance(point, float) else None

    @property
    def alpha(self) -> float:
        """1 − confidence level: below it, a difference counts as shown."""
        return round(1 - self.level, 10)

    @property
    def adjustment(self) -> str:
        """How p-values are adjusted, in words."""
        return ADJUSTMENTS[self.results.study["analysis"].get("adjust", "holm")]

    def method_of(self, family: str | None) -> str:
        """Return how p-values of a family are adjusted, as the study file writes it."""
        analysis = self.results.study["analysis"]
        own = (one.get("adjust") for one in analysis.get("families", ()) if one["name"] == family)
        return next(own, None) or str(analysis.get("adjust", "holm"))

    def is_adjusted(self, estimate: Estimate) -> bool:
        """Whether an estimate's p-value is adjusted for others."""
        return estimate.p_adjusted is not None and self.method_of(estimate.family) != "none"

    @property
    def p_name(self) -> str:
        """What the p-value is called that says whether a difference is shown: `adjusted p`; `p` where none is adjusted."""
        families = (None, *(one["name"] for one in self.results.study["analysis"].get("families", ())))
        return "p" if all(self.method_of(family) == "none" for family in families) else "adjusted p"

    @property
    def others(self) -> tuple[str, ...]:
        """The regimes that are compared with the reference."""
        return tuple(regime for regime in self.regimes if regime != self.reference)

    @property
    def has_replicates(self) -> bool:
        """Whether a regime has several training runs."""
        return any(int(regime.get("replicates", 1)) > 1 for regime in self.results.regimes)

    def is_of_reports(self, metric: str) -> bool:
        """Whether a metric is told of whole reports, so that it has neither findings nor an average over them."""
        found = (self.value(metric, one, CLEAN) for one in self.regimes)
        return any(one is not None and one.finding == REPORT for one in found)

    def with_score(self, metrics: tuple[str, ...]) -> tuple[str, ...]:
        """Return metrics, and with them the study's first score of reports where it has some and they hold none."""
        scores = [metric for metric in self.metrics if self.is_of_reports(metric)]
        return metrics if not scores or set(scores) & set(metrics) else (*metrics, scores[0])

    @property
    def of_findings(self) -> tuple[str, ...]:
        """The metrics that are told of each finding: all but the scores of reports."""
        return tuple(metric for metric in self.metrics if not self.is_of_reports(metric))

    @property
    def has_averages(self) -> bool:
        """Whether any metric is averaged over findings."""
        return len(self.findings) > 1 and bool(self.of_findings)

    @property
    def overall(self) -> str:
        """What estimates over all findings, or of whole reports, are called together: `macro averages`."""
        if not self.of_findings:
            return "scores of reports"
        return (
            "macro averages" if len(self.of_findings) == len(self.metrics) else "macro averages and scores of reports"
        )

    @property
    def comparison(self) -> Estimand:
        """The estimand that answers the question: what the study's regimes and conditions allow."""
        return primary_estimand(n_regimes=len(self.regimes), primary_condition=self.primary)

    @property
    def compared(self) -> tuple[str, ...]:
        """The regimes for which `comparison` has an estimate: all but the reference, or the only one."""
        return self.others or self.regimes

    @property
    def primary_series(self) -> Series | None:
        """The series that the primary condition belongs to."""
        return next((one for one in self.series if self.primary in one.conditions), None)

    @property
    def control(self) -> str | None:
        """The noise condition of the same size as the primary attack: as recorded, else by the strength."""
        own = self.conditions[self.primary] if self.primary else {}
        if "control" in own:
            return next((name for name in self.conditions if name == own["control"]), None)
        strength, named = own.get("strength"), own.get("strength_name")
        noise = {name: one for name, one in self.conditions.items() if one["kind"] == "noise"}
        if strength is None:
            return next(
                (name for name in noise if self.primary and str(parse_condition(name).noise_of) == self.primary), None
            )
        alike = (name for name, one in noise.items() if (one["strength"], one["strength_name"]) == (strength, named))
        return next(alike, None)

    def get(
        self, estimand: Estimand, metric: str, regime: str, condition: str, finding: str = MACRO
    ) -> Estimate | None:
        """Return one estimate, or None where the results do not hold it."""
        return self.estimates.get((estimand, metric, regime, condition, finding))

    def value(self, metric: str, regime: str, condition: str, finding: str = MACRO) -> Estimate | None:
        """Return a metric's value."""
        return self.get("value", metric, regime, condition, finding)

    def change(self, metric: str, regime: str, condition: str, finding: str = MACRO) -> Estimate | None:
        """Return perturbed − clean."""
        return self.get("perturbed-clean", metric, regime, condition, finding)

    def contrast(
        self, metric: str, regime: str, finding: str = MACRO, *, condition: str | None = None
    ) -> Estimate | None:
        """Return the estimate of `comparison`, under the primary condition unless another is given."""
        return self.get(self.comparison, metric, regime, condition or self.primary or CLEAN, finding)

    def of_kind(self, *kinds: str) -> tuple[Series, ...]:
        """Return the series of these kinds, in the order of the study."""
        return tuple(one for one in self.series if one.kind in kinds)


def _series(conditions: Iterable[dict[str, Any]]) -> tuple[Series, ...]:
    members: dict[tuple[str, str, str | None], list[tuple[float, str]]] = {}
    for condition in conditions:
        if condition["kind"] != CLEAN:
            key = (condition["series"], condition["kind"], condition["strength_name"])
            members.setdefault(key, []).append((condition["strength"] or 0.0, condition["name"]))
    return tuple(
        Series(
            name=name,
            kind=kind,
            strength_name=strength_name,
            conditions=tuple(condition for _, condition in sorted(found)),
            strengths=tuple(strength for strength, _ in sorted(found)),
        )
        for (name, kind, strength_name), found in members.items()
    )


def detects(view: View) -> bool:
    """Whether some primary comparison has a smallest size that it detects."""
    return any(one.size is not None for one in view.results.power)


def is_few(estimate: Estimate) -> bool:
    """Whether a finding has so few positive patients that its estimate is shown with an open mark."""
    return estimate.finding not in {MACRO, REPORT} and estimate.n_positive_patients < FEW_PATIENTS
