"""Scores of generated reports beside the predictions: a Parquet file for each scorer and unit, listed in the index.

A file is named by the hash of all that its scores depend on: the scorer with its settings, files and code, the unit and
the references. So a scoring that was cut off goes on, and one that is changed is made again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cxrobust.errors import DataError
from cxrobust.predictions.parquet import read_table, verified, write_table
from cxrobust.radiology_reports.scores import BETWEEN, OF_REFERENCE, Scored

SCORES = "scores"
"""The entry of the index."""
AGAIN = "run cxrobust predict again"
_IMAGE, _REASON, _REMARK = "image_id", "reason", "remark"


@dataclass(frozen=True, kw_only=True, slots=True)
class Scoring:
    """What is to be told of the scores of one scorer."""

    reasons: Mapping[str, int]
    """Why images have a report without a score in some cell, each image counted once."""
    remarks: Mapping[str, int]
    """What is to be told of scored reports, such as that they are empty; of a reference once, in however many cells."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AllScores:
    """The scores of all cells."""

    columns: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """(n_members, n_conditions, n_images) each; NaN where not scored."""
    scoring: Mapping[str, Scoring] = field(default_factory=dict)


def write_scores(scored: Scored, image_ids: Sequence[str], path: Path) -> None:
    """Write the scores of one unit's reports, whole or not at all."""
    columns: dict[str, Any] = {_IMAGE: pa.array(image_ids, pa.string())}
    columns |= {name: pa.array(values, pa.float64()) for name, values in scored.columns.items()}
    columns[_REASON] = pa.array(scored.reasons, pa.string())
    columns[_REMARK] = pa.array(scored.remarks, pa.string())
    write_table(pa.table(columns), path)


def is_whole(path: Path) -> bool:
    """Whether a file of scores is there and can be read."""
    try:
        pq.read_table(path, page_checksum_verification=True, partitioning=None)
    except (pa.ArrowException, OSError, ValueError):
        return False
    return True


def listed_scores(index: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return file and hash of all scores that an index lists."""
    return [(str(one["file"]), str(one["sha256"])) for one in (index.get(SCORES) or {}).get("files", [])]


def read_scores(
    folder: Path,
    index: Mapping[str, Any],
    *,
    members: Sequence[tuple[str, int]],
    conditions: Sequence[str],
    position: Mapping[str, int],
) -> AllScores:
    """Read all scores that an index lists, on the images that `position` gives a row.

    Raises
    ------
    DataError
        When a file is missing, damaged or changed, or is of no cell of the study.
    """
    shape = (len(members), len(conditions), len(position))
    columns: dict[str, NDArray[np.float64]] = {}
    why: dict[str, dict[int, str]] = {}
    remarks: dict[str, dict[str, set[tuple[int, ...]]]] = {}
    for entry in (index.get(SCORES) or {}).get("files", []):
        path = folder / str(entry["file"])
        member, condition = (entry["regime"], int(entry["replicate"])), entry["condition"]
        if member not in members or condition not in conditions:
            raise DataError(f"{path}: scores of regime {member[0]!r}, condition {condition!r}, which are none: {AGAIN}")
        cell = members.index(member), conditions.index(condition)
        table = read_table(verified(path, str(entry["sha256"])))
        images = table[_IMAGE].to_pylist()
        kept = [at for at, image in enumerate(images) if image in position]
        rows = [position[images[at]] for at in kept]
        for name in table.column_names:
            if name not in {_IMAGE, _REASON, _REMARK}:
                values = columns.setdefault(name, np.full(shape, np.nan))
                values[(*cell, rows)] = table[name].to_numpy(zero_copy_only=False)[kept]
        told, said = table[_REASON].to_pylist(), table[_REMARK].to_pylist()
        reasons, remarked = why.setdefault(entry["scorer"], {}), remarks.setdefault(entry["scorer"], {})
        for at, row in zip(kept, rows, strict=True):
            if told[at] is not None:
                reasons.setdefault(row, told[at])
            for one in said[at].split(BETWEEN) if said[at] is not None else ():
                remarked.setdefault(one, set()).add((row,) if one.startswith(OF_REFERENCE) else (*cell, row))
    return AllScores(
        columns=columns,
        scoring={
            name: Scoring(
                reasons=_counted(why[name].values()), remarks={one: len(at) for one, at in remarks[name].items()}
            )
            for name in why
        },
    )


def _counted(words: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for word in words:
        found[word] = found.get(word, 0) + 1
    return found
