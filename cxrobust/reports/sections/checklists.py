"""Reporting checklists answered from the study, each item with where it is met, or who must say it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cxrobust.reports.checklists import Checklist, Shown, Verdict
from cxrobust.reports.checklists.claim import CLAIM
from cxrobust.reports.checklists.neurips import NEURIPS
from cxrobust.reports.checklists.robustness import ROBUSTNESS
from cxrobust.reports.checklists.stard_ai import STARD_AI
from cxrobust.reports.checklists.tripod_ai import TRIPOD_AI
from cxrobust.reports.sections import section, sections
from cxrobust.reports.view import View
from cxrobust.reports.words import listed

ALL = (CLAIM, TRIPOD_AI, STARD_AI, ROBUSTNESS, NEURIPS)
WORDS: Mapping[Verdict, str] = {
    "met": "met",
    "in part": "in part",
    "not met": "not met",
    "for the authors": "for the authors",
    "not applicable": "not applicable",
}
UNTITLED = {"answer": "Summary"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A section of the report that an item points to, or its first figure or table."""

    name: str
    title: str
    anchor: str
    """Of its heading in a PDF: a section may begin on the page before."""
    in_appendix: bool
    what: str
    """`Figure` or `Table`, which may stand on another page than the heading; empty for the section."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One item as it is printed."""

    number: str
    topic: str
    verdict: str
    places: tuple[Place, ...]
    why: str


@section("checklists", order=190, title="Checklists", documents=("report", "appendix"))
def checklists(view: View) -> Mapping[str, Any]:
    """Return every checklist that applies, answered."""
    shown = Shown(view=view, sections=_shown(view))
    found = [one for one in ALL if one.applies(view)]
    return {"checklists": [(one, _groups(one, shown), _summary(one, shown)) for one in found]}


def _shown(view: View) -> frozenset[str]:
    """Return the names of the sections that the report of a study holds."""
    known = (sections[name] for name in sections)
    return frozenset(one.name for one in known if "report" in one.documents and one.needs(view))


def _groups(checklist: Checklist, shown: Shown) -> list[tuple[str, list[Row]]]:
    return [(heading, [_row(item, shown) for item in items]) for heading, items in checklist.groups.items()]


def _row(item: Any, shown: Shown) -> Row:
    answer = item.reply(shown)
    places = tuple(
        Place(
            name=one.section,
            title=sections[one.section].title or UNTITLED.get(one.section, one.section),
            anchor=f"{one.section}-title" if sections[one.section].title else one.section,
            in_appendix="appendix" in sections[one.section].documents,
            what=one.what,
        )
        for one in answer.places
    )
    return Row(number=item.number, topic=item.topic, verdict=WORDS[answer.verdict], places=places, why=answer.why)


def _summary(checklist: Checklist, shown: Shown) -> str:
    """Count the answers: `Of 44 items: 14 met, 9 in part, ...`."""
    counts = Counter(item.reply(shown).verdict for item in checklist.items)
    parts = [f"{counts[verdict]} {words}" for verdict, words in WORDS.items() if counts[verdict]]
    return f"Of {len(checklist.items)} items: {listed(parts)}."
