"""What estimates are of: images and patients of each finding, and of their averages."""

from collections.abc import Collection, Sequence
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
    note: str = ""
    compared: tuple[tuple[str, tuple[FindingCounts, ...]], ...] = ()
    """Name and counts of each subgroup that is held against others."""


def count_findings(sample: Sample) -> tuple[FindingCounts, ...]:
    """Count images and patients of each finding, and of all findings for their averages."""
    if sample.scored:
        return _count_reports(sample)
    names = sample.predictions.findings
    counting = _Counting.of(sample)
    each = [counting.count(name, [k]) for k, name in enumerate(names)]
    return (*each, *(counting.count(name, list(range(len(names)))) for name in averages(len(names))))


def counts_held(
    findings: Sequence[FindingCounts], sample: Sample, left_out: Collection[int]
) -> tuple[FindingCounts, ...]:
    """Return the counts of a sample with those of the macro average and the worst finding over the findings they hold.

    Where they hold none, so that there is no estimate, their counts remain those of all findings.
    """
    held = [k for k in range(sample.n_findings) if k not in left_out]
    if not left_out or not held:
        return tuple(findings)
    counting = _Counting.of(sample)
    return tuple(counting.count(one.name, held) if one.name in {MACRO, WORST} else one for one in findings)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Counting:
    """What counts of findings are made of."""

    positive: NDArray[np.bool_]
    """(n_images, n_findings)."""
    negative: NDArray[np.bool_]
    patients: NDArray[np.int32]
    n_patients: int

    @classmethod
    def of(cls, sample: Sample) -> "_Counting":
        """Take it from the images of a sample that count."""
        predictions, kept = sample.predictions, sample.kept[:, None]
        return cls(
            positive=kept & (predictions.labels == 1),
            negative=kept & (predictions.labels == 0),
            patients=predictions.patients,
            n_patients=len(predictions.patient_ids),
        )

    def count(self, name: str, findings: list[int]) -> FindingCounts:
        """Count some findings together."""
        any_positive, any_negative = (of[:, findings].any(axis=1) for of in (self.positive, self.negative))
        any_label = any_positive | any_negative
        return FindingCounts(
            name=name,
            n_images=int(any_label.sum()),
            n_patients=_n_distinct(self.patients[any_label], self.n_patients),
            n_positive=int(self.positive[:, findings].sum()),
            n_positive_patients=_n_distinct(self.patients[any_positive], self.n_patients),
            n_negative_patients=_n_distinct(self.patients[any_negative], self.n_patients),
        )


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
