"""What is true of the whole studies of whole_studies.py: of metrics, of estimates, and after recalibration."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scenarios import population
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from whole_studies import INTERCEPT, REGIMES, SLOPE, STRENGTHS, Design, law_of, simulate, strengths

from cxrobust.analysis.metrics import metric
from cxrobust.analysis.recalibration import FEWEST
from cxrobust.results import Estimate
from cxrobust.study.analysis import RecalibrationName

METRICS = ("auroc", "accuracy", "brier")


def truths(design: Design) -> dict[str, NDArray[np.float64]]:
    """Return each metric's true value by condition; over training runs, its mean."""
    key = (design.prevalence, design.spread)
    if key not in _known:
        moves, weights = np.array([0.0]), np.array([1.0])
        if design.spread > 0:  # Gauss and Hermite's quadrature of the normal distribution
            nodes, weights = np.polynomial.hermite_e.hermegauss(7)
            moves, weights = design.spread * nodes, weights / weights.sum()
        _known[key] = {
            name: np.array(
                [
                    sum(
                        w * metric[name].value(population(law_of(s, move), design.prevalence, 2**18))
                        for move, w in zip(moves, weights, strict=True)
                    )
                    for s in strengths()
                ]
            )
            for name in METRICS
        }
    return _known[key]


_known: dict[tuple[float, float], dict[str, NDArray[np.float64]]] = {}


def true_value(one: Estimate, truth: Mapping[str, NDArray[np.float64]], design: Design) -> float | None:
    """Return what an estimate estimates; None where that is not known in closed form here."""
    if ": " in one.subgroup or one.reference is not None:
        return 0.5 if one.metric.endswith("superiority") else 1.0 if one.metric.endswith("odds-ratio") else 0.0
    if one.metric not in truth:
        return None
    values = truth[one.metric]
    if one.estimand == "half-margin" and one.metric == "auroc" and "pgd" in one.condition:
        return half_margin(values[1 : 1 + len(STRENGTHS)], clean=values[0])
    if one.estimand in {"value", "perturbed-clean", "relative"}:
        at = values[design.conditions.index(one.condition)]
        return {"value": at, "perturbed-clean": at - values[0], "relative": at / values[0]}[one.estimand]
    return None


def half_margin(values: NDArray[np.float64], *, clean: float) -> float:
    """Return at what strength an AUROC that falls with every strength lies midway between clean and 0.5."""
    return float(np.interp(-(clean + 0.5) / 2, [-clean, *-values], [0, *STRENGTHS]))


def recalibrated_truths(design: Design) -> NDArray[np.float64]:
    """Return the true Brier score by condition where the clean images' Platt scaling is known without error.

    It undoes intercept and slope, under an attack too: what the attack does to the separation stays.
    """
    found = []
    for strength in strengths():
        cell = population(law_of(strength), design.prevalence, 2**18)
        base = logit(design.prevalence)
        p = expit(base + (logit(cell.probabilities) - base - INTERCEPT) / SLOPE)
        found.append(float(((p - cell.labels) ** 2).mean()))
    return np.array(found)


Map = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def _logistic(*features: Map, intercept: bool = True) -> Callable[[NDArray[np.float64], NDArray[np.int8]], Map]:
    """Return what fits a logistic regression on features of a probability, without those of a negative coefficient."""

    def fit(p: NDArray[np.float64], y: NDArray[np.int8]) -> Map:
        used = list(features)
        while True:
            model = LogisticRegression(C=1e10, tol=1e-8, max_iter=1000, fit_intercept=intercept)
            model.fit(np.stack([of(p) for of in used], axis=1), y)
            if len(used) == 1 or (model.coef_[0] >= 0).all():
                return lambda q: np.asarray(model.predict_proba(np.stack([of(q) for of in used], axis=1))[:, 1])
            del used[int(model.coef_[0].argmin())]

    return fit


def _isotonic(p: NDArray[np.float64], y: NDArray[np.int8]) -> Map:
    model = IsotonicRegression(out_of_bounds="clip").fit(p, y)
    return lambda q: np.asarray(model.predict(q))


FITS: dict[RecalibrationName, Callable[[NDArray[np.float64], NDArray[np.int8]], Map]] = {
    "platt": _logistic(logit),
    "temperature": _logistic(logit, intercept=False),
    "beta": _logistic(np.log, lambda p: -np.log1p(-p)),
    "isotonic": _isotonic,
}
"""By method, what fits it to probabilities and labels here, with scikit-learn."""


def fitted_truths(design: Design, *, fits: int = 400) -> dict[RecalibrationName, NDArray[np.float64]]:
    """Return by method the true Brier score by condition after maps of four fifths of such a study: the mean over fits.

    This is what a study estimates that maps each fold by what was fitted to the others.
    """
    if design not in _fitted:
        populations = [population(law_of(strength), design.prevalence, 2**13) for strength in strengths()]
        part, rng = replace(design, n_patients=round(0.8 * design.n_patients)), np.random.default_rng(8)
        scores: dict[RecalibrationName, list[list[float]]] = {method: [] for method in FITS}
        while len(scores["platt"]) < fits:
            study = simulate(part, rng)
            for m, k in np.ndindex(len(REGIMES), 2):
                p, y = study.probabilities[m, 0, :, k], study.labels[:, k]
                if len(np.unique(study.patients[y == 1])) < FEWEST:
                    continue
                for method, fit in FITS.items():
                    found = fit(p, y)
                    scores[method].append(
                        [float(((found(one.probabilities) - one.labels) ** 2).mean()) for one in populations]
                    )
        _fitted[design] = {method: np.mean(each, axis=0) for method, each in scores.items()}
    return _fitted[design]


_fitted: dict[Design, dict[RecalibrationName, NDArray[np.float64]]] = {}
