"""MIMIC-CXR-JPG 2.x as PhysioNet distributes it."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import model_validator

from cxrobust.errors import DataError, StudyError, counted, some
from cxrobust.files import sha256_file
from cxrobust.inference.columns import POLICY, Uncertain, read_labels
from cxrobust.inference.datasets import Dataset, ImageTable, dataset, named
from cxrobust.inference.datasets.chexpert import FINDINGS, NONE_OF_THEM, contradictory
from cxrobust.inference.images import FileImages, file_images
from cxrobust.inference.references import chosen_sections
from cxrobust.inference.report_files import has_report, read_report
from cxrobust.inference.rows import Rows, Views, check_filled, check_once
from cxrobust.inference.tables import check_columns, line, read_table
from cxrobust.predictions.pooling import Pool
from cxrobust.study.sections import DataPath
from cxrobust.texts import Texts

BY_RADIOLOGIST = "test-set-labeled"
IMAGE, STUDY, PATIENT, VIEW = "dicom_id", "study_id", "subject_id", "ViewPosition"
CITATION = (
    "Johnson AEW, Pollard TJ, Berkowitz SJ, et al. MIMIC-CXR, a de-identified publicly available database of chest "
    "radiographs with free-text reports. Scientific Data 2019;6:317. doi:10.1038/s41597-019-0322-0. Johnson A, Lungren "
    "M, Peng Y, et al. MIMIC-CXR-JPG: chest radiographs with structured labels. PhysioNet. doi:10.13026/jsn5-t979."
)
SPLITS = frozenset({"test", "validate", "train"})


@dataset("mimic-cxr-jpg")
class MimicCxrJpg(Dataset):
    """Radiographs of emergency patients in Boston, with findings that a program read from each study's report.

    `root` holds `mimic-cxr-2.0.0-split.csv.gz`, `-metadata.csv.gz` and `-chexpert.csv.gz` or `-negbio.csv.gz` (of any
    2.x, compressed or not; the highest version is read), and the images as
    `files/p10/p10000032/s50414267/<dicom_id>.jpg`. The sampling unit is the subject.

    Labels belong to a study: each of its images carries them. A finding that the report does not mention is blank in
    the label file and, as is customary, taken as negative; `unmentioned = "ignore"` takes it as missing. `findings =
    "all"` are the 13 without `No Finding`, which is no finding of its own; name it to have it. Images that are labelled
    so beside a finding other than support devices are kept as they are labelled, and counted.

    Images of the split are left out, and counted, when they are not in `list`, when they show no wanted view, when
    their study has no labels and, with `images_per_study = "first"`, when they are not the first that is left of their
    study in the order of the split file.

    `labeler = "radiologist"` takes the labels that a radiologist gave to 687 studies of the test split, from
    `mimic-cxr-2.1.0-test-set-labeled.csv`; its `Airspace Opacity` is called `Lung Opacity` here, as in the other files.
    """

    kind: Literal["mimic-cxr-jpg"]
    root: DataPath
    images: DataPath | None = None
    """The folder with `p10` to `p19`, where it is not `root/files`."""
    labeler: Literal["chexpert", "negbio", "radiologist"] = "chexpert"
    split: Literal["test", "validate", "train", "all"] = "test"
    """`all` is every image of the three; the column `split` of the metadata tells which it is of."""
    views: Views = "frontal"
    """`frontal` (AP and PA), `all`, or values of ViewPosition, for example `["LATERAL", "LL"]`."""
    uncertain: Uncertain = "ignore"
    unmentioned: Literal["ignore", "zeros"] = "zeros"
    images_per_study: Literal["all", "first"] = "all"
    list: DataPath | None = None
    """A text file with the `dicom_id` of each image to take, one a line, all of the split."""
    pool: Pool | None = None
    """Pool the predictions of each study's images into one by their `mean` or `max`, since labels belong to a study."""
    reports: DataPath | None = None
    """The folder `mimic-cxr-reports` (or its `files`) of MIMIC-CXR, whose texts `report` reads."""
    own_references: bool = False
    """Whether sections of the texts in `reports` are the references."""

    @property
    def has_own_references(self) -> bool:
        """Whether the reports are read as references."""
        return self.own_references

    @model_validator(mode="after")
    def _has_reports(self) -> "MimicCxrJpg":
        if self.own_references and self.reports is None:
            raise ValueError("own_references needs reports: name the folder mimic-cxr-reports of MIMIC-CXR")
        return self

    def load(self, *, with_images: bool = True) -> ImageTable:
        """Read the split, the metadata and the labels, and choose the test images."""
        findings = (*FINDINGS, NONE_OF_THEM) if NONE_OF_THEM in self.findings else FINDINGS
        if self.labeler == "radiologist" and self.split != "test":
            raise StudyError(
                f"[data] labeler: the radiologist read studies of the test split alone, and split is {self.split!r}: "
                "choose another labeler"
            )
        part = BY_RADIOLOGIST if self.labeler == "radiologist" else self.labeler
        paths = [_newest(self.root, one) for one in ("split", "metadata", part)]
        rows_of_split = _images_of_split(paths[0], paths[1], self.split)
        if self.list is not None:
            source = f"{paths[0].name}, split {self.split!r}"
            rows_of_split = rows_of_split.listed(self.list, column=IMAGE, source=source)
        labels = _labels_by_study(paths[2], findings)
        _check_alike(rows_of_split.frame, labels.reset_index().set_index("row"), by=STUDY, paths=(paths[0], paths[2]))
        chosen = self._choose(rows_of_split, set(labels.index))
        kept = chosen.frame
        rows = labels.loc[list(kept[STUDY])].set_index("row")
        return ImageTable(
            name=named("MIMIC-CXR-JPG" + (" (labels by a radiologist)" if part == BY_RADIOLOGIST else ""), self.pool),
            citation=CITATION,
            ids=Texts(kept[IMAGE]),
            patients=Texts(kept[PATIENT]),
            findings=findings,
            labels=read_labels(rows, findings, path=paths[2], uncertain=self.uncertain, blank=POLICY[self.unmentioned]),
            metadata=kept.drop(columns=[IMAGE, PATIENT]).rename(columns={VIEW: "view"}).reset_index(drop=True),
            images=self._images(kept) if with_images else None,
            exclusions=chosen.exclusions,
            contradictory=contradictory(rows),
            sources={path.name: sha256_file(path) for path in (*paths, self.list) if path is not None},
            pooled=self.pool,
            references=self._own_references(kept) if self.own_references else None,
        )

    def report(self, *, patient: str, study: str) -> str:
        """Return the radiologist's report of a study as it is written; `sections_of` tells its parts.

        Raises
        ------
        StudyError
            When the study file does not say where the reports are.
        DataError
            When the report is missing or unreadable.
        """
        if self.reports is None:
            raise StudyError("[data] reports is missing: name the folder mimic-cxr-reports of MIMIC-CXR")
        return read_report(self.reports, patient=patient, study=study)

    def _own_references(self, frame: pd.DataFrame) -> tuple[str | None, ...]:
        """Return the reference of each image, of a study without a report None."""
        if self.reports is None or not self.reports.is_dir():
            raise DataError(f"{self.reports}: the folder of reports is missing: correct reports in [data]")
        found: dict[str, str | None] = {}
        for patient, study in frame[[PATIENT, STUDY]].itertuples(index=False):
            if study not in found:
                there = has_report(self.reports, patient=patient, study=study)
                text = self.report(patient=patient, study=study) if there else ""
                found[study] = chosen_sections(text, self.sections)
        return tuple(found[study] for study in frame[STUDY])

    def _choose(self, rows: Rows, labelled: set[str]) -> Rows:
        rows = rows.of_views(self.views, column=VIEW)
        rows = rows.only(rows.frame[STUDY].isin(labelled), "of a study without labels")
        return rows.first_of_each_study(STUDY) if self.images_per_study == "first" else rows

    def _images(self, frame: pd.DataFrame) -> FileImages:
        folder = self.images or self.root / "files"
        names = zip(*(Texts(frame[column]) for column in (PATIENT, STUDY, IMAGE)), strict=True)
        return file_images(
            (
                folder / f"p{patient[:2]}" / f"p{patient}" / f"s{study}" / f"{image}.jpg"
                for patient, study, image in names
            ),
            mend=f"download them, or correct {'images' if self.images else 'root'} in [data]",
        )


def _newest(root: Path, part: str) -> Path:
    found = [path for ending in (".csv", ".csv.gz") for path in root.glob(f"mimic-cxr-2.*-{part}{ending}")]
    if not found:
        raise DataError(f"{root}: mimic-cxr-2.0.0-{part}.csv.gz is missing: put it there, or correct root in [data]")
    return max(found, key=lambda path: (path.name.removesuffix(".gz"), path.suffix != ".gz"))


def _images_of_split(split: Path, metadata: Path, name: str) -> Rows:
    """Return a row an image of the split, or of all, in the order of the split file, with the metadata's columns."""
    images = read_table(split, needs=[IMAGE, STUDY, PATIENT, "split"], what="the split of MIMIC-CXR")
    images["split"] = images["split"].str.strip()
    if name not in {"all", *images["split"]}:
        raise DataError(f"{split}: split {name!r} is empty: its splits are {', '.join(sorted(set(images['split'])))}")
    rows = Rows(frame=images[[IMAGE, STUDY, PATIENT, "split"]])
    rows = rows if name == "all" else rows.of_split(name, column="split", others=SPLITS)
    images = rows.frame
    check_filled(images, (IMAGE, STUDY, PATIENT), split)
    check_once(images[IMAGE], split)
    about = read_table(metadata, needs=[IMAGE, VIEW], what="the metadata of MIMIC-CXR")
    if about[IMAGE].duplicated().any():
        twice = about[IMAGE][about[IMAGE].duplicated()]
        raise DataError(f"{metadata}: image {twice.iloc[0]!r} stands twice: get the file again")
    absent = images[IMAGE][~images[IMAGE].isin(about[IMAGE])]
    if len(absent):
        raise DataError(
            f"{metadata}: {counted(len(absent), 'image')} of {split.name} without a row ({some(absent)}): "
            f"use files of one version"
        )
    _check_alike(images, images, by=STUDY, paths=(split, split))
    _check_alike(images, about, by=IMAGE, paths=(split, metadata))
    about = about.drop(columns=[STUDY, PATIENT, "split", "view"], errors="ignore")
    return replace(rows, frame=images.join(about.set_index(IMAGE), on=IMAGE))


def _check_alike(images: pd.DataFrame, told: pd.DataFrame, *, by: str, paths: tuple[Path, Path]) -> None:
    """Refuse another study or subject of an image or study in a table than in that of the images.

    `by` is the column that both are joined by, and `paths` are their files; the indices number the files' rows.

    Raises
    ------
    DataError
        Naming the first, with both files, lines and values.
    """
    first = told.drop_duplicates(by)
    places = images[by].map(pd.Series(first.index, index=first[by])).dropna()
    for column in (one for one in (STUDY, PATIENT) if one != by and one in told):
        said, other = images[column][places.index].str.strip(), told[column][places].str.strip()
        wrong = (said.to_numpy() != other.to_numpy()) & (other != "").to_numpy()
        if wrong.any():
            row, place = places.index[wrong][0], places[wrong].iloc[0]
            raise DataError(
                f"{paths[1]}:{line(paths[1], int(place))}: {column} is {told[column][place]!r} for the {by} "
                f"{images[by][row]!r}, and {images[column][row]!r} on line {line(paths[0], row)} of {paths[0].name}: "
                "use files of one version"
            )


def _labels_by_study(path: Path, findings: tuple[str, ...]) -> pd.DataFrame:
    """Return the label file by study, with the number of each row in `row`."""
    frame = read_table(path, needs=[STUDY], what="the label file of MIMIC-CXR")
    if BY_RADIOLOGIST in path.name:
        frame = frame.rename(columns={"Airspace Opacity": "Lung Opacity"})
    check_columns(frame, path, needs=findings, what="the label file of MIMIC-CXR")
    used = [column for column in (STUDY, PATIENT, *FINDINGS, NONE_OF_THEM) if column in frame]
    frame = frame[used].rename_axis("row")
    if frame[STUDY].duplicated().any():
        twice = frame[STUDY][frame[STUDY].duplicated()]
        raise DataError(f"{path}: study {twice.iloc[0]!r} stands twice: get the file again")
    return frame.reset_index().set_index(STUDY)
