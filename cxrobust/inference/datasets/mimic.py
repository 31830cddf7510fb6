"""MIMIC-CXR-JPG 2.x as PhysioNet distributes it."""

from pathlib import Path
from typing import Literal

import pandas as pd

from cxrobust.errors import DataError, nearest, some
from cxrobust.files import sha256_file
from cxrobust.inference.columns import POLICY, Uncertain, read_labels
from cxrobust.inference.datasets import Dataset, ImageTable, dataset, read_table
from cxrobust.inference.images import FileImages, file_images
from cxrobust.study_sections import DataPath

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
NONE_OF_THEM = "No Finding"
FRONTAL = ("AP", "PA")
IMAGE, STUDY, PATIENT, VIEW = "dicom_id", "study_id", "subject_id", "ViewPosition"
CITATION = (
    "Johnson AEW, Pollard TJ, Berkowitz SJ, et al. MIMIC-CXR, a de-identified publicly available database of chest "
    "radiographs with free-text reports. Scientific Data 2019;6:317. doi:10.1038/s41597-019-0322-0. Johnson A, Lungren "
    "M, Peng Y, et al. MIMIC-CXR-JPG: chest radiographs with structured labels. PhysioNet. doi:10.13026/jsn5-t979."
)


@dataset("mimic-cxr-jpg")
class MimicCxrJpg(Dataset):
    """Radiographs of emergency patients in Boston, with findings that a program read from each study's report.

    `root` holds `mimic-cxr-2.0.0-split.csv.gz`, `-metadata.csv.gz` and `-chexpert.csv.gz` or `-negbio.csv.gz` (of any
    2.x, compressed or not; the highest version is read), and the images as
    `files/p10/p10000032/s50414267/<dicom_id>.jpg`. The sampling unit is the subject.

    Labels belong to a study: each of its images carries them. A finding that the report does not mention is blank in
    the label file and, as is customary, taken as negative; `unmentioned = "ignore"` takes it as missing. `findings =
    "all"` are the 13 without `No Finding`, which is no finding of its own; name it to have it.

    Images of the split are left out, and counted, when they show no wanted view, when their study has no labels and,
    with `images_per_study = "first"`, when they are not the first that is left of their study in the order of the
    split file.
    """

    kind: Literal["mimic-cxr-jpg"]
    root: DataPath
    images: DataPath | None = None
    """The folder with `p10` to `p19`, where it is not `root/files`."""
    labeler: Literal["chexpert", "negbio"] = "chexpert"
    split: Literal["test", "validate", "train"] = "test"
    views: Literal["frontal", "all"] | tuple[str, ...] = "frontal"
    """`frontal` (AP and PA), `all`, or values of ViewPosition, for example `["LATERAL", "LL"]`."""
    uncertain: Uncertain = "ignore"
    unmentioned: Literal["ignore", "zeros"] = "zeros"
    images_per_study: Literal["all", "first"] = "all"

    def load(self, *, with_images: bool = True) -> ImageTable:
        """Read the split, the metadata and the labels, and choose the test images."""
        findings = (*FINDINGS, NONE_OF_THEM) if NONE_OF_THEM in self.findings else FINDINGS
        paths = [_newest(self.root, part) for part in ("split", "metadata", self.labeler)]
        frame = _images_of_split(paths[0], paths[1], self.split)
        labels = _labels_by_study(paths[2], findings)
        kept, exclusions = self._choose(frame, set(labels.index))
        rows = labels.loc[list(kept[STUDY])].set_index("row")
        return ImageTable(
            name="MIMIC-CXR-JPG",
            citation=CITATION,
            ids=tuple(kept[IMAGE]),
            patients=tuple(kept[PATIENT]),
            findings=findings,
            labels=read_labels(rows, findings, path=paths[2], uncertain=self.uncertain, blank=POLICY[self.unmentioned]),
            metadata=kept.drop(columns=[IMAGE, PATIENT]).rename(columns={VIEW: "view"}).reset_index(drop=True),
            images=self._images(kept) if with_images else None,
            exclusions=exclusions,
            sources={path.name: sha256_file(path) for path in paths},
        )

    def _choose(self, frame: pd.DataFrame, labelled: set[str]) -> tuple[pd.DataFrame, dict[str, int]]:
        exclusions = {}
        if self.views != "all":
            views = FRONTAL if self.views == "frontal" else self.views
            _check_views(views, known=set(frame[VIEW]))
            exclusions[f"with a view other than {' and '.join(views)}"] = int((~frame[VIEW].isin(views)).sum())
            frame = frame[frame[VIEW].isin(views)]
        exclusions["of a study without labels"] = int((~frame[STUDY].isin(labelled)).sum())
        frame = frame[frame[STUDY].isin(labelled)]
        if self.images_per_study == "first":
            exclusions["that are not the first of their study"] = int(frame[STUDY].duplicated().sum())
            frame = frame[~frame[STUDY].duplicated()]
        return frame, {reason: count for reason, count in exclusions.items() if count}

    def _images(self, frame: pd.DataFrame) -> FileImages:
        folder = self.images or self.root / "files"
        names = zip(frame[PATIENT], frame[STUDY], frame[IMAGE], strict=True)
        return file_images(
            [
                folder / f"p{patient[:2]}" / f"p{patient}" / f"s{study}" / f"{image}.jpg"
                for patient, study, image in names
            ],
            mend=f"download them, or correct {'images' if self.images else 'root'} in [data]",
        )


def _newest(root: Path, part: str) -> Path:
    found = [path for ending in (".csv", ".csv.gz") for path in root.glob(f"mimic-cxr-2.*-{part}{ending}")]
    if not found:
        raise DataError(f"{root}: mimic-cxr-2.0.0-{part}.csv.gz is missing: put it there, or correct root in [data]")
    return max(found, key=lambda path: (path.name.removesuffix(".gz"), path.suffix != ".gz"))


def _images_of_split(split: Path, metadata: Path, name: str) -> pd.DataFrame:
    """Return a row an image of the split, in the order of the split file, with the metadata's columns beside it."""
    images = read_table(split, needs=[IMAGE, STUDY, PATIENT, "split"], what="the split of MIMIC-CXR")
    if name not in set(images["split"]):
        raise DataError(f"{split}: split {name!r} is empty: its splits are {', '.join(sorted(set(images['split'])))}")
    images = images.loc[images["split"] == name, [IMAGE, STUDY, PATIENT, "split"]]
    about = read_table(metadata, needs=[IMAGE, VIEW], what="the metadata of MIMIC-CXR")
    about = about.drop(columns=[column for column in (STUDY, PATIENT, "split") if column in about.columns])
    if about[IMAGE].duplicated().any():
        twice = about[IMAGE][about[IMAGE].duplicated()]
        raise DataError(f"{metadata}: image {twice.iloc[0]!r} stands twice: get the file again")
    absent = images[IMAGE][~images[IMAGE].isin(about[IMAGE])]
    if len(absent):
        raise DataError(
            f"{metadata}: {len(absent):,} images of {split.name} have no row ({some(absent)}): use files of one version"
        )
    return images.merge(about, on=IMAGE, how="left")


def _labels_by_study(path: Path, findings: tuple[str, ...]) -> pd.DataFrame:
    """Return the label file by study, with the number of each row in `row`."""
    frame = read_table(path, needs=[STUDY, *findings], what="the label file of MIMIC-CXR").rename_axis("row")
    if frame[STUDY].duplicated().any():
        twice = frame[STUDY][frame[STUDY].duplicated()]
        raise DataError(f"{path}: study {twice.iloc[0]!r} stands twice: get the file again")
    return frame.reset_index().set_index(STUDY)


def _check_views(views: tuple[str, ...], *, known: set[str]) -> None:
    for view in views:
        if known and view not in known and view not in FRONTAL:
            raise DataError(
                f"views: no image has the view {view!r}{nearest(view, known)}: known are {', '.join(sorted(known))}"
            )
