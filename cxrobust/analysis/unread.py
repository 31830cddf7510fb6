"""Reports that tell nothing: where probabilities are read from such, their number and reason stand beside estimates."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.contrasts import Contrast
from cxrobust.analysis.metrics import Metric
from cxrobust.analysis.sample import Sample
from cxrobust.errors import some


@dataclass(frozen=True, kw_only=True, slots=True)
class Unread:
    """How many reports tell nothing, in words."""

    said: Mapping[tuple[int, int], Sequence[str]]
    """By row and condition, for each place; cells without such reports are left out."""

    @classmethod
    def of(cls, samples: Sequence[Sample], *, n_places: int) -> "Unread":
        """Count them in each cell of some views, whose regimes are the rows, one view after the other."""
        found = {}
        for view, sample in enumerate(samples):
            predictions = sample.predictions
            if not predictions.unread:
                continue
            used = _used(sample, n_places)
            for r, regime in enumerate(predictions.regimes):
                for c, condition in enumerate(predictions.conditions):
                    members = [predictions.members[m] for m in sample.members(r)]
                    runs = [predictions.unread.get((*one, condition), {}) for one in members]
                    if any(runs):
                        place = view * len(predictions.regimes) + r, c
                        counted = _counted(runs, used)
                        found[place] = [one and f"{regime}, {condition} ({one})" for one in counted]
        return cls(said=found)

    def notes(self, cells: Iterable[tuple[int, int]], place: int) -> list[str]:
        """Name those of some cells, (row, condition) each."""
        told = dict.fromkeys(self.said[one][place] for one in cells if one in self.said)
        named = [one for one in told if one]
        return [f"reports that tell nothing in {some(named)}"] if named else []


def cells_of(metric: Metric, contrast: Contrast, sample: Sample) -> list[tuple[int, int]]:
    """Return the cells, (row, condition) each, whose probabilities a contrast of a metric is made from."""
    if metric.of_labels or metric.of_reports:
        return []
    clean = [0] if metric.against_clean or metric.of_sets else []
    return [
        (row, c)
        for row, condition in contrast.places
        for c in (*clean, *(sample.series[condition] if metric.of_sets else [condition]))
    ]


def _used(sample: Sample, n_places: int) -> NDArray[np.bool_]:
    """Which images count at each place, (n_images, n_places): those with a label, of averages with any."""
    labelled = sample.kept[:, None] & (sample.predictions.labels >= 0)
    averages = np.repeat(labelled.any(axis=1, keepdims=True), n_places - labelled.shape[1], axis=1)
    return np.hstack([labelled, averages])


def _counted(runs: Sequence[Mapping[str, NDArray[np.bool_]]], used: NDArray[np.bool_]) -> list[str]:
    """Return for each place how many reports of all training runs tell nothing, and why; nothing where none does."""
    faults = dict.fromkeys(fault for run in runs for fault in run)

    def count(images: Sequence[NDArray[np.bool_]]) -> NDArray[np.int64]:
        return np.asarray(np.sum([used[one].sum(axis=0) for one in images], axis=0, dtype=np.int64))

    of_fault = {fault: count([run[fault] for run in runs if fault in run]) for fault in faults}
    together = count([np.logical_or.reduce(list(run.values()), axis=0) for run in runs if run])
    of_all = len(runs) * used.sum(axis=0)
    return [
        f"{n:,} of {of_all[place]:,}: "
        + ", ".join(f"{one[place]:,} {fault}" for fault, one in of_fault.items() if one[place])
        if n
        else ""
        for place, n in enumerate(together)
    ]
