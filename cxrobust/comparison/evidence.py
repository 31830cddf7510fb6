"""What the PDF of a comparison carries so that a reader can check it: the evidence of both runs, and the paired test."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cxrobust.comparison.runs import NEW, OLD, Paired, Run
from cxrobust.environment import this_machine
from cxrobust.errors import DataError
from cxrobust.files import read_json
from cxrobust.reports.archive import Attachment, Packed, pack
from cxrobust.reports.document import Document, Paper
from cxrobust.reports.evidence import evidence, of_estimates, of_results, templates_of, with_manifest
from cxrobust.results import Estimate, as_json, estimates_text, results_text

NAME = "comparison"
COMPARISON, SIDE_BY_SIDE, PAIRED = f"{NAME}.json", f"{NAME}.csv", f"{NAME}-paired.csv"
SIDES = (OLD, NEW)
FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """What a comparison said that neither run's results hold."""

    names: Mapping[str, str]
    """What each run, `old` and `new`, is called."""
    why_not: Mapping[str, str]
    """Why its predictions were not at hand; empty where they were."""
    paired: Paired
    machine: Mapping[str, Any]
    """The software and hardware that made the paired test."""


def of_side(side: str, name: str) -> str:
    """Return the name of a run's attachment: `old-results.json`."""
    return f"{side}-{name}"


def attachments(
    old: Run, new: Run, paired: Paired, *, document: Document, side_by_side: str, paper: Paper
) -> tuple[Packed, ...]:
    """Return all that the PDF carries: of both runs what their reports carry, the paired test, and the tables as CSV."""
    held = [
        Attachment(
            name=COMPARISON,
            content=_recorded(old, new, paired).encode(),
            mime="application/json",
            description="The paired comparison of the two runs, and what they are called here",
            relationship="Source",
        ),
        _csv(SIDE_BY_SIDE, side_by_side, "Every estimate of both runs, side by side"),
    ]
    if paired.estimates:
        held.append(_csv(PAIRED, estimates_text(paired.estimates), "All estimates of the paired comparison, one a row"))
    without = {}
    for side, run in zip(SIDES, (old, new), strict=True):
        gathered = evidence(run.results, folder=run.folder)
        without[side] = run.why_not or gathered.without_predictions
        of_run = (*gathered.attachments, of_results(results_text(run.results)), of_estimates(run.results))
        held += [
            replace(
                one,
                name=of_side(side, one.name),
                description=f"Of the {side} run. {one.description.replace('this document', 'this run')}",
            )
            for one in of_run
        ]
    held += templates_of(document.templates)
    return with_manifest([pack(one) for one in held], kind=NAME, paper=paper, without_predictions=without)


def _csv(name: str, text: str, description: str) -> Attachment:
    return Attachment(name=name, content=text.encode(), mime="text/csv", description=description, relationship="Data")


def _recorded(old: Run, new: Run, paired: Paired) -> str:
    sides = {side: {"name": run.name, "why_not": run.why_not} for side, run in zip(SIDES, (old, new), strict=True)}
    parts = {"format": FORMAT, **sides, "paired": json.loads(as_json(paired)), "machine": this_machine()}
    return json.dumps(parts, indent=1, ensure_ascii=False) + "\n"


def read_recorded(content: bytes) -> Recorded:
    """Read what a comparison said, of a stranger's file.

    Raises
    ------
    DataError
        When it is not whole.
    """
    try:
        read = read_json(content)
        if read["format"] != FORMAT:
            raise DataError(f"{COMPARISON} is not of format {FORMAT}: check it with the version that wrote it")
        paired = read["paired"]
        lists = {name: tuple(map(str, paired[name])) for name in ("unchanged", "notes")}
        estimates = tuple(Estimate(**row) for row in paired["estimates"])
        return Recorded(
            names={side: str(read[side]["name"]) for side in SIDES},
            why_not={side: str(read[side]["why_not"]) for side in SIDES},
            paired=Paired(**{**paired, **lists, "estimates": estimates}),
            machine=dict(read["machine"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(f"{COMPARISON} is not whole ({error}): it was changed, or not written by cxrobust") from error
