"""The records of predictions: of one unit of work, and of a whole study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrobust.predictions.scores import Scoring


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitPredictions:
    """The predictions of one unit: one regime, replicate and condition on some of the images."""

    regime: str
    replicate: int
    condition: str
    key: str
    """Hash of all that determines the content."""
    image_ids: tuple[str, ...]
    patients: tuple[str, ...]
    findings: tuple[str, ...]
    labels: NDArray[np.int8]
    """(n_images, n_findings): 1, 0, or -1 where missing."""
    probabilities: NDArray[np.float64]
    """(n_images, n_findings) in [0, 1]."""
    logits: NDArray[np.float32] | None
    """(n_images, n_findings) log-odds; None where the source gave none."""
    reports: tuple[str, ...] | None = None
    """The report that a generator wrote of each image; None for a regime that writes none."""
    log_probabilities: NDArray[np.float64] | None = None
    """(n_images,) mean log-probability of a token of each report, NaN where unknown; None without reports."""
    report_faults: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Images by what is wrong with their report: `empty`, `not English`, `cut off`, `very long`; or `with samples …`
    any of these."""
    registration: str | None = None
    """Hash of the registered plan that was at hand when the unit was made, which was therefore made after it."""
    skipped: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Images of the unit without a prediction: kind of reason and detail, by id."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionSet:
    """All cells of a study, on the same images."""

    image_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    """Distinct patients, in order of first appearance."""
    patients: NDArray[np.int32]
    """(n_images,): index into `patient_ids`."""
    findings: tuple[str, ...]
    labels: NDArray[np.int8]
    """(n_images, n_findings): 1, 0, or -1 where missing."""
    members: tuple[tuple[str, int], ...]
    """Regime and replicate of each model."""
    conditions: tuple[str, ...]
    """`clean` first."""
    probabilities: NDArray[np.float64]
    """(n_members, n_conditions, n_images, n_findings) in [0, 1]."""
    metadata: pd.DataFrame
    index: Mapping[str, Any]
    """`index.json` as it was written; of validation images its entry `validation`."""
    references: tuple[str | None, ...] | None = None
    """The radiologist's report of each image, None where it is missing; None where the data set has none at all."""
    reports: NDArray[np.object_] | None = None
    """(n_members, n_conditions, n_images): what each generator wrote, None where a regime writes no reports; None where
    no regime does."""
    log_probabilities: NDArray[np.float64] | None = None
    """(n_members, n_conditions, n_images): mean log-probability of a token of each report, NaN where unknown."""
    unread: Mapping[tuple[str, int, str], Mapping[str, NDArray[np.bool_]]] = field(default_factory=dict)
    """Images (n_images,) whose probabilities are read from a report that tells nothing, by regime, replicate and
    condition, and by why: `empty`, `not English`, or `with samples …` one of these. Cells without any are left out."""
    scores: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """What scorers say of each report, by column: (n_members, n_conditions, n_images), NaN where not scored."""
    scoring: Mapping[str, Scoring] = field(default_factory=dict)
    """What is to be told of each scorer's scores."""
    validation: "PredictionSet | None" = None
    """The same members and findings, clean, on images of other patients: on these operating points and recalibration
    may be fitted, and no estimate is made of them."""

    @property
    def regimes(self) -> tuple[str, ...]:
        """Names of the regimes, in the study's order."""
        return tuple(dict.fromkeys(name for name, _ in self.members))
