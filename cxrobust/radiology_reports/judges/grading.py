"""Grades of a report against its reference, by name: what a judge of kind `score` and a simulated person go by."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from pydantic import ValidationError

from cxrobust.errors import StudyError, nearest
from cxrobust.radiology_reports.judges import NO_REFERENCE, Case
from cxrobust.radiology_reports.labeler import Label, label_report, plain, speaks_english
from cxrobust.radiology_reports.scores import Pairs, each, measured, scorer


@dataclass(frozen=True, kw_only=True, slots=True)
class Grade:
    """The grade of one report, higher being better, or why there is none."""

    value: float | None
    why: str = ""


Grader = Callable[[Sequence[str], Sequence[str]], list[Grade]]
"""Candidates and their references, as many of each, to grades."""


def grades_of(cases: Sequence[Case], score: str) -> list[list[Grade]]:
    """Return the grade of each text of each case; without a reference there is none."""
    grade = grader(score)
    with_reference = [(case.reference, text) for case in cases if case.reference is not None for text in case.texts]
    found = iter(grade([text for _, text in with_reference], [reference for reference, _ in with_reference]))
    missing = Grade(value=None, why=NO_REFERENCE)
    return [[missing if case.reference is None else next(found) for _ in case.texts] for case in cases]


def grader(name: str) -> Grader:
    """Return how reports are graded by the score of that name.

    Raises
    ------
    StudyError
        When there is none.
    """
    if name not in GRADERS:
        if is_score(name):
            return partial(_by_score, name)
        known = ", ".join(sorted(GRADERS))
        raise StudyError(f"unknown score {name!r}{nearest(name, GRADERS)}: known are {known}, and cxrobust list scores")
    return GRADERS[name]


def is_score(name: str) -> bool:
    """Whether a name is a score of `cxrobust.radiology_reports.scores` that grades, and needs no settings."""
    try:
        scorers, measure = measured(name)
        for one in scorers:
            scorer[one]()
    except (KeyError, ValidationError):
        return False
    return measure.better is not None


def _by_score(name: str, candidates: Sequence[str], references: Sequence[str]) -> list[Grade]:
    """Return a score of each report alone, less than 0 where less is better."""
    scorers, measure = measured(name)
    pairs = Pairs(
        ids=tuple(map(str, range(len(candidates)))), candidates=tuple(candidates), references=tuple(references)
    )
    scored = [scorer[one]().score(pairs) for one in scorers]
    values = each(measure, {column: found for one in scored for column, found in one.columns.items()})
    why = [next((one.reasons[i] for one in scored if one.reasons[i]), None) for i in range(len(candidates))]
    sign = 1 if measure.better == "higher" else -1
    return [
        Grade(value=None, why=said or measure.undefined)
        if said or np.isnan(value)
        else Grade(value=float(sign * value))
        for value, said in zip(values, why, strict=True)
    ]


def known_graders() -> tuple[str, ...]:
    """Return the names of all grades."""
    return tuple(sorted(GRADERS))


def _labeler_f1(candidates: Sequence[str], references: Sequence[str]) -> list[Grade]:
    return [_one_f1(one, other) for one, other in zip(candidates, references, strict=True)]


def _one_f1(candidate: str, reference: str) -> Grade:
    """Return 2 TP / (2 TP + FP + FN) of the observations that the labeler finds affirmed or doubted in each."""
    mine, wanted = _stated(candidate), _stated(reference)
    for stated, text, whose in ((mine, candidate, "a report"), (wanted, reference, "a reference")):
        if not stated:
            return Grade(value=None, why=f"{whose} that is {'not English' if text.strip() else 'empty'}")
    return Grade(value=2 * len(mine & wanted) / (len(mine) + len(wanted)))


@lru_cache(maxsize=4096)
def _stated(text: str) -> frozenset[str]:
    """Return the observations that a report affirms or doubts, `No Finding` where there are none; nothing of no report.

    Nor of one that is not English.
    """
    if not text.strip() or not speaks_english(text):
        return frozenset()
    return frozenset(name for name, label in label_report(text).items() if label is not Label.NEGATIVE)


def _word_overlap(candidates: Sequence[str], references: Sequence[str]) -> list[Grade]:
    return [_one_overlap(one, other) for one, other in zip(candidates, references, strict=True)]


def _one_overlap(candidate: str, reference: str) -> Grade:
    """Return 2 |words in common| / (words of one + words of the other), each word as often as it stands in both."""
    mine, wanted = Counter(plain(candidate).split()), Counter(plain(reference).split())
    if not mine or not wanted:
        return Grade(value=None, why="an empty report" if not mine else "an empty reference")
    return Grade(value=2 * sum((mine & wanted).values()) / (mine.total() + wanted.total()))


GRADERS: dict[str, Grader] = {"labeler-f1": _labeler_f1, "word-overlap": _word_overlap}
