"""Scores of generated reports against reference reports: each module registers one scorer for `[scores.<name>]`.

A scorer turns each pair of texts into a few numbers that add up over reports, its columns. A measure says what the sums
of some columns give: a corpus's BLEU, an F1, or the mean of a score that each report has. So a measure of the whole
corpus has intervals and tests by patient like any mean.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cxrobust.errors import DataError, require
from cxrobust.files import sha256_file, sha256_json, sha256_modules
from cxrobust.radiology_reports.findings import EMPTY, FOREIGN, faults_of
from cxrobust.registry import Registry
from cxrobust.results import Better
from cxrobust.study.sections import Section

Columns: TypeAlias = Mapping[str, NDArray[np.float64]]
"""(n_reports,) each, by name."""
CONTROLLED = "length-controlled-"
CANDIDATE_WORDS, REFERENCE_WORDS = "words_candidate", "words_reference"
NO_REPORT, NO_REFERENCE = "no report", "no reference"
BETWEEN = "; "
"""Between remarks on one report."""
OF_REFERENCE = "reference "
"""What remarks on the reference begin with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """What is told of a set of reports: a function of sums of columns."""

    says: str
    """What it is, its range and direction, for lists of names."""
    needs: tuple[str, ...]
    """The columns that it is made from; a report that has none of one is not scored."""
    of: Callable[[Columns], NDArray[np.float64]]
    """Turns columns into what is summed over reports, (n_reports, n_sums)."""
    finish: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    """Turns sums (..., n_sums + 1), the last one the number of reports, into values (...); analytic, see `Additive`."""
    is_mean: bool = False
    """Whether it is the mean of the one number that is summed."""
    better: Better = "higher"
    bounds: tuple[float, float] = (0.0, 1.0)
    undefined: str = "nothing to compare"
    """Why `finish` may give NaN."""
    length: str | None = None
    """The column that tells how much a report weighs, where a long one weighs more than others."""


def mean_of(column: str, says: str, *, better: Better = "higher", bounds: tuple[float, float] = (0.0, 1.0)) -> Measure:
    """Return the measure that is the mean over reports of one column."""
    return Measure(
        says=says,
        needs=(column,),
        of=lambda columns: columns[column][:, None],
        finish=lambda sums: sums[..., 0] / sums[..., 1],
        is_mean=True,
        better=better,
        bounds=bounds,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairs:
    """Reports with their references, in one order, and whose they are where a study wrote them."""

    ids: tuple[str, ...]
    candidates: tuple[str | None, ...]
    """What was generated; None where nothing was."""
    references: tuple[str | None, ...]
    """What a radiologist wrote; None, or without a word, where it is missing."""
    log_probabilities: NDArray[np.float64] | None = None
    """Mean log-probability of a token of each report."""
    regime: str = ""
    replicate: int = 0
    condition: str = ""

    def some(self, rows: Sequence[int]) -> "Pairs":
        """Return the pairs at some rows."""
        return replace(
            self,
            ids=tuple(self.ids[i] for i in rows),
            candidates=tuple(self.candidates[i] for i in rows),
            references=tuple(self.references[i] for i in rows),
            log_probabilities=None if self.log_probabilities is None else self.log_probabilities[list(rows)],
        )

    @property
    def texts(self) -> tuple[list[str], list[str]]:
        """Candidates and references, where every one is there."""
        return [text or "" for text in self.candidates], [text or "" for text in self.references]

    @property
    def texts_in_pairs(self) -> list[tuple[str, str]]:
        """Each candidate with its reference."""
        return list(zip(*self.texts, strict=True))


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """What a scorer says of each report."""

    columns: Columns
    """(n_reports,) each; NaN where a report is not scored."""
    reasons: tuple[str | None, ...]
    """Why a report is not scored, or None."""
    remarks: tuple[str | None, ...]
    """What is to be told of a report that is scored: that it is empty, or was cut."""

    def count(self, told: Literal["reasons", "remarks"]) -> dict[str, int]:
        """Return how many reports each reason or remark is of, in alphabetical order."""
        found = [one for said in getattr(self, told) if said is not None for one in said.split(BETWEEN)]
        return {one: found.count(one) for one in sorted(set(found))}


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """The columns of pairs of texts, in their order, and what is to be told of some of them by their place."""

    columns: Columns
    reasons: Mapping[int, str] = field(default_factory=dict)
    remarks: Mapping[int, str] = field(default_factory=dict)


class Scorer(Section, ABC):
    """How reports are scored; its fields are the keys of `[scores.<name>]`."""

    measures: ClassVar[Mapping[str, Measure]]
    """What is told by it, by the name that `[analysis] metrics` has."""
    needs_reference: ClassVar[bool] = True
    distributions: ClassVar[tuple[str, ...]] = ()
    """Packages that it calls, whose versions its scores depend on."""
    packages: ClassVar[tuple[str, ...]] = ()
    """The same as they are imported."""
    extra: ClassVar[str] = "reports"
    """The extra of this package that brings them."""
    modules: ClassVar[tuple[str, ...]] = ()
    """Modules of ours beside its own that its scores depend on."""
    prefix: ClassVar[str] = ""
    """What the names of measures begin with that only its settings know; each is the mean of one column."""

    @abstractmethod
    def compare(self, pairs: Pairs) -> Answers:
        """Score pairs of texts of which none is missing."""

    def score(self, pairs: Pairs) -> Scored:
        """Score reports; one that is missing, or has no reference where one is needed, is not scored and says so."""
        reasons = [
            NO_REPORT
            if candidate is None
            else NO_REFERENCE
            if self.needs_reference and not (text or "").strip()
            else None
            for candidate, text in zip(pairs.candidates, pairs.references, strict=True)
        ]
        rows = [i for i, why in enumerate(reasons) if why is None]
        found = self.compare(pairs.some(rows))
        columns = {}
        for name, values in found.columns.items():
            columns[name] = np.full(len(reasons), np.nan)
            columns[name][rows] = values
        remarks: list[str | None] = [
            None if why is not None else _joined(_remarks(candidate or "", reference or ""))
            for why, candidate, reference in zip(reasons, pairs.candidates, pairs.references, strict=True)
        ]
        for at, why in found.reasons.items():
            reasons[rows[at]], remarks[rows[at]] = why, None
            for values in columns.values():
                values[rows[at]] = np.nan
        for at, said in found.remarks.items():
            remarks[rows[at]] = _joined([*filter(None, [remarks[rows[at]]]), said])
        return Scored(columns=columns, reasons=tuple(reasons), remarks=tuple(remarks))

    def check(self) -> None:
        """Raise where a package is missing.

        Raises
        ------
        MissingGroupError
            Naming the extra that brings it.
        """
        for one in self.packages:
            require(one, group=self.extra)

    def named_ids(self) -> Collection[str]:
        """Return the ids of the reports that a table made elsewhere is of; none where it has no table."""
        return ()

    def identity(self, name: str) -> dict[str, Any]:
        """Return all that scores of the same texts depend on."""
        return {
            "scorer": name,
            "settings": self.model_dump(mode="json", exclude=set(self._places())),
            "files": {key: fingerprint(getattr(self, key)) for key in self._places() if getattr(self, key) is not None},
            "versions": {one: _version(one) for one in self.distributions},
            "source": self.source(),
        }

    def settings(self) -> dict[str, Any]:
        """Return the settings as JSON values, of files their names."""
        found = self.model_dump(mode="json")
        return {key: Path(one).name if key in self._places() and one else one for key, one in found.items()}

    def source(self) -> str:
        """Return a hash of the code that scores."""
        return sha256_json(sha256_modules((__name__, *_OF_REMARKS, type(self).__module__, *self.modules)))

    def _places(self) -> tuple[str, ...]:
        """Name the keys that are files or folders."""
        return tuple(key for key, value in self if isinstance(value, Path))


class OnDevice(Scorer):
    """A scorer with a network."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    batch: int = Field(default=16, ge=1)

    @property
    def torch_device(self) -> str:
        """Name the device that is used."""
        import torch

        return ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device


scorer: Registry[type[Scorer]] = Registry("scorer", package="cxrobust.radiology_reports.scores")


def measured(name: str) -> tuple[tuple[str, ...], Measure]:
    """Return the scorers that a metric needs, and what it tells.

    Raises
    ------
    KeyError
        When no scorer has it.
    """
    found = _measured(name)
    if found is None:
        raise KeyError(name)
    return found


def needs_reference(name: str) -> bool:
    """Whether a metric of reports tells nothing without reference reports."""
    scorers, measure = measured(name)
    return REFERENCE_WORDS in measure.needs or any(scorer[one].needs_reference for one in scorers)


@lru_cache(maxsize=4096)
def _measured(name: str) -> tuple[tuple[str, ...], Measure] | None:
    if name.startswith(CONTROLLED):
        base = _measured(name.removeprefix(CONTROLLED))
        if base is None or not base[1].is_mean or base[1].bounds != (0.0, 1.0):
            return None
        return (*base[0], "words"), length_controlled(base[1])
    for key in scorer:
        one = scorer[key]
        if name in one.measures:
            return (key,), one.measures[name]
        rest = name.removeprefix(one.prefix)
        if one.prefix and rest not in {"", name}:
            says = f"Mean of {rest}, as scored by {key}; which way is better is not known."
            return (key,), mean_of(f"{key}_{rest}", says, better=None, bounds=(-np.inf, np.inf))
    return None


def length_controlled(base: Measure) -> Measure:
    """Return the mean of a score in [0, 1], each over how many times too long its report is.

    Parameters
    ----------
    base
        A mean over reports.
    """

    def of(columns: Columns) -> NDArray[np.float64]:
        times = columns[CANDIDATE_WORDS] / np.maximum(columns[REFERENCE_WORDS], 1)
        return base.of(columns) / np.maximum(times, 1)[:, None]

    return Measure(
        says=f"Length-controlled: {base.says[0].lower()}{base.says[1:]}",
        needs=(*base.needs, CANDIDATE_WORDS, REFERENCE_WORDS),
        of=of,
        finish=base.finish,
        is_mean=True,
        better=base.better,
        bounds=base.bounds,
    )


def each(measure: Measure, columns: Columns) -> NDArray[np.float64]:
    """Return what a measure tells of each report alone, (n_reports,); NaN where it is not scored or not defined."""
    sums = measure.of(columns)
    known = ~np.isnan(np.column_stack([columns[name] for name in measure.needs])).any(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = measure.finish(np.column_stack([sums, np.ones(len(sums))]))
    return np.where(known, found, np.nan)


def without_reference(columns: Columns) -> NDArray[np.bool_]:
    """Return where words of a report are counted, and none of a reference, since it is missing or empty."""
    return np.asarray(~np.isnan(columns[CANDIDATE_WORDS]) & np.isnan(columns[REFERENCE_WORDS]))


_OF_REMARKS = tuple(f"cxrobust.radiology_reports.{name}" for name in ("findings", "labeler", "phrases"))
"""Modules that remarks depend on."""


def _remarks(candidate: str, reference: str) -> list[str]:
    """Return what is to be told of a pair that is scored, as `empty report` or `reference not English`."""
    of_report = (f"{fault} report" if fault != FOREIGN else f"report {fault}" for fault in faults_of(candidate))
    return [*of_report, *(f"{OF_REFERENCE}{fault}" for fault in faults_of(reference) if fault != EMPTY)]


def _joined(remarks: Sequence[str]) -> str | None:
    return BETWEEN.join(remarks) or None


def fingerprint(path: Path) -> str:
    """Return a hash of a file, or of all files in a folder with their names.

    Raises
    ------
    DataError
        When it is not there.
    """
    if path.is_file():
        return sha256_file(path)
    if not path.is_dir():
        raise DataError(f"{path}: the file or folder is missing: correct its path in [scores]")
    found = sha256()
    for one in sorted(part for part in path.rglob("*") if part.is_file()):
        found.update(f"{one.relative_to(path).as_posix()} {sha256_file(one)}\n".encode())
    return found.hexdigest()


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "missing"
