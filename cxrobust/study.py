"""The study file: what is compared, on which images, under which perturbations, and how it is analysed."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from cxrobust.conditions import CLEAN, Condition, parse_condition, parse_number
from cxrobust.errors import StudyError, nearest
from cxrobust.study_messages import TOO_DEEP, Place, dotted


class Section(BaseModel):
    """A frozen part of the study file; an unknown key is an error, and no value is converted in silence."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())


def _against(base: str) -> BeforeValidator:
    def resolve(value: object, info: ValidationInfo) -> object:
        folder = (info.context or {}).get(base)
        return str(Path(folder) / value) if isinstance(value, str) and folder is not None else value

    return BeforeValidator(resolve)


def _read_eps(value: object) -> object:
    if isinstance(value, str):
        try:
            return parse_number(value)
        except (ValueError, ZeroDivisionError):
            raise ValueError(f'{value!r} is not a size: write "4/255" or 0.0157') from None
    return value


StudyPath = Annotated[Path, _against("study_folder")]
"""A path that is relative to the study file."""
DataPath = Annotated[Path, _against("data_root")]
"""A path of data: relative to `--data-root` when given, else to the study file."""
Epsilon = Annotated[float, BeforeValidator(_read_eps), Field(gt=0, le=1)]
"""Size of a perturbation in pixels of [0, 1], before normalisation; `4/255` may be written as text."""


class StudySection(Section):
    """What the study is called, its seed, and the regime that the others are compared with."""

    title: str = Field(min_length=1)
    seed: int = Field(ge=0, lt=2**63)
    reference: str
    question: str | None = None
    """The question in words, for the report; one is written from the regimes when absent."""


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
    "basic",
    "bca",
    "studentized",
    "wilson",
    "delong",
    "delong-clustered",
]
TestName = Literal[
    "permutation", "mcnemar", "mcnemar-midp", "mcnemar-clustered", "delong", "delong-clustered", "wilcoxon",
    "wilcoxon-clustered", "cochran-q", "tost", "noninferiority",
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
    findings: tuple[str, ...] = ("macro",)
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
    """Threshold that turns a probability into a decision: a number, or Youden's on the clean images of each regime."""
    interval: IntervalName | None = None
    """How intervals are made; when absent, percentile, recentred for calibration errors."""
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

    def of(self, name: str) -> MetricSection:
        """Return what holds for one metric."""
        own = self.per_metric.get(name, MetricSection())
        return MetricSection(
            interval=own.interval or self.interval, test=own.test or self.test, margin=own.margin or self.margin
        )


class ReportSection(Section):
    """What is rendered."""

    formats: tuple[Literal["pdf", "html"], ...] = Field(default=("pdf", "html"), min_length=1)
    paper: Literal["A4", "Letter"] = "A4"
    example_images: int = Field(default=3, ge=0, le=12)
    """How many test images are kept and shown; 0 where the data's licence forbids to print any."""


class ComputeSection(Section):
    """Where and how units run; nothing here but the precision changes a prediction beyond rounding."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: int | None = Field(default=None, ge=1)
    """Threads of torch on a CPU; as many as torch chooses when absent. One is fastest for very small models."""
    batch: int = Field(default=32, ge=1)
    shard: int = Field(default=1024, ge=1)
    """Images in one unit of work: what a killed run does again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """A validated study file."""

    path: Path
    text: str
    data_root: Path
    study: StudySection
    data: Any
    """The data set's own section: a `cxrobust.inference.datasets.Dataset`."""
    regimes: tuple[Any, ...]
    """`cxrobust.inference.models.Regime` or `cxrobust.inference.elsewhere.Elsewhere`, in the order of the file."""
    perturbations: tuple[Any, ...]
    """`cxrobust.inference.perturbations.Perturbation`, one for each strength, controls included."""
    analysis: AnalysisSection
    report: ReportSection
    compute: ComputeSection
    validation: Any | None = None
    """The data set's section for the validation images, of the same kind, size and findings; None where the study has
    none."""

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Clean, then every perturbation of this study that is made here."""
        return (CLEAN, *(perturbation.condition for perturbation in self.perturbations))

    def settings(self) -> dict[str, Any]:
        """Every setting with its default filled in, as JSON values; paths as they stand in the file."""
        validation = {} if self.validation is None else {"validation": self.validation.settings()}
        return {
            "study": self.study.model_dump(mode="json"),
            "data": {**self.data.settings(), **validation},
            "regimes": [regime.settings() for regime in self.regimes],
            "perturbations": [str(perturbation.condition) for perturbation in self.perturbations],
            "analysis": self.analysis.model_dump(mode="json"),
            "report": self.report.model_dump(mode="json"),
            "compute": self.compute.model_dump(mode="json"),
        }

    def error(self, keys: Sequence[str | int], message: str) -> StudyError:
        """Return an error that names the file and the line on which a key stands."""
        return Place(self.path, self.text).error(keys, message)


SECTIONS = ("study", "data", "regimes", "perturbations", "analysis", "report", "compute")
VALIDATION = "validation"
"""The table within [data] that says what is different for validation images."""
SHARED = ("kind", "findings", "size")
"""Keys of [data] that hold for validation images as they stand."""


def read_study(path: Path, *, data_root: Path | None = None) -> Study:
    """Read and validate a study file.

    Raises
    ------
    StudyError
        In one sentence with the file, the line, what was found and the mend.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise StudyError(
            f"{path}: {error.strerror}: give the path of a study file, or write one with cxrobust init"
        ) from error
    except UnicodeDecodeError as error:
        raise StudyError(f"{path}: byte {error.start} is not UTF-8: save the file as UTF-8") from error
    return parse_study(text, path=path, data_root=data_root)


def parse_study(text: str, *, path: Path, data_root: Path | None = None) -> Study:
    """Validate the text of a study file that stands, or would stand, at `path`; see `read_study`."""
    place = Place(path, text)
    content = _parse_toml(text, path)
    for name in content:
        if name not in SECTIONS:
            raise place.error(
                (name,), f"unknown section [{name}]{nearest(name, SECTIONS)}: known are {', '.join(SECTIONS)}"
            )
    for name in ("study", "data", "regimes"):
        if name not in content:
            raise StudyError(f"{path}: [{name}] is missing: a study needs [study], [data] and at least one [[regimes]]")
    context = {"study_folder": path.parent, "data_root": data_root if data_root is not None else path.parent}
    reader = _Reader(place=place, context=context)
    data, validation = reader.data(content["data"])
    study = Study(
        path=path,
        text=text,
        data_root=context["data_root"],
        study=reader.section(StudySection, content["study"], ("study",)),
        data=data,
        validation=validation,
        regimes=reader.regimes(content["regimes"]),
        perturbations=reader.perturbations(content.get("perturbations", [])),
        analysis=reader.analysis(content.get("analysis", {})),
        report=reader.section(ReportSection, content.get("report", {}), ("report",)),
        compute=reader.section(ComputeSection, content.get("compute", {}), ("compute",)),
    )
    _check_names(study, place)
    return study


def _parse_toml(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"{path}: not valid TOML: {error}") from error
    except ValueError as error:  # Python refuses to read a whole number of thousands of digits
        raise StudyError(f"{path}: a number has too many digits to read: shorten it") from error
    except RecursionError as error:
        raise StudyError(
            f"{path}: brackets are nested too deeply to read: a study file needs at most three levels"
        ) from error


def _check_names(study: Study, place: Place) -> None:
    names = [regime.name for regime in study.regimes]
    if study.study.reference not in names:
        raise place.error(
            ("study", "reference"),
            f"reference {study.study.reference!r} names no regime{nearest(study.study.reference, names)}: "
            f"the regimes are {', '.join(dict.fromkeys(names))}",
        )
    for index, name in enumerate(names):
        if not name.isprintable() or name != name.strip():
            raise place.error(
                ("regimes", index, "name"), f"regime name {name!r} is no plain text: write it without outer spaces"
            )
    _check_metrics(study, place)
    _check_validation(study, place)
    seen: set[tuple[str, int]] = set()
    for index, regime in enumerate(study.regimes):
        if (regime.name, regime.replicate) in seen:
            raise place.error(
                ("regimes", index, "name"),
                f"regime {regime.name!r} stands twice with replicate {regime.replicate}: "
                f"name it otherwise, or number its replicates",
            )
        seen.add((regime.name, regime.replicate))
    if study.analysis.primary_condition is not None:
        known = {str(condition) for condition in study.conditions}
        known |= {condition for regime in study.regimes for condition in regime.own_conditions}
        wanted = study.analysis.primary_condition
        if wanted not in known - {"clean"}:
            raise place.error(
                ("analysis", "primary_condition"),
                f"primary_condition {wanted!r} is no condition of this study{nearest(wanted, known - {'clean'})}: "
                f"its conditions are {', '.join(sorted(known - {'clean'})) or 'clean only'}",
            )


def _check_validation(study: Study, place: Place) -> None:
    """Validation images need predictions of every regime, and must not be the test images."""
    from cxrobust.inference.elsewhere import Elsewhere

    elsewhere = [(index, one) for index, one in enumerate(study.regimes) if isinstance(one, Elsewhere)]
    for index, regime in elsewhere:
        if study.validation is not None and regime.validation is None:
            raise place.error(
                ("regimes", index),
                f"regime {regime.name!r} has no predictions on the images of [data.validation]: "
                f'name their table, validation = "file.csv"',
            )
        if study.validation is None and regime.validation is not None:
            raise place.error(
                ("regimes", index, "validation"),
                f"regime {regime.name!r} has predictions on validation images, and [data.validation] is missing: "
                f"add it; it may be empty where [data] holds for them too",
            )
    if not elsewhere and study.validation == study.data:
        raise place.error(
            ("data", VALIDATION),
            "[data.validation] says nothing else than [data], so its images would be the test images: "
            "name their split, their list or their label file",
        )


def _check_metrics(study: Study, place: Place) -> None:
    from cxrobust.analysis.metrics import metric

    for name in study.analysis.metrics:
        if name not in metric:
            raise place.error(
                ("analysis", "metrics"),
                f"unknown metric {name!r}{nearest(name, metric)}: known are {', '.join(metric)}",
            )
    _check_choices(study.analysis, place)
    _check_sets(study, place)
    _check_families(study, place)
    for keys, values in (
        (("analysis", "recalibrate"), study.analysis.recalibrate),
        (("analysis", "effect_sizes"), study.analysis.effect_sizes),
        (("analysis", "subgroups"), tuple(one.column for one in study.analysis.subgroups)),
        (("analysis", "families"), tuple(one.name for one in study.analysis.families)),
        (("analysis", "metrics"), study.analysis.metrics),
        (("report", "formats"), study.report.formats),
    ):
        if len(set(values)) < len(values):
            twice = next(value for value in values if values.count(value) > 1)
            raise place.error(keys, f"{twice!r} stands twice in {dotted(keys)}: keep one")


def _known_conditions(study: Study) -> tuple[str, ...]:
    own = (condition for regime in study.regimes for condition in regime.own_conditions)
    return tuple(dict.fromkeys((*map(str, study.conditions), *own)))


def _check_sets(study: Study, place: Place) -> None:
    known = [name for name in _known_conditions(study) if name != str(CLEAN)]
    for name, members in study.analysis.sets.items():
        if "robust-accuracy" not in study.analysis.metrics:
            raise place.error(
                ("analysis", "sets"), 'sets are for "robust-accuracy", which is none of the metrics: add it to metrics'
            )
        if not name.strip():
            raise place.error(("analysis", "sets", name), f"set {name!r} has no name: give it one")
        if name in (*known, str(CLEAN)):
            raise place.error(
                ("analysis", "sets", name), f"set {name!r} has the name of a condition: call it otherwise"
            )
        for one in members:
            if one not in known:
                raise place.error(
                    ("analysis", "sets", name),
                    f"set {name!r} holds {one!r}, which is no perturbation of this study{nearest(one, known)}: "
                    f"its perturbations are {', '.join(known) or 'none'}",
                )


def _check_families(study: Study, place: Place) -> None:
    """Names that the study file tells; which findings and subgroups there are, the data tell later."""
    from cxrobust.results import ESTIMANDS

    conditions = _known_conditions(study)
    series = (parse_condition(name).series for name in conditions)
    known: dict[str, tuple[str, ...]] = {
        "estimands": ESTIMANDS,
        "metrics": study.analysis.metrics,
        "regimes": tuple(regime.name for regime in study.regimes),
        "conditions": tuple(dict.fromkeys((*conditions, *series, *study.analysis.sets))),
        "recalibrations": ("", *study.analysis.recalibrate),
    }
    for index, family in enumerate(study.analysis.families):
        for key, names in known.items():
            for name in getattr(family, key):
                if name not in names:
                    raise place.error(
                        ("analysis", "families", index, key),
                        f"family {family.name!r} names no estimate: {name!r} is none of the {key}"
                        f"{nearest(name, names)}: known are {', '.join(filter(None, names)) or 'none'}",
                    )
        if (family.adjust or study.analysis.adjust) == "max-t":
            for name in family.metrics or study.analysis.metrics:
                test = study.analysis.of(name).test
                if test != "permutation":
                    raise place.error(
                        ("analysis", "families", index, "adjust"),
                        f"family {family.name!r} is adjusted by max-t, which needs sign flips, and {name} is tested by "
                        f'{test}: set its test = "permutation", or adjust = "holm"',
                    )
    if study.analysis.adjust == "max-t":
        for name in study.analysis.metrics:
            if study.analysis.of(name).test != "permutation":
                raise place.error(
                    ("analysis", "adjust"),
                    f"max-t needs sign flips, and {name} is tested by {study.analysis.of(name).test}: set its "
                    f'test = "permutation", or adjust = "holm"',
                )


def _check_choices(analysis: AnalysisSection, place: Place) -> None:
    """Every interval and test must fit its metric, and a test against a margin needs one."""
    from cxrobust.analysis.choices import WITH_A_MARGIN, fitting_intervals, fitting_tests

    for name in analysis.per_metric:
        if name not in analysis.metrics:
            raise place.error(
                ("analysis", name),
                f"[analysis.{name}] is no metric of this study{nearest(name, analysis.metrics)}: "
                f"its metrics are {', '.join(analysis.metrics)}",
            )
    for name in analysis.metrics:
        chosen, own = analysis.of(name), analysis.per_metric.get(name, MetricSection())
        for key, fitting in (("interval", fitting_intervals(name)), ("test", fitting_tests(name))):
            value = getattr(chosen, key)
            if value is not None and value not in fitting:
                keys = ("analysis", name, key) if getattr(own, key) else ("analysis", key)
                raise place.error(keys, f"{key} {value!r} does not fit {name}: those that do are {', '.join(fitting)}")
        if chosen.test in WITH_A_MARGIN and chosen.margin is None:
            keys = ("analysis", name, "test") if own.test else ("analysis", "test")
            raise place.error(
                keys, f"test {chosen.test!r} needs the largest difference that does not matter: set margin"
            )


SectionT = TypeVar("SectionT", bound=Section)


class _Reader:
    """Turns tables of the file into sections; the registries say which class a table belongs to."""

    def __init__(self, *, place: Place, context: Mapping[str, Any]) -> None:
        self.place = place
        self.context = context

    def section(
        self, kind: type[SectionT], table: Any, keys: tuple[str | int, ...], *, known: Sequence[str] | None = None
    ) -> SectionT:
        if not isinstance(table, dict):
            raise self.place.error(keys, f"{dotted(keys)} is {type(table).__name__}, and must be a table")
        try:
            return kind.model_validate_json(self._as_json(table, keys), context=dict(self.context))
        except ValidationError as error:
            raise self.place.explain(error, known or list(kind.model_fields), keys) from None

    def _as_json(self, table: dict[str, Any], keys: tuple[str | int, ...]) -> str:
        """Return the table as JSON, by which pydantic reads lists as tuples and text as paths, and nothing else."""

        def refuse(value: object) -> object:
            raise self.place.error(keys, f"{dotted(keys)} holds {value}, a date or time: no key takes one, quote it")

        try:
            text = json.dumps(table, default=refuse)
        except RecursionError:
            raise self.place.error(keys, f"{dotted(keys)} {TOO_DEEP}") from None
        if "\\u0000" in text:
            raise self.place.error(keys, f"{dotted(keys)} holds a null character: remove it")
        return text

    def analysis(self, table: Any) -> AnalysisSection:
        tables = {
            key: value
            for key, value in _as_table(table).items()
            if isinstance(value, dict) and key not in AnalysisKeys.model_fields
        }
        rest = {key: value for key, value in table.items() if key not in tables} if isinstance(table, dict) else table
        keys = self.section(AnalysisKeys, rest, ("analysis",))
        single = {name: self.section(MetricSection, one, ("analysis", name)) for name, one in tables.items()}
        return AnalysisSection(**dict(keys), per_metric=single)

    def data(self, table: Any) -> tuple[Any, Any]:
        """Return the section of the test images, and that of the validation images or None."""
        from cxrobust.inference.datasets import dataset

        kind = self._choose(dataset, table, ("data",), "kind")
        own = {key: value for key, value in table.items() if key != VALIDATION}
        data = self.section(kind, own, ("data",), known=(*kind.model_fields, VALIDATION))
        return data, self._validation(kind, own, table[VALIDATION]) if VALIDATION in table else None

    def _validation(self, kind: type[SectionT], data: dict[str, Any], table: Any) -> SectionT:
        keys = ("data", VALIDATION)
        for name in SHARED:
            if name in _as_table(table):
                raise self.place.error(
                    (*keys, name), f"{dotted((*keys, name))}: validation images have the {name} of [data]: remove it"
                )
        merged = {**data, **table} if isinstance(table, dict) else table
        return self.section(kind, merged, keys, known=[name for name in kind.model_fields if name not in SHARED])

    def regimes(self, tables: Any) -> tuple[Any, ...]:
        from cxrobust.inference.elsewhere import Elsewhere
        from cxrobust.inference.models import model_family

        regimes = []
        for keys, table in self._tables(tables, "regimes"):
            elsewhere = isinstance(table, dict) and "predictions" in table
            kind = Elsewhere if elsewhere else self._choose(model_family, table, keys, "family")
            regimes.append(self.section(kind, table, keys))
        if not regimes:
            raise StudyError(f"{self.place.path}: there is no [[regimes]]: a study needs at least one")
        return tuple(regimes)

    def perturbations(self, tables: Any) -> tuple[Any, ...]:
        from cxrobust.inference.perturbations import controls, perturbation

        found: dict[str, Any] = {}
        for keys, table in self._tables(tables, "perturbations"):
            chooser, other = ("corruption", "attack") if "corruption" in _as_table(table) else ("attack", "corruption")
            kind = self._choose(perturbation, table, keys, chooser)
            if chooser not in kind.model_fields:
                wanted = table[chooser]
                raise self.place.error((*keys, chooser), f'{wanted!r} is no {chooser}: write {other} = "{wanted}"')
            if table.get(kind.strength) == []:
                raise self.place.error((*keys, kind.strength), f"{kind.strength} is empty: give at least one value")
            for one in _spread(table, kind.strength):
                made = self.section(kind, one, keys)
                if str(made.condition) in found:
                    raise self.place.error(keys, f"{made.condition} stands twice: keep one")
                found[str(made.condition)] = made
        for control in controls(tuple(found.values())):
            found.setdefault(str(control.condition), control)
        return tuple(found.values())

    def _tables(self, tables: Any, name: str) -> list[tuple[tuple[str | int, ...], Any]]:
        if not isinstance(tables, list):
            raise self.place.error((name,), f"[{name}] must be written [[{name}]], once for each")
        return [((name, index), table) for index, table in enumerate(tables)]

    def _choose(self, registry: Any, table: Any, keys: tuple[str | int, ...], chooser: str) -> Any:
        if not isinstance(table, dict) or not isinstance(table.get(chooser), str):
            raise self.place.error(keys, f"{dotted(keys)} needs {chooser}: one of {', '.join(registry)}")
        try:
            return registry[table[chooser]]
        except StudyError as error:
            raise self.place.error((*keys, chooser), str(error)) from None


def _as_table(table: object) -> dict[str, Any]:
    return table if isinstance(table, dict) else {}


def _spread(table: dict[str, Any], strength: str) -> list[dict[str, Any]]:
    value = table.get(strength)
    return [{**table, strength: one} for one in value] if isinstance(value, list) else [table]
