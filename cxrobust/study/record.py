"""A validated study file as a record, and those of its sections that are no room's own."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from cxrobust.conditions import CLEAN, Condition
from cxrobust.errors import StudyError
from cxrobust.study.analysis import AnalysisSection
from cxrobust.study.messages import Place
from cxrobust.study.sections import Section


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
    all_corruptions: bool = False
    """Whether one test image is shown under every corruption there is, beside those of which something is predicted."""
    attack_checks: int = Field(default=32, ge=0, le=4096)
    """On how many images the study's attack is checked (`cxrobust.inference.attack_checks`); 0 for none."""
    template: str | None = Field(default=None, min_length=1)
    """Folder of templates that come before ours, relative to the study file."""
    list_skipped: bool = False
    """Whether documents name, by id, the images that `on_error = "skip"` left out; `left-out.csv` does always."""
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
    at_once: int | None = Field(default=None, ge=1)
    """Of `slurm`: how many jobs of the array run at a time; all of them when absent."""
    address: str | None = Field(default=None, min_length=1)
    """Of `ray`: the cluster, such as `auto` or `ray://head:10001`; one on this machine when absent."""
    cpus: int = Field(default=1, ge=1)
    """Of `ray` and `slurm`: cores that a unit or job asks for."""
    gpus: float | None = Field(default=None, ge=0)
    """Of `ray` and `slurm`: GPUs that a unit or job asks for; with `ray` a part of one too. When absent, one with
    `slurm`, one with `ray` where the cluster has any, and none for `device = "cpu"`."""
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
        if self.executor == "slurm" and self.gpus is not None and self.gpus % 1:
            raise ValueError(
                f'gpus = {self.gpus:g}: Slurm gives a job whole GPUs alone: write a whole number; executor = "ray" '
                "gives parts"
            )
        if self.executor != "local" and self.store is not None and IN_MEMORY.search(self.store):
            raise ValueError(
                f'store = "{self.store}" lies in the memory of one process, where no other finds it, and '
                f'executor = "{self.executor}" runs units in several: give a shared folder (file:///shared/run) or a '
                "bucket (s3://bucket/run)"
            )
        return self


EXECUTORS_OF = {
    "workers": ("processes", "slurm"),
    "at_once": ("slurm",),
    "address": ("ray",),
    "cpus": ("ray", "slurm"),
    "gpus": ("ray", "slurm"),
    "memory": ("ray", "slurm"),
    "minutes": ("slurm",),
    "slurm": ("slurm",),
}
"""Keys of [compute] that some executors alone have a use for."""
IN_MEMORY = re.compile(r"(^|::)memory:")
"""What the URL of a store that ends with its process begins with, also behind another file system of fsspec."""


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
    def all_conditions(self) -> tuple[str, ...]:
        """The text of each condition, those of predictions made elsewhere last."""
        elsewhere = (condition for regime in self.regimes for condition in regime.own_conditions)
        return tuple(dict.fromkeys((*map(str, self.conditions), *elsewhere)))

    @property
    def unnamed(self) -> dict[str, dict[str, str]]:
        """What images depend on that no condition's name tells, by parameter and condition; empty where nothing is."""
        parameters = {str(one.condition): one.every_parameter() for one in self.perturbations}
        rungs = {condition: of["rungs"]["value"] for condition, of in parameters.items() if "rungs" in of}
        return {"rungs": rungs} if rungs else {}

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
        file = tomllib.loads(self.text)
        regimes = [regime.settings() for regime in self.regimes]
        return {
            "study": self.study.model_dump(mode="json"),
            "data": _own_folder_as_written({**self.data.settings(), **validation}, file.get("data")),
            "regimes": [
                _own_folder_as_written(*pair) for pair in zip(regimes, file.get("regimes", regimes), strict=True)
            ],
            "perturbations": [str(perturbation.condition) for perturbation in self.perturbations],
            **({"scores": {name: one.settings() for name, one in self.scores.items()}} if self.scores else {}),
            "analysis": self.analysis.model_dump(mode="json"),
            "report": {**self.report.model_dump(mode="json"), "attach_predictions": self.attaches_predictions},
            "compute": self.compute.model_dump(mode="json"),
        }

    def error(self, keys: Sequence[str | int], message: str) -> StudyError:
        """Return an error that names the file and the line on which a key stands."""
        return Place(self.path, self.text).error(keys, message)


def _own_folder_as_written(settings: Mapping[str, Any], written: object) -> dict[str, Any]:
    """Return settings with `.` where a path is the folder that it is relative to, whose name is another elsewhere."""
    if not isinstance(written, Mapping):
        return dict(settings)
    found = dict(settings)
    for key, value in settings.items():
        said = written.get(key)
        if isinstance(value, Mapping):
            found[key] = _own_folder_as_written(value, said)
        elif isinstance(value, str) and isinstance(said, str) and value != said and not PurePath(said).parts:
            found[key] = "."
    return found
