"""A finished run as one folder or zip that a journal's or an archive's reviewer opens and reproduces."""

import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cxrobust import __version__
from cxrobust.bundles import ENVIRONMENT, POWER, README, REGISTRATION, STUDY, TEMPLATES
from cxrobust.bundles.crate import METADATA, Code, metadata
from cxrobust.bundles.unpacking import MANIFEST, files_of, manifest_text
from cxrobust.documents import named_template
from cxrobust.documents import report as write_documents
from cxrobust.environment import commit, environment_lock
from cxrobust.errors import DataError, StudyError, counted
from cxrobust.files import atomic_write, sha256_file
from cxrobust.left_out import write_left_out
from cxrobust.prediction_files import INDEX, parts_of
from cxrobust.predictions.scores import listed_scores
from cxrobust.registration import read_registration
from cxrobust.reports.archive import source_date
from cxrobust.reports.evidence import says_not_to_attach
from cxrobust.reports.markdown import markdown
from cxrobust.results import ESTIMATES, PREDICTIONS, RESULTS, Results, read_results, write_estimates, write_results

FOLDER, ZIP = "bundle", "bundle.zip"
MADE = ("phantoms",)
"""Kinds of data whose images are drawn, so that they are no patient's."""
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What goes into a bundle beside what always does; None where the kind of data decides."""

    predictions: bool | None = None
    """Else where the study attaches them to its PDF: where its data are public, or it says so."""
    images: bool | None = None
    """Example images, also those in the documents; else of images that are drawn alone."""


def bundle(
    out: Path,
    target: Path,
    *,
    wanted: Wanted,
    as_zip: bool,
    say: Callable[[str], None] = lambda message: None,
) -> Path:
    """Write the run in `out` as an RO-Crate to `target`, a folder or a zip; return it.

    The documents are written anew from the results, so that they show what the bundle holds. The same run gives the
    same bytes; the date of publication is that of SOURCE_DATE_EPOCH, else that of the results file.

    Raises
    ------
    DataError
        When the results cannot be read, or the predictions beside them are not theirs.
    StudyError
        When `target` is there and no bundle, or holds the run.
    """
    results = read_results(out / RESULTS)
    _refuse_other(target, as_zip)
    if out.resolve().is_relative_to(target.resolve()):
        raise StudyError(f"{target}: the run itself is there, and would be written over: name another place by --out")
    with_predictions = _choose_predictions(results, wanted.predictions, say)
    with_images = wanted.images if wanted.images is not None else _kind(results) in MADE
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".cxrobust-bundle-") as made:
        folder = Path(made) / FOLDER
        folder.mkdir()
        _fill(folder, out, results, with_predictions, with_images, say)
        if as_zip:
            atomic_write(target, lambda temporary: _zip(folder, temporary))
        else:
            if target.exists():
                shutil.rmtree(target)
            folder.rename(target)
    return target


def _fill(
    folder: Path, out: Path, results: Results, with_predictions: bool, with_images: bool, say: Callable[[str], None]
) -> None:
    (folder / STUDY).write_bytes(results.study_text.encode())
    if with_images or not results.generated_reports:
        shutil.copyfile(out / RESULTS, folder / RESULTS)
    else:  # reports are of patients as images are
        write_results(replace(results, generated_reports=()), folder / RESULTS)
    write_estimates(results.estimates, folder / ESTIMATES)
    (folder / ENVIRONMENT).write_text(environment_lock(results.provenance), encoding="utf-8")
    if (out / POWER).is_file():
        shutil.copyfile(out / POWER, folder / POWER)
    _copy_registration(results, out, folder)
    if with_predictions:
        _copy_predictions(results, out / PREDICTIONS, folder / PREDICTIONS, with_images, say)
        write_left_out(folder / PREDICTIONS, folder)
    template = named_template(results.study["report"].get("template"), out / RESULTS)
    if template is not None:
        shutil.copytree(template, folder / TEMPLATES)
    before = set(files_of(folder))
    write_documents(
        folder / RESULTS, folder, template=folder / TEMPLATES if template is not None else None, say=say, keep=False
    )
    documents = [name for name in files_of(folder) if name not in before]
    (folder / README).write_text(readme(results, documents, with_predictions, with_images), encoding="utf-8")
    licence, authors = results.study["study"].get("licence"), results.study["study"].get("authors")
    if licence is None:
        say("the study file states no licence: add licence = ... to [study]; without one nobody may reuse a bundle")
    if not authors:
        say("the study file states no authors: add authors = [...] to [study]")
    files = sorted([*files_of(folder), METADATA])
    text = metadata(
        folder,
        [name for name in files if name != METADATA],
        results,
        documents=documents,
        date=_date(out),
        code=Code(version=__version__, commit=commit()),
    )
    (folder / METADATA).write_text(text, encoding="utf-8")
    (folder / MANIFEST).write_text(manifest_text(folder, files), encoding="utf-8")


def _refuse_other(target: Path, as_zip: bool) -> None:
    if not target.exists() or (as_zip and zipfile.is_zipfile(target)) or (target / METADATA).is_file():
        return
    if not (target.is_dir() and not any(target.iterdir())) or as_zip:
        raise StudyError(f"{target}: it is there and no bundle: name another place by --out, or remove it first")


def _kind(results: Results) -> str:
    return str(results.study["data"].get("kind", ""))


def _choose_predictions(results: Results, wanted: bool | None, say: Callable[[str], None]) -> bool:
    if wanted is not None:
        return wanted
    if results.study["report"].get("attach_predictions"):
        return True
    held = f"ids, labels and metadata of {results.data['name']}"
    why = (
        f"since the study says attach_predictions = false in [report]; they hold {held}"
        if says_not_to_attach(results)
        else f"since they hold {held}, which is not known to be public"
    )
    say(f"predictions are left out, {why}: add --predictions if its licence lets you share them")
    return False


def _copy_registration(results: Results, out: Path, folder: Path) -> None:
    recorded = results.provenance.get("registration")
    if recorded is None:
        return
    path = out / recorded["file"]
    if read_registration(path).sha256 != recorded["sha256"]:
        raise DataError(f"{path}: not the registration that the results were held against: run cxrobust analyze again")
    shutil.copyfile(path, folder / REGISTRATION)


def _copy_predictions(
    results: Results, source: Path, target: Path, with_images: bool, say: Callable[[str], None]
) -> None:
    """Copy what the analysis reads, and no pixels but those of example images that are wanted."""
    index = source / INDEX
    if not index.is_file():
        raise DataError(f"{index}: the predictions are missing: put them there, or bundle with --no-predictions")
    if sha256_file(index) != results.provenance.get("predictions_sha256"):
        raise DataError(
            f"{source}: not the predictions that the results were computed from: run cxrobust analyze again"
        )
    names = predicted(json.loads(index.read_text(encoding="utf-8")))
    if with_images:
        names += [one["file"] for one in results.examples]
    for name in names:
        if not (source / name).is_file():
            raise DataError(f"{source / name}: the file is missing: run cxrobust predict and analyze again")
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)
    if with_images and results.examples and _kind(results) not in MADE:
        say(f"the bundle holds {len(results.examples):,} example images: see that their licence lets you share them")


def predicted(index: Mapping[str, Any]) -> list[str]:
    """Return the files of a folder of predictions that an analysis reads, its index first."""
    units = [unit["file"] for part in parts_of(index).values() for unit in part.get("units", [])]
    return [INDEX, *parts_of(index), *units, *(file for file, _ in listed_scores(index))]


def _date(out: Path) -> str:
    stated = source_date() or datetime.fromtimestamp((out / RESULTS).stat().st_mtime, UTC)
    return stated.strftime("%Y-%m-%d")


def _zip(folder: Path, target: Path) -> None:
    """Write a zip that is the same for the same files: in order, without dates."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in sorted(files_of(folder)):
            entry = zipfile.ZipInfo(name, _ZIP_DATE)
            entry.external_attr, entry.create_system, entry.compress_type = 0o100644 << 16, 3, zipfile.ZIP_DEFLATED
            with (folder / name).open("rb") as source, archive.open(entry, "w") as written:
                shutil.copyfileobj(source, written)


def readme(results: Results, documents: Sequence[str], with_predictions: bool, with_images: bool) -> str:
    """Return what a bundle holds and how to reproduce it, as Markdown; `documents` are those in it, in order."""
    data = results.data
    patients = "" if "patients_known" in data else f" of {counted(data['n_patients'], 'patient')}"
    of_data = f"{markdown(str(data['name']))}: {counted(data['n_images'], 'image')}{patients}."
    lines = [
        f"# {markdown(str(results.study['study']['title']))}",
        "",
        f"An RO-Crate 1.2 of a study made with cxrobust. Data: {of_data}",
        "",
        f"- `{STUDY}`: the study file",
        f"- `{RESULTS}`, `{ESTIMATES}`: every number",
        f"- `{ENVIRONMENT}`: versions of the software that made them",
        *(f"- `{name}`: written from `{RESULTS}`" for name in documents if "/" not in name),
    ]
    if with_predictions:
        lines += [
            f"- `{PREDICTIONS}/`: the predictions, with the images’ and patients’ ids, labels and metadata"
            f"{', and example images' if with_images and results.examples else '; no image'}",
            "",
            "To compute every estimate and document again and see whether they come out the same:",
            "",
            "    cxrobust reproduce .",
        ]
    else:
        lines += [
            "",
            "The predictions are not part of it. With them at hand:",
            "",
            "    cxrobust reproduce . --predictions DIR",
        ]
    lines += ["", f"`sha256sum -c {MANIFEST}` checks every file.", ""]
    return "\n".join(lines)
