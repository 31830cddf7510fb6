"""What can be known before a study runs: data, labels, models, one image through each regime, size and time."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cxrobust.analysis.accelerator import check_device
from cxrobust.analysis.metrics import metric
from cxrobust.conditions import format_eps
from cxrobust.errors import DataError, MissingGroupError, counted
from cxrobust.inference.checkpoints import find_adapter
from cxrobust.inference.datasets import ImageTable
from cxrobust.inference.elsewhere import Elsewhere
from cxrobust.inference.engine import check_gpu
from cxrobust.inference.gradient_checks import check_gradients
from cxrobust.inference.models import Regime
from cxrobust.inference.perturbations.attack import InBall
from cxrobust.inference.references import images_by_fault
from cxrobust.inference.runner import Runner
from cxrobust.inference.text_checks import check_texts
from cxrobust.inference.units import Plan, Unit, in_one_search, plan, read_tested
from cxrobust.pipeline import study_template
from cxrobust.predictions import joined_notes, told_of_contradictory
from cxrobust.preferences import Preferences
from cxrobust.preferences.run import check_learned_images
from cxrobust.progress import Reporter
from cxrobust.radiology_reports.findings import FAULTS, REFERENCES, told_of_faults
from cxrobust.results import PREDICTIONS
from cxrobust.scoring import check_scorer, scorers_of, strays_of, try_scorer
from cxrobust.study import Study

LARGEST = 0.005
"""ε of the strongest of published attacks on chest X-ray models."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """What was found; a study that cannot run raises instead."""

    data: str
    n_images: int
    n_patients: int
    n_validation_images: int
    """0 where the study has none."""
    n_validation_patients: int
    findings: tuple[tuple[str, int], ...]
    """Name and positive images of each."""
    regimes: tuple[str, ...]
    conditions: tuple[str, ...]
    n_units: int
    n_units_left: int
    seconds: float
    """Estimated time of the predictions that are left."""
    notes: tuple[str, ...]
    """What the label files hold that is used otherwise than it may have been meant."""
    faults: tuple[str, ...]
    """What is wrong with reports and references: counted, and neither scored nor a reason to stop."""
    advice: tuple[str, ...]
    """What is not wrong, and may be better otherwise."""


def check(study: Study, out: Path, *, report: Reporter) -> Check:
    """Load everything, send one batch of each regime through every condition, and estimate the time.

    Raises
    ------
    CxrobustError
        For the first thing that would stop the study; files and packages that are missing beside data which are right
        are named all at once.
    """
    for name in study.analysis.metrics:
        metric[name]
    check_device(study.analysis.device)
    check_gpu(study)
    study_template(study)
    lacking = _lacking(study)
    if lacking:
        raise _in_one(study, lacking + _lacking_models(study))
    on_judges = check_learned_images(study)
    folder = out / PREDICTIONS
    try:
        planned = plan(study, folder, report=report)
    except DataError as error:
        lacking = _lacking_models(study)
        if str(error) not in lacking:
            raise
        raise _in_one(study, lacking) from error
    units = [unit for part in planned.parts for unit in part.units]
    left = [unit for unit in units if not (folder / unit.file).exists()]
    seconds = 0.0
    faults = (*_faults_of_references(planned.table), *_read_tables(planned))
    check_texts(study, planned.table, planned.units)
    check_gradients(study, planned.units)
    models = _first_units(planned)
    for done, (part, first) in enumerate(models):
        report("trying regimes", done, len(models))
        seconds += _try(first, part, left)
    if models:
        report("trying regimes", len(models), len(models))
    table = planned.table
    faults += _try_scorers(study, table.ids, report)
    held_out = () if planned.validation is None else planned.validation.table.patients
    told_of_held_out = () if planned.validation is None else _told_of(planned.validation.table)
    positives = (table.labels == 1).sum(axis=0)
    return Check(
        data=table.name,
        n_images=len(table.ids),
        n_patients=len(set(table.patients)),
        n_validation_images=len(held_out),
        n_validation_patients=len(set(held_out)),
        findings=tuple(zip(table.findings, map(int, positives), strict=True)),
        regimes=tuple(dict.fromkeys(regime.name for regime in study.regimes)),
        conditions=tuple(map(str, planned.conditions)),
        n_units=len(units),
        n_units_left=len(left),
        seconds=seconds,
        notes=joined_notes(_told_of(table), told_of_held_out),
        faults=faults,
        advice=(*advice_of(study), *advice_on_scores(study), *on_judges, *_advice_on_normalisation(models)),
    )


def show(found: Check) -> None:
    """Print what was found as a table."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    positives = ", ".join(f"{name} {count:,}" for name, count in found.findings)
    n_cells = len(found.regimes) * len(found.conditions)
    table.add_row("Data", f"{escape(found.data)}: {found.n_images:,} images of {found.n_patients:,} patients")
    if found.n_validation_images:
        held_out = f"{found.n_validation_images:,} images of {found.n_validation_patients:,} patients, clean only"
        table.add_row("Validation", held_out)
    table.add_row("Positive images", escape(positives))
    table.add_row("Regimes", escape(", ".join(found.regimes)))
    table.add_row("Conditions", escape(", ".join(found.conditions)))
    table.add_row("Grid", f"{n_cells:,} regime × condition, {n_cells * found.n_images:,} images to predict")
    table.add_row("Units", f"{found.n_units_left:,} of {found.n_units:,} left")
    table.add_row("Time", _in_words(found.seconds))
    for line in found.notes:
        table.add_row("Labels", escape(line))
    for line in found.faults:
        table.add_row("Reports", escape(line))
    for line in found.advice:
        table.add_row("Advice", escape(line))
    Console().print(table)


def advice_on_scores(study: Study) -> tuple[str, ...]:
    """Say that length belongs beside scores of reports, since training on preferences drives it up."""
    of_reports = [name for name in study.analysis.metrics if metric[name].of_reports]
    of_text = [name for name in of_reports if name != "log-probability"]
    if not of_text or {"words", "verbosity"} & set(of_reports):
        return ()
    return (f"{of_text[0]} may rise with the length of reports: add words to the metrics",)


def advice_of(study: Study) -> tuple[str, ...]:
    """Say in a line each what a study may do better: attacks that are all stronger than published ones."""
    sizes = [one.eps for one in study.perturbations if isinstance(one, InBall)]
    if not sizes or min(sizes) <= LARGEST:
        return ()
    return (
        f"the least ε of the attacks is {format_eps(min(sizes))}; published attacks on chest X-ray models use 0.002 to "
        "0.005, below 1.3/255: add smaller ones",
    )


def _advice_on_normalisation(models: Sequence[tuple[Plan, Sequence[Unit]]]) -> tuple[str, ...]:
    """Say of each regime whose model's files do not tell how pixels are normalised what is taken, and how to say it."""
    assumed: dict[str, str] = {}
    for _, units in models:
        regime = units[0].regime
        told = regime.facts(fold=units[0].fold).get("assumed_normalisation") if isinstance(regime, Regime) else None
        if told:
            assumed.setdefault(regime.name, told)
    return tuple(
        f"regime {name!r} normalises pixels by {told}: if its model was trained otherwise, write image_mean and "
        f"image_std into that file beside its config.json (of a repository of the hub, in a copy that model names as a "
        f"folder)"
        for name, told in assumed.items()
    )


def _lacking(study: Study) -> list[str]:
    """Say what each scorer and each judge of preferences lacks: a file, or a package."""
    judges = study.preferences.judges if isinstance(study.preferences, Preferences) else ()
    return _failing([*(partial(check_scorer, *one) for one in scorers_of(study).items()), *(j.check for j in judges)])


def _lacking_models(study: Study) -> list[str]:
    """Say what each model and its adapter lack; one of each fold is seen when its images are."""
    models = [one for one in study.regimes if isinstance(one, Regime) and one.cross_fit is None]
    adapters = [partial(find_adapter, getattr(one, "adapter", None), fold=None, regime=one.name) for one in models]
    return _failing([*(one.fingerprint for one in models), *adapters])


def _failing(steps: Sequence[Callable[[], object]]) -> list[str]:
    told: dict[str, None] = {}
    for step in steps:
        try:
            step()
        except (DataError, MissingGroupError) as error:
            told[str(error)] = None
    return list(told)


def _in_one(study: Study, lacking: Sequence[str]) -> DataError:
    """Return all that is missing as one error; what is wrong with the data is raised before it."""
    table = read_tested(study)
    check_learned_images(study)
    data = f"{table.name}, {counted(len(table.ids), 'image')} of {counted(len(set(table.patients)), 'patient')}"
    numbered = [f"({number}) {one}" for number, one in enumerate(lacking, start=1)] if len(lacking) > 1 else lacking
    return DataError(f"{'; '.join(numbered)} (the data can be read: {data})")


def _read_tables(planned: Plan) -> tuple[str, ...]:
    """Read every table of predictions made elsewhere: its columns and probabilities; return its reports' faults."""
    told = []
    for part in planned.parts:
        for unit in part.units:
            if isinstance(unit.regime, Elsewhere):
                ids = part.table.ids
                read = unit.regime.read(str(unit.condition), findings=part.table.findings, image_ids=ids)
                known = () if read.written is None else read.written.faults
                faults = {fault: n for fault in FAULTS if (n := sum(fault in one for one in known))}
                if faults:
                    told.append(f"{unit.regime.name}, {unit.condition}: {told_of_faults(faults, len(ids))}")
    return tuple(told)


def _told_of(table: ImageTable) -> tuple[str, ...]:
    """Return what there is to tell of the labels of a table."""
    images = {what: n for what, which in table.contradictory.items() if (n := int(which.sum()))}
    return (*table.notes, *told_of_contradictory(images))


def _faults_of_references(table: ImageTable) -> tuple[str, ...]:
    if table.references is None:
        return ()
    found = {fault: len(images) for fault, images in images_by_fault(table.references, table.ids).items()}
    return (told_of_faults(found, len(table.ids), of=REFERENCES),) if found else ()


def _first_units(planned: Plan) -> list[tuple[Plan, list[Unit]]]:
    """One unit of each condition, for each model, on test images unless it predicts validation images alone."""
    models: dict[tuple[str, int, str | None], tuple[Plan, dict[str, Unit]]] = {}
    for part in planned.parts:
        for unit in part.units:
            if isinstance(unit.regime, Regime):
                of_part, mine = models.setdefault(unit.model, (part, {}))
                if of_part is part:
                    mine.setdefault(str(unit.condition), unit)
    return [(part, list(units.values())) for part, units in models.values()]


def _try(units: list[Unit], part: Plan, left: list[Unit]) -> float:
    """Send a small batch through every condition of one model; return the seconds that its units left will take."""
    regime = units[0].regime
    if not isinstance(regime, Regime):
        return 0.0
    runner = Runner(regime=regime, plan=part, fold=units[0].fold)
    rows = units[0].rows[: min(8, part.study.compute.batch)]
    seconds = 0.0
    runner.predict_rows(rows[:2], [None])
    for together in in_one_search(units):
        unit = together[-1]
        begun = time.monotonic()
        runner.predict_rows(rows, [one.perturbation for one in together])
        each = (time.monotonic() - begun) / len(rows)
        same = [u for u in left if u.regime is regime and u.fold == unit.fold and u.condition == unit.condition]
        seconds += each * float(np.sum([len(u.rows) for u in same]))
    return seconds


def _try_scorers(study: Study, ids: Sequence[str], report: Reporter) -> tuple[str, ...]:
    """Let each scorer score one pair of sentences; say which reports of tables made elsewhere are of no image."""
    scorers = scorers_of(study)
    for done, one in enumerate(scorers.values()):
        report("trying scorers", done, len(scorers))
        try_scorer(one)
    if scorers:
        report("trying scorers", len(scorers), len(scorers))
    told = (strays_of(name, one, ids) for name, one in scorers.items())
    return tuple(one for one in told if one is not None)


def _in_words(seconds: float) -> str:
    if seconds == 0:
        return "no predictions are left to make"
    if seconds < 90:
        return f"about {seconds:.0f} s of predictions left on this machine"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} minutes of predictions left on this machine"
    return f"about {seconds / 3600:.1f} hours of predictions left on this machine"
