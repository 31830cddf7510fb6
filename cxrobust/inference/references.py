"""What radiologists wrote of a study's images: references from a table, their sections, and labels read from them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrobust.errors import DataError, counted, some
from cxrobust.inference.report_files import named_by, sections_of
from cxrobust.radiology_reports.findings import EMPTY, FOREIGN, why_unread
from cxrobust.radiology_reports.labeler import Label, label_report
from cxrobust.radiology_reports.phrases import OBSERVATIONS
from cxrobust.radiology_reports.tables import read_reports

MISSING_LABEL = -1
OBSERVED = tuple(name for name in OBSERVATIONS if name != "No Finding")
"""What labels from references are of, unless `No Finding` is named."""


def chosen_sections(report: str, sections: Sequence[str]) -> str | None:
    r"""Return the wanted sections of a report as one text; the whole of one without headings; None where nothing is.

    A heading that joins sections, such as `FINDINGS AND IMPRESSION`, is of either, and its text is taken once.

    Examples
    --------
    >>> chosen_sections("INDICATION: Cough.\nFINDINGS: No effusion.\nIMPRESSION: Normal.", ["findings", "impression"])
    'No effusion. Normal.'
    >>> chosen_sections("FINDINGS AND IMPRESSION: Normal.", ["findings", "impression"])
    'Normal.'
    >>> chosen_sections("No effusion.", ["findings"])
    'No effusion.'
    """
    found = sections_of(report, also=sections)
    wanted = dict.fromkeys(heading for one in sections for heading in found if one in named_by(heading))
    text = " ".join(filter(None, map(found.__getitem__, wanted))) if found else " ".join(report.split())
    return text or None


def references_of(
    path: Path,
    ids: Sequence[str],
    studies: Sequence[str] | None,
    *,
    id_column: str,
    text_column: str,
    sections: Sequence[str],
    where: str,
    needed: bool,
) -> tuple[str | None, ...] | None:
    """Return the reference of each image from a table of reports, by the image's id or else its study's.

    None for an image of which the table says nothing, or not in the wanted sections; empty where its report is.

    None at all where it holds no report of any image and none is needed; `where` is the section that speaks of the
    images.

    Raises
    ------
    DataError
        When the table cannot be read, or holds no report of any image and some are needed.
    """
    reports = {
        one.id: one.text
        for one in read_reports(
            path, id_column=id_column, text_column=text_column, keys="references_id, references_text"
        )
    }
    keys = [
        image if image in reports or studies is None else study
        for image, study in zip(ids, studies if studies is not None else ids, strict=True)
    ]
    if not any(key in reports for key in keys):
        if not needed:
            return None
        raise DataError(
            f"{path}: none of its ids ({some(reports)}) is one of an image or a study of {where} ({some(ids)}): "
            f"correct them, or name another table by references, or its column by references_id, in {where}"
        )

    def reference(key: str) -> str | None:
        if key not in reports:
            return None
        return chosen_sections(reports[key], sections) if reports[key].strip() else ""

    return tuple(map(reference, keys))


def labels_of(references: Sequence[str | None], observations: Sequence[str], *, doubted: int) -> NDArray[np.int8]:
    """Return labels (n, k) that the embedded labeler reads: 1 affirmed, 0 denied or unmentioned, `doubted` as given.

    Images without a reference, or with one that is not English, have none.
    """
    worth = {Label.POSITIVE: 1, Label.NEGATIVE: 0, Label.UNCERTAIN: doubted}
    unread = [MISSING_LABEL] * len(observations)
    read: dict[str | None, list[int]] = {None: unread}  # images of one study share their report
    for reference in references:
        if reference is not None and reference not in read:
            told = {} if why_unread(reference) else label_report(reference)
            known = [worth[told[name]] if name in told else 0 for name in observations]
            read[reference] = known if told else unread
    return np.array([read[one] for one in references], dtype=np.int8).reshape(len(references), len(observations))


def faults(references: Sequence[str | None], ids: Sequence[str]) -> dict[str, dict[str, object]]:
    """Return how many references are missing, empty or not English, and the first of their images."""
    named = images_by_fault(references, ids)
    return {fault: {"n": len(images), "images": images[:3]} for fault, images in named.items()}


def images_by_fault(references: Sequence[str | None], ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the images whose reference is missing, empty or not English; no references at all are no fault."""
    named: dict[str, list[str]] = {}
    for image, reference in zip(ids, references, strict=True):
        if fault := "missing" if reference is None else why_unread(reference):
            named.setdefault(fault, []).append(image)
    return named


def left_out_for(references: Sequence[str | None], *, without: bool, longest: int | None) -> list[str | None]:
    """Return why each image is left out, None where it is not: a reference of too many words, or (`without`) none.

    Examples
    --------
    >>> left_out_for([None, "No acute disease.", "Clear."], without=True, longest=2)
    ['without a reference report', 'with a reference report of more than 2 words', None]
    """
    words = {EMPTY: "with an empty reference report", FOREIGN: "with a reference report that is not English"}
    too_long = "" if longest is None else f"with a reference report of more than {counted(longest, 'word')}"

    def reason(one: str | None) -> str | None:
        if without and one is None:
            return "without a reference report"
        if without and one is not None and (fault := why_unread(one)):
            return words[fault]
        return too_long if too_long and one is not None and len(one.split()) > int(longest or 0) else None

    return [reason(one) for one in references]
