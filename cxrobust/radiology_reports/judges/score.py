"""A score against the reference report as a judge: one report is better than another when its score is higher."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, field_validator

from cxrobust.errors import StudyError
from cxrobust.radiology_reports.judges import Case, Desk, Judge, Judgement, by_grades, judge
from cxrobust.radiology_reports.judges.grading import grader, grades_of


@judge("score")
class Score(Judge):
    """A score of each report against its reference: labels in common, words in common, or a metric of the registry."""

    kind: Literal["score"]
    score: str
    tie: float = Field(default=0.0, ge=0)
    """Scores that differ by no more are equal."""

    @field_validator("score")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            grader(value)
        except StudyError as error:
            raise ValueError(str(error)) from None
        return value

    def judge(self, cases: Sequence[Case], desk: Desk) -> list[Judgement]:
        """Return the scores, and which of each two is higher."""
        return [
            by_grades([one.value for one in grades], [one.why for one in grades], tie=self.tie)
            for grades in grades_of(cases, self.score)
        ]
