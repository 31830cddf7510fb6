"""Label and metadata files of data sets: CSV, read as text."""

import bz2
import csv
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import pandas as pd
import pyarrow as pa

from cxrobust.errors import DataError, counted, nearest, some
from cxrobust.spreadsheets import bare_cells

COMPRESSED: Mapping[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
LONGEST_CELL = 2**31 - 1
ROWS = 16_384
"""Rows of a table whose cells are Python's own texts at once, before they become columns of Arrow."""


def read_table(path: Path, *, needs: Sequence[str], what: str) -> pd.DataFrame:
    """Read a CSV (also `.csv.gz` and `.csv.zip`) with every value as text, blanks as empty text.

    Raises
    ------
    DataError
        When the file is missing, damaged or empty, a column of `needs` is absent, a column stands twice, or a row has
        more or fewer values than the header.
    """
    try:
        header = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        with pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", chunksize=ROWS) as parts:
            frame = pd.concat(parts)
        _check_header(header.iloc[0], path, what)
        _check_widths(frame, path, what)
    except FileNotFoundError:
        raise DataError(f"{path}: {what} is missing: put the file there or correct its path in [data]") from None
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, csv.Error) as error:
        found = " ".join(str(error).split())
        raise DataError(f"{path}: {what} cannot be read as CSV ({found}): get the file again") from error
    check_columns(frame, path, needs=needs, what=what)
    if frame.empty:
        raise DataError(f"{path}: {what} has no rows: get the file again")
    return bare_cells(frame)


@contextmanager
def giving_memory_back() -> Iterator[None]:
    """Give what tables needed while they were read back to the system; Arrow's own allocator keeps much of it."""
    usual = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.default_memory_pool().release_unused()  # that of the pool in use, whichever is asked
        pa.set_memory_pool(usual)


def check_columns(frame: pd.DataFrame, path: Path, *, needs: Sequence[str], what: str) -> None:
    """Refuse a table from `path` that lacks a column of `needs`.

    Raises
    ------
    DataError
        Naming the first such column, and the columns that are there.
    """
    absent = [column for column in needs if column not in frame.columns]
    if absent and len(frame.columns) == 1 and (found := [mark for mark in ";\t|" if mark in str(frame.columns[0])]):
        raise DataError(
            f"{path}: {what} has one column, {str(frame.columns[0])!r}: its values seem to be divided by {found[0]!r}, "
            f"so write it anew with commas between them"
        )
    if absent:
        raise DataError(
            f"{path}: {what} lacks the column {absent[0]!r}{nearest(absent[0], map(str, frame.columns))}: "
            f"its columns are {some(frame.columns, most=12)}"
        )


def line(path: Path, row: object) -> int:
    """Return the line of a table's file on which the row with index `row` begins, whatever lines its cells hold."""
    return next(islice(_rows(path), int(str(row)) + 1, None))[0]


def _check_header(names: "pd.Series[str]", path: Path, what: str) -> None:
    """Refuse two columns of one name, of which pandas renames the second."""
    twice = names[names.duplicated() & (names != "")]
    if len(twice):
        raise DataError(f"{path}: {what} has the column {twice.iloc[0]!r} twice: keep one")


def _check_widths(frame: pd.DataFrame, path: Path, what: str) -> None:
    """Refuse rows with more values than columns, of which pandas makes an index, or fewer, which it fills with blanks.

    The rows are read once more only where the last column has a blank, since no row is too short otherwise.
    """
    if not isinstance(frame.index, pd.RangeIndex):
        raise DataError(f"{path}: {what} has rows with more values than its header has columns: correct it")
    n_columns = len(frame.columns)
    if n_columns == 1 or not (frame.iloc[:, -1] == "").any():
        return
    for begins, values in _rows(path):
        if len(values) < n_columns:
            raise DataError(
                f"{path}:{begins}: the row has {counted(len(values), 'value')} and the header {n_columns} columns: "
                "complete it, or get the file again"
            )


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line on which each row begins, and its values; the header is the first, and blank lines are none."""
    csv.field_size_limit(LONGEST_CELL)
    with _opened(path) as text:
        rows, begins = csv.reader(text), 1
        for values in rows:
            if values == [""] or len(values) > 1 or "".join(values).strip():
                yield begins, values
            begins = rows.line_num + 1


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """Open a text file, compressed or not, so that each row of CSV can be told from the next."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as inner:
            yield io.TextIOWrapper(inner, encoding="utf-8-sig", newline="")
    else:
        with COMPRESSED.get(path.suffix, open)(path, "rt", encoding="utf-8-sig", newline="") as text:
            yield text
