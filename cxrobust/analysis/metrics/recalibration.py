"""Logistic recalibration: the slope and intercept that would make probabilities right."""

from typing import Any, ClassVar

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.metrics import Additive, Carriers, metric
from cxrobust.analysis.metrics.log_loss import SMALLEST
from cxrobust.results import Better

MOST_STEPS = 100
SINGULAR = 1e-11
"""A determinant of the information below this share of the product of its diagonal is 0 but for rounding."""
NEAR = 1e-8
"""Part of a standard error that the last step moves coefficients by."""
NO_SOLUTION = "logistic regression has no finite solution"
CERTAIN = "probabilities of 0 and 1 alone would decide it"


class _Recalibration(Additive):
    """A coefficient of the logistic regression of the label on the logit of the probability.

    Resamples take one Newton step from the sample's coefficients, which the bootstrap of a regular estimator allows
    (Schucany and Wang 1991): it needs sums over images alone. One that holds one class, or (of the slope) one
    probability, has none.
    """

    of_probabilities = True
    is_fitted: ClassVar[bool] = True
    carried_by: ClassVar[Carriers] = "rarer class"
    better: ClassVar[Better] = None
    bounds = (float("-inf"), float("inf"))
    has_slope: ClassVar[bool]

    def fit(self, cell: Cell) -> NDArray[np.float64] | None:
        """Return the intercept and slope; None where there is no finite maximum of the likelihood."""
        return cell.once(f"logistic regression, {self.has_slope}", self._fitted)

    def _fitted(self, cell: Cell) -> NDArray[np.float64] | None:
        """Take Newton's steps from a slope of 0, each halved until the likelihood grows, so that none leads astray.

        The last is one that moves the coefficients by less than 1e-8 of their standard errors.
        """
        x, labels = logit(np.clip(cell.probabilities, SMALLEST, 1 - SMALLEST)), cell.labels
        at = np.array([0.0, 0.0 if self.has_slope else 1.0])
        likelihood = _log_likelihood(at, x, labels)
        for _ in range(MOST_STEPS):
            terms = _terms_at(at, x, labels)
            step = self._step(terms)
            if not np.isfinite(step).all():
                return None
            if terms[:2] @ step < NEAR**2:
                return np.asarray(at + step)
            while (stepped := _log_likelihood(at + step, x, labels)) < likelihood:
                step = step / 2
                if np.abs(step).max() < NEAR:
                    return at
            at, likelihood = at + step, stepped
        return None

    def _terms(self, cell: Cell, x: NDArray[np.float64], coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return each image's score and information, (n, 5)."""
        mean = expit(coefficients[0] + coefficients[1] * x)
        residual, weight = cell.labels - mean, mean * (1 - mean)
        return np.column_stack([residual, residual * x, weight, weight * x, weight * x * x])

    def _step(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the Newton step (..., 2) of sums of terms (..., 5)."""
        u0, u1, h00, h01, h11 = (sums[..., i] for i in range(5))
        with np.errstate(invalid="ignore", divide="ignore"):
            if not self.has_slope:
                return np.stack([u0 / h00, np.zeros_like(u0)], axis=-1)
            determinant = h00 * h11 - h01 * h01
            determinant = np.where(determinant.real > SINGULAR * (h00 * h11).real, determinant, np.nan)
            return np.stack([(h11 * u0 - h01 * u1) / determinant, (h00 * u1 - h01 * u0) / determinant], axis=-1)

    def undefined(self, cell: Cell) -> str | None:
        """Say why the metric is not estimable on this cell, or None."""
        if cell.one_class:
            return super().undefined(cell) or "one class only"
        positive, negative = cell.probabilities[cell.is_positive], cell.probabilities[~cell.is_positive]
        if self.has_slope and cell.probabilities.min() == cell.probabilities.max():
            return "all probabilities are equal"
        if self.has_slope and (positive.min() >= negative.max() or positive.max() <= negative.min()):
            return "a threshold separates the classes"
        return NO_SOLUTION if self.fit(cell) is None else None

    def statistics(self, cell: Cell) -> NDArray[np.float64]:
        """Return each image's score and information at the fit, the coefficient, its label, and a count."""
        coefficients = self.fit(cell)
        if coefficients is None:
            raise ValueError(NO_SOLUTION)
        x = logit(np.clip(cell.probabilities, SMALLEST, 1 - SMALLEST))
        ones = np.ones(len(x))
        own = coefficients[int(self.has_slope)] * ones
        return np.column_stack([self._terms(cell, x, coefficients), own, cell.is_positive, ones])

    def finish(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take one step from the sample's coefficient; NaN where all labels are alike."""
        own, positive, images = sums[..., 5], sums[..., 6], sums[..., 7]
        has_both = (positive.real > 0) & (positive.real < images.real)
        step = self._step(sums[..., :5])[..., int(self.has_slope)]
        return np.asarray(np.where(has_both, own / images + step, np.nan))


def _terms_at(at: NDArray[np.float64], x: NDArray[np.float64], labels: NDArray[np.int8]) -> NDArray[np.float64]:
    """Return the sums of scores and informations at an intercept and slope, (5,)."""
    with np.errstate(over="ignore"):
        odds = np.exp(-at[0] - at[1] * x)
    return np.asarray(_summed_terms(x, labels, odds))


def _log_likelihood(at: NDArray[np.float64], x: NDArray[np.float64], labels: NDArray[np.int8]) -> float:
    z = at[0] + at[1] * x
    return float((labels * z - np.logaddexp(0, z)).sum())


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _summed_terms(x: Any, labels: Any, odds: Any) -> Any:
    """Return the sums of `_terms` over images, (5,), without a table of them; `odds` are those against the finding."""
    u0, u1, h00, h01, h11 = 0.0, 0.0, 0.0, 0.0, 0.0
    for image in range(len(x)):
        mean = 1 / (1 + odds[image])
        residual, weight = labels[image] - mean, mean * (1 - mean)
        u0 += residual
        u1 += residual * x[image]
        h00 += weight
        h01 += weight * x[image]
        h11 += weight * x[image] * x[image]
    return np.array([u0, u1, h00, h01, h11])


class CalibrationSlope(_Recalibration):
    """Slope of the logistic regression of the label on logit(p); 1 is best, below 1 predictions are too extreme.

    Cox 1958, doi:10.1093/biomet/45.3-4.562. Probabilities of 0 and 1 count as 2.2e−16 and 1 − 2.2e−16.
    """

    has_slope = True


class CalibrationIntercept(_Recalibration):
    """Intercept of the logistic regression of the label on logit(p) with slope 1; 0 is best, below 0 p is too high.

    Calibration in the large (Cox 1958, doi:10.1093/biomet/45.3-4.562). It is not estimable where images with a
    probability of 0 or 1 have most of the information: where it lies would be set by the number that stands for 0.
    """

    has_slope = False

    def undefined(self, cell: Cell) -> str | None:
        """Say why the metric is not estimable on this cell, or None."""
        p = np.clip(cell.probabilities, SMALLEST, 1 - SMALLEST)
        is_certain = (p == SMALLEST) | (p == 1 - SMALLEST)
        if cell.one_class or not is_certain.any():
            return super().undefined(cell)
        coefficients = np.zeros(2) if is_certain.all() else self.fit(cell)
        if coefficients is None:
            return NO_SOLUTION
        information = self._terms(cell, logit(p), coefficients)[:, 2]
        return CERTAIN if information[is_certain].sum() > information.sum() / 2 else None


metric("calibration-slope")(CalibrationSlope())
metric("calibration-intercept")(CalibrationIntercept())
