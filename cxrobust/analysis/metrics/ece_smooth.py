"""Smooth calibration error: residuals smoothed over the probability instead of put into bins."""

from functools import cache, lru_cache
from typing import Any, ClassVar

import numba
import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.lanes import absolute, load, spread, store
from cxrobust.analysis.metrics import Additive, metric
from cxrobust.results import Better
from cxrobust.study.analysis import IntervalName

N_POINTS = 128
"""Points of the grid that carries residuals: the middles of as many intervals of [0, 1]."""
HALVINGS = 50
"""Of [0, 1] in the search for the bandwidth: to rounding."""
NEGLIGIBLE = 1e-16
"""Part of a residual below which smoothing need not bring it to a point: rounding."""
ROWS = 16
"""Sums that are smoothed side by side."""


class SmoothECE(Additive):
    """Smooth expected calibration error (smECE) of the positive class's probability; in [0, 1]; lower is better.

    With the residual y − p of each image smoothed by a Gaussian kernel K_σ that is reflected at 0 and 1,

        smECE_σ = ∫₀¹ |Σ_i K_σ(t, p_i) (y_i − p_i)| dt / n,

    and the value is smECE_σ at the one bandwidth where smECE_σ = σ (Błasiok and Nakkiran 2023, arXiv:2309.12236): it
    has no bins whose edges decide, and calibration is smoothed over as much as it is wrong. The bandwidth is chosen on
    each cell and kept in resamples, as the edges of equal-mass bins are; like those of other calibration errors,
    resampled values are biased upwards, so the interval is made of the patients' influences.

    Residuals are carried by a grid of 128 points, each by the two beside p, in parts that keep its place on average.
    The value is within 0.001 of the definition's on unbinned images.

    Examples
    --------
    >>> p = np.array([0.2, 0.2, 0.2, 0.2, 0.9])
    >>> cell = Cell(
    ...     labels=np.array([0, 0, 1, 0, 1], np.int8),
    ...     probabilities=p,
    ...     patients=np.arange(5, dtype=np.int32),
    ...     n_patients=5,
    ...     threshold=0.5,
    ...     clean=p,
    ...     weaker=(),
    ... )
    >>> round(SmoothECE().value(cell), 3)  # (|1 − 4 × 0.2| + |1 − 0.9|) / 5, being far apart
    0.06
    """

    of_probabilities = True
    biased_by_size: ClassVar[bool] = True
    interval: ClassVar[IntervalName] = "t"
    is_biased: ClassVar[bool] = True
    better: ClassVar[Better] = "lower"

    def sums(self, cell: Cell) -> NDArray[np.float64]:
        """Return each patient's residuals at the grid's points, the cell's bandwidth for each image, and a count."""
        table = np.zeros((cell.n_patients, N_POINTS + 2))
        _add_residuals(cell.patients, cell.probabilities, cell.labels, table)
        table[:, -2] = table[:, -1] * bandwidth(table[:, :N_POINTS].sum(axis=0), len(cell.labels))
        return table

    def finish(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Smooth at the bandwidth that the sums bring along, add the sizes, and divide by the number of images."""
        flat = sums.reshape(-1, sums.shape[-1])
        widths = _widths(flat)
        values = np.full(len(flat), np.nan)
        for width in np.unique(widths[~np.isnan(widths)]):
            alike = widths == width
            some = flat if alike.all() else flat[alike]
            values[alike] = _smoothed_sizes(*_reach(float(width)), np.ascontiguousarray(some.T)) / some[:, -1]
        return values.reshape(sums.shape[:-1])

    def split(self, sums: NDArray[np.float64], by_patient: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give each patient its part of the smoothed residuals, with the sign that the whole has at each point."""
        kernel = heat_kernel(float(_widths(sums)))
        signs = np.sign(sums[:N_POINTS] @ kernel)
        return np.asarray(by_patient[:, :N_POINTS] @ (kernel @ signs) / sums[-1])


def bandwidth(residuals: NDArray[np.float64], n_images: int) -> float:
    """Return the bandwidth σ in [0, 1] at which the smooth calibration error is σ; 0 where all residuals are 0.

    The error falls as σ grows, so halving finds the only one.

    Parameters
    ----------
    residuals
        (N_POINTS,): sums of y − p at the grid's points.
    n_images
        How many images these are of.
    """
    waves, squares = _waves()
    heights = residuals @ waves
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        smoothed = waves @ (heights * np.exp(-(middle**2) / 2 * squares))
        low, high = (middle, high) if np.abs(smoothed).sum() > middle * n_images else (low, middle)
    return low


def heat_kernel(width: float) -> NDArray[np.float64]:
    """Return what a residual at one point of the grid gives to each, (N_POINTS, N_POINTS); columns and rows sum to 1.

    The reflected Gaussian on [0, 1] is what heat becomes after a time of σ²/2 between insulated ends. This is heat on
    the grid (Lindeberg 1990, doi:10.1109/34.49051): nowhere negative, of variance σ² away from the ends, close to the
    Gaussian where σ exceeds the grid's step, and, unlike a sampled one, good down to σ = 0, where it does nothing.

    Parameters
    ----------
    width
        σ, from 0.
    """
    waves, squares = _waves()
    return np.asarray(waves * np.exp(-(width**2) / 2 * squares) @ waves.T)


@lru_cache(maxsize=64)
def _reach(width: float) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.intp]]:
    """Return the heat kernel, and from and up to which point residuals reach each point, both (N_POINTS,)."""
    kernel = heat_kernel(width)
    reached = kernel > NEGLIGIBLE
    return kernel, reached.argmax(axis=0), N_POINTS - reached[::-1].argmax(axis=0)


@numba.njit(cache=True, nogil=True)
def _add_residuals(patients: Any, probabilities: Any, labels: Any, table: Any) -> None:
    """Add each image's residual to the two points beside its probability, and 1 to the last column, of its patient.

    What lies beyond the first or last point is reflected.
    """
    for image in range(len(patients)):
        patient, probability = np.uint32(patients[image]), probabilities[image]
        place = probability * N_POINTS - 0.5
        lower = int(np.floor(place))
        residual, part = labels[image] - probability, place - lower
        table[patient, max(lower, 0)] += residual * (1 - part)
        table[patient, min(lower + 1, N_POINTS - 1)] += residual * part
        table[patient, N_POINTS + 1] += 1


@numba.njit(cache=True, nogil=True)
def _smoothed_sizes(kernel: Any, begin: Any, end: Any, sums: Any) -> Any:
    """Return Σ_t |Σ_s kernel[t, s] sums[s]| of each column of `sums` (n_statistics, n), (n,).

    A product of matrices would be spread over threads, and work on cells is: they would get in each other's way. Four
    points go together, so that sums are read once for all of them.
    """
    n = sums.shape[1]
    sizes, size = np.empty(n), np.empty(ROWS)
    some = np.zeros((N_POINTS, ROWS))
    for first in range(0, n, ROWS):
        width = min(ROWS, n - first)
        some[:, :width] = sums[:N_POINTS, first : first + width]
        total = spread(0, np.float64, ROWS)
        for t in range(0, N_POINTS, 4):
            a = spread(0, np.float64, ROWS)
            b, c, d = a, a, a
            for s in range(min(begin[t : t + 4]), max(end[t : t + 4])):
                sums_at = load(some, np.uint32(s), 0, ROWS)
                a = a + sums_at * spread(kernel[t, s], np.float64, ROWS)
                b = b + sums_at * spread(kernel[t + 1, s], np.float64, ROWS)
                c = c + sums_at * spread(kernel[t + 2, s], np.float64, ROWS)
                d = d + sums_at * spread(kernel[t + 3, s], np.float64, ROWS)
            total = total + (absolute(a) + absolute(b)) + (absolute(c) + absolute(d))
        store(size, 0, total)
        sizes[first : first + width] = size[:width]
    return sizes


def _widths(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the bandwidth that sums (..., n_statistics) bring along, (...); rounded, so that a cell has one."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((sums[..., -2] / sums[..., -1]).round(12))


@cache
def _waves() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the cosines that diffusion on the grid damps, one a column, and the rate of each, (N_POINTS,)."""
    k = np.arange(N_POINTS)
    waves = np.sqrt(2 / N_POINTS) * np.cos(np.pi * np.outer(k + 0.5, k) / N_POINTS)
    waves[:, 0] = np.sqrt(1 / N_POINTS)
    return waves, (2 * N_POINTS * np.sin(np.pi * k / (2 * N_POINTS))) ** 2


metric("ece-smooth")(SmoothECE())
