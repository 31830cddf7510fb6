"""The predictions contract: one probability for each image and finding in every cell of a study.

A folder of predictions holds `index.json` (what was predicted, by what), `images.parquet` (image, patient, labels and
metadata) and one Parquet file for each unit of work; where there are validation images, `validation.parquet` says of
them what `images.parquet` says of the test images. Any tool may write them. A column `reference` of the images is the
radiologist's report, and columns `report` and `log_probability` of a unit what a generator wrote.
"""

import json
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from cxrobust.conditions import CLEAN
from cxrobust.errors import DataError, some
from cxrobust.files import atomic_write, atomic_write_text, canonical_json, sha256_bytes, sha256_file
from cxrobust.pooling import Pool, pool_studies
from cxrobust.score_files import Scoring, read_scores

FORMAT = 1
INDEX = "index.json"
IMAGES = "images.parquet"
VALIDATION_IMAGES = "validation.parquet"
REFERENCE, REPORT, LOG_PROBABILITY = "reference", "report", "log_probability"
_METADATA_KEY = b"cxrobust"
_AGAIN = "delete it and run cxrobust predict again"


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitPredictions:
    """The predictions of one unit: one regime, replicate and condition on some of the images."""

    regime: str
    replicate: int
    condition: str
    key: str
    """Hash of all that determines the content."""
    image_ids: tuple[str, ...]
    patients: tuple[str, ...]
    findings: tuple[str, ...]
    labels: NDArray[np.int8]
    """(n_images, n_findings): 1, 0, or -1 where missing."""
    probabilities: NDArray[np.float64]
    """(n_images, n_findings) in [0, 1]."""
    logits: NDArray[np.float32] | None
    """(n_images, n_findings) log-odds; None where the source gave none."""
    reports: tuple[str, ...] | None = None
    """The report that a generator wrote of each image; None for a regime that writes none."""
    log_probabilities: NDArray[np.float64] | None = None
    """(n_images,) mean log-probability of a token of each report, NaN where unknown; None without reports."""
    report_faults: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Images by what is wrong with their report: `empty`, `not English`, `cut off`, `very long`."""
    registration: str | None = None
    """Hash of the registered plan that was at hand when the unit was made, which was therefore made after it."""
    skipped: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Images of the unit without a prediction: kind of reason and detail, by id."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionSet:
    """All cells of a study, on the same images."""

    image_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    """Distinct patients, in order of first appearance."""
    patients: NDArray[np.int32]
    """(n_images,): index into `patient_ids`."""
    findings: tuple[str, ...]
    labels: NDArray[np.int8]
    """(n_images, n_findings): 1, 0, or -1 where missing."""
    members: tuple[tuple[str, int], ...]
    """Regime and replicate of each model."""
    conditions: tuple[str, ...]
    """`clean` first."""
    probabilities: NDArray[np.float64]
    """(n_members, n_conditions, n_images, n_findings) in [0, 1]."""
    metadata: pd.DataFrame
    index: Mapping[str, Any]
    """`index.json` as it was written; of validation images its entry `validation`."""
    references: tuple[str | None, ...] | None = None
    """The radiologist's report of each image, None where it is missing; None where the data set has none at all."""
    reports: NDArray[np.object_] | None = None
    """(n_members, n_conditions, n_images): what each generator wrote, None where a regime writes no reports; None where
    no regime does."""
    log_probabilities: NDArray[np.float64] | None = None
    """(n_members, n_conditions, n_images): mean log-probability of a token of each report, NaN where unknown."""
    scores: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """What scorers say of each report, by column: (n_members, n_conditions, n_images), NaN where not scored."""
    scoring: Mapping[str, Scoring] = field(default_factory=dict)
    """What is to be told of each scorer's scores."""
    validation: "PredictionSet | None" = None
    """The same members and findings, clean, on images of other patients: on these operating points and recalibration
    may be fitted, and no estimate is made of them."""

    @property
    def regimes(self) -> tuple[str, ...]:
        """Names of the regimes, in the study's order."""
        return tuple(dict.fromkeys(name for name, _ in self.members))


def write_unit(unit: UnitPredictions, path: Path) -> None:
    """Write one unit's Parquet file, with page checksums, whole or not at all."""
    columns: dict[str, Any] = {
        "image_id": pa.array(unit.image_ids, pa.string()),
        "patient_id": pa.array(unit.patients, pa.string()),
    }
    for k, finding in enumerate(unit.findings):
        columns[f"label_{finding}"] = pa.array(unit.labels[:, k], pa.int8(), mask=unit.labels[:, k] < 0)
        columns[f"probability_{finding}"] = pa.array(unit.probabilities[:, k], pa.float64())
        if unit.logits is not None:
            columns[f"logit_{finding}"] = pa.array(unit.logits[:, k], pa.float32())
    if unit.reports is not None:
        columns[REPORT] = pa.array(unit.reports, pa.string())
    if unit.log_probabilities is not None:
        columns[LOG_PROBABILITY] = pa.array(unit.log_probabilities, pa.float64())
    identity = {
        "format": FORMAT,
        "regime": unit.regime,
        "replicate": unit.replicate,
        "condition": unit.condition,
        "key": unit.key,
        "findings": list(unit.findings),
        "content": _content_hash(unit),
        **({} if unit.registration is None else {"registration": unit.registration}),
        **({"skipped": dict(unit.skipped)} if unit.skipped else {}),
        **({"report_faults": dict(unit.report_faults)} if unit.report_faults else {}),
    }
    table = pa.table(columns).replace_schema_metadata({_METADATA_KEY: json.dumps(identity).encode()})
    atomic_write(path, lambda temporary: _write_table(table, temporary))


def read_unit(path: Path) -> UnitPredictions:
    """Read one unit's Parquet file and verify its checksums; page checksums do not cover headers and names.

    Raises
    ------
    DataError
        When the file is missing or damaged, is not of this format, or holds a probability outside [0, 1].
    """
    table = _read_table(path)
    try:
        identity = json.loads((table.schema.metadata or {})[_METADATA_KEY])
        findings = tuple(identity["findings"])
        labels = np.column_stack([table[f"label_{f}"].fill_null(-1).to_numpy() for f in findings]).astype(np.int8)
        probabilities = np.column_stack([table[f"probability_{f}"].to_numpy() for f in findings])
        has_logits = f"logit_{findings[0]}" in table.column_names
        logits = np.column_stack([table[f"logit_{f}"].to_numpy() for f in findings]) if has_logits else None
        has_reports, has_scores = REPORT in table.column_names, LOG_PROBABILITY in table.column_names
        unit = UnitPredictions(
            regime=identity["regime"],
            replicate=identity["replicate"],
            condition=identity["condition"],
            key=identity["key"],
            image_ids=tuple(table["image_id"].to_pylist()),
            patients=tuple(table["patient_id"].to_pylist()),
            findings=findings,
            labels=labels,
            probabilities=probabilities,
            logits=logits,
            reports=tuple(table[REPORT].to_pylist()) if has_reports else None,
            log_probabilities=table[LOG_PROBABILITY].to_numpy() if has_scores else None,
            report_faults=identity.get("report_faults", {}),
            registration=identity.get("registration"),
            skipped=identity.get("skipped", {}),
        )
        is_whole = identity.get("content") in {None, _content_hash(unit)}
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise DataError(f"{path}: not a predictions file ({error}): {_AGAIN}") from error
    if not is_whole:
        raise DataError(f"{path}: the file is damaged (its content hash differs): {_AGAIN}")
    check_probabilities(unit.probabilities, unit.image_ids, findings, where=str(path))
    _check_reports(unit, path)
    return unit


def _check_reports(unit: UnitPredictions, path: Path) -> None:
    for image, report in zip(unit.image_ids, unit.reports or (), strict=False):
        if report is None:
            raise DataError(f"{path}: image {image!r} has no report: write an empty text where a generator wrote none")
    if unit.log_probabilities is not None and (unit.log_probabilities > 0).any():
        row = int(np.flatnonzero(unit.log_probabilities > 0)[0])
        raise DataError(
            f"{path}: image {unit.image_ids[row]!r}: log_probability {unit.log_probabilities[row]} is above 0: "
            f"give the logarithm of a probability"
        )


def registration_of(path: Path) -> str | None:
    """Return the hash of the registration that a unit's file carries, from its header alone."""
    found: str | None = _identity(path).get("registration")
    return found


def report_faults_of(path: Path) -> dict[str, list[str]]:
    """Return the images of a unit by what is wrong with their reports, from its file's header alone."""
    return dict(_identity(path).get("report_faults", {}))


def _identity(path: Path) -> dict[str, Any]:
    return dict(json.loads((pq.read_schema(path).metadata or {})[_METADATA_KEY]))


def check_probabilities(
    probabilities: NDArray[np.float64], image_ids: Sequence[str], findings: Sequence[str], *, where: str
) -> None:
    """Refuse a probability that is NaN or outside [0, 1], naming image and finding.

    Raises
    ------
    DataError
        For the first such probability.
    """
    wrong = ~((probabilities >= 0) & (probabilities <= 1))
    if wrong.any():
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        raise DataError(
            f"{where}: image {image_ids[row]!r}, finding {findings[column]!r}: probability "
            f"{probabilities[row, column]} is not in [0, 1] ({int(wrong.sum()):,} such): give probabilities, not logits"
        )


def write_index(
    index: Mapping[str, Any], images: pd.DataFrame, folder: Path, *, validation: pd.DataFrame | None = None
) -> None:
    """Write `images.parquet`, `validation.parquet` and then `index.json`, which makes a folder of predictions complete.

    `validation` are the validation images, and stands beside an entry `validation` (data and units) of the index.
    """
    content = {"format": FORMAT, "images_sha256": _write_images(images, folder / IMAGES), **index}
    if validation is not None:
        digest = _write_images(validation, folder / VALIDATION_IMAGES)
        content["validation"] = {"images_sha256": digest, **index["validation"]}
    atomic_write_text(folder / INDEX, index_text(content))


def index_text(index: Mapping[str, Any]) -> str:
    """Return an index as it is written."""
    return json.dumps(index, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def skipped_images(folder: Path) -> dict[str, str]:
    """Return why images, by id, are left out of every cell of a complete folder, validation images too."""
    index = _read_index(folder)
    parts = [index, *([index["validation"]] if index.get("validation") else [])]
    return {one["image"]: str(one.get("detail", "")) for part in parts for one in part["data"].get("skipped", ())}


def load_predictions(folder: Path) -> PredictionSet:
    """Read a folder of predictions and hold it against the contract.

    Raises
    ------
    DataError
        Naming the file, cell and image: a missing cell, an image that is absent or stands twice, a label or patient
        that differs between cells, a patient of both the test and the validation images, a damaged or changed file.
    """
    index = _read_index(folder)
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
    images = _read_images(_verified(folder / name, index["images_sha256"]), findings)
    ids = tuple(images["image_id"])
    patient_codes, patient_ids = pd.factorize(images["patient_id"])
    labels = np.column_stack([images[f"label_{f}"] for f in findings]).astype(np.int8)
    probabilities = np.full((len(members), len(conditions), len(ids), len(findings)), np.nan)
    written = _Written((len(members), len(conditions), len(ids)))
    position = {image: row for row, image in enumerate(ids)}
    skipped = {one["image"] for one in index["data"].get("skipped", ())}
    seen = np.zeros(probabilities.shape[:3], dtype=bool)
    for entry in index["units"]:
        unit = _without(read_unit(_verified(folder / entry["file"], entry["sha256"])), skipped)
        where = f"{prefix}regime {unit.regime!r}, condition {unit.condition!r}"
        if (unit.regime, unit.replicate, unit.condition) != (entry["regime"], entry["replicate"], entry["condition"]):
            raise DataError(f"{folder / entry['file']}: it holds {where}, which is not what {INDEX} says: {_AGAIN}")
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

    def put(self, unit: UnitPredictions, cell: tuple[int, int], rows: NDArray[np.intp]) -> None:
        if unit.reports is None:
            return
        if self.reports is None or self.log_probabilities is None:
            self.reports = np.full(self._shape, None, dtype=object)
            self.log_probabilities = np.full(self._shape, np.nan)
        self.reports[(*cell, rows)] = unit.reports
        if unit.log_probabilities is not None:
            self.log_probabilities[(*cell, rows)] = unit.log_probabilities


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


def _check_apart(folder: Path, test: PredictionSet, validation: PredictionSet) -> None:
    found = tuple(validation.index["data"]["findings"])
    if found != test.findings:
        raise DataError(
            f"{folder / INDEX}: validation.data.findings are {some(found)}, not {some(test.findings)}: {_AGAIN}"
        )
    of_test = set(test.patient_ids)
    shared = [patient for patient in validation.patient_ids if patient in of_test]
    if shared:
        raise DataError(
            f"{folder / VALIDATION_IMAGES}: {len(shared):,} of its patients are in {IMAGES} too ({some(shared)}): "
            f"leave each to one of the two and predict again"
        )


def _write_images(images: pd.DataFrame, path: Path) -> str:
    """Write a table of images and return its SHA-256."""
    table = pa.Table.from_pandas(images, preserve_index=False)
    atomic_write(path, lambda temporary: _write_table(table, temporary))
    return sha256_file(path)


def _write_table(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, write_page_checksum=True, compression="zstd", store_schema=True)


def _read_table(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path, page_checksum_verification=True, partitioning=None)
        table.validate(full=True)  # text that is not UTF-8 would end in an error later
    except FileNotFoundError:
        raise DataError(f"{path}: the file is missing: run cxrobust predict again") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: the file is damaged ({reason}): {_AGAIN}") from error
    return table


def _content_hash(unit: UnitPredictions) -> str:
    """Hash all that a unit says, so that no damage is read as other numbers."""
    names: list[Any] = [
        unit.regime,
        unit.replicate,
        unit.condition,
        unit.key,
        unit.findings,
        unit.image_ids,
        unit.patients,
    ]
    logits = b"" if unit.logits is None else unit.logits.astype("<f4").tobytes()
    names += [[[image, *why] for image, why in unit.skipped.items()]] if unit.skipped else []
    names += (
        [] if unit.reports is None else [{REPORT: list(unit.reports), "faults": sorted(unit.report_faults.items())}]
    )
    numbers = unit.labels.astype("<i1").tobytes() + unit.probabilities.astype("<f8").tobytes() + logits
    written = b"" if unit.log_probabilities is None else unit.log_probabilities.astype("<f8").tobytes()
    return sha256_bytes(canonical_json(names).encode() + numbers + written)


def _read_images(path: Path, findings: Sequence[str]) -> pd.DataFrame:
    images: pd.DataFrame = _read_table(path).to_pandas()
    for column in ("image_id", "patient_id", *(f"label_{finding}" for finding in findings)):
        if column not in images.columns:
            raise DataError(f"{path}: there is no column {column!r}: {_AGAIN}")
        if images[column].isna().any():
            row = int(np.flatnonzero(images[column].isna())[0])
            raise DataError(f"{path}: row {row + 1} has no {column}: every image needs one (a missing label is -1)")
    for finding in findings:
        wrong = ~images[f"label_{finding}"].isin((0, 1, -1))
        if wrong.any():
            image, label = images.loc[wrong, ["image_id", f"label_{finding}"]].iloc[0]
            raise DataError(f"{path}: image {image!r}, finding {finding!r}: label {label} is not 1, 0 or -1")
    if images.empty:
        raise DataError(f"{path}: it holds no image: {_AGAIN}")
    twice = images["image_id"][images["image_id"].duplicated()]
    if len(twice):
        raise DataError(f"{path}: image {twice.iloc[0]!r} appears twice: every image needs one row")
    return images


class _Named(BaseModel, strict=True):
    name: str


class _Pooled(BaseModel, strict=True):
    column: str
    by: Pool


class _Skipped(BaseModel, strict=True):
    image: str


class _Data(BaseModel, strict=True):
    findings: list[str] = Field(min_length=1)
    skipped: list[_Skipped] = []
    pooled: _Pooled | None = None


class _Entry(BaseModel, strict=True):
    file: str
    sha256: str
    regime: str
    replicate: int
    condition: str


class _ScoreFile(_Entry, strict=True):
    scorer: str


class _Scores(BaseModel, strict=True):
    files: list[_ScoreFile]


class _Part(BaseModel, strict=True):
    images_sha256: str
    data: _Data
    units: list[_Entry] = Field(min_length=1)


class _Index(_Part, strict=True):
    """What `load_predictions` needs of an index; there may be more."""

    conditions: list[_Named] = Field(min_length=1)
    validation: _Part | None = None
    scores: _Scores | None = None


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: there are no finished predictions: run cxrobust predict first") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read ({error}): {_AGAIN}") from error
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise DataError(f"{path}: not an index of format {FORMAT}: {_AGAIN}")
    try:
        _Index.model_validate(index)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{path}: {where}: {first['msg'][0].lower()}{first['msg'][1:]}: {_AGAIN}") from error
    return index


def _verified(path: Path, sha256: str) -> Path:
    if path.exists() and sha256_file(path) != sha256:
        raise DataError(f"{path}: its bytes have changed since it was written: {_AGAIN}")
    return path


def _rows(unit: UnitPredictions, position: Mapping[str, int], where: str) -> NDArray[np.intp]:
    unknown = [image for image in unit.image_ids if image not in position]
    if unknown:
        raise DataError(f"{where}: {len(unknown):,} images are not in the study ({some(unknown)}): predict again")
    rows = np.array([position[image] for image in unit.image_ids], dtype=np.intp)
    if len(np.unique(rows)) != len(rows):
        twice = pd.Series(unit.image_ids)[pd.Series(unit.image_ids).duplicated()].iloc[0]
        raise DataError(f"{where}: image {twice!r} appears twice: every cell needs each image once")
    return rows


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
    raise DataError(f"{where}: {len(absent):,} images are missing ({some(absent)}): every cell needs each image once")
