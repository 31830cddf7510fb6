"""Arrays kept between runs: given back as they are, or made again wherever a byte of their files was damaged."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cxrobust.errors import DataError
from cxrobust.inference.remembered import Arrays, remembered

HEAD = {"weight": np.arange(6.0).reshape(2, 3), "bias": np.array([1.0, 2.0])}


def made_of(made: list[str], arrays: Arrays = HEAD) -> Callable[[], Arrays]:
    """What makes the arrays, and tells that it was asked."""

    def make() -> Arrays:
        made.append("again")
        return arrays

    return make


def assert_head(found: Arrays) -> None:
    assert set(found) == set(HEAD)
    for name, array in HEAD.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_any_damaged_byte_of_either_file_has_the_arrays_made_again(tmp_path: Path) -> None:
    made: list[str] = []
    assert_head(remembered(tmp_path, "head", 1, made_of(made)))
    assert_head(remembered(tmp_path, "head", 1, made_of(made)))
    assert made == ["again"]
    (archive,), (note,) = tmp_path.glob("*.npz"), tmp_path.glob("*.sha256")
    whole = {path: path.read_bytes() for path in (archive, note)}
    assert len(whole) == len(list(tmp_path.iterdir()))
    for path, content in whole.items():
        for place in range(len(content)):
            damaged = bytearray(content)
            damaged[place] ^= 1 << place % 8
            path.write_bytes(damaged)
            made.clear()
            assert_head(remembered(tmp_path, "head", 1, made_of(made)))
            assert made == ["again"]
            assert {one: one.read_bytes() for one in whole} == whole


@pytest.mark.parametrize("ending", ["npz", "sha256"])
def test_a_file_that_is_missing_or_cut_off_has_them_made_again(ending: str, tmp_path: Path) -> None:
    made: list[str] = []
    remembered(tmp_path, "head", 1, made_of(made))
    (path,) = tmp_path.glob(f"*.{ending}")
    path.write_bytes(path.read_bytes()[:30])
    assert_head(remembered(tmp_path, "head", 1, made_of(made)))
    path.unlink()
    assert_head(remembered(tmp_path, "head", 1, made_of(made)))
    assert len(made) == 3


def test_other_determinants_and_no_folder_have_arrays_of_their_own(tmp_path: Path) -> None:
    made: list[str] = []
    for determined_by in (1, 2):
        remembered(tmp_path, "head", determined_by, made_of(made))
    remembered(tmp_path, "features", 1, made_of(made))
    remembered(None, "head", 1, made_of(made))
    assert len(made) == 4


def test_arrays_that_cannot_be_kept_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DataError, match="make room or choose another --out"):
        remembered(tmp_path / "file", "head", 1, made_of([]))
