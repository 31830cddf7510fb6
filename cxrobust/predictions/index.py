"""What makes a folder of predictions complete: its index, and the tables of its images."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import BaseModel, Field, ValidationError

from cxrobust.errors import DataError, counted
from cxrobust.files import atomic_write_text, read_json, sha256_file
from cxrobust.prediction_files import IMAGES, INDEX, VALIDATION_IMAGES, parts_of
from cxrobust.predictions.parquet import AGAIN, read_table, write_table
from cxrobust.predictions.pooling import Pool
from cxrobust.predictions.units import FORMAT

REFERENCE = "reference"


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """An image that `on_error = "skip"` left out of every cell."""

    split: str
    """`test` or `validation`."""
    image: str
    reason: str
    """As documents count it: `whose file cannot be read`."""
    detail: str
    """What was found, of which file or cell."""


def skipped_images(folder: Path) -> tuple[Skipped, ...]:
    """Return the images that are left out of every cell of a complete folder, those for validation last."""
    parts = zip(("test", "validation"), parts_of(read_index(folder)).values(), strict=False)
    return tuple(
        Skipped(split=split, image=one["image"], reason=str(one.get("reason", "")), detail=str(one.get("detail", "")))
        for split, part in parts
        for one in part["data"].get("skipped", ())
    )


def notes_on_labels(folder: Path) -> tuple[str, ...]:
    """Return what there is to tell of the label files of a complete folder, a sentence each."""
    parts = (part["data"] for part in parts_of(read_index(folder)).values())
    told = ((*part.get("notes", ()), *told_of_contradictory(part.get("contradictory", {}))) for part in parts)
    return joined_notes(*told)


def told_of_contradictory(images: Mapping[str, int]) -> tuple[str, ...]:
    """Say how many images have labels that contradict one another, a sentence for each kind.

    >>> told_of_contradictory({"labelled normal beside other labels": 1200})
    ('1,200 images labelled normal beside other labels are kept as they are labelled',)
    """
    ends = (f"{what} {'is kept as it is' if n == 1 else 'are kept as they are'} labelled" for what, n in images.items())
    return tuple(f"{counted(n, 'image')} {end}" for n, end in zip(images.values(), ends, strict=True))


def joined_notes(test: Sequence[str], validation: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the notes on test and validation images; what holds of the latter alone begins so.

    >>> joined_notes(["one"], ["one", "other"])
    ('one', 'validation images: other')
    """
    return (*test, *(f"validation images: {note}" for note in validation if note not in test))


def read_index(folder: Path) -> dict[str, Any]:
    """Return the index of a complete folder.

    Raises
    ------
    DataError
        When there is none, or it lacks what `load_predictions` needs.
    """
    path = folder / INDEX
    try:
        index = read_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: there are no finished predictions: run cxrobust predict first") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read ({error}): {AGAIN}") from error
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise DataError(f"{path}: not an index of format {FORMAT}: {AGAIN}")
    try:
        _Index.model_validate(index)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{path}: {where}: {first['msg'][0].lower()}{first['msg'][1:]}: {AGAIN}") from error
    return index


def read_images(path: Path, findings: Sequence[str]) -> pd.DataFrame:
    """Return a table of images, each with an id, a patient and a label of each finding: 1, 0 or -1.

    Raises
    ------
    DataError
        When the table is missing or damaged, or a row lacks one of these.
    """
    images: pd.DataFrame = read_table(path).to_pandas()
    for column in ("image_id", "patient_id", *(f"label_{finding}" for finding in findings)):
        if column not in images.columns:
            raise DataError(f"{path}: there is no column {column!r}: {AGAIN}")
        if images[column].isna().any():
            row = int(np.flatnonzero(images[column].isna())[0])
            raise DataError(f"{path}: row {row + 1} has no {column}: every image needs one (a missing label is -1)")
    for finding in findings:
        wrong = ~images[f"label_{finding}"].isin((0, 1, -1))
        if wrong.any():
            image, label = images.loc[wrong, ["image_id", f"label_{finding}"]].iloc[0]
            raise DataError(f"{path}: image {image!r}, finding {finding!r}: label {label} is not 1, 0 or -1")
    if images.empty:
        raise DataError(f"{path}: it holds no image: {AGAIN}")
    twice = images["image_id"][images["image_id"].duplicated()]
    if len(twice):
        raise DataError(f"{path}: image {twice.iloc[0]!r} appears twice: every image needs one row")
    return images


def _write_images(images: pd.DataFrame, path: Path) -> str:
    """Write a table of images and return its SHA-256."""
    table = pa.Table.from_pandas(images, preserve_index=False)
    write_table(table, path)
    return sha256_file(path)


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
    contradictory: dict[str, int] = {}
    notes: list[str] = []
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
