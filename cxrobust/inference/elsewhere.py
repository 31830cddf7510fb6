"""Regimes whose predictions were made elsewhere: a table of probabilities, or of reports, for each condition."""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field, field_validator

from cxrobust.conditions import CLEAN, parse_condition
from cxrobust.errors import DataError, counted, nearest, some
from cxrobust.files import sha256_file
from cxrobust.inference.written import Written
from cxrobust.predictions import check_probabilities
from cxrobust.radiology_reports.findings import UNREAD, Doubted, decided, faults_of, observations_of, stated
from cxrobust.radiology_reports.tables import check_parted_by_commas, read_rows
from cxrobust.spreadsheets import bare_cells
from cxrobust.study.sections import DataPath, Section

KINDS = (".csv", ".csv.gz", ".jsonl", ".parquet")
OF_REPORTS = ("report", "log_probability", "confidence", "observations", "doubted")
"""Keys that are of use with tables of reports, and told where they are given."""
MORE_VALUES = "quote texts that hold commas"
"""The mend where a row has more values than there are columns."""
OF_SURENESS = ("log_probability", "confidence")
"""Keys of columns that say how sure a generator is, without which it counts as certain."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What a table says of some images."""

    probabilities: NDArray[np.float64]
    """(n_images, n_findings) in [0, 1]."""
    written: Written | None
    """None where the table has no reports."""


class Elsewhere(Section):
    """A regime given by `predictions = { clean = "a.csv", "pgd(eps=4/255)" = "b.parquet" }`.

    `validation` is wanted where, and only where, the study has `[data.validation]`. A table with a column `report` is a
    generator's. Where it has no column for a finding, probabilities are read from its reports as
    `cxrobust.inference.written.log_odds_by_tokens` says: with c from the column `log_probability`, the mean
    log-probability of a token, or `confidence`, else with c = 1.
    """

    name: str = Field(min_length=1, max_length=60)
    predictions: dict[str, DataPath]
    """Table (`.csv`, `.csv.gz` or `.parquet`) of each condition; the clean images are a must."""
    validation: DataPath | None = None
    """Table of the clean predictions on the validation images."""
    id: str = "image_id"
    """Column that holds the image id."""
    prefix: str = ""
    """What stands before a finding's name in its column, for example `prob_`."""
    replicate: int = Field(default=0, ge=0)
    description: str = ""
    report: str = "report"
    """Column of generated reports."""
    log_probability: str = "log_probability"
    """Column of the mean log-probability of a report's tokens."""
    confidence: str = "confidence"
    """Column of a number in [0, 1] that says how sure the generator is of a report."""
    observations: dict[str, str] = Field(default_factory=dict)
    """The labeler's observation for a finding whose name is another."""
    doubted: Doubted = "ones"
    """What a finding that a report doubts counts as: `ones` (stated), `zeros` (not stated) or `half`."""

    @field_validator("predictions")
    @classmethod
    def _conditions(cls, value: dict[str, Path]) -> dict[str, Path]:
        named = {str(parse_condition(condition)): path for condition, path in value.items()}
        if len(named) < len(value):
            raise ValueError("two of its conditions are the same: keep one")
        if str(CLEAN) not in named:
            raise ValueError('"clean" is missing: give the predictions on the original images')
        for path in named.values():
            _check_kind(path)
        return named

    @field_validator("validation")
    @classmethod
    def _table(cls, value: Path | None) -> Path | None:
        if value is not None:
            _check_kind(value)
        return value

    @property
    def own_conditions(self) -> tuple[str, ...]:
        """Conditions that this regime brings, in the order of the file."""
        return tuple(self.predictions)

    def settings(self) -> dict[str, Any]:
        """Settings as JSON values; paths by name only."""
        unsaid = {key for key in OF_REPORTS if key not in self.model_fields_set}
        values = self.model_dump(mode="json", exclude={"validation", *unsaid})
        values["predictions"] = {condition: path.name for condition, path in self.predictions.items()}
        return values if self.validation is None else {**values, "validation": self.validation.name}

    def on_validation(self) -> "Elsewhere":
        """Return the regime as it is on the validation images: their table alone, as its clean predictions."""
        return self.model_copy(update={"predictions": {str(CLEAN): self.validation}, "validation": None})

    def fingerprint(self, condition: str) -> dict[str, str]:
        """Return the SHA-256 of one condition's table, by file name.

        Raises
        ------
        DataError
            When the file cannot be read.
        """
        path = self.predictions[condition]
        try:
            return {path.name: sha256_file(path)}
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}: correct its path in regime {self.name!r}") from error

    def image_ids(self, condition: str) -> tuple[str, ...]:
        """Return the image ids of one condition's table, in its order.

        Raises
        ------
        DataError
            When the table cannot be read, or an id is empty or stands twice.
        """
        return tuple(self._read(condition)[self.id])

    def has_reports(self, condition: str) -> bool:
        """Whether one condition's table has a column of reports.

        Raises
        ------
        DataError
            When the table cannot be read.
        """
        return self.report in set(map(str, self._read(condition).columns))

    def check_columns(self, findings: tuple[str, ...]) -> None:
        """See that findings are read alike from every table, so that conditions differ by what was predicted alone.

        Raises
        ------
        DataError
            When one table of reports has a column of probabilities or of confidence that another has not, or a key of
            the study file names a column that is not there.
        """
        paths = dict.fromkeys((*self.predictions.values(), *([] if self.validation is None else [self.validation])))
        filled = {path: _filled(self._read_table(path)) for path in paths}
        for key in ("report", *OF_SURENESS):
            column = getattr(self, key)
            for path in paths if key in self.model_fields_set else ():
                if column not in filled[path]:
                    raise DataError(
                        f"{path}: no column {column!r} with a value{nearest(column, filled[path])}, which {key} of "
                        f"regime {self.name!r} names: correct one of the two"
                    )
        of_reports = [path for path in paths if self.report in filled[path]]
        columns = (*(self.prefix + finding for finding in findings), *(getattr(self, key) for key in OF_SURENESS))
        for column in columns:
            having = next((path for path in paths if column in filled[path]), None)
            lacking = next((path for path in of_reports if column not in filled[path]), None)
            if having is not None and lacking is not None:
                raise DataError(
                    f"{lacking}: no column {column!r} with a value{nearest(column, filled[lacking])}, which {having} "
                    f"of the same regime {self.name!r} has: findings must be read alike from both, so add it, or leave "
                    f"it out of both"
                )

    def read(self, condition: str, *, findings: tuple[str, ...], image_ids: Sequence[str]) -> Told:
        """Return what the table says of the images in the order asked for.

        Raises
        ------
        DataError
            When a column or an image is missing, or a value is no number in [0, 1].
        """
        path = self.predictions[condition]
        frame = self._read(condition)
        known_ids = set(frame[self.id])
        absent = [image for image in image_ids if image not in known_ids]
        if absent:
            raise DataError(
                f"{path}: {counted(len(absent), 'image')} of the study without a row ({some(absent)}): add them"
            )
        rows = frame.set_index(self.id).loc[list(image_ids)]
        if self.report not in frame.columns:
            return Told(probabilities=self._probabilities(path, frame, findings, image_ids), written=None)
        reports = tuple("" if pd.isna(text) else str(text) for text in rows[self.report])
        known = self._numbers(path, rows, self.log_probability, image_ids, most=0.0)
        written = Written(
            reports=reports,
            log_probabilities=np.full(len(reports), np.nan) if known is None else known,
            faults=tuple(tuple(faults_of(report)) for report in reports),
        )
        if set(frame.columns) & {self.prefix + finding for finding in findings}:
            return Told(probabilities=self._probabilities(path, frame, findings, image_ids), written=written)
        observations = observations_of(findings, self.observations, where=f"regime {self.name!r}")
        states = np.array([stated(report, observations, doubted=self.doubted) for report in reports])
        sure = self._sureness(path, rows, written, image_ids)
        columns = [column for column in _filled(frame) if column in {self.log_probability, self.confidence}]
        unsure = np.isnan(sure) & (np.abs(states - 0.5) > 0).any(axis=1)  # not of one that is unread, or all in doubt
        if columns and unsure.any():
            blank = [image for image, one in zip(image_ids, unsure, strict=True) if one]
            raise DataError(
                f"{path}: {counted(len(blank), 'report')} without a value in {' or '.join(map(repr, columns))} "
                f"({some(blank)}), and others have one: give every report one, or leave the column out"
            )
        sure = np.where(np.isnan(sure), 1.0, sure)[:, None]  # NaN: none of the table has a value, or none is needed
        return Told(probabilities=decided(0.5 + (states - 0.5) * sure, states, unread=UNREAD), written=written)

    def _sureness(
        self, path: Path, rows: pd.DataFrame, written: Written, image_ids: Sequence[str]
    ) -> NDArray[np.float64]:
        """Return c of each report, from the probability of its tokens or as the table says; NaN where unknown."""
        self._check_one_unit(path, rows)
        said = self._numbers(path, rows, self.confidence, image_ids, most=1.0, least=0.0)
        known: NDArray[np.float64] = np.exp(written.log_probabilities)
        if said is None or np.isnan(known).all():
            return known if said is None else said
        other = np.isnan(known) & ~np.isnan(said)
        if other.any():
            named = [image for image, one in zip(image_ids, other, strict=True) if one]
            raise DataError(
                f"{path}: {counted(int(np.isfinite(known).sum()), 'report')} with a {self.log_probability!r} and "
                f"{len(named):,} with a {self.confidence!r} in its place ({some(named)}): confidence must be the same "
                f"quantity for every report, so fill in one of the two columns for all, and leave the other out"
            )
        return known

    def _check_one_unit(self, path: Path, rows: pd.DataFrame) -> None:
        """See that the column of confidence holds no log-probabilities among confidences."""
        if self.confidence not in rows.columns:
            return
        values = pd.to_numeric(rows[self.confidence], errors="coerce")
        n_below, n_above = int((values < 0).sum()), int((values > 0).sum())
        if n_below:
            beside = f", and {n_above:,} one above" if n_above else ""
            raise DataError(
                f"{path}: column {self.confidence!r}: {counted(n_below, 'report')} with a number below 0, as "
                f"log-probabilities are{beside}: give confidences in [0, 1] alone, or log-probabilities alone in a "
                f"column {self.log_probability!r}"
            )

    def _numbers(
        self,
        path: Path,
        rows: pd.DataFrame,
        column: str,
        image_ids: Sequence[str],
        *,
        most: float,
        least: float = -np.inf,
    ) -> NDArray[np.float64] | None:
        """Return a column of numbers, NaN where it is blank; None where there is none."""
        if column not in rows.columns:
            return None
        blank = rows[column].isna() | (rows[column].astype(str).str.strip() == "")
        values = _as_numbers(rows[column])
        wrong = ~blank.to_numpy() & ~((values >= least) & (values <= most))
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            allowed = f"at most {most:g}" if np.isinf(least) else f"in [{least:g}, {most:g}]"
            raise DataError(
                f"{path}: image {image_ids[row]!r}, column {column!r}: {_shown(rows[column].iloc[row])} is no number "
                f"{allowed}: correct it"
            )
        return values

    def _probabilities(
        self, path: Path, frame: pd.DataFrame, findings: tuple[str, ...], image_ids: Sequence[str]
    ) -> NDArray[np.float64]:
        columns = [self.prefix + finding for finding in findings]
        known = [str(column) for column in frame.columns]
        report = self._report_by_another_name(known, columns)
        for column, finding in zip(columns, findings, strict=True):
            if column not in frame.columns:
                raise DataError(
                    f"{path}: no column {column!r} for finding {finding!r}{nearest(column, known)}: "
                    f"its columns are {some(known, most=8)}{report}"
                )
            _check_single(path, frame, self.id, column)
        frame = frame.set_index(self.id)[columns]
        rows = frame.loc[list(image_ids)]
        values = np.column_stack([_as_numbers(rows[column]) for column in columns])
        unread = np.isnan(values)
        if unread.any():
            row, k = (int(i) for i in np.argwhere(unread)[0])
            raise DataError(
                f"{path}: image {image_ids[row]!r}, column {columns[k]!r}: "
                f"{_shown(frame.loc[image_ids[row], columns[k]])} is not a probability: give a number in [0, 1]"
            )
        check_probabilities(values, image_ids, findings, where=str(path))
        return values

    def _report_by_another_name(self, known: Sequence[str], columns: Sequence[str]) -> str:
        """Return how to name a column that may be meant for the reports of a table without probabilities."""
        meant = nearest(self.report, known)
        if self.report in known or not meant or set(known) & set(columns):
            return ""
        return f"; if it is of reports, name their column by report in regime {self.name!r}{meant}"

    def _read(self, condition: str) -> pd.DataFrame:
        return self._read_table(self.predictions[condition])

    def _read_table(self, path: Path) -> pd.DataFrame:
        try:
            if path.suffix == ".jsonl":
                frame = pd.DataFrame([dict(row) for _, row in read_rows(path)])
            else:
                frame = _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path, id_column=self.id)
        except FileNotFoundError:
            raise DataError(f"{path}: the file is missing: correct its path in regime {self.name!r}") from None
        except (OSError, EOFError, ValueError, zlib.error, pa.ArrowException) as error:
            found = " ".join(str(error).split())
            raise DataError(f"{path}: cannot be read as a table ({found}): get the file again") from error
        if frame.empty and not len(frame.columns):
            raise DataError(f"{path}: there is no row: give each image one")
        if not isinstance(frame.index, pd.RangeIndex):  # pandas takes the first column of such rows for an index
            raise DataError(f"{path}: its rows have more values than its header has columns: {MORE_VALUES}")
        if self.id not in frame.columns:
            raise DataError(
                f"{path}: no id column {self.id!r}{nearest(self.id, map(str, frame.columns))}: "
                f"name it by id in regime {self.name!r}; its columns are {some(frame.columns, most=8)}"
            )
        frame[self.id] = frame[self.id].astype(str).where(frame[self.id].notna(), "").str.strip()
        blank = np.flatnonzero(frame[self.id] == "")
        if len(blank):
            raise DataError(f"{path}: row {blank[0] + 1} has no image id in column {self.id!r}: give it one")
        twice = frame[self.id][frame[self.id].duplicated()]
        if len(twice):
            raise DataError(f"{path}: image {twice.iloc[0]!r} stands twice: keep one row an image")
        for column in {self.report, *(getattr(self, key) for key in OF_SURENESS)} & set(frame.columns):
            _check_single(path, frame, self.id, column)
        return frame


def _check_single(path: Path, frame: pd.DataFrame, id_column: str, column: str) -> None:
    """See that each cell of a column is one value, since JSON and Parquet have lists too."""
    several = np.flatnonzero([not pd.api.types.is_scalar(value) for value in frame[column]])
    if len(several):
        row = frame.iloc[several[0]]
        raise DataError(
            f"{path}: image {row[id_column]!r}, column {column!r}: {str(row[column])[:60]} is no single value: "
            f"{counted(len(several), 'image')} with such a one; write one text or number"
        )


def _as_numbers(column: "pd.Series[Any]") -> NDArray[np.float64]:
    """Return numbers, and NaN of what is none, as true and false are, which pandas takes for 1 and 0."""
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        return numbers
    return np.where(column.map(pd.api.types.is_bool).to_numpy(dtype=np.bool_), np.nan, numbers)


def _filled(frame: pd.DataFrame) -> tuple[str, ...]:
    """Return the columns in which not all is blank."""
    blank = frame.isna() | (frame.astype(str).apply(lambda column: column.str.strip()) == "")
    return tuple(str(column) for column, one in zip(frame.columns, blank.to_numpy().T, strict=True) if not one.all())


def _check_kind(path: Path) -> None:
    if not path.name.endswith(KINDS):
        raise ValueError(f"{path.name} is none of {', '.join(KINDS)}: convert it")


def _read_csv(path: Path, *, id_column: str) -> pd.DataFrame:
    """Read a table with ids as text; pandas would rename the second of two columns of one name."""
    header = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    names = header.iloc[0]
    check_parted_by_commas(path, list(names))
    twice = names[names.duplicated() & (names != "")]
    if len(twice):
        raise ValueError(f"column {twice.iloc[0]!r} stands twice")
    try:
        frame = pd.read_csv(path, dtype={id_column: str}, keep_default_na=False, encoding="utf-8-sig")
    except pd.errors.ParserError as error:
        if found := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error)):
            columns, line, values = found.groups()
            raise DataError(f"{path}, line {line}: {values} values, and {columns} columns: {MORE_VALUES}") from error
        raise
    return bare_cells(frame)


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str) else str(value)


def _read_parquet(path: Path) -> pd.DataFrame:
    """Read a table, verifying what checksums it has, with a named index, such as the image ids, as a column."""
    table = pq.read_table(path, page_checksum_verification=True, partitioning=None)
    table.validate(full=True)
    frame: pd.DataFrame = table.to_pandas()
    return frame.reset_index() if frame.index.name is not None else frame.reset_index(drop=True)


def common_images(regimes: tuple[Elsewhere, ...]) -> frozenset[str]:
    """Return the image ids that every table of every regime holds.

    Raises
    ------
    DataError
        When an id stands in one table and not in another; counts them and names three.
    """
    first: tuple[Path, frozenset[str]] | None = None
    for regime in regimes:
        for condition in regime.own_conditions:
            here = regime.predictions[condition], frozenset(regime.image_ids(condition))
            if first is None:
                first = here
            only_first, only_here = first[1] - here[1], here[1] - first[1]
            if only_first or only_here:
                lacking, having, missing = (here, first, only_first) if only_first else (first, here, only_here)
                raise DataError(
                    f"{lacking[0]}: {counted(len(missing), 'image')} of {having[0].name} missing "
                    f"({some(sorted(missing))}): every table needs the same images"
                )
    return frozenset() if first is None else first[1]
