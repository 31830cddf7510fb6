"""Predictions of several images as one: the study of a patient's visit, read as a radiologist reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrobust.errors import DataError
from cxrobust.predictions.records import PredictionSet

Pool = Literal["mean", "max"]
"""How the probabilities of a study's images become one: their mean, or the largest of each finding."""
REASON = "pooled with another image of their study"


@dataclass(frozen=True, kw_only=True, slots=True)
class Studies:
    """Images joined by study, in the order of the first image of each."""

    ids: tuple[str, ...]
    codes: NDArray[np.intp]
    """(n_images,): place of each image's study in `ids`."""
    patients: NDArray[Any]
    """(n_studies,)"""
    labels: NDArray[np.int8]
    """(n_studies, n_findings)"""
    metadata: pd.DataFrame
    """A row for each study: what all its images agree in, missing otherwise."""


def join_studies(
    metadata: pd.DataFrame,
    *,
    column: str,
    image_ids: Sequence[str],
    patients: NDArray[Any],
    labels: NDArray[np.int8],
) -> Studies:
    """Return the studies that images belong to by the metadata's `column`.

    Parameters
    ----------
    metadata, image_ids, patients
        A row, an id and a patient for each image.
    labels
        (n_images, n_findings): 1, 0, or -1 where missing.

    Raises
    ------
    DataError
        When the metadata lack the column, or images of one study differ in a label or their patient.
    """
    if column not in metadata:
        raise DataError(f"the images cannot be pooled by {column}, which their metadata lack: predict again")
    codes, ids = pd.factorize(metadata[column].astype(str))
    first = np.unique(codes, return_index=True)[1]
    for what, values in (("labels", labels), ("patients", patients[:, None])):
        differs = (values != values[first][codes]).any(axis=1)
        if differs.any():
            row = int(np.flatnonzero(differs)[0])
            raise DataError(
                f"image {image_ids[row]!r} of {column} {ids[codes[row]]} differs from another of its "
                f"study in its {what}: pooled images need the same"
            )
    return Studies(
        ids=tuple(ids),
        codes=codes,
        patients=patients[first],
        labels=labels[first],
        metadata=_where_alike(metadata, codes, first),
    )


def pool_studies(predictions: PredictionSet, *, column: str, by: Pool) -> PredictionSet:
    """Return one row for each value of the metadata's `column`, in the order of their first images.

    Its id is that value and its probability of each finding, in every cell, the mean or the largest of its images'.
    Metadata stay where all images of the study agree and are missing otherwise. The images that are no longer rows are
    counted in the index as left out, so that the flow of images adds up. A study's reference is that of its first
    image which has one; several generated reports cannot become one, so pooled rows have none.

    Raises
    ------
    DataError
        When the metadata lack the column, or images of one study differ in a label or their patient.
    """
    studies = join_studies(
        predictions.metadata,
        column=column,
        image_ids=predictions.image_ids,
        patients=predictions.patients,
        labels=predictions.labels,
    )
    codes = studies.codes
    return replace(
        predictions,
        image_ids=studies.ids,
        patients=studies.patients,
        labels=studies.labels,
        probabilities=_pooled(predictions.probabilities, codes, by),
        references=_first_known(predictions.references, codes),
        reports=None,
        log_probabilities=None,
        unread={
            cell: {fault: np.bincount(codes, weights=images) > 0 for fault, images in own.items()}
            for cell, own in predictions.unread.items()
        },
        scores={},
        scoring={},
        metadata=studies.metadata,
        index=_counted(predictions.index, len(codes) - len(studies.ids)),
    )


def _first_known(references: Sequence[str | None] | None, codes: NDArray[np.intp]) -> tuple[str | None, ...] | None:
    if references is None:
        return None
    found: dict[int, str] = {}
    for code, reference in zip(codes.tolist(), references, strict=True):
        if reference is not None and not found.get(code, "").strip():
            found[code] = reference
    return tuple(found.get(code) for code in range(int(codes.max()) + 1))


def _pooled(probabilities: NDArray[np.float64], codes: NDArray[np.intp], by: Pool) -> NDArray[np.float64]:
    """Return (n_members, n_conditions, n_studies, n_findings) from (…, n_images, n_findings)."""
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    ordered = probabilities[:, :, order]
    if by == "max":
        return np.maximum.reduceat(ordered, starts, axis=2)
    sums = np.add.reduceat(ordered, starts, axis=2)
    means: NDArray[np.float64] = np.clip(sums / np.bincount(codes)[:, None], 0, 1)  # rounding may leave 1 + 2e-16
    return means


def _where_alike(metadata: pd.DataFrame, codes: NDArray[np.intp], first: NDArray[np.intp]) -> pd.DataFrame:
    firsts = metadata.iloc[first].reset_index(drop=True)
    alike = pd.DataFrame(index=firsts.index)
    for name in metadata:
        values = pd.factorize(metadata[name], use_na_sentinel=False)[0]
        alike[name] = np.bincount(codes, weights=values != values[first][codes]) == 0
    return firsts.where(alike)


def _counted(index: Mapping[str, Any], n_joined: int) -> dict[str, Any]:
    data = index["data"]
    exclusions = {**(data.get("exclusions") or {}), **({REASON: n_joined} if n_joined else {})}
    return {**index, "data": {**data, "exclusions": exclusions}}
