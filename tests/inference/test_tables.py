"""Label files as CSV: compressed or not, and what is wrong with a row or a header is told by its line."""

import bz2
import gzip
import lzma
import zipfile

import pytest

from cxrobust.errors import DataError
from cxrobust.inference.tables import line, read_table

WHOLE = 'image,note,Edema,Mass\na,"x, y",1,\n\nb,"two\nlines",0,1\nc,,,\n'
SHORT = 'image,note,Edema,Mass\na,"x, y",1,\n\nb,"two\nlines",0,1\nc,,1\nd,,0,1\n'


def write(path, text):
    content = text.encode()
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("table.csv", content)
        return path
    kinds = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
    path.write_bytes(kinds.get(path.suffix, bytes)(content))
    return path


ENDINGS = ["csv", "csv.gz", "csv.zip", "csv.bz2", "csv.xz"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_rows_as_they_are_written(ending, tmp_path):
    frame = read_table(write(tmp_path / f"table.{ending}", WHOLE), needs=["image"], what="the table")
    assert frame.to_numpy().tolist() == [["a", "x, y", "1", ""], ["b", "two\nlines", "0", "1"], ["c", "", "", ""]]
    assert [line(tmp_path / f"table.{ending}", row) for row in frame.index] == [2, 4, 6]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_row_with_fewer_values_than_columns_is_told_by_its_line(ending, tmp_path):
    path = write(tmp_path / f"table.{ending}", SHORT)
    with pytest.raises(DataError, match=rf"table\.{ending}:6: the row has 3 values and the header 4 columns: complete"):
        read_table(path, needs=["image"], what="the table")


@pytest.mark.parametrize("row", ["b", "b,", "b,p2", "b,p2,", '"b","p2",', "b,p2,0"])
def test_any_number_of_values_is_too_few(row, tmp_path):
    path = write(tmp_path / "table.csv", f"image,patient,Edema,Mass\na,p1,1,0\n{row}\n")
    with pytest.raises(DataError, match=r"table\.csv:3: the row has (1 value|[23] values) and the header 4 columns"):
        read_table(path, needs=["image"], what="the table")


def test_a_column_of_blanks_may_stand_alone(tmp_path):
    path = write(tmp_path / "table.csv", 'image\na\n""\nb\n')
    assert read_table(path, needs=["image"], what="the table")["image"].tolist() == ["a", "", "b"]


def test_a_column_that_stands_twice_is_named(tmp_path):
    path = write(tmp_path / "table.csv", "image,Edema,Mass,Edema\na,1,0,0\n")
    with pytest.raises(DataError, match=r"table\.csv: the table has the column 'Edema' twice: keep one$"):
        read_table(path, needs=["image"], what="the table")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_damaged_file_is_one_sentence(ending, tmp_path):
    path = write(tmp_path / f"table.{ending}", SHORT)
    path.write_bytes(path.read_bytes()[:-4] if ending != "csv" else b"image,\xff\n")
    with pytest.raises(DataError, match=r"the table cannot be read as CSV") as caught:
        read_table(path, needs=["image"], what="the table")
    assert "\n" not in str(caught.value)
