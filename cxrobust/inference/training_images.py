"""The images that a regime learns from within a study: `train` in a regime's table, a data set's section of its own."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrobust.errors import DataError, some
from cxrobust.files import sha256_bytes, sha256_json, sha256_json_list
from cxrobust.inference.datasets import Dataset, ImageTable
from cxrobust.inference.datasets import read_section as read_table_of_data
from cxrobust.inference.datasets.pooled import Pooled
from cxrobust.inference.image_hashes import hash_images
from cxrobust.inference.pixels import Pixels, open_pixels
from cxrobust.progress import Reporter


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingImages:
    """Images to learn from, listed and hashed."""

    section: Dataset
    table: ImageTable
    digests: Sequence[str]

    @property
    def fingerprint(self) -> dict[str, str]:
        """SHA-256 of the label files, and of all images."""
        labels = {f"train/{name}": digest for name, digest in self.table.sources.items()}
        images = sha256_json_list(zip(self.table.ids, self.digests, strict=True))
        return {**labels, "train/images": sha256_json([images, sha256_bytes(self.table.labels.tobytes())])}

    def pixels(self, *, folder: Path, report: Reporter) -> Pixels:
        """Decode the images, or open what an earlier run decoded."""
        return open_pixels(self.table, size=self.section.size, folder=folder, report=report, unreadable="needed")

    def labels(self, columns: Sequence[int]) -> NDArray[np.int8]:
        """Return the labels of some findings, (n_images, n_findings).

        Raises
        ------
        DataError
            When one of them has no present or no absent image, so that nothing can be learned of it.
        """
        labels = np.ascontiguousarray(self.table.labels[:, list(columns)])
        for column, values in zip(columns, labels.T, strict=True):
            n_present, n_absent = int((values == 1).sum()), int((values == 0).sum())
            if not n_present or not n_absent:
                raise DataError(
                    f"{self.table.name}: of the training images {n_present:,} have {self.table.findings[column]!r} and "
                    f"{n_absent:,} do not: a head needs both; leave the finding out or choose other training images"
                )
        return labels


def read_section(value: object, context: Mapping[str, Any]) -> Dataset:
    """Return the section of `train`, whose keys override those of [data] where it is of the same kind.

    Raises
    ------
    ValueError
        Saying what is wrong.
    """
    if isinstance(value, Dataset):
        return value
    if not isinstance(value, dict):
        raise ValueError('write a table, such as train = { split = "train" }')
    data = context.get("data")
    inherited = data if isinstance(data, dict) else {}
    kind = value.get("kind", inherited.get("kind"))
    own = {key: one for key, one in inherited.items() if key != "validation"}
    if kind != inherited.get("kind"):
        own = {key: one for key, one in own.items() if key == "size"}
    return read_table_of_data({**own, **value, "kind": kind}, context)


def read_training_images(section: Dataset, *, folder: Path | None, report: Reporter) -> TrainingImages:
    """List and hash the images of a section; `folder` remembers hashes.

    Raises
    ------
    DataError, StudyError
        When labels or images cannot be read.
    """
    table = section.table(needs_references=False)
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="cxrobust-") as made:
            digests = hash_images(table, folder=Path(made), report=report)
    else:
        digests = hash_images(table, folder=folder, report=report)
    return TrainingImages(section=section, table=table, digests=digests)


def check_apart(
    learned: tuple[Dataset, ImageTable], tested: Sequence[tuple[Dataset, ImageTable]], *, where: str
) -> None:
    """Raise where a patient to learn from is also one to be tested on, by ids within a kind of data set.

    Raises
    ------
    DataError
        Naming some of them.
    """
    known = _patients_by_kind(*learned)
    for section, table in tested:
        theirs = _patients_by_kind(section, table)
        shared = sorted(patient for kind, ids in theirs.items() for patient in ids & known.get(kind, set()))
        if shared:
            raise DataError(
                f"{where}: {len(shared):,} patients of its training images are also in the images that it is tested on "
                f"({some(shared)}): leave each to one of the two"
            )


def _patients_by_kind(section: Dataset, table: ImageTable) -> Mapping[str, set[str]]:
    """Return the patients of each kind of data set, as it names them, whether it is alone or pooled with others."""
    if not isinstance(section, Pooled):
        return {section.kind: set(table.patients)}
    kinds = {name: {member.kind} for name, member in section.members.items()}
    for first, *others in section.shared_patients:
        kinds[first] |= {kind for name in others for kind in kinds[name]}
    found: dict[str, set[str]] = {}
    for patient in table.patients:
        name, _, own = patient.partition("/")
        for kind in kinds[name]:
            found.setdefault(kind, set()).add(own)
    return found
