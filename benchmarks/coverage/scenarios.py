"""Simulated studies with known truth: who is sampled, what the models say of them, and what is true of all images.

A patient has 1 to 30 images, P(k) ∝ k^−1.7, which is close to NIH ChestX-ray14 (57 % of patients have one image; the
mean is 3.6 there and 3.4 here). The number does not depend on labels or scores, so that what holds for a patient's
images holds for all images, and the truth depends on no correlation.

An image is positive where a normal latent exceeds its (1 − prevalence) quantile. Its evidence under one regime and
condition is normal with variance 1, its mean `separation` higher in positives; 0.4 of the variance is common to all
cells, 0.4 to the conditions of a regime. Each of these normals is √ρ · (of the patient) + √(1 − ρ) · (of the image).
The probability is expit(logit(prevalence) + intercept + slope · log likelihood ratio of the evidence), so that a model
with intercept 0 and slope 1 is calibrated, and the true calibration slope is 1/slope.

The two regimes differ on clean images. `noise` changes no law, so perturbed − clean and its difference between the
regimes are 0 in truth, although every prediction changes. `pgd` makes both regimes alike, so there the regimes'
difference is 0 and the difference in differences is not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import multivariate_normal, norm

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.metrics import metric
from cxrobust.predictions import PredictionSet

REFERENCE, TUNED = "probe", "tuned"
REGIMES = (REFERENCE, TUNED)
CLEAN, NOISE, PGD = CONDITIONS = ("clean", "noise(eps=4/255)", "pgd(eps=4/255)")
COMMON, OF_REGIME, OF_CELL = 0.4, 0.4, 0.2
"""Parts of the evidence's variance."""
MOST_IMAGES, TAIL = 30, 1.7
POPULATION = 2**20
"""Images at equally spaced quantiles of each class, of which the truth is computed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """One design of a study."""

    n_patients: int
    correlation: float
    """ρ of two images of a patient: of the label's latent, and of the evidence given the label."""
    prevalence: float

    def __str__(self) -> str:
        return f"patients={self.n_patients} correlation={self.correlation:g} prevalence={self.prevalence:g}"

    def rng(self, seed: int, repetition: int) -> np.random.Generator:
        """Return the generator of one simulated study, whatever else is simulated."""
        design = [self.n_patients, round(self.correlation * 1e6), round(self.prevalence * 1e6)]
        return np.random.default_rng([seed, *design, repetition])


GRID = tuple(
    Scenario(n_patients=n, correlation=correlation, prevalence=prevalence)
    for n, correlation, prevalence in product((50, 200, 1000, 3000), (0.0, 0.4, 0.8), (0.005, 0.05, 0.5))
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Law:
    """How one regime's probabilities come about under one condition."""

    separation: float
    intercept: float
    slope: float

    def probabilities(self, evidence: NDArray[np.float64], prevalence: float) -> NDArray[np.float64]:
        """Return the probability that the model gives, in (0, 1)."""
        ratio = self.separation * evidence - self.separation**2 / 2
        return np.asarray(expit(logit(prevalence) + self.intercept + self.slope * ratio))

    @property
    def least_evidence(self) -> float:
        """Evidence from which on the probability is at least the prevalence, which is the operating point."""
        return self.separation / 2 - self.intercept / (self.slope * self.separation)


_PROBE, _TUNED = Law(separation=1.5, intercept=0.1, slope=1.2), Law(separation=2.0, intercept=-0.2, slope=0.8)
_ATTACKED = Law(separation=1.0, intercept=0.4, slope=1.6)
LAWS = (_PROBE, _PROBE, _ATTACKED), (_TUNED, _TUNED, _ATTACKED)
"""By regime, then condition."""


def simulate(scenario: Scenario, rng: np.random.Generator) -> PredictionSet:
    """Draw the predictions of one study."""
    n_patients, prevalence = scenario.n_patients, scenario.prevalence
    sizes = np.arange(1, MOST_IMAGES + 1)
    weights = sizes**-TAIL
    patients = np.repeat(np.arange(n_patients), rng.choice(sizes, n_patients, p=weights / weights.sum()))

    def normal() -> NDArray[np.float64]:
        of_patient, of_image = rng.normal(size=n_patients)[patients], rng.normal(size=len(patients))
        return np.sqrt(scenario.correlation) * of_patient + np.sqrt(1 - scenario.correlation) * of_image

    labels = normal() > norm.isf(prevalence)
    probabilities = np.empty((len(REGIMES), len(CONDITIONS), len(patients), 1))
    common = np.sqrt(COMMON) * normal()
    for r, laws in enumerate(LAWS):
        of_regime = common + np.sqrt(OF_REGIME) * normal()
        for c, law in enumerate(laws):
            evidence = of_regime + np.sqrt(OF_CELL) * normal() + law.separation * labels
            probabilities[r, c, :, 0] = law.probabilities(evidence, prevalence)
    return PredictionSet(
        image_ids=tuple(f"image-{i}" for i in range(len(patients))),
        patient_ids=tuple(f"patient-{i}" for i in range(n_patients)),
        patients=patients.astype(np.int32),
        findings=("Finding",),
        labels=labels.astype(np.int8)[:, None],
        members=tuple((regime, 0) for regime in REGIMES),
        conditions=CONDITIONS,
        probabilities=probabilities,
        metadata=pd.DataFrame(index=range(len(patients))),
        index={},
    )


def truths(prevalence: float, metrics: Sequence[str]) -> Mapping[str, NDArray[np.float64]]:
    """Return the true value of each metric, (n_regimes, n_conditions).

    That of the flip rate is a normal probability; that of another metric is its value on a population at equally spaced
    quantiles, which has no sampling error. There AUROC, accuracy and sensitivity must be what their closed forms say.
    """
    by_law = {law: population(law, prevalence) for laws in LAWS for law in laws}
    _check(by_law, prevalence)
    found = {}
    for name in metrics:
        if name == "flip-rate":
            found[name] = np.array([[_flip_rate(laws[0], laws[c], c, prevalence) for c in range(3)] for laws in LAWS])
        else:
            values = {law: metric[name].value(cell) for law, cell in by_law.items()}
            found[name] = np.array([[values[law] for law in laws] for laws in LAWS])
    return found


def population(law: Law, prevalence: float) -> Cell:
    """Return all images under one law, each class at equally spaced quantiles of its evidence."""
    n_positive = round(POPULATION * prevalence)
    n = np.array([POPULATION - n_positive, n_positive])
    labels = np.repeat([0, 1], n)
    ranks = np.concatenate([(np.arange(size) + 0.5) / size for size in n])
    p = law.probabilities(norm.ppf(ranks) + law.separation * labels, prevalence)
    return Cell(
        labels=labels.astype(np.int8),
        probabilities=p,
        patients=np.zeros(POPULATION, dtype=np.int32),
        n_patients=1,
        threshold=prevalence,
        clean=p,
        weaker=(p,),
    )


def _check(by_law: Mapping[Law, Cell], prevalence: float) -> None:
    for law, cell in by_law.items():
        sensitivity, specificity = norm.sf(law.least_evidence - law.separation), norm.cdf(law.least_evidence)
        closed = {
            "auroc": norm.cdf(law.separation / np.sqrt(2)),
            "sensitivity": sensitivity,
            "accuracy": prevalence * sensitivity + (1 - prevalence) * specificity,
            "calibration-slope": 1 / law.slope,
        }
        for name, expected in closed.items():
            found = metric[name].value(cell)
            if abs(found - expected) > 2e-3 / law.slope:
                raise AssertionError(f"{name} of {law} is {found} in the population, expected {expected}")


def _flip_rate(clean: Law, law: Law, condition: int, prevalence: float) -> float:
    """Return the share of decisions that differ between two conditions of a regime; 0 between clean and itself."""
    if condition == 0:
        return 0.0
    shared = COMMON + OF_REGIME
    both = multivariate_normal(cov=np.array([[1, shared], [shared, 1]]))
    total = 0.0
    for label, weight in ((0, 1 - prevalence), (1, prevalence)):
        ends = np.array([one.least_evidence - one.separation * label for one in (clean, law)])
        total += weight * float(norm.sf(ends).sum() - 2 * both.cdf(-ends))
    return total
