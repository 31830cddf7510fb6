"""One unit's predictions as a Parquet file, with all that identifies them in its header."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cxrobust.errors import DataError
from cxrobust.files import canonical_json, sha256_bytes
from cxrobust.predictions.parquet import AGAIN, read_table, write_table
from cxrobust.predictions.records import UnitPredictions

FORMAT = 1
REPORT, LOG_PROBABILITY = "report", "log_probability"
_METADATA_KEY = b"cxrobust"


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
    write_table(table, path)


def read_unit(path: Path) -> UnitPredictions:
    """Read one unit's Parquet file and verify its checksums.

    Raises
    ------
    DataError
        When the file is missing or damaged, is not of this format, or holds a probability outside [0, 1].
    """
    table = read_table(path)
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
        raise DataError(f"{path}: not a predictions file ({error}): {AGAIN}") from error
    if not is_whole:
        raise DataError(f"{path}: the file is damaged (its content hash differs): {AGAIN}")
    check_probabilities(unit.probabilities, unit.image_ids, findings, where=str(path))
    _check_reports(unit, path)
    return unit


def registration_of(path: Path) -> str | None:
    """Return the hash of the registration that a unit's file carries, from its header alone."""
    found: str | None = _identity(path).get("registration")
    return found


def report_faults_of(path: Path) -> dict[str, list[str]]:
    """Return the images of a unit by what is wrong with their reports, from its file's header alone."""
    return dict(_identity(path).get("report_faults", {}))


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


def _identity(path: Path) -> dict[str, Any]:
    return dict(json.loads((pq.read_schema(path).metadata or {})[_METADATA_KEY]))


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
