"""The study file: what is compared, on which images, under which perturbations, and how it is analysed."""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
)

from cxrobust.conditions import CLEAN, Condition, parse_condition, parse_number
from cxrobust.errors import StudyError, nearest


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
PER_METRIC = "per_metric"
"""Where the tables of single metrics are kept; no key of the file."""
OperatingPoint = Literal["youden"] | Annotated[float, Field(gt=0, lt=1)]


IntervalName = Literal[
    "percentile", "percentile-recentred", "basic", "bca", "studentized", "wilson", "delong", "delong-clustered"
]
TestName = Literal[
    "permutation", "mcnemar", "mcnemar-midp", "mcnemar-clustered", "delong", "delong-clustered", "wilcoxon",
    "wilcoxon-clustered", "cochran-q", "tost", "noninferiority",
]  # fmt: skip


Adjustment = Literal["holm", "hommel", "bonferroni", "benjamini-hochberg", "benjamini-yekutieli", "none"]


class MetricSection(Section):
    """What holds for one metric alone; what is absent is as in [analysis]."""

    interval: IntervalName | None = None
    test: TestName | None = None
    margin: float | None = Field(default=None, gt=0)


class AnalysisSection(Section):
    """How predictions become estimates; every default is printed in the report's appendix."""

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
    per_metric: dict[str, MetricSection] = Field(default_factory=dict)
    """Tables such as [analysis.auroc], by metric."""
    primary_condition: str | None = None
    """Condition of the primary comparison; the first one listed when absent."""

    def of(self, name: str) -> MetricSection:
        """Return what holds for one metric."""
        own = self.per_metric.get(name, MetricSection())
        return MetricSection(
            interval=own.interval or self.interval, test=own.test or self.test, margin=own.margin or self.margin
        )

    @field_validator("primary_condition")
    @classmethod
    def _canonical(cls, value: str | None) -> str | None:
        return None if value is None else str(parse_condition(value))


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

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Clean, then every perturbation of this study that is made here."""
        return (CLEAN, *(perturbation.condition for perturbation in self.perturbations))

    def settings(self) -> dict[str, Any]:
        """Every setting with its default filled in, as JSON values; paths as they stand in the file."""
        return {
            "study": self.study.model_dump(mode="json"),
            "data": self.data.settings(),
            "regimes": [regime.settings() for regime in self.regimes],
            "perturbations": [str(perturbation.condition) for perturbation in self.perturbations],
            "analysis": self.analysis.model_dump(mode="json"),
            "report": self.report.model_dump(mode="json"),
            "compute": self.compute.model_dump(mode="json"),
        }

    def error(self, keys: Sequence[str | int], message: str) -> StudyError:
        """Return an error that names the file and the line on which a key stands."""
        return _Place(self.path, self.text).error(keys, message)


_TYPE_TAG = re.compile(r"(literal|tuple|list|dict|nullable|function-\w+)\[.*\]|(constrained-)?(float|int|str|bool)")
_TOO_DEEP = "is nested too deeply to read: a study file needs at most three levels"
SECTIONS = ("study", "data", "regimes", "perturbations", "analysis", "report", "compute")


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
    place = _Place(path, text)
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
    study = Study(
        path=path,
        text=text,
        data_root=context["data_root"],
        study=reader.section(StudySection, content["study"], ("study",)),
        data=reader.data(content["data"]),
        regimes=reader.regimes(content["regimes"]),
        perturbations=reader.perturbations(content.get("perturbations", [])),
        analysis=reader.section(AnalysisSection, _gather_metrics(content.get("analysis", {})), ("analysis",)),
        report=reader.section(ReportSection, content.get("report", {}), ("report",)),
        compute=reader.section(ComputeSection, content.get("compute", {}), ("compute",)),
    )
    _check_names(study, place)
    return study


def _gather_metrics(table: Any) -> Any:
    """Put the tables of single metrics, such as [analysis.auroc], under one key."""
    if not isinstance(table, dict):
        return table
    single = {k: v for k, v in table.items() if isinstance(v, dict) and k not in AnalysisSection.model_fields}
    rest = {key: value for key, value in table.items() if key not in single}
    return {**rest, PER_METRIC: single} if single else rest


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


def _check_names(study: Study, place: "_Place") -> None:
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


def _check_metrics(study: Study, place: "_Place") -> None:
    from cxrobust.analysis.metrics import metric

    for name in study.analysis.metrics:
        if name not in metric:
            raise place.error(
                ("analysis", "metrics"),
                f"unknown metric {name!r}{nearest(name, metric)}: known are {', '.join(metric)}",
            )
    _check_choices(study.analysis, place)
    for keys, values in (
        (("analysis", "metrics"), study.analysis.metrics),
        (("report", "formats"), study.report.formats),
    ):
        if len(set(values)) < len(values):
            twice = next(value for value in values if values.count(value) > 1)
            raise place.error(keys, f"{twice!r} stands twice in {_dotted(keys)}: keep one")


def _check_choices(analysis: AnalysisSection, place: "_Place") -> None:
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


class _Place:
    """Where in the file a key stands, for messages."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text = text

    def error(self, keys: Sequence[str | int], message: str) -> StudyError:
        line = find_line(self.text, keys)
        message = " ".join(message.split())
        return StudyError(f"{self.path}:{line}: {message}" if line else f"{self.path}: {message}")


SectionT = TypeVar("SectionT", bound=Section)


class _Reader:
    """Turns tables of the file into sections; the registries say which class a table belongs to."""

    def __init__(self, *, place: _Place, context: Mapping[str, Any]) -> None:
        self.place = place
        self.context = context

    def section(self, kind: type[SectionT], table: Any, keys: tuple[str | int, ...]) -> SectionT:
        if not isinstance(table, dict):
            raise self.place.error(keys, f"{_dotted(keys)} is {type(table).__name__}, and must be a table")
        try:
            return kind.model_validate_json(self._as_json(table, keys), context=dict(self.context))
        except ValidationError as error:
            raise self._explain(error, kind, keys) from None

    def _as_json(self, table: dict[str, Any], keys: tuple[str | int, ...]) -> str:
        """Return the table as JSON, by which pydantic reads lists as tuples and text as paths, and nothing else."""

        def refuse(value: object) -> object:
            raise self.place.error(keys, f"{_dotted(keys)} holds {value}, a date or time: no key takes one, quote it")

        try:
            text = json.dumps(table, default=refuse)
        except RecursionError:
            raise self.place.error(keys, f"{_dotted(keys)} {_TOO_DEEP}") from None
        if "\\u0000" in text:
            raise self.place.error(keys, f"{_dotted(keys)} holds a null character: remove it")
        return text

    def data(self, table: Any) -> Any:
        from cxrobust.inference.datasets import dataset

        return self.section(self._choose(dataset, table, ("data",), "kind"), table, ("data",))

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
            raise self.place.error(keys, f"{_dotted(keys)} needs {chooser}: one of {', '.join(registry)}")
        try:
            return registry[table[chooser]]
        except StudyError as error:
            raise self.place.error((*keys, chooser), str(error)) from None

    def _explain(self, error: ValidationError, kind: type[Section], keys: tuple[str | int, ...]) -> StudyError:
        errors = error.errors(include_url=False)
        first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])  # a typo explains the rest
        if first["type"] == "extra_forbidden":
            name = str(first["loc"][-1])
            *inside, _ = _without_tags(first["loc"])
            of_a_metric = first["loc"][0] == PER_METRIC
            known = [key for key in (MetricSection if of_a_metric else kind).model_fields if key != PER_METRIC]
            table = (*keys, *inside)
            return self.place.error(
                (*table, name),
                f"unknown key {name!r} in {_dotted(table)}{nearest(name, known)}: known are {', '.join(known)}",
            )
        where = (*keys, *_without_tags(first["loc"]))
        if first["type"] == "missing":
            return self.place.error(keys, f"{_dotted(where)} is missing: add it")
        if first["type"] == "json_invalid":
            return self.place.error(keys, f"{_dotted(keys)} {_TOO_DEEP}")
        same_place = [one for one in errors if (*keys, *_without_tags(one["loc"])) == where]
        return self.place.error(where, f"{_dotted(where)} = {_shown(first['input'])}: {_expected(same_place)}")


def _as_table(table: object) -> dict[str, Any]:
    return table if isinstance(table, dict) else {}


def _spread(table: dict[str, Any], strength: str) -> list[dict[str, Any]]:
    value = table.get(strength)
    return [{**table, strength: one} for one in value] if isinstance(value, list) else [table]


def _without_tags(location: Sequence[str | int]) -> tuple[str | int, ...]:
    """Leave out the branches of unions, which pydantic names behind a key: `operating_point`, `literal['youden']`."""
    first, *rest = location or ("",)
    if first == PER_METRIC and rest:
        return tuple(rest)
    return (first, *(part for part in rest if not (isinstance(part, str) and _TYPE_TAG.fullmatch(part))))


_MENDS = {
    "int_type": "Input should be a whole number, without quotes",
    "float_type": "Input should be a number, without quotes",
    "string_type": "Input should be text, in quotes",
    "bool_type": "Input should be true or false, without quotes",
}
"""What is expected instead of a value of another type, by pydantic's name of the error."""


def _expected(errors: Sequence[Any]) -> str:
    """Say what a value should be: what each branch of a union wants, or the one bound that it breaks."""
    bounds = [one for one in errors if not re.search(r"literal_error|_type$", one["type"])]
    messages = [_MENDS.get(one["type"]) or one["msg"].removeprefix("Value error, ") for one in bounds or errors]
    first, *rest = dict.fromkeys(message.replace("valid array", "list") for message in messages)
    return " or ".join((first[0].lower() + first[1:], *(one.removeprefix("Input should be ") for one in rest)))


def _dotted(keys: Sequence[str | int]) -> str:
    parts = [f"[{key + 1}]" if isinstance(key, int) else f".{_bare(key)}" for key in keys]
    return "".join(parts).lstrip(".")


def _bare(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key) else json.dumps(key, ensure_ascii=False)


def _shown(value: object) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def find_line(text: str, keys: Sequence[str | int]) -> int | None:
    r"""Return the 1-based line on which a key of a TOML text stands, or its nearest parent; None when neither does.

    Examples
    --------
    >>> find_line('[study]\nseed = 1\n[[regimes]]\nname = "a"\n[[regimes]]\nname = "b"', ("regimes", 1, "name"))
    6
    """
    best, depth = None, 0
    prefix: tuple[str | int, ...] = ()
    counts: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if header := re.match(r"\s*(\[\[?)\s*([^\]\[]+?)\s*\]\]?\s*(?:#.*)?$", line):
            names = tuple(part.strip().strip("\"'") for part in header[2].split("."))
            if header[1] == "[[":
                counts[names[0]] = counts.get(names[0], -1) + 1
            prefix = (names[0], counts[names[0]], *names[1:]) if names[0] in counts else names
            here: tuple[str | int, ...] = prefix
        elif key := re.match(r"""\s*(?:"([^"]*)"|'([^']*)'|([\w.-]+))\s*=""", line):
            here = (*prefix, *(key[3].split(".") if key[3] else (key[1] or key[2] or "",)))
        else:
            continue
        shared = min(len(here), len(keys))
        if tuple(keys[:shared]) != here[:shared]:
            continue
        if shared > depth:
            best, depth = number, shared
    return best
