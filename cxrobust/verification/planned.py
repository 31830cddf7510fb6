"""Whether what results say of a registered plan is what its content, the study and the predictions give."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cxrobust.differences import nested
from cxrobust.errors import CxrobustError
from cxrobust.files import read_json
from cxrobust.prediction_files import INDEX
from cxrobust.predictions import registration_of
from cxrobust.registration import Registration, frozen_hash
from cxrobust.registration.planned import compared
from cxrobust.results import Results, as_json
from cxrobust.study import Study
from cxrobust.verification.reading import MALFORMED
from cxrobust.verification.recomputed import check_folder
from cxrobust.verification.verdict import Check, check, unchecked

WHAT = "registration"
FROZEN = ("date", "cxrobust", "study", "study_sha256", "plan", "inputs")
"""What the hash of a registration is made of, as the results repeat it."""
MOST_SAID = 80


def registration_checks(results: Results, study: Study | None, folder: Path | None) -> tuple[Check, ...]:
    """Make again what the results say of a registered plan; `folder` holds the predictions, where there are some."""
    stated = results.provenance.get("registration")
    units = None if folder is None else _units(folder)
    if stated is None:
        return _without_a_plan(study, units)
    said = "its hash made again from its content"
    try:
        wrong = [*_of_hash(stated)]
        if study is None:
            not_made = "deviations were not made again: the study file cannot be read here"
            return check(WHAT, said, wrong), unchecked("deviations from the plan", not_made)
        wrong += _of_run(stated, results, study, units)
        wrong += [] if folder is None or units is None else _of_files(folder, units)
    except MALFORMED as error:
        return (check(WHAT, said, [f"it is not whole ({type(error).__name__}: {error})"]),)
    if units is None:
        why = "which predictions carry the plan's hash was not counted: there are none to read"
        return check(WHAT, f"{said}, and deviations from the study file", wrong), unchecked(
            "registered predictions", why
        )
    n = sum(one.get("registration") == stated["sha256"] for one in units)
    carrying = f"{n:,} of {len(units):,} files of predictions carry it"
    return (check(WHAT, f"{said}, deviations from the study file; {carrying}", wrong),)


def _units(folder: Path) -> Sequence[Mapping[str, Any]] | None:
    """Return what the index says of each file of predictions; None where it cannot be read, which is told elsewhere."""
    try:
        check_folder(folder)
        found: Sequence[Mapping[str, Any]] = read_json((folder / INDEX).read_text(encoding="utf-8"))["units"]
    except (CxrobustError, *MALFORMED):
        return None
    return found


def _without_a_plan(study: Study | None, units: Sequence[Mapping[str, Any]] | None) -> tuple[Check, ...]:
    if study is not None and study.study.registration is not None:
        named = f"the study file names {study.study.registration}, and the results say of no plan"
        return (check(WHAT, "the registered plan that the study file names", [named]),)
    carried = sorted({str(one["registration"])[:12] for one in units or () if one.get("registration") is not None})
    if not carried:
        return ()
    hashes = ", ".join(carried)
    return (unchecked(WHAT, f"predictions carry the hash of a plan ({hashes}), of which the results say nothing"),)


def _of_hash(stated: Mapping[str, Any]) -> Iterator[str]:
    missing = [name for name in FROZEN if name not in stated]
    if missing:
        yield f"the results do not say its {', '.join(missing)}, so that its hash cannot be made again"
    elif frozen_hash({name: stated[name] for name in FROZEN}) != stated["sha256"]:
        yield f"its date, plan or files were changed: they do not give the hash {str(stated['sha256'])[:12]}"


def _of_run(
    stated: Mapping[str, Any], results: Results, study: Study, units: Sequence[Mapping[str, Any]] | None
) -> Iterator[str]:
    """Tell where deviations, planned estimates and predictions are others than the plan and the run give."""
    frozen: dict[str, Any] = {name: stated.get(name) for name in (*FROZEN, "sha256")}
    again = compared(
        Registration(**frozen),
        study,
        estimates=results.estimates,
        data=results.data,
        regimes=results.regimes,
        units=units or (),
        file=stated["file"],
    )
    for part in ("deviations", "estimates", *(("predictions",) if units is not None else ())):
        for one in nested(stated.get(part), json.loads(as_json(again[part])), part=part):
            where = ", ".join(filter(None, (one.part, one.field)))
            yield f"{where}: {_cut(one.old)}, made again {_cut(one.new)}"


def _of_files(folder: Path, units: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Tell files that carry another hash than the index says."""
    for one in units:
        try:
            carried = registration_of(folder / one["file"])
        except (OSError, *MALFORMED):
            continue  # a damaged file is told where its hash is compared
        if carried != one.get("registration"):
            yield f"{one['file']} carries {_cut(carried)}, {INDEX} says {_cut(one.get('registration'))}"


def _cut(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MOST_SAID else f"{text[: MOST_SAID - 3]}..."
