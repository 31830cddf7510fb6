"""The description of a bundle as an RO-Crate 1.2: what each file is, who made it, with what and under which licence."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrobust.bundles import ENVIRONMENT, POWER, README, STUDY
from cxrobust.files import read_json, sha256_file
from cxrobust.left_out import LEFT_OUT
from cxrobust.prediction_files import IMAGES, INDEX, VALIDATION_IMAGES
from cxrobust.registration import SUFFIX
from cxrobust.results import ESTIMATES, PREDICTIONS, RESULTS, Results
from cxrobust.study.people import person

METADATA = "ro-crate-metadata.json"
VERSION = "https://w3id.org/ro/crate/1.2"
CONTEXT = (f"{VERSION}/context", {"sha256": "https://schema.org/sha256"})
MIME = {
    ".json": "application/json",
    ".toml": "application/toml",
    ".csv": "text/csv",
    ".txt": "text/plain",
    ".md": "text/markdown",
    ".pdf": "application/pdf",
    ".html": "text/html",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".tex": "application/x-tex",
    ".bib": "application/x-bibtex",
    ".parquet": "application/vnd.apache.parquet",
}
NO_LICENCE, BUNDLED_WITH = "#no-licence", "#bundled-with"
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Code:
    """The code that made a bundle."""

    version: str
    commit: str | None
    """Of git, where it ran from a checkout; `, with local changes` after it where there were some."""


def metadata(
    folder: Path, files: Sequence[str], results: Results, *, documents: Iterable[str], date: str, code: Code
) -> str:
    """Return `ro-crate-metadata.json` of the files in a folder.

    Parameters
    ----------
    files
        Paths relative to the folder, in order.
    documents
        Those of them that were written from the results.
    date
        Of publication, `2026-11-28`: RO-Crate wants one.
    """
    study = results.study["study"]
    licence, licences = _licence(study.get("licence"))
    authors = [_author(name) for name in study.get("authors") or ()]
    made = [name for name in (RESULTS, ESTIMATES) if name in files] + [*documents]
    used = [name for name in (STUDY, f"{PREDICTIONS}/{INDEX}") if name in files]
    parts = [_file(folder, name) for name in files if name != METADATA]
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": study["title"],
        "description": study.get("question") or f"A study of robustness on {results.data['name']}: {study['title']}",
        "datePublished": date,
        "license": {"@id": licence},
        **({"author": [{"@id": one["@id"]} for one in authors]} if authors else {}),
        "hasPart": [{"@id": one["@id"]} for one in parts],
        "mentions": [{"@id": "#data"}, {"@id": "#analysis"}],
    }
    graph = [
        {
            "@id": METADATA,
            "@type": "CreativeWork",
            "about": {"@id": "./"},
            "conformsTo": {"@id": VERSION},
        },
        root,
        *parts,
        *licences,
        *authors,
        _data(results),
        *_software(results, code),
        {
            "@id": "#analysis",
            "@type": "CreateAction",
            "name": "Analysis of the predictions, and documents written from its results",
            "instrument": {"@id": "#cxrobust"},
            "object": [{"@id": name} for name in used],
            "result": [{"@id": name} for name in made],
        },
    ]
    return json.dumps({"@context": CONTEXT, "@graph": graph}, indent=1, ensure_ascii=False) + "\n"


def bundled(text: str) -> tuple[str, Code]:
    """Return from `ro-crate-metadata.json` what nothing else in a bundle gives: its date, and the code that made it.

    Raises
    ------
    ValueError, KeyError, TypeError
        When it is of another form.
    """
    graph = {one["@id"]: one for one in read_json(text)["@graph"]}
    date, code = graph["./"]["datePublished"], graph[BUNDLED_WITH]
    if DATE.fullmatch(date) is None:
        raise ValueError(f"{date!r} is no date")
    commit = code.get("identifier")
    return date, Code(version=str(code["version"]), commit=None if commit is None else str(commit))


def _file(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    return {
        "@id": name,
        "@type": "File",
        "name": path.name,
        "description": described(name),
        "encodingFormat": MIME.get(path.suffix, "application/octet-stream"),
        "contentSize": str(path.stat().st_size),
        "sha256": sha256_file(path),
    }


KNOWN = {
    STUDY: "The study file that was run",
    RESULTS: "Every number of the documents, and what it was made from",
    ESTIMATES: "All estimates, one a row",
    LEFT_OUT: "The images that could not be read or predicted, by id with the reason",
    POWER: "The differences that the study can detect",
    ENVIRONMENT: "Versions of the software that made predictions and estimates",
    README: "What this bundle holds and how to reproduce it",
    f"{PREDICTIONS}/{INDEX}": "What was predicted, by what, and the hash of every file of predictions",
    f"{PREDICTIONS}/{IMAGES}": "The test images: ids, patients, labels and metadata",
    f"{PREDICTIONS}/{VALIDATION_IMAGES}": "The validation images: ids, patients, labels and metadata",
}


def described(name: str) -> str:
    """Say what a file of a bundle is."""
    if name.endswith(SUFFIX):
        return "The plan of the study as it was registered"
    if name.startswith(f"{PREDICTIONS}/examples/"):
        return "An example image"
    if name.startswith(f"{PREDICTIONS}/"):
        return "Predictions of one regime under one condition on some of the images"
    return KNOWN.get(name, "A document written from the results")


def _licence(stated: str | None) -> tuple[str, list[dict[str, Any]]]:
    """Return the id of the licence, and its entity."""
    if stated is None:
        text = "The study file states no licence; ask its authors."
        entity = {"@id": NO_LICENCE, "@type": "CreativeWork", "name": "No licence stated", "description": text}
        return NO_LICENCE, [entity]
    is_url = re.match(r"https?://", stated) is not None
    is_name = re.fullmatch(r"[A-Za-z0-9.+-]+", stated) is not None
    place = stated if is_url else f"https://spdx.org/licenses/{stated}" if is_name else "#licence"
    return place, [{"@id": place, "@type": "CreativeWork", "name": stated}]


def _author(stated: str) -> dict[str, Any]:
    """Return a person, whose id is that of ORCID where there is one."""
    one = person(stated)
    slug = re.sub(r"[^\w-]+", "-", one.name).strip("-") or "author"
    return {"@id": one.page or f"#author-{slug}", "@type": "Person", "name": one.name}


def _data(results: Results) -> dict[str, Any]:
    citation = results.data.get("citation")
    return {
        "@id": "#data",
        "@type": "Dataset",
        "name": results.data["name"],
        "description": "The images and labels studied. No image is part of the bundle unless its files say so.",
        **({"citation": citation} if citation else {}),
    }


def _software(results: Results, code: Code) -> list[dict[str, Any]]:
    versions: Mapping[str, str] = results.provenance.get("analysis", {}).get("versions") or {}
    made = {
        "@id": "#cxrobust",
        "@type": "SoftwareApplication",
        "name": "cxrobust",
        "version": versions.get("cxrobust", "unknown"),
        "description": "What computed the results",
    }
    commit = {"identifier": code.commit} if code.commit else {}
    bundled = {
        "@id": BUNDLED_WITH,
        "@type": "SoftwareApplication",
        "name": "cxrobust",
        "version": code.version,
        "description": "What wrote the documents of the bundle; the identifier is its git commit",
        **commit,
    }
    return [made, bundled]
