"""Several data sets in one study, their findings matched by a table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationInfo, field_validator

from cxrobust.errors import StudyError, nearest, some
from cxrobust.inference.datasets import (
    MISSING,
    STUDY_ID,
    Dataset,
    ImageSource,
    ImageTable,
    PatientsKnown,
    dataset,
    read_section,
)
from cxrobust.predictions.pooling import Pool
from cxrobust.texts import Texts

STRATUM = "dataset"
"""The metadata column that names the member of each image."""
OURS = ("size", "findings")


def _read_members(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, dict) or not all(isinstance(table, dict) for table in value.values()):
        raise ValueError("write a table for each data set, such as [data.members.nih]")
    members = {}
    for name, table in value.items():
        for key in OURS:
            if key in table:
                raise ValueError(f"{name}: {key} is that of [data], and match names the findings: remove it")
        if table.get("kind") == "pooled":
            raise ValueError(f"{name}: a pooled data set cannot be a member: name its members here")
        try:
            members[name] = read_section(table, info.context or {})
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return members


Names = str | tuple[str, ...]


@dataset("pooled")
class Pooled(Dataset):
    """Several data sets as one: `members` names them, `match` says which findings of theirs are the same.

    A finding of the study is one of a member's, or several, of which any makes it positive and all must be absent to
    make it negative. A member that `match` does not name for a finding has no label of it. Findings of members that
    `match` does not name are not part of the study.

    An image's id is its own with the member's name before it, `nih/00000001_000.png`; so is the patient's, unless
    `shared_patients` puts members together whose patients of one name are one person. The metadata column `dataset`
    holds the member's name: `[[analysis.subgroups]] column = "dataset"` estimates each data set beside all of them.
    """

    kind: Literal["pooled"]
    members: Annotated[
        dict[Annotated[str, Field(pattern=r"^[\w-]+$")], SerializeAsAny[Dataset]],
        BeforeValidator(_read_members),
        Field(min_length=1),
    ]
    match: Annotated[dict[str, dict[str, Names]], Field(min_length=1)]
    """For each finding of the study, the finding or findings of each member."""
    shared_patients: tuple[tuple[str, ...], ...] = ()
    """Groups of members whose patients have the same names, such as `[["nih", "rsna"]]`."""

    @field_validator("match")
    @classmethod
    def _check_match(cls, match: dict[str, dict[str, Names]], info: ValidationInfo) -> dict[str, dict[str, Names]]:
        members = info.data.get("members", {})
        for finding, matched in match.items():
            if not matched:
                raise ValueError(f"finding {finding!r} is matched to no member's: name one at least")
            for name in matched:
                _check_member(name, members, f"finding {finding!r}")
        for name in members:
            if not any(name in matched for matched in match.values()):
                raise ValueError(f"no finding is matched to {name!r}: name one at least, or remove the member")
        return match

    @field_validator("shared_patients")
    @classmethod
    def _check_groups(cls, groups: tuple[tuple[str, ...], ...], info: ValidationInfo) -> tuple[tuple[str, ...], ...]:
        together = [name for group in groups for name in group]
        for name in together:
            _check_member(name, info.data.get("members", {}), "a group")
            if together.count(name) > 1:
                raise ValueError(f"{name!r} stands twice: keep one")
        return groups

    @property
    def pooling(self) -> Pool | None:
        """How the members pool the predictions of a study's images; None where no member does."""
        return next((one.pooling for one in self.members.values() if one.pooling is not None), None)

    def without_headers(self) -> "Pooled":
        """Return the section without what image files alone tell of its members."""
        return self.model_copy(update={"members": {name: one.without_headers() for name, one in self.members.items()}})

    def settings(self) -> dict[str, Any]:
        """Settings as JSON values, those of members without the keys that are those of [data]."""
        members = {
            name: {key: value for key, value in one.settings().items() if key not in OURS}
            for name, one in self.members.items()
        }
        return {**super().settings(), "members": members}

    def load(self, *, with_images: bool = True) -> ImageTable:
        """Read every member and put their images one after the other.

        Raises
        ------
        StudyError
            When a member has none of the findings that are chosen: its images would be predicted for nothing.
        """
        self._check_chosen()
        tables = {name: self._member(name, with_images=with_images) for name in self.members}
        sources = tuple(table.images for table in tables.values() if table.images is not None)
        return ImageTable(
            name=_name(tables),
            citation=" ".join(dict.fromkeys(table.citation for table in tables.values() if table.citation)),
            ids=_prefixed({name: (name, table.ids) for name, table in tables.items()}),
            patients=_prefixed({name: (self._bearer(name), table.patients) for name, table in tables.items()}),
            patients_known=_patients_known(tables),
            findings=tuple(self.match),
            labels=np.concatenate([self._labels(name, table) for name, table in tables.items()]),
            metadata=_metadata(tables, pooled=_pool(tables)),
            images=_Joined(sources, _counts(tables)) if with_images else None,
            contradictory=_contradictory(tables),
            notes=tuple(f"{name}: {note}" for name, one in tables.items() for note in one.notes),
            exclusions={f"{why} ({name})": n for name, one in tables.items() for why, n in one.exclusions.items()},
            sources={f"{name}/{file}": sha for name, one in tables.items() for file, sha in one.sources.items()},
            n_reports_without_image=sum(table.n_reports_without_image for table in tables.values()),
            pooled=_pool(tables),
            references=_references(tables),
        )

    def _check_chosen(self) -> None:
        if self.findings == "all" or not set(self.findings) <= set(self.match):  # of an unknown one more can be said
            return
        for name in self.members:
            own = [finding for finding, matched in self.match.items() if name in matched]
            if not set(own) & set(self.findings):
                raise StudyError(
                    f"[data] findings: none of {some(self.findings)} is matched to {name!r}: name one that is "
                    f"({some(own)}), or remove the member"
                )

    def _member(self, name: str, *, with_images: bool) -> ImageTable:
        wanted = dict.fromkeys(one for matched in self.match.values() for one in _names(matched.get(name, ())))
        member = self.members[name].model_copy(update={"findings": tuple(wanted), "size": self.size})
        try:
            return member.table(with_images=with_images)
        except StudyError as error:
            raise StudyError(f"[data.match] {name}: {str(error).removeprefix('[data] findings: ')}") from error

    def _labels(self, name: str, table: ImageTable) -> NDArray[np.int8]:
        labels = np.full((len(table.ids), len(self.match)), MISSING, dtype=np.int8)
        for column, matched in enumerate(self.match.values()):
            columns = [table.findings.index(one) for one in _names(matched.get(name, ()))]
            if columns:
                labels[:, column] = _any(table.labels[:, columns])
        return labels

    def _bearer(self, name: str) -> str:
        """Return the member whose name stands before this one's patients."""
        return next((group[0] for group in self.shared_patients if name in group), name)


def _check_member(name: str, members: Mapping[str, Dataset], where: str) -> None:
    if name not in members:
        raise ValueError(f"{where}: {name!r} is no member{nearest(name, members)}: they are {', '.join(members)}")


def _names(names: Names) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


def _any(labels: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return 1 where any label is 1, 0 where all are 0, else missing."""
    present, absent = (labels == 1).any(axis=1), (labels == 0).all(axis=1)
    return np.where(present, 1, np.where(absent, 0, MISSING)).astype(np.int8)


def _name(tables: Mapping[str, ImageTable]) -> str:
    """Return the members' names; what one says of its studies after a comma is not read on into the next."""
    names = tuple(dict.fromkeys(table.name for table in tables.values()))
    return ("; and " if any(", " in name for name in names) else " and ").join(names)


def _prefixed(names: Mapping[str, tuple[str, Sequence[str]]]) -> Texts:
    return Texts(f"{prefix}/{one}" for prefix, each in names.values() for one in each)


def _counts(tables: Mapping[str, ImageTable]) -> tuple[int, ...]:
    return tuple(len(table.ids) for table in tables.values())


def _metadata(tables: Mapping[str, ImageTable], *, pooled: Pool | None) -> pd.DataFrame:
    """Return the members' metadata below one another; what is a number in one and text in another becomes text.

    Where studies are pooled, each image of a member that tells none is a study of its own, called as the image.
    """
    parts = []
    for name, table in tables.items():
        own = table.own_metadata.rename(columns={STRATUM: f"{STRATUM}_of_{name}"})
        if STUDY_ID in own:
            own[STUDY_ID] = [f"{name}/{study}" for study in own[STUDY_ID]]
        elif pooled is not None:
            own[STUDY_ID] = [f"{name}/{image}" for image in table.ids]
        own.insert(0, STRATUM, name)
        parts.append(own)
    columns = list(dict.fromkeys(column for part in parts for column in part.columns))
    for column in columns:
        having = [part for part in parts if column in part]
        if len({pd.api.types.is_numeric_dtype(part[column]) for part in having}) > 1:
            for part in having:
                part[column] = part[column].map(lambda value: "" if pd.isna(value) else str(value))
    joined = pd.concat([part.astype(object) for part in parts], ignore_index=True)[columns]
    return joined.infer_objects()


def _patients_known(tables: Mapping[str, ImageTable]) -> PatientsKnown:
    known = {table.patients_known for table in tables.values()}
    return known.pop() if len(known) == 1 else "some"


def _references(tables: Mapping[str, ImageTable]) -> tuple[str | None, ...] | None:
    """Return the members' references, missing where a member has none; None where no member has."""
    if all(table.references is None for table in tables.values()):
        return None
    return tuple(one for table in tables.values() for one in table.references or (None,) * len(table.ids))


def _contradictory(tables: Mapping[str, ImageTable]) -> dict[str, NDArray[np.bool_]]:
    ends, found = list(accumulate(_counts(tables))), dict[str, NDArray[np.bool_]]()
    for end, (name, table) in zip(ends, tables.items(), strict=True):
        for what, which in table.contradictory.items():
            of_all = found[f"{what} ({name})"] = np.zeros(ends[-1], dtype=bool)
            of_all[end - len(which) : end] = which
    return found


def _pool(tables: Mapping[str, ImageTable]) -> Pool | None:
    """Return how the images of studies are pooled in all members that tell studies."""
    ways = {name: table.pooled for name, table in tables.items() if STUDY_ID in table.metadata}
    if len(set(ways.values())) > 1:
        told = ", ".join(f"{name} by {way or 'none'}" for name, way in ways.items())
        raise StudyError(
            f"[data] members: the images of studies are pooled in one way, or in no member that tells studies, "
            f"not {told}: write the same pool in each, or in none (a folder tells no studies where its column "
            f"{STUDY_ID} is renamed or left out)"
        )
    return next(iter(ways.values()), None)


@dataclass(frozen=True, slots=True)
class _Joined:
    """The images of several sources, one after the other."""

    sources: tuple[ImageSource, ...]
    counts: tuple[int, ...]

    def _find(self, index: int) -> tuple[ImageSource, int]:
        ends = list(accumulate(self.counts))
        place = next(place for place, end in enumerate(ends) if index < end)
        return self.sources[place], index - (ends[place] - self.counts[place])

    def digest(self, index: int) -> str:
        source, own = self._find(index)
        return source.digest(own)

    def stamp(self, index: int) -> str:
        source, own = self._find(index)
        return source.stamp(own)

    def file(self, index: int) -> Path | None:
        source, own = self._find(index)
        return source.file(own)

    def opened(self, index: int) -> tuple[str, Callable[[], NDArray[np.float32]]]:
        source, own = self._find(index)
        return source.opened(own)

    def pixels(self, index: int) -> NDArray[np.float32]:
        source, own = self._find(index)
        return source.pixels(own)
