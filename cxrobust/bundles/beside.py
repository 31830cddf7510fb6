"""What a bundle holds beside its numbers: what was written with them, made again, and what nothing accounts for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cxrobust.bundles import ENVIRONMENT, POWER, README, REGISTRATION, STUDY, TEMPLATES
from cxrobust.bundles.bundling import predicted, readme
from cxrobust.bundles.crate import METADATA, bundled, metadata
from cxrobust.environment import environment_lock
from cxrobust.files import read_json, sha256_bytes
from cxrobust.left_out import LEFT_OUT
from cxrobust.predictions import INDEX
from cxrobust.registration import SUFFIX
from cxrobust.results import ESTIMATES, PREDICTIONS, RESULTS, Results

DOCUMENTS = (".pdf", ".html", ".tex", ".md", ".csv", ".svg", ".bib")


@dataclass(frozen=True, kw_only=True, slots=True)
class Beside:
    """What came of the files of a bundle that are neither numbers nor predictions."""

    documents: tuple[str, ...] = ()
    """Those that were written again, and what describes the bundle."""
    changed: tuple[str, ...] = ()
    """Those of them that are missing or have other bytes."""
    not_written: tuple[str, ...] = ()
    """Documents of the bundle that were not written here, for example for want of Pango."""
    strays: tuple[str, ...] = ()
    """Files that nothing in the bundle accounts for, or images that are not those recorded."""
    templates: int = 0
    """Files of the study's own templates, which documents were written with."""
    power: bool = False
    """Whether it holds what `cxrobust power` answered, which is not made again."""

    @property
    def is_identical(self) -> bool:
        """Whether everything came out the same."""
        return not (self.changed or self.not_written or self.strays)


def beside(folder: Path, out: Path, listed: Mapping[str, str], results: Results) -> Beside:
    """Hold what a bundle in `folder` holds beside its numbers against what was written again to `out`.

    `listed` are its files with their hashes.
    """
    theirs = [name for name in listed if _may_be_document(name)]
    documents = [name for name in theirs if (out / name).is_file()]
    rest = [name for name in theirs if name not in documents]
    not_written = [name for name in rest if PurePosixPath(name).suffix in DOCUMENTS]
    again = {name: (out / name).read_bytes() for name in documents}
    again |= _described(folder, listed, results, [*documents, *not_written])
    if (out / LEFT_OUT).is_file() and f"{PREDICTIONS}/{INDEX}" in listed:
        again[LEFT_OUT] = (out / LEFT_OUT).read_bytes()
    known = {STUDY, RESULTS, ESTIMATES, POWER, *_registration(results), *_predictions(folder, listed, results), *again}
    has_templates = templates_of(folder, results) is not None
    templates = [name for name in listed if has_templates and _is_in(name, TEMPLATES)]
    return Beside(
        documents=tuple(sorted(again)),
        changed=tuple(name for name in sorted(again) if listed.get(name) != sha256_bytes(again[name])),
        not_written=tuple(not_written),
        strays=tuple(sorted(set(listed) - known - {*not_written, *templates})),
        templates=len(templates),
        power=POWER in listed,
    )


def templates_of(folder: Path, results: Results) -> Path | None:
    """Return a bundle's own templates where its study names some; others are none of it."""
    is_named = results.study["report"].get("template") is not None
    return folder / TEMPLATES if is_named and (folder / TEMPLATES).is_dir() else None


def _described(folder: Path, listed: Mapping[str, str], results: Results, documents: Sequence[str]) -> dict[str, bytes]:
    """Return what describes the bundle, written again; nothing for a description whose date cannot be read."""
    held = set(listed)
    with_images = any(f"{PREDICTIONS}/{one['file']}" in held for one in results.examples)
    text = readme(results, _in_order(folder, documents), f"{PREDICTIONS}/{INDEX}" in held, with_images)
    found = {README: text.encode(), ENVIRONMENT: environment_lock(results.provenance).encode(), METADATA: b""}
    try:
        date, code = bundled((folder / METADATA).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return found
    described = sorted(name for name in listed if name != METADATA)
    again = metadata(folder, described, results, documents=_in_order(folder, documents), date=date, code=code)
    return {**found, METADATA: again.encode()}


def _in_order(folder: Path, names: Sequence[str]) -> list[str]:
    """Return names in the order in which a folder is listed."""
    return [path.relative_to(folder).as_posix() for path in sorted(folder / name for name in names)]


def _registration(results: Results) -> set[str]:
    return set() if results.provenance.get("registration") is None else {REGISTRATION}


def _predictions(folder: Path, listed: Mapping[str, str], results: Results) -> set[str]:
    """Return what a bundle's predictions may hold: what their index lists, and the example images as recorded."""
    if f"{PREDICTIONS}/{INDEX}" not in listed:
        return set()
    index = read_json((folder / PREDICTIONS / INDEX).read_text(encoding="utf-8"))
    images = {f"{PREDICTIONS}/{one['file']}": one["sha256"] for one in results.examples}
    recorded = {name for name, digest in images.items() if listed.get(name) == digest}
    return {f"{PREDICTIONS}/{name}" for name in predicted(index)} | recorded


def _may_be_document(name: str) -> bool:
    """Whether a file of a bundle may have been written from its results."""
    others = {STUDY, RESULTS, ESTIMATES, REGISTRATION, POWER, ENVIRONMENT, README, METADATA, LEFT_OUT}
    return not (name in others or name.endswith(SUFFIX) or _is_in(name, PREDICTIONS) or _is_in(name, TEMPLATES))


def _is_in(name: str, folder: str) -> bool:
    return PurePosixPath(name).parts[0] == folder
