"""From a study to a folder of predictions: do the units that are not done, and write the index.

A unit's file is named by the hash of all that determines its content, and is written whole or not at all; so a killed
run goes on where it stopped, a finished one costs nothing, and the files are the only state.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from cxrobust.conditions import CLEAN, Condition
from cxrobust.errors import DataError
from cxrobust.files import alone, sha256_file
from cxrobust.inference.elsewhere import Elsewhere
from cxrobust.inference.examples import Example, attack_examples, sheet_examples
from cxrobust.inference.models import Regime
from cxrobust.inference.runner import Runner
from cxrobust.inference.units import Plan, Unit, plan
from cxrobust.predictions import UnitPredictions, read_unit, write_index, write_unit
from cxrobust.progress import Reporter, silent
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
    with alone(folder, "cache", "examples"):
        _predict(study, folder, report)
    return folder


def _predict(study: Study, folder: Path, report: Reporter) -> None:
    planned = plan(study, folder, report=report)
    progress = _Progress(planned, folder, report)
    examples: list[Example] = list(sheet_examples(planned, folder))
    for units in _by_model(planned):
        todo = [unit for unit in units if not progress.is_done(unit)]
        regime = units[0].regime
        if isinstance(regime, Elsewhere):
            for unit in todo:
                values = regime.read(str(unit.condition), findings=planned.table.findings, image_ids=planned.table.ids)
                _write(unit, planned, folder, values, None)
                progress.finish(unit)
            continue
        runner = Runner(regime=regime, plan=planned, fold=units[0].fold)
        for unit in todo:
            begun = time.monotonic()
            logits = runner.logits(unit, progress.advance)
            _write(unit, planned, folder, expit(logits.astype(np.float64)), logits)
            _log(folder, unit, runner.machine, time.monotonic() - begun)
            progress.finish(unit)
        examples += attack_examples(units, planned, folder, runner)
    _write_index(planned, folder, examples)


def made_for(study: Study) -> dict[str, Any]:
    """Return the settings that predictions depend on, by which the analysis knows that they are this study's."""
    settings = study.settings()
    return {
        **{name: settings[name] for name in ("data", "regimes", "perturbations")},
        "seed": study.study.seed,
        "precision": study.compute.precision,
    }


class _Progress:
    """Images done of all images of the grid; which units were done before is found out once."""

    def __init__(self, planned: Plan, folder: Path, report: Reporter) -> None:
        self._report = report
        self._done = {unit.key for unit in planned.units if _is_done(unit, folder)}
        self._total = sum(len(unit.rows) for unit in planned.units)
        self._finished = sum(len(unit.rows) for unit in planned.units if unit.key in self._done)
        self.advance(0)

    def is_done(self, unit: Unit) -> bool:
        return unit.key in self._done

    def advance(self, n_images: int) -> None:
        self._report("predicting images", self._finished + n_images, self._total)

    def finish(self, unit: Unit) -> None:
        self._finished += len(unit.rows)
        self.advance(0)


def _is_done(unit: Unit, folder: Path) -> bool:
    path = folder / unit.file
    if not path.exists():
        return False
    try:
        return read_unit(path).key == unit.key
    except DataError:
        return False


def _by_model(planned: Plan) -> list[list[Unit]]:
    groups: dict[tuple[str, int, str | None], list[Unit]] = {}
    for unit in planned.units:
        groups.setdefault((unit.regime.name, unit.regime.replicate, unit.fold), []).append(unit)
    return list(groups.values())


def _write(
    unit: Unit, planned: Plan, folder: Path, probabilities: NDArray[np.float64], logits: NDArray[np.float32] | None
) -> None:
    table = planned.table
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


def _write_index(planned: Plan, folder: Path, examples: Sequence[Example]) -> None:
    """Write the index, unless the one that is there says the same."""
    table = planned.table
    ours = {"image_id", "patient_id", *(f"label_{finding}" for finding in table.findings)}
    images = table.metadata.reset_index(drop=True).rename(columns=str)
    images = images.drop(columns=[column for column in images if column in ours])
    images.insert(0, "image_id", list(table.ids))
    images.insert(1, "patient_id", list(table.patients))
    for k, finding in enumerate(table.findings):
        images[f"label_{finding}"] = table.labels[:, k]
    index = {
        "made_for": made_for(planned.study),
        "data": {
            "name": table.name,
            "citation": table.citation,
            "findings": list(table.findings),
            "size": planned.study.data.size if planned.pixels is not None else None,
            "exclusions": dict(table.exclusions),
            "sources": dict(table.sources),
        },
        "regimes": [_describe_regime(regime, planned) for regime in planned.study.regimes],
        "conditions": [_describe_condition(condition, planned) for condition in planned.conditions],
        "units": [
            {
                "file": unit.file,
                "sha256": sha256_file(folder / unit.file),
                "regime": unit.regime.name,
                "replicate": unit.regime.replicate,
                "condition": str(unit.condition),
                "n_images": len(unit.rows),
            }
            for unit in planned.units
        ],
        "examples": [example.as_dict() for example in examples],
        "inference": _read_log(folder, {unit.key for unit in planned.units}),
    }
    write_index(index, images, folder)


def _describe_regime(regime: Regime | Elsewhere, planned: Plan) -> dict[str, Any]:
    units = [unit for unit in planned.units if unit.regime is regime]
    fingerprint: dict[str, str] = {}
    for unit in units:
        if isinstance(regime, Elsewhere):
            fingerprint |= regime.fingerprint(str(unit.condition))
        else:
            fingerprint |= regime.fingerprint(fold=unit.fold)
    return {
        "name": regime.name,
        "replicate": regime.replicate,
        "description": regime.description,
        "family": "elsewhere" if isinstance(regime, Elsewhere) else regime.family,
        "settings": regime.settings(),
        "fingerprint": fingerprint,
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
    }
