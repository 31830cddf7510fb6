"""Whether results are what their predictions give: the analysis is done again, and every field is compared."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cxrobust import pipeline
from cxrobust.analysis.accelerator import check_device
from cxrobust.differences import ABSENT, Difference, differences, nested, setting_differences
from cxrobust.errors import DataError, MissingGroupError
from cxrobust.files import read_json
from cxrobust.inference.engine import made_for
from cxrobust.prediction_files import INDEX, parts_of
from cxrobust.predictions import load_predictions
from cxrobust.progress import Reporter
from cxrobust.results import Results, as_json
from cxrobust.study import Study
from cxrobust.verification.reading import MOST_FILE, check_names

TOLERANCE = 1e-6
"""By how much a number may differ on another platform, where sums are rounded otherwise."""
MOST_CELLS = 2_000_000_000
"""Values of all Parquet files of a folder of predictions that is read."""
FROM_PREDICTIONS = ("data", "regimes", "conditions")
KNOWN = frozenset(
    {"estimates", "reliability", "risk_coverage", "thresholds", "unclustered", "primary_condition"}
    | {"study", "study_text", "data", "regimes", "conditions", "provenance"}
)
"""Parts of results that are compared in a way of their own."""
MAY_BE_LEFT_OUT = frozenset({"generated_reports"})
"""Parts of results that a bundle without images leaves out."""
PROVENANCE = ("inference", "seed", "study_sha256", "predictions_sha256")
"""What of the provenance must be the same; of the rest, which tells of a machine, only that it is told."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recomputed:
    """What came of doing an analysis again."""

    n_estimates: int
    same_platform: bool
    is_exact: bool
    """Whether all agrees to the last digit."""
    left_out: tuple[str, ...]
    """Parts that the predictions give, and the results may leave out."""
    differences: tuple[str, ...]


def recompute(results: Results, study: Study, folder: Path, *, report: Reporter) -> Recomputed:
    """Analyse a folder of predictions as the study says, and compare with the results.

    Raises
    ------
    DataError
        When the predictions are not whole, or not those of this study.
    StudyError
        When the study asks for what its data do not have.
    """
    check_folder(folder)
    predictions = load_predictions(folder)
    again = pipeline.analyzed(for_this_machine(study), predictions, folder, report=report)
    same = _platform(results) == _platform(again)
    exact = computed_differences(results, again, tolerance=0.0)
    found = exact if same else computed_differences(results, again, tolerance=TOLERANCE)
    settings = [
        *nested(predictions.index.get("made_for"), made_for(study), part="predictions made for"),
        *stated_differences(results, again),
    ]
    return Recomputed(
        n_estimates=len(results.estimates),
        same_platform=same,
        is_exact=not exact,
        left_out=tuple(sorted(name for name in _left_out(results) if getattr(again, name))),
        differences=tuple(said(one) for one in (*found, *settings)),
    )


def stated_differences(old: Results, new: Results) -> tuple[Difference, ...]:
    """Return what differs of data, regimes and conditions, and of what the provenance must have the same."""
    return tuple(
        one
        for one in setting_differences(old, new)
        if one.part in FROM_PREDICTIONS or (one.part == "provenance" and _must_agree(one))
    )


def _must_agree(one: Difference) -> bool:
    """Whether a difference of provenance is one: also a fact of the machine that is not told, but no package's."""
    return one.field.partition(".")[0] in PROVENANCE or (one.old == ABSENT and one.field.count(".") < 2)


def _left_out(results: Results) -> set[str]:
    return {name for name in MAY_BE_LEFT_OUT if not getattr(results, name)}


def said(one: Difference) -> str:
    """Tell a difference of what is stated and what came out when it was computed again."""
    return f"{', '.join(filter(None, (one.part, one.what, one.field)))}: {one.old!r}, recomputed {one.new!r}"


def agreement(*, is_exact: bool, same_platform: bool) -> str:
    """Say how far what was computed again had to agree, or did."""
    if is_exact:
        return "all agree to the last digit"
    if same_platform:
        return "not all agree, though software and hardware are the same"
    return f"compared to within {TOLERANCE:g}, since software or hardware is another"


def computed_differences(old: Results, new: Results, *, tolerance: float) -> tuple[Difference, ...]:
    """Return all that differs of what an analysis computes, also in parts that `differences` does not know."""
    rest = [name for name in (one.name for one in fields(Results)) if name not in KNOWN | _left_out(old)]
    plain = json.JSONDecoder().decode
    return (
        *differences(old, new, tolerance=tolerance),
        *(
            one
            for name in rest
            for one in nested(
                plain(as_json(getattr(old, name))), plain(as_json(getattr(new, name))), part=name, tolerance=tolerance
            )
        ),
    )


def check_folder(folder: Path) -> None:
    """Refuse a folder whose index names files elsewhere, or whose tables are too large to be read.

    Raises
    ------
    DataError
        Naming the file.
    """
    path = folder / INDEX
    try:
        if path.stat().st_size > MOST_FILE:
            raise DataError(f"{path}: it is too large to be an index")
        index = read_json(path.read_text(encoding="utf-8"))
        check_names(
            (unit["file"] for part in parts_of(index).values() for unit in part.get("units", [])), where=str(path)
        )
        check_names((one["file"] for one in (index.get("scores") or {}).get("files", [])), where=str(path))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}: give the folder of predictions") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: not an index of predictions ({error})") from error
    cells = 0
    for table in sorted(folder.rglob("*.parquet")):
        try:
            metadata = pq.read_metadata(table)
        except (pa.ArrowException, OSError, ValueError):
            continue  # a damaged file is told where it is read
        cells += metadata.num_rows * metadata.num_columns
        if cells > MOST_CELLS:
            raise DataError(f"{table}: with it the tables hold more than {MOST_CELLS:,} values, and are not read")


def for_this_machine(study: Study) -> Study:
    """Return the study, analysed on the processor where it names a GPU and there is none."""
    try:
        check_device(study.analysis.device)
    except (DataError, MissingGroupError):
        return replace(study, analysis=study.analysis.model_copy(update={"device": "cpu"}))
    return study


def _platform(results: Results) -> Mapping[str, Any]:
    """Return what decides how numbers are rounded."""
    return rounding(results.provenance.get("analysis") or {})


def rounding(machine: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a machine decides how numbers are rounded."""
    return {name: machine.get(name) for name in ("python", "platform", "hardware", "versions")}
