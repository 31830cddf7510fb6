"""Columns of label and metadata files, read from text as values."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrobust.blanks import BLANK
from cxrobust.errors import DataError
from cxrobust.inference.datasets import MISSING
from cxrobust.inference.tables import line

Uncertain = Literal["ignore", "zeros", "ones"]
"""What an uncertain label (−1) becomes: missing, 0 or 1; after Irvin et al. 2019, U-Ignore, U-Zeros and U-Ones."""

POLICY = {"ignore": MISSING, "zeros": 0, "ones": 1}
PRESENT, ABSENT, DOUBTED = ("1", "1.0", "true"), ("0", "0.0", "false"), ("-1", "-1.0")
LABEL_WORDS = (*PRESENT, *ABSENT, *DOUBTED)
EXPECTED = "1, 0, -1, true, false or blank"
OLDEST = 120
"""A higher age in years is a typing error (NIH has some of 148 and 414) and becomes missing."""


def read_labels(
    frame: pd.DataFrame, columns: Sequence[str], *, path: Path, uncertain: Uncertain, blank: int = MISSING
) -> NDArray[np.int8]:
    """Return the labels of `columns` as 1, 0 or `MISSING`, shape (n_rows, n_columns).

    `frame` holds rows of the file at `path` as text, with their numbers in that file as index; `blank` is what a cell
    becomes that is empty or says that it is (nan, NA, N/A, null).

    Raises
    ------
    DataError
        When a value is none of 1, 0, −1, true, false and blank; it names the line and the column.
    """
    meaning = dict.fromkeys(PRESENT, 1) | dict.fromkeys(ABSENT, 0)
    meaning |= dict.fromkeys(DOUBTED, POLICY[uncertain]) | dict.fromkeys(BLANK, blank)
    labels = np.empty((len(frame), len(columns)), dtype=np.int8)
    for place, column in enumerate(columns):
        values = as_words(frame[column]).map(meaning)
        if values.isna().any():
            bad = frame[column][values.isna()]
            raise DataError(
                f"{path}:{line(path, bad.index[0])}: {column} is {bad.iloc[0]!r}, expected {EXPECTED}: correct it"
            )
        labels[:, place] = values.to_numpy(dtype=np.int8)
    return labels


def as_words(values: "pd.Series[str]") -> "pd.Series[str]":
    """Return texts as labels are compared: without outer spaces and case.

    Examples
    --------
    >>> as_words(pd.Series([" True", "NaN", "-1"])).tolist()
    ['true', 'nan', '-1']
    """
    return values.str.strip().str.casefold()


def read_age(values: "pd.Series[str]") -> "pd.Series[float]":
    """Return ages in years from `58`, `058Y`, `010M`, `006W` or `013D`; NaN where unreadable, blank or above `OLDEST`.

    The unit may be a small letter.

    Examples
    --------
    >>> read_age(pd.Series(["58", "058Y", "58y", "006M", "", "414Y"])).tolist()
    [58.0, 58.0, 58.0, 0.5, nan, nan]
    """
    distinct = pd.Series(values.unique(), dtype=values.dtype)
    parts = distinct.str.strip().str.upper().str.extract(r"^(?P<number>\d+(?:\.\d+)?)(?P<unit>[YMWD]?)$")
    years = {"": 1.0, "Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
    age = parts["number"].astype("float64") * parts["unit"].map(years).astype("float64")
    return values.map(dict(zip(distinct, age.where(age <= OLDEST), strict=True))).astype("float64")


def read_sex(values: "pd.Series[str]") -> "pd.Series[str]":
    """Return `F` or `M` where the text begins with either letter, else the text as it is.

    Examples
    --------
    >>> read_sex(pd.Series(["female", "M", "", "other"])).tolist()
    ['F', 'M', '', 'other']
    """
    letter = values.str.strip().str.upper().str[:1]
    return letter.where(letter.isin(["F", "M"]), values)


def in_common_words(frame: pd.DataFrame) -> pd.DataFrame:
    """Return metadata with `sex` and `age`, where there are such columns, as values that compare across data sets."""
    common = frame.copy()
    if "sex" in common.columns:
        common["sex"] = read_sex(common["sex"])
    if "age" in common.columns:
        common["age"] = read_age(common["age"])
    return common
