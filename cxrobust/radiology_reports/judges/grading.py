"""Grades of a report against its reference, by name: what a judge of kind `score` and a simulated person go by."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from pydantic import Field, ValidationError, ValidationInfo, field_validator

from cxrobust.errors import nearest
from cxrobust.files import sha256_json, sha256_modules
from cxrobust.radiology_reports.findings import why_unread
from cxrobust.radiology_reports.judges import NO_REFERENCE, Case, Desk, Judge
from cxrobust.radiology_reports.judges.kept import Kept
from cxrobust.radiology_reports.labeler import Label, label_report, plain
from cxrobust.radiology_reports.scores import Pairs, Scorer, each, measured, scorer


@dataclass(frozen=True, kw_only=True, slots=True)
class Grade:
    """The grade of one report, higher being better, or why there is none."""

    value: float | None
    why: str = ""


_RULES = (__name__, *(f"cxrobust.radiology_reports.{name}" for name in ("judges", "findings", "labeler", "phrases")))
"""Modules that decide what is said of the same grades, or that grade by rules of ours."""
Grader = Callable[[Sequence[str], Sequence[str]], list[Grade]]
"""Candidates and their references, as many of each, to grades."""
AT_ONCE = 256
"""Reports that are scored together, of which a killed run does all again."""


class GradingJudge(Judge):
    """A judge that goes by a score of each report against its reference."""

    score: str
    """`labeler-f1`, `word-overlap`, or a measure of reports; its scorer has the settings of `[scores.NAME]`."""
    tie: float = Field(default=0.0, ge=0)
    """Scores that differ by no more are equal."""

    @property
    def needs_references(self) -> bool:
        """Whether it judges no report of an image without a reference."""
        return True

    @field_validator("score")
    @classmethod
    def _is_known(cls, value: str, info: ValidationInfo) -> str:
        _scorers(value, (info.context or {}).get("scorers", {}))
        return value

    def scorers(self) -> dict[str, Scorer]:
        """Return what scores, with the study's settings; nothing where a grade of our own does."""
        return _scorers(self.score, self._scorers)

    def identity(self) -> dict[str, Any]:
        """Return the settings, a hash of the rules' source, and all that a scorer's scores depend on."""
        scorers = [one.identity(name) for name, one in self.scorers().items()]
        source = sha256_json(sha256_modules((*_RULES, type(self).__module__)))
        return {**super().identity(), "source": source, **({"scorers": scorers} if scorers else {})}

    def grades(self, cases: Sequence[Case], desk: Desk) -> list[list[Grade]]:
        """Return the grade of each text of each case; without a reference there is none."""
        pairs = dict.fromkeys(
            (case.reference, text) for case in cases if case.reference is not None for text in case.texts
        )
        found = dict(zip(pairs, self._grades(list(pairs), desk), strict=True))
        missing = Grade(value=None, why=NO_REFERENCE)
        return [
            [missing if case.reference is None else found[case.reference, text] for text in case.texts]
            for case in cases
        ]

    def _grades(self, pairs: Sequence[tuple[str, str]], desk: Desk) -> list[Grade]:
        if self.score in GRADERS:
            return GRADERS[self.score]([text for _, text in pairs], [reference for reference, _ in pairs])
        scorers = self.scorers()
        identity = sha256_json([self.score, *(one.identity(name) for name, one in scorers.items())])
        kept = Kept(None if desk.answers is None else desk.answers / f"{identity}.jsonl")
        keys = {pair: sha256_json([identity, *pair]) for pair in pairs}
        left = [pair for pair in pairs if kept.get(keys[pair]) is None]
        for first in range(0, len(left), AT_ONCE):
            desk.report(f"grading by {self.score}", len(pairs) - len(left) + first, len(pairs))
            some = left[first : first + AT_ONCE]
            for pair, grade in zip(some, _by_score(self.score, scorers, some), strict=True):
                kept.keep(keys[pair], json.dumps([grade.value, grade.why]))
        desk.report(f"grading by {self.score}", len(pairs), len(pairs))
        told = (json.loads(kept.get(keys[pair]) or "") for pair in pairs)
        return [Grade(value=value, why=why) for value, why in told]


def _scorers(score: str, given: Mapping[str, Scorer]) -> dict[str, Scorer]:
    """Return the scorers that a score needs, those `given` or with default settings.

    Raises
    ------
    ValueError
        When there is no such score, it has no better side, or a scorer needs settings.
    """
    if score in GRADERS:
        return {}
    try:
        names, measure = measured(score)
    except KeyError:
        known = ", ".join(sorted(GRADERS))
        raise ValueError(
            f"unknown score {score!r}{nearest(score, GRADERS)}: known are {known}, and those of cxrobust list scores"
        ) from None
    if measure.better is None:
        raise ValueError(f"score {score!r}: no report is better for more or less of it: name another")
    try:
        return {name: given[name] if name in given else scorer[name]() for name in names}
    except ValidationError:
        raise ValueError(f"score {score!r} needs settings: write them in [scores.{names[0]}]") from None


def _by_score(name: str, scorers: Mapping[str, Scorer], pairs: Sequence[tuple[str, str]]) -> list[Grade]:
    """Return a score of each text alone against its reference, less than 0 where less is better."""
    _, measure = measured(name)
    texts = Pairs(
        ids=tuple(map(str, range(len(pairs)))),
        candidates=tuple(text for _, text in pairs),
        references=tuple(reference for reference, _ in pairs),
    )
    scored = [one.score(texts) for one in scorers.values()]
    values = each(measure, {column: found for one in scored for column, found in one.columns.items()})
    why = [next((one.reasons[i] for one in scored if one.reasons[i]), None) for i in range(len(pairs))]
    sign = 1 if measure.better == "higher" else -1
    return [
        Grade(value=None, why=said or measure.undefined)
        if said or np.isnan(value)
        else Grade(value=float(sign * value))
        for value, said in zip(values, why, strict=True)
    ]


def _labeler_f1(candidates: Sequence[str], references: Sequence[str]) -> list[Grade]:
    return [_one_f1(one, other) for one, other in zip(candidates, references, strict=True)]


def _one_f1(candidate: str, reference: str) -> Grade:
    """Return 2 TP / (2 TP + FP + FN) of the observations that the labeler finds affirmed or doubted in each."""
    mine, wanted = _stated(candidate), _stated(reference)
    for stated, text, whose in ((mine, candidate, "a report"), (wanted, reference, "a reference")):
        if not stated:
            return Grade(value=None, why=f"{whose} that is {why_unread(text)}")
    return Grade(value=2 * len(mine & wanted) / (len(mine) + len(wanted)))


@lru_cache(maxsize=4096)
def _stated(text: str) -> frozenset[str]:
    """Return the observations that a report affirms or doubts, `No Finding` where there are none; nothing of no report.

    Nor of one that is not English.
    """
    if why_unread(text):
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
