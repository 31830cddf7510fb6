"""A MedMNIST archive: small images with labels in one `.npz`."""

import zipfile
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrobust.errors import DataError, StudyError
from cxrobust.files import sha256_file
from cxrobust.inference.datasets import PNEUMONIA, Dataset, Example, ImageTable, dataset
from cxrobust.inference.images import ArrayImages, reason
from cxrobust.study.sections import DataPath
from cxrobust.texts import Texts

MOST_CLASSES = 1000
SPLITS = ("train", "val", "test")
CITATION = (
    "Yang J, Shi R, Wei D, et al. MedMNIST v2: a large-scale lightweight benchmark for 2D and 3D biomedical image "
    "classification. Scientific Data 2023;10:41. doi:10.1038/s41597-022-01721-8."
)


@dataset("medmnist")
class MedMnist(Dataset):
    """Images `{split}_images` and labels `{split}_labels` of an `.npz`; one that holds Python objects is refused.

    MedMNIST tells no patients. Every image counts as its own, so intervals are too narrow where a patient has several
    images.

    Labels (n, 1) of two classes are one finding, the second class; of more classes, one finding for each against the
    rest. Labels (n, k) are k findings.
    """

    public: ClassVar[bool] = True
    example: ClassVar[Example] = PNEUMONIA
    kind: Literal["medmnist"]
    file: DataPath
    split: Literal["train", "val", "test"] = "test"
    names: tuple[str, ...] | None = None
    """Findings in the order of the labels' columns or classes; two classes take one name, or two and use the second."""

    def load(self, *, with_images: bool = True) -> ImageTable:
        """Read the split's arrays and name the findings."""
        images, labels, n_classes = _read(self.file, self.split)
        findings, values = self._findings(labels, n_classes)
        ids = Texts(f"{self.split}_{index:05}" for index in range(len(labels)))
        return ImageTable(
            name=f"MedMNIST {self.file.stem}",
            citation=CITATION,
            ids=ids,
            patients=ids,
            patients_known="none",
            findings=findings,
            labels=values.astype(np.int8),
            metadata=pd.DataFrame({"split": [self.split] * len(ids)}),
            images=ArrayImages(images) if with_images else None,
            sources={self.file.name: sha256_file(self.file)},
        )

    def _findings(self, labels: NDArray[Any], n_classes: int) -> tuple[tuple[str, ...], NDArray[Any]]:
        """Return the findings' names and their labels (n_images, n_findings)."""
        n_columns = labels.shape[1]
        if n_columns > 1:
            return self._named("finding", n_columns), labels
        if n_classes > 2:
            return self._named("class", n_classes), labels == np.arange(n_classes)
        names = ("positive",) if self.names is None else self.names
        if len(names) not in {1, 2}:
            raise StudyError(
                f"[data] names: {len(names)} are given and {self.file.name} has two classes: give one or two"
            )
        return names[-1:], labels

    def _named(self, what: str, n_findings: int) -> tuple[str, ...]:
        names = self.names or tuple(f"{what}_{index}" for index in range(n_findings))
        if len(names) != n_findings:
            raise StudyError(
                f"[data] names: {len(names)} are given and {self.file.name} has {n_findings} findings: give one each"
            )
        return names


def _read(path: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[Any], int]:
    """Return a split's images and labels, and how many classes the labels of all splits have (at least two)."""
    if path.is_file() and not zipfile.is_zipfile(path):
        raise DataError(f"{path}: the file is no whole .npz archive: get the file again")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {
                key: archive[key]
                for key in (f"{split}_images", *(f"{each}_labels" for each in SPLITS))
                if key in archive
            }
            keys = ", ".join(archive)
    except FileNotFoundError:
        raise DataError(f"{path}: the archive is missing: put it there or correct file in [data]") from None
    except Exception as error:  # a damaged archive makes zipfile, zlib and numpy raise errors of many types
        raise DataError(f"{path}: the archive cannot be read ({reason(error)}): get the file again") from error
    for key in (f"{split}_images", f"{split}_labels"):
        if key not in arrays:
            raise DataError(f"{path}: there is no array {key!r}: the archive has {keys}")
    images, labels = arrays.pop(f"{split}_images"), arrays[f"{split}_labels"]
    _check(path, images, labels)
    highest = max(int(array.max(initial=1)) for array in arrays.values() if array.dtype.kind in "iu")
    if highest >= (2 if labels.shape[1] > 1 else MOST_CLASSES):
        raise DataError(f"{path}: a label is {highest}, more than its shape {labels.shape} allows: get the file again")
    return images, labels, 1 + highest


def _check(path: Path, images: NDArray[Any], labels: NDArray[Any]) -> None:
    shape = images.shape
    if images.dtype != np.uint8 or not (len(shape) == 3 or (len(shape) == 4 and shape[3] in {1, 3, 4})):
        raise DataError(
            f"{path}: images are {images.dtype} of shape {shape}, expected uint8 of shape (n, height, width) or "
            "(n, height, width, channels): choose a two-dimensional MedMNIST file"
        )
    if labels.dtype.kind not in "iu" or labels.ndim != 2 or len(labels) != len(images):
        raise DataError(
            f"{path}: labels are {labels.dtype} of shape {labels.shape}, expected integers of shape ({len(images)}, k)"
            ": get the file again"
        )
    if labels.min(initial=0) < 0:
        raise DataError(f"{path}: a label is {labels.min()}, expected 0 or more: get the file again")
