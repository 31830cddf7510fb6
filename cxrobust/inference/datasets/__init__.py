"""Data sets as they are distributed: each module registers one kind for `[data] kind = "..."`."""

import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from cxrobust.errors import DataError, StudyError, counted, nearest, some
from cxrobust.files import merged_hashes, sha256_file
from cxrobust.inference.references import OBSERVED, labels_of, left_out_for, references_of
from cxrobust.inference.tables import giving_memory_back, read_table
from cxrobust.predictions import REFERENCE
from cxrobust.predictions.pooling import Pool
from cxrobust.radiology_reports.phrases import OBSERVATIONS
from cxrobust.registry import Registry
from cxrobust.results import MACRO, MICRO, OTHERS, REPORT, WORST
from cxrobust.study.sections import DataPath, Section, StudyPath
from cxrobust.texts import Texts

MISSING = -1
"""The label of a finding that nobody judged on an image: left out of that finding's estimates, and counted."""

STUDY_ID = "study_id"
"""The metadata column that says to which study an image belongs, where a data set tells."""

RESERVED = ("all", "each", MACRO, MICRO, OTHERS, REPORT, WORST)
"""Words of study files and results that no finding can bear."""


OF_REFERENCES = (
    "references", "references_id", "references_text", "sections", "missing_references", "longest_reference",
    "own_references", "label_source", "doubted",
)  # fmt: skip
"""Keys of [data] that settings tell where they are given: data without reports are described without them."""


PatientsKnown = Literal["all", "some", "none"]


class ImageSource(Protocol):
    """Where pixels come from: files, an archive or a generator."""

    def digest(self, index: int) -> str:
        """Return a hash of all that determines the pixels of image `index`."""

    def stamp(self, index: int) -> str:
        """Return a cheap text that changes when image `index` may have changed: path, size and time of a file."""

    def file(self, index: int) -> Path | None:
        """Return the file that image `index` is; None of an image that is no file of its own."""

    def opened(self, index: int) -> tuple[str, Callable[[], NDArray[np.float32]]]:
        """Return the digest of image `index`, and what gives its pixels, so that a file is read once for both.

        Raises
        ------
        DataError
            When the file cannot be opened; what gives the pixels raises it as `pixels` does.
        """

    def pixels(self, index: int) -> NDArray[np.float32]:
        """Return image `index` as grey, shape (height, width), in [0, 1].

        Raises
        ------
        DataError
            Naming the file, when it is missing, truncated or of no known kind.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageTable:
    """The test or validation images of a study: who, what is labelled, and where the pixels are."""

    name: str
    """The data set in words, for example `NIH ChestX-ray14`."""
    citation: str
    ids: Sequence[str]
    """`cxrobust.texts.Texts` where there may be many, as for patients."""
    patients: Sequence[str]
    """Sampling unit of each image."""
    findings: tuple[str, ...]
    labels: NDArray[np.int8]
    """(n_images, n_findings): 1, 0, or `MISSING`."""
    metadata: pd.DataFrame
    """One row an image, in the order of `ids`: age, sex, view position and whatever else the data set tells."""
    images: ImageSource | None
    """None where only predictions made elsewhere are analysed."""
    patients_known: PatientsKnown = "all"
    """Of which images the data say whose they are; any other counts as a patient of its own."""
    exclusions: Mapping[str, int] = field(default_factory=dict)
    """Images left out, by reason."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each label or metadata file read, by file name."""
    pooled: Pool | None = None
    """How the predictions of a study's images are pooled before they are analysed; None where each image counts."""
    references: tuple[str | None, ...] | None = None
    """The radiologist's report of each image, None where it is missing; None where the data set has none at all."""
    n_reports_without_image: int = 0
    """Reports that were read and belong to no image; they are not among `exclusions`, which count images."""
    contradictory: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """Which images, shape (n_images,), have labels that contradict one another, by what these are; they are kept."""
    notes: tuple[str, ...] = ()
    """Sentences, without a full stop, on what the label file holds that is used otherwise than it may have been meant.
    """

    @property
    def own_metadata(self) -> pd.DataFrame:
        """The metadata as predictions keep them: without columns named as their own for image, patient and labels."""
        ours = {"image_id", "patient_id", REFERENCE, *(f"label_{finding}" for finding in self.findings)}
        metadata = self.metadata.reset_index(drop=True).rename(columns=str)
        return metadata.drop(columns=[column for column in metadata if column in ours])


class Example(NamedTuple):
    """A finding to start a study file from: as the data call it, as the labeler of reports does, and in a prompt."""

    finding: str
    observation: str
    words: str


EFFUSION = Example("Pleural Effusion", "Pleural Effusion", "fluid in the pleural space")
PNEUMONIA = Example("Pneumonia", "Pneumonia", "infection of the lungs")


class Dataset(Section):
    """What every `[data]` section may say; a kind adds where its files are."""

    public: ClassVar[bool] = False
    """Whether anybody may pass on ids, labels and metadata of these images, so that a PDF may carry them unasked."""
    example: ClassVar[Example] = EFFUSION
    """One of its findings, which `cxrobust init` writes."""
    kind: str
    findings: Literal["all"] | tuple[str, ...] = "all"
    size: int = Field(default=224, ge=16, le=4096)
    """Side in pixels at which images are kept and perturbed: the shorter side is scaled, the longer centre-cropped."""
    metadata: StudyPath | None = None
    """A table of your own (CSV, relative to the study file) with an image id column and any further columns."""
    metadata_id: str = "image_id"
    references: DataPath | None = None
    """A table of radiologists' reports, CSV or JSON lines, by the id of the image or of its study."""
    references_id: str = "id"
    references_text: str = "report"
    sections: tuple[str, ...] = Field(default=("findings", "impression"), min_length=1)
    """Sections of a report that are the reference, by their headings; a report without headings is taken whole."""
    missing_references: Literal["keep", "exclude"] = "keep"
    """What becomes of an image whose reference is missing, empty or not English: kept and counted, or left out."""
    longest_reference: int | None = Field(default=None, ge=1)
    """Words of a reference; an image with a longer one is left out and counted."""
    label_source: Literal["data", "references"] = "data"
    """Whether labels are those of the data set, or are read from the references by the embedded labeler."""
    doubted: Literal["ignore", "zeros", "ones"] = "ignore"
    """What a finding that a reference doubts is labelled: missing, 0 or 1."""

    @property
    def pooling(self) -> Pool | None:
        """How the predictions of a study's images are pooled, by the key `pool` of kinds that have one; else None."""
        return getattr(self, "pool", None)

    @property
    def has_own_references(self) -> bool:
        """Whether the data set itself brings references, as it is set."""
        return False

    @model_validator(mode="after")
    def _references(self) -> "Dataset":
        has = self.references is not None or self.has_own_references
        for key in ("references_id", "references_text"):
            if key in self.model_fields_set and self.references is None:
                raise ValueError(f"{key} is of use with references, a table of reports, alone: remove it, or give one")
        wants = {
            "sections": "sections" in self.model_fields_set,
            "missing_references": self.missing_references == "exclude",
            "longest_reference": self.longest_reference is not None,
            "label_source": self.label_source == "references",
        }
        for key, wanted in wants.items():
            if wanted and not has:
                raise ValueError(f"{key} needs references: name a table of reports by references")
        if "doubted" in self.model_fields_set and self.label_source == "data":
            raise ValueError('doubted is of use with label_source = "references" alone: remove it, or say so')
        return self

    @abstractmethod
    def load(self, *, with_images: bool = True) -> ImageTable:
        """Read labels, patients and metadata of the chosen images; pixels stay where they are until asked for.

        `with_images` is False where every regime's predictions were made elsewhere: image files are not needed then.

        Raises
        ------
        DataError
            Naming the file, the line or column, what was found and the mend.
        """

    def without_headers(self) -> "Dataset":
        """Return the section without what its image files alone tell, for who asks for rows and patients."""
        return self.model_copy(update={"headers": False}) if "headers" in type(self).model_fields else self

    def table(self, *, with_images: bool = True, where: str = "[data]", needs_references: bool = True) -> ImageTable:
        """Load, add references, keep the chosen findings, join the user's own metadata, and check the contract.

        `where` is what the study file calls the section. Without `needs_references` a table that holds the reference of
        no image is none at all, unless labels are read from it or images without one are left out.
        """
        reads = self.label_source == "references"  # then findings are no columns of the data set
        source = self.model_copy(update={"findings": "all"}) if reads else self
        with giving_memory_back():
            table = self._with_references(source.load(with_images=with_images), where, needs_references)
            table = _choose_findings(self._labelled_by_references(table) if reads else table, self.findings)
            _check(table)
            return table if self.metadata is None else _join(table, self.metadata, self.metadata_id)

    def _with_references(self, table: ImageTable, where: str, needed: bool) -> ImageTable:
        """Return the table with its references, without images that lack one, or whose is too long, as is asked."""
        if self.references is not None:
            studies = table.metadata[STUDY_ID].astype(str).str.strip().tolist() if STUDY_ID in table.metadata else None
            found = references_of(
                self.references,
                table.ids,
                studies,
                id_column=self.references_id,
                text_column=self.references_text,
                sections=self.sections,
                where=where,
                needed=needed or self.label_source == "references" or self.missing_references == "exclude",
            )
            if found is None:
                return table
            table = replace(table, references=found, sources=_with_file(table.sources, self.references))
        if table.references is None:
            return table
        reasons = left_out_for(
            table.references, without=self.missing_references == "exclude", longest=self.longest_reference
        )
        if not any(reasons):
            return table
        kept = [row for row, reason in enumerate(reasons) if reason is None]
        return replace(take(table, kept), exclusions={**table.exclusions, **Counter(filter(None, reasons))})

    def _labelled_by_references(self, table: ImageTable) -> ImageTable:
        names = OBSERVED if self.findings == "all" else tuple(self.findings)
        known = tuple(name for name in names if name in OBSERVATIONS) or OBSERVED
        doubted = {"ignore": MISSING, "zeros": 0, "ones": 1}[self.doubted]
        labels = labels_of(table.references or (), known, doubted=doubted)
        name = f"{table.name}, labels read from its reports"
        return replace(table, findings=known, labels=labels, name=name, contradictory={})

    def settings(self) -> dict[str, Any]:
        """Settings as JSON values, paths by name only so that no machine's folders enter a report."""
        values = self.model_dump(mode="json")
        unsaid = {key for key in OF_REFERENCES if key not in self.model_fields_set}
        return {key: _public(getattr(self, key), value) for key, value in values.items() if key not in unsaid}


dataset: Registry[type[Dataset]] = Registry("data set kind", package="cxrobust.inference.datasets")


def read_section(table: Mapping[str, Any], context: Mapping[str, Any]) -> Dataset:
    """Return the section of a table that stands within another one of the study file; `kind` says its data set.

    Raises
    ------
    ValueError
        Saying what is wrong, in part of a sentence.
    """
    kind = table.get("kind")
    if not isinstance(kind, str):
        raise ValueError("it needs kind, the kind of the data set")
    try:
        section = dataset[kind]
    except StudyError as error:
        raise ValueError(str(error)) from None
    try:
        return section.model_validate_json(json.dumps(table, default=str), context=dict(context))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            known = list(section.model_fields)
            raise ValueError(f"unknown key {key!r}{nearest(key, known)}: known are {', '.join(known)}") from None
        raise ValueError(f"{key}: {first['msg'].removeprefix('Value error, ')}") from None


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Some images of a source, in an order of one's own."""

    source: ImageSource
    rows: NDArray[np.intp]

    def digest(self, index: int) -> str:
        return self.source.digest(self.rows[index])

    def stamp(self, index: int) -> str:
        return self.source.stamp(self.rows[index])

    def file(self, index: int) -> Path | None:
        return self.source.file(self.rows[index])

    def opened(self, index: int) -> tuple[str, Callable[[], NDArray[np.float32]]]:
        return self.source.opened(self.rows[index])

    def pixels(self, index: int) -> NDArray[np.float32]:
        return self.source.pixels(self.rows[index])


def files_of(table: ImageTable) -> tuple[Path, ...]:
    """Return the files of images that are files, one each; none of others."""
    source = table.images
    files = () if source is None else map(source.file, range(len(table.ids)))
    return tuple(file for file in files if file is not None)


def without_folder(message: str, source: ImageSource, index: int) -> str:
    """Return what is said of image `index` with its file's name in place of its path."""
    path = source.file(index)
    return message if path is None else message.replace(str(path), path.name)


def take(table: ImageTable, rows: Sequence[int] | NDArray[np.intp]) -> ImageTable:
    """Return the table with these rows alone, in this order."""
    chosen = np.asarray(rows, dtype=np.intp)
    if np.array_equal(chosen, np.arange(len(table.ids))):
        return table
    return replace(
        table,
        ids=Texts(table.ids[row] for row in chosen),
        patients=Texts(table.patients[row] for row in chosen),
        labels=table.labels[chosen],
        metadata=table.metadata.iloc[chosen].reset_index(drop=True),
        contradictory={what: which[chosen] for what, which in table.contradictory.items()},
        images=None if table.images is None else _Chosen(table.images, chosen),
        references=None if table.references is None else tuple(table.references[row] for row in chosen),
    )


def named(name: str, pool: Pool | None) -> str:
    """Return a data set's name with how the images of a study are pooled, where they are."""
    words = {"mean": "the mean", "max": "the largest"}
    return name if pool is None else f"{name}, each study's images pooled into {words[pool]} of their probabilities"


def check_findings(wanted: Literal["all"] | tuple[str, ...], known: Sequence[str], *, name: str) -> None:
    """Refuse findings that a data set called `name` does not have.

    Raises
    ------
    StudyError
        Naming the first such finding, and those that are known.
    """
    for finding in () if wanted == "all" else wanted:
        if finding not in known:
            raise StudyError(
                f"[data] findings: {name} has no finding {finding!r}{nearest(finding, known)}: "
                f"it has {', '.join(known)}"
            )


def _choose_findings(table: ImageTable, wanted: Literal["all"] | tuple[str, ...]) -> ImageTable:
    if wanted == "all":
        return table
    check_findings(wanted, table.findings, name=table.name)
    columns = [table.findings.index(name) for name in wanted]
    return replace(table, findings=tuple(wanted), labels=np.ascontiguousarray(table.labels[:, columns]))


def _check(table: ImageTable) -> None:
    if not table.ids:
        left_out = ", ".join(f"{count:,} {reason}" for reason, count in table.exclusions.items())
        raise DataError(f"{table.name}: no image is left{f' ({left_out})' if left_out else ''}: correct [data]")
    if repeated := Texts(table.ids).repeated:
        raise DataError(
            f"{table.name}: {len(repeated):,} image ids stand more than once ({some(repeated)}): "
            f"every image needs one row"
        )
    if not table.findings:
        raise DataError(f"{table.name}: no finding is left: correct findings in [data]")
    for name in table.findings:
        if table.findings.count(name) > 1:
            raise StudyError(f"[data] findings: finding {name!r} stands twice: keep one")
        if name in RESERVED:
            raise DataError(f"{table.name}: a finding is called {name!r}, which means all findings here: rename it")


def _join(table: ImageTable, path: Path, column: str) -> ImageTable:
    own = read_table(path, needs=[column], what="the metadata of the study")
    own = own.set_index(own[column].str.strip()).drop(columns=column)
    if own.index.has_duplicates:
        raise DataError(f"{path}: image {own.index[own.index.duplicated()][0]!r} stands twice: keep one row an image")
    if REFERENCE in own.columns:
        raise DataError(f"{path}: a column of metadata is called {REFERENCE!r}, which means reports here: rename it")
    ids = list(table.ids)
    absent = [image for image in ids if image not in own.index]
    if absent:
        raise DataError(
            f"{path}: {counted(len(absent), 'image')} of {table.name} without a row ({some(absent)}): add them"
        )
    joined = table.metadata.reset_index(drop=True).copy()
    for name in own.columns:
        joined[name] = own.loc[ids, name].to_numpy()
    return replace(table, metadata=joined, sources=_with_file(table.sources, path))


def _with_file(sources: Mapping[str, str], path: Path) -> dict[str, str]:
    return merged_hashes([sources, {path.name: sha256_file(path)}])


def _public(value: object, dumped: Any) -> Any:
    return value.name if isinstance(value, Path) else dumped
