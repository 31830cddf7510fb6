"""Whether what is said of example images is what the predictions hold of them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrobust.conditions import CLEAN
from cxrobust.files import read_json
from cxrobust.predictions import INDEX, read_unit
from cxrobust.verification.recomputed import check_folder


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stored:
    """What one model's predictions hold of one image."""

    probabilities: Mapping[str, float]
    findings: tuple[str, ...]
    """Findings whose label is 1."""


_Cell = tuple[str | None, str]
"""Regime and condition; no regime for an image that no model read."""


def differing_examples(examples: Sequence[Mapping[str, Any]], folder: Path) -> tuple[str, ...]:
    """Return what example images say otherwise than the predictions' Parquet files: probabilities, and labels.

    The numbers are copies, and must be the same to the last digit. A regime with several training runs has an example
    of each: the n-th of an image belongs to the n-th run.

    Raises
    ------
    DataError
        When the index or a file of predictions cannot be read.
    """
    check_folder(folder)
    images = {str(one.get("image")) for one in examples}
    stored = {cell: _stored(cell, images, folder) for cell in dict.fromkeys(map(_cell, examples))}
    seen: Counter[tuple[_Cell, str]] = Counter()
    wrong: list[str] = []
    for one in examples:
        cell, image = _cell(one), str(one.get("image"))
        runs = stored[cell].get(image, [])
        run = 0 if cell[0] is None else seen[cell, image]
        seen[cell, image] += 1
        where = ", ".join(filter(None, (f"image {image}", cell[0], str(one.get("condition")))))
        if run >= len(runs):
            wrong.append(f"{where}: the predictions hold {'it no more often' if runs else 'no such image'}")
        else:
            wrong += (f"{where}, {said}" for said in _differing(one, runs[run], is_read=cell[0] is not None))
    return tuple(wrong)


def _cell(example: Mapping[str, Any]) -> _Cell:
    """Return where an example's predictions are; the labels of one that no model read are those of the clean image."""
    regime = example.get("regime")
    return (None, str(CLEAN)) if regime is None else (str(regime), str(example.get("condition")))


def _stored(cell: _Cell, images: set[str], folder: Path) -> dict[str, list[_Stored]]:
    """Return what is stored of these images in a cell, for each training run in order."""
    regime, condition = cell
    index = read_json((folder / INDEX).read_text(encoding="utf-8"))
    found: dict[str, list[_Stored]] = {}
    for entry in sorted(index["units"], key=lambda one: int(one["replicate"])):
        if entry["condition"] != condition or regime not in {None, entry["regime"]}:
            continue
        unit = read_unit(folder / entry["file"])
        for row, image in enumerate(unit.image_ids):
            if image in images:
                found.setdefault(image, []).append(
                    _Stored(
                        probabilities=dict(zip(unit.findings, map(float, unit.probabilities[row]), strict=True)),
                        findings=tuple(f for f, y in zip(unit.findings, unit.labels[row], strict=True) if y == 1),
                    )
                )
    return found


def _differing(example: Mapping[str, Any], stored: _Stored, *, is_read: bool) -> Iterator[str]:
    given = example.get("probabilities")
    given = given if isinstance(given, Mapping) else {}
    expected = stored.probabilities if is_read else {}
    for finding in dict.fromkeys((*expected, *given)):
        if given.get(finding) != expected.get(finding):
            yield f"{finding}: probability {_said(given, finding)}, the predictions hold {_said(expected, finding)}"
    labels = example.get("findings")
    labels = labels if isinstance(labels, Iterable) else ()
    if tuple(labels) != stored.findings:
        yield f"findings: {_named(labels)}, the predictions hold {_named(stored.findings)}"


def _said(values: Mapping[str, Any], finding: str) -> str:
    return repr(values[finding])[:40] if finding in values else "none"


def _named(findings: Iterable[object]) -> str:
    return ", ".join(map(str, findings))[:200] or "none"
