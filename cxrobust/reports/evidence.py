"""What a PDF carries so that a reader can check it: the study, the results, versions, predictions, images shown."""

import hashlib
import io
import json
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from numbers import Number
from pathlib import Path
from typing import Any

from cxrobust.environment import environment_lock, installed_versions
from cxrobust.files import canonical_json, sha256_bytes, sha256_file
from cxrobust.prediction_files import INDEX, parts_of
from cxrobust.reports.archive import Attachment, Packed, pack
from cxrobust.reports.document import Document
from cxrobust.reports.figures.images import Shown
from cxrobust.reports.pdf import pango_version
from cxrobust.reports.templating import ENDINGS
from cxrobust.reports.view import View
from cxrobust.results import Estimate, Results, estimates_text

FORMAT = 1
MANIFEST, STUDY, RESULTS, ESTIMATES = "manifest.json", "study.toml", "results.json", "estimates.csv"
ENVIRONMENT, PREDICTIONS, EXAMPLES = "environment.txt", "predictions.zip", "images.zip"
TEMPLATES = "templates.zip"
CARRIED, NOT_CARRIED, NO_IMAGES = "carried", "shown, not carried", "none shown"
"""What a manifest says of the example images of the report."""
MOST_BYTES = 10_000_000
"""The largest folder of predictions, and the most example images, that a PDF carries."""
PRINTERS = ("cxrobust", "weasyprint", "pydyf", "matplotlib", "fonttools", "pillow", "jinja2", "markupsafe", "numpy")
"""Packages whose version can change what is printed."""
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What every document of a study carries beside its numbers, and why there are no predictions among it."""

    attachments: tuple[Attachment, ...]
    without_predictions: str
    """Empty where the predictions are attached."""


def pack_results(text: str) -> Packed:
    """Return the text of a results file as it is attached."""
    return pack(of_results(text))


def pack_estimates(view: View) -> Packed:
    """Return a study's estimates as they are attached."""
    return pack(of_estimates(view.results))


def of_results(text: str) -> Attachment:
    """Return the text of a results file as an attachment."""
    return Attachment(
        name=RESULTS,
        content=text.encode(),
        mime="application/json",
        description="Every number of this document, and what it was made from",
        relationship="Source",
    )


def of_estimates(results: Results) -> Attachment:
    """Return all estimates as an attachment."""
    return Attachment(
        name=ESTIMATES,
        content=estimates_text(results.estimates).encode(),
        mime="text/csv",
        description="All estimates, one a row",
        relationship="Data",
    )


def evidence(results: Results, *, folder: Path | None) -> Evidence:
    """Gather what all documents of a study carry beside its numbers; `folder` holds the predictions, or is None."""
    found = [
        Attachment(
            name=STUDY,
            content=results.study_text.encode(),
            mime="application/toml",
            description="The study file that was run",
            relationship="Source",
        ),
        Attachment(
            name=ENVIRONMENT,
            content=environment_lock(results.provenance).encode(),
            mime="text/plain",
            description="Versions of the software that made predictions and estimates",
            relationship="Supplement",
        ),
    ]
    packed = _predictions(results, folder)
    if isinstance(packed, bytes):
        found.append(
            Attachment(
                name=PREDICTIONS,
                content=packed,
                mime="application/zip",
                description="The predictions that the estimates were computed from",
                relationship="Source",
            )
        )
    return Evidence(attachments=tuple(found), without_predictions="" if isinstance(packed, bytes) else packed)


def attachments_of(
    document: Document, gathered: Evidence, numbers: Sequence[Packed], *, report: Document, kind: str, paper: str
) -> tuple[Packed, ...]:
    """Return all that one document carries: its numbers, the evidence, the images that the report shows, and a list.

    The appendix needs those images too: it names pages of the report, which they move.
    """
    images = _images(report)
    others = (*gathered.attachments, *images, *templates_of(document.templates))
    return with_manifest(
        (*numbers, *map(pack, others)),
        kind=kind,
        paper=paper,
        without_predictions=gathered.without_predictions,
        images=CARRIED if images else NOT_CARRIED if _shown_files(report) else NO_IMAGES,
    )


def with_manifest(
    held: Sequence[Packed],
    *,
    kind: str,
    paper: str,
    without_predictions: str | Mapping[str, str],
    images: str = NO_IMAGES,
) -> tuple[Packed, ...]:
    """Return attachments after a list of them all with their hashes.

    `without_predictions` says why there are none among them, of several runs by run; empty where there are. `images`
    says whether example images were shown, and are among them.
    """
    manifest = {
        "format": FORMAT,
        "document": kind,
        "paper": paper,
        "printed_with": printed_with(),
        "files": [{"name": one.name, "bytes": one.size, "sha256": one.sha256} for one in held],
        "without_predictions": without_predictions,
        "example_images": images,
    }
    listed = Attachment(
        name=MANIFEST,
        content=(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode(),
        mime="application/json",
        description="Which document this is, what printed it, and the attachments with their hashes",
        relationship="Supplement",
    )
    return (pack(listed), *held)


@cache
def _printers() -> dict[str, str]:
    digest = hashlib.sha256()
    for name, source in sorted(_sources()):
        digest.update(canonical_json([name, sha256_bytes(source.read_bytes())]).encode())
    return {**installed_versions(PRINTERS), "pango": pango_version(), "templates_sha256": digest.hexdigest()}


def printed_with() -> dict[str, str]:
    """Return the versions of all that the print depends on here, and the hash of this program's part of it."""
    return dict(_printers())


def _sources(folder: Traversable | None = None, name: str = "") -> Iterator[tuple[str, Traversable]]:
    """Return every source file of `reports` and `templates`."""
    if folder is None:
        for room in ("reports", "templates"):
            yield from _sources(files("cxrobust").joinpath(room), room)
        return
    for one in folder.iterdir():
        if one.is_dir():
            yield from _sources(one, f"{name}/{one.name}")
        elif one.name.endswith((".py", ".j2", ".css", ".toml", ".js")):
            yield f"{name}/{one.name}", one


def _predictions(results: Results, folder: Path | None) -> bytes | str:
    """Return the folder of predictions as a zip, or why it is not attached."""
    if not results.study["report"].get("attach_predictions", False):
        if says_not_to_attach(results):
            return "the study says attach_predictions = false in [report]"
        return "the study does not say attach_predictions = true in [report], and its data are not known to be public"
    index = None if folder is None else folder / INDEX
    if folder is None or index is None or not index.is_file():
        return "there were none beside the results"
    if sha256_file(index) != results.provenance.get("predictions_sha256"):
        return "those beside the results are not the ones that the results were computed from"
    listed = json.loads(index.read_text(encoding="utf-8"))
    names = [INDEX, *parts_of(listed), *_units(listed)]
    size = sum((folder / name).stat().st_size for name in names if (folder / name).is_file())
    if size > MOST_BYTES:
        return f"they have {size / 1e6:,.1f} MB, more than {MOST_BYTES / 1e6:,.0f} MB"
    try:
        return zipped({name: (folder / name).read_bytes() for name in names})
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} was missing beside the results"


def says_not_to_attach(results: Results) -> bool:
    """Whether the study file itself says `attach_predictions = false`, whatever its data are."""
    try:
        return tomllib.loads(results.study_text).get("report", {}).get("attach_predictions") is False
    except tomllib.TOMLDecodeError:
        return False


def _units(index: Mapping[str, Any]) -> list[str]:
    scores = (one["file"] for one in (index.get("scores") or {}).get("files", []))
    return sorted([*(unit["file"] for part in parts_of(index).values() for unit in part.get("units", [])), *scores])


def _shown_files(document: Document) -> tuple[str, ...]:
    """Return the files of the example images that a report shows, each once."""
    return tuple(dict.fromkeys(one["file"] for one in shown_examples([one.values for one in document.filled])))


def _images(document: Document) -> tuple[Attachment, ...]:
    """Return the example images that a report shows, as they were kept, where they are not too large."""
    folder, shown = document.view.images, _shown_files(document)
    if folder is None or not shown or sum((folder / name).stat().st_size for name in shown) > MOST_BYTES:
        return ()
    content = zipped({name: (folder / name).read_bytes() for name in sorted(shown)})
    return (
        Attachment(
            name=EXAMPLES,
            content=content,
            mime="application/zip",
            description="The example images that the report shows",
            relationship="Data",
        ),
    )


def templates_of(folder: Path | None) -> tuple[Attachment, ...]:
    """Return a user's own templates, without which the document cannot be printed again."""
    if folder is None:
        return ()
    inside = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.suffix in ENDINGS}
    content = zipped({name: path.read_bytes() for name, path in inside.items() if path.is_file()})
    return (
        Attachment(
            name=TEMPLATES,
            content=content,
            mime="application/zip",
            description="The templates that came before those of cxrobust",
            relationship="Source",
        ),
    )


def shown_examples(value: Any) -> Iterator[Mapping[str, Any]]:
    """Return the example images among values that a document is filled with, wherever they stand in its figures.

    Figures hold the whole view of a study's results too: it has none, and going through its estimates takes a minute.
    """
    if isinstance(value, str | bytes | Number | View | Results | Estimate):
        return
    if isinstance(value, Shown):
        yield value.example
    elif isinstance(value, Mapping):
        yield from shown_examples(tuple(value.values()))
    elif isinstance(value, Sequence):
        for one in value:
            yield from shown_examples(one)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from shown_examples(getattr(value, field.name))


def zipped(content: Mapping[str, bytes]) -> bytes:
    """Return files as a zip that is the same wherever and whenever it is made; Parquet and PNG are compressed already."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in content.items():
            entry = zipfile.ZipInfo(name, _ZIP_DATE)
            entry.external_attr, entry.create_system = 0o644 << 16, 3
            archive.writestr(entry, data)
    return out.getvalue()
