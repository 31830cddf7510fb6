"""A bundle's files: read from a folder or a zip without trusting either, and held against the list of their hashes."""

import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from cxrobust.errors import DataError, some
from cxrobust.files import sha256_file

MANIFEST = "manifest-sha256.txt"
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
MOST_FILES = 50_000
MOST_BYTES = 16 * 10**9
_BLOCK = 1 << 20


def unpack(archive: Path, folder: Path, *, most_bytes: int = MOST_BYTES, most_files: int = MOST_FILES) -> None:
    """Unpack a zip into an empty folder; a name that leads out of it, a link or too much content is refused.

    Raises
    ------
    DataError
        When the file is no zip, is damaged, or is not safe to unpack.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            _unpack(opened, archive, folder, most_bytes, most_files)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise DataError(f"{archive}: cannot be read as a zip ({error}): get the file again") from error


def _unpack(opened: zipfile.ZipFile, archive: Path, folder: Path, most_bytes: int, most_files: int) -> None:
    members = opened.infolist()
    if len(members) > most_files:
        raise DataError(f"{archive}: it holds {len(members):,} files, and at most {most_files:,} are unpacked")
    seen: set[str] = set()
    left = most_bytes
    for member in members:
        name = _safe(member, archive)
        if member.compress_type not in PACKED:
            raise DataError(f"{archive}: {name!r} is packed in a way that cxrobust never uses: unpack it yourself")
        if name in seen:
            raise DataError(f"{archive}: {name!r} stands twice in it: it is no bundle of cxrobust")
        seen.add(name)
        if member.is_dir():
            continue
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with opened.open(member) as source, path.open("wb") as target:
            while block := source.read(_BLOCK):
                left -= len(block)
                if left < 0:
                    raise DataError(f"{archive}: it holds more than {most_bytes / 1e9:,.0f} GB: unpack it yourself")
                target.write(block)


def _safe(member: zipfile.ZipInfo, archive: Path) -> str:
    """Return the name of a member, after a check that it stays within the folder and is a plain file."""
    name = member.filename.rstrip("/")
    parts = PurePosixPath(name).parts
    is_outside = not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in name or "\0" in name
    if is_outside:
        raise DataError(f"{archive}: {member.filename!r} would be written outside its folder: it is no bundle to trust")
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise DataError(f"{archive}: {member.filename!r} is no plain file: it is no bundle to trust")
    return name


def manifest_text(folder: Path, files: list[str]) -> str:
    """Return the list of hashes as `sha256sum -c` reads it."""
    return "".join(f"{sha256_file(folder / name)}  {name}\n" for name in files)


def check_manifest(folder: Path) -> Mapping[str, str]:
    """Hold every file of a bundle against the list of their hashes, and return the list.

    Raises
    ------
    DataError
        When the list is missing, or a file is missing, changed or not in it.
    """
    path = folder / MANIFEST
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}): {folder} is no bundle of cxrobust") from error
    listed: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not name or ".." in PurePosixPath(name).parts or name.startswith("/"):
            raise DataError(f"{path}:{number}: not a hash and the name of a file in the bundle: get the bundle again")
        listed[name] = digest
    there = sorted(files_of(folder))
    missing = [name for name in listed if name not in there]
    if missing:
        raise DataError(f"{folder}: {len(missing):,} files of the bundle are missing ({some(missing)}): get it again")
    unlisted = [name for name in there if name not in listed and name != MANIFEST]
    if unlisted:
        raise DataError(f"{folder}: {len(unlisted):,} files are not in {MANIFEST} ({some(unlisted)}): remove them")
    changed = [name for name, digest in listed.items() if sha256_file(folder / name) != digest]
    if changed:
        raise DataError(
            f"{folder}: {len(changed):,} files were changed after they were bundled ({some(changed)}): get it again"
        )
    return listed


def files_of(folder: Path) -> list[str]:
    """Return every plain file under a folder by its relative path, in order.

    Raises
    ------
    DataError
        When there is a link.
    """
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise DataError(f"{path}: it is a link, and a bundle holds plain files alone: replace it by the file")
        if path.is_file():
            found.append(path.relative_to(folder).as_posix())
    return found
