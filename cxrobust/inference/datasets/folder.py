"""A folder of images with a table of labels: any data set of your own."""

from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import Field

from cxrobust.blanks import BLANK
from cxrobust.errors import DataError, StudyError, counted, nearest, some
from cxrobust.files import sha256_file
from cxrobust.inference.columns import (
    EXPECTED,
    LABEL_WORDS,
    Uncertain,
    as_words,
    in_common_words,
    read_labels,
)
from cxrobust.inference.datasets import STUDY_ID, Dataset, ImageTable, dataset
from cxrobust.inference.images import LOOKED_FOR, FileImages, file_images, with_endings
from cxrobust.inference.rows import Rows, check_filled, check_once
from cxrobust.inference.tables import line, read_table
from cxrobust.study.sections import DataPath
from cxrobust.texts import Texts

NEVER_FINDINGS = ("sex", "age", "view", "fold", STUDY_ID)
ANSWERS = ("yes", "no", "y", "n", "positive", "negative", "pos", "neg", "present", "absent")
"""Words that labels may be written in, and that mean none here: a column of these is told."""
SPLITS = ("train", "training", "val", "valid", "validate", "validation", "dev", "test", "testing")
"""What splits are usually called: a row of another of these is meant for something else, and is not left out."""


@dataset("folder")
class ImageFolder(Dataset):
    """Images in a folder, and a CSV with one row an image: its id, its patient, and a label or blank for each finding.

    A label is 1 or true, 0 or false, in any case, or −1, which is an uncertain one, treated as `uncertain` says. A cell
    that is blank, or holds nan, NA, N/A or null, is a missing label.

    `findings = "all"` are the columns that hold nothing but labels, at least one of them not blank, apart from `sex`,
    `age`, `view`, `fold` and `study_id`; each of the others becomes metadata. So that no finding is lost unseen, one
    with labels in most of its filled rows or beside words is an error, and one without any value, with other numbers
    beside labels, with numbers from 0 to 1, or with answers in words (yes, no) is named by `cxrobust check` and where
    predictions are made. Where each image is its own patient, `patient` may be the same as `id`.

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
            notes=_notes(further, findings, self.labels) if self._finds_columns else (),
        )

    @property
    def _finds_columns(self) -> bool:
        """Whether the columns of the label file tell which findings there are."""
        return self.findings == "all" and self.label_source == "data"

    def _find_columns(self, frame: pd.DataFrame) -> tuple[str, ...]:
        columns = [str(column) for column in frame.columns]
        if self.findings == "all":
            found = tuple(column for column in columns if _holds_labels(frame[column]))
            if not found and self._finds_columns:
                others = "".join(f"; {note}" for note in _notes(frame, found, self.labels))
                raise DataError(
                    f"{self.labels}: no column holds labels alone (1, 0, -1, true or false; a blank one is missing)"
                    f"{others}: add one for each finding, or name the findings in [data]"
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
            files = (self.root / name for name in Texts(frame[column].str.strip()))
            return file_images(files, mend=f"{mend} or the paths in {self.labels.name}")
        return file_images(with_endings(self.root, Texts(frame[self.id].str.strip())), mend=f"{mend} ({LOOKED_FOR})")


def _holds_labels(values: "pd.Series[str]") -> bool:
    """Return whether a column holds labels alone, at least one of them not blank."""
    words = as_words(values)
    filled = words[~words.isin(BLANK)]
    return values.name not in NEVER_FINDINGS and not filled.empty and bool(filled.isin(LABEL_WORDS).all())


def _notes(frame: pd.DataFrame, findings: tuple[str, ...], path: Path) -> tuple[str, ...]:
    """Tell of the columns that are no findings and may have been meant for them.

    Raises
    ------
    DataError
        Where a column mixes labels with words, or nearly holds labels alone.
    """
    blank, unlike = list[str](), list[str]()
    for column in (str(one) for one in frame.columns if one not in {*findings, *NEVER_FINDINGS}):
        words = as_words(frame[column])
        filled = words[~words.isin(BLANK)]
        if filled.empty:
            blank.append(repr(column))
        elif (row := _first_unlike(filled, path, frame[column])) is not None:
            unlike.append(f"{column!r} ({frame[column][row]!r} on line {line(path, row)})")
    told = []
    if blank:
        one = len(blank) == 1
        told.append(
            f"the label file has no value in column{'' if one else 's'} {some(blank, most=8)}: "
            f"{'it is no finding' if one else 'they are no findings'} unless findings in [data] "
            f"{'name it' if one else 'name them'}"
        )
    if unlike:
        one = len(unlike) == 1
        told.append(
            f"column{'' if one else 's'} {some(unlike, most=8)} of the label file "
            f"{'is metadata and no finding' if one else 'are metadata and no findings'}, which "
            f"{'needs' if one else 'need'} {EXPECTED} in every row"
        )
    return tuple(told)


def _first_unlike(filled: "pd.Series[str]", path: Path, values: "pd.Series[str]") -> int | None:
    """Return the first row that is no label, of labels and other numbers, shares or answers; None of another column.

    `filled` are the words of the rows that are not blank, and `values` all of the column as it is written.
    """
    are_labels = filled.isin(LABEL_WORDS)
    others, labels = filled[~are_labels], filled[are_labels]
    row = int(str(others.index[0]))
    numbers = pd.to_numeric(others, errors="coerce")
    if len(labels) > len(others) or (len(labels) and numbers.isna().any()):
        raise DataError(
            f"{path}:{line(path, row)}: {values.name} is {values[row]!r} where {len(labels):,} of {len(filled):,} "
            f"filled rows hold labels (such as {values[labels.index[0]]!r}): correct it, or name the findings in [data]"
        )
    are_answers = numbers.between(0, 1).all() or 2 * others.isin(ANSWERS).sum() > len(others)
    return row if len(labels) or are_answers else None
