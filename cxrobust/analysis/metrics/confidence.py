"""Confidence: how sure predictions are, where right and where wrong, and how far it moves from the clean images."""

from abc import abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.metrics import Mean, Ratio, metric
from cxrobust.results import Better


def confidence(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return max(p, 1 − p), the probability given to the more probable class, to 14 decimals; in [0.5, 1].

    Rounded, p and 1 − p are equally sure, which floats are not: 1 − 0.41 is more than 0.59.

    Examples
    --------
    >>> confidence(np.array([0.41, 0.59]))
    array([0.59, 0.59])
    """
    return np.asarray(np.round(np.maximum(probabilities, 1 - probabilities), 14))


class Confidence(Mean):
    """Mean of max(p, 1 − p): the probability given to the more probable class; in [0.5, 1]; neither way is better."""

    of_probabilities = True
    better: ClassVar[Better] = None
    bounds = (0.5, 1.0)

    def score(self, cell: Cell) -> NDArray[np.float64]:
        """Return max(p, 1 − p) of each image."""
        return confidence(cell.probabilities)


class OverConfidence(Mean):
    """Mean confidence − accuracy at p ≥ 0.5, the more probable class; in [−0.5, 1]; 0 is best, above it over-confident.

    The class is the one that confidence speaks of, not the decision at the operating point.
    """

    of_probabilities = True
    better: ClassVar[Better] = None
    bounds = (-0.5, 1.0)

    def score(self, cell: Cell) -> NDArray[np.float64]:
        """Return the confidence of each image, less 1 where its more probable class is right."""
        right = (cell.probabilities >= 0.5) == cell.is_positive
        return np.asarray(confidence(cell.probabilities) - right)


class Entropy(Mean):
    """Mean entropy of the predicted distribution, −p log p − (1 − p) log(1 − p), in nats; in [0, log 2]."""

    of_probabilities = True
    better: ClassVar[Better] = None
    bounds = (0.0, float(np.log(2)))

    def score(self, cell: Cell) -> NDArray[np.float64]:
        """Return the entropy of each image's prediction; 0 at p = 0 and p = 1."""
        p = np.stack([cell.probabilities, 1 - cell.probabilities])
        logs = np.log(p, where=p > 0, out=np.zeros_like(p))
        return np.asarray(-(p * logs).sum(axis=0))


class ConfidenceShift(Mean):
    """Mean of |p − p on the clean image|; in [0, 1]; 0 on clean images; lower is more stable."""

    against_clean = True
    better: ClassVar[Better] = "lower"

    def score(self, cell: Cell) -> NDArray[np.float64]:
        """Return how far each image's probability is from that of the clean image."""
        return np.abs(cell.probabilities - cell.clean)


class _ConfidenceOf(Ratio):
    """Mean confidence of the images that are chosen."""

    of_decisions = True
    of_confidence = True
    better: ClassVar[Better] = None
    bounds = (0.5, 1.0)

    @abstractmethod
    def chosen(self, cell: Cell) -> NDArray[np.bool_]:
        """Return which images count."""

    def statistics(self, cell: Cell) -> NDArray[np.float64]:
        """Return the confidence of chosen images, whether one is chosen, and a count."""
        chosen = self.chosen(cell).astype(np.float64)
        return np.column_stack([chosen * confidence(cell.probabilities), chosen, np.ones_like(chosen)])


class ConfidenceRight(_ConfidenceOf):
    """Mean confidence where the decision at the operating point is right; in [0.5, 1]."""

    def chosen(self, cell: Cell) -> NDArray[np.bool_]:
        """Return which decisions are right."""
        return np.asarray(cell.decisions == cell.is_positive)

    def undefined(self, cell: Cell) -> str | None:
        """Say why the metric is not estimable on this cell, or None."""
        return super().undefined(cell) or (None if self.chosen(cell).any() else "no decision is right")


class ConfidenceWrong(_ConfidenceOf):
    """Mean confidence where the decision at the operating point is wrong; in [0.5, 1]; lower is safer."""

    def chosen(self, cell: Cell) -> NDArray[np.bool_]:
        """Return which decisions are wrong."""
        return np.asarray(cell.decisions != cell.is_positive)

    def undefined(self, cell: Cell) -> str | None:
        """Say why the metric is not estimable on this cell, or None."""
        return super().undefined(cell) or (None if self.chosen(cell).any() else "no decision is wrong")


metric("confidence")(Confidence())
metric("confidence-right")(ConfidenceRight())
metric("confidence-wrong")(ConfidenceWrong())
metric("confidence-shift")(ConfidenceShift())
metric("over-confidence")(OverConfidence())
metric("entropy")(Entropy())
