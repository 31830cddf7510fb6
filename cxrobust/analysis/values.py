"""One metric on every regime, condition and place: value, resamples, and what each patient contributes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.contrasts import Contrast
from cxrobust.analysis.metrics import Metric
from cxrobust.analysis.sample import Sample
from cxrobust.results import MACRO, MICRO, WORST


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOutFinding:
    """Why no macro average counts a finding, and a cell of which that is so."""

    why: str
    regime: str
    condition: str
    subgroup: str
    """Empty for all images."""

    @property
    def where(self) -> str:
        """The cell, as notes name it."""
        return ", ".join(filter(None, (self.regime, self.condition, self.subgroup)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Values:
    """One metric; after the findings stand `averages`, the macro average last.

    A row is a regime. Where several views of a sample were evaluated together (subgroups, or raw and recalibrated
    probabilities), the regimes of the first view stand first, then those of the second.
    """

    metric: Metric
    value: NDArray[np.float64]
    """(n_rows, n_conditions, n_places)."""
    resampled: NDArray[np.float64]
    """(n_rows, n_conditions, n_places, n_resamples)."""
    contributions: NDArray[np.float64]
    """(n_rows, n_conditions, n_places, n_patients): sums to the value."""
    influences: NDArray[np.float64]
    """(n_rows, n_conditions, n_places, n_patients): how much the value moves with a patient's weight; sums to 0."""
    shares: NDArray[np.float64]
    """(n_rows, n_places, n_patients): each patient's part of what is averaged; sums to 1."""
    chances: NDArray[np.float64]
    """(n_places,): value of guessing on clean images; NaN where there is none."""
    reasons: NDArray[np.object_]
    """(n_rows, n_conditions, n_places): why a value is not estimable, or None."""
    worst: NDArray[np.intp]
    """(n_rows, n_conditions): the worst finding; -1 where there is none."""
    replicates: tuple[NDArray[np.float64], ...]
    """For each row (n_replicates, n_conditions, n_places): the value of each training run."""
    run_influences: tuple[NDArray[np.float64], ...]
    """For each row (n_replicates, n_conditions, n_places, n_patients); of one run none are kept, they are its row's."""
    drawn_runs: tuple[NDArray[np.intp], ...]
    """For each row (n_replicates, n_resamples): which runs each resample draws, the same in every view."""
    samples: tuple[Sample, ...]
    """The views, in the order of the rows."""
    left_out: Mapping[int, LeftOutFinding]
    """Findings that no macro average or worst finding counts, with the first cell that has a reason."""

    def reason(self, contrast: Contrast, place: int) -> str | None:
        """Say why one of the values in a contrast is not estimable, or return None."""
        for row, condition in contrast.places:
            reason = self.reasons[row, condition, place]
            if reason is not None:
                return str(reason)
        return None

    def has_runs(self, contrast: Contrast) -> bool:
        """Whether a regime of the contrast has several training runs."""
        return any(len(self.replicates[row]) > 1 for row, _, _ in contrast.terms)

    @property
    def named_left_out(self) -> dict[str, str]:
        """Those left out by the findings' names, with the reason, and the subgroup where it is of one."""
        names = self.samples[0].predictions.findings
        return {
            names[k]: f"{one.why} in {one.subgroup}" if one.subgroup else one.why for k, one in self.left_out.items()
        }

    def filled(self, contrasts: Sequence[Contrast]) -> dict[str, float]:
        """Return in which share of resamples averages of contrasts have the sample's value of a finding, where in any.

        See `with_sample_values`.
        """
        names, n_regimes = self.samples[0].predictions.findings, len(self.samples[0].predictions.regimes)
        held = [k for k in range(len(names)) if k not in self.left_out]
        if not held:
            return {}
        found = np.zeros((len(held), self.resampled.shape[-1]), dtype=np.bool_)
        for view in {row // n_regimes for one in contrasts for row, _, _ in one.terms}:
            rows = slice(view * n_regimes, (view + 1) * n_regimes)
            found |= are_filled([np.asarray(np.isnan(self.resampled[rows, :, k]).any(axis=(0, 1))) for k in held])
        return {names[k]: float(one.mean()) for k, one in zip(held, found, strict=True) if one.any()}

    def cells(self, row: int, condition: int, place: int) -> list[Cell]:
        """Return the cell of each replicate; `place` is a finding, or the one after the last: all of them pooled."""
        view, regime = divmod(row, len(self.samples[0].predictions.regimes))
        sample = self.samples[view]
        return [sample.cell(member=m, condition=condition, finding=place) for m in sample.members(regime)]


def averages(n_findings: int) -> tuple[str, ...]:
    """Name the places after the findings, where there are several: all pooled, the worst of them, their mean."""
    return (MICRO, WORST, MACRO) if n_findings > 1 else (MACRO,)


def mean_over_findings(
    value: NDArray[np.float64], resampled: NDArray[np.float64], *, n_views: int = 1
) -> NDArray[np.float64]:
    """Return the mean of resampled values over findings (axis 2); NaN without any; see `with_sample_values`."""
    return mean_or_nan(with_sample_values(value, resampled, n_views=n_views), axis=2)


def with_sample_values(
    value: NDArray[np.float64], resampled: NDArray[np.float64], *, n_views: int = 1
) -> NDArray[np.float64]:
    """Return resampled values of findings, (n_rows, n_conditions, n_findings, n_resamples), without single gaps.

    A finding that a resample does not define in one cell of a view has there the sample's value, (n_rows, n_conditions,
    n_findings), in every cell of that view, so that differences stay paired: averages over the others alone would be of
    another estimand, and move with how far this finding is from them. Where no finding is defined all stay NaN.
    """
    views = of_views(resampled, n_views)
    defined = ~np.isnan(views).any(axis=(1, 2))[:, None, None]  # (n_views, 1, 1, n_findings, n_resamples)
    if defined.all():
        return resampled
    filled = np.where(defined, views, of_views(value, n_views)[..., None])
    return np.where(defined.any(axis=3, keepdims=True), filled, np.nan).reshape(resampled.shape)


def are_filled(missing: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Return where averages have the sample's value of a finding, (n_findings, n_resamples): where not all miss."""
    every = np.array(missing, dtype=np.bool_)
    return every & ~every.all(axis=0)


def of_views(array: NDArray[Any], n_views: int) -> NDArray[Any]:
    """Return the rows of each view: (n_rows, ...) to (n_views, n_rows of one, ...)."""
    return array.reshape(n_views, len(array) // n_views, *array.shape[1:])


def mean_or_nan(array: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Mean along an axis; NaN where it is empty."""
    if array.shape[axis] == 0:
        return np.full(np.delete(array.shape, axis), np.nan)
    return np.asarray(array.mean(axis=axis))
