"""What every estimate of a study shares: predictions, operating points, and one set of patient-level resamples."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.accelerator import on_device
from cxrobust.analysis.cells import Cell
from cxrobust.analysis.metrics import Metric
from cxrobust.analysis.operating_points import choose_thresholds
from cxrobust.analysis.purposes import Purpose
from cxrobust.analysis.resampling import Counts, patient_counts
from cxrobust.conditions import Condition, parse_condition
from cxrobust.predictions import PredictionSet
from cxrobust.radiology_reports.findings import UNREAD
from cxrobust.results import Threshold
from cxrobust.study.analysis import AnalysisSection

DECISIONS = (0.0, UNREAD, 0.5, 1.0)
"""Probabilities that say what is decided, and not how surely; about 0.5 where nothing is said."""
FEW = 64
"""Images that tell at once that probabilities are more than decisions, as they mostly are."""
"""The place of what is told of whole reports."""


def decides_only(probabilities: NDArray[np.float64]) -> bool:
    """Whether probabilities (n_runs, n_conditions, n_images, n_findings) are decisions alone."""
    return bool(np.isin(probabilities[:, :1, :FEW], DECISIONS).all() and np.isin(probabilities, DECISIONS).all())


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
    """For each condition, which conditions are its perturbation at a strength no greater, itself the last; then for
    each set of the settings its conditions."""
    kept: NDArray[np.bool_]
    """(n_images,): which images count; all, but for a subgroup."""
    subgroup: str = ""
    """Which images these are, as results name them: `sex=F`; empty for all."""
    scored: tuple[str, ...] = ()
    """Of a sample of reports: the scores that cells hold."""
    _columns: dict[tuple[int, ...], NDArray[Any]] = field(default_factory=dict, repr=False, compare=False)
    """What cells are made of, each made once: labels and patients of a finding, probabilities of a cell."""

    @classmethod
    def draw(cls, predictions: PredictionSet, settings: AnalysisSection, *, seed: int) -> "Sample":
        """Choose the operating points on clean images and draw the resamples, to the device of the settings."""
        n_patients = len(predictions.patient_ids)
        counts = patient_counts(n_patients, n_resamples=settings.resamples, rng=Purpose.RESAMPLES.generator(seed))
        return cls(
            predictions=predictions,
            settings=settings,
            seed=seed,
            counts=on_device(counts, settings.device),
            thresholds=choose_thresholds(predictions, settings.operating_point),
            series=(*_up_to_each(predictions.conditions), *_sets(predictions.conditions, settings)),
            kept=np.ones(len(predictions.image_ids), dtype=np.bool_),
        )

    @property
    def n_findings(self) -> int:
        """Findings of the study."""
        return len(self.predictions.findings)

    @property
    def deciding(self) -> frozenset[str]:
        """Regimes of which nothing tells how sure they are."""
        of = self.predictions
        return frozenset(
            name for r, name in enumerate(of.regimes) if decides_only(of.probabilities[list(self.members(r))])
        )

    def n_conditions(self, *metrics: Metric) -> int:
        """Conditions that metrics are evaluated under: those of the study, and sets of them where all can take one."""
        return len(self.series if all(one.of_sets for one in metrics) else self.predictions.conditions)

    def among(self, kept: NDArray[np.bool_], *, subgroup: str = "") -> "Sample":
        """Return the same with some images only, (n_images,)."""
        return replace(self, kept=kept, subgroup=subgroup, _columns={})

    def saying(self, probabilities: NDArray[np.float64]) -> "Sample":
        """Return the same with other probabilities."""
        return replace(self, predictions=replace(self.predictions, probabilities=probabilities), _columns={})

    def cell(self, *, member: int, condition: int, finding: int) -> Cell:
        """Take one cell out of the predictions, at the operating point of its member and finding.

        The finding after the last is all of them pooled. A condition after the last is a set of them.
        """
        labels, patients = self._of_finding(finding)
        along = [self._of_cell(member, c, finding) for c in self.series[condition]]
        return Cell(
            labels=labels,
            probabilities=along[-1],
            patients=patients,
            n_patients=len(self.predictions.patient_ids),
            threshold=self._threshold(member, finding),
            clean=self._of_cell(member, 0, finding),
            weaker=tuple(along),
            scores=self._scores(member, condition) if self.scored else {},
        )

    def _of_finding(self, finding: int) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
        """Labels and patients of the images with a label, (n,) each."""
        if (finding, 0) not in self._columns:
            if finding == self.n_findings:
                each = [self._of_finding(k) for k in range(self.n_findings)]
                labels, patients = (np.concatenate(parts) for parts in zip(*each, strict=True))
            else:
                used = self._used(finding)
                labels, patients = self.predictions.labels[used, finding], self.predictions.patients[used]
            self._columns[finding, 1] = patients
            self._columns[finding, 0] = labels
        return self._columns[finding, 0], self._columns[finding, 1]

    def _of_cell(self, member: int, condition: int, finding: int) -> NDArray[np.float64]:
        """Probabilities of the images with a label, (n,)."""
        key = member, condition, finding
        if key not in self._columns:
            self._columns[key] = (
                np.concatenate([self._of_cell(member, condition, k) for k in range(self.n_findings)])
                if finding == self.n_findings
                else self.predictions.probabilities[member, condition, :, finding][self._used(finding)]
            )
        return self._columns[key]

    def _used(self, finding: int) -> NDArray[np.bool_]:
        """Which images count and have a label."""
        return np.asarray(self.kept & (self.predictions.labels[:, finding] >= 0))

    def _threshold(self, member: int, finding: int) -> float | NDArray[np.float64]:
        """Operating point of a finding; of all pooled that of each image, (n,)."""
        own = [one.value for one in self.thresholds[member * self.n_findings : (member + 1) * self.n_findings]]
        if finding < self.n_findings:
            return own[finding]
        return np.repeat(own, [len(self._of_finding(k)[0]) for k in range(self.n_findings)])

    def _scores(self, member: int, condition: int) -> dict[str, NDArray[np.float64]]:
        """Scores of the reports that count, (n,) each."""
        used = self.kept & (self.predictions.labels[:, 0] >= 0)
        return {name: self.predictions.scores[name][member, condition][used] for name in self.scored}

    def members(self, regime: int) -> list[int]:
        """Return the members that are the training runs of a regime."""
        wanted = self.predictions.regimes[regime]
        return [m for m, (name, _) in enumerate(self.predictions.members) if name == wanted]

    def drawn_runs(self, n_resamples: int) -> tuple[NDArray[np.intp], ...]:
        """Return of each regime which runs each resample draws, as many as there are, (n_replicates, n_resamples)."""
        rng = self.rng(Purpose.REPLICATES)
        sizes = [len(self.members(regime)) for regime in range(len(self.predictions.regimes))]
        return tuple(rng.integers(0, n, (n, n_resamples)) for n in sizes)

    def rng(self, purpose: Purpose) -> np.random.Generator:
        """Return the random generator of one purpose."""
        return purpose.generator(self.seed)


def _up_to_each(conditions: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    parsed = [parse_condition(name) for name in conditions]

    def is_weaker(one: Condition, other: Condition) -> bool:
        if one.series != other.series or one.strength is None or other.strength is None:
            return False  # a condition that does not say how strong it is may be the stronger
        return one.strength <= other.strength

    def up_to(c: int) -> tuple[int, ...]:
        return (*(i for i, other in enumerate(parsed) if i != c and is_weaker(other, parsed[c])), c)

    return tuple(up_to(c) for c in range(len(parsed)))


def _sets(conditions: Sequence[str], settings: AnalysisSection) -> tuple[tuple[int, ...], ...]:
    """Return which conditions each set holds; all of its names are known by now."""
    return tuple(tuple(conditions.index(name) for name in members) for members in settings.sets.values())
