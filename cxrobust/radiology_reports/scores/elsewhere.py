"""Scores of reports that were made elsewhere, by RadEval for example: read from a table, a report a row.

The table, a CSV or JSON lines, has an `id`, in a study of several also `regime`, `condition` and `replicate` (0 where
the column is missing, else a whole number), and a column for each score. What RadEval gives for each sample
(`per_sample=True`) is a JSON object of lists without ids: `order` then names a table of these columns in the order in
which RadEval had the reports.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import isfinite, nan
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from cxrobust.errors import DataError, some
from cxrobust.radiology_reports.scores import Answers, Measure, Pairs, Scorer, scorer
from cxrobust.radiology_reports.tables import name_of, read_json, read_rows
from cxrobust.study.sections import StudyPath

KEYS = ("regime", "replicate", "condition", "id")
Key = tuple[str, int, str, str]
State = tuple[tuple[int, int], ...]


@scorer("elsewhere")
class Elsewhere(Scorer):
    """Scores of each report that another program made."""

    measures: ClassVar[Mapping[str, Measure]] = {}
    needs_reference = False
    prefix = "elsewhere-"

    file: StudyPath
    """The table of scores, or what RadEval gives for each sample, as JSON."""
    order: StudyPath | None = None
    """Of RadEval's JSON: a table with the ids in its order."""

    def compare(self, pairs: Pairs) -> Answers:
        """Return the scores that the table has of these reports; one that it lacks is not scored."""
        table = _scores(self.file, self.order, _state(self.file, self.order))
        names = list(dict.fromkeys(name for row in table.values() for name in row))
        rows = [table.get(key) for key in keys_of(table, pairs)]
        columns = {
            f"elsewhere_{name}": np.array([nan if row is None else row.get(name, nan) for row in rows])
            for name in names
        }
        why = {i: "no score" for i in range(len(rows)) if all(np.isnan(values[i]) for values in columns.values())}
        why |= {i: "not in the table of scores" for i, row in enumerate(rows) if row is None}
        return Answers(columns=columns, reasons=why)

    def named_ids(self) -> set[str]:
        """Return the ids of the reports in the table."""
        return {key[-1] for key in _scores(self.file, self.order, _state(self.file, self.order))}


def keys_of(table: Mapping[Key, Any], pairs: Pairs) -> list[Key]:
    """Return the keys of reports in a table: of their ids alone where it names no regime or no condition."""
    regimes, conditions = ({key[part] for key in table} for part in (0, 2))
    regime = "" if regimes == {""} else pairs.regime
    condition = "" if conditions == {""} else pairs.condition
    return [(regime, pairs.replicate, condition, one) for one in pairs.ids]


def read_texts(path: Path, *, column: str, pairs: Pairs) -> list[str | None]:
    """Return a text of each report from a table; None where it has none, or an empty one.

    Raises
    ------
    DataError
        When the table cannot be read or lacks the column.
    """
    table = _texts(path, column, _state(path))
    return [table.get(key) or None for key in keys_of(table, pairs)]


def ids_of_texts(path: Path, *, column: str) -> set[str]:
    """Return the ids of the reports in a table of texts."""
    return {key[-1] for key in _texts(path, column, _state(path))}


@lru_cache(maxsize=2)
def _texts(path: Path, column: str, _: State) -> dict[Key, str]:
    found: dict[Key, str] = {}
    for line, row in _keyed(path):
        if column not in row:
            raise DataError(f"{path}, line {line}: no {column!r}: there is {some(row, most=8)}: add that column")
        _put(found, _key(row, path, line), str(row[column] or ""), path, line)
    return found


@lru_cache(maxsize=2)
def _scores(path: Path, order: Path | None, _: State) -> dict[Key, dict[str, float]]:
    if path.suffix != ".json":
        found: dict[Key, dict[str, float]] = {}
        for line, row in _keyed(path):
            texts = {name: value for name, value in row.items() if name not in KEYS and not _is_text(value)}
            _put(found, _key(row, path, line), {n: _number(v, n, path, line) for n, v in texts.items()}, path, line)
        return found
    if order is None:
        raise DataError(f'{path}: lists of scores without ids: name a table of the ids in their order, order = "file"')
    keys = [_key(row, order, line) for line, row in _keyed(order)]
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}): write RadEval's per-sample result as JSON") from error
    lists = read_json(content, str(path))
    if not isinstance(lists, dict) or not all(isinstance(one, list) for one in lists.values()):
        raise DataError(f"{path}: an object of lists is wanted, as RadEval gives with per_sample=True: write that")
    made: dict[Key, dict[str, float]] = {key: {} for key in keys}
    if len(made) < len(keys):
        raise DataError(f"{order}: a report stands twice: give each regime, condition and id once")
    for name, values in lists.items():
        if len(values) != len(keys):
            raise DataError(
                f"{path}: {name!r} has {len(values):,} scores, and {order} {len(keys):,} rows: give one of each report"
            )
        for at, (key, value) in enumerate(zip(keys, values, strict=True)):
            made[key][name] = _number(value, name, path, at + 1)
    return made


def _state(*paths: Path | None) -> State:
    """Return what changes when a file does."""
    there = [path.stat() for path in paths if path is not None and path.exists()]
    return tuple((one.st_mtime_ns, one.st_size) for one in there)


def _keyed(path: Path) -> Sequence[tuple[int, Mapping[str, Any]]]:
    rows = list(read_rows(path))
    if not rows:
        raise DataError(f"{path}: there is no row: add some")
    for line, row in rows:
        if not name_of(row.get("id")):
            raise DataError(f"{path}, line {line}: no id: give every row the id of its report")
    return rows


def _key(row: Mapping[str, Any], path: Path, line: int) -> Key:
    regime, condition, one = (name_of(row.get(column)) for column in ("regime", "condition", "id"))
    return regime, _replicate(row, path, line), condition, one


def _replicate(row: Mapping[str, Any], path: Path, line: int) -> int:
    """Return a row's training run; one that pandas made a float of, such as 1.0, is whole too."""
    if "replicate" not in row:
        return 0
    number = re.fullmatch(r"(\d{1,9})(?:\.0+)?", name_of(row["replicate"]), re.ASCII)
    if number is None:
        raise DataError(
            f"{path}, line {line}: replicate is {repr(row['replicate'])[:60]}: write the number of the training run, "
            "0, 1 and so on, or leave the column out where each regime has one run"
        )
    return int(number[1])


def _put(found: dict[Key, Any], key: Key, value: Any, path: Path, line: int) -> None:
    if key in found:
        raise DataError(f"{path}, line {line}: the report {' '.join(map(str, key)).strip()!r} stands twice: keep one")
    found[key] = value


def _is_text(value: object) -> bool:
    """Whether a value is no score: a text such as a report that stands beside."""
    if not isinstance(value, str):
        return isinstance(value, bool | list | dict)
    try:
        float(value or "nan")
    except ValueError:
        return True
    return False


def _number(value: object, name: str, path: Path, line: int) -> float:
    """Return a score; NaN where there is none, as an empty cell and null are."""
    if value is None or value == "":
        return nan
    try:
        found = float(str(value))
    except ValueError:
        raise DataError(f"{path}, row {line}: {name} is {value!r}, and must be a number: correct it") from None
    return found if isfinite(found) else nan
