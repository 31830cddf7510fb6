"""Files are whole or absent, and a hash names their content alone."""

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cxrobust.errors import DataError
from cxrobust.files import (
    LEFTOVER,
    alone,
    atomic_write,
    atomic_write_text,
    canonical_json,
    read_json_table,
    sha256_file,
    sha256_json,
)


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.txt"
    atomic_write_text(path, "old\n")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        atomic_write(path, fail)
    assert path.read_bytes() == b"old\n"
    assert [file.name for file in path.parent.iterdir()] == ["file.txt"]


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    atomic_write_text(path, "old")
    seen = []

    def write(temporary: Path) -> None:
        temporary.write_text("new")
        seen.append(path.read_text())

    atomic_write(path, write)
    assert (seen, path.read_text()) == (["old"], "new")


def test_left_overs_are_swept_away_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    for place in (tmp_path, tmp_path / "cache"):
        (place / f"{LEFTOVER}x.parquet").write_bytes(b"half")
    (tmp_path / "whole.parquet").write_bytes(b"whole")
    with alone(tmp_path, "cache", "absent"):
        assert sorted(file.name for file in tmp_path.rglob("*")) == ["cache", "whole.parquet"]
    with alone(tmp_path / "new"):
        assert (tmp_path / "new").is_dir()


def test_a_folder_that_another_process_writes_to_is_refused_and_swept_by_nobody(tmp_path: Path) -> None:
    code = (
        "import sys, time, cxrobust.files as f\nwith f.alone(f.Path(sys.argv[1])):\n print(flush=True)\n time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        (tmp_path / f"{LEFTOVER}x").write_bytes(b"half")
        with (
            pytest.raises(DataError, match="another cxrobust is writing there: wait for it, or choose another --out"),
            alone(tmp_path),
        ):
            pass
        assert (tmp_path / f"{LEFTOVER}x").exists()
        holder.kill()
    with alone(tmp_path):  # a killed process holds nothing
        assert not (tmp_path / f"{LEFTOVER}x").exists()


def test_what_a_living_process_writes_is_not_swept_away(tmp_path: Path) -> None:
    code = (
        "import sys, time, cxrobust.files as f\n"
        "f.atomic_write(f.Path(sys.argv[1]), lambda path: (path.write_text('half'), print(flush=True), time.sleep(60)))"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "a")], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        (half,) = tmp_path.glob(f"{LEFTOVER}*")
        process = half.name.removeprefix(LEFTOVER).split("-")[1]
        assert process == str(writer.pid)
        elsewhere = [tmp_path / f"{LEFTOVER}0badcafe-{process}-{name}" for name in ("new", "old")]
        for path in elsewhere:
            path.touch()
        os.utime(elsewhere[1], (1, 1))
        with alone(tmp_path):
            assert set(tmp_path.glob(f"{LEFTOVER}*")) == {half, elsewhere[0]}
        writer.kill()
    with alone(tmp_path):
        assert list(tmp_path.glob(f"{LEFTOVER}*")) == [elsewhere[0]]


def test_hashes_against_hashlib(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc" * 100_000)
    assert sha256_file(path) == hashlib.sha256(b"abc" * 100_000).hexdigest()
    assert sha256_json({"b": 1, "a": [2.5, None]}) == hashlib.sha256(b'{"a":[2.5,null],"b":1}').hexdigest()


def test_nan_has_no_canonical_form() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": float("nan")})


def test_an_error_names_the_file_that_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"

    def full(temporary: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def other(temporary: Path) -> None:
        (tmp_path / "absent").read_bytes()

    def gone(temporary: Path) -> None:
        temporary.unlink()

    for write, named in ((full, path), (gone, path), (other, tmp_path / "absent")):
        with pytest.raises(OSError, match="No s") as caught:
            atomic_write(path, write)
        assert caught.value.filename == str(named)
        assert not list(tmp_path.iterdir())
    path.write_text("a file, no folder")
    with pytest.raises(OSError, match=r"file\.txt"):
        atomic_write_text(path / "below.txt", "x")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b'{"a": 1, "b": {"c": null}}', {"a": 1, "b": {"c": None}}),
        (b"{}", {}),
        (b'[{"a": 1}]', {}),
        (b"null", {}),
        (b'{"a": 1', {}),
        (b"", {}),
        (b'{"a": "\xff"}', {}),
        (b"[" * 100_000, {}),
    ],
    ids=["table", "empty table", "list", "null", "cut off", "nothing", "not UTF-8", "too deep"],
)
def test_a_json_table_that_is_none_is_read_as_empty(tmp_path: Path, written: bytes, read: dict[str, object]) -> None:
    path = tmp_path / "table.json"
    assert read_json_table(path) == {}
    path.write_bytes(written)
    assert read_json_table(path) == read
