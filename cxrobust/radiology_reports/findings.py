"""What a report states of a study's findings, as numbers: by the embedded labeler and a policy for doubt."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cxrobust.errors import DataError, nearest
from cxrobust.radiology_reports.labeler import Label, label_report, speaks_english
from cxrobust.radiology_reports.phrases import OBSERVATIONS

Doubted = Literal["ones", "zeros", "half"]
"""What a doubted finding (`possible pneumonia`) counts as: stated, not stated, or half stated."""

EMPTY, FOREIGN, CUT, LONG = "empty", "not English", "cut off", "very long"
"""What may be wrong with a generated report; `cut off` where it reached the largest number of tokens."""
FAULTS = (EMPTY, FOREIGN, CUT, LONG)
MOST_WORDS = 1000
"""A report of more words is very long: it is read and scored like any other, and counted."""
UNREAD = 0.5 - 2.0**-20
"""The probability of each finding where no report could be read: under a half, so that at an operating point of 0.5
nothing is present, and so little that nothing is told; a number of single precision too."""
UNREAD_ODDS = float(np.log(UNREAD) - np.log1p(-UNREAD))
"""The same as log-odds."""
_WORTH = {"ones": 1.0, "zeros": 0.0, "half": 0.5}


def observations_of(findings: Sequence[str], given: Mapping[str, str], *, where: str) -> tuple[str, ...]:
    """Return the labeler's observation for each finding: as given, else that of the same name.

    Raises
    ------
    DataError
        When there is none of that name; it says which key to give.

    Examples
    --------
    >>> observations_of(["Pleural_Effusion", "Mass"], {"Mass": "Lung Lesion"}, where="regime 'a'")
    ('Pleural Effusion', 'Lung Lesion')
    """
    for finding in given:
        if finding not in findings:
            raise DataError(
                f"{where}: observations names {finding!r}, which is no finding of this study"
                f"{nearest(finding, findings)}: its findings are {', '.join(findings)}"
            )
    known = {_plain(one): one for one in OBSERVATIONS}
    found = []
    for finding in findings:
        wanted = given.get(finding, finding)
        if _plain(wanted) not in known:
            raise DataError(
                f"{where}: reports are not read for {wanted!r}{nearest(wanted, OBSERVATIONS)}: write "
                f'observations = {{ "{finding}" = "..." }} with one of {", ".join(OBSERVATIONS)}'
            )
        found.append(known[_plain(wanted)])
    return tuple(found)


def stated(report: str, observations: Sequence[str], *, doubted: Doubted) -> NDArray[np.float64]:
    """Return 1 for each observation that a report states, 0 for one that it denies or does not mention.

    A doubted one counts as `doubted` says. Of a report that is empty or not English nothing is known: all are NaN.

    Examples
    --------
    >>> stated("Possible pneumonia. No effusion.", ["Pneumonia", "Pleural Effusion"], doubted="half")
    array([0.5, 0. ])
    """
    if why_unread(report):
        return np.full(len(observations), np.nan)
    labels = label_report(report)
    worth = {Label.POSITIVE: 1.0, Label.NEGATIVE: 0.0, Label.UNCERTAIN: _WORTH[doubted]}
    return np.array([worth[labels[one]] if one in labels else 0.0 for one in observations])


def decided(values: NDArray[np.float64], states: NDArray[np.float64], *, unread: float) -> NDArray[np.float64]:
    """Return probabilities or log-odds that at a half decide as reports do: what none states is `unread` at most.

    Parameters
    ----------
    values
        (n, k): what reports and the confidence in them make of each finding.
    states
        (n, k): what `stated` says, whose NaN become `unread`.
    unread
        `UNREAD`, or of log-odds `UNREAD_ODDS`.

    Examples
    --------
    >>> decided(np.array([0.9, 0.5, 0.5]), np.array([1.0, 0.0, np.nan]), unread=UNREAD) < 0.5
    array([False,  True,  True])
    """
    denied = np.where(states < 0.5, np.minimum(values, unread), values)
    return np.where(np.isnan(states), unread, denied)


def why_unread(report: str) -> str | None:
    """Return why a report states nothing: it is empty, or in another language; None of one that is read.

    Examples
    --------
    >>> why_unread(" "), why_unread("Kein Erguss, keine Stauung."), why_unread("No effusion.")
    ('empty', 'not English', None)
    """
    if not report.strip():
        return EMPTY
    return None if speaks_english(report) else FOREIGN


def faults_of(report: str) -> Iterator[str]:
    """Yield what is to be told of a generated report: why it states nothing, and that it is very long.

    Examples
    --------
    >>> list(faults_of("Clear. " * 5000)), list(faults_of("")), list(faults_of("Clear."))
    (['very long'], ['empty'], [])
    """
    if unread := why_unread(report):
        yield unread
    if len(report.split()) > MOST_WORDS:
        yield LONG


def count_faults(reports: Iterable[str]) -> dict[str, int]:
    """Return how many reports have each fault, in the order of `FAULTS`."""
    found = Counter(fault for report in reports for fault in faults_of(report))
    return {fault: found[fault] for fault in FAULTS if found[fault]}


def in_samples(fault: str) -> str:
    """Name the fault of a report that other reports are sampled beside, where one of these has the fault.

    >>> in_samples("empty")
    'with samples empty'
    """
    return f"with samples {fault}"


GENERATED, REFERENCES = "reports that were generated", "reference reports"


def told_of_faults(counts: Mapping[str, int], n: int, *, of: str = GENERATED) -> str:
    """Return a line for the terminal on how many of n reports have which fault.

    Examples
    --------
    >>> told_of_faults({"empty": 2, "very long": 1}, 1200)
    'of 1,200 reports that were generated: 2 empty, 1 very long'
    """
    return f"of {n:,} {of}: {', '.join(f'{number:,} {fault}' for fault, number in counts.items())}"


def _plain(name: str) -> str:
    return re.sub(r"[\s_]+", "", name).casefold()
