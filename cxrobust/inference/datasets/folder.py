"""A folder of images with a table of labels: any data set of your own."""

from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import Field

from cxrobust.errors import DataError, StudyError, counted, nearest
from cxrobust.files import sha256_file
from cxrobust.inference.columns import LABEL_VALUES, Uncertain, in_common_words, read_labels
from cxrobust.inference.datasets import Dataset, ImageTable, dataset
from cxrobust.inference.images import LOOKED_FOR, FileImages, file_images, with_endings
from cxrobust.inference.rows import Rows, check_filled, check_once
from cxrobust.inference.tables import line, read_table
from cxrobust.study.sections import DataPath
from cxrobust.texts import Texts

NEVER_FINDINGS = ("sex", "age", "view", "fold")
SPLITS = ("train", "training", "val", "valid", "validate", "validation", "dev", "test", "testing")
"""What splits are usually called: a row of another of these is meant for something else, and is not left out."""


@dataset("folder")
class ImageFolder(Dataset):
    """Images in a folder, and a CSV with one row an image: its id, its patient, and 1, 0, −1 or blank for each finding.

    −1 is an uncertain label, treated as `uncertain` says; a blank one is missing. `findings = "all"` are the columns
    that hold nothing but labels, at least one of them not blank, apart from `sex`, `age`, `view` and `fold`; each of
    the others becomes metadata, and one without any value is named, since it may have been meant for labels. Where
    each image is its own patient, `patient` may be the same as `id`.

    An image's file is what `path` says, relative to `root`; without such a column it is the image's id, as it is
    or with one of the usual endings.

    Rows of no split, or of one that is neither the wanted one nor called as splits usually are (train, val, test), are
    left out and counted; one that differs from the wanted split by case alone is an error.
    """

    kind: Literal["folder"]
    root: DataPath
    labels: DataPath
    id: str = "image_id"
    patient: str = "patient_id"
    path: str | None = None
    """The column with each image's file; `path` when there is such a column."""
    split_column: str | None = None
    """The column that says to which split an image belongs; `split` when there is such a column."""
    split: str = Field(default="test", min_length=1)
    """The split that is analysed; every image is, where no column tells."""
    uncertain: Uncertain = "ignore"
    name: str | None = None
    """What the report calls the data set; the label file's name when absent."""
    citation: str = ""

    def load(self, *, with_images: bool = True) -> ImageTable:
        """Read the table and choose the rows of the split."""
        paths = self.path or "path"
        splits = self.split_column or "split"
        needs = [self.id, self.patient]
        needs += [column for column in (self.path, self.split_column) if column is not None]
        whole = read_table(self.labels, needs=needs, what="the label file")
        if splits not in whole.columns and "split" in self.model_fields_set:
            raise DataError(f"{self.labels}: there is no column {splits!r} to find split {self.split!r}: add it")
        special = {self.id, self.patient, paths, splits} & set(whole.columns)
        further = whole.drop(columns=list(special))
        findings = self._find_columns(further)
        rows = self._rows_of_split(whole, splits)
        frame = rows.frame
        check_filled(frame, (self.id, self.patient), self.labels)
        check_once(frame[self.id].str.strip(), self.labels)
        about = frame.drop(columns=[*findings, *(special - {splits})])
        return ImageTable(
            name=self.name or self.labels.name.partition(".")[0],
            citation=self.citation,
            ids=Texts(frame[self.id].str.strip()),
            patients=Texts(frame[self.patient].str.strip()),
            findings=findings,
            labels=read_labels(frame, findings, path=self.labels, uncertain=self.uncertain),
            metadata=in_common_words(about.reset_index(drop=True)),
            images=self._images(frame, paths) if with_images else None,
            exclusions=rows.exclusions,
            sources={self.labels.name: sha256_file(self.labels)},
            blank_columns=_blank_columns(further) if self.findings == "all" else (),
        )

    def _find_columns(self, frame: pd.DataFrame) -> tuple[str, ...]:
        columns = [str(column) for column in frame.columns]
        if self.findings == "all":
            found = tuple(column for column in columns if _holds_labels(frame[column], self.labels))
            if not found and self.label_source == "data":
                raise DataError(
                    f"{self.labels}: no column holds a label (1, 0 or -1; a blank one is missing): add one for each "
                    "finding, or name the findings in [data]"
                )
            return found
        for name in self.findings:
            if name not in columns:
                raise StudyError(
                    f"[data] findings: {self.labels.name} has no column {name!r}{nearest(name, columns)}: "
                    f"its further columns are {', '.join(columns)}"
                )
        return self.findings

    def _rows_of_split(self, frame: pd.DataFrame, column: str) -> Rows:
        if column not in frame.columns:
            return Rows(frame=frame)
        said = frame[column].str.strip()
        alike = said[(said != self.split) & (said.str.casefold() == self.split.casefold())]
        if len(alike):
            raise DataError(
                f"{self.labels}:{line(self.labels, alike.index[0])}: {column} is {alike.iloc[0]!r} and split in [data] "
                f"is {self.split!r}: write both alike ({counted(len(alike), 'row')} of this spelling)"
            )
        if not (said == self.split).any():
            known = ", ".join(sorted(repr(name) for name in set(said)))
            raise DataError(
                f"{self.labels}: split {self.split!r} is empty: the splits in column {column!r} are {known}"
            )
        usual = frozenset(said[said.str.casefold().isin(SPLITS)])
        return Rows(frame=frame).of_split(self.split, column=column, others=usual)

    def _images(self, frame: pd.DataFrame, column: str) -> FileImages:
        mend = "put them there, or correct root in [data]"
        if column in frame.columns:
            check_filled(frame, (column,), self.labels)
            files = (self.root / name for name in Texts(frame[column]))
            return file_images(files, mend=f"{mend} or the paths in {self.labels.name}")
        return file_images(with_endings(self.root, Texts(frame[self.id])), mend=f"{mend} ({LOOKED_FOR})")


def _holds_labels(values: "pd.Series[str]", path: Path) -> bool:
    """Return whether a column holds labels; one that nearly does is an error, so that no typo drops a finding."""
    filled = values[values.str.strip() != ""]
    if filled.empty or values.name in NEVER_FINDINGS:
        return False
    good = filled.str.strip().isin(LABEL_VALUES)
    if good.mean() > 0.5 and not good.all():
        row = good.index[~good][0]
        raise DataError(
            f"{path}:{line(path, row)}: {values.name} is {filled[row]!r} where most rows have 1, 0 or -1: correct it, "
            "or name the findings in [data]"
        )
    return bool(good.all())


def _blank_columns(frame: pd.DataFrame) -> tuple[str, ...]:
    """Name the columns without one value, which may have been meant for labels."""
    wanted = [column for column in frame.columns if column not in NEVER_FINDINGS]
    return tuple(str(column) for column in wanted if (frame[column].str.strip() == "").all())
