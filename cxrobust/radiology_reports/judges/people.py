"""People as judges: a file says which of two reports they prefer."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

from cxrobust.errors import DataError, nearest, some
from cxrobust.files import sha256_file
from cxrobust.radiology_reports.judges import (
    CHOICES,
    SWAPPED,
    Case,
    Choice,
    Decision,
    Desk,
    Judge,
    Judgement,
    by_decisions,
    judge,
)
from cxrobust.radiology_reports.tables import read_rows
from cxrobust.spreadsheets import bare
from cxrobust.study.sections import StudyPath

COLUMNS = ("image", "first", "second", "preferred")
NOT_ASKED = "no preference in the file"


def same_text(text: str) -> str:
    """Return a text as it is compared: spaces and line ends are one, without the mark of a spreadsheet."""
    return " ".join(bare(text).split())


@dataclass(frozen=True, kw_only=True, slots=True)
class Vote:
    """What one line says; its reports are as `same_text` returns them."""

    line: int
    image: str
    first: str
    second: str
    choice: Choice


@judge("people")
class People(Judge):
    """Preferences from a file, CSV or JSON lines: image, first, second (the two reports) and preferred.

    Reports are found by their text, so that the file goes on holding where reports are sampled again. `preferred` is
    `first`, `second` or `tie`; empty where nobody decided. Several rows of one pair are several votes: the report with
    more is preferred unless more say that neither is; as many for either are a tie.
    """

    kind: Literal["people"]
    file: StudyPath

    def check(self) -> None:
        """Read the file, so that it is known to be whole, and to say something.

        Raises
        ------
        DataError
            When a line is wrong, or none says what somebody prefers.
        """
        if not list(self.votes()):
            raise DataError(
                f"{self.file}: no line says which report somebody prefers: write first, second or tie into its column "
                f"preferred, or leave judge {self.name!r} out"
            )

    def identity(self) -> dict[str, Any]:
        """Return the file's name and hash."""
        self.check()
        return {**super().identity(), "sha256": sha256_file(self.file)}

    def judge(self, cases: Sequence[Case], desk: Desk) -> list[Judgement]:
        """Return what most people prefer of each two reports."""
        cast: dict[tuple[str, str, str], Counter[Choice]] = {}
        for vote in self.votes():
            straight = vote.first < vote.second
            low, high = (vote.first, vote.second) if straight else (vote.second, vote.first)
            choice = vote.choice if straight else SWAPPED[vote.choice]
            cast.setdefault((vote.image, low, high), Counter())[choice] += 1
        return [by_decisions(len(case.texts), _decisions(case, cast)) for case in cases]

    def strays(self, cases: Sequence[Case]) -> list[str]:
        """Name the lines whose image, or one of whose reports, is none of these: nobody counts them."""
        texts = {case.image: {same_text(text) for text in case.texts} for case in cases}
        found = []
        for vote in self.votes():
            here = texts.get(vote.image)
            if here is None:
                found.append(f"line {vote.line}: no image {vote.image!r}")
            elif other := [name for name in ("first", "second") if getattr(vote, name) not in here]:
                found.append(f"line {vote.line}: no such {' and '.join(other)} report")
        return found

    def votes(self) -> Iterator[Vote]:
        """Yield what each line says that somebody decided.

        Raises
        ------
        DataError
            Naming the file and line.
        """
        for line, row in read_rows(self.file):
            for column in COLUMNS:
                if column not in row:
                    raise DataError(
                        f"{self.file}, line {line}: no {column!r}{nearest(column, map(str, row))}: preferences have "
                        f"{', '.join(COLUMNS)}, and there is {some(row, most=8)}"
                    )
            said = str(row["preferred"] or "").strip().lower()
            if not said:
                continue
            if said not in CHOICES:
                raise DataError(
                    f"{self.file}, line {line}: preferred is {said!r}: write first, second or tie, or leave it empty"
                )
            choice: Choice = next(one for one in CHOICES if one == said)
            one, other = (same_text(str(row[column] or "")) for column in ("first", "second"))
            if one == other:
                raise DataError(f"{self.file}, line {line}: both reports are the same: remove the line")
            yield Vote(line=line, image=str(row["image"] or "").strip(), first=one, second=other, choice=choice)


def _decisions(case: Case, votes: dict[tuple[str, str, str], Counter[Choice]]) -> list[Decision]:
    found = []
    texts = [same_text(text) for text in case.texts]
    for first, second in combinations(range(len(texts)), 2):
        straight = texts[first] < texts[second]
        low, high = (texts[first], texts[second]) if straight else (texts[second], texts[first])
        cast = votes.get((case.image, low, high))
        if not cast:
            found.append(Decision(first=first, second=second, choice=None, why=NOT_ASKED))
            continue
        choice: Choice = "first" if cast["first"] > cast["second"] else "second"
        choice = (
            "tie" if cast["first"] == cast["second"] or cast["tie"] > max(cast["first"], cast["second"]) else choice
        )
        found.append(Decision(first=first, second=second, choice=choice if straight else SWAPPED[choice]))
    return found
