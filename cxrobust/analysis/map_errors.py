"""What it does to metrics of recalibrated probabilities that another sample would have given another map.

To first order, by the delta method on a two-step estimator (Newey and McFadden 1994, doi:10.1016/S1573-4412(05)80005-4,
section 6): a metric V of probabilities under a map with parameters θ, fitted to clean images, moves with patient i of
those images by ∂V/∂θ · IF_i, IF_i being the patient's influence on θ. Five folds' maps err together as one that is
fitted to all images, since each patient is in four of five fits of four fifths of the images each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from scipy.special import expit, logit

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.intervals import linearised_se
from cxrobust.analysis.metrics import Additive
from cxrobust.analysis.metrics.log_loss import SMALLEST
from cxrobust.analysis.resampling import Counts, resampled_sums
from cxrobust.study.analysis import RecalibrationName

Columns = tuple[NDArray[np.float64], ...]


def columns(method: RecalibrationName, p: NDArray[np.float64]) -> Columns:
    """Return what each coefficient of a smooth map multiplies in the log-odds, each (n_images,)."""
    p = np.clip(p, SMALLEST, 1 - SMALLEST)
    if method == "temperature":
        return (logit(p),)
    if method == "platt":
        return logit(p), np.ones_like(p)
    return np.log(p), -np.log1p(-p), np.ones_like(p)


@dataclass(frozen=True, kw_only=True, slots=True)
class MapError:
    """How far one model's map of one finding may be off: steps in several directions, and whose images make them.

    A pass moves all images at once, each in the direction of its part.
    """

    method: RecalibrationName
    steps: NDArray[np.float64]
    """(n_passes, n_parts): a standard error of each coefficient, or of each level of a step function; above 0."""
    influences: NDArray[np.float64]
    """(n_passes, n_parts, n_patients): how many of these steps a direction moves with a patient's weight."""
    coefficients: tuple[int, ...] = ()
    """Of a smooth map, which coefficient each pass moves."""
    edges: NDArray[np.float64] | None = None
    """Of isotonic regression, the probabilities between its levels, (n_parts − 1,)."""

    def part(self, raw: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return which part each image falls into by its probability before the map."""
        if self.edges is None:
            return np.zeros(len(raw), dtype=np.intp)
        return np.searchsorted(self.edges, raw)

    def moved(
        self, at: int, raw: NDArray[np.float64], mapped: NDArray[np.float64], *, sign: int
    ) -> NDArray[np.float64]:
        """Return probabilities after a map that is a step off in the direction of a pass."""
        if self.edges is not None:
            return np.asarray(np.clip(mapped + sign * self.steps[at][self.part(raw)], 0, 1))
        z = logit(np.clip(mapped, SMALLEST, 1 - SMALLEST))
        return np.asarray(expit(z + sign * self.steps[at, 0] * columns(self.method, raw)[self.coefficients[at]]))


def smooth_error(
    method: RecalibrationName,
    p: NDArray[np.float64],
    y: NDArray[np.int8],
    patients: NDArray[np.int32],
    *,
    at: NDArray[np.float64],
    n_patients: int,
) -> MapError | None:
    """Return the error of a map fitted by maximum likelihood; None where the information is singular.

    A patient's influence on the coefficients is H⁻¹ Σ (y − μ) x over its images, with H = Σ μ (1 − μ) x xᵀ over all. A
    slope at its bound of 0 stays there.

    Parameters
    ----------
    at
        The coefficients of greatest likelihood.
    """
    x = np.column_stack(columns(method, p))
    n_slopes = {"temperature": 1, "platt": 1}.get(method, 2)
    free = [j for j in range(x.shape[1]) if j >= n_slopes or method != "beta" or at[j] > 0]
    mean = expit(x @ at)
    scores = (y - mean)[:, None] * x[:, free]
    information = (x[:, free] * (mean * (1 - mean))[:, None]).T @ x[:, free]
    by_patient = np.stack([np.bincount(patients, weights=row, minlength=n_patients) for row in scores.T])
    try:
        influences = np.asarray(np.linalg.solve(information, by_patient), dtype=np.float64)
    except np.linalg.LinAlgError:
        return None
    return _in_steps(method, linearised_se(influences)[:, None], influences[:, None], coefficients=tuple(free))


def step_error(
    p: NDArray[np.float64], y: NDArray[np.int8], patients: NDArray[np.int32], *, n_patients: int
) -> MapError | None:
    """Return the error of isotonic regression, its levels being means of labels over the images of each.

    Where levels begin and end is held fixed: a metric that is smooth in the levels does not feel it to first order.
    """
    values, place = np.unique(p, return_inverse=True)
    n = np.bincount(place).astype(np.float64)
    fit = isotonic_regression(np.bincount(place, weights=y) / n, weights=n)
    firsts = fit.blocks[:-1]
    block = np.searchsorted(firsts, place, side="right") - 1
    levels = fit.x[firsts].astype(np.float64)
    size = len(levels)
    gaps = np.bincount(block * n_patients + patients, weights=y - levels[block], minlength=size * n_patients)
    n_images = np.bincount(block, minlength=size)[:, None]
    influences = np.asarray(gaps.reshape(size, n_patients) / n_images, dtype=np.float64)
    steps = np.minimum(linearised_se(influences), np.minimum(levels, 1 - levels) / 2)
    edges = (values[firsts[1:] - 1] + values[firsts[1:]]) / 2
    return _in_steps("isotonic", steps[None], influences[None], edges=edges)


def _in_steps(
    method: RecalibrationName,
    steps: NDArray[np.float64],
    influences: NDArray[np.float64],
    *,
    coefficients: tuple[int, ...] = (),
    edges: NDArray[np.float64] | None = None,
) -> MapError | None:
    if not np.isfinite(influences).all():
        return None
    relative = np.divide(influences, steps[..., None], out=np.zeros_like(influences), where=steps[..., None] > 0)
    return MapError(method=method, steps=steps, influences=relative, coefficients=coefficients, edges=edges)


@dataclass(frozen=True, kw_only=True, slots=True)
class MapErrors:
    """The errors of all maps of a study, and how the patients whose images they were fitted to are drawn."""

    of: Mapping[tuple[int, int], MapError]
    """By member and finding."""
    counts: Counts
    """Of the patients whose images the maps were fitted to: the study's own resamples, or others of validation."""
    is_own: bool
    """Whether these are the patients of the study."""

    @property
    def n_more(self) -> int:
        """Patients beside those of the study."""
        return 0 if self.is_own else int(self.counts.shape[1])

    def contributions(
        self, one: Additive, cells: Sequence[Cell], raw: Sequence[Cell], *, member: int, findings: Sequence[int]
    ) -> NDArray[np.float64] | None:
        """Return how much a metric of the findings' recalibrated cells, pooled, moves with the weight of each patient.

        Of the patients whose images maps were fitted to; None where no finding has a map. Sums to 0.

        Parameters
        ----------
        cells, raw
            Of each finding, after the map and before.
        """
        errors = [self.of.get((member, k)) for k in findings]
        if not any(errors):
            return None
        whole = _joined(cells, [cell.probabilities for cell in cells])
        sums = one.sums(whole).sum(axis=0)
        parts, offsets = _parts(errors, raw)
        found = np.zeros(self.counts.shape[1])
        for at in range(max(len(error.steps) for error in errors if error is not None)):
            sides = [
                _joined(cells, [_moved(error, at, r, c, sign) for error, r, c in zip(errors, raw, cells, strict=True)])
                for sign in (1, -1)
            ]
            slopes = _slopes(one, whole, sums, sides, parts, n_parts=offsets[-1])
            for error, first, last in zip(errors, offsets[:-1], offsets[1:], strict=True):
                if error is not None and at < len(error.steps):
                    found += slopes[first:last] @ error.influences[at]
        return found

    def drawn(self, contributions: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return what contributions add up to in each resample, (n, n_lanes)."""
        found = np.empty((len(contributions), self.counts.shape[0] * self.counts.shape[2]))
        for lanes, sums in resampled_sums(np.stack(contributions, axis=1), self.counts):
            found[:, lanes] = sums.T
        return found


def _parts(errors: Sequence[MapError | None], raw: Sequence[Cell]) -> tuple[NDArray[np.int32], list[int]]:
    """Return the part of each image of the findings pooled, and where each finding's parts begin and end."""
    found, offsets = [], [0]
    for error, cell in zip(errors, raw, strict=True):
        n = len(cell.labels)
        found.append(offsets[-1] + (np.zeros(n, dtype=np.intp) if error is None else error.part(cell.probabilities)))
        offsets.append(offsets[-1] + (1 if error is None else error.steps.shape[1]))
    return np.concatenate(found).astype(np.int32), offsets


def _moved(error: MapError | None, at: int, raw: Cell, mapped: Cell, sign: int) -> NDArray[np.float64]:
    if error is None or at >= len(error.steps):
        return mapped.probabilities
    return error.moved(at, raw.probabilities, mapped.probabilities, sign=sign)


def _joined(cells: Sequence[Cell], probabilities: Sequence[NDArray[np.float64]]) -> Cell:
    """Return the findings pooled with other probabilities; all that metrics of probabilities read."""
    p = np.concatenate(probabilities)
    return Cell(
        labels=np.concatenate([cell.labels for cell in cells]),
        probabilities=p,
        patients=np.concatenate([cell.patients for cell in cells]),
        n_patients=cells[0].n_patients,
        threshold=0.5,
        clean=p,
        weaker=(p,),
    )


def _slopes(
    one: Additive,
    whole: Cell,
    sums: NDArray[np.float64],
    sides: Sequence[Cell],
    parts: NDArray[np.int32],
    *,
    n_parts: int,
) -> NDArray[np.float64]:
    """Return how much the metric moves with a step of each part, (n_parts,): central differences."""
    if one.is_fitted:
        return np.array([_slope_of_part(one, whole, sides, parts == part) for part in range(n_parts)])
    up, down = (one.moved_sums(replace(side, patients=parts, n_patients=n_parts), whole) for side in sides)
    return one.split(sums, (up - down) / 2)


def _slope_of_part(one: Additive, whole: Cell, sides: Sequence[Cell], part: NDArray[np.bool_]) -> float:
    moved = [replace(side, probabilities=np.where(part, side.probabilities, whole.probabilities)) for side in sides]
    if any(one.undefined(cell) is not None for cell in moved):
        return 0.0
    up, down = (one.value(cell) for cell in moved)
    return (up - down) / 2
