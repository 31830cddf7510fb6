"""What is checked of one run that a document carries: its study, settings, estimates, versions and predictions."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cxrobust.differences import Difference, nested
from cxrobust.environment import environment_lock
from cxrobust.errors import CxrobustError, DataError
from cxrobust.files import read_json, sha256_bytes, sha256_file
from cxrobust.prediction_files import INDEX, parts_of
from cxrobust.progress import Reporter
from cxrobust.reports.evidence import ENVIRONMENT, ESTIMATES, EXAMPLES, PREDICTIONS, RESULTS, STUDY
from cxrobust.results import Results, estimates_text, parse_results
from cxrobust.study import Study, parse_study
from cxrobust.verification.planned import registration_checks
from cxrobust.verification.reading import MALFORMED, Carried, check_names, names_in, unzip
from cxrobust.verification.recomputed import agreement, check_folder, recompute
from cxrobust.verification.verdict import Check, check, unchecked


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """What a document carries of one run."""

    carried: Carried
    results: Results
    study: Study | None
    """None where the study file cannot be read here."""
    study_check: Check
    folder: Path
    """Where its attached predictions and images were unpacked."""
    given: Path | None
    """The folder of predictions that the reader gave."""

    @property
    def predictions(self) -> Path | None:
        """The folder of predictions to compute from: the reader's own before the attached one."""
        if self.given is not None:
            return self.given
        return self.folder if (self.folder / INDEX).is_file() else None


def read_ran(held: Carried, folder: Path, *, path: Path, given: Path | None) -> Ran:
    """Read results and study of a run; `folder` is where its attached predictions were unpacked.

    Raises
    ------
    DataError
        When the attached results are not whole.
    """
    results = _read(held, path)
    study, study_check = _study(held, results)
    return Ran(carried=held, results=results, study=study, study_check=study_check, folder=folder, given=given)


def checks_of(ran: Ran, report: Reporter) -> tuple[Check, ...]:
    """Hold what is carried of a run against its results, and its results against its predictions."""
    return (
        ran.study_check,
        _settings(ran.study, ran.results),
        _estimates(ran.carried, ran.results),
        _environment(ran.carried, ran.results),
        _hashes(ran),
        *_strays(ran),
        *_recomputed(ran, report),
        *registration_checks(ran.results, ran.study, ran.predictions),
    )


def own_word(*results: Results) -> Check:
    """Return the line on what results say of how they were made that nothing they were made from can show."""
    plans = [one.get("date") for run in results if isinstance(one := run.provenance.get("registration"), Mapping)]
    registered = f", as that the plan was registered on {' and '.join(str(date)[:40] for date in plans)}"
    return unchecked(
        "dates, machine, wall time and command",
        f"nothing shows them but what the document says{registered if plans else ''}",
    )


def unpack(held: Carried, targets: Mapping[str, Path], path: Path) -> tuple[Check, ...]:
    """Unpack attached zips, each into its folder; one that cannot be is a difference."""
    found = []
    for name, target in targets.items():
        if name in held.files:
            try:
                unzip(held.files[name], target, where=f"{path}: {name}")
            except DataError as error:
                found.append(check(name, "unpacking it", [str(error)]))
    return tuple(found)


def _read(held: Carried, path: Path) -> Results:
    try:
        results = parse_results(held.files[RESULTS].decode(), path=Path(RESULTS))
        check_names((example["file"] for example in results.examples), where=RESULTS)
    except CxrobustError as error:
        raise DataError(f"{path}: its {error}") from error
    except MALFORMED as error:
        raise DataError(
            f"{path}: its {RESULTS} is not whole ({error}): it was changed, or not written by cxrobust"
        ) from error
    return results


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
    found = differing_settings(study, results)
    wrong = [f"{one.field}: {_cut(one.old)}, the study file gives {_cut(one.new)}" for one in found]
    return check("settings", f"those in {RESULTS}, defaults too, are what {STUDY} gives", wrong)


def differing_settings(study: Study, results: Results) -> list[Difference]:
    """Return which settings of the results, defaults too, are others than the study file gives."""
    now = json.loads(json.dumps(study.settings()))
    return nested(by_name(results.study), by_name(now), part="settings")


def by_name(settings: Mapping[str, Any]) -> dict[str, Any]:
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


def _hashes(ran: Ran) -> Check:
    folder = ran.predictions
    if folder is None:
        return unchecked("predictions", _without(ran.carried))
    whose = f"in {folder}" if ran.given is not None else "attached"
    try:
        check_folder(folder)
        index = read_json((folder / INDEX).read_text(encoding="utf-8"))
    except DataError as error:
        return check("predictions", whose, [plain(error, folder)])
    wrong = []
    recorded = str(ran.results.provenance.get("predictions_sha256"))
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


def _strays(ran: Ran) -> tuple[Check, ...]:
    """Name files in attached zips that the index of predictions, or the results, do not list."""
    try:
        index = read_json((ran.folder / INDEX).read_text(encoding="utf-8"))
        predictions = {INDEX, *(file for file, _ in _listed(index))}
    except (OSError, *MALFORMED):
        predictions = {INDEX}  # what else is wrong with it is told where it is read
    zips: dict[str, tuple[set[Any], str]] = {
        PREDICTIONS: (predictions, f"its {INDEX}"),
        EXAMPLES: ({one.get("file") for one in ran.results.examples}, RESULTS),
    }
    found = []
    for name, (listed, by) in zips.items():
        more = sorted(set(names_in(ran.carried.files.get(name))) - listed)
        if more:
            wrong = [f"{one} is not listed in {by}" for one in more]
            found.append(check(name, f"it holds what {by} lists, and nothing else", wrong))
    return tuple(found)


def _listed(index: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for images, part in parts_of(index).items():
        yield images, str(part.get("images_sha256"))
        for unit in part.get("units", []):
            yield unit["file"], str(unit.get("sha256"))
    for one in (index.get("scores") or {}).get("files", []):
        yield one["file"], str(one.get("sha256"))


def _without(held: Carried) -> str:
    why = str(held.manifest.get("without_predictions") or "they are missing")
    return f"none are attached ({why}): give them with --predictions DIR"


def _recomputed(ran: Ran, report: Reporter) -> tuple[Check, ...]:
    n = len(ran.results.estimates)
    if ran.predictions is None:
        return (unchecked("estimates", f"{n:,} estimates were not recomputed: there are no predictions"),)
    if ran.study is None:
        unread = f"{STUDY} cannot be read here: it was changed, or a plug-in that it names is missing"
        return (check("estimates", f"{n:,} estimates could not be recomputed from the predictions", [unread]),)
    try:
        again = recompute(ran.results, ran.study, ran.predictions, report=report)
    except CxrobustError as error:
        return (check("estimates", f"{n:,} estimates could not be recomputed", [plain(error, ran.predictions)]),)
    except MALFORMED as error:
        return (check("estimates", f"{n:,} estimates could not be recomputed", [f"{type(error).__name__}: {error}"]),)
    how = agreement(is_exact=again.is_exact, same_platform=again.same_platform)
    without = (
        unchecked(name.replace("_", " "), f"{RESULTS} has none, though the predictions do") for name in again.left_out
    )
    return (
        check("estimates", f"{n:,} estimates recomputed from the predictions: {how}", again.differences),
        *without,
    )


def plain(error: CxrobustError, folder: Path) -> str:
    """Return an error without the folder's path."""
    return str(error).replace(f"{folder}/", "").replace(str(folder), "predictions")
