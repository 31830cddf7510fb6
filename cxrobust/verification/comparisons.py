"""What is checked of a comparison of two runs: each run as in its report, the paired test again, the pages again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pikepdf

from cxrobust.comparison.document import print_again
from cxrobust.comparison.evidence import (
    COMPARISON,
    PAIRED,
    SIDE_BY_SIDE,
    SIDES,
    Recorded,
    of_side,
    read_recorded,
)
from cxrobust.comparison.parts import estimates_csv
from cxrobust.comparison.runs import Paired, Run, paired
from cxrobust.differences import Difference, estimate_differences, nested
from cxrobust.environment import this_machine
from cxrobust.errors import CxrobustError, DataError
from cxrobust.files import sha256_file
from cxrobust.predictions import INDEX, load_predictions
from cxrobust.progress import Reporter
from cxrobust.reports.document import Document, Paper
from cxrobust.reports.evidence import PREDICTIONS, TEMPLATES
from cxrobust.results import as_json, estimates_text
from cxrobust.verification.ran import Ran, checks_of, own_word, plain, read_ran, unpack
from cxrobust.verification.reading import MALFORMED, Carried, of_run
from cxrobust.verification.recomputed import TOLERANCE, agreement, check_folder, rounding, said
from cxrobust.verification.reprinted import OWN, page_checks
from cxrobust.verification.verdict import Check, check, unchecked

BOTH = "both results"
WHAT = "paired comparison"


def comparison_checks(
    pdf: pikepdf.Pdf,
    held: Carried,
    folder: Path,
    *,
    path: Path,
    given: Sequence[Path],
    templates: Path | None,
    report: Reporter,
) -> tuple[Check, ...]:
    """Check a comparison by what it carries of both runs; `given` are folders of predictions of the reader's own."""
    targets = {of_side(side, PREDICTIONS): folder / side for side in SIDES}
    unpacking = unpack(held, {**targets, TEMPLATES: folder / OWN}, path)
    try:
        recorded = read_recorded(held.files[COMPARISON])
    except DataError as error:
        raise DataError(f"{path}: its {error}") from error
    ran = {side: read_ran(of_run(held, side), folder / side, path=path, given=None) for side in SIDES}
    ran, strangers = _with_given(ran, given)
    found = [replace(one, what=f"{side} run, {one.what}") for side in SIDES for one in checks_of(ran[side], report)]
    runs = [
        Run(name=recorded.names[side], results=ran[side].results, predictions=None, why_not=recorded.why_not[side])
        for side in SIDES
    ]

    def again(paper: Paper, own: Path | None) -> tuple[bytes, Document]:
        old, new = runs
        return print_again(old, new, recorded.paired, paper=paper, templates=own)

    return (
        *unpacking,
        *strangers,
        *found,
        *_tables(held, runs, recorded),
        _paired(ran, runs, recorded, report),
        *page_checks(pdf, held, print_again=again, made_from=BOTH, folder=folder, templates=templates, report=report),
        own_word(*(one.results for one in ran.values())),
    )


def _with_given(ran: Mapping[str, Ran], given: Sequence[Path]) -> tuple[dict[str, Ran], tuple[Check, ...]]:
    """Give each run the reader's folder whose index its results name; folders of neither run are a difference."""
    found, strangers = dict(ran), []
    for folder in given:
        try:
            digest = sha256_file(folder / INDEX)
        except OSError as error:
            raise DataError(f"{folder / INDEX}: {error.strerror}: give the folder of predictions") from error
        sides = [side for side in SIDES if ran[side].results.provenance.get("predictions_sha256") == digest]
        for side in sides:
            found[side] = replace(found[side], given=folder)
        if not sides:
            strangers.append(f"{folder}: its {INDEX} is not the one that either run's results were computed from")
    return found, (check("given predictions", "held against both runs", strangers),) if strangers else ()


def _tables(held: Carried, runs: Sequence[Run], recorded: Recorded) -> tuple[Check, ...]:
    """Hold the tables that are attached as CSV against what they were made from."""
    old, new = runs
    expected = {SIDE_BY_SIDE: (estimates_csv(old, new), BOTH)}
    if recorded.paired.estimates:
        expected[PAIRED] = (estimates_text(recorded.paired.estimates), COMPARISON)
    return tuple(
        check(
            name,
            f"its {text.count(chr(10)) - 1:,} rows are those that {source} {'give' if source == BOTH else 'gives'}",
            [] if held.files.get(name) == text.encode() else ["they are others, or it is missing"],
        )
        for name, (text, source) in expected.items()
    )


def _paired(ran: Mapping[str, Ran], runs: Sequence[Run], recorded: Recorded, report: Reporter) -> Check:
    """Make the paired test again, and compare it field by field."""
    n = len(recorded.paired.estimates)
    old, new = runs
    if any(recorded.why_not.values()):
        why = "predictions were not at hand when the document was made"
        if recorded.paired != paired(old, new):
            return check(WHAT, why, [f"{COMPARISON} holds a test all the same, or another reason why there is none"])
        return unchecked(WHAT, f"the document holds no paired test, for {why}")
    folders = {side: folder for side in SIDES if (folder := ran[side].predictions) is not None}
    missing = [side for side in SIDES if side not in folders]
    if missing:
        return unchecked(
            WHAT, f"its {n:,} estimates were not recomputed: there are no predictions of the {missing[0]} run"
        )
    try:
        again = _again(ran, folders, report)
        exact = _differences(recorded.paired, again)
        is_same = rounding(recorded.machine) == rounding(json.loads(json.dumps(this_machine())))
        found = exact if is_same else _differences(recorded.paired, again, tolerance=TOLERANCE)
    except CxrobustError as error:
        told = str(error)
        for side in SIDES:
            told = plain(DataError(told), folders[side])
        return check(WHAT, f"{n:,} estimates could not be recomputed", [told])
    except MALFORMED as error:
        return check(WHAT, f"{n:,} estimates could not be recomputed", [f"{type(error).__name__}: {error}"])
    how = agreement(is_exact=not exact, same_platform=is_same)
    return check(
        WHAT, f"{n:,} estimates recomputed from the predictions of both runs: {how}", [said(one) for one in found]
    )


def _differences(stated: Paired, again: Paired, *, tolerance: float = 0.0) -> list[Difference]:
    """Return where two paired comparisons differ, estimate by estimate."""
    bare = [json.loads(as_json(replace(one, estimates=()))) for one in (stated, again)]
    return [
        *nested(*bare, part="", tolerance=tolerance),
        *estimate_differences(stated.estimates, again.estimates, part="", tolerance=tolerance),
    ]


def _again(ran: Mapping[str, Ran], folders: Mapping[str, Path], report: Reporter) -> Paired:
    runs = []
    for side, folder in folders.items():
        check_folder(folder)
        runs.append(Run(name=side, results=ran[side].results, predictions=load_predictions(folder), why_not=""))
    old, new = runs
    return paired(old, new, report=report)
