"""The RSNA pneumonia detection challenge of 2018 as Kaggle distributes it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from cxrobust.errors import DataError, counted, some
from cxrobust.files import sha256_file
from cxrobust.inference.datasets import PNEUMONIA, Dataset, Example, ImageTable, dataset
from cxrobust.inference.headers import with_headers
from cxrobust.inference.images import LOOKED_FOR, FileImages, file_images, reason, with_endings
from cxrobust.inference.rows import Rows, check_filled, find_file
from cxrobust.inference.tables import line, read_table
from cxrobust.study.sections import DataPath
from cxrobust.texts import Texts

FINDINGS = ("Pneumonia",)
LABEL_FILES = ("stage_2_train_labels.csv",)
CLASS_FILE = "stage_2_detailed_class_info.csv"
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"
ID, TARGET = "patientId", "Target"
CITATION = (
    "Shih G, Wu CC, Halabi SS, et al. Augmenting the National Institutes of Health chest radiograph dataset with "
    "expert annotations of possible pneumonia. Radiology: Artificial Intelligence 2019;1:e180041. "
    "doi:10.1148/ryai.2019180041."
)


@dataset("rsna-pneumonia")
class RsnaPneumonia(Dataset):
    """26,684 frontal radiographs of NIH ChestX-ray14 with opacities that may be pneumonia, by radiologists.

    `root` holds `stage_2_train_labels.csv`, with a row a box, and `stage_2_train_images/<patientId>.dcm`; the challenge
    gave labels for these images alone. Files may be compressed by gzip, or lie in a zip archive as Kaggle gives them.
    `stage_2_detailed_class_info.csv`, where it is there, becomes the metadata column `class`.

    Despite its name `patientId` is an image: one patient has several. Where `mapping` is there, the RSNA's list of the
    NIH images that they were, the sampling unit is the NIH's patient; else each image counts as its own patient.
    Regimes trained on the NIH's images have seen these.
    """

    example: ClassVar[Example] = PNEUMONIA
    kind: Literal["rsna-pneumonia"]
    root: DataPath
    labels: DataPath | None = None
    """The label file, where it is not in `root`."""
    images: DataPath | None = None
    """The folder with the images, where it is not `root/stage_2_train_images`."""
    mapping: DataPath | None = None
    """`pneumonia-challenge-dataset-mappings_2018.json` of the RSNA, where it is not in `root`."""
    headers: bool = False
    """Whether sex, age and view are read from the headers of the images, which takes a while for many."""
    list: DataPath | None = None
    """A text file with one patientId a line: the images that are taken; all when absent."""

    def load(self, *, with_images: bool = True) -> ImageTable:
        """Read the label file, what is known of classes and patients, and choose the images."""
        path = self.labels or find_file(
            [self.root],
            LABEL_FILES,
            what="the label file of the challenge",
            mend="put it there, or name it with labels in [data]",
        )
        boxes = read_table(path, needs=[ID, TARGET], what="the label file of the challenge")
        rows = Rows(frame=_by_image(boxes, path))
        if self.list is not None:
            rows = rows.listed(self.list, column=ID, source=path.name)
        ids = Texts(rows.frame[ID])
        mapping = self.mapping or (self.root / MAPPING if (self.root / MAPPING).is_file() else None)
        classes = _optional(self.root, CLASS_FILE)
        about = _metadata(rows.frame, classes)
        images = self._images(ids) if with_images else None
        used = [file for file in (path, self.list, mapping, classes) if file is not None]
        return ImageTable(
            name="RSNA pneumonia challenge",
            citation=CITATION,
            ids=ids,
            patients=ids if mapping is None else _patients(mapping, ids),
            patients_known="none" if mapping is None else "all",
            findings=FINDINGS,
            labels=rows.frame[[TARGET]].to_numpy(dtype=np.int8),
            metadata=with_headers(about, images) if self.headers else about,
            images=images,
            exclusions=rows.exclusions,
            sources={file.name: sha256_file(file) for file in used},
        )

    def _images(self, ids: Sequence[str]) -> FileImages:
        files = with_endings(self.images or self.root / "stage_2_train_images", ids)
        key = "images" if self.images else "root"
        return file_images(files, mend=f"download them, or correct {key} in [data] ({LOOKED_FOR})")


def _optional(root: Path, name: str) -> Path | None:
    return next((root / (name + end) for end in ("", ".gz", ".zip") if (root / (name + end)).is_file()), None)


def _by_image(boxes: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return a row an image with its target, in the order of the file, and how many boxes it has."""
    check_filled(boxes, [ID], path)
    targets = boxes[TARGET].str.strip().map({"1": 1, "0": 0})
    if targets.isna().any():
        row = targets.index[targets.isna()][0]
        raise DataError(
            f"{path}:{line(path, row)}: {TARGET} is {boxes[TARGET][row]!r}, expected 1 or 0: get the file again"
        )
    by_image = targets.groupby(boxes[ID], sort=False)
    differs = by_image.transform("nunique") > 1
    if differs.any():
        row = differs.index[differs][0]
        raise DataError(
            f"{path}:{line(path, row)}: image {boxes[ID][row]!r} has rows with {TARGET} 1 and 0: get the file again"
        )
    return by_image.agg(["first", "sum"]).reset_index().rename(columns={"first": TARGET, "sum": "n_boxes"})


def _metadata(frame: pd.DataFrame, classes: Path | None) -> pd.DataFrame:
    about = pd.DataFrame({"n_boxes": frame["n_boxes"].astype(int).tolist()})
    if classes is not None:
        detailed = read_table(classes, needs=[ID, "class"], what="the classes of the challenge")
        known = detailed.drop_duplicates(ID).set_index(ID)["class"]
        about["class"] = [known.get(image, "") for image in frame[ID]]
    return about


def _patients(mapping: Path, ids: Sequence[str]) -> Texts:
    """Return the NIH's patient of each image, the number with which the NIH's image is named."""
    try:
        entries = json.loads(mapping.read_text(encoding="utf-8"))
        known = {str(one["subset_img_id"]): str(int(str(one["img_id"]).partition("_")[0])) for one in entries}
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(
            f"{mapping}: the mapping to NIH images cannot be read ({reason(error)}): get it again, or remove it"
        ) from error
    absent = [image for image in ids if image not in known]
    if absent:
        raise DataError(
            f"{mapping}: {counted(len(absent), 'image')} without an entry ({some(absent)}): get the file again"
        )
    return Texts(known[image] for image in ids)
