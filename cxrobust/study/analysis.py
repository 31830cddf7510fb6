"""The sections of [analysis]: metrics, operating point, intervals, tests, families, subgroups."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from cxrobust.conditions import parse_condition
from cxrobust.results import MACRO
from cxrobust.study.sections import Section

MetricName = str


class TargetPoint(Section):
    """The operating point that reaches a stated sensitivity or specificity."""

    sensitivity: float | None = Field(default=None, gt=0, lt=1)
    specificity: float | None = Field(default=None, gt=0, lt=1)

    @model_validator(mode="after")
    def _one(self) -> "TargetPoint":
        if (self.sensitivity is None) == (self.specificity is None):
            raise ValueError("give either sensitivity or specificity")
        return self


OperatingPoint = Literal["youden"] | Annotated[float, Field(gt=0, lt=1)] | TargetPoint


IntervalName = Literal[
    "percentile",
    "percentile-recentred",
    "expanded",
    "t",
    "t-corrected",
    "basic",
    "bca",
    "studentized",
    "wilson",
    "delong",
    "delong-clustered",
]
TestName = Literal[
    "permutation", "mcnemar", "mcnemar-midp", "mcnemar-clustered", "mcnemar-durkalski", "delong", "delong-clustered",
    "wilcoxon", "wilcoxon-clustered", "cochran-q", "tost", "noninferiority",
]  # fmt: skip


Adjustment = Literal["holm", "hommel", "bonferroni", "benjamini-hochberg", "benjamini-yekutieli", "max-t", "none"]
RecalibrationName = Literal["temperature", "platt", "isotonic", "beta"]
EffectName = Literal["risk-difference", "odds-ratio", "superiority", "cliffs-delta"]


class Subgroups(Section):
    """A column of the metadata whose values make subgroups of images."""

    column: str = Field(min_length=1)
    edges: tuple[float, ...] = ()
    """Of a column of numbers: where one band ends and the next begins, which holds the edge itself."""
    findings: bool = False
    """Whether single findings are estimated too, beside their averages."""

    @field_validator("column")
    @classmethod
    def _plain(cls, value: str) -> str:
        mark = next((one for one in (": ", "=") if one in value), None)
        if mark is not None:
            raise ValueError(
                f"{value!r} holds {mark!r}, which in results stands between a column and its values: rename the column"
            )
        return value

    @field_validator("edges")
    @classmethod
    def _rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(after <= before for before, after in pairwise(value)):
            raise ValueError("edges must rise")
        return value


class Family(Section):
    """Estimates whose p-values are adjusted together; what is absent does not matter."""

    name: str = Field(min_length=1)
    estimands: tuple[str, ...] = ("difference-in-differences",)
    metrics: tuple[str, ...] = ()
    regimes: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    findings: tuple[str, ...] = (MACRO,)
    subgroups: tuple[str, ...] = ("",)
    """Texts of the column `subgroup`; the empty one means all images."""
    recalibrations: tuple[str, ...] = ("",)
    """Texts of the column `recalibration`; the empty one means predictions as they are."""
    adjust: Adjustment | None = None
    """As in [analysis] when absent."""

    @field_validator("conditions")
    @classmethod
    def _canonical(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(canonical(name) for name in value)


def canonical(condition: str) -> str:
    """Return a condition as results write it; a name that is none, such as that of a curve or a set, as it is."""
    try:
        return str(parse_condition(condition))
    except ValueError:
        return condition


class MetricSection(Section):
    """What holds for one metric alone; what is absent is as in [analysis]."""

    interval: IntervalName | None = None
    test: TestName | None = None
    margin: float | None = Field(default=None, gt=0)


class AnalysisKeys(Section):
    """The keys of [analysis], which hold for every metric; every default is printed in the report's appendix."""

    resamples: int = Field(default=10_000, ge=100, le=1_000_000)
    """Bootstrap resamples of patients, and draws of each permutation test."""
    level: float = Field(default=0.95, gt=0.5, lt=1)
    metrics: tuple[MetricName, ...] = Field(default=("auroc", "accuracy", "confidence", "ece", "brier"), min_length=1)
    operating_point: OperatingPoint = "youden"
    """Threshold that turns a probability into a decision: a number, or Youden's, or that of a target of sensitivity or
    specificity, chosen for each training run and finding on clean validation images, or else on clean test images."""
    interval: IntervalName | None = None
    """How intervals are made; when absent, each metric's own: `expanded` for most, `t-corrected` for ECE."""
    test: TestName = "permutation"
    """How contrasts are tested; a metric's own table may name another, which not every metric has."""
    margin: float | None = Field(default=None, gt=0)
    """The largest difference that does not matter, for `tost` and `noninferiority`."""
    adjust: Adjustment = "holm"
    """How p-values are adjusted within a family."""
    primary_condition: str | None = None
    """Condition of the primary comparison; the first one listed when absent."""
    most_undefined: float = Field(default=0.2, ge=0, le=1)
    """Share of resamples without a value past which an estimate is marked not estimable."""
    sets: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Sets of perturbations, by name, for robust accuracy: right under every one."""
    effect_sizes: tuple[EffectName, ...] = ("risk-difference", "odds-ratio", "superiority", "cliffs-delta")
    """Effect sizes of decisions (right or wrong) and of confidence, image by image."""
    recalibrate: tuple[RecalibrationName, ...] = ()
    """Recalibrations, fitted on clean images, after which calibration is estimated again; needs netcal."""
    sensitivity_analyses: bool = True
    """Whether the primary comparison is estimated again under other choices, one at a time."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where resamples are computed; on a GPU (`"cuda"`, needs torch) estimates differ by rounding alone."""
    subgroups: tuple[Subgroups, ...] = ()
    families: tuple[Family, ...] = ()
    """Families of tests in order; an estimate belongs to the first that it fits, else to one of the usual."""

    @field_validator("primary_condition")
    @classmethod
    def _canonical(cls, value: str | None) -> str | None:
        return None if value is None else str(parse_condition(value))

    @field_validator("sets")
    @classmethod
    def _canonical_sets(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        found = {name: tuple(str(parse_condition(one)) for one in members) for name, members in value.items()}
        for name, members in found.items():
            if len(set(members)) < 2:
                raise ValueError(f"set {name!r} needs at least two perturbations")
        return found


class AnalysisSection(AnalysisKeys):
    """How predictions become estimates."""

    per_metric: dict[str, MetricSection] = Field(default_factory=dict)
    """Tables such as [analysis.auroc], by metric."""

    @property
    def alpha(self) -> float:
        """1 − level, in (0, 0.5): below it, a p-value counts as shown."""
        return round(1 - self.level, 10)

    def of(self, name: str) -> MetricSection:
        """Return what holds for one metric."""
        own = self.per_metric.get(name, MetricSection())
        return MetricSection(
            interval=own.interval or self.interval, test=own.test or self.test, margin=own.margin or self.margin
        )
