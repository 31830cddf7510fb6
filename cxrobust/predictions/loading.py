"""A folder of predictions, read as one record and held against the contract."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrobust.conditions import CLEAN
from cxrobust.errors import DataError, counted, some
from cxrobust.prediction_files import IMAGES, INDEX, VALIDATION_IMAGES
from cxrobust.predictions.index import REFERENCE, read_images, read_index
from cxrobust.predictions.parquet import AGAIN, verified
from cxrobust.predictions.pooling import pool_studies
from cxrobust.predictions.records import PredictionSet, UnitPredictions
from cxrobust.predictions.scores import read_scores
from cxrobust.predictions.units import read_unit
from cxrobust.radiology_reports.findings import EMPTY, FOREIGN, UNREAD, in_samples
from cxrobust.results import MACRO, MICRO, OTHERS, REPORT, WORST

AVERAGES = (MACRO, MICRO, OTHERS, REPORT, WORST)
ROUNDING = 1e-9
"""What log-odds in single precision may move `UNREAD` by."""


def load_predictions(folder: Path) -> PredictionSet:
    """Read a folder of predictions and hold it against the contract.

    Raises
    ------
    DataError
        Naming the file, cell and image: a missing cell, an image that is absent or stands twice, a label or patient
        that differs between cells, a patient of both the test and the validation images, a damaged or changed file.
    """
    index = read_index(folder)
    _check_names(folder / INDEX, index)
    test = _load_part(
        folder,
        IMAGES,
        index,
        findings=tuple(index["data"]["findings"]),
        members=tuple(dict.fromkeys((unit["regime"], int(unit["replicate"])) for unit in index["units"])),
        conditions=tuple(condition["name"] for condition in index["conditions"]),
    )
    if index.get("validation") is None:
        return test
    validation = _load_part(
        folder,
        VALIDATION_IMAGES,
        index["validation"],
        findings=test.findings,
        members=test.members,
        conditions=(str(CLEAN),),
        prefix="validation images, ",
    )
    _check_apart(folder, test, validation)
    return replace(test, validation=validation)


def _check_names(path: Path, index: Mapping[str, Any]) -> None:
    """Refuse findings and conditions that results could not tell apart, and clean images that are not the first."""
    findings, conditions = index["data"]["findings"], [condition["name"] for condition in index["conditions"]]
    for what, names in (("finding", findings), ("condition", conditions)):
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise DataError(f"{path}: {what} {twice!r} stands twice: every {what} needs a name of its own")
    average = next((name for name in findings if name in AVERAGES), None)
    if average is not None:
        raise DataError(f"{path}: finding {average!r} has the name of an average over findings: call it otherwise")
    if conditions[0] != str(CLEAN):
        raise DataError(
            f"{path}: the first condition is {conditions[0]!r}: {CLEAN} has to be, with which others are compared"
        )


def _load_part(
    folder: Path,
    name: str,
    index: Mapping[str, Any],
    *,
    findings: tuple[str, ...],
    members: tuple[tuple[str, int], ...],
    conditions: tuple[str, ...],
    prefix: str = "",
) -> PredictionSet:
    """Read the images in file `name` and every cell of them; `prefix` begins what an error says of a cell."""
    images = read_images(verified(folder / name, index["images_sha256"]), findings)
    ids = tuple(images["image_id"])
    patient_codes, patient_ids = pd.factorize(images["patient_id"])
    labels = np.column_stack([images[f"label_{f}"] for f in findings]).astype(np.int8)
    probabilities = np.full((len(members), len(conditions), len(ids), len(findings)), np.nan)
    written = _Written((len(members), len(conditions), len(ids)))
    position = {image: row for row, image in enumerate(ids)}
    skipped = {one["image"] for one in index["data"].get("skipped", ())}
    seen = np.zeros(probabilities.shape[:3], dtype=bool)
    for entry in index["units"]:
        unit = _without(read_unit(verified(folder / entry["file"], entry["sha256"])), skipped)
        where = f"{prefix}regime {unit.regime!r}, condition {unit.condition!r}"
        if (unit.regime, unit.replicate, unit.condition) != (entry["regime"], entry["replicate"], entry["condition"]):
            raise DataError(f"{folder / entry['file']}: it holds {where}, which is not what {INDEX} says: {AGAIN}")
        if unit.condition not in conditions:
            raise DataError(f"{where}: the conditions of these images are {', '.join(conditions)}: predict again")
        if (unit.regime, unit.replicate) not in members:
            raise DataError(f"{where}: replicate {unit.replicate} has no predictions on test images: predict again")
        cell = members.index((unit.regime, unit.replicate)), conditions.index(unit.condition)
        rows = _rows(unit, position, where)
        _check_same(unit, rows, findings, labels, patient_ids[patient_codes[rows]], where)
        if seen[(*cell, rows)].any():
            twice = unit.image_ids[int(np.flatnonzero(seen[(*cell, rows)])[0])]
            raise DataError(f"{where}: image {twice!r} appears twice: every cell needs each image once")
        seen[(*cell, rows)] = True
        probabilities[(*cell, rows)] = unit.probabilities
        written.put(unit, cell, rows)
    _check_whole(seen, members, conditions, ids, prefix)
    scored = read_scores(folder, index, members=members, conditions=conditions, position=position)
    hidden = {"image_id", "patient_id", REFERENCE, *(f"label_{f}" for f in findings)}
    part = PredictionSet(
        image_ids=ids,
        patient_ids=tuple(patient_ids),
        patients=patient_codes.astype(np.int32),
        findings=findings,
        labels=labels,
        members=members,
        conditions=conditions,
        probabilities=probabilities,
        metadata=images.drop(columns=[column for column in images if column in hidden]),
        index=index,
        references=_references(images),
        reports=written.reports,
        log_probabilities=written.log_probabilities,
        unread=written.unread,
        scores=scored.columns,
        scoring=scored.scoring,
    )
    pooled = index["data"].get("pooled")
    return part if pooled is None else pool_studies(part, column=pooled["column"], by=pooled["by"])


class _Written:
    """What generators wrote, cell by cell; the arrays are there as soon as one has written."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._shape = shape
        self.reports: NDArray[np.object_] | None = None
        self.log_probabilities: NDArray[np.float64] | None = None
        self.unread: dict[tuple[str, int, str], dict[str, NDArray[np.bool_]]] = {}

    def put(self, unit: UnitPredictions, cell: tuple[int, int], rows: NDArray[np.intp]) -> None:
        if unit.reports is None:
            return
        if self.reports is None or self.log_probabilities is None:
            self.reports = np.full(self._shape, None, dtype=object)
            self.log_probabilities = np.full(self._shape, np.nan)
        self.reports[(*cell, rows)] = unit.reports
        if unit.log_probabilities is not None:
            self.log_probabilities[(*cell, rows)] = unit.log_probabilities
        for fault, of_unit in _unread(unit).items():
            own = self.unread.setdefault((unit.regime, unit.replicate, unit.condition), {})
            own.setdefault(fault, np.zeros(self._shape[2], dtype=np.bool_))[rows] = of_unit


def _unread(unit: UnitPredictions) -> dict[str, NDArray[np.bool_]]:
    """Return which images (n_images,) have probabilities from a report that tells nothing, by why; {} of none.

    A regime that takes its probabilities from elsewhere, such as answers to questions, has others than `UNREAD`.
    """
    tells_nothing = (np.abs(unit.probabilities - UNREAD) < ROUNDING).all(axis=1)
    found = {}
    for fault in (EMPTY, FOREIGN):
        for told, counts in ((fault, tells_nothing), (in_samples(fault), True)):
            named = set(unit.report_faults.get(told, ()))
            of_unit = np.array([image in named for image in unit.image_ids], dtype=np.bool_) & counts
            if of_unit.any():
                found[told] = of_unit
    return found


def _references(images: pd.DataFrame) -> tuple[str | None, ...] | None:
    if REFERENCE not in images:
        return None
    return tuple(None if pd.isna(one) else str(one) for one in images[REFERENCE])


def _without(unit: UnitPredictions, images: Set[str]) -> UnitPredictions:
    """Return a unit without the predictions of some images, which another unit has none of."""
    kept = [row for row, image in enumerate(unit.image_ids) if image not in images]
    if len(kept) == len(unit.image_ids):
        return unit
    return replace(
        unit,
        image_ids=tuple(unit.image_ids[row] for row in kept),
        patients=tuple(unit.patients[row] for row in kept),
        labels=unit.labels[kept],
        probabilities=unit.probabilities[kept],
        logits=None if unit.logits is None else unit.logits[kept],
        reports=None if unit.reports is None else tuple(unit.reports[row] for row in kept),
        log_probabilities=None if unit.log_probabilities is None else unit.log_probabilities[kept],
        report_faults={fault: [one for one in ids if one not in images] for fault, ids in unit.report_faults.items()},
    )


def _rows(unit: UnitPredictions, position: Mapping[str, int], where: str) -> NDArray[np.intp]:
    unknown = [image for image in unit.image_ids if image not in position]
    if unknown:
        raise DataError(f"{where}: {counted(len(unknown), 'image')} not in the study ({some(unknown)}): predict again")
    rows = np.array([position[image] for image in unit.image_ids], dtype=np.intp)
    if len(np.unique(rows)) != len(rows):
        twice = pd.Series(unit.image_ids)[pd.Series(unit.image_ids).duplicated()].iloc[0]
        raise DataError(f"{where}: image {twice!r} appears twice: every cell needs each image once")
    return rows


def _check_apart(folder: Path, test: PredictionSet, validation: PredictionSet) -> None:
    found = tuple(validation.index["data"]["findings"])
    if found != test.findings:
        raise DataError(
            f"{folder / INDEX}: validation.data.findings are {some(found)}, not {some(test.findings)}: {AGAIN}"
        )
    of_test = set(test.patient_ids)
    shared = [patient for patient in validation.patient_ids if patient in of_test]
    if shared:
        raise DataError(
            f"{folder / VALIDATION_IMAGES}: {counted(len(shared), 'patient')} also in {IMAGES} ({some(shared)}): "
            f"leave each to one of the two and predict again"
        )


def _check_same(
    unit: UnitPredictions,
    rows: NDArray[np.intp],
    findings: tuple[str, ...],
    labels: NDArray[np.int8],
    patients: Iterable[str],
    where: str,
) -> None:
    if unit.findings != findings:
        raise DataError(f"{where}: its findings are {some(unit.findings)}, not {some(findings)}: predict again")
    differs = (unit.labels != labels[rows]).any(axis=1)
    if differs.any():
        raise DataError(
            f"{where}: image {unit.image_ids[int(np.flatnonzero(differs)[0])]!r}: its labels differ from the study's"
        )
    for image, found, expected in zip(unit.image_ids, unit.patients, patients, strict=True):
        if found != expected:
            raise DataError(f"{where}: image {image!r} is of patient {found!r}, in the study of {expected!r}")


def _check_whole(
    seen: NDArray[np.bool_],
    members: Sequence[tuple[str, int]],
    conditions: Sequence[str],
    ids: Sequence[str],
    prefix: str,
) -> None:
    if seen.all():
        return
    member, condition, _ = (int(i) for i in np.argwhere(~seen)[0])
    absent = [ids[int(i)] for i in np.flatnonzero(~seen[member, condition])]
    where = f"{prefix}regime {members[member][0]!r}, condition {conditions[condition]!r}"
    if len(absent) == len(ids):
        raise DataError(f"{where}: the cell is missing: every regime needs every condition")
    raise DataError(
        f"{where}: {counted(len(absent), 'image')} missing ({some(absent)}): every cell needs each image once"
    )
