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

In a study of twins both regimes follow the first one's law under every condition: there are the true nulls of metrics
that compare with the clean image.

A second finding has the same law on the same images, so that the macro average of both has the truth of one; half of
the variance of every normal is common to both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import multivariate_normal, norm

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.metrics import Additive, metric
from cxrobust.predictions import PredictionSet

REFERENCE, TUNED = "probe", "tuned"
REGIMES = (REFERENCE, TUNED)
CLEAN, NOISE, PGD = CONDITIONS = ("clean", "noise(eps=4/255)", "pgd(eps=4/255)")
COMMON, OF_REGIME, OF_CELL = 0.4, 0.4, 0.2
"""Parts of the evidence's variance."""
OF_FINDINGS = 0.5
"""Part of every normal's variance that two findings share."""
MOST_IMAGES, TAIL = 30, 1.7
POPULATION = 2**20
"""Images at equally spaced quantiles of each class, of which the truth is computed."""
SMALLER_POPULATION = {"ece-smooth": 2**17}
"""Of metrics whose sums would not fit in memory; the smooth ECE moves by 2e-5 at most when it is doubled."""
PAIRED = 2048
"""Quantiles of the clean evidence, and of the part that is new under a perturbation, whose pairs make a class."""
OF_PAIRS = ("confidence-shift", "robust-accuracy", "flip-rate", "attack-success")
"""Metrics that read the prediction on the clean image beside the perturbed one."""
WHERE_DEFINED = {"mce": (0.5,)}
"""Prevalences with a true value. The largest gap of the bins that hold images depends on how many images there are
where bins are all but empty, as those of high probabilities are of a rare finding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """One design of a study."""

    n_patients: int
    correlation: float
    """ρ of two images of a patient: of the label's latent, and of the evidence given the label."""
    prevalence: float
    findings: int = 1

    def __str__(self) -> str:
        several = f" findings={self.findings}" if self.findings > 1 else ""
        return f"patients={self.n_patients} correlation={self.correlation:g} prevalence={self.prevalence:g}{several}"

    def rng(self, seed: int, repetition: int, *, of_twins: bool = False) -> np.random.Generator:
        """Return the generator of one simulated study, or of one of twins, whatever else is simulated."""
        design = [self.n_patients, round(self.correlation * 1e6), round(self.prevalence * 1e6)]
        return np.random.default_rng([seed, *design, repetition, *([1] if of_twins else [])])


GRID = (
    *(
        Scenario(n_patients=n, correlation=correlation, prevalence=prevalence)
        for n, correlation, prevalence in product((50, 200, 1000, 3000), (0.0, 0.4, 0.8), (0.005, 0.05, 0.5))
    ),
    *(
        Scenario(n_patients=n, correlation=correlation, prevalence=prevalence, findings=2)
        for n, correlation, prevalence in product((200, 1000), (0.0, 0.8), (0.05, 0.5))
    ),
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
TWINS = (LAWS[0], LAWS[0])
"""Of regimes that follow one law throughout, so that whatever compares them is 0: the nulls of metrics that read the
clean image beside the perturbed one, which differ between the usual regimes."""


def simulate(
    scenario: Scenario, rng: np.random.Generator, laws: Sequence[Sequence["Law"]] | None = None
) -> PredictionSet:
    """Draw the predictions of one study, of the usual laws (`LAWS`) unless others are given."""
    n_patients, prevalence, n_findings = scenario.n_patients, scenario.prevalence, scenario.findings
    sizes = np.arange(1, MOST_IMAGES + 1)
    weights = sizes**-TAIL
    patients = np.repeat(np.arange(n_patients), rng.choice(sizes, n_patients, p=weights / weights.sum()))

    def normal() -> NDArray[np.float64]:
        of_patient, of_image = rng.normal(size=n_patients)[patients], rng.normal(size=len(patients))
        return np.sqrt(scenario.correlation) * of_patient + np.sqrt(1 - scenario.correlation) * of_image

    def of_findings() -> NDArray[np.float64]:
        """Return a normal of each image and finding."""
        if n_findings == 1:
            return normal()[:, None]
        common = np.sqrt(OF_FINDINGS) * normal()
        return np.column_stack([common + np.sqrt(1 - OF_FINDINGS) * normal() for _ in range(n_findings)])

    labels = of_findings() > norm.isf(prevalence)
    probabilities = np.empty((len(REGIMES), len(CONDITIONS), len(patients), n_findings))
    common = np.sqrt(COMMON) * of_findings()
    for r, of_conditions in enumerate(LAWS if laws is None else laws):
        of_regime = common + np.sqrt(OF_REGIME) * of_findings()
        for c, law in enumerate(of_conditions):
            evidence = of_regime + np.sqrt(OF_CELL) * of_findings() + law.separation * labels
            probabilities[r, c] = law.probabilities(evidence, prevalence)
    return PredictionSet(
        image_ids=tuple(f"image-{i}" for i in range(len(patients))),
        patient_ids=tuple(f"patient-{i}" for i in range(n_patients)),
        patients=patients.astype(np.int32),
        findings=tuple(f"Finding {k + 1}" for k in range(n_findings)),
        labels=labels.astype(np.int8),
        members=tuple((regime, 0) for regime in REGIMES),
        conditions=CONDITIONS,
        probabilities=probabilities,
        metadata=pd.DataFrame(index=range(len(patients))),
        index={},
    )


def truths(prevalence: float, metrics: Sequence[str]) -> Mapping[str, NDArray[np.float64]]:
    """Return the true value of each metric that has one at a prevalence, (n_regimes, n_conditions).

    What reads the clean prediction too is computed on pairs of quantiles, the rest on a population at equally spaced
    quantiles.

    Raises
    ------
    AssertionError
        When a value is not what its closed form says.
    """
    defined = [name for name in metrics if prevalence in WHERE_DEFINED.get(name, (prevalence,))]
    found = {}
    populations: dict[int, Mapping[Law, Cell]] = {}
    for name in defined:
        if name in OF_PAIRS:
            continue
        size = SMALLER_POPULATION.get(name, POPULATION)
        if size not in populations:
            populations[size] = {law: population(law, prevalence, size) for laws in LAWS for law in laws}
        values = {law: metric[name].value(cell) for law, cell in populations[size].items()}
        found[name] = np.array([[values[law] for law in laws] for laws in LAWS])
    _check(populations.get(POPULATION, {}), prevalence)
    of_pairs = [name for name in defined if name in OF_PAIRS]
    if of_pairs:
        found |= _paired_truths(of_pairs, prevalence)
    return found


def population(law: Law, prevalence: float, size: int = POPULATION) -> Cell:
    """Return all images under one law, each class at equally spaced quantiles of its evidence."""
    n_positive = round(size * prevalence)
    n = np.array([size - n_positive, n_positive])
    labels = np.repeat([0, 1], n)
    ranks = np.concatenate([(np.arange(some) + 0.5) / some for some in n])
    p = law.probabilities(norm.ppf(ranks) + law.separation * labels, prevalence)
    return _cell(labels, p, p, prevalence)


def _cell(labels: NDArray[Any], p: NDArray[np.float64], clean: NDArray[np.float64], prevalence: float) -> Cell:
    return Cell(
        labels=labels.astype(np.int8),
        probabilities=p,
        patients=np.zeros(len(p), dtype=np.int32),
        n_patients=1,
        threshold=prevalence,
        clean=clean,
        weaker=(p,),
    )


def _paired_truths(metrics: Sequence[str], prevalence: float) -> dict[str, NDArray[np.float64]]:
    """Return the true values of metrics that read the clean prediction too, (n_regimes, n_conditions)."""
    z = norm.ppf((np.arange(PAIRED) + 0.5) / PAIRED)
    clean_evidence = np.repeat(z, PAIRED)
    shared = COMMON + OF_REGIME
    perturbed_evidence = shared * clean_evidence + np.sqrt(1 - shared**2) * np.tile(z, PAIRED)
    found = {name: np.empty((len(LAWS), len(CONDITIONS))) for name in metrics}
    for r, laws in enumerate(LAWS):
        for c, law in enumerate(laws):
            cells = {}
            for label in (0, 1):
                clean = laws[0].probabilities(clean_evidence + laws[0].separation * label, prevalence)
                evidence = perturbed_evidence + law.separation * label
                p = law.probabilities(evidence, prevalence) if c else clean
                cells[label] = _cell(np.full(len(p), label), p, clean, prevalence)
            for name in metrics:
                found[name][r, c] = _of_classes(name, cells, prevalence)
            flips = _flip_rate(laws[0], law, c, prevalence)
            if "flip-rate" in found and abs(found["flip-rate"][r, c] - flips) > 3e-4:
                raise AssertionError(f"flip-rate of {law} is {found['flip-rate'][r, c]}, expected {flips}")
    return found


def _of_classes(name: str, cells: Mapping[int, Cell], prevalence: float) -> float:
    """Return a metric of sums over images of the two classes together, each weighted as it occurs."""
    one = metric[name]
    assert isinstance(one, Additive)
    negative, positive = (one.statistics(cells[label]).mean(axis=0) for label in (0, 1))
    return float(one.finish((1 - prevalence) * negative + prevalence * positive))


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
