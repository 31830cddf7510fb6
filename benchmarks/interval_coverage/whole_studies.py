"""Whole studies with known truth: regimes of one law, two findings, an attack at three strengths, and training runs.

Patients, images and labels are those of scenarios.py. All regimes follow one law, so whatever
compares two of them is 0 in truth; noise changes no law, an attack takes a part of the separation at each strength.
Where a regime has replicates, each training run has a separation of its own, or all have the same.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scenarios import MOST_IMAGES, OF_FINDINGS, TAIL, Law
from scipy.stats import norm

from cxrobust.predictions import PredictionSet

REGIMES = ("probe", "lora", "tuned")
STRENGTHS = (2, 4, 8)
SEPARATION = {0: 1.5, 2: 1.25, 4: 1.0, 8: 0.4}
"""Of positives, by strength of the attack; AUROC has lost half of its margin between the last two."""
INTERCEPT, SLOPE = 0.1, 1.2
"""Of the logits that regimes tell, in those that would be calibrated."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Design:
    """One design of a study."""

    n_patients: int
    correlation: float
    prevalence: float
    replicates: int = 1
    spread: float = 0.0
    """Standard deviation of the separation over training runs."""

    @property
    def conditions(self) -> tuple[str, ...]:
        """Clean, the attack from weak to strong, and noise."""
        return ("clean", *(f"pgd(eps={s}/255)" for s in STRENGTHS), *(f"noise(eps={s}/255)" for s in STRENGTHS[-1:]))


DESIGNS = (
    *(Design(n_patients=n, correlation=0.4, prevalence=p) for n, p in ((200, 0.05), (200, 0.5))),
    *(Design(n_patients=200, correlation=0.4, prevalence=0.5, replicates=3, spread=s) for s in (0.15, 0.0)),
    Design(n_patients=1000, correlation=0.4, prevalence=0.05),
)
SITE, OF_SITES = "site", {"A": 0.7, "B": 0.15, "C": 0.15}
"""A column of the metadata with two small subgroups, and the share of patients in each."""
LARGEST_SITE = "A"
KEPT_POSITIVE = 3
"""How many positive patients the second finding keeps on average where it is to be undefined in some resamples."""


def simulate(design: Design, rng: np.random.Generator) -> PredictionSet:
    """Draw the predictions of one study of two findings, with each patient's sex and site and each image's view."""
    n = design.n_patients
    sizes = np.arange(1, MOST_IMAGES + 1)
    weights = sizes**-TAIL
    patients = np.repeat(np.arange(n), rng.choice(sizes, n, p=weights / weights.sum()))
    images = len(patients)

    def normal() -> NDArray[np.float64]:
        rho = design.correlation
        return np.sqrt(rho) * rng.normal(size=n)[patients] + np.sqrt(1 - rho) * rng.normal(size=images)

    def of_findings() -> NDArray[np.float64]:
        common = np.sqrt(OF_FINDINGS) * normal()
        return np.column_stack([common + np.sqrt(1 - OF_FINDINGS) * normal() for _ in range(2)])

    labels = of_findings() > norm.isf(design.prevalence)
    members = tuple((regime, k) for regime in REGIMES for k in range(design.replicates))
    probabilities = np.empty((len(members), len(design.conditions), images, 2))
    common = np.sqrt(0.4) * of_findings()
    for m in range(len(members)):
        of_member = common + np.sqrt(0.4) * of_findings()
        moved = rng.normal() * design.spread
        for c, strength in enumerate(strengths()):
            law = law_of(strength, moved)
            evidence = of_member + np.sqrt(0.2) * of_findings() + law.separation * labels
            probabilities[m, c] = law.probabilities(evidence, design.prevalence)
    columns = {
        "sex": rng.choice(["F", "M"], n)[patients],
        "view": rng.choice(["AP", "PA"], images),
        SITE: rng.choice(list(OF_SITES), n, p=list(OF_SITES.values()))[patients],
    }
    return PredictionSet(
        image_ids=tuple(f"image-{i}" for i in range(images)),
        patient_ids=tuple(f"patient-{i}" for i in range(n)),
        patients=patients.astype(np.int32),
        findings=("Finding 1", "Finding 2"),
        labels=labels.astype(np.int8),
        members=members,
        conditions=design.conditions,
        probabilities=probabilities,
        metadata=pd.DataFrame(columns),
        index={},
    )


def thinned(predictions: PredictionSet, rng: np.random.Generator) -> PredictionSet:
    """Take the second finding's positive labels away but for those of a few patients, drawn at random.

    Neither class's law changes, and so no true AUROC.
    """
    positive = predictions.labels[:, 1] == 1
    patients = np.unique(predictions.patients[positive])
    kept = patients[rng.random(len(patients)) < KEPT_POSITIVE / len(patients)]
    labels = predictions.labels.copy()
    labels[positive & ~np.isin(predictions.patients, kept), 1] = -1
    return replace(predictions, labels=labels)


def strengths() -> tuple[int, ...]:
    """Of the attack, by condition; noise takes nothing."""
    return (0, *STRENGTHS, 0)


def law_of(strength: int, moved: float = 0.0) -> Law:
    """Return the law under the attack, of a training run whose separation is moved."""
    return Law(separation=SEPARATION[strength] + moved, intercept=INTERCEPT, slope=SLOPE)
