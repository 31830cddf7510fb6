"""Operating points: the threshold that turns a probability into a decision, chosen once on clean images."""

import numpy as np
from numpy.typing import NDArray

from cxrobust.predictions import PredictionSet
from cxrobust.results import Threshold
from cxrobust.study.analysis import OperatingPoint, TargetPoint

UNCHOSEN = "0.5, since"
"""How the rule of a threshold begins for which there was nothing to choose by."""


def choose_thresholds(predictions: PredictionSet, rule: OperatingPoint) -> tuple[Threshold, ...]:
    """Choose the threshold of each model and finding, on its clean validation images where the study has them.

    By model, then finding. Without both classes the threshold is 0.5, and its rule says why.
    """
    chosen_on = predictions.validation or predictions
    images = "clean images" if predictions.validation is None else "clean validation images"
    found = []
    for member, (regime, replicate) in enumerate(predictions.members):
        for k, finding in enumerate(predictions.findings):
            labelled = chosen_on.labels[:, k] >= 0
            labels, p = chosen_on.labels[labelled, k], chosen_on.probabilities[member, 0, labelled, k]
            value, said = _choose(labels, p, rule, images)
            found.append(Threshold(regime=regime, replicate=replicate, finding=finding, value=value, rule=said))
    return tuple(found)


def _choose(
    labels: NDArray[np.int8], probabilities: NDArray[np.float64], rule: OperatingPoint, images: str
) -> tuple[float, str]:
    if isinstance(rule, float):
        return rule, "fixed"
    if len(labels) == 0:
        return 0.5, f"{UNCHOSEN} none of the {images} has a label"
    if labels.min() == labels.max():
        return 0.5, f"{UNCHOSEN} only one class is labelled on {images}"
    if not isinstance(rule, TargetPoint):
        return youden_threshold(labels, probabilities), f"Youden on {images}"
    if rule.sensitivity is not None:
        value = threshold_at_sensitivity(labels, probabilities, rule.sensitivity)
        return value, f"sensitivity of at least {rule.sensitivity:g} on {images}"
    assert rule.specificity is not None  # noqa: S101  for the type checker: TargetPoint has one of both
    value = threshold_at_specificity(labels, probabilities, rule.specificity)
    return value, f"specificity of at least {rule.specificity:g} on {images}"


def youden_threshold(labels: NDArray[np.int8], probabilities: NDArray[np.float64]) -> float:
    """Threshold t that maximises sensitivity + specificity − 1 of `probability ≥ t`; the largest of equals.

    Youden 1950, doi:10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3.

    Parameters
    ----------
    labels
        (n,): 1 or 0, both there.
    probabilities
        (n,) in [0, 1].

    Examples
    --------
    >>> youden_threshold(np.array([0, 0, 1, 1], np.int8), np.array([0.1, 0.4, 0.35, 0.8]))
    0.8
    """
    n_positive = int(labels.sum())
    n_negative = len(labels) - n_positive
    order = np.argsort(-probabilities, kind="stable")
    p, y = probabilities[order], labels[order].astype(np.int64)
    last_of_ties = np.append(p[1:] != p[:-1], True)
    hits = np.cumsum(y)[last_of_ties] * n_negative  # whole numbers, so that equals are equal
    false_alarms = np.cumsum(1 - y)[last_of_ties] * n_positive
    return float(p[last_of_ties][np.argmax(hits - false_alarms)])


def threshold_at_sensitivity(labels: NDArray[np.int8], probabilities: NDArray[np.float64], target: float) -> float:
    """Return the largest threshold t at which `probability ≥ t` finds at least a share `target` of the positives.

    Examples
    --------
    >>> threshold_at_sensitivity(np.array([0, 1, 1, 1], np.int8), np.array([0.9, 0.2, 0.5, 0.7]), 0.6)
    0.5
    """
    positives = np.sort(probabilities[labels == 1])[::-1]
    needed = max(1, int(np.ceil(round(target * len(positives), 9))))
    return float(positives[needed - 1])


def threshold_at_specificity(labels: NDArray[np.int8], probabilities: NDArray[np.float64], target: float) -> float:
    """Return the smallest threshold t at which `probability < t` holds of at least a share `target` of the negatives.

    It is one of the probabilities, or the next number after the greatest of the negatives.

    Examples
    --------
    >>> threshold_at_specificity(np.array([1, 0, 0, 0], np.int8), np.array([0.6, 0.2, 0.5, 0.7]), 0.6)
    0.6
    """
    negatives = np.sort(probabilities[labels == 0])
    needed = int(np.ceil(round(target * len(negatives), 9)))
    if needed == 0:
        return float(probabilities.min())
    above = probabilities[probabilities > negatives[needed - 1]]
    return float(above.min()) if len(above) else float(np.nextafter(negatives[needed - 1], 2))
