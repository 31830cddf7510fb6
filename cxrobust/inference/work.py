"""One unit of work done, wherever that is: its images predicted, and its file written whole or not at all."""

import errno
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, chdir, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from scipy.special import expit

from cxrobust.errors import CxrobustError, DataError, MissingGroupError, OutOfMemoryError, StudyError
from cxrobust.inference import ledger
from cxrobust.inference.checkpoints import one_line
from cxrobust.inference.datasets import take
from cxrobust.inference.decoding import NoImageError
from cxrobust.inference.images import reason
from cxrobust.inference.models import Regime
from cxrobust.inference.perturbations.attack import Attack
from cxrobust.inference.pixels import Pixels
from cxrobust.inference.runner import Runner
from cxrobust.inference.stores import Store, StoreError
from cxrobust.inference.units import NOT_FINITE, LeftOutImage, Plan, Unit
from cxrobust.inference.written import Reading, Written
from cxrobust.predictions import UnitPredictions, write_unit

FULL = {errno.ENOSPC, errno.EDQUOT}
LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
"""What is wrong with a file until a person mends it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A unit of a model to do, with all that it needs."""

    unit: Unit
    weaker: tuple[Unit, ...] = ()
    """Units that the same search finds on its way, strengths rising."""
    part: Plan
    folder: Path
    registration: str | None
    """Hash of the plan that was registered, where there is one."""
    run: str
    """Name of the run, so that a process which serves several does not take one's model for another's."""
    store: str | None = None
    """URL of a place that files are copied to."""
    also: Callable[[Runner], Any] | None = None
    """What else is done with the model, in this process alone, while it is loaded; errors are left for later."""
    directory: Path | None = None
    """Where the process worked that sent it, absolute, to which paths of the study are relative; None where it was not
    sent."""

    @property
    def units(self) -> tuple[Unit, ...]:
        """All units whose files the task writes, strengths rising."""
        return (*self.weaker, self.unit)

    def is_done(self) -> bool:
        """Whether all its files are there."""
        return all((self.folder / one.file).exists() for one in self.units)

    def alone(self, *, copied: bool = False, here: bool = False) -> "Task":
        """Return the task with what its own images need and no more, to be pickled for another process.

        Pixels go by the path of their file, to a process of this machine (`here`) as soon as they are decoded; or
        `copied`, where other machines do not reach it.

        Raises
        ------
        DataError
            Naming an image that cannot be decoded.
        """
        part, rows = self.part, self.unit.rows
        first, end = int(rows.min()), int(rows.max()) + 1
        table = take(part.table, range(first, end))
        own = set(table.ids)
        pixels = None if part.pixels is None else part.pixels.part(first, end, copied=copied, here=here)
        *weaker, unit = (replace(one, rows=one.rows - first) for one in self.units)
        of = {unit.regime.name, unit.perturbation.made_on if isinstance(unit.perturbation, Attack) else None}
        mine = replace(
            part,
            study=replace(part.study, regimes=tuple(one for one in part.study.regimes if one.name in of)),
            table=replace(
                table, images=None, metadata=pd.DataFrame(index=range(end - first)), exclusions={}, sources={}
            ),
            pixels=cast("Pixels", pixels),
            units=(*weaker, unit),
            validation=None,
            skipped={image: why for image, why in part.skipped.items() if image in own},
        )
        folder = self.folder.absolute()
        return replace(self, unit=unit, weaker=tuple(weaker), part=mine, folder=folder, also=None, directory=Path.cwd())


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why a unit was not done."""

    message: str
    error: type[CxrobustError] = DataError
    may_pass: bool = False
    """Whether trying again may help: memory or a disk was short of something."""
    ends_run: bool = False
    """Whether it is of no use to go on: a full disk, images that other machines cannot have, a store that is missing or
    must not be written, a group of dependencies that is missing, a wrong study file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of a task."""

    key: str
    failure: Failure | None = None
    seconds: float | None = None
    """How long it took; None where it was found done, so that neither this nor the machine is known."""
    machine: Mapping[str, Any] = field(default_factory=dict)
    ended: float | None = None
    """When it ended, in seconds since 1970 by the clock of the process that did it; None where it is told at once."""


def lost(task: Task, why: str) -> Outcome:
    """Return that the process which did a task is gone; memory may have been short, and another one may do it."""
    unit = task.unit
    message = f"regime {unit.regime.name!r}, condition {str(unit.condition)!r}: its worker was lost ({why})"
    return Outcome(key=unit.key, failure=Failure(message=f"{message}: run again, with more memory", may_pass=True))


def unexpected(task: Task, error: BaseException) -> Outcome:
    """Return that a task ended in an error outside its own work, foreseen or not."""
    unit = task.unit
    if isinstance(error, CxrobustError):
        return Outcome(key=unit.key, failure=failure_of(error, task.folder / unit.file))
    message = (
        f"regime {unit.regime.name!r}, condition {str(unit.condition)!r}: {type(error).__name__} ({one_line(error)})"
    )
    return Outcome(key=unit.key, failure=Failure(message=f'{message}: see it with executor = "local" and --debug'))


class Worker:
    """Does tasks one after another, and keeps the model of the last."""

    def __init__(self) -> None:
        self._model: tuple[Any, ...] = ()
        self._runner: Runner | None = None
        self._cannot_load: CxrobustError | None = None

    def do(self, task: Task, advance: Callable[[int], None] = lambda n_images: None) -> Outcome:
        """Predict a unit and write its file; what a person can mend is an outcome, no error."""
        with _working_in(task.directory):
            return self._do(task, advance)

    def _do(self, task: Task, advance: Callable[[int], None]) -> Outcome:
        begun = time.monotonic()
        unit = task.unit
        try:
            if isinstance(
                task.part.pixels, Pixels
            ):  # one that is last in a large shard, before all others are attacked
                task.part.pixels.refuse_damaged(unit.rows)
            with ledger.running(task.folder, unit.key):
                runner = self._runner_of(task)
                for one, reading in zip(task.units, runner.read(task.units, advance), strict=True):
                    write(
                        one,
                        task.part,
                        task.folder,
                        expit(reading.logits.astype(np.float64)),
                        reading.logits,
                        written=reading.written,
                        registration=task.registration,
                        skipped=_skipped(one, task.part, reading),
                    )
            if task.store is not None:
                Store(task.store).put_all(task.folder, [one.file for one in task.units])
            seconds = time.monotonic() - begun
            if task.also is not None:
                with suppress(CxrobustError):
                    task.also(runner)
            return Outcome(key=unit.key, seconds=seconds, machine=runner.machine)
        except (CxrobustError, OSError, MemoryError) as error:
            return Outcome(key=unit.key, failure=failure_of(error, task.folder / unit.file))

    def _runner_of(self, task: Task) -> Runner:
        """Return a runner of the task's model, loaded but once for all tasks in a row; so is the error of one."""
        regime = task.unit.regime
        if not isinstance(regime, Regime):
            raise DataError(f"regime {regime.name!r} was predicted elsewhere: it has no model")
        if (task.run, *task.unit.model) != self._model:
            self._runner, self._cannot_load = None, None
            self._model = (task.run, *task.unit.model)
        if self._cannot_load is not None:
            raise self._cannot_load
        if self._runner is None:
            runner = Runner(regime=regime, plan=task.part, fold=task.unit.fold)
            try:
                runner.load()
            except CxrobustError as error:
                if not _may_pass(error):
                    self._cannot_load = error
                raise
            self._runner = runner
        self._runner = self._runner.over(task.part)
        return self._runner


@contextmanager
def _working_in(directory: Path | None) -> Iterator[None]:
    """Work in the directory that a task was sent from, which a worker of Ray was not started in.

    Where this machine has no such directory it is an empty one, so that no other file is taken for one of the study.
    """
    with ExitStack() as stack:
        if directory is not None:
            there = directory if directory.is_dir() else Path(stack.enter_context(tempfile.TemporaryDirectory()))
            stack.enter_context(chdir(there))
        yield


def write(
    unit: Unit,
    part: Plan,
    folder: Path,
    probabilities: np.ndarray[Any, np.dtype[np.float64]],
    logits: np.ndarray[Any, np.dtype[np.float32]] | None,
    *,
    written: Written | None = None,
    registration: str | None = None,
    skipped: Mapping[int, LeftOutImage] | None = None,
) -> None:
    """Write a unit's file; images `skipped`, by their place in the unit, have no row in it and are named."""
    table, out = part.table, skipped or {}
    kept = [place for place in range(len(unit.rows)) if place not in out]
    rows = unit.rows[kept]
    content = UnitPredictions(
        regime=unit.regime.name,
        replicate=unit.regime.replicate,
        condition=str(unit.condition),
        key=unit.key,
        image_ids=tuple(table.ids[row] for row in rows),
        patients=tuple(table.patients[row] for row in rows),
        findings=table.findings,
        labels=table.labels[rows],
        probabilities=probabilities[kept],
        logits=None if logits is None else logits[kept],
        reports=None if written is None else tuple(written.reports[place] for place in kept),
        log_probabilities=None if written is None else written.log_probabilities[kept],
        report_faults={} if written is None else _faults(written, unit, table.ids, kept),
        registration=registration,
        skipped={table.ids[unit.rows[place]]: [why.reason, why.detail] for place, why in sorted(out.items())},
    )
    write_unit(content, folder / unit.file)


def _faults(written: Written, unit: Unit, ids: Sequence[str], kept: Sequence[int]) -> dict[str, list[str]]:
    """Return the images by what is wrong with their reports."""
    found: dict[str, list[str]] = {}
    for place in kept:
        for fault in written.faults[place]:
            found.setdefault(fault, []).append(ids[unit.rows[place]])
    return found


def _skipped(unit: Unit, part: Plan, reading: Reading) -> dict[int, LeftOutImage]:
    """Return which images of a unit have no prediction, by their place in it, and why; none where the study stops."""
    if part.study.compute.on_error == "stop":
        return {}
    found, left_out = {}, part.left_out
    for place, row in enumerate(unit.rows):
        wrong = np.flatnonzero(~np.isfinite(reading.logits[place]))
        if (known := left_out.get(part.table.ids[row])) is not None:
            found[place] = known
        elif (why := reading.unusable.get(place)) is not None:
            where = f"regime {unit.regime.name!r}, condition {str(unit.condition)!r}"
            found[place] = LeftOutImage(reason=NOT_FINITE, detail=f"{where}: {why}")
        elif len(wrong):
            finding, value = part.table.findings[wrong[0]], reading.logits[place, wrong[0]]
            where = f"regime {unit.regime.name!r}, condition {str(unit.condition)!r}, finding {finding!r}"
            found[place] = LeftOutImage(reason=NOT_FINITE, detail=f"{where}: the model gave {value}")
    return found


def failure_of(error: CxrobustError | OSError | MemoryError, path: Path) -> Failure:
    """Say in one sentence what went wrong with the unit whose file is `path`, and whether it may pass."""
    if isinstance(error, OSError):
        full = error.errno in FULL
        mend = "make room and run again; what was done before is kept" if full else "correct that and run again"
        said = os.strerror(error.errno) if full and error.errno else reason(error)  # Arrow says less
        return Failure(message=f"{error.filename or path}: {said}: {mend}", may_pass=_may_pass(error), ends_run=full)
    if isinstance(error, MemoryError):
        return Failure(message=f"{path}: memory is short: lower shard or batch in [compute]", may_pass=True)
    kind = next((one for one in (StudyError, MissingGroupError) if isinstance(error, one)), DataError)
    lasts = isinstance(error, StoreError) and not _may_pass(error)
    ends_run = kind is not DataError or isinstance(error, NoImageError) or lasts
    return Failure(message=str(error), error=kind, may_pass=_may_pass(error), ends_run=ends_run)


def _may_pass(error: BaseException | None) -> bool:
    """Whether memory, a disk or a store is at the bottom of an error, and not for good."""
    while error is not None:
        if isinstance(error, StoreError) and not isinstance(error.__cause__, OSError):
            return True  # the network, or the store's machines
        if isinstance(error, OSError):
            return not isinstance(error, LASTING) and error.errno not in FULL
        if isinstance(error, OutOfMemoryError | MemoryError):
            return True
        error = error.__cause__
    return False
