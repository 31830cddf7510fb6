"""CheXpert as Stanford AIMI distributes it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrobust.errors import DataError
from cxrobust.files import sha256_file
from cxrobust.inference.columns import POLICY, PRESENT, Uncertain, as_words, in_common_words, read_labels
from cxrobust.inference.datasets import STUDY_ID, Dataset, ImageTable, dataset, named
from cxrobust.inference.images import FileImages, file_images, names_in
from cxrobust.inference.rows import Rows, Views, check_once, find_file
from cxrobust.inference.tables import line, read_table
from cxrobust.predictions.pooling import Pool
from cxrobust.study.sections import DataPath
from cxrobust.texts import Texts

FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
    "Support Devices",
)
NONE_OF_THEM, DEVICES = "No Finding", "Support Devices"
LABEL_FILES = {
    "train": ["train.csv"],
    "valid": ["valid.csv", "val_labels.csv"],
    "test": ["test_labels.csv", "test.csv"],
}
PATH, SIDE, PROJECTION = "Path", "Frontal/Lateral", "AP/PA"
ABOUT = ("Sex", "Age")
USED = (PATH, SIDE, PROJECTION, *ABOUT, *FINDINGS, NONE_OF_THEM)
"""Columns of the label files that are read; others may bear the names that are given to parts of a path."""
PARTS = r"^(?:.*/)?(?P<split>train|valid|val|test)/(?P<patient>patient\d+)/(?P<study>study\d+)/(?P<file>[^/]+)$"
CITATION = (
    "Irvin J, Rajpurkar P, Ko M, et al. CheXpert: a large chest radiograph dataset with uncertainty labels and expert "
    "comparison. AAAI 2019;33:590–597. doi:10.1609/aaai.v33i01.3301590."
)
CITATION_OF_TEST = (
    " Saporta A, Gui X, Agrawal A, et al. Benchmarking saliency methods for chest X-ray interpretation. Nature Machine "
    "Intelligence 2022;4:867–878. doi:10.1038/s42256-022-00536-x."
)


@dataset("chexpert")
class CheXpert(Dataset):
    """Radiographs of Stanford Hospital with 13 findings: by radiologists in the test and valid splits, else a program.

    `root` holds `test_labels.csv` (or `test.csv`), `valid.csv` (or `val_labels.csv`) or `train.csv`, compressed or not,
    and the images as `train/patient00001/study1/view1_frontal.jpg`; the folders `CheXpert-v1.0 batch 1 (…)` to `4` of
    the full-size distribution may lie in `root` as they are. An image's id is its path from the split on, the sampling
    unit is the patient whom that path names.

    A finding that the report does not mention is blank in the label file of the training images and, as is customary,
    taken as negative; `unmentioned = "ignore"` takes it as missing. `findings = "all"` are the 13 without `No Finding`,
    which is no finding of its own; name it to have it.

    Images are left out, and counted, when they show no wanted view, when they are not in `list` and, with
    `images_per_study = "first"`, when they are not the first that is left of their study. The test split tells no age,
    no sex, and of views only whether they are frontal. An age of 0 is taken as missing: the data set holds adults.

    Images that are labelled `No Finding` beside a finding are kept as they are labelled, and counted; support devices,
    which `No Finding` allows, are none.
    """

    kind: Literal["chexpert"]
    root: DataPath
    labels: DataPath | None = None
    """The label file of the split, where it is not in `root`."""
    images: DataPath | None = None
    """The folder with `train`, `valid` and `test`, where it is not `root`."""
    split: Literal["test", "valid", "train"] = "test"
    views: Views = "frontal"
    """`frontal`, `all`, or a list: `AP`, `PA`, `lateral`; in the test split `frontal` and `lateral`."""
    uncertain: Uncertain = "ignore"
    unmentioned: Literal["ignore", "zeros"] = "zeros"
    images_per_study: Literal["all", "first"] = "all"
    pool: Pool | None = None
    """Pool the predictions of each study's images into one by their `mean` or `max`, as CheXpert is scored."""
    list: DataPath | None = None
    """A text file with one image id a line: the images that are taken; all when absent."""

    def load(self, *, with_images: bool = True) -> ImageTable:
        """Read the label file of the split and choose its images."""
        findings = (*FINDINGS, NONE_OF_THEM) if NONE_OF_THEM in self.findings else FINDINGS
        path = self.labels or _label_file(self.root, self.split)
        whole = read_table(path, needs=[PATH, *findings], what="the label file of CheXpert")
        read = [column for column in USED if column in whole]
        rows = Rows(frame=whole[read].join(_parts(whole[PATH], path, self.split)))
        rows = _of_views(rows, self.views)
        if self.images_per_study == "first":
            rows = rows.first_of_each_study("study")
        if self.list is not None:
            rows = rows.listed(self.list, column="image", source=f"{path.name}{self._chosen_before}")
        frame = rows.frame
        check_once(frame["image"], path)
        return ImageTable(
            name=named(f"CheXpert ({self.split})", self.pool),
            citation=CITATION + (CITATION_OF_TEST if self.split == "test" else ""),
            ids=Texts(frame["image"]),
            patients=Texts(frame["patient"]),
            findings=findings,
            labels=read_labels(frame, findings, path=path, uncertain=self.uncertain, blank=POLICY[self.unmentioned]),
            metadata=_metadata(frame),
            images=self._images(frame) if with_images else None,
            exclusions=rows.exclusions,
            contradictory=contradictory(frame),
            sources={file.name: sha256_file(file) for file in (path, self.list) if file is not None},
            pooled=self.pool,
        )

    @property
    def _chosen_before(self) -> str:
        """What the images were chosen by before `list`, in the words of an error."""
        by = {"of views": self.views != "all", "of each study's first image": self.images_per_study == "first"}
        choices = [one for one, is_made in by.items() if is_made]
        return f" after the choice {' and '.join(choices)}" if choices else ""

    def _images(self, frame: pd.DataFrame) -> FileImages:
        folder = self.images or self.root
        found = {patient: base for base in _bases(folder, self.split) for patient in names_in(base)}
        usual = folder / self.split
        parts = zip(*(Texts(frame[column]) for column in ("patient", "study", "file")), strict=True)
        return file_images(
            (found.get(patient, usual) / study / file for patient, study, file in parts),
            mend=f"download them, or correct {'images' if self.images else 'root'} in [data]",
        )


def contradictory(labels: pd.DataFrame) -> Mapping[str, NDArray[np.bool_]]:
    """Return which rows of labels, as text, have `No Finding` beside a finding that it rules out."""
    if NONE_OF_THEM not in labels:
        return {}
    present = pd.DataFrame({name: as_words(labels[name]).isin(PRESENT) for name in (*FINDINGS, NONE_OF_THEM)})
    others = present.drop(columns=[NONE_OF_THEM, DEVICES]).any(axis=1)
    return {f"labelled {NONE_OF_THEM} beside a finding": (present[NONE_OF_THEM] & others).to_numpy()}


def _label_file(root: Path, split: str) -> Path:
    return find_file(
        [root, *sorted(root.glob("*batch 1*"))],
        LABEL_FILES[split],
        what=f"the label file of CheXpert's {split} split",
        mend="put it there, name it with labels in [data], or choose another split",
    )


def _bases(folder: Path, split: str) -> Iterator[Path]:
    """Yield the folders that may hold the patients' folders of a split; where a patient is in two, the last counts."""
    batches = sorted(folder.glob("*batch*")) if split != "test" else []
    yield from batches if split == "train" else ()
    yield from (batch / split for batch in batches)
    yield from [folder / "val"] if split == "valid" else []
    yield folder / split


def _parts(paths: "pd.Series[str]", path: Path, split: str) -> pd.DataFrame:
    """Return what each image's path says: patient, study (with its patient), file, view by its name, and our id."""
    parts = paths.str.extract(PARTS)
    wrong = parts["split"].replace({"val": "valid"}) != split
    if wrong.any():
        row = wrong.index[wrong][0]
        raise DataError(
            f"{path}:{line(path, row)}: {PATH} is {paths[row]!r}, expected {split}/patient00001/study1/"
            f"view1_frontal.jpg or the like: use the label file of the split {split!r}"
        )
    study = parts["patient"] + "/" + parts["study"]
    return pd.DataFrame(
        {
            "image": split + "/" + study + "/" + parts["file"],
            "patient": parts["patient"],
            "study": study,
            "file": parts["file"],
            "side": np.where(parts["file"].str.contains("lateral"), "lateral", "frontal"),
        },
        index=paths.index,
    )


def _of_views(rows: Rows, views: Views) -> Rows:
    """Keep the wanted views; `view` is AP, PA (a few LL, RL) or lateral, or frontal where no more is told."""
    frame = rows.frame
    side = frame[SIDE].str.lower() if SIDE in frame else frame["side"]
    projection = frame[PROJECTION] if PROJECTION in frame else pd.Series("", index=frame.index)
    told = frame.assign(view=projection.where((side == "frontal") & (projection != ""), side))
    if views == "frontal":
        return Rows(frame=told, exclusions=rows.exclusions).only(side == "frontal", "with a view other than frontal")
    return Rows(frame=told, exclusions=rows.exclusions).of_views(views, column="view")


def _metadata(frame: pd.DataFrame) -> pd.DataFrame:
    own = frame[["study", "view"]].rename(columns={"study": STUDY_ID})
    for name in ABOUT:
        if name in frame:
            own[name.lower()] = frame[name].replace({"Unknown": "", "0": ""})
    return in_common_words(own.reset_index(drop=True))
