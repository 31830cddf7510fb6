"""What a verification found: one line a check, what differs under it, and whether all agrees."""

from dataclasses import dataclass
from typing import Literal
from unicodedata import category

Status = Literal["agrees", "differs", "not checked"]
MOST_TOLD = 12
"""Differences that are told of one check."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that was looked at."""

    what: str
    status: Status
    said: str
    """What was compared, with counts, or why it was not."""
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """All that was looked at, in order."""

    document: str
    """Name of the file."""
    checks: tuple[Check, ...]

    @property
    def agrees(self) -> bool:
        """Whether nothing differs; what was not checked does not count."""
        return all(check.status != "differs" for check in self.checks)

    def text(self) -> str:
        """Return the verdict as lines to read; what the document says in them does nothing to a terminal."""
        lines = []
        for check in self.checks:
            lines.append(f"{check.status:<11}  {check.what}: {check.said}")
            lines += [f"{'':<13}- {one}" for one in check.differences[:MOST_TOLD]]
            if len(check.differences) > MOST_TOLD:
                lines.append(f"{'':<13}- and {len(check.differences) - MOST_TOLD:,} more")
        return "\n".join(map(visible, [*lines, f"{self.document}: {self._summary()}"]))

    def _summary(self) -> str:
        differing = [check.what for check in self.checks if check.status == "differs"]
        unchecked = [check.what for check in self.checks if check.status == "not checked"]
        rest = f"; not checked: {', '.join(unchecked)}" if unchecked else ""
        if differing:
            return f"DIFFERS in {', '.join(differing)}{rest}"
        return f"all that was checked agrees{rest}"


def visible(text: str) -> str:
    r"""Return text with every character written out that a terminal would obey or would not show.

    >>> print(visible("pages\x1b[2J\nall that was checked agrees\u202e"))
    pages\x1b[2J\nall that was checked agrees\u202e
    """
    return "".join(one.encode("unicode_escape").decode() if category(one)[0] == "C" else one for one in text)


def check(what: str, said: str, differences: tuple[str, ...] | list[str] = ()) -> Check:
    """Return a check that agrees where there are no differences."""
    return Check(what=what, status="differs" if differences else "agrees", said=said, differences=tuple(differences))


def unchecked(what: str, why: str) -> Check:
    """Return a check that could not be made."""
    return Check(what=what, status="not checked", said=why)
