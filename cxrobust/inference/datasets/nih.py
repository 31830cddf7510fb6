"""NIH ChestX-ray14 as the NIH Clinical Center distributes it."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from cxrobust.errors import DataError, StudyError, nearest
from cxrobust.files import sha256_file
from cxrobust.inference.columns import in_common_words
from cxrobust.inference.datasets import EFFUSION, Dataset, Example, ImageTable, check_findings, dataset
from cxrobust.inference.images import FileImages, file_images, names_in
from cxrobust.inference.rows import Rows, check_filled, check_once, find_file, not_in, read_list
from cxrobust.inference.tables import line, read_table
from cxrobust.study.sections import DataPath
from cxrobust.texts import Texts

FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
NONE_OF_THEM = "No Finding"
LABEL_FILES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
ADJUDICATED = ("Fracture", "Pneumothorax", "Airspace opacity", "Nodule or mass")
ADJUDICATED_FILES = ("google2019_nih-chest-xray-labels.csv",)
SET, SETS = "Set Id", frozenset({"test", "val"})
TEST_LIST = "test_list.txt"
ID, LABELS, PATIENT = "Image Index", "Finding Labels", "Patient ID"
COMMON_WORDS = {
    "Patient Age": "age",
    "Patient Gender": "sex",
    "Patient Sex": "sex",
    "View Position": "view",
    SET: "split",
}
CITATION = (
    "Wang X, Peng Y, Lu L, Lu Z, Bagheri M, Summers RM. ChestX-ray8: hospital-scale chest X-ray database and "
    "benchmarks on weakly-supervised classification and localization of common thorax diseases. CVPR 2017, 3462–3471. "
    "doi:10.1109/CVPR.2017.369. Images provided by the NIH Clinical Center."
)
CITATION_OF_ADJUDICATED = (
    " Majkowska A, Mittal S, Steiner DF, et al. Chest radiograph interpretation with deep learning models: assessment "
    "with radiologist-adjudicated reference standards and population-adjusted evaluation. Radiology 2020;294:421–431. "
    "doi:10.1148/radiol.2019191293."
)


@dataset("nih-chestxray14")
class NihChestXray14(Dataset):
    """112,120 frontal radiographs of 30,805 patients with 14 findings that were read from reports by a program.

    The label file is `Data_Entry_2017_v2020.csv` or `Data_Entry_2017.csv`, compressed by gzip or not, in `root`. Images
    lie in `root`, `root/images` or `root/images_001/images` to `root/images_012/images`. A finding that the label does
    not name is negative. An age above 120 years, a typing error of the older file, is taken as missing.

    The test images are those in `list`. Without one they are those in `root/test_list.txt`, else all of the label file.
    Where every regime's predictions were made elsewhere, they are all of the label file unless `list` says otherwise.
    Images that a list leaves out are counted.

    With `labeler = "google2019"` the truth is that of radiologists who discussed each image until they agreed
    (Majkowska et al. 2020): fracture, pneumothorax, airspace opacity, and nodule or mass, for 1,962 test images and
    2,414 validation images. Its file is `google2019_nih-chest-xray-labels.csv` in `root`, or what `labels` names, and
    `split` says which of the two, or `list` which images; those of the list that no radiologist read are counted, and
    so are rows of neither split.
    """

    public: ClassVar[bool] = True
    example: ClassVar[Example] = EFFUSION._replace(finding="Effusion")
    kind: Literal["nih-chestxray14"]
    root: DataPath
    labels: DataPath | None = None
    """The label file, where it is not in `root`."""
    images: DataPath | None = None
    """The folder with the images, where it is not `root`."""
    list: Annotated[Literal["present"] | DataPath | None, Field(union_mode="left_to_right")] = None
    """A text file with one image name a line, or `present`: the images of the label file whose files are there."""
    labeler: Literal["nih", "google2019"] = "nih"
    """Whose labels are the truth: the program's of the NIH, or the radiologists' for four findings."""
    split: Literal["test", "val", "all"] | None = None
    """Of the radiologists' labels: `test` when absent, `all` where a `list` chooses."""

    def load(self, *, with_images: bool = True) -> ImageTable:
        """Read the label file and choose the test images."""
        by_readers = self.labeler == "google2019"
        name = "NIH ChestX-ray14" + (" (labels by radiologists)" if by_readers else "")
        check_findings(self.findings, ADJUDICATED if by_readers else FINDINGS, name=name)
        path = self.labels or _label_file(self.root, by_readers=by_readers)
        columns = (LABELS, PATIENT) if not by_readers else (PATIENT, *ADJUDICATED)
        frame = read_table(path, needs=[ID, *columns], what="the label file of NIH ChestX-ray14")
        folders = _find_images(self.images or self.root) if with_images or self.list == "present" else {}
        rows = self._of_split(frame, path)
        chosen = self._list_file(with_images=with_images)
        if self.list == "present":
            rows = rows.only(rows.frame[ID].isin(set(folders)), "without an image file")
        elif chosen is not None:
            rows = self._listed(rows, chosen, known=frozenset(frame[ID]), source=path.name)
        frame = rows.frame
        check_filled(frame, (ID, PATIENT), path)
        check_once(frame[ID], path)
        return ImageTable(
            name=name,
            citation=CITATION + (CITATION_OF_ADJUDICATED if by_readers else ""),
            ids=Texts(frame[ID]),
            patients=Texts(frame[PATIENT]),
            findings=ADJUDICATED if by_readers else FINDINGS,
            labels=_read_adjudicated(frame, path) if by_readers else _read_findings(frame[LABELS], path),
            metadata=_metadata(frame.drop(columns=[*ADJUDICATED, LABELS], errors="ignore")),
            images=self._images(frame[ID], folders) if with_images else None,
            exclusions=rows.exclusions,
            notes=tuple(
                f"column {other!r} of the label file is not used: {name!r} is taken"
                for other, name in _unused(frame).items()
            ),
            sources={file.name: sha256_file(file) for file in (path, chosen) if file is not None},
        )

    def _of_split(self, frame: pd.DataFrame, path: Path) -> Rows:
        if self.labeler == "nih":
            if self.split is not None:
                raise StudyError(
                    '[data] split: only the radiologists\' labels have splits: write labeler = "google2019", or choose '
                    "images by list"
                )
            return Rows(frame=frame)
        wanted = self.split or ("all" if isinstance(self.list, Path) else "test")
        if wanted == "all":
            return Rows(frame=frame)
        if SET not in frame.columns:
            raise DataError(
                f'{path}: there is no column {SET!r} to find split {wanted!r}: write split = "all" in [data]'
            )
        rows = Rows(frame=frame).of_split(wanted, column=SET, others=SETS)
        if rows.frame.empty:
            raise DataError(f"{path}: split {wanted!r} is empty: use the whole label file, or correct split in [data]")
        return rows

    def _listed(self, rows: Rows, file: Path, *, known: frozenset[str], source: str) -> Rows:
        if self.labeler == "nih":
            return rows.listed(file, column=ID, source=source)
        names = read_list(file, known=None, source=source)
        kept = rows.only(rows.frame[ID].isin(names), not_in(file))
        unread = len(names - known)
        reasons = {**kept.exclusions, "without labels by radiologists": unread} if unread else kept.exclusions
        return replace(kept, exclusions=reasons)

    def _list_file(self, *, with_images: bool) -> Path | None:
        if isinstance(self.list, Path):
            return self.list
        usual = self.root / TEST_LIST
        by_official_list = with_images and self.list is None and self.labeler == "nih"
        return usual if by_official_list and usual.is_file() else None

    def _images(self, names: Iterable[str], folders: Mapping[str, Path]) -> FileImages:
        folder = self.images or self.root
        return file_images(
            (folders.get(name, folder) / name for name in Texts(names)),
            mend='put them there, or write list = "present" in [data] to take the images that are there',
        )


def _label_file(root: Path, *, by_readers: bool) -> Path:
    return find_file(
        [root],
        ADJUDICATED_FILES if by_readers else LABEL_FILES,
        what="the label file of NIH ChestX-ray14",
        mend="put it there, or name it with labels in [data]",
    )


def _find_images(folder: Path) -> dict[str, Path]:
    """Return in which folder each name lies; a folder that comes first wins where a name lies in two."""
    parts = sorted(folder.glob("images_*"))
    places = [folder, folder / "images", *(part / "images" for part in parts), *parts]
    return {name: place for place in reversed(places) for name in names_in(place)}


def _read_findings(texts: "pd.Series[str]", path: Path) -> NDArray[np.int8]:
    """Return labels (n_images, n_findings) from texts such as `Mass|Nodule`, of which there are only some hundreds."""
    codes, distinct = pd.factorize(texts)
    rows = np.zeros((len(distinct), len(FINDINGS)), dtype=np.int8)
    for row, text in zip(rows, distinct, strict=True):
        words = str(text).split("|")
        for word in words:
            if word in FINDINGS:
                row[FINDINGS.index(word)] = 1
            elif word != NONE_OF_THEM:
                raise DataError(
                    f"{_place(text, texts, path)}: unknown finding {word!r}{nearest(word, FINDINGS)}: correct the "
                    "label file"
                )
        if NONE_OF_THEM in words and len(words) > 1:
            raise DataError(f"{_place(text, texts, path)}: {LABELS} is {text!r}, both of them: correct the label file")
    return rows[codes]


def _place(text: object, texts: "pd.Series[str]", path: Path) -> str:
    return f"{path}:{line(path, texts.index[texts == text][0])}"


def _read_adjudicated(frame: pd.DataFrame, path: Path) -> NDArray[np.int8]:
    """Return the radiologists' labels (n_images, 4) from YES and NO."""
    labels = np.empty((len(frame), len(ADJUDICATED)), dtype=np.int8)
    for place, column in enumerate(ADJUDICATED):
        values = frame[column].str.strip().str.upper().map({"YES": 1, "NO": 0})
        if values.isna().any():
            row = values.index[values.isna()][0]
            raise DataError(
                f"{path}:{line(path, row)}: {column} is {frame[column][row]!r}, expected YES or NO: get the file again"
            )
        labels[:, place] = values.to_numpy(dtype=np.int8)
    return labels


def _unused(frame: pd.DataFrame) -> dict[str, str]:
    """Return columns that would have the name of an official one in the metadata, with that one, which is taken."""
    official: dict[str, str] = {}
    for name, word in COMMON_WORDS.items():
        if name in frame:
            official.setdefault(word, name)
    return {
        other: official[word]
        for name, word in COMMON_WORDS.items()
        for other in (name, word)
        if word in official and other in frame and other != official[word]
    }


def _metadata(frame: pd.DataFrame) -> pd.DataFrame:
    own = frame.drop(columns=[ID, PATIENT, *_unused(frame)]).rename(columns=COMMON_WORDS)
    filled = [column for column in own.columns if (own[column] != "").any()]
    return in_common_words(own[filled].reset_index(drop=True))
