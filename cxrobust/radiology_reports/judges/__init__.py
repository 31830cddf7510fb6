"""Judges of reports: each module registers one kind for `[[preferences.judges]] kind = "..."`.

A judge grades each of several reports of one image, or says of each two which is better; the other follows. What it
could not judge has no grade and no decision, and a reason: it is counted and never scored.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr

from cxrobust.progress import Reporter, silent
from cxrobust.registry import Registry
from cxrobust.study.sections import Section

Choice = Literal["first", "second", "tie"]
CHOICES: tuple[Choice, ...] = ("first", "tie", "second")
"""In the order that weighted agreement takes them."""
SWAPPED: dict[Choice, Choice] = {"first": "second", "second": "first", "tie": "tie"}
ROUNDING = 1e-9
"""By how much two differences of grades may differ that are the same but for rounding."""
NO_REFERENCE, EMPTY = "no reference report", "an empty report"
UNJUDGED = "no judged pair"


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """Reports of one image that are to be judged."""

    image: str
    reference: str | None
    """What the radiologist wrote; None where that is missing."""
    texts: tuple[str, ...]
    """Different from each other, none of them empty."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Which of two reports of one image is better; `choice` is of `first` and `second`, whatever was shown first."""

    first: int
    second: int
    """Places in the texts of the case, `first` < `second`."""
    choice: Choice | None
    """None where it is not judged."""
    why: str = ""
    """Why it is not judged."""
    orders: tuple[Choice, Choice] | None = None
    """Of a judge that was asked twice: its choice as shown in this order, and in the other, each of these two texts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """What a judge makes of one case."""

    grades: tuple[float | None, ...]
    """Of each text, higher is better; None where it has none."""
    reasons: tuple[str, ...]
    """Why a text has no grade; empty where it has one."""
    decisions: tuple[Decision, ...]
    """Of each two texts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Desk:
    """Where a judge works; nothing here changes a judgement."""

    answers: Path | None = None
    """Folder in which answers are kept as they come; None keeps none."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    report: Reporter = silent


class Judge(Section):
    """What every `[[preferences.judges]]` says."""

    name: str = Field(min_length=1, max_length=60)
    kind: str
    _study_folder: Path = PrivateAttr(default_factory=Path)
    _scorers: Mapping[str, Any] = PrivateAttr(default_factory=dict)

    def model_post_init(self, context: Any, /) -> None:
        """Remember the folder of the study file, which a model's name may be relative to, and its `[scores]`."""
        folder = (context or {}).get("study_folder")
        self._study_folder = Path() if folder is None else Path(folder)
        self._scorers = (context or {}).get("scorers", {})

    @property
    def needs_references(self) -> bool:
        """Whether it judges no report of an image without a reference."""
        return False

    def check(self) -> None:
        """Raise a `DataError` where the judge cannot begin, as where its file or model is missing."""

    def identity(self) -> dict[str, Any]:
        """Return all that determines what the judge says, as JSON values, without its name and without any secret."""
        dumped = self.model_dump(mode="json", exclude={"name"})
        return {key: v.name if isinstance(v := getattr(self, key), Path) else one for key, one in dumped.items()}

    def strays(self, cases: Sequence[Case]) -> list[str]:
        """Name what a judge's own file says that is of none of these cases, a line each."""
        return []

    @abstractmethod
    def judge(self, cases: Sequence[Case], desk: Desk) -> list[Judgement]:
        """Return what the judge makes of each case.

        Raises
        ------
        DataError
            When it cannot go on at all; what it answered so far is kept.
        """


judge: Registry[type[Judge]] = Registry("judge", package="cxrobust.radiology_reports.judges")


def by_grades(grades: Sequence[float | None], reasons: Sequence[str], *, tie: float) -> Judgement:
    """Return the judgement of one who grades: the higher grade wins, within `tie` of each other none does.

    Examples
    --------
    >>> [one.choice for one in by_grades([0.5, 0.9, None], ["", "", "empty"], tie=0.1).decisions]
    ['second', None, None]
    >>> [by_grades(two, ["", ""], tie=0.2).decisions[0].choice for two in ([0.6, 0.4], [0.8, 0.6])]
    ['tie', 'tie']
    """
    decisions = []
    for first, second in combinations(range(len(grades)), 2):
        one, other = grades[first], grades[second]
        if one is None or other is None:
            why = reasons[first] or reasons[second]
            decisions.append(Decision(first=first, second=second, choice=None, why=why))
            continue
        choice: Choice = "tie" if abs(one - other) <= tie + ROUNDING else "first" if one > other else "second"
        decisions.append(Decision(first=first, second=second, choice=choice))
    return Judgement(grades=tuple(grades), reasons=tuple(reasons), decisions=tuple(decisions))


def by_decisions(n_texts: int, decisions: Iterable[Decision]) -> Judgement:
    """Return the judgement of one who compares: a text's grade is its mean over judged pairs, won 1, tied ½, lost 0.

    Examples
    --------
    >>> by_decisions(2, [Decision(first=0, second=1, choice="second")]).grades
    (0.0, 1.0)
    """
    decided = tuple(decisions)
    points: list[list[float]] = [[] for _ in range(n_texts)]
    why = [""] * n_texts
    for one in decided:
        if one.choice is None:
            for text in (one.first, one.second):
                why[text] = why[text] or one.why
            continue
        won = {"first": 1.0, "tie": 0.5, "second": 0.0}[one.choice]
        points[one.first].append(won)
        points[one.second].append(1 - won)
    grades = tuple(sum(some) / len(some) if some else None for some in points)
    reasons = tuple("" if some else because or UNJUDGED for some, because in zip(points, why, strict=True))
    return Judgement(grades=grades, reasons=reasons, decisions=decided)


def unjudged(case: Case, why: str) -> Judgement:
    """Return the judgement of a case that cannot be judged at all."""
    n = len(case.texts)
    return Judgement(
        grades=(None,) * n,
        reasons=(why,) * n,
        decisions=tuple(
            Decision(first=first, second=second, choice=None, why=why) for first, second in combinations(range(n), 2)
        ),
    )
