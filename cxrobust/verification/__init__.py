"""Verification of a PDF by what it carries: hashes, estimates computed again, pages printed again.

The PDF may be a stranger's. `reading.py` reads it within limits, `recomputed.py` does the analysis again, `printed.py`
compares pages, and here the checks are put in order.
"""

import io
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast, get_args

import pikepdf

from cxrobust.differences import nested
from cxrobust.environment import environment_lock
from cxrobust.errors import CxrobustError, DataError
from cxrobust.files import sha256_bytes, sha256_file
from cxrobust.predictions import INDEX
from cxrobust.progress import Reporter, silent
from cxrobust.reports.document import Paper, figure_numbers
from cxrobust.reports.evidence import (
    ENVIRONMENT,
    ESTIMATES,
    EXAMPLES,
    MANIFEST,
    PREDICTIONS,
    RESULTS,
    STUDY,
    TEMPLATES,
    printed_with,
)
from cxrobust.reports.pdf import PangoError
from cxrobust.reports.render import print_again
from cxrobust.reports.sections import Kind
from cxrobust.reports.templating import check_folder as check_templates
from cxrobust.results import Results, estimates_text, read_results
from cxrobust.study import Study, parse_study
from cxrobust.verification.examples import differing_examples
from cxrobust.verification.printed import Comparison, compare
from cxrobust.verification.reading import Carried, carried, check_names, open_pdf, unzip
from cxrobust.verification.recomputed import TOLERANCE, check_folder, recompute, told
from cxrobust.verification.verdict import Check, Verdict, check, unchecked

OWN = "own-templates"
"""Where templates that a document carries are unpacked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Case:
    """What is known of the document while it is checked."""

    path: Path
    pdf: pikepdf.Pdf
    carried: Carried
    results: Results
    study: Study | None
    folder: Path
    """Where the attached predictions and images were unpacked."""
    given: Path | None
    """The folder of predictions that the reader gave."""
    templates: Path | None
    """The folder of templates that the reader gave, in place of those that the document carries."""

    @property
    def predictions(self) -> Path | None:
        """The folder of predictions to compute from: the reader's own before the attached one."""
        if self.given is not None:
            return self.given
        return self.folder if (self.folder / INDEX).is_file() else None


def verify(
    path: Path, *, predictions: Path | None = None, templates: Path | None = None, report: Reporter = silent
) -> Verdict:
    """Check a document that `cxrobust report` wrote, by what it carries and, where given, a folder of predictions.

    `templates` is the reader's own copy of the folder that the report was given by `--template`; without it the pages
    are printed again with the templates that the document carries.

    Raises
    ------
    DataError
        When the file is no PDF, carries nothing to check it by, or cannot be read within the limits.
    """
    with open_pdf(path) as pdf, tempfile.TemporaryDirectory(prefix="cxrobust-verify-") as name:
        held = carried(pdf, path)
        folder = Path(name)
        unpacked_checks = _unpack(held, folder, path)
        results = _read(held, folder, path)
        study, study_check = _study(held, results)
        case = _Case(
            path=path,
            pdf=pdf,
            carried=held,
            results=results,
            study=study,
            folder=folder,
            given=predictions,
            templates=None if templates is None else check_templates(templates),
        )
        checks = (
            _attachments(held),
            *unpacked_checks,
            study_check,
            _settings(study, results),
            _estimates(held, results),
            _environment(held, results),
            _hashes(case),
            _recomputed(case, report),
            *_examples(case),
            *_attack_checks(results),
            *_printed(case, report),
        )
    return Verdict(document=path.name, checks=checks)


def _unpack(held: Carried, folder: Path, path: Path) -> tuple[Check, ...]:
    """Unpack the attached zips; one that cannot be is a difference."""
    found = []
    for name, target in ((PREDICTIONS, folder), (EXAMPLES, folder), (TEMPLATES, folder / OWN)):
        if name in held.files:
            try:
                unzip(held.files[name], target, where=f"{path}: {name}")
            except DataError as error:
                found.append(check(name, "unpacking it", [str(error)]))
    return tuple(found)


def _read(held: Carried, folder: Path, path: Path) -> Results:
    file = folder / "attached-results.json"
    file.write_bytes(held.files[RESULTS])
    try:
        results = read_results(file)
        check_names((example["file"] for example in results.examples), where=f"{path}: {RESULTS}")
    except (TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{path}: its {RESULTS} is not whole ({error}): it was changed, or not written by cxrobust"
        ) from error
    except CxrobustError as error:
        raise DataError(f"{path}: its {str(error).replace(str(file), RESULTS)}") from error
    finally:
        file.unlink()
    return results


def _attachments(held: Carried) -> Check:
    listed = {
        str(one.get("name")): str(one.get("sha256")) for one in held.manifest["files"] if isinstance(one, Mapping)
    }
    wrong = [f"{name} stands more than once" for name in held.twice]
    wrong += [f"{name} is missing" for name in listed if name not in held.files]
    wrong += [f"{name} is not listed in {MANIFEST}" for name in held.files if name not in {*listed, MANIFEST}]
    wrong += [
        f"{name} is not the file that {MANIFEST} lists: its SHA-256 begins {sha256_bytes(held.files[name])[:12]}, "
        f"listed {digest[:12]}"
        for name, digest in listed.items()
        if name in held.files and sha256_bytes(held.files[name]) != digest
    ]
    return check("attachments", f"{len(listed)} files held against the hashes in {MANIFEST}", wrong)


def _study(held: Carried, results: Results) -> tuple[Study | None, Check]:
    """Read the attached study file, and hold it against what the results say of it."""
    content = held.files[STUDY]
    wrong = []
    if content.decode(errors="replace") != results.study_text:
        wrong.append(f"{STUDY} is not the study file that {RESULTS} holds")
    recorded = str(results.provenance.get("study_sha256"))
    if sha256_bytes(results.study_text.encode()) != recorded:
        wrong.append(f"the study file in {RESULTS} has not the hash that the results record, {recorded[:12]}…")
    said = f"{STUDY} is the one that {RESULTS} holds, with the hash that was recorded when it was run"
    try:
        study = parse_study(content.decode(), path=Path(STUDY))
    except (CxrobustError, UnicodeDecodeError) as error:
        return None, check("study", f"{said}; it cannot be read here", [*wrong, str(error)] if wrong else [])
    return study, check("study", said, wrong)


def _settings(study: Study | None, results: Results) -> Check:
    if study is None:
        return unchecked("settings", f"{STUDY} cannot be read here: a plug-in that it names may be missing")
    now = json.loads(json.dumps(study.settings()))
    found = told(nested(_by_name(results.study), _by_name(now), part="settings"))
    wrong = [f"{one.field}: {_cut(one.old)}, the study file gives {_cut(one.new)}" for one in found]
    return check("settings", f"those in {RESULTS}, defaults too, are what {STUDY} gives", wrong)


def _by_name(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with models by the last part of their path, which is all that is recorded of a folder at hand."""
    regimes = [
        {**one, "model": PurePosixPath(str(one["model"])).name or "."}
        if isinstance(one, Mapping) and one.get("model")
        else one
        for one in settings.get("regimes") or []
    ]
    return {**settings, "regimes": regimes}


def _cut(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _estimates(held: Carried, results: Results) -> Check:
    n = len(results.estimates)
    said = f"its {n:,} rows are those that {RESULTS} gives"
    if ESTIMATES not in held.files:
        return check(ESTIMATES, said, ["it is missing"])
    given = held.files[ESTIMATES].decode(errors="replace").splitlines()
    expected = estimates_text(results.estimates).splitlines()
    wrong = [
        f"row {number:,}: {_cut(one)}, expected {_cut(other)}"
        for number, (one, other) in enumerate(zip(given, expected, strict=False), start=1)
        if one != other
    ]
    if len(given) != len(expected):
        wrong.append(f"it has {len(given) - 1:,} rows, expected {len(expected) - 1:,}")
    return check(ESTIMATES, said, wrong)


def _environment(held: Carried, results: Results) -> Check:
    same = held.files.get(ENVIRONMENT, b"").decode(errors="replace") == environment_lock(results.provenance)
    return check(
        ENVIRONMENT,
        "its versions are those that the results record",
        [] if same else ["they are others, or it is missing"],
    )


def _hashes(case: _Case) -> Check:
    folder = case.predictions
    if folder is None:
        return unchecked("predictions", _without(case.carried))
    whose = f"in {folder}" if case.given is not None else "attached"
    try:
        check_folder(folder)
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except DataError as error:
        return check("predictions", whose, [_plain(error, folder)])
    wrong = []
    recorded = str(case.results.provenance.get("predictions_sha256"))
    if sha256_file(folder / INDEX) != recorded:
        wrong.append(f"{INDEX} is not the one that the results were computed from, whose hash begins {recorded[:12]}")
    n_files = 0
    for file, digest in _listed(index):
        n_files += 1
        if not (folder / file).is_file():
            wrong.append(f"{file} is missing")
        elif sha256_file(folder / file) != digest:
            wrong.append(f"{file} has not the hash that {INDEX} gives: it was changed or damaged")
    return check(
        "predictions",
        f"{n_files:,} files {whose}, held against the hashes in their index, and that against the results",
        wrong,
    )


def _listed(index: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for part, images in ((index, "images.parquet"), (index.get("validation") or {}, "validation.parquet")):
        if part:
            yield images, str(part.get("images_sha256"))
        for unit in part.get("units", []):
            yield unit["file"], str(unit.get("sha256"))
    for one in (index.get("scores") or {}).get("files", []):
        yield one["file"], str(one.get("sha256"))


def _without(held: Carried) -> str:
    why = str(held.manifest.get("without_predictions") or "they are missing")
    return f"none are attached ({why}): give them with --predictions DIR"


def _recomputed(case: _Case, report: Reporter) -> Check:
    n = len(case.results.estimates)
    if case.predictions is None:
        return unchecked("estimates", f"{n:,} estimates were not recomputed: there are no predictions")
    if case.study is None:
        return unchecked("estimates", f"{n:,} estimates were not recomputed: {STUDY} cannot be read here")
    try:
        again = recompute(case.results, case.study, case.predictions, report=report)
    except CxrobustError as error:
        return check("estimates", f"{n:,} estimates could not be recomputed", [_plain(error, case.predictions)])
    if again.is_exact:
        how = "all agree to the last digit"
    elif again.same_platform:
        how = "not all agree, though software and hardware are the same"
    else:
        how = f"compared to within {TOLERANCE:g}, since software or hardware is another"
    return check("estimates", f"{n:,} estimates recomputed from the predictions: {how}", again.differences)


def _examples(case: _Case) -> tuple[Check, ...]:
    """Hold what is said of example images, where there are some, against the predictions."""
    examples = case.results.examples
    if not examples:
        return ()
    n = f"{len(examples):,} example images"
    if case.predictions is None:
        return (unchecked("examples", f"the probabilities of {n} were not held against predictions: there are none"),)
    try:
        wrong = differing_examples(examples, case.predictions)
    except DataError as error:
        return (check("examples", n, [_plain(error, case.predictions)]),)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return (check("examples", n, [f"they or their predictions cannot be read ({error})"]),)
    return (check("examples", f"probabilities and labels of {n} held against the predictions", wrong),)


def _attack_checks(results: Results) -> tuple[Check, ...]:
    """Say of checks of the attack, where there are some, that no prediction gives them."""
    if not results.attack_checks:
        return ()
    return (
        unchecked(
            "attack checks and transfer",
            "they need the models and the images; here they were not made again",
        ),
    )


def _printed(case: _Case, report: Reporter) -> tuple[Check, ...]:
    manifest = case.carried.manifest
    kind, paper = manifest.get("document"), manifest.get("paper")
    if kind not in get_args(Kind) or paper not in get_args(Paper):
        return (_not_printed(f"{MANIFEST} names a document {kind!r} on {paper!r}, unknown here"),)
    given, here = manifest.get("printed_with"), printed_with()
    other = _other_versions(given if isinstance(given, Mapping) else {}, here)
    images = case.folder if EXAMPLES in case.carried.files else case.given
    own = case.folder / OWN if TEMPLATES in case.carried.files else None
    report("printing the pages again", 0, 1)
    try:
        content, document = print_again(
            case.results,
            kind=cast(Kind, kind),
            images=images,
            paper=cast(Paper, paper),
            templates=case.templates or own,
        )
        with pikepdf.open(io.BytesIO(content)) as expected:
            comparison = compare(case.pdf, expected, figures=figure_numbers(document), same_printer=not other)
    except PangoError:
        raise
    except CxrobustError as error:
        return (_not_printed(_plain(error, case.folder)),)
    except (
        RecursionError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        IndexError,
        ArithmeticError,
        pikepdf.PdfError,
    ) as error:
        return (_not_printed(f"the attached results cannot be printed ({type(error).__name__}: {error})"),)
    report("printing the pages again", 1, 1)
    return (
        *_said_of_pages(comparison, other),
        *(() if own is None or case.templates is not None else (_own_templates(own),)),
    )


def _own_templates(folder: Path) -> Check:
    n = sum(one.is_file() for one in folder.rglob("*"))
    return unchecked(
        "templates", f"{n:,} files of its own came before cxrobust's: read {TEMPLATES}, for they may say anything"
    )


def _not_printed(why: str) -> Check:
    return check("pages", "printing them again", [why])


def _other_versions(given: Mapping[str, Any], here: Mapping[str, str]) -> str:
    """Name what printed the document in another version than is here."""
    names = [name for name in dict.fromkeys((*given, *here)) if given.get(name) != here.get(name)]
    return ", ".join(f"{name} {str(given.get(name))[:20]}, here {str(here.get(name))[:20]}" for name in names)


def _said_of_pages(found: Comparison, other: str) -> tuple[Check, ...]:
    said = f"{found.n_pages} pages printed again from {RESULTS}: {found.n_same} are the same in every letter and point"
    if not found.by_words:
        return (check("pages", said, found.differences),)
    why = (
        f"{found.n_pages - found.n_same} pages were laid out by other versions ({other}): with those installed, what "
        "figures draw is compared too"
    )
    pages = check("pages", f"{said}, of the rest words and numbers were compared", found.differences)
    return (pages, unchecked("drawing", why))


def _plain(error: CxrobustError, folder: Path) -> str:
    """Return an error without the folder's path."""
    return str(error).replace(f"{folder}/", "").replace(str(folder), "predictions")
