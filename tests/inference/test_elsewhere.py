"""Predictions made elsewhere: joined by id, matched by name, refused when they do not fit."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxrobust.errors import DataError
from cxrobust.inference.elsewhere import Elsewhere, common_images

FINDINGS = ("Effusion", "Mass")


def table(folder: Path, name: str, **columns: object) -> Path:
    frame = pd.DataFrame({"Image Index": ["c", "a", "b"], "p_Mass": [0.3, 0.1, 0.2], "p_Effusion": [0.9, 0.7, 0.8]})
    for column, values in columns.items():
        frame[column.replace("Image_Index", "Image Index")] = values
    path = folder / name
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    return path


def regime(path: Path, **more: object) -> Elsewhere:
    settings = {"name": "r", "predictions": {"clean": path}, "id": "Image Index", "prefix": "p_", **more}
    return Elsewhere.model_validate(settings)


@pytest.mark.parametrize("name", ["p.csv", "p.csv.gz", "p.parquet"])
def test_columns_are_found_by_name_and_images_by_id(name: str, tmp_path: Path) -> None:
    found = regime(table(tmp_path, name)).read("clean", findings=FINDINGS, image_ids=("a", "b", "c"))
    np.testing.assert_array_equal(found, [[0.7, 0.1], [0.8, 0.2], [0.9, 0.3]])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"Image_Index": ["a", "a", "b"]}, "image 'a' stands twice"),
        ({"p_Mass": [0.1, "high", 0.2]}, "image 'a', column 'p_Mass': 'high' is not a probability"),
        ({"p_Mass": [0.1, 1.2, 0.2]}, r"image 'a', finding 'Mass': probability 1.2 is not in \[0, 1\]"),
        ({"Image_Index": ["a", "x", "b"]}, r"1 images of the study have no row \(c\)"),
    ],
)
def test_what_does_not_fit_is_named(columns: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"p.csv: .*{message}"):
        regime(table(tmp_path, "p.csv", **columns)).read("clean", findings=FINDINGS, image_ids=("a", "b", "c"))


def test_a_missing_column_suggests_the_nearest(tmp_path: Path) -> None:
    one = regime(table(tmp_path, "p.csv"))
    with pytest.raises(DataError, match=r"no column 'p_Masses' for finding 'Masses' \(did you mean 'p_Mass'\?\)"):
        one.read("clean", findings=("Masses",), image_ids=("a",))
    with pytest.raises(DataError, match="no id column 'image': name it by id in regime 'r'"):
        regime(table(tmp_path, "p.csv"), id="image").image_ids("clean")


def test_an_id_in_one_table_and_not_in_another_is_counted_and_named(tmp_path: Path) -> None:
    first = table(tmp_path, "first.csv")
    second = table(tmp_path, "second.csv", Image_Index=["c", "a", "z"])
    one = regime(first, predictions={"clean": first, "blur": second})
    with pytest.raises(DataError, match=r"second.csv: 1 images of first.csv are missing \(b\)"):
        common_images((one,))
    assert common_images((regime(first),)) == {"a", "b", "c"}


def test_the_clean_images_are_a_must(tmp_path: Path) -> None:
    path = table(tmp_path, "p.csv")
    with pytest.raises(ValueError, match='"clean" is missing'):
        regime(path, predictions={"blur": path})
