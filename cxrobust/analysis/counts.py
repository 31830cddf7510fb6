"""What estimates are of: images and patients of each finding, and of their averages."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.sample import Sample
from cxrobust.analysis.values import averages
from cxrobust.results import MACRO, MICRO, REPORT, WORST

AVERAGES = (MACRO, MICRO, WORST)


@dataclass(frozen=True, kw_only=True, slots=True)
class FindingCounts:
    """Counts of one finding, or of all together, that stand beside each of its estimates."""

    name: str
    n_images: int
    n_patients: int
    n_positive: int
    n_positive_patients: int
    n_negative_patients: int
    of_reports: bool = False
    """Whether they are of reports, which are neither positive nor negative."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """Which images and which predictions estimates are of, and what else they share."""

    findings: tuple[FindingCounts, ...]
    subgroup: str = ""
    recalibration: str = ""
    fitted_on: str | None = None
    """On which images recalibrations were fitted; None where none was."""
    note: str = ""
    compared: tuple[tuple[str, tuple[FindingCounts, ...]], ...] = ()
    """Name and counts of each subgroup that is held against others."""


def count_findings(sample: Sample) -> tuple[FindingCounts, ...]:
    """Count images and patients of each finding, and of their averages."""
    predictions, kept = sample.predictions, sample.kept[:, None]
    if sample.scored:
        return _count_reports(sample)
    n_all = len(predictions.patient_ids)
    positive, negative = kept & (predictions.labels == 1), kept & (predictions.labels == 0)

    def count(name: str, columns: list[int]) -> FindingCounts:
        any_positive, any_negative = positive[:, columns].any(axis=1), negative[:, columns].any(axis=1)
        any_label = any_positive | any_negative
        return FindingCounts(
            name=name,
            n_images=int(any_label.sum()),
            n_patients=_n_distinct(predictions.patients[any_label], n_all),
            n_positive=int(positive[:, columns].sum()),
            n_positive_patients=_n_distinct(predictions.patients[any_positive], n_all),
            n_negative_patients=_n_distinct(predictions.patients[any_negative], n_all),
        )

    each = [count(name, [k]) for k, name in enumerate(predictions.findings)]
    return (*each, *(count(name, list(range(len(each)))) for name in averages(len(each))))


def _n_distinct(patients: NDArray[np.int32], n_all: int) -> int:
    """Count those of all patients that are there: to sort them takes far longer."""
    there = np.zeros(n_all, dtype=np.bool_)
    there[patients] = True
    return int(np.count_nonzero(there))


def _count_reports(sample: Sample) -> tuple[FindingCounts, ...]:
    scored = sample.kept & (sample.predictions.labels[:, 0] >= 0)
    counted = FindingCounts(
        name=REPORT,
        n_images=int(scored.sum()),
        n_patients=_n_distinct(sample.predictions.patients[scored], len(sample.predictions.patient_ids)),
        n_positive=0,
        n_positive_patients=0,
        n_negative_patients=0,
        of_reports=True,
    )
    return counted, replace(counted, name=MACRO)
