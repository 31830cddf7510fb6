"""Rows of a label file on their way to a table of images: each that is left out is counted with its reason."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pandas as pd

from cxrobust.errors import DataError, counted, nearest, some
from cxrobust.inference.images import reason as reason_of
from cxrobust.inference.tables import line
from cxrobust.texts import Texts

Views = Literal["frontal", "all"] | tuple[str, ...]
"""`frontal`, `all`, or values that the data set gives its views, for example `["LATERAL", "LL"]`."""
FRONTAL = ("AP", "PA")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """The rows that are left, with their numbers in the file as index, and how many were left out by reason."""

    frame: pd.DataFrame
    exclusions: Mapping[str, int] = field(default_factory=dict)

    def only(self, wanted: "pd.Series[bool]", reason: str) -> "Rows":
        """Return the rows that are `wanted`, the others being counted as left out for `reason`."""
        left_out = int((~wanted).sum())
        counted = {**self.exclusions, reason: left_out} if left_out else self.exclusions
        return Rows(frame=self.frame[wanted], exclusions=counted)

    def of_split(self, split: str, *, column: str, others: Set[str]) -> "Rows":
        """Return the rows of a split; those of `others` are not counted, rows without any split or of another are."""
        said = self.frame[column].str.strip()
        rows = self.only(said != "", "without a split")
        said = said[rows.frame.index]
        known = said.isin({split, *others})
        rows = rows.only(known, f"of another split ({some(sorted(set(map(repr, said[~known]))))})")
        return replace(rows, frame=rows.frame[said[rows.frame.index] == split])

    def of_views(self, views: Views, *, column: str, frontal: Sequence[str] = FRONTAL) -> "Rows":
        """Return the rows whose `column` is among the views; `frontal` are those that `views = "frontal"` means.

        Raises
        ------
        DataError
            When no row has one of the views that are named.
        """
        if views == "all":
            return self
        named = tuple(frontal) if views == "frontal" else views
        known = set(self.frame[column])
        for view in named:
            if known and view not in known and view not in frontal:
                raise DataError(
                    f"views: no image has the view {view!r}{nearest(view, known)}: known are {', '.join(sorted(known))}"
                )
        return self.only(self.frame[column].isin(named), f"with a view other than {' and '.join(named)}")

    def first_of_each_study(self, column: str) -> "Rows":
        """Return the first row of each study, which `column` names."""
        return self.only(~self.frame[column].duplicated(), "that are not the first of their study")

    def listed(self, file: Path, *, column: str, source: str, known: "pd.Series[str] | None" = None) -> "Rows":
        """Return the rows whose `column` a text file names, one a line.

        `known` are all names in the file `source`, where rows were left out and counted before: those may be listed
        too. Else only names of the rows that are left may be.

        Raises
        ------
        DataError
            When the file cannot be read, is empty, repeats a name, or has one that the file `source` lacks.
        """
        names = read_list(file, known=set(self.frame[column] if known is None else known), source=source)
        return self.only(self.frame[column].isin(names), not_in(file))


def not_in(file: Path) -> str:
    """Return why images are left out that the list in a file does not name."""
    return f"that are not in {file.name}"


def check_filled(frame: pd.DataFrame, columns: Iterable[str], path: Path) -> None:
    """Refuse rows of the file at `path` in which one of these columns is blank; the index numbers the file's rows.

    Raises
    ------
    DataError
        Naming the line of the first, the column, and how many there are.
    """
    for column in columns:
        blank = frame.index[frame[column].str.strip() == ""]
        if len(blank):
            more = f", and in {counted(len(blank) - 1, 'further row')}" if len(blank) > 1 else ""
            raise DataError(f"{path}:{line(path, blank[0])}: {column} is blank{more}: every row needs one")


def check_once(ids: "pd.Series[str]", path: Path) -> None:
    """Refuse images of the file at `path` that stand in several rows; the index of `ids` numbers the file's rows.

    Raises
    ------
    DataError
        Naming both lines of the first, and how many there are.
    """
    if not Texts(ids).repeated:
        return
    again = ids[ids.duplicated()]
    image, row = again.iloc[0], again.index[0]
    first, others = ids.index[ids == image][0], again.nunique() - 1
    more = f", and so do {counted(others, 'other image')}" if others else ""
    raise DataError(
        f"{path}:{line(path, row)}: image {image!r} stands twice, on line {line(path, first)} too{more}: every "
        "image needs one row"
    )


def read_list(file: Path, *, known: Set[str] | None, source: str) -> set[str]:
    """Return the names in a text file, one a line; each must be `known`, the names in the file `source`, if given.

    Raises
    ------
    DataError
        Naming the line.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{file}: the list of images cannot be read ({reason_of(error)}): correct list in [data]"
        ) from error
    names: set[str] = set()
    for number, name in enumerate(map(str.strip, lines), start=1):
        if name and known is not None and name not in known:
            raise DataError(f"{file}:{number}: image {name!r} is not in {source}: correct the list")
        if name in names:
            raise DataError(f"{file}:{number}: image {name!r} stands twice: keep one")
        names |= {name} - {""}
    if not names:
        raise DataError(f"{file}: the list names no image: write one image name a line")
    return names


def find_file(folders: Iterable[Path], names: Sequence[str], *, what: str, mend: str) -> Path:
    """Return the first file that exists: in the first folder that has one, by the order of `names`.

    Each is looked for as it is, compressed by gzip, and as a zip archive.

    Raises
    ------
    DataError
        When none is there.
    """
    places = list(folders)
    for folder in places:
        for name in names:
            for ending in ("", ".gz", ".zip"):
                if (folder / (name + ending)).is_file():
                    return folder / (name + ending)
    raise DataError(f"{places[0]}: {what} is missing ({' or '.join(names)}): {mend}")
