"""Brier score and its parts."""

from abc import abstractmethod
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.metrics import Mean, metric
from cxrobust.analysis.metrics.ece import OfEqualWidth
from cxrobust.results import Better
from cxrobust.study.analysis import IntervalName


class Brier(Mean):
    """Mean squared difference of probability and label; in [0, 1]; lower is better (Brier 1950).

    doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2
    """

    of_probabilities = True
    better: ClassVar[Better] = "lower"

    def score(self, cell: Cell) -> NDArray[np.float64]:
        """Return (p − y)² of each image."""
        return np.asarray((cell.probabilities - cell.labels) ** 2)


class Bins(NamedTuple):
    """Of each bin (..., n_bins) the mean probability, observed fraction and share of images; prevalence (..., 1)."""

    mean: NDArray[np.float64]
    observed: NDArray[np.float64]
    weight: NDArray[np.float64]
    prevalence: NDArray[np.float64]


class _Part(OfEqualWidth):
    """A part of the Brier score over 15 equal-width bins: Brier ≈ reliability − resolution + uncertainty.

    Murphy 1973, doi:10.1175/1520-0450(1973)012<0595:ANVPOT>2.0.CO;2. The parts add up exactly where all predictions of
    a bin are equal. A square is biased upwards in resamples as an absolute value is, and uncertainty, greatest at a
    prevalence of one half, downwards, so that quantiles of resamples miss the value. The intervals of reliability and
    resolution take a bias off; that of uncertainty is made of the patients' influences.
    """

    of_probabilities = True
    interval: ClassVar[IntervalName] = "t-corrected"

    def finish(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn sums into the part."""
        p, y, n = np.split(sums[..., :-1], 3, axis=-1)
        total = sums[..., -1:]
        some = np.where(n == 0, 1, n)
        prevalence = y.sum(axis=-1, keepdims=True) / total
        return self.of_bins(Bins(mean=p / some, observed=y / some, weight=n / total, prevalence=prevalence))

    @abstractmethod
    def of_bins(self, bins: Bins) -> NDArray[np.float64]:
        """Return the part."""


class Reliability(_Part):
    """Mean squared gap between a bin's mean probability and observed fraction; in [0, 1]; lower is better."""

    biased_by_size: ClassVar[bool] = True
    better: ClassVar[Better] = "lower"

    def of_bins(self, bins: Bins) -> NDArray[np.float64]:
        """Return Σ w (mean − observed)²."""
        return np.asarray((bins.weight * (bins.mean - bins.observed) ** 2).sum(axis=-1))


class Resolution(_Part):
    """Variance over bins of the observed fraction; in [0, 0.25]; higher is better."""

    bounds = (0.0, 0.25)
    biased_by_size: ClassVar[bool] = True

    def of_bins(self, bins: Bins) -> NDArray[np.float64]:
        """Return Σ w (observed − prevalence)²."""
        return np.asarray((bins.weight * (bins.observed - bins.prevalence) ** 2).sum(axis=-1))


class Uncertainty(_Part):
    """Variance of the label, prevalence × (1 − prevalence); in [0, 0.25]; the same for every regime and condition."""

    bounds = (0.0, 0.25)
    of_labels = True
    interval: ClassVar[IntervalName] = "t"
    better: ClassVar[Better] = None

    def of_bins(self, bins: Bins) -> NDArray[np.float64]:
        """Return prevalence (1 − prevalence)."""
        return np.asarray((bins.prevalence * (1 - bins.prevalence))[..., 0])


metric("brier")(Brier())
metric("brier-reliability")(Reliability())
metric("brier-resolution")(Resolution())
metric("brier-uncertainty")(Uncertainty())
