"""Radiologists' reports: the texts of MIMIC-CXR's tree, and the sections of a report."""

import re
from pathlib import Path

from cxrobust.errors import DataError
from cxrobust.inference.images import reason

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


def sections_of(report: str) -> dict[str, str]:
    r"""Return a report's sections by their headings in lower case, each text on one line, in the report's order.

    A heading stands at the beginning of a line in capitals with a colon. Text before the first one is left out, and
    sections of one heading are joined.

    Examples
    --------
    >>> sections_of(" EXAMINATION:  CHEST\n\n FINDINGS:\n No effusion.\n Heart: normal.\n\n IMPRESSION: Clear.")
    {'examination': 'CHEST', 'findings': 'No effusion. Heart: normal.', 'impression': 'Clear.'}
    """
    found: dict[str, str] = {}
    headings = list(_HEADING.finditer(report))
    ends = [*(heading.start() for heading in headings[1:]), len(report)]
    for here, end in zip(headings, ends, strict=False):
        text = " ".join(report[here.end() : end].split())
        name = here[1].lower()
        found[name] = " ".join(filter(None, (found.get(name), text)))
    return found
