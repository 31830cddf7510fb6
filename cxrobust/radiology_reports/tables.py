"""Tables of reports, and of the labels that are read from them."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrobust.errors import DataError, nearest, some
from cxrobust.files import atomic_write_text
from cxrobust.radiology_reports.findings import why_unread
from cxrobust.radiology_reports.labeler import Label, label_report
from cxrobust.radiology_reports.phrases import OBSERVATIONS
from cxrobust.results import to_csv
from cxrobust.spreadsheets import bare

KINDS = (".csv", ".jsonl")
DEEPEST = 100
"""Lists and objects within one another that a JSON value may have; a report's row has one or two."""
_MOST = 2**31 - 1
_HALF = re.compile("[\ud800-\udfff]")
_MAY_BE_HALF = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """One report."""

    id: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """The labels of one report; none where it could not be read."""

    report: Report
    labels: Mapping[str, Label]
    unread: str | None = None
    """Why there is no label: `empty`, or `not English`."""


def read_reports(
    path: Path, *, id_column: str = "id", text_column: str = "report", keys: str = "--id and --text"
) -> list[Report]:
    """Return the reports of a table: CSV with a header, or JSON lines, an object each; `keys` name its columns.

    Raises
    ------
    DataError
        When the file cannot be read, lacks a column, or an id is empty or stands twice; it names file and line.
    """
    found: dict[str, Report] = {}
    for line, row in read_rows(path):
        for column in (id_column, text_column):
            if column not in row:
                raise DataError(
                    f"{path}, line {line}: no {column!r}{nearest(column, map(str, row))}: there is "
                    f"{some(row, most=8)}: name its columns with {keys}"
                )
        one = Report(id=name_of(row[id_column]), text=text_of(row, text_column, f"{path}, line {line}"))
        if not one.id:
            raise DataError(f"{path}, line {line}: the {id_column!r} is empty: give every report an id")
        if one.id in found:
            raise DataError(f"{path}, line {line}: the id {one.id!r} stands twice: keep one")
        found[one.id] = one
    if not found:
        raise DataError(f"{path}: there is no report: add some below its header")
    return list(found.values())


def name_of(value: object) -> str:
    """Return an id, or another name, as it is compared: without blanks at its ends; empty where there is none.

    >>> name_of(" a1 "), name_of(0), name_of(None)
    ('a1', '0', '')
    """
    return "" if value is None else str(value).strip()


def text_of(row: Mapping[str, Any], column: str, where: str) -> str:
    """Return the text of a row's column; an absent one, and null, is empty.

    Raises
    ------
    DataError
        When there is a list, a number or anything else that JSON has beside texts.
    """
    value = row.get(column)
    if value is not None and not isinstance(value, str):
        raise DataError(f"{where}: the {column!r} is no text but {json.dumps(value)[:60]}: write one text in quotes")
    return value or ""


def read_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield line and row of a table: CSV with a header, or JSON lines, an object each.

    The apostrophe is off that guards a text in CSV from spreadsheets, as `cxrobust.spreadsheets.bare` takes it.

    Raises
    ------
    DataError
        When the file cannot be read, a line is none of its kind, or a column or key stands twice; it names file and
        line.
    """
    if path.suffix not in KINDS:
        raise DataError(f"{path}: a table of reports is {' or '.join(KINDS)}, by its name: rename or convert it")
    try:
        content = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: the file is missing: correct its path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}): save it again as UTF-8") from error
    yield from _csv_rows(path, content) if path.suffix == ".csv" else _json_rows(path, content)


def _csv_rows(path: Path, content: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    csv.field_size_limit(_MOST)
    reader = csv.DictReader(io.StringIO(content, newline=""), strict=True)
    try:
        names = reader.fieldnames or ()
        check_parted_by_commas(path, names)
        for name, number in Counter(filter(None, names)).items():
            if number > 1:
                raise DataError(f"{path}, line {reader.line_num}: the column {name!r} stands twice: keep one")
        for row in reader:
            if None in row or None in row.values():
                raise DataError(
                    f"{path}, line {reader.line_num}: as many values as the header has columns "
                    f"({len(names)}) are wanted: quote texts that hold commas"
                )
            yield reader.line_num, {name: bare(value) for name, value in row.items()}
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: no CSV ({error}): correct it") from error


def check_parted_by_commas(path: Path, names: Sequence[str]) -> None:
    """See that the header of a CSV is not one name that holds all others, as spreadsheets of some countries write it.

    Raises
    ------
    DataError
        Naming what parts its columns.
    """
    if len(names) == 1 and (parted := next((mark for mark in ";\t|" if mark in names[0]), None)):
        raise DataError(f"{path}, line 1: columns are parted by {parted!r}: save it again with commas")


def _json_rows(path: Path, content: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            row = read_json(line, f"{path}, line {number}")
            if not isinstance(row, dict):
                raise DataError(f"{path}, line {number}: an object such as {{...}} is wanted: correct it")
            yield number, row


def read_json(text: str, where: str) -> Any:
    """Return a JSON value that says each thing once, in whole characters.

    Raises
    ------
    DataError
        When it is no JSON, a key stands twice in an object, a text holds half of a character (a surrogate without its
        other one), or lists and objects lie within one another more than `DEEPEST` deep; it names `where`.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise DataError(f"{where}: the key {key!r} stands twice: keep one")
            found[key] = value
        return found

    try:
        value = json.loads(text, object_pairs_hook=once)
        is_deep = _is_deep(value)
    except RecursionError:
        is_deep = True
    except ValueError as error:
        raise DataError(f"{where}: no JSON ({error}): correct it") from error
    if is_deep:
        raise DataError(f"{where}: lists or objects lie more than {DEEPEST} deep within one another: correct it")
    if _MAY_BE_HALF.search(text) and (half := _HALF.search(json.dumps(value, ensure_ascii=False))):
        raise DataError(f"{where}: {half[0]!r} is half of a character: write the whole one, or leave it out")
    return value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        nested = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list))
        level = [inner for one in nested for inner in one]
        if not level:
            return False
    return any(isinstance(one, dict | list) for one in level)


def by_rules(texts: Sequence[str]) -> list[Mapping[str, Label]]:
    """Return the labels of each text by the embedded labeler."""
    return [label_report(text) for text in texts]


def label_reports(
    reports: Iterable[Report], label: Callable[[Sequence[str]], Sequence[Mapping[str, Label]]] = by_rules
) -> list[Labelled]:
    """Return the labels of each report; an empty one, and one in another language, have none and say so.

    `label` gives those of several texts, none of them empty: `by_rules`, or CheXbert's `label`.
    """
    every = list(reports)
    unread = [why_unread(one.text) for one in every]
    told = iter(label([one.text for one, why in zip(every, unread, strict=True) if why is None]))
    return [
        Labelled(report=one, labels={} if why else next(told), unread=why)
        for one, why in zip(every, unread, strict=True)
    ]


def write_labels(path: Path, labelled: Sequence[Labelled]) -> None:
    """Write a CSV as CheXpert's tables are: 1, 0, -1 or empty; the column `unread` says why a row is empty."""
    rows = [
        [
            one.report.id,
            *(int(one.labels[name]) if name in one.labels else "" for name in OBSERVATIONS),
            one.unread or "",
        ]
        for one in labelled
    ]
    atomic_write_text(path, to_csv(("id", *OBSERVATIONS, "unread"), rows))
