"""The study file: what is compared, on which images, under which perturbations, and how it is analysed."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import (
    Field,
    ValidationError,
    model_validator,
)

from cxrobust.conditions import CLEAN, Condition
from cxrobust.errors import StudyError, nearest
from cxrobust.study_analysis import AnalysisKeys, AnalysisSection, MetricSection
from cxrobust.study_checks import VALIDATION, check_names
from cxrobust.study_messages import TOO_DEEP, Place, dotted
from cxrobust.study_sections import Section


class StudySection(Section):
    """What the study is called, its seed, and the regime that the others are compared with."""

    title: str = Field(min_length=1)
    seed: int = Field(ge=0, lt=2**63)
    reference: str
    question: str | None = None
    """The question in words, for the report; one is written from the regimes when absent."""
    registration: str | None = Field(default=None, min_length=1)
    """File of the registered plan, relative to the study file; else the one that `register` writes beside it."""
    authors: tuple[str, ...] = ()
    """For the bundle: a name each, an ORCID iD after it: `Ada Lovelace (0000-0002-1825-0097)`."""
    licence: str | None = Field(default=None, min_length=1)
    """For the bundle: an SPDX name such as `CC-BY-4.0`, or a URL."""


Format = Literal["pdf", "html", "paper", "model-cards"]
"""What `cxrobust report` writes."""


class ReportSection(Section):
    """What is rendered."""

    formats: tuple[Format, ...] = Field(default=get_args(Format), min_length=1)
    """The documents as PDF and as HTML; `paper`, tables, figures and text for a manuscript in LaTeX; `model-cards`, a
    model card for each regime."""
    paper: Literal["A4", "Letter"] = "A4"
    example_images: int = Field(default=3, ge=0, le=12)
    """How many test images are kept and shown; 0 where the data's licence forbids to print any."""
    attack_checks: int = Field(default=32, ge=0, le=4096)
    """On how many images the study's attack is checked (`cxrobust.inference.attack_checks`); 0 for none."""
    template: str | None = Field(default=None, min_length=1)
    """Folder of templates that come before ours, relative to the study file."""
    attach_predictions: bool | None = None
    """Whether the PDF carries the predictions with the images' and patients' ids, labels and metadata; only of data
    known to be public when absent."""


class ComputeSection(Section):
    """Where and how units run.

    Nothing here but precision and compiling changes a prediction beyond rounding, and nothing but `on_error` which
    images are analysed.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the network. How far bf16 is from fp32 is measured on a few images, and told in the report."""
    compile: bool = False
    """Whether torch compiles each model for this machine (`torch.compile`), which takes minutes at first and saves time
    afterwards; measured and told likewise."""
    threads: int | None = Field(default=None, ge=1)
    """Threads of torch on a CPU; as many as torch chooses when absent. One is fastest for very small models."""
    executor: Literal["local", "processes", "ray", "slurm"] = "local"
    """Where units run: in this process, in a process for each GPU, on a Ray cluster, or as an array of Slurm jobs."""
    workers: int | None = Field(default=None, ge=1)
    """Of `processes`: how many, one for each GPU when absent; of `slurm`: how many jobs the array has."""
    address: str | None = Field(default=None, min_length=1)
    """Of `ray`: the cluster, such as `auto` or `ray://head:10001`; one on this machine when absent."""
    cpus: int = Field(default=1, ge=1)
    """Of `ray` and `slurm`: cores that a unit or job asks for."""
    gpus: float | None = Field(default=None, ge=0)
    """Of `ray` and `slurm`: GPUs that a unit or job asks for; with `ray` a part of one too. When absent, one where
    the cluster has any, and none for `device = "cpu"`."""
    memory: float | None = Field(default=None, gt=0)
    """Of `ray` and `slurm`: GiB of memory that a unit or job asks for."""
    minutes: int = Field(default=240, ge=1)
    """Of `slurm`: after how many minutes a job ends, whose units are then taken up by another."""
    slurm: dict[str, str | int] = Field(default_factory=dict)
    """Of `slurm`: further options of sbatch, such as `partition` and `account`."""
    store: str | None = Field(default=None, min_length=1)
    """URL of a place (of fsspec: `s3://bucket/run`, `file:///shared/run`) to which units and index are copied, and from
    which a run takes those that it lacks."""
    batch: int = Field(default=32, ge=1)
    shard: int = Field(default=1024, ge=1)
    """Images in one unit of work: what a killed run does again."""
    on_error: Literal["stop", "skip"] = "stop"
    """What becomes of an image that cannot be read, or for which a model gives no finite number: `stop` fails its
    units by name, `skip` leaves it out of every cell alike and lists it."""
    retries: int = Field(default=2, ge=0, le=100)
    """How often a unit is tried again, when all others are done, whose memory or disk was short."""

    @model_validator(mode="after")
    def _fitting(self) -> "ComputeSection":
        """Refuse a key that the executor has no use for."""
        for key, executors in EXECUTORS_OF.items():
            if key in self.model_fields_set and self.executor not in executors:
                wanted = " or ".join(f'executor = "{one}"' for one in executors)
                raise ValueError(f"{key} is of use with {wanted} alone: remove it, or say so")
        if self.executor == "slurm" and self.workers is None:
            raise ValueError("slurm needs workers: how many jobs the array has")
        return self


EXECUTORS_OF = {
    "workers": ("processes", "slurm"),
    "address": ("ray",),
    "cpus": ("ray", "slurm"),
    "gpus": ("ray", "slurm"),
    "memory": ("ray", "slurm"),
    "minutes": ("slurm",),
    "slurm": ("slurm",),
}
"""Keys of [compute] that some executors alone have a use for."""


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
    scores: Mapping[str, Any] = field(default_factory=dict)
    """How reports are scored, by scorer: a `cxrobust.radiology_reports.scores.Scorer` for each table."""
    validation: Any | None = None
    """The data set's section for the validation images, of the same kind, size and findings; None where the study has
    none."""
    preferences: Any | None = None
    """What `cxrobust preferences` makes, a `cxrobust.preferences.Preferences`; no prediction depends on it."""

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Clean, then every perturbation of this study that is made here."""
        return (CLEAN, *(perturbation.condition for perturbation in self.perturbations))

    @property
    def attaches_predictions(self) -> bool:
        """Whether the PDF may carry the predictions: as the study says, or else where all its data are public."""
        wanted = self.report.attach_predictions
        tables = [self.data] if self.validation is None else [self.data, self.validation]
        return (
            all(table.public and table.metadata is None and table.references is None for table in tables)
            if wanted is None
            else wanted
        )

    def settings(self) -> dict[str, Any]:
        """Every setting with its default filled in, as JSON values; paths as they stand in the file."""
        validation = {} if self.validation is None else {"validation": self.validation.settings()}
        return {
            "study": self.study.model_dump(mode="json"),
            "data": {**self.data.settings(), **validation},
            "regimes": [regime.settings() for regime in self.regimes],
            "perturbations": [str(perturbation.condition) for perturbation in self.perturbations],
            **({"scores": {name: one.settings() for name, one in self.scores.items()}} if self.scores else {}),
            "analysis": self.analysis.model_dump(mode="json"),
            "report": {**self.report.model_dump(mode="json"), "attach_predictions": self.attaches_predictions},
            "compute": self.compute.model_dump(mode="json"),
        }

    def error(self, keys: Sequence[str | int], message: str) -> StudyError:
        """Return an error that names the file and the line on which a key stands."""
        return Place(self.path, self.text).error(keys, message)


SECTIONS = ("study", "data", "regimes", "perturbations", "scores", "analysis", "report", "compute", "preferences")
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
    root = data_root if data_root is not None else path.parent
    context = {"study_folder": path.parent, "data_root": root, "data": content["data"]}
    reader = _Reader(place=place, context=context)
    data, validation = reader.data(content["data"])
    study = Study(
        path=path,
        text=text,
        data_root=root,
        study=reader.section(StudySection, content["study"], ("study",)),
        data=data,
        validation=validation,
        regimes=reader.regimes(content["regimes"]),
        perturbations=reader.perturbations(content.get("perturbations", [])),
        scores=reader.scores(content.get("scores", {})),
        analysis=reader.analysis(content.get("analysis", {})),
        report=reader.section(ReportSection, content.get("report", {}), ("report",)),
        compute=reader.section(ComputeSection, content.get("compute", {}), ("compute",)),
        preferences=reader.preferences(content) if "preferences" in content else None,
    )
    check_names(study, place)
    return study


def read_scores(path: Path) -> dict[str, Any]:
    """Return the scorers of a TOML file of tables `[scores.<name>]`, such as a study file; other tables are not read.

    Raises
    ------
    StudyError
        In one sentence with the file, the line, what was found and the mend.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: cannot be read ({error}): name a TOML file with tables [scores.NAME]") from error
    content = _parse_toml(text, path)
    reader = _Reader(place=Place(path, text), context={"study_folder": path.parent, "data_root": path.parent})
    return reader.scores(content.get("scores", {}))


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

    def scores(self, tables: Any) -> dict[str, Any]:
        from cxrobust.radiology_reports.scores import scorer

        if not isinstance(tables, dict):
            raise self.place.error(("scores",), "[scores] is no table: write [scores.NAME] for each scorer")
        found = {}
        for name, table in tables.items():
            if name not in scorer:
                raise self.place.error(("scores", name), scorer.unknown(name))
            found[name] = self.section(scorer[name], table, ("scores", name))
        return found

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

    def preferences(self, content: Mapping[str, Any]) -> Any:
        from cxrobust.inference.datasets import dataset
        from cxrobust.preferences import Preferences, PreferencesKeys
        from cxrobust.radiology_reports.judges import judge

        table, data, keys = content["preferences"], content["data"], ("preferences",)
        parts = ("data", "judges")
        own = {key: value for key, value in table.items() if key not in parts} if isinstance(table, dict) else table
        settings = self.section(PreferencesKeys, own, keys, known=(*PreferencesKeys.model_fields, *parts))
        for part, what in zip(parts, ("which images to learn from", "who judges"), strict=True):
            if part not in table:
                raise self.place.error(keys, f"[preferences] needs {part}: say in it {what}")
        for name in SHARED:
            if name in _as_table(table["data"]):
                raise self.place.error(
                    (*keys, "data", name), f"preferences.data.{name}: these images have the {name} of [data]: remove it"
                )
        kind = self._choose(dataset, data, ("data",), "kind")
        merged = {**{key: one for key, one in data.items() if key != VALIDATION}, **_as_table(table["data"])}
        known = [name for name in kind.model_fields if name not in SHARED]
        images = self.section(kind, merged, (*keys, "data"), known=known)
        self.context = {**self.context, "scorers": self.scores(content.get("scores", {}))}  # by which judges may go
        judges = []
        for where, one in self._tables(table["judges"], "preferences", "judges"):
            judges.append(self.section(self._choose(judge, one, where, "kind"), one, where))
            if judges[-1].name in {other.name for other in judges[:-1]}:
                raise self.place.error((*where, "name"), f"judge {judges[-1].name!r} stands twice: name one otherwise")
        if not judges:
            raise self.place.error(keys, "there is no [[preferences.judges]]: say who judges")
        return Preferences(keys=settings, data=images, judges=tuple(judges))

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
        from cxrobust.inference.perturbations import controls, in_order, perturbation

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
        return in_order(found.values())

    def _tables(self, tables: Any, *name: str) -> list[tuple[tuple[str | int, ...], Any]]:
        if not isinstance(tables, list):
            said = dotted(name)
            raise self.place.error(name, f"[{said}] must be written [[{said}]], once for each")
        return [((*name, index), table) for index, table in enumerate(tables)]

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
