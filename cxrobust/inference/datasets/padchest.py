"""PadChest as BIMCV distributes it."""

import ast
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from cxrobust.errors import DataError, StudyError, counted
from cxrobust.files import sha256_file
from cxrobust.inference.columns import in_common_words
from cxrobust.inference.datasets import EFFUSION, STUDY_ID, Dataset, Example, ImageTable, dataset
from cxrobust.inference.images import FileImages, file_images, names_in
from cxrobust.inference.rows import Rows, Views, check_filled, check_once, find_file
from cxrobust.inference.tables import line, read_table
from cxrobust.study.sections import DataPath
from cxrobust.texts import Texts

LABEL_FILES = ("PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv",)
ID, FOLDER, PATIENT, STUDY, VIEW, LABELS = "ImageID", "ImageDir", "PatientID", "StudyID", "Projection", "Labels"
METHOD, BIRTH, DATE, SEX = "MethodLabel", "PatientBirth", "StudyDate_DICOM", "PatientSex_DICOM"
FRONTAL = ("PA", "AP", "AP_horizontal")
TO_EXCLUDE = "exclude"
NORMAL = "normal"
NO_FINDINGS = frozenset({NORMAL, "unchanged", TO_EXCLUDE, "suboptimal study"})
"""Labels that tell no finding: never among `findings = "all"`."""
CITATION = (
    "Bustos A, Pertusa A, Salinas JM, de la Iglesia-Vayá M. PadChest: a large chest x-ray image dataset with "
    "multi-label annotated reports. Medical Image Analysis 2020;66:101797. doi:10.1016/j.media.2020.101797."
)


@dataset("padchest")
class PadChest(Dataset):
    """Radiographs of a hospital in Alicante with 174 kinds of findings: a quarter labelled by physicians.

    `root` holds `PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv`, compressed or not, and the images in the
    folders `0` to `54` that it names, or all in one. Labels belong to a report. `labeler = "physician"` takes those
    that physicians gave, `"all"` also those of a network that read the other reports.

    A label is taken as it is written, without outer spaces: `atelectasis` is not `laminar atelectasis`. Any may be
    named in `findings`; `"all"` are those that at least `least_positives` images show, of all images but for `list`.

    Images are left out, and counted, when they show no wanted view, are marked to be excluded, are not labelled by the
    labeler, have no label at all, or are not in `list`. Those that are labelled `normal` beside labels of another kind
    are kept as they are labelled, and counted. Age is the year of the study less that of birth.
    """

    example: ClassVar[Example] = EFFUSION._replace(finding="pleural effusion")
    kind: Literal["padchest"]
    root: DataPath
    labels: DataPath | None = None
    """The label file, where it is not in `root`."""
    images: DataPath | None = None
    """The folder with the images or their folders, where it is not `root`."""
    labeler: Literal["physician", "all"] = "physician"
    views: Views = "frontal"
    """`frontal` (PA, AP and AP_horizontal), `all`, or values of Projection, for example `["L"]`."""
    least_positives: int = Field(default=500, ge=1)
    list: DataPath | None = None
    """A text file with one image name a line: the images that are taken; all when absent."""

    def load(self, *, with_images: bool = True) -> ImageTable:
        """Read the label file and choose its images."""
        path = self.labels or find_file(
            [self.root],
            LABEL_FILES,
            what="the label file of PadChest",
            mend="put it there, or name it with labels in [data]",
        )
        needs = [ID, FOLDER, PATIENT, STUDY, VIEW, LABELS, METHOD]
        frame = read_table(path, needs=needs, what="the label file of PadChest")
        rows, told = self._choose(frame, path)
        findings, labels = self._labels(rows.frame, told)
        if self.list is not None:
            of_all = rows.frame[ID]
            rows = rows.listed(self.list, column=ID, source=path.name, known=frame[ID])
            labels = labels[of_all.isin(rows.frame[ID]).to_numpy()]
        check_filled(rows.frame, (ID, PATIENT), path)
        check_once(rows.frame[ID], path)
        return ImageTable(
            name="PadChest" + (" (labels by physicians)" if self.labeler == "physician" else ""),
            citation=CITATION,
            ids=Texts(rows.frame[ID]),
            patients=Texts(rows.frame[PATIENT]),
            findings=findings,
            labels=labels,
            metadata=_metadata(rows.frame),
            images=self._images(rows.frame) if with_images else None,
            exclusions=rows.exclusions,
            contradictory=_contradictory(rows.frame, told),
            sources={file.name: sha256_file(file) for file in (path, self.list) if file is not None},
        )

    def _choose(self, frame: pd.DataFrame, path: Path) -> tuple[Rows, tuple[frozenset[str], ...]]:
        """Return the images that are taken but for `list`, and the distinct sets of labels, numbered in `told`."""
        codes, distinct = pd.factorize(frame[LABELS])
        first = np.unique(codes, return_index=True)[1]
        told = tuple(_read(str(text), path, frame[ID], row) for text, row in zip(distinct, first, strict=True))
        rows = Rows(frame=frame.assign(told=codes))
        marked = _which(rows.frame, told, lambda names: TO_EXCLUDE in names) | (frame[VIEW] == "EXCLUDE")
        rows = rows.only(~marked, "marked to be excluded")
        rows = rows.of_views(self.views, column=VIEW, frontal=FRONTAL)
        if self.labeler == "physician":
            rows = rows.only(rows.frame[METHOD] == "Physician", "not labelled by a physician")
        return rows.only(_which(rows.frame, told, bool), "without a label"), told

    def _labels(
        self, frame: pd.DataFrame, told: tuple[frozenset[str], ...]
    ) -> tuple[tuple[str, ...], NDArray[np.int8]]:
        counts = Counter[str]()
        for code, n_images in frame["told"].value_counts().items():
            counts.update(dict.fromkeys(told[int(str(code))], int(n_images)))
        if self.findings == "all":
            shown = {name: count for name, count in counts.items() if name not in NO_FINDINGS}
            findings = tuple(sorted(name for name, count in shown.items() if count >= self.least_positives))
            if shown and not findings and self.label_source == "data":
                raise _too_few(shown, self.least_positives)
        else:
            findings = tuple(sorted(counts))
        columns = {name: column for column, name in enumerate(findings)}
        table = np.zeros((len(told), len(findings)), dtype=np.int8)
        for row, names in zip(table, told, strict=True):
            row[[columns[name] for name in names if name in columns]] = 1
        return findings, table[frame["told"].to_numpy()]

    def _images(self, frame: pd.DataFrame) -> FileImages:
        folder = self.images or self.root
        flat = names_in(folder)
        parts = zip(Texts(frame[FOLDER]), Texts(frame[ID]), strict=True)
        return file_images(
            (folder / name if name in flat else folder / place / name for place, name in parts),
            mend=f"download them, or correct {'images' if self.images else 'root'} in [data]",
        )


def _read(text: str, path: Path, images: "pd.Series[str]", row: int) -> frozenset[str]:
    """Return the labels of a cell such as `['normal', ' pneumonia']`; none of `nan`, and no blank one."""
    if text in {"", "nan"}:
        return frozenset()
    try:
        names = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(
            f"{path}:{line(path, row)}: image {images[row]!r}: {LABELS} is {text[:60]!r}, expected a list of labels: "
            "get the file again"
        )
    return frozenset(filter(None, (" ".join(name.split()) for name in names)))


def _which(
    frame: pd.DataFrame, told: tuple[frozenset[str], ...], test: Callable[[frozenset[str]], bool]
) -> "pd.Series[bool]":
    """Return of which rows the set of labels passes a test."""
    passed = np.array([test(names) for names in told], dtype=bool)
    return pd.Series(passed[frame["told"].to_numpy()], index=frame.index)


def _too_few(counts: Mapping[str, int], least: int) -> StudyError:
    most = max(sorted(counts), key=counts.__getitem__)
    return StudyError(
        f"[data] least_positives: no finding is shown by {counted(least, 'image')}, and {most!r}, the commonest, by "
        f"{counts[most]:,}: lower least_positives, or name findings"
    )


def _contradictory(frame: pd.DataFrame, told: tuple[frozenset[str], ...]) -> Mapping[str, NDArray[np.bool_]]:
    """Return which images are labelled normal and otherwise too."""
    both = _which(frame, told, lambda names: NORMAL in names and not names <= NO_FINDINGS)
    return {f"labelled {NORMAL} beside other labels": both.to_numpy()}


def _metadata(frame: pd.DataFrame) -> pd.DataFrame:
    own = frame[[STUDY, VIEW, METHOD]].rename(columns={STUDY: STUDY_ID, VIEW: "view", METHOD: "labelled_by"})
    if SEX in frame:
        own["sex"] = frame[SEX].where(frame[SEX].isin(["F", "M"]), "")
    if {DATE, BIRTH} <= set(frame.columns):
        years = pd.to_numeric(frame[DATE].str[:4], errors="coerce") - pd.to_numeric(frame[BIRTH], errors="coerce")
        own["age"] = years.map(lambda age: "" if pd.isna(age) else f"{age:g}").astype(str)
    return in_common_words(own.reset_index(drop=True))
