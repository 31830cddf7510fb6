"""A stranger's zip is unpacked within its folder or refused, and every file is held against its hash."""

import stat
import zipfile
from pathlib import Path

import pytest

from cxrobust.bundles.unpacking import MANIFEST, check_manifest, files_of, manifest_text, unpack
from cxrobust.errors import DataError


def zip_of(path: Path, *members: tuple[str | zipfile.ZipInfo, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members:
            archive.writestr(member, content)
    return path


def folder_in(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def test_plain_files_and_folders_are_unpacked(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", ("predictions/", ""), ("predictions/a.txt", "1"), ("b.txt", "2"))
    unpack(archive, folder_in(tmp_path))
    assert files_of(tmp_path / "in") == ["b.txt", "predictions/a.txt"]


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/etc/a", "a\\..\\b", "C:/a", "."])
def test_a_name_that_leads_out_of_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="would be written outside its folder"):
        unpack(zip_of(tmp_path / "a.zip", (name, "x")), folder_in(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "in"]
    assert files_of(tmp_path / "in") == []


def test_a_link_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(DataError, match="'link' is no plain file"):
        unpack(zip_of(tmp_path / "a.zip", (link, "/etc/passwd")), folder_in(tmp_path))


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive = zip_of(tmp_path / "a.zip", ("a", "1"), ("a", "2"))
    with pytest.raises(DataError, match="'a' stands twice"):
        unpack(archive, folder_in(tmp_path))


def test_more_than_the_limits_is_not_unpacked(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", ("a", "0" * 100_000), ("b", "0" * 100_000))
    assert archive.stat().st_size < 2000  # as large as it says only when it is unpacked
    with pytest.raises(DataError, match="holds more than"):
        unpack(archive, folder_in(tmp_path), most_bytes=150_000)
    with pytest.raises(DataError, match="holds 2 files, and at most 1"):
        unpack(archive, tmp_path / "in", most_files=1)


def test_what_is_no_zip_or_is_damaged_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_text("no zip")
    with pytest.raises(DataError, match=r"a.zip: cannot be read as a zip \(.*\): get the file again"):
        unpack(tmp_path / "a.zip", folder_in(tmp_path))
    archive = zip_of(tmp_path / "b.zip", ("a", "some content that is long enough to be damaged"))
    content = bytearray(archive.read_bytes())
    content[35] ^= 255
    archive.write_bytes(bytes(content))
    with pytest.raises(DataError, match="cannot be read as a zip"):
        unpack(archive, tmp_path / "in")


def test_a_zip_that_is_packed_as_none_of_ours_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a", "1")
    with pytest.raises(DataError, match="'a' is packed in a way that cxrobust never uses: unpack it yourself"):
        unpack(tmp_path / "a.zip", folder_in(tmp_path))


def listed(tmp_path: Path) -> Path:
    folder = folder_in(tmp_path)
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text(name)
    (folder / MANIFEST).write_text(manifest_text(folder, ["a.txt", "b.txt"]))
    return folder


def test_files_as_they_were_listed_pass(tmp_path: Path) -> None:
    assert sorted(check_manifest(listed(tmp_path))) == ["a.txt", "b.txt"]


def test_changed_missing_and_unlisted_files_are_named(tmp_path: Path) -> None:
    folder = listed(tmp_path)
    (folder / "a.txt").write_text("A.txt")
    with pytest.raises(DataError, match=r"1 files were changed after they were bundled \(a.txt\)"):
        check_manifest(folder)
    (folder / "a.txt").unlink()
    with pytest.raises(DataError, match=r"1 files of the bundle are missing \(a.txt\)"):
        check_manifest(folder)
    (folder / "a.txt").write_text("a.txt")
    (folder / "c.txt").write_text("c")
    with pytest.raises(DataError, match=r"1 files are not in manifest-sha256.txt \(c.txt\)"):
        check_manifest(folder)
    (folder / "c.txt").unlink()
    (folder / "c.txt").symlink_to(folder / "a.txt")
    with pytest.raises(DataError, match="it is a link"):
        check_manifest(folder)


def test_a_list_that_is_none_or_leads_outside_is_told_with_its_line(tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    with pytest.raises(DataError, match="is no bundle of cxrobust"):
        check_manifest(folder)
    (folder / MANIFEST).write_text(f"{'0' * 64}  ../a\n")
    with pytest.raises(DataError, match=r"manifest-sha256.txt:1: not a hash"):
        check_manifest(folder)
