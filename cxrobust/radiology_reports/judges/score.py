"""A score against the reference report as a judge: one report is better than another when its score is higher."""

from collections.abc import Sequence
from typing import Literal

from cxrobust.radiology_reports.judges import Case, Desk, Judgement, by_grades, judge
from cxrobust.radiology_reports.judges.grading import GradingJudge


@judge("score")
class Score(GradingJudge):
    """A score of each report against its reference: labels in common, words in common, or a measure of reports."""

    kind: Literal["score"]

    def judge(self, cases: Sequence[Case], desk: Desk) -> list[Judgement]:
        """Return the scores, and which of each two is higher."""
        return [
            by_grades([one.value for one in grades], [one.why for one in grades], tie=self.tie)
            for grades in self.grades(cases, desk)
        ]
