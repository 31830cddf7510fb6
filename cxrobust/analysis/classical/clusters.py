"""Images that belong together: numbering of clusters, sums over them, and the checks that all methods share."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def numbered(clusters: ArrayLike | None, n_images: int) -> tuple[NDArray[np.intp], int]:
    """Return each image's cluster as 0 … n_clusters − 1, and n_clusters; without clusters, each image is its own.

    Raises
    ------
    ValueError
        When there is not one cluster for each image.

    Examples
    --------
    >>> numbered([7, 3, 7], 3)
    (array([1, 0, 1]), 2)
    """
    if clusters is None:
        return np.arange(n_images), n_images
    found = np.asarray(clusters)
    if found.shape != (n_images,):
        raise ValueError(f"clusters has shape {found.shape}, expected ({n_images},): one for each image")
    names, index = np.unique(found, return_inverse=True)
    return index, len(names)


def sums(values: NDArray[np.float64], index: NDArray[np.intp], n_clusters: int) -> NDArray[np.float64]:
    """Return the sum of the images' values in each cluster, (n_clusters,)."""
    return np.asarray(np.bincount(index, weights=values, minlength=n_clusters), dtype=np.float64)


def binary(values: ArrayLike, *, name: str, ndim: int = 1) -> NDArray[np.bool_]:
    """Return an array of 0 and 1 as booleans.

    Raises
    ------
    ValueError
        When it has another number of axes, is empty, or holds anything else.
    """
    found = np.asarray(values)
    if found.ndim != ndim or found.size == 0:
        raise ValueError(f"{name} has shape {found.shape}, expected {ndim} axes and at least one value")
    if not np.isin(found, (0, 1)).all():
        raise ValueError(f"{name} holds values other than 0 and 1")
    return found.astype(np.bool_)


def finite(values: ArrayLike, *, name: str, ndim: int = 1) -> NDArray[np.float64]:
    """Return an array of finite numbers as float64.

    Raises
    ------
    ValueError
        When it has another number of axes, is empty, or holds NaN or an infinity.
    """
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != ndim or found.size == 0:
        raise ValueError(f"{name} has shape {found.shape}, expected {ndim} axes and at least one value")
    if not np.isfinite(found).all():
        raise ValueError(f"{name} holds values that are not finite")
    return found


def check_choice(value: str, known: Sequence[str], *, name: str) -> None:
    """Refuse a word that is none of those known.

    Raises
    ------
    ValueError
        When `value` is not among `known`.
    """
    if value not in known:
        raise ValueError(f"{name} is {value!r}, expected {' or '.join(map(repr, known))}")
