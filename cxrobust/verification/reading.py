"""What a stranger's PDF carries, read with limits: sizes are bounded, names are no paths, nothing is executed."""

import io
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pikepdf
from jinja2 import TemplateError

from cxrobust.comparison.evidence import COMPARISON, NAME, SIDES, of_side
from cxrobust.errors import DataError
from cxrobust.files import read_json
from cxrobust.reports.evidence import FORMAT, MANIFEST, RESULTS, STUDY

MOST_FILE = 1_000_000_000
"""Bytes of a PDF that is read."""
MOST_UNPACKED = 2_000_000_000
"""Bytes of all attachments, and of all that a zip among them holds."""
MOST_STREAM = 500_000_000
"""Bytes of one page's content, font or image."""
MOST_NAMES = 100_000
FILE_NAMES = ("/F", "/UF", "/DOS", "/Mac", "/Unix")
"""Under which a PDF names one file to readers of one kind or another."""
WRITTEN = frozenset({"/Type", "/F", "/UF", "/Desc", "/AFRelationship", "/EF"})
"""All that cxrobust writes of an attachment beside its content."""
SAID = frozenset({"format", "document", "paper", "printed_with", "files", "without_predictions", "example_images"})
"""All that cxrobust says in a manifest."""
PLAIN_NAME = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)?[A-Za-z0-9_-][A-Za-z0-9._-]*", re.ASCII)
"""The name of a file in a folder, or in a folder of that: no absolute path, and none that leads out of it."""
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
MALFORMED = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    IndexError,
    ArithmeticError,
    RecursionError,
    AssertionError,
    StopIteration,
    TemplateError,
    pikepdf.PdfError,
)
"""What is raised where a stranger's content has another form than that which cxrobust writes."""
MOST_SAID = 160
"""Characters that are told of an error's own words."""
NO_EVIDENCE = "it carries no study and no results to check it by: give a PDF that cxrobust report or compare wrote"


@dataclass(frozen=True, kw_only=True, slots=True)
class Carried:
    """The attachments of a PDF."""

    manifest: Mapping[str, Any]
    files: Mapping[str, bytes]
    """By name, the manifest among them."""
    strays: tuple[str, ...]
    """What a reader of the file may take for an attachment that is none of these, or not alone of its name."""


def of_another_form(error: BaseException) -> str:
    """Say of what was read, where one of `MALFORMED` was raised, why it cannot be used."""
    said = " ".join(str(error).split())[:MOST_SAID]
    return f"({type(error).__name__}: {said}): it was changed, or not written by cxrobust"


def open_pdf(path: Path) -> pikepdf.Pdf:
    """Open a PDF.

    Raises
    ------
    DataError
        When the file is missing, too large, encrypted or no PDF.
    """
    try:
        if path.stat().st_size > MOST_FILE:
            raise DataError(f"{path}: it has more than {MOST_FILE / 1e9:g} GB, and is not read")
        with path.open("rb") as file:
            start = file.read(1024)
        if b"%PDF-" not in start:
            raise DataError(f"{path}: it is no PDF: give the report.pdf that is to be checked")
        return pikepdf.open(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}: give the report.pdf that is to be checked") from error
    except pikepdf.PasswordError as error:
        raise DataError(f"{path}: it is encrypted: give the file as cxrobust report wrote it") from error
    except (pikepdf.PdfError, RuntimeError) as error:
        raise DataError(
            f"{path}: it is no readable PDF ({error}): give the file as cxrobust report wrote it"
        ) from error


def carried(pdf: pikepdf.Pdf, path: Path) -> Carried:
    """Read the attachments.

    Raises
    ------
    DataError
        When there is no manifest, study or results among them, or they cannot be read within the limits.
    """
    try:
        files, strays = _files(pdf, path)
        manifest = read_json(files[MANIFEST]) if MANIFEST in files else None
    except MALFORMED as error:
        raise DataError(f"{path}: its attachments cannot be read ({error}): it was not written by cxrobust") from error
    if not isinstance(manifest, dict) or not _needed(manifest) <= set(files):
        raise DataError(f"{path}: {NO_EVIDENCE}")
    if manifest.get("format") != FORMAT or not isinstance(manifest.get("files"), list):
        raise DataError(f"{path}: {MANIFEST} is not of format {FORMAT}: check it with the version that wrote it")
    return Carried(manifest=manifest, files=files, strays=strays)


def is_comparison(held: Carried) -> bool:
    """Whether the document compares two runs."""
    return held.manifest.get("document") == NAME


def _needed(manifest: Mapping[str, Any]) -> set[str]:
    """Return the attachments without which nothing of a document can be checked."""
    names = (RESULTS, STUDY)
    if manifest.get("document") != NAME:
        return set(names)
    return {COMPARISON, *(of_side(side, name) for side in SIDES for name in names)}


def of_run(held: Carried, side: str) -> Carried:
    """Return what a comparison carries of one run, under the names that a report's attachments have."""
    begins = of_side(side, "")
    without = held.manifest.get("without_predictions")
    why = without.get(side) if isinstance(without, Mapping) else without
    files = {name.removeprefix(begins): content for name, content in held.files.items() if name.startswith(begins)}
    return Carried(manifest={**held.manifest, "without_predictions": why}, files=files, strays=())


def _files(pdf: pikepdf.Pdf, path: Path) -> tuple[dict[str, bytes], tuple[str, ...]]:
    files: dict[str, bytes] = {}
    wrong = []
    left = MOST_UNPACKED
    for number, (name, specification) in enumerate(pdf.attachments.items()):
        if number >= MOST_NAMES:
            raise DataError(f"{path}: it has more than {MOST_NAMES:,} attachments, and is not read")
        one = specification.obj
        streams = {stream.objgen: stream for stream in one.EF.values()}
        contents = [unpacked(stream, left, where=f"{path}: attachment {name!r}") for stream in streams.values()]
        left -= sum(map(len, contents))
        wrong += [f"{name} is other files to other readers"] if len(set(contents)) > 1 else []
        wrong += [f"{name} has another name to some readers"] if set(_names(one)) != {name} else []
        wrong += [f"{name} has {key.strip('/')}, which cxrobust writes of none" for key in sorted(_others(one))]
        wrong += [f"{name} stands more than once"] if name in files else []
        files[name] = contents[0]
    everywhere = Counter(name for one in _specifications(pdf) for name in set(_names(one)) or {"a nameless file"})
    wrong += [f"{name} stands more than once" for name, n in everywhere.items() if n > 1]
    wrong += [f"{name} stands beside the list of attachments" for name in everywhere if name not in files]
    return files, tuple(dict.fromkeys(wrong))


def _names(specification: Any) -> list[str]:
    return [str(specification[key]) for key in FILE_NAMES if key in specification]


def _others(specification: Any) -> set[str]:
    return set(map(str, specification.keys())) - WRITTEN


def _specifications(pdf: pikepdf.Pdf) -> Iterator[Any]:
    """Return each file that a document names, wherever it stands, once."""
    return (one for one in tables(pdf) if "/EF" in one or one.get("/Type") == "/Filespec")


def tables(pdf: pikepdf.Pdf) -> Iterator[Any]:
    """Return each dictionary and stream of a document, wherever it stands, once."""
    rest: list[Any] = [*pdf.objects]
    while rest:
        one = rest.pop()
        if isinstance(one, pikepdf.Array):
            inner = list(one)
        elif isinstance(one, pikepdf.Dictionary | pikepdf.Stream):
            inner = list(one.values()) if isinstance(one, pikepdf.Dictionary) else list(one.stream_dict.values())
            yield one
        else:
            continue
        rest += [kid for kid in inner if isinstance(kid, pikepdf.Object) and not kid.is_indirect]


def unpacked(stream: Any, most: int, *, where: str) -> bytes:
    """Return a stream's content if it is not longer than `most` bytes; only deflated and plain streams are read.

    Raises
    ------
    DataError
        When it is longer, damaged, or stored in another way.
    """
    if "/F" in stream:
        raise DataError(f"{where}: it is said to lie in another file, as cxrobust writes none")
    filters = stream.get("/Filter")
    names = (
        [str(one) for one in filters]
        if isinstance(filters, pikepdf.Array)
        else []
        if filters is None
        else [str(filters)]
    )
    raw = bytes(stream.read_raw_bytes())
    if names not in ([], ["/FlateDecode"]):
        raise DataError(f"{where}: it is stored as {', '.join(names)}, which cxrobust never writes")
    if names:
        try:
            raw = zlib.decompressobj().decompress(raw, most + 1)
        except zlib.error as error:
            raise DataError(f"{where}: it is damaged ({error})") from error
        if len(raw) <= most and "/DecodeParms" in stream:
            raw = bytes(stream.read_bytes())  # rows of an image, which get no longer
    if len(raw) > most:
        raise DataError(f"{where}: it unpacks to more than {most / 1e9:g} GB, and is not read")
    return raw


def unzip(content: bytes, folder: Path, *, where: str) -> None:
    """Write what a zip holds into a folder.

    Raises
    ------
    DataError
        When it is no zip, is packed as cxrobust packs none, unpacks to too much, or a name in it is not that of a file
        in this folder.
    """
    names: set[str] = set()
    left = MOST_UNPACKED
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            if len(entries) > MOST_NAMES:
                raise DataError(f"{where}: it holds more than {MOST_NAMES:,} files, and is not read")
            for entry in entries:
                check_name(entry.filename, where=where)
                if entry.filename in names:
                    raise DataError(f"{where}: it holds {entry.filename} twice")
                if entry.compress_type not in PACKED:
                    raise DataError(f"{where}: {entry.filename} is packed in a way that cxrobust never uses")
                with archive.open(entry) as file:
                    data = file.read(left + 1)
                left -= len(data)
                if left < 0:
                    raise DataError(f"{where}: it unpacks to more than {MOST_UNPACKED / 1e9:g} GB, and is not read")
                target = folder / entry.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
                names.add(entry.filename)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise DataError(f"{where}: it holds a file and a folder of one name") from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"{where}: no readable zip ({error})") from error


def names_in(content: bytes | None) -> list[str]:
    """Return the names of the files in a zip; none where there is no zip, or none that can be read."""
    try:
        with zipfile.ZipFile(io.BytesIO(content or b"")) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError):
        return []


def check_name(name: object, *, where: str) -> None:
    """Refuse a name that is not that of a file in a folder or one folder below.

    Raises
    ------
    DataError
        For a path that is absolute, or leads out of the folder.
    """
    if not isinstance(name, str) or len(name) > 300 or PLAIN_NAME.fullmatch(name) is None:
        raise DataError(f"{where}: it names the file {str(name)[:80]!r}, which is no plain name in this folder")


def check_names(names: Iterable[object], *, where: str) -> None:
    """Refuse names as `check_name` does."""
    for name in names:
        check_name(name, where=where)
