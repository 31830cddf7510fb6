"""A simulated person: prefers what a score prefers, and errs as often as stated."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pydantic import Field

from cxrobust.radiology_reports.judges import SWAPPED, Case, Desk, Judgement, by_decisions, by_grades, judge
from cxrobust.radiology_reports.judges.grading import GradingJudge


@judge("simulated-person")
class SimulatedPerson(GradingJudge):
    """Decides for the higher score, and for the lower one with probability `noise`; ties stay ties.

    Whether it errs is drawn from the seed, the image and the two texts, so that asking again, in any order and beside
    any others, gives the same.
    """

    kind: Literal["simulated-person"]
    score: str = "labeler-f1"
    noise: float = Field(ge=0, le=0.5)
    """0 is the score itself; with 0.5 the score says nothing of the choice."""
    seed: int = Field(default=0, ge=0)

    def judge(self, cases: Sequence[Case], desk: Desk) -> list[Judgement]:
        """Return the decisions of one who errs."""
        found = []
        for case, grades in zip(cases, self.grades(cases, desk), strict=True):
            right = by_grades([one.value for one in grades], [one.why for one in grades], tie=self.tie)
            said = [
                one
                if one.choice is None or not self._errs(case, one.first, one.second)
                else replace(one, choice=SWAPPED[one.choice])
                for one in right.decisions
            ]
            found.append(by_decisions(len(case.texts), said))
        return found

    def _errs(self, case: Case, first: int, second: int) -> bool:
        low, high = sorted((case.texts[first], case.texts[second]))
        drawn = hashlib.sha256("\0".join((str(self.seed), case.image, low, high)).encode()).digest()
        return int.from_bytes(drawn[:8], "big") / 2**64 < self.noise
