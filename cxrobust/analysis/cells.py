"""A cell: what one model says of one finding under one condition, on the images where that finding is labelled."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

MadeT = TypeVar("MadeT")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """Predictions and labels of one finding; images without a label are left out."""

    labels: NDArray[np.int8]
    """(n,): 1 or 0."""
    probabilities: NDArray[np.float64]
    """(n,) in [0, 1]."""
    patients: NDArray[np.int32]
    """(n,): index of the patient, 0 to `n_patients` − 1."""
    n_patients: int
    """Patients of the whole study, also those without a label for this finding."""
    threshold: float | NDArray[np.float64]
    """Operating point, of all or (n,) of each: positive means probability ≥ threshold."""
    clean: NDArray[np.float64]
    """(n,): the same model's probabilities on the clean images."""
    weaker: tuple[NDArray[np.float64], ...]
    """Each (n,): the same model's probabilities under this perturbation at every strength up to this one."""
    scores: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """(n,) each: of a cell of reports, the columns that its metric needs."""
    _made: dict[str, Any] = field(init=False, default_factory=dict, repr=False, compare=False)
    """What `once` keeps; a changed cell begins with nothing."""

    @property
    def is_positive(self) -> NDArray[np.bool_]:
        """Whether the label is 1, (n,)."""
        return np.asarray(self.labels == 1)

    @property
    def decisions(self) -> NDArray[np.bool_]:
        """Whether the finding is predicted, (n,)."""
        return np.asarray(self.probabilities >= self.threshold)

    @property
    def one_class(self) -> bool:
        """Whether all labels are alike, or there is none."""
        return len(self.labels) == 0 or self.labels.min() == self.labels.max()

    def once(self, name: str, make: Callable[["Cell"], MadeT]) -> MadeT:
        """Return what is made of the cell, such as its images in order, kept by a name for who asks next."""
        if name not in self._made:
            self._made[name] = make(self)
        made: MadeT = self._made[name]
        return made

    def forget(self) -> None:
        """Let go of what `once` keeps."""
        self._made.clear()

    def by_patient(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum a statistic over each patient's images: (n,) or (n, s) to (n_patients,) or (n_patients, s)."""
        if values.ndim == 1:
            return np.bincount(self.patients, weights=values, minlength=self.n_patients).astype(np.float64, copy=False)
        out = np.zeros((self.n_patients, values.shape[1]))
        _add_rows(self.patients, values, out)
        return out


@numba.njit(cache=True, nogil=True)
def _add_rows(patients: Any, values: Any, out: Any) -> None:
    """Add each image's row of `values` to its patient's row of `out`, in the order of the images."""
    for image in range(len(patients)):
        patient = np.uint32(patients[image])
        for column in range(values.shape[1]):
            out[patient, column] += values[image, column]
