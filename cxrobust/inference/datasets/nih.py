"""NIH ChestX-ray14 as the NIH Clinical Center distributes it."""

from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from cxrobust.errors import DataError, nearest
from cxrobust.files import sha256_file
from cxrobust.inference.columns import in_common_words, line
from cxrobust.inference.datasets import Dataset, ImageTable, dataset, read_table
from cxrobust.inference.images import FileImages, file_images, names_in, reason
from cxrobust.study_sections import DataPath

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
TEST_LIST = "test_list.txt"
ID, LABELS, PATIENT = "Image Index", "Finding Labels", "Patient ID"
COMMON_WORDS = {"Patient Age": "age", "Patient Gender": "sex", "Patient Sex": "sex", "View Position": "view"}
CITATION = (
    "Wang X, Peng Y, Lu L, Lu Z, Bagheri M, Summers RM. ChestX-ray8: hospital-scale chest X-ray database and "
    "benchmarks on weakly-supervised classification and localization of common thorax diseases. CVPR 2017, 3462–3471. "
    "doi:10.1109/CVPR.2017.369. Images provided by the NIH Clinical Center."
)


@dataset("nih-chestxray14")
class NihChestXray14(Dataset):
    """112,120 frontal radiographs of 30,805 patients with 14 findings that were read from reports by a program.

    The label file is `Data_Entry_2017_v2020.csv` or `Data_Entry_2017.csv`, compressed by gzip or not, in `root`. Images
    lie in `root`, `root/images` or `root/images_001/images` to `root/images_012/images`. A finding that the label does
    not name is negative. An age above 120 years, a typing error of the older file, is taken as missing.

    The test images are those in `list`. Without one they are those in `root/test_list.txt`, else all of the label file.
    Where every regime's predictions were made elsewhere, they are all of the label file unless `list` says otherwise.
    """

    public: ClassVar[bool] = True
    kind: Literal["nih-chestxray14"]
    root: DataPath
    labels: DataPath | None = None
    """The label file, where it is not in `root`."""
    images: DataPath | None = None
    """The folder with the images, where it is not `root`."""
    list: Annotated[Literal["present"] | DataPath | None, Field(union_mode="left_to_right")] = None
    """A text file with one image name a line, or `present`: the images of the label file whose files are there."""

    def load(self, *, with_images: bool = True) -> ImageTable:
        """Read the label file and choose the test images."""
        path = self.labels or _label_file(self.root)
        frame = read_table(path, needs=[ID, LABELS, PATIENT], what="the label file of NIH ChestX-ray14")
        files = _find_images(self.images or self.root) if with_images or self.list == "present" else {}
        chosen = self._list_file(with_images=with_images)
        n_images = len(frame)
        if self.list == "present":
            frame = frame[frame[ID].isin(set(files))]
        elif chosen is not None:
            frame = frame[frame[ID].isin(_read_list(chosen, known=set(frame[ID]), path=path))]
        without = n_images - len(frame) if self.list == "present" else 0
        return ImageTable(
            name="NIH ChestX-ray14",
            citation=CITATION,
            ids=tuple(frame[ID]),
            patients=tuple(frame[PATIENT]),
            findings=FINDINGS,
            labels=_read_findings(frame[LABELS], path),
            metadata=_metadata(frame),
            images=self._images(frame[ID], files) if with_images else None,
            exclusions={"without an image file": without} if without else {},
            sources={file.name: sha256_file(file) for file in (path, chosen) if file is not None},
        )

    def _list_file(self, *, with_images: bool) -> Path | None:
        if isinstance(self.list, Path):
            return self.list
        usual = self.root / TEST_LIST
        return usual if with_images and self.list is None and usual.is_file() else None

    def _images(self, names: Iterable[str], files: Mapping[str, Path]) -> FileImages:
        folder = self.images or self.root
        return file_images(
            [files.get(name, folder / name) for name in names],
            mend='put them there, or write list = "present" in [data] to take the images that are there',
        )


def _label_file(root: Path) -> Path:
    names = [name + ending for name in LABEL_FILES for ending in ("", ".gz")]
    for name in names:
        if (root / name).is_file():
            return root / name
    raise DataError(f"{root}: none of {', '.join(names)} is there: put one there, or name it with labels in [data]")


def _find_images(folder: Path) -> dict[str, Path]:
    """Return where each name lies; a folder that comes first wins where a name lies in two."""
    parts = sorted(folder.glob("images_*"))
    places = [folder, folder / "images", *(part / "images" for part in parts), *parts]
    return {name: place / name for place in reversed(places) for name in names_in(place)}


def _read_list(file: Path, *, known: Set[str], path: Path) -> set[str]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{file}: the list of images cannot be read ({reason(error)}): correct list in [data]"
        ) from error
    names: set[str] = set()
    for number, name in enumerate(map(str.strip, lines), start=1):
        if name and name not in known:
            raise DataError(f"{file}:{number}: image {name!r} is not in {path.name}: correct the list")
        if name in names:
            raise DataError(f"{file}:{number}: image {name!r} stands twice: keep one")
        names |= {name} - {""}
    if not names:
        raise DataError(f"{file}: the list names no image: write one image name a line")
    return names


def _read_findings(texts: "pd.Series[str]", path: Path) -> NDArray[np.int8]:
    """Return labels (n_images, n_findings) from texts such as `Mass|Nodule`, of which there are only some hundreds."""
    codes, distinct = pd.factorize(texts)
    rows = np.zeros((len(distinct), len(FINDINGS)), dtype=np.int8)
    for row, text in zip(rows, distinct, strict=True):
        for word in str(text).split("|"):
            if word in FINDINGS:
                row[FINDINGS.index(word)] = 1
            elif word != NONE_OF_THEM:
                first = texts.index[texts == text][0]
                raise DataError(
                    f"{path}:{line(first)}: unknown finding {word!r}{nearest(word, FINDINGS)}: correct the label file"
                )
    return rows[codes]


def _metadata(frame: pd.DataFrame) -> pd.DataFrame:
    own = frame.drop(columns=[ID, LABELS, PATIENT]).rename(columns=COMMON_WORDS)
    filled = [column for column in own.columns if (own[column] != "").any()]
    return in_common_words(own[filled].reset_index(drop=True))
