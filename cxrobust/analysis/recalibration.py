"""Recalibration of probabilities on clean images, by netcal, to see whether it helps under attack.

One increasing map from probability to probability is fitted for each model and finding on clean images, and applied to
the images under every condition.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from cxrobust.analysis.map_errors import Columns, MapError, columns, smooth_error, step_error
from cxrobust.analysis.purposes import Purpose
from cxrobust.errors import require
from cxrobust.predictions import PredictionSet
from cxrobust.study.analysis import RecalibrationName

FEWEST = 10
"""Patients with a positive image, and patients with a negative one, below which nothing is fitted."""
TOLERATED = 0.01
"""Log-likelihood, in nats, by which netcal's optimiser may fall short of the maximum: 0.14 standard errors at most."""
MOST_STEPS = 100
_NETCAL = {
    "temperature": ("netcal.scaling", "TemperatureScaling"),
    "platt": ("netcal.scaling", "LogisticCalibration"),
    "beta": ("netcal.scaling", "BetaCalibration"),
    "isotonic": ("netcal.binning", "IsotonicRegression"),
}
_NOT_INCREASING = "no increasing map fits better than a constant"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """One fitted map."""

    regime: str
    replicate: int
    finding: str
    fold: int | None
    """Fold whose images the map was applied to and not fitted on; None where fitted on validation images."""
    n_images: int
    """Labelled clean images that it was fitted on."""
    n_positive: int
    parameters: Mapping[str, float]
    """`temperature`; `slope` and `intercept`; `a`, `b` and `c`; none for isotonic regression."""
    shortfall: float
    """Log-likelihood, in nats, by which netcal's fit fell short of the maximum; past 0.01 the maximum was taken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unchanged:
    """A model's finding whose probabilities are left as they were, and why."""

    regime: str
    replicate: int
    finding: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Recalibrated:
    """Recalibrated probabilities with the maps that made them."""

    method: RecalibrationName
    probabilities: NDArray[np.float64]
    """(n_members, n_conditions, n_images, n_findings) in [0, 1]."""
    fitted_on: str
    """`clean validation images`, or `clean images of other patients, 5 folds by patient`."""
    fits: tuple[Fit, ...]
    """By member, then finding, then fold, without those of `unchanged`."""
    unchanged: tuple[Unchanged, ...]
    """By member, then finding."""
    errors: Mapping[tuple[int, int], MapError] = field(default_factory=dict, repr=False)
    """By member and finding: how far the map may be off, of the patients whose images it was fitted to."""


def recalibrate(predictions: PredictionSet, method: RecalibrationName, *, seed: int, folds: int = 5) -> Recalibrated:
    """Probabilities after a map fitted on clean images, for each member and finding; in [0, 1].

    The map is fitted on `predictions.validation` where there are such images. Elsewhere patients are dealt into folds,
    and a fold's images are mapped, under every condition, by what was fitted on the clean images of the other folds.
    Missing labels are left out of the fits; their images are mapped like any other.

    Parameters
    ----------
    predictions
        Cells of a study, the condition `clean` first.
    method
        With z = logit p and σ its inverse: `temperature` σ(z / T) (Guo et al. 2017, arXiv:1706.04599), `platt`
        σ(slope · z + intercept) (Platt 1999), `beta` σ(c + a log p − b log(1 − p)) with a, b ≥ 0 (Kull et al. 2017),
        `isotonic` the non-decreasing least-squares fit, linear between its steps (Zadrozny and Elkan 2002,
        doi:10.1145/775047.775151). Probabilities are kept 2.2e−16 from 0 and 1 before a logarithm is taken.
    seed
        Seed of the study; deals patients into folds.
    folds
        How many folds, 2 or more; not used where there are validation images.

    Raises
    ------
    MissingGroupError
        When netcal is not installed.
    ValueError
        For an unknown method or fewer than 2 folds.

    Notes
    -----
    A finding is unchanged for a member, with the reason, unless every fold's map can be fitted: mapping some folds only
    would mix two scales of probabilities.
    """
    if method not in get_args(RecalibrationName):
        raise ValueError(f"method {method!r} is not one of {', '.join(get_args(RecalibrationName))}")
    if folds < 2:
        raise ValueError(f"folds = {folds}: give 2 or more")
    splits, fitted_on = _splits(predictions, seed=seed, folds=folds)
    probabilities = predictions.probabilities.copy()
    errors: dict[tuple[int, int], MapError] = {}
    fits: list[Fit] = []
    unchanged: list[Unchanged] = []
    with _calibrator(method) as calibrator:
        for m, (regime, replicate) in enumerate(predictions.members):
            for k, finding in enumerate(predictions.findings):
                name: Any = {"regime": regime, "replicate": replicate, "finding": finding}
                try:
                    maps = [_fit(split.sample(m, k), method, calibrator) for split in splits]
                except _UnfitError as why:
                    unchanged.append(Unchanged(**name, reason=str(why)))
                    continue
                error = _error(splits[0].every(m, k), method, n_patients=len(splits[0].source.patient_ids))
                errors |= {} if error is None else {(m, k): error}
                for split, found in zip(splits, maps, strict=True):
                    probabilities[m, :, split.mapped, k] = found(predictions.probabilities[m, :, split.mapped, k])
                    fits.append(Fit(**name, fold=split.fold, **found.summary()))
    return Recalibrated(
        method=method,
        probabilities=probabilities,
        fitted_on=fitted_on,
        fits=tuple(fits),
        unchanged=tuple(unchanged),
        errors=errors,
    )


class _UnfitError(Exception):
    """Why a map cannot be fitted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Clean:
    """Labelled clean images of one member and finding, sorted, so that their order does not matter."""

    p: NDArray[np.float64]
    y: NDArray[np.int8]
    patients: NDArray[np.int32]
    n_patients: tuple[int, int]
    """Patients with a negative image, and with a positive one."""
    n_in_all: int
    """How many labelled images there are, those included that are not fitted on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Split:
    """Images to fit on and images to map."""

    fold: int | None
    source: PredictionSet
    members: tuple[int, ...]
    """For each member of the study, its place in `source`."""
    findings: tuple[int, ...]
    fitted: NDArray[np.bool_]
    """(n_images of source,)."""
    mapped: NDArray[np.bool_]
    """(n_images of the study,)."""

    def sample(self, member: int, finding: int) -> _Clean:
        return self._among(self.fitted, member, finding)

    def every(self, member: int, finding: int) -> _Clean:
        """Return the images of all folds."""
        return self._among(np.ones(len(self.fitted), dtype=np.bool_), member, finding)

    def _among(self, kept: NDArray[np.bool_], member: int, finding: int) -> _Clean:
        k = self.findings[finding]
        is_labelled = self.source.labels[:, k] >= 0
        use = kept & is_labelled
        y, patients = self.source.labels[use, k], self.source.patients[use]
        p = self.source.probabilities[self.members[member], 0, use, k]
        order = np.lexsort((y, p))
        n_patients = (len(np.unique(patients[y == 0])), len(np.unique(patients[y == 1])))
        n_in_all = int(is_labelled.sum())
        return _Clean(p=p[order], y=y[order], patients=patients[order], n_patients=n_patients, n_in_all=n_in_all)


def _splits(predictions: PredictionSet, *, seed: int, folds: int) -> tuple[list[_Split], str]:
    validation = predictions.validation
    source = predictions if validation is None else validation
    places: Any = {
        "source": source,
        "members": tuple(source.members.index(member) for member in predictions.members),
        "findings": tuple(source.findings.index(finding) for finding in predictions.findings),
    }
    if validation is not None:
        fitted, mapped = np.ones(len(source.image_ids), bool), np.ones(len(predictions.image_ids), bool)
        return [_Split(fold=None, **places, fitted=fitted, mapped=mapped)], "clean validation images"
    fold_of = _deal(predictions.patient_ids, folds=folds, seed=seed)[predictions.patients]
    splits = [_Split(fold=f, **places, fitted=fold_of != f, mapped=fold_of == f) for f in np.unique(fold_of).tolist()]
    return splits, f"clean images of other patients, {folds} folds by patient"


def _deal(patient_ids: tuple[str, ...], *, folds: int, seed: int) -> NDArray[np.intp]:
    """Return each patient's fold, (n_patients,), whatever the order of patients."""
    dealt = Purpose.FOLDS.generator(seed).permutation(len(patient_ids)) % folds
    fold = np.empty(len(patient_ids), dtype=np.intp)
    fold[np.argsort(np.array(patient_ids))] = dealt
    return fold


@dataclass(frozen=True, kw_only=True, slots=True)
class _Map:
    """A fitted map from probabilities to probabilities."""

    method: RecalibrationName
    coefficients: NDArray[np.float64]
    """Of `map_errors.columns`."""
    model: Any
    """netcal's, which maps by isotonic regression."""
    sample: _Clean = field(repr=False)
    shortfall: float = 0.0

    def __call__(self, p: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.method == "isotonic":
            return np.asarray(self.model.transform(p.ravel()), dtype=np.float64).reshape(p.shape)
        return np.asarray(expit(_score(columns(self.method, p.ravel()), self.coefficients))).reshape(p.shape)

    def is_increasing(self) -> bool:
        if self.method == "isotonic":
            ends = self(self.sample.p[[0, -1]])
            return bool(ends[0] < ends[1])
        slopes = self.coefficients[:2] if self.method == "beta" else self.coefficients[:1]
        return bool(slopes.max() > 0)

    def summary(self) -> Mapping[str, Any]:
        values = self.coefficients.tolist()
        parameters: dict[str, float] = {}
        if self.method == "temperature":
            parameters = {"temperature": 1 / values[0]}
        elif self.method == "platt":
            parameters = dict(zip(("slope", "intercept"), values, strict=True))
        elif self.method == "beta":
            parameters = dict(zip(("a", "b", "c"), values, strict=True))
        return {
            "parameters": parameters,
            "shortfall": self.shortfall,
            "n_images": len(self.sample.y),
            "n_positive": int(self.sample.y.sum()),
        }


def _fit(sample: _Clean, method: RecalibrationName, calibrator: Any) -> _Map:
    """Return the map, or raise the reason why there is none."""
    reason = _unfit(sample, method)
    if reason is not None:
        raise _UnfitError(reason)
    model = calibrator()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # netcal calls what pyro has deprecated
        model.fit(sample.p, sample.y.astype(np.int64))
    if method == "isotonic":
        found = _Map(method=method, coefficients=np.empty(0), model=model, sample=sample)
    else:
        coefficients, shortfall = _checked(_netcals(model), columns(method, sample.p), sample.y, method)
        found = _Map(method=method, coefficients=coefficients, model=model, sample=sample, shortfall=shortfall)
    if not found.is_increasing():
        raise _UnfitError(_NOT_INCREASING)
    return found


def _error(sample: _Clean, method: RecalibrationName, *, n_patients: int) -> MapError | None:
    """Return how far the map fitted to images may be off; None where none can be fitted to all of them."""
    if method == "isotonic":
        return step_error(sample.p, sample.y, sample.patients, n_patients=n_patients)
    x = columns(method, sample.p)
    best = _most_likely(x, sample.y) if method == "beta" else _newton(x, sample.y)
    if best is None:
        return None
    return smooth_error(method, sample.p, sample.y, sample.patients, at=best, n_patients=n_patients)


def _netcals(model: Any) -> NDArray[np.float64]:
    """Return netcal's coefficients, which its accessors do not: `BetaCalibration.weights` raises KeyError."""
    return np.concatenate([site["values"] for site in model._sites.values()])


def _checked(
    found: NDArray[np.float64], columns: Columns, y: NDArray[np.int8], method: RecalibrationName
) -> tuple[NDArray[np.float64], float]:
    """Return netcal's coefficients, or those of greatest likelihood where it stopped too early, and by how much.

    netcal stops at a gradient of 1e-5 of the mean log loss, which is coarse where a finding is rare.
    """
    best = _most_likely(columns, y) if method == "beta" else _newton(columns, y)
    if best is None:
        raise _UnfitError("did not converge")
    shortfall = _log_likelihood(columns, y, best) - _log_likelihood(columns, y, found)
    return (found if shortfall <= TOLERATED else best), max(0.0, shortfall)


def _unfit(sample: _Clean, method: RecalibrationName) -> str | None:
    """Say what of the images forbids a fit, or None."""
    if len(sample.y) == 0:
        return "no labelled image of another patient" if sample.n_in_all else "no labelled image"
    if min(sample.n_patients) == 0:
        return "one class only"
    for name, n in zip(("negative", "positive"), sample.n_patients, strict=True):
        if n < FEWEST:
            return f"fewer than {FEWEST} patients with a {name} image"
    if method == "isotonic":
        return None
    n_values = len(np.unique(sample.p))
    n_parameters = {"temperature": 1, "platt": 2, "beta": 3}[method]
    if n_values < n_parameters:
        return f"fewer than {n_parameters} distinct probabilities"
    negative, positive = sample.p[sample.y == 0], sample.p[sample.y == 1]
    if positive.max() <= negative.min():
        return _NOT_INCREASING
    threshold = 0.5 if method == "temperature" else negative.max()
    if positive.min() >= threshold >= negative.max():
        return "a threshold separates the classes"
    return None


def _score(columns: Columns, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log-odds; sums are written out since a matrix product's rounding may vary with its memory."""
    total = np.zeros_like(columns[0])
    for column, coefficient in zip(columns, coefficients, strict=True):
        total += coefficient * column
    return total


def _log_likelihood(columns: Columns, y: NDArray[np.int8], at: NDArray[np.float64]) -> float:
    z = _score(columns, at)
    return float((y * z - np.logaddexp(0, z)).sum())


def _newton(columns: Columns, y: NDArray[np.int8]) -> NDArray[np.float64] | None:
    """Return the coefficients of greatest likelihood, or None where Newton's steps do not end."""
    at = np.zeros(len(columns))
    likelihood = _log_likelihood(columns, y, at)
    for _ in range(MOST_STEPS):
        mean = expit(_score(columns, at))
        slope = np.array([((y - mean) * a).sum() for a in columns])
        curvature = np.array([[(mean * (1 - mean) * a * b).sum() for a in columns] for b in columns])
        try:
            step = np.linalg.solve(curvature, slope)
        except np.linalg.LinAlgError:
            return None
        if not np.isfinite(step).all():
            return None
        if slope @ step < 1e-12 * max(1.0, -likelihood):
            return np.asarray(at + step)
        while (stepped := _log_likelihood(columns, y, at + step)) < likelihood:
            step = step / 2
            if np.abs(step).max() < 1e-12:
                return None
        at, likelihood = at + step, stepped
    return None


def _most_likely(columns: Columns, y: NDArray[np.int8]) -> NDArray[np.float64] | None:
    """Return the coefficients of greatest likelihood whose slopes, the first two, are not negative."""
    n = len(columns)
    everything = tuple(range(n))
    found = []
    for kept in (everything, *(everything[:i] + everything[i + 1 :] for i in range(2)), everything[2:]):
        free = _newton(tuple(columns[i] for i in kept), y)
        if free is None:
            continue
        whole = np.zeros(n)
        whole[list(kept)] = free
        if (whole[:2] >= 0).all():
            found.append(whole)
        if len(kept) == n and found:
            break  # no bound is met
    return max(found, key=lambda at: _log_likelihood(columns, y, at), default=None)


@contextmanager
def _calibrator(method: RecalibrationName) -> Iterator[Any]:
    """Yield netcal's class, and put back torch's threads and pyro's parameters."""
    module, name = _NETCAL[method]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # netcal's own modules warn when they are compiled
        calibrator = getattr(require(module, group="recalibration"), name)
        torch, pyro = require("torch", group="recalibration"), require("pyro", group="recalibration")
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a sum's rounding varies with the threads
    try:
        with pyro.get_param_store().scope():
            yield calibrator
    finally:
        torch.set_num_threads(n_threads)
