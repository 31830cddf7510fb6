"""VinDr-CXR as PhysioNet distributes it, and its training images as Kaggle's VinBigData challenge did."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrobust.errors import DataError
from cxrobust.files import sha256_file
from cxrobust.inference.datasets import EFFUSION, Dataset, Example, ImageTable, dataset
from cxrobust.inference.headers import with_headers
from cxrobust.inference.images import LOOKED_FOR, FileImages, file_images, with_endings
from cxrobust.inference.rows import Rows, check_filled, find_file
from cxrobust.inference.tables import line, read_table
from cxrobust.study.sections import DataPath
from cxrobust.texts import Texts

NONE_OF_THEM = "No finding"
IMAGE, READER, CLASS = "image_id", "rad_id", "class_name"
OTHER_SPELLINGS = {"Other disease": "Other diseases"}
CITATION = (
    "Nguyen HQ, Lam K, Le LT, et al. VinDr-CXR: an open dataset of chest X-rays with radiologist's annotations. "
    "Scientific Data 2022;9:429. doi:10.1038/s41597-022-01498-w."
)

Readers = Literal["majority", "any", "all"]


@dataset("vindr-cxr")
class VinDrCxr(Dataset):
    """DICOM radiographs of two hospitals in Hanoi, read by three radiologists each, or five until they agreed (test).

    `root` holds `annotations/image_labels_test.csv` and `test/<image_id>.dicom` as PhysioNet distributes them, and
    `train` likewise; `train.csv` of Kaggle's challenge, with one row a box, is read too. Images may also be `.dcm`,
    `.png` or `.jpg` files of the same name.

    A finding is positive when `readers` of the image saw it: the `majority` (more than half), `any`, or `all`. A reader
    who left it blank does not vote on it, and it is missing where all did. The test images have one row, what five
    readers agreed upon. `findings = "all"` are those of the label file without
    `No finding`, which is no finding of its own; name it to have it.

    Images on which one reader saw a finding, and `No finding`, are left out and counted, as those are that are not in
    `list`.

    VinDr-CXR tells no patients: every image counts as its own.
    """

    example: ClassVar[Example] = EFFUSION._replace(finding="Pleural effusion")
    kind: Literal["vindr-cxr"]
    root: DataPath
    labels: DataPath | None = None
    """The label file, where it is not in `root`."""
    images: DataPath | None = None
    """The folder with the images, where it is not `root/test` or `root/train`."""
    split: Literal["test", "train"] = "test"
    readers: Readers = "majority"
    headers: bool = False
    """Whether sex, age and view are read from the headers of the images, which takes a while for many."""
    list: DataPath | None = None
    """A text file with one image id a line: the images that are taken; all when absent."""

    def load(self, *, with_images: bool = True) -> ImageTable:
        """Read what each reader saw on each image, and choose the images."""
        path = self.labels or _label_file(self.root, self.split)
        frame = read_table(path, needs=[IMAGE], what="the label file of VinDr-CXR")
        check_filled(frame, [column for column in (IMAGE, READER, CLASS) if column in frame.columns], path)
        seen = _from_boxes(frame, path) if CLASS in frame.columns else _from_columns(frame, path)
        names = [name for name in seen.columns if name != NONE_OF_THEM or NONE_OF_THEM in self.findings]
        rows = Rows(frame=_agreed(seen[names], self.readers))
        every = rows.frame[IMAGE]
        consistent = ~rows.frame[IMAGE].isin(_self_contradicting(seen))
        rows = rows.only(consistent, f"on which a reader saw a finding and {NONE_OF_THEM}")
        if self.list is not None:
            rows = rows.listed(self.list, column=IMAGE, source=path.name, known=every)
        ids = Texts(rows.frame[IMAGE])
        about = rows.frame[["n_readers"]].reset_index(drop=True)
        images = self._images(ids) if with_images else None
        return ImageTable(
            name=f"VinDr-CXR ({self.split})",
            citation=CITATION,
            ids=ids,
            patients=ids,
            patients_known="none",
            findings=tuple(names),
            labels=rows.frame[names].to_numpy(dtype=np.int8),
            metadata=with_headers(about, images) if self.headers else about,
            images=images,
            exclusions=rows.exclusions,
            sources={file.name: sha256_file(file) for file in (path, self.list) if file is not None},
        )

    def _images(self, ids: Sequence[str]) -> FileImages:
        files = with_endings(self.images or self.root / self.split, ids)
        key = "images" if self.images else "root"
        return file_images(files, mend=f"download them, or correct {key} in [data] ({LOOKED_FOR})")


def _label_file(root: Path, split: str) -> Path:
    return find_file(
        [root / "annotations", root],
        [f"image_labels_{split}.csv", *(["train.csv"] if split == "train" else [])],
        what=f"the label file of VinDr-CXR's {split} images",
        mend="put it there, or name it with labels in [data]",
    )


def _from_columns(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return what each reader saw (1, 0, or NaN for a blank), a row an image and reader, from a column a finding."""
    findings = [column for column in frame.columns if column not in {IMAGE, READER}]
    if not findings:
        raise DataError(f"{path}: there is no column of a finding: get the file again")
    readers = frame[READER] if READER in frame.columns else pd.Series("", index=frame.index)
    twice = pd.DataFrame({IMAGE: frame[IMAGE], READER: readers}).duplicated()
    if twice.any():
        row = twice.index[twice][0]
        raise DataError(f"{path}:{line(path, row)}: image {frame[IMAGE][row]!r} stands twice for one reader: keep one")
    seen = pd.DataFrame({name: _flags(frame[name], path) for name in findings}, index=frame.index)
    return seen.rename(columns=OTHER_SPELLINGS).set_index([frame[IMAGE], readers.rename(READER)])


def _flags(values: "pd.Series[str]", path: Path) -> "pd.Series[float]":
    said = values.str.strip()
    flags = said.map({"1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0})
    wrong = flags.isna() & (said != "")
    if wrong.any():
        row = wrong.index[wrong][0]
        raise DataError(
            f"{path}:{line(path, row)}: {values.name} is {values[row]!r}, expected 1, 0 or blank: get the file again"
        )
    return flags


def _from_boxes(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return what each reader saw, a row an image and reader, from a table with a row a box or `No finding`."""
    readers = frame[READER] if READER in frame.columns else pd.Series("", index=frame.index)
    keys = [frame[IMAGE], readers.rename(READER)]
    flags = pd.get_dummies(frame[CLASS].str.strip().replace(OTHER_SPELLINGS), dtype=int)
    return flags.groupby(keys, sort=False).max()


def _self_contradicting(seen: pd.DataFrame) -> frozenset[str]:
    """Return the images on which a reader saw a finding, and none."""
    if NONE_OF_THEM not in seen:
        return frozenset()
    both = (seen[NONE_OF_THEM] == 1) & (seen.drop(columns=NONE_OF_THEM) == 1).any(axis=1)
    return frozenset(seen.index[both].get_level_values(IMAGE))


def _agreed(seen: pd.DataFrame, readers: Readers) -> pd.DataFrame:
    """Return a row an image, in the order of the file: 1 where enough who judged a finding saw it, else 0.

    -1 where nobody judged it.
    """
    by_image = seen.groupby(level=IMAGE, sort=False)
    n_readers = by_image.size()
    votes: NDArray[np.float64] = by_image.sum().to_numpy()
    judged: NDArray[np.int64] = by_image.count().to_numpy()
    enough = {"majority": 2 * votes > judged, "any": votes > 0, "all": votes == judged}[readers]
    labels = np.where(judged == 0, -1, enough).astype(np.int8)
    agreed = pd.DataFrame(labels, columns=seen.columns)
    agreed.insert(0, IMAGE, n_readers.index.to_list())
    agreed["n_readers"] = n_readers.to_numpy()
    return agreed
