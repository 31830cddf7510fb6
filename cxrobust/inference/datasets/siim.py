"""The SIIM-ACR pneumothorax segmentation challenge of 2019."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from cxrobust.errors import DataError
from cxrobust.files import sha256_file
from cxrobust.inference.datasets import Dataset, Example, ImageTable, dataset
from cxrobust.inference.headers import with_headers
from cxrobust.inference.images import EXTENSIONS, FileImages, file_images
from cxrobust.inference.rows import Rows, check_filled, find_file
from cxrobust.inference.tables import line, read_table
from cxrobust.study.sections import DataPath
from cxrobust.texts import Texts

FINDINGS = ("Pneumothorax",)
LABEL_FILES = ("stage_2_train.csv", "train-rle.csv")
ID, MASK = "ImageId", "EncodedPixels"
NO_MASK = ("-1", "-1.0")
OUTLINE = r"\d+\s+\d+(?:\s+\d+\s+\d+)*"
"""Runs of pixels, each a start and a length."""
CITATION = (
    "Zawacki A, Wu C, Shih G, et al. SIIM-ACR Pneumothorax Segmentation. Kaggle 2019. "
    "https://www.kaggle.com/competitions/siim-acr-pneumothorax-segmentation."
)


@dataset("siim-pneumothorax")
class SiimPneumothorax(Dataset):
    """Frontal radiographs of NIH ChestX-ray14 in which radiologists outlined every pneumothorax.

    `root` holds `train-rle.csv` or `stage_2_train.csv`, with a row an outline and −1 where there is none, and the
    images `<ImageId>.dcm` in `dicom-images-train` or its folders. An image with an outline has a pneumothorax; how many
    it has is in the column `n_outlines`, a row that stands twice being one.

    The challenge tells no patients: every image counts as its own. Regimes trained on the
    NIH's images have seen these.
    """

    example: ClassVar[Example] = Example("Pneumothorax", "Pneumothorax", "air in the pleural space")
    kind: Literal["siim-pneumothorax"]
    root: DataPath
    labels: DataPath | None = None
    """The label file, where it is not in `root`."""
    images: DataPath | None = None
    """The folder with the images or their folders, where it is not `root/dicom-images-train`."""
    headers: bool = False
    """Whether sex, age and view are read from the headers of the images, which takes a while for many."""
    list: DataPath | None = None
    """A text file with one ImageId a line: the images that are taken; all when absent."""

    def load(self, *, with_images: bool = True) -> ImageTable:
        """Read the outlines and choose the images."""
        path = self.labels or find_file(
            [self.root],
            LABEL_FILES,
            what="the label file of the challenge",
            mend="put it there, or name it with labels in [data]",
        )
        outlines = read_table(path, needs=[ID], what="the label file of the challenge").rename(columns=str.strip)
        rows = Rows(frame=_by_image(outlines, path))
        if self.list is not None:
            rows = rows.listed(self.list, column=ID, source=path.name)
        ids = Texts(rows.frame[ID])
        about = rows.frame[["n_outlines"]].reset_index(drop=True)
        images = self._images(ids) if with_images else None
        return ImageTable(
            name="SIIM-ACR pneumothorax challenge",
            citation=CITATION,
            ids=ids,
            patients=ids,
            patients_known="none",
            findings=FINDINGS,
            labels=(rows.frame[["n_outlines"]] > 0).to_numpy(dtype=np.int8),
            metadata=with_headers(about, images) if self.headers else about,
            images=images,
            exclusions=rows.exclusions,
            sources={file.name: sha256_file(file) for file in (path, self.list) if file is not None},
        )

    def _images(self, ids: Sequence[str]) -> FileImages:
        folder = self.images or self.root / "dicom-images-train"
        found = {path.stem: path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS}
        return file_images(
            (found.get(image, folder / f"{image}.dcm") for image in ids),
            mend=f"download them, or correct {'images' if self.images else 'root'} in [data]",
        )


def _by_image(outlines: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return a row an image with the number of its outlines, in the order of the file."""
    if MASK not in outlines.columns:
        raise DataError(f"{path}: the label file of the challenge lacks the column {MASK!r}: get the file again")
    check_filled(outlines, [ID], path)
    mask = outlines[MASK].str.strip()
    has_outline = mask.str.fullmatch(OUTLINE)
    wrong = ~has_outline & ~mask.isin(NO_MASK)
    if wrong.any():
        row = wrong.index[wrong][0]
        found = repr(mask[row][:60]) if mask[row] else "blank"
        raise DataError(
            f"{path}:{line(path, row)}: {MASK} is {found}, expected an outline, which is pairs of whole numbers, or "
            "-1, which means none: correct it, or get the file again"
        )
    once = ~pd.DataFrame({"image": outlines[ID], "mask": mask.str.split().str.join(" ")}).duplicated()
    outlines, has_outline = outlines[once], has_outline[once]
    images = has_outline.groupby(outlines[ID], sort=False)
    differs = images.transform("nunique") > 1
    if differs.any():
        row = differs.index[differs][0]
        raise DataError(
            f"{path}:{line(path, row)}: image {outlines[ID][row]!r} has rows with an outline and with -1, which means "
            "none: get the file again"
        )
    return images.sum().rename("n_outlines").reset_index()
