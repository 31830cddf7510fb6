"""From a study to a folder of predictions: do the units that are not done, and write the index.

A unit's file is named by the hash of all that determines its content, and is written whole or not at all; so a killed
run goes on where it stopped, a finished one costs nothing, and the files are the only state.
"""

import json
import secrets
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from cxrobust.errors import CxrobustError, DataError
from cxrobust.files import alone, sha256_file
from cxrobust.inference import ledger
from cxrobust.inference.attack_checks import AttackCheck, Checked, check_model, with_transfer
from cxrobust.inference.decoding import Decoders
from cxrobust.inference.described import describe_condition, describe_images, describe_regime, image_rows, list_units
from cxrobust.inference.deviations import PrecisionDeviation, deviations_of
from cxrobust.inference.elsewhere import Elsewhere
from cxrobust.inference.examples import Example, attack_examples, corruption_examples, sheet_examples
from cxrobust.inference.executors import executor_of
from cxrobust.inference.gradient_checks import check_gradients
from cxrobust.inference.log import Took, log_unit, read_log
from cxrobust.inference.models import Regime
from cxrobust.inference.runner import Runner
from cxrobust.inference.runtime import choose_device
from cxrobust.inference.stores import Store
from cxrobust.inference.text_checks import check_texts
from cxrobust.inference.units import (
    CACHE,
    TRAINING_CACHE,
    VALIDATION_CACHE,
    LeftOutImage,
    Plan,
    Unit,
    in_one_search,
    plan,
)
from cxrobust.inference.work import Failure, Outcome, Task, failure_of, write
from cxrobust.prediction_files import parts_of
from cxrobust.predictions import (
    INDEX,
    read_unit,
    write_index,
)
from cxrobust.progress import Reporter, silent
from cxrobust.registration import find_registration
from cxrobust.study import Study


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
        units that are done are kept, and one that fails keeps none of the others from being done.
    """
    kept = (CACHE, VALIDATION_CACHE, TRAINING_CACHE, "examples", "checks", ledger.FAILED)
    if not (folder / INDEX).exists():  # else all may be done, which needs no device
        check_gpu(study)
    with alone(folder, *kept), Decoders() as decoders:
        registered = find_registration(study)
        planned = plan(study, folder, report=report, decoders=decoders)
        left = [unit for unit in planned.units if not (folder / unit.file).exists()]
        check_texts(study, planned.table, left)
        check_gradients(study, left)
        _predict(planned, folder, None if registered is None else registered.sha256, report)
    return folder


def check_gpu(study: Study) -> None:
    """Refuse a study that asks for a GPU where its units would run in processes of this machine, which has none.

    Raises
    ------
    CxrobustError
        When that is so, or torch cannot be used.
    """
    runs_here = study.compute.executor in {"local", "processes"}
    if runs_here and study.compute.device == "cuda" and any(isinstance(one, Regime) for one in study.regimes):
        choose_device("cuda")


def _predict(planned: Plan, folder: Path, registration: str | None, report: Reporter) -> None:
    study = planned.study
    if study.compute.store is not None:
        _fetch(planned, folder, Store(study.compute.store))
    progress = _Progress(planned, folder, report)
    _list_for_ledger(planned, folder)
    _remove_unfinished(planned, folder, progress)
    store = None if study.compute.store is None else Store(study.compute.store)
    run = secrets.token_hex(8)
    tasks: list[Task] = []
    for model in dict.fromkeys(unit.model for part in planned.parts for unit in part.units):
        of_model: list[Task] = []
        for part in planned.parts:  # one after the other, so that a model is loaded once for both
            left = [unit for unit in part.units if unit.model == model and not progress.is_done(unit)]
            left.sort(key=lambda unit: int(unit.rows[0]))  # the first images are used while others are decoded
            for *weaker, unit in in_one_search(left):
                if isinstance(unit.regime, Elsewhere):
                    _read_table(unit.regime, unit, part, folder)
                    progress.finish(unit)
                    continue
                of_model.append(
                    Task(
                        unit=unit,
                        weaker=tuple(weaker),
                        part=part,
                        folder=folder,
                        registration=registration,
                        run=run,
                        store=study.compute.store,
                    )
                )
        if of_model and study.compute.on_error == "stop":  # else it is known at the end which images are kept
            of_model[-1] = replace(of_model[-1], also=partial(_keep_and_check, model, planned, folder, report=report))
        tasks += of_model
    if tasks:
        check_gpu(study)
    _do(tasks, folder, progress)
    for part in planned.parts:
        if part.pixels is not None:
            part.pixels.wait_for_all(report)
    planned = _without_skipped(planned, folder)
    with_models = _with_models(planned, folder, report)
    _write_index(planned, folder, with_models)
    if store is not None:
        _complete(store, folder)


def _fetch(planned: Plan, folder: Path, store: Store) -> None:
    """Take from the store the units' files that the folder lacks."""
    there = store.names()
    for part in planned.parts:
        for unit in part.units:
            if unit.file in there and not (folder / unit.file).exists():
                store.fetch(unit.file, folder)


def _complete(store: Store, folder: Path) -> None:
    """Copy what the store lacks, so that it holds a complete folder of predictions, the index last."""
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    parts = parts_of(index)
    there = store.names()
    units = [unit["file"] for part in parts.values() for unit in part["units"] if unit["file"] not in there]
    store.put_all(folder, (*units, *(example["file"] for example in index["examples"]), *parts, INDEX))


def _without_skipped(planned: Plan, folder: Path) -> Plan:
    """Return the plan with all images left out, for test and validation images, that some unit has no prediction of.

    Raises
    ------
    DataError
        When no image is left.
    """
    if planned.study.compute.on_error == "stop":
        return planned
    left_out = planned.left_out
    for unit in planned.units:
        for image, (reason, detail) in read_unit(folder / unit.file).skipped.items():
            left_out.setdefault(image, LeftOutImage(reason=reason, detail=detail))
    if len(left_out) == len(planned.table.ids):
        raise DataError(
            f"{planned.table.name}: no image is left, all {len(left_out):,} were skipped: {_reasons(left_out.values())}"
        )
    validation = None if planned.validation is None else _without_skipped(planned.validation, folder)
    return replace(planned, skipped=left_out, validation=validation)


def _reasons(left_out: Collection[LeftOutImage]) -> str:
    """Return why images were left out, with what was found of the first for each reason, the commonest before others.

    Examples
    --------
    >>> _reasons([LeftOutImage(reason="whose file cannot be read", detail="i7.png: it is empty")])
    '1 whose file cannot be read (i7.png: it is empty)'
    """
    counts = Counter(one.reason for one in left_out).most_common()
    first = {reason: next(one.detail for one in left_out if one.reason == reason) for reason, _ in counts}
    return ", and ".join(f"{n:,} {reason} ({first[reason]})" for reason, n in counts)


def _list_for_ledger(planned: Plan, folder: Path) -> None:
    entries = [
        ledger.Entry(
            key=unit.key,
            regime=unit.regime.name,
            replicate=unit.regime.replicate,
            condition=str(unit.condition),
            part="test" if part is planned else "validation",
            n_images=len(unit.rows),
        )
        for part in planned.parts
        for unit in part.units
    ]
    ledger.write_units(entries, made_for(planned.study), folder)
    ledger.sweep_running(folder)


def _remove_unfinished(planned: Plan, folder: Path, progress: "_Progress") -> None:
    """Remove files of units that are not done all the same, since damaged or without images that are wanted.

    Who only looks whether a file is there would take them for done: the jobs of an array, or who fetches from a store.
    """
    for part in planned.parts:
        for unit in part.units:
            if not progress.is_done(unit):
                (folder / unit.file).unlink(missing_ok=True)


def _read_table(regime: Elsewhere, unit: Unit, part: Plan, folder: Path) -> None:
    told = regime.read(str(unit.condition), findings=part.table.findings, image_ids=part.table.ids)
    try:
        write(
            unit, part, folder, told.probabilities, None, written=told.written
        )  # made elsewhere, nobody knows when: it has no registration
    except OSError as error:
        raise DataError(failure_of(error, folder / unit.file).message) from error


def _do(tasks: Sequence[Task], folder: Path, progress: "_Progress") -> None:
    """Do the units that are left; those whose error may pass are tried again when all others are done.

    Raises
    ------
    CxrobustError
        At the end, when some failed; at once, when every other would too.
    """
    if not tasks:
        return
    compute = tasks[0].part.study.compute
    store = None if compute.store is None else Store(compute.store)
    todo = {task.unit.key: task for task in tasks}
    failed: dict[str, Failure] = {}
    for attempt in range(1, compute.retries + 2):
        with closing(executor_of(compute).run(list(todo.values()), progress.advance)) as outcomes:
            for outcome in outcomes:
                task = todo[outcome.key]
                if outcome.failure is None:
                    for unit in task.units:
                        if store is not None and not (folder / unit.file).exists():
                            store.fetch(unit.file, folder)
                    failed.pop(outcome.key, None)
                    _log(task, outcome, folder)
                    for unit in task.units:
                        ledger.forget_failure(folder, unit.key)
                        progress.finish(unit)
                    continue
                failed[outcome.key] = outcome.failure
                for unit in task.units:
                    ledger.note_failure(folder, unit.key, error=outcome.failure.message, attempts=attempt)
                if outcome.failure.ends_run:
                    raise outcome.failure.error(outcome.failure.message)
                progress.advance(0)
        todo = {key: todo[key] for key, failure in failed.items() if failure.may_pass and key in todo}
        if not todo:
            break
    if failed:
        raise _failed(list(failed.values()), n_units=progress.n_units)


def _log(task: Task, outcome: Outcome, folder: Path) -> None:
    """Note how long the units of a task took, where that is known."""
    if outcome.seconds is None:
        return
    ended = time.time() if outcome.ended is None else outcome.ended
    took = Took(ended=ended, whole=outcome.seconds, share=outcome.seconds / len(task.units))
    for unit in task.units:
        log_unit(folder, unit, outcome.machine, took)


def _failed(failures: Sequence[Failure], *, n_units: int) -> CxrobustError:
    """Return one sentence on all units that failed."""
    first, n_kinds = failures[0], len({failure.message for failure in failures})
    kinds = f" with {n_kinds:,} different errors, of which this is the first" if n_kinds > 1 else ""
    return first.error(
        f"{first.message}; {len(failures):,} of {n_units:,} units failed{kinds} (cxrobust status names them); "
        f"what was done is kept, and the same command does the rest"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _WithModels:
    """What is made with the models besides predictions."""

    examples: Sequence[Example]
    checks: Sequence[AttackCheck]
    deviations: Sequence[PrecisionDeviation]


def _with_models(planned: Plan, folder: Path, report: Reporter) -> _WithModels:
    """Keep images for the report, check the study's attack, and compare with fp32, one model after another."""
    examples: list[Example] = [*sheet_examples(planned, folder), *corruption_examples(planned, folder)]
    checked: list[Checked] = []
    deviations: list[PrecisionDeviation] = []
    for model, unit in {unit.model: unit for unit in planned.units}.items():
        if isinstance(unit.regime, Regime):
            runner = Runner(regime=unit.regime, plan=planned, fold=unit.fold)
            kept, found, apart = _keep_and_check(model, planned, folder, runner, report=report)
            examples += kept
            checked += [] if found is None else [found]
            deviations += apart
            runner.unload()
    return _WithModels(examples=examples, checks=list(with_transfer(checked, planned, folder)), deviations=deviations)


def _keep_and_check(
    model: tuple[str, int, str | None], planned: Plan, folder: Path, runner: Runner, *, report: Reporter
) -> tuple[list[Example], Checked | None, tuple[PrecisionDeviation, ...]]:
    """Keep one model's images, check its attack, and compare it with fp32; what was done before needs no model."""
    units = [unit for unit in planned.units if unit.model == model]
    if not units:
        return [], None, ()
    over = runner if runner.plan is planned else runner.over(planned)
    kept = attack_examples(units, planned, folder, over)
    return (
        kept,
        check_model(units, over, planned, folder, report=report),
        deviations_of(units, over, planned, folder),
    )


def made_for(study: Study) -> dict[str, Any]:
    """Return the settings that predictions depend on, by which the analysis knows that they are this study's.

    Models stand by the last part of their path alone, so that it does not matter whether their folders are at hand.
    """
    settings = study.settings()
    return {
        "data": settings["data"],
        "regimes": [
            {**one, "model": PurePosixPath(one["model"]).name or "."} if one.get("model") else one
            for one in settings["regimes"]
        ],
        "perturbations": settings["perturbations"],
        **study.unnamed,
        "seed": study.study.seed,
        "precision": study.compute.precision,
        **({"compile": True} if study.compute.compile else {}),
    }


def changed_settings(study: Study, before: Mapping[str, Any]) -> tuple[str, ...]:
    """Return which of the settings that predictions depend on differ from those `before`."""
    now = json.loads(json.dumps(made_for(study)))
    return tuple(name for name in {**now, **before} if now.get(name) != before.get(name))


class _Progress:
    """Images done of all images of the grid; which units were done before is found out once."""

    def __init__(self, planned: Plan, folder: Path, report: Reporter) -> None:
        self._report = report
        units = [unit for part in planned.parts for unit in part.units]
        written = _written(folder)
        skips = planned.study.compute.on_error == "skip"
        self._done = {unit.key for unit in units if _is_done(unit, folder, written.get(unit.file), skips=skips)}
        self.n_units = len(units)
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
        return {entry["file"]: entry["sha256"] for part in parts_of(index).values() for entry in part.get("units", ())}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _is_done(unit: Unit, folder: Path, sha256: str | None, *, skips: bool) -> bool:
    """Whether a unit's file is there, whole, and as the index says, which covers what its own checksums do not.

    One that lacks images is done where the study skips such.
    """
    path = folder / unit.file
    if not path.exists() or (sha256 is not None and sha256_file(path) != sha256):
        return False
    try:
        content = read_unit(path)
    except DataError:
        return False
    return content.key == unit.key and (skips or not content.skipped)


def _write_index(planned: Plan, folder: Path, made: _WithModels) -> None:
    """Write the index, unless the one that is there says the same."""
    made_here = {unit.key for part in planned.parts for unit in part.units if isinstance(unit.regime, Regime)}
    index: dict[str, Any] = {
        "made_for": made_for(planned.study),
        "data": describe_images(planned),
        "regimes": [describe_regime(regime, planned) for regime in planned.study.regimes],
        "conditions": [describe_condition(condition, planned) for condition in planned.conditions],
        "units": list_units(planned, folder),
        "examples": [example.as_dict() for example in made.examples],
        "attack_checks": [check.as_dict() for check in made.checks],
        "inference": {
            **read_log(folder, made_here),
            **({"deviations": [one.as_dict() for one in made.deviations]} if made.deviations else {}),
        },
    }
    held_out = planned.validation
    if held_out is not None:
        patients = [held_out.table.patients[row] for row in held_out.kept]
        counts = {"n_images": len(patients), "n_patients": len(set(patients))}
        index["validation"] = {
            "data": {**describe_images(held_out), **counts},
            "units": list_units(held_out, folder),
        }
    write_index(index, image_rows(planned), folder, validation=None if held_out is None else image_rows(held_out))
