"""From a study to a folder of predictions: do the units that are not done, and write the index.

A unit's file is named by the hash of all that determines its content, and is written whole or not at all; so a killed
run goes on where it stopped, a finished one costs nothing, and the files are the only state.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from cxrobust.conditions import CLEAN, Condition
from cxrobust.errors import DataError
from cxrobust.files import alone, sha256_file, sha256_json
from cxrobust.inference.attack_checks import AttackCheck, Checked, check_model, with_transfer
from cxrobust.inference.datasets import STUDY_ID, ImageTable
from cxrobust.inference.elsewhere import Elsewhere
from cxrobust.inference.examples import Example, attack_examples, corruption_examples, sheet_examples
from cxrobust.inference.models import Regime
from cxrobust.inference.runner import Runner
from cxrobust.inference.units import CACHE, TRAINING_CACHE, VALIDATION_CACHE, Plan, Unit, plan
from cxrobust.predictions import INDEX, UnitPredictions, read_unit, registration_of, write_index, write_unit
from cxrobust.progress import Reporter, silent
from cxrobust.registration import find_registration
from cxrobust.study import Study

LOG = "log.jsonl"
"""What each unit took, a line each; not needed to go on."""


def predict(study: Study, folder: Path, *, report: Reporter = silent) -> Path:
    """Make every prediction of a study that `folder` does not hold yet, and write its index.

    Returns
    -------
    Path
        The folder, complete: see `cxrobust.predictions`.

    Raises
    ------
    DataError, StudyError
        When data, images, checkpoints or tables of predictions cannot be used, or another process writes to `folder`;
        units done before are kept.
    """
    with alone(folder, CACHE, VALIDATION_CACHE, TRAINING_CACHE, "examples", "checks"):
        _predict(study, folder, report)
    return folder


def _predict(study: Study, folder: Path, report: Reporter) -> None:
    registered = find_registration(study)
    planned = plan(study, folder, report=report)
    progress = _Progress(planned, folder, report)
    examples: list[Example] = [*sheet_examples(planned, folder), *corruption_examples(planned, folder)]
    checked: list[Checked] = []
    for model in dict.fromkeys(unit.model for part in planned.parts for unit in part.units):
        runner: Runner | None = None  # one for both parts, so that a model is loaded once
        for part in planned.parts:
            units = [unit for unit in part.units if unit.model == model]
            if not units:  # no image of this part belongs to the model's fold
                continue
            todo = [unit for unit in units if not progress.is_done(unit)]
            regime = units[0].regime
            if isinstance(regime, Elsewhere):
                _read_tables(regime, todo, part, folder, progress)
                continue
            if runner is None:
                runner = Runner(regime=regime, plan=part, fold=units[0].fold)
            elif todo:
                runner = runner.over(part)
            _run(runner, todo, part, folder, progress, None if registered is None else registered.sha256)
            if part is planned:
                examples += attack_examples(units, planned, folder, runner)
                found = check_model(units, runner, part, folder)
                checked += [] if found is None else [found]
        if runner is not None:
            runner.unload()
    _write_index(planned, folder, examples, list(with_transfer(checked, planned, folder)))


def _read_tables(regime: Elsewhere, units: Sequence[Unit], part: Plan, folder: Path, progress: "_Progress") -> None:
    for unit in units:
        values = regime.read(str(unit.condition), findings=part.table.findings, image_ids=part.table.ids)
        _write(unit, part, folder, values, None, None)  # made elsewhere, nobody knows when
        progress.finish(unit)


def _run(
    runner: Runner,
    units: Sequence[Unit],
    part: Plan,
    folder: Path,
    progress: "_Progress",
    registration: str | None,
) -> None:
    for unit in units:
        begun = time.monotonic()
        logits = runner.logits(unit, progress.advance)
        _write(unit, part, folder, expit(logits.astype(np.float64)), logits, registration)
        _log(folder, unit, runner.machine, time.monotonic() - begun)
        progress.finish(unit)


def made_for(study: Study) -> dict[str, Any]:
    """Return the settings that predictions depend on, by which the analysis knows that they are this study's.

    Models stand by the last part of their path alone, so that it does not matter whether their folders are at hand.
    """
    settings = study.settings()
    return {
        "data": settings["data"],
        "regimes": [
            {**one, "model": PurePosixPath(one["model"]).name} if one.get("model") else one
            for one in settings["regimes"]
        ],
        "perturbations": settings["perturbations"],
        "seed": study.study.seed,
        "precision": study.compute.precision,
    }


class _Progress:
    """Images done of all images of the grid; which units were done before is found out once."""

    def __init__(self, planned: Plan, folder: Path, report: Reporter) -> None:
        self._report = report
        units = [unit for part in planned.parts for unit in part.units]
        written = _written(folder)
        self._done = {unit.key for unit in units if _is_done(unit, folder, written.get(unit.file))}
        self._total = sum(len(unit.rows) for unit in units)
        self._finished = sum(len(unit.rows) for unit in units if unit.key in self._done)
        self.advance(0)

    def is_done(self, unit: Unit) -> bool:
        return unit.key in self._done

    def advance(self, n_images: int) -> None:
        self._report("predicting images", self._finished + n_images, self._total)

    def finish(self, unit: Unit) -> None:
        self._finished += len(unit.rows)
        self.advance(0)


def _written(folder: Path) -> dict[str, str]:
    """Return the hash of each file that the index of an earlier run names; nothing where there is no whole one."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        parts = (index, index.get("validation") or {})
        return {entry["file"]: entry["sha256"] for part in parts for entry in part.get("units", ())}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _is_done(unit: Unit, folder: Path, sha256: str | None) -> bool:
    """Whether a unit's file is there, whole, and as the index says, which covers what its own checksums do not."""
    path = folder / unit.file
    if not path.exists() or (sha256 is not None and sha256_file(path) != sha256):
        return False
    try:
        return read_unit(path).key == unit.key
    except DataError:
        return False


def _write(
    unit: Unit,
    part: Plan,
    folder: Path,
    probabilities: NDArray[np.float64],
    logits: NDArray[np.float32] | None,
    registration: str | None,
) -> None:
    table = part.table
    content = UnitPredictions(
        regime=unit.regime.name,
        replicate=unit.regime.replicate,
        condition=str(unit.condition),
        key=unit.key,
        image_ids=tuple(table.ids[row] for row in unit.rows),
        patients=tuple(table.patients[row] for row in unit.rows),
        findings=table.findings,
        labels=table.labels[unit.rows],
        probabilities=probabilities,
        logits=logits,
        registration=registration,
    )
    path = folder / unit.file
    try:
        write_unit(content, path)
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror or error}: make room and run again; what was done before is kept"
        ) from error


def _log(folder: Path, unit: Unit, machine: dict[str, Any], seconds: float) -> None:
    line = json.dumps({"key": unit.key, "seconds": round(seconds, 3), "machine": machine})
    with (folder / LOG).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def _read_log(folder: Path, keys: set[str]) -> dict[str, Any]:
    """Wall time and machines of the units in `keys`, as far as they were logged."""
    seconds, machines = 0.0, []
    path = folder / LOG
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        match entry:
            case {"key": str(key), "seconds": float(took), "machine": machine} if key in keys:
                seconds += took
                if machine not in machines:
                    machines.append(machine)
    return {"seconds": round(seconds, 1), "machines": machines}


def _write_index(planned: Plan, folder: Path, examples: Sequence[Example], checks: Sequence[AttackCheck]) -> None:
    """Write the index, unless the one that is there says the same."""
    index: dict[str, Any] = {
        "made_for": made_for(planned.study),
        "data": _describe_images(planned),
        "regimes": [_describe_regime(regime, planned) for regime in planned.study.regimes],
        "conditions": [_describe_condition(condition, planned) for condition in planned.conditions],
        "units": _list_units(planned, folder),
        "examples": [example.as_dict() for example in examples],
        "attack_checks": [check.as_dict() for check in checks],
        "inference": _read_log(folder, {unit.key for part in planned.parts for unit in part.units}),
    }
    held_out = planned.validation
    if held_out is not None:
        table = held_out.table
        counts = {"n_images": len(table.ids), "n_patients": len(set(table.patients))}
        index["validation"] = {
            "data": {**_describe_images(held_out), **counts},
            "units": _list_units(held_out, folder),
        }
    write_index(
        index, _image_rows(planned.table), folder, validation=None if held_out is None else _image_rows(held_out.table)
    )


def _image_rows(table: ImageTable) -> pd.DataFrame:
    """Return image, patient, the data set's metadata and labels, a row an image."""
    images = table.own_metadata
    images.insert(0, "image_id", list(table.ids))
    images.insert(1, "patient_id", list(table.patients))
    for k, finding in enumerate(table.findings):
        images[f"label_{finding}"] = table.labels[:, k]
    return images


def _describe_images(part: Plan) -> dict[str, Any]:
    table = part.table
    return {
        "name": table.name,
        "citation": table.citation,
        "findings": list(table.findings),
        "size": part.study.data.size if part.pixels is not None else None,
        **({} if table.pooled is None else {"pooled": {"column": STUDY_ID, "by": table.pooled}}),
        "exclusions": dict(table.exclusions),
        "sources": dict(table.sources),
        "images_sha256": None
        if part.pixels is None
        else sha256_json(list(zip(table.ids, part.pixels.digests, strict=True))),
    }


def _list_units(part: Plan, folder: Path) -> list[dict[str, Any]]:
    return [
        {
            "file": unit.file,
            "sha256": sha256_file(folder / unit.file),
            "regime": unit.regime.name,
            "replicate": unit.regime.replicate,
            "condition": str(unit.condition),
            "n_images": len(unit.rows),
            **({} if (registered := registration_of(folder / unit.file)) is None else {"registration": registered}),
        }
        for unit in part.units
    ]


def _describe_regime(regime: Regime | Elsewhere, planned: Plan) -> dict[str, Any]:
    fingerprint: dict[str, str] = {}
    facts: dict[str, Any] = {}
    if isinstance(regime, Elsewhere):
        for condition in regime.own_conditions:
            fingerprint |= regime.fingerprint(condition)
        if planned.validation is not None:
            of_validation = regime.on_validation().fingerprint(str(CLEAN))
            fingerprint |= {f"{name} (validation)": digest for name, digest in of_validation.items()}
    else:
        units = (unit for part in planned.parts for unit in part.units if unit.regime is regime)
        for fold in dict.fromkeys(unit.fold for unit in units):
            fingerprint |= regime.fingerprint(fold=fold)
            facts = facts or regime.facts(fold=fold)
    return {
        "name": regime.name,
        "replicate": regime.replicate,
        "description": regime.description,
        "family": "elsewhere" if isinstance(regime, Elsewhere) else regime.family,
        "settings": regime.settings(),
        "fingerprint": fingerprint,
        "facts": facts,
    }


def _describe_condition(condition: Condition, planned: Plan) -> dict[str, Any]:
    made = {str(one.condition): one for one in planned.study.perturbations}
    perturbation = made.get(str(condition))
    kind = "clean" if condition == CLEAN else "elsewhere"
    return {
        "name": str(condition),
        "series": condition.series,
        "strength_name": condition.strength_name,
        "strength": condition.strength,
        "kind": kind if perturbation is None else perturbation.kind,
        "description": "" if perturbation is None else perturbation.describe(),
        "parameters": {} if perturbation is None else perturbation.every_parameter(),
    }
