"""What every estimate of a study shares: predictions, operating points, and one set of patient-level resamples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxrobust.analysis.cells import Cell, pool, youden_threshold
from cxrobust.analysis.resampling import Counts, patient_counts
from cxrobust.conditions import parse_condition
from cxrobust.predictions import PredictionSet
from cxrobust.results import Threshold
from cxrobust.study import AnalysisSection


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Predictions with what was drawn and chosen once for all of them."""

    predictions: PredictionSet
    settings: AnalysisSection
    seed: int
    counts: Counts
    thresholds: tuple[Threshold, ...]
    """By member, then finding."""
    series: tuple[tuple[int, ...], ...]
    """For each condition, which conditions are its perturbation at a strength no greater; itself the last."""

    @classmethod
    def draw(cls, predictions: PredictionSet, settings: AnalysisSection, *, seed: int) -> "Sample":
        """Choose the operating points on clean images and draw the resamples."""
        n_patients = len(predictions.patient_ids)
        return cls(
            predictions=predictions,
            settings=settings,
            seed=seed,
            counts=patient_counts(n_patients, n_resamples=settings.resamples, rng=np.random.default_rng([seed, 1])),
            thresholds=_choose_thresholds(predictions, settings),
            series=_up_to_each(predictions.conditions),
        )

    @property
    def n_findings(self) -> int:
        """Findings of the study."""
        return len(self.predictions.findings)

    def cell(self, *, member: int, condition: int, finding: int) -> Cell:
        """Take one cell out of the predictions, at the operating point of its member and finding.

        The finding after the last is all of them pooled.
        """
        if finding == self.n_findings:
            return pool([self.cell(member=member, condition=condition, finding=k) for k in range(self.n_findings)])
        threshold = self.thresholds[member * self.n_findings + finding].value
        weaker = self.series[condition]
        return _cell(
            self.predictions, member=member, condition=condition, finding=finding, threshold=threshold, weaker=weaker
        )

    def rng(self, purpose: int) -> np.random.Generator:
        """Return the random generator of one purpose: 1 resamples, 2 permutations, 3 replicates."""
        return np.random.default_rng([self.seed, purpose])


def _up_to_each(conditions: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    parsed = [parse_condition(name) for name in conditions]

    def up_to(c: int) -> tuple[int, ...]:
        own = parsed[c].strength
        alike = [i for i, other in enumerate(parsed) if i != c and other.series == parsed[c].series]
        return (*(i for i in alike if own is not None and (parsed[i].strength or 0.0) <= own), c)

    return tuple(up_to(c) for c in range(len(parsed)))


def _cell(
    predictions: PredictionSet,
    *,
    member: int,
    condition: int,
    finding: int,
    threshold: float,
    weaker: Sequence[int] = (),
) -> Cell:
    labelled = predictions.labels[:, finding] >= 0
    probabilities = predictions.probabilities[member, :, :, finding][:, labelled]
    return Cell(
        labels=predictions.labels[labelled, finding],
        probabilities=probabilities[condition],
        patients=predictions.patients[labelled],
        n_patients=len(predictions.patient_ids),
        threshold=threshold,
        clean=probabilities[0],
        weaker=tuple(probabilities[c] for c in weaker),
    )


def _choose_thresholds(predictions: PredictionSet, settings: AnalysisSection) -> tuple[Threshold, ...]:
    found = []
    for member, (regime, replicate) in enumerate(predictions.members):
        for k, finding in enumerate(predictions.findings):
            clean = _cell(predictions, member=member, condition=0, finding=k, threshold=0.5)
            value, rule = _choose(clean, settings)
            found.append(Threshold(regime=regime, replicate=replicate, finding=finding, value=value, rule=rule))
    return tuple(found)


def _choose(clean: Cell, settings: AnalysisSection) -> tuple[float, str]:
    if settings.operating_point != "youden":
        return float(settings.operating_point), "fixed"
    if clean.one_class:
        return 0.5, "0.5, since only one class is labelled"
    return youden_threshold(clean.labels, clean.probabilities), "Youden on clean images"
