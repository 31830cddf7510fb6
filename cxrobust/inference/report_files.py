"""Radiologists' reports: the texts of MIMIC-CXR's tree, and the sections of a report."""

import re
from collections.abc import Iterator, Sequence, Set
from itertools import zip_longest
from pathlib import Path

from cxrobust.errors import DataError
from cxrobust.inference.images import reason

SECTIONS = frozenset(
    [
        *("addendum", "admitting diagnosis", "clinical history", "clinical indication", "clinical information"),
        *("comparison", "comparisons", "conclusion", "conclusions", "exam", "examination", "final report", "findings"),
        *("history", "impression", "impressions", "indication", "indications", "notification", "notifications"),
        *("opinion", "preliminary read", "procedure", "reason for exam", "reason for examination"),
        *("reason for this examination", "recommendation", "recommendations", "study", "summary", "technique"),
        *("type of examination", "underlying medical condition", "wet read"),
    ]
)
"""Headings that usually begin a section of a radiologist's report; others may stand within one."""
_JOINED = re.compile(r"\s*(?:/|&|,|\band\b)\s*")
_HEADING = re.compile(r"^\s*([A-Z][A-Z /,&()-]*[A-Z)])\s*:", re.MULTILINE)


def read_report(folder: Path, *, patient: str, study: str) -> str:
    """Return the report of a study from the tree `files/p10/p10000032/s50414267.txt`; `folder` holds `files` or is it.

    Raises
    ------
    DataError
        When there is no such report, or it is no text.
    """
    path = _path(folder, patient, study)
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{path}: the report is missing: put it there, or correct reports in [data]") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the report cannot be read ({reason(error)}): get the file again") from error


def has_report(folder: Path, *, patient: str, study: str) -> bool:
    """Whether the tree holds a report of a study."""
    return _path(folder, patient, study).exists()


def _path(folder: Path, patient: str, study: str) -> Path:
    base = folder / "files" if (folder / "files").is_dir() else folder
    return base / f"p{patient[:2]}" / f"p{patient}" / f"s{study}.txt"


def sections_of(report: str, *, also: Sequence[str] = ()) -> dict[str, str]:
    r"""Return a report's sections by their headings in lower case, each text on one line, in the report's order.

    A heading stands at the beginning of a line in capitals with a colon. Text before the first one is left out, and
    sections of one heading are joined. Where the heading of a usual section (`SECTIONS`, and `also`) has no text before
    the next heading, what follows under headings of no such section, as of a view or an organ, is its text.

    Examples
    --------
    >>> sections_of(" EXAMINATION:  CHEST\n\n FINDINGS:\n No effusion.\n Heart: normal.\n\n IMPRESSION: Clear.")
    {'examination': 'CHEST', 'findings': 'No effusion. Heart: normal.', 'impression': 'Clear.'}
    >>> sections_of("FINDINGS:\nPA AND LATERAL VIEWS: The lungs are clear.\nIMPRESSION: Normal.")
    {'findings': 'PA AND LATERAL VIEWS: The lungs are clear.', 'impression': 'Normal.'}
    """
    found: dict[str, str] = {}
    for here, text in _texts(_headings(report, SECTIONS | set(also)), report):
        name = here[1].lower()
        found[name] = " ".join(filter(None, (found.get(name), text)))
    return found


def named_by(heading: str) -> frozenset[str]:
    """Return the sections that a heading in lower case names: itself, and what it joins.

    Examples
    --------
    >>> sorted(named_by("findings/impression"))
    ['findings', 'findings/impression', 'impression']
    """
    return frozenset((heading, *_JOINED.split(heading.replace("(s)", "s"))))


def _headings(report: str, sections: Set[str]) -> list[re.Match[str]]:
    """Return the headings that begin a section, without those that belong to the text of another."""
    begin: list[re.Match[str]] = []
    reads_on = False
    for here, text in _texts(list(_HEADING.finditer(report)), report):
        is_usual = not sections.isdisjoint(named_by(here[1].lower()))
        if is_usual or not reads_on:
            begin.append(here)
            reads_on = is_usual and not text
    return begin


def _texts(headings: Sequence[re.Match[str]], report: str) -> Iterator[tuple[re.Match[str], str]]:
    """Yield each heading with the text up to the next one, on one line."""
    for here, following in zip_longest(headings, headings[1:]):
        yield here, " ".join(report[here.end() : following.start() if following else None].split())
