"""What `cxrobust power` does: plan the next study, or judge the present one, from a study's results."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cxrobust.analysis.choices import has_tested_differences, widest
from cxrobust.analysis.contrasts import Contrast, contrasts_of
from cxrobust.analysis.detectable import comparisons, goal_of, is_of_positives, limits_of_se, se_of_test
from cxrobust.analysis.evaluating import evaluate
from cxrobust.analysis.families import Families
from cxrobust.analysis.metrics import metric
from cxrobust.analysis.power import Goal, Power, Simulated, draws_for, plan, simulate_power
from cxrobust.analysis.purposes import Purpose
from cxrobust.analysis.report_scores import of_reports
from cxrobust.analysis.sample import Sample
from cxrobust.analysis.testing import UNTESTED, WITH_THE_UNIT_OF_THE_METRIC
from cxrobust.analysis.values import averages
from cxrobust.conditions import parse_condition
from cxrobust.errors import DataError, StudyError, counted, nearest, one_name
from cxrobust.files import alone, atomic_write_text, sha256_file
from cxrobust.predictions import INDEX, PredictionSet, load_predictions
from cxrobust.progress import Reporter, silent
from cxrobust.results import (
    ALL_REGIMES,
    ESTIMANDS,
    MACRO,
    MICRO,
    OTHERS,
    PREDICTIONS,
    RESULTS,
    Estimand,
    Estimate,
    Results,
    primary_estimand,
    read_results,
    to_csv,
)
from cxrobust.study import Study

POWER = "power.csv"
MOST_SIMULATED = 50_000
"""Patients of a simulated study; with more, sums are normal and the formula needs no check."""

NO_NUMBER = "–"
COLUMNS = (
    "goal", "estimand", "metric", "regime", "reference", "condition", "finding", "se", "n_images", "n_patients",
    "n_positive_patients", "alpha", "comparisons", "power", "size", "detectable", "achieved", "patients_needed",
    "images_needed", "positive_patients_expected", "simulated_difference", "simulated_patients", "simulations",
    "simulated_power", "simulated_error", "simulated_level", "note",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Which:
    """Which estimates are planned; None for those of the primary comparison, and for every metric and regime."""

    estimand: str | None = None
    finding: str = MACRO
    condition: str | None = None
    metric: str | None = None
    regime: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What the study is to show, and how surely."""

    difference: float | None = None
    """A difference to be detected; when None, only the smallest detectable one is given."""
    margin: float | None = None
    """The largest difference that does not matter, for non-inferiority and equivalence.

    Without it and a difference, each metric is planned for as the study tests it, against the margin of the study.
    """
    power: float = 0.8
    alpha: float | None = None
    """Level of all comparisons together; when None, 1 − the study's level."""
    comparisons: int | None = None
    """By how many tests the level is divided; when None, as many as the results adjust together."""
    simulations: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """One row: an estimate of the pilot, what it says about one goal, and what simulation says."""

    estimate: Estimate
    power: Power
    note: str
    simulated: Simulated | None = None
    simulated_level: Simulated | None = None
    """The same without a difference: the share of false rejections."""


def power(
    study: Study, out: Path, *, which: Which, question: Question, report: Reporter = silent
) -> tuple[Planned, ...]:
    """Plan from `OUT/results.json`, and write `OUT/power.csv`; simulation needs `OUT/predictions` too.

    Raises
    ------
    StudyError
        When an option is out of its range, or matches nothing in the results.
    DataError
        When the results are missing or were made from another study file or other predictions.
    """
    _check(question, _alpha(question, study))
    results = read_results(out / RESULTS)
    if results.study_text != study.text:
        raise DataError(f"{out / RESULTS}: it was made from another study file than {study.path}: run cxrobust analyze")
    matching = select(results, which, name=str(out / RESULTS))
    rows = [row for estimate in matching for row in _plan(estimate, results, study, question)]
    with alone(out):
        if question.simulations:
            rows = _simulate(rows, study, out, results, question, report)
        atomic_write_text(out / POWER, to_csv(COLUMNS, (_csv_row(row) for row in rows)))
    return tuple(rows)


def select(results: Results, which: Which, *, name: str = RESULTS) -> tuple[Estimate, ...]:
    """Return the estimates that match; `name` says in errors where they were sought.

    Raises
    ------
    StudyError
        Naming the first option that matches nothing, and what there is.
    """
    primary = results.primary_condition
    tested = [one for one in ESTIMANDS if one not in (*UNTESTED, "recalibrated-raw", ALL_REGIMES)]
    if which.estimand and which.estimand not in tested:
        raise StudyError(
            f"--estimand {which.estimand}: no difference that is tested{nearest(which.estimand, tested)}: "
            f"those are {', '.join(tested)}"
        )
    estimand = which.estimand or _primary_estimand(results)
    along = estimand.startswith(("trend", "area", "half-margin"))
    usual = "clean" if primary is None else parse_condition(primary).series if along else primary
    wanted = {
        "estimand": estimand,
        "finding": which.finding,
        "condition": _canonical(which.condition) if which.condition else usual,
        "metric": which.metric,
        "regime": which.regime,
    }
    if which.metric and not has_tested_differences(which.metric):
        raise StudyError(f"--metric {which.metric}: it fits no test that could be planned: name another")
    metrics = [one for one in results.study["analysis"]["metrics"] if has_tested_differences(one)]
    if not metrics:
        raise StudyError(f"{name} has no metric that fits a test, so there is nothing to plan: add one to the study")
    against = {None, results.study["study"]["reference"]}  # not other pairs of regimes, which no option tells apart
    left = tuple(
        one for one in results.find() if one.estimand in tested and one.metric in metrics and one.reference in against
    )
    if not left:
        raise StudyError(f"{name} compares nothing, so there is nothing to plan: add a regime or a perturbation")
    for key, value in wanted.items():
        if value is None:
            continue
        there = list(dict.fromkeys(getattr(one, key) for one in left))
        left = tuple(one for one in left if getattr(one, key) == value)
        if not left:
            raise StudyError(
                f"--{key} {value}: nothing in {name} matches{nearest(value, there)}: "
                f"there {'is' if len(there) == 1 else 'are'} {', '.join(map(one_name, there))}"
            )
    return left


def show(rows: Sequence[Planned], question: Question, study: Study, *, console: Console | None = None) -> None:
    """Print a table for each goal, and the notes."""
    console = console or Console()
    first = rows[0].estimate
    finding = escape(one_name(first.finding))
    console.print(f"[bold]{first.estimand}[/bold], {finding}, {escape(first.condition)}", highlight=False)
    for said in _pilots(rows):
        console.print(escape(said), highlight=False)
    console.print(_chosen(rows, question, study), highlight=False)
    for aim in dict.fromkeys((row.power.goal, row.power.size) for row in rows):
        console.print()
        _show_goal([row for row in rows if (row.power.goal, row.power.size) == aim], question, study, console)
    notes: dict[str, list[str]] = {}
    for row in rows:
        if row.note:
            notes.setdefault(row.note, []).append(f"{row.estimate.regime}, {row.estimate.metric}")
    for note, names in notes.items():
        where = "All" if len(names) == len(rows) else "; ".join(dict.fromkeys(names))
        console.print(f"{escape(where)}: {escape(note)}.", highlight=False)


def _chosen(rows: Sequence[Planned], question: Question, study: Study) -> str:
    """Say whose the level and the goals are: the study's, or those that options ask for."""
    level = (
        "Level: the study's"
        if question.alpha is None
        else f"Level: as --alpha asks (the study's: {study.analysis.alpha:g})"
    )
    sizes = {"--difference": question.difference, "--margin": question.margin}
    options = " and ".join(name for name, size in sizes.items() if size is not None)
    if not options:
        return f"{level}. Goals: those of the study's tests."
    own: dict[str, list[str]] = {}
    for row in rows:
        goal, margin = goal_of(row.estimate, study.analysis)
        said = goal if margin is None else f"{goal}, margin {margin:g}"
        metrics = own.setdefault(said, [])
        metrics += [row.estimate.metric] if row.estimate.metric not in metrics else []
    tests = "; ".join(f"{goal} ({', '.join(metrics)})" for goal, metrics in own.items() if goal != "difference")
    beside = f" (the study's: {tests})" if tests else ""
    return f"{level}. Goals: as {options} ask{'' if ' ' in options else 's'}{beside}."


def _pilots(rows: Sequence[Planned]) -> Iterator[str]:
    """Say how many patients and images the pilot has, of which metrics where it has not as many of all."""
    of: dict[str, dict[str, None]] = {}
    for row in rows:
        one = row.estimate
        patients, images = counted(one.n_patients, "patient"), counted(one.n_images, "image")
        said = f"{patients} ({one.n_positive_patients:,} positive), {images}"
        of.setdefault(said, {})[one.metric] = None
    for said, metrics in of.items():
        yield f"Pilot: {said}" if len(of) == 1 else f"Pilot of {', '.join(metrics)}: {said}"


def influences_of(
    estimates: Sequence[Estimate], predictions: PredictionSet, study: Study
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """How much each patient moves each estimate, and has of it: (n_patients,) each, of those whom the estimate counts.

    Influences sum to 0 and their spread is the standard error; shares sum to 1, and what a difference adds to each
    patient's contribution is their share of it. The estimates of one metric should stand together.
    """
    settings = study.analysis  # whose resamples say which findings macro averages leave out
    sample = Sample.draw(predictions, settings, seed=study.study.seed)
    done, of_metric = "", sample
    known: tuple[Contrast, ...] = ()
    for one in estimates:
        if one.metric != done:
            done, chosen = one.metric, metric[one.metric]
            of_metric = of_reports(done, sample) if chosen.of_reports else sample
            values = evaluate({done: chosen}, [of_metric])[done]
            known = contrasts_of(
                chosen,
                of_metric.predictions.regimes,
                of_metric.predictions.conditions,
                reference=study.study.reference,
                sets=tuple(settings.sets),
                chances=values.chances,
            )
        (contrast,) = (
            c for c in known if (c.estimand, c.regime, c.condition) == (one.estimand, one.regime, one.condition)
        )
        data, means = of_metric.predictions, averages(of_metric.n_findings)
        columns = [
            k
            for k, name in enumerate(data.findings)
            if one.finding in {name, MICRO} or (one.finding in means and k not in values.left_out)
        ]
        labelled = np.unique(data.patients[(data.labels[:, columns] >= 0).any(axis=1)])
        place = [*data.findings, *means].index(one.finding)
        yield contrast.influences(values)[place][labelled], contrast.shares(values)[place][labelled]


def _plan(estimate: Estimate, results: Results, study: Study, question: Question) -> Iterator[Planned]:
    in_its_unit = estimate.estimand in WITH_THE_UNIT_OF_THE_METRIC
    if question.margin is not None and not in_its_unit:
        raise StudyError(
            f"--margin {question.margin:g}: no test holds {estimate.estimand} against a margin: leave it out, or name "
            f"another --estimand: {', '.join(WITH_THE_UNIT_OF_THE_METRIC)}"
        )
    sizes: list[tuple[Goal, float | None]] = []
    if question.difference is not None:
        sizes.append(("difference", question.difference))
    if question.margin is not None:
        directed = metric[estimate.metric].better is not None
        sizes += [("non-inferiority", question.margin)] if directed else []
        sizes.append(("equivalence", question.margin))
    own = goal_of(estimate, study.analysis)
    test = estimate.test if estimate.test and own[0] == "difference" else "permutation"
    for goal, size in sizes or [own]:
        if size is not None and in_its_unit and abs(size) >= widest(estimate.metric):
            option = "--difference" if goal == "difference" else "--margin"
            raise StudyError(
                f"{option} {size:g}: two values of {estimate.metric} differ by less than {widest(estimate.metric):g}: "
                "give a smaller number"
            )
        planned = plan(
            se_of_test(estimate, goal),
            n_patients=estimate.n_patients,
            n_images=estimate.n_images,
            n_positive_patients=estimate.n_positive_patients,
            goal=goal,
            size=size,
            alpha=_alpha(question, study),
            comparisons=question.comparisons or _comparisons(estimate, results, study),
            power=question.power,
            test=test,
            n_draws=study.analysis.resamples,
            by_positives=is_of_positives(estimate.metric),
        )
        notes = (planned.note, estimate.note, *limits_of_se(estimate, goal))
        yield Planned(estimate=estimate, power=planned, note="; ".join(note for note in notes if note))


def _alpha(question: Question, study: Study) -> float:
    return study.analysis.alpha if question.alpha is None else question.alpha


def _comparisons(estimate: Estimate, results: Results, study: Study) -> int:
    """Tests that the results adjust together with this one."""
    families = Families(
        declared=study.analysis.families,
        primary_estimand=_primary_estimand(results),
        primary_condition=results.primary_condition,
        adjust=study.analysis.adjust,
        alpha=study.analysis.alpha,
    )
    return comparisons(estimate, Counter(one.family for one in results.estimates), families)


def _primary_estimand(results: Results) -> Estimand:
    return primary_estimand(n_regimes=len(results.regimes), primary_condition=results.primary_condition)


def _simulate(
    rows: Sequence[Planned], study: Study, out: Path, results: Results, question: Question, report: Reporter
) -> list[Planned]:
    """Add to each row of a difference how often sign flips detect it, and how often they reject where there is none."""
    folder = out / PREDICTIONS
    predictions = load_predictions(folder)
    if sha256_file(folder / INDEX) != results.provenance.get("predictions_sha256"):
        raise DataError(
            f"{out / RESULTS}: it was made from other predictions than {folder} holds: run cxrobust analyze"
        )
    found = []
    pilots = influences_of([row.estimate for row in rows if _is_simulated(row)], predictions, study)
    for done, row in enumerate(rows):
        report("simulating", done, len(rows))
        found.append(_simulated(row, next(pilots), study, question.simulations) if _is_simulated(row) else row)
    report("simulating", len(rows), len(rows))
    return found


def _is_simulated(row: Planned) -> bool:
    """Whether a row is of a difference that is tested; the mean over the findings beside an attacked one is not."""
    is_planned = row.power.detectable is not None or row.power.patients_needed is not None
    return row.power.goal == "difference" and is_planned and row.estimate.finding != OTHERS


def _simulated(
    row: Planned, pilot: tuple[NDArray[np.float64], NDArray[np.float64]], study: Study, n_simulations: int
) -> Planned:
    """Simulate the patients needed for the stated difference, or else the pilot's for the smallest detectable one."""
    n_patients = row.power.patients_needed or row.power.n_patients
    if n_patients > MOST_SIMULATED:
        return _noted(row, f"not simulated: more than {MOST_SIMULATED:,} patients")
    with_difference, without = (
        simulate_power(
            *pilot,
            difference=difference,
            n_patients=n_patients,
            n_simulations=n_simulations,
            alpha=row.power.alpha,
            n_draws=draws_for(row.power.alpha, most=study.analysis.resamples),
            rng=Purpose.SIMULATIONS.generator(study.study.seed),
        )
        for difference in (row.power.size or row.power.detectable or 0.0, 0.0)
    )
    found = replace(row, simulated=with_difference, simulated_level=without)
    if with_difference.power + 3 * with_difference.error < row.power.power:
        found = _noted(found, "signs detect it less often than the formula says: plan for more patients")
    if without.power - 3 * without.error > row.power.alpha:
        said = f"without a difference, {without.power:.1%} of simulated studies reject"
        found = _noted(found, f"too few patients carry the contrast: {said}")
    return found


def _noted(row: Planned, note: str) -> Planned:
    return replace(row, note="; ".join(part for part in (row.note, note) if part))


def _show_goal(rows: Sequence[Planned], question: Question, study: Study, console: Console) -> None:
    goal, size = rows[0].power.goal, rows[0].power.size
    aim = {
        "difference": "To detect a difference" + ("" if size is None else f" of {size:g}"),
        "non-inferiority": f"To show non-inferiority, margin {size},",
        "equivalence": f"To show equivalence within ±{size}",
    }[goal]
    divided = {row.power.comparisons for row in rows}
    by = " over each family's tests" if len(divided) > 1 else "" if divided == {1} else f"/{max(divided):,}"
    side = "two-sided" if goal == "difference" else "one-sided"
    console.print(f"{aim} with power {question.power:g} ({side} α = {_alpha(question, study):g}{by})", highlight=False)
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    needs = ("power\nnow", "patients\nneeded", "\nimages", "positive\npatients")
    simulated = any(row.simulated for row in rows)
    for name in (
        "smallest\ndetectable",
        *(needs if size is not None else ()),
        *(("simulated\npower",) if simulated else ()),
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for done in dict.fromkeys(row.estimate.metric for row in rows):
        table.add_row(f"[bold]{done}[/bold]")
        for row in rows:
            if row.estimate.metric == done:
                table.add_row(*_cells(row, sized=size is not None, simulated=simulated))
    console.print(table)


def _cells(row: Planned, *, sized: bool, simulated: bool) -> Iterator[str]:
    power, one = row.power, row.simulated
    yield escape(row.estimate.regime)
    yield NO_NUMBER if power.detectable is None else f"{power.detectable:.3g}"
    if sized:
        yield NO_NUMBER if power.achieved is None else _probability(power.achieved)
        for n in (power.patients_needed, power.images_needed, power.positive_patients_expected):
            yield NO_NUMBER if n is None else f"{n:,}"
    if simulated:
        yield NO_NUMBER if one is None else f"{one.power:.2f} ± {one.error:.2f}"


def _probability(p: float) -> str:
    return "> 0.999" if p > 0.999 else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _csv_row(row: Planned) -> list[object]:
    values = {**asdict(row.estimate), **asdict(row.power), "note": row.note}
    if row.simulated and row.simulated_level:
        values |= {
            "simulated_difference": row.simulated.difference,
            "simulated_patients": row.simulated.n_patients,
            "simulations": row.simulated.n_simulations,
            "simulated_power": row.simulated.power,
            "simulated_error": row.simulated.error,
            "simulated_level": row.simulated_level.power,
        }
    return [values.get(column) for column in COLUMNS]


def _canonical(condition: str) -> str:
    try:
        return str(parse_condition(condition))
    except ValueError as error:
        raise StudyError(f"--condition {condition}: {error}") from error


def _check(question: Question, alpha: float) -> None:
    power, difference, margin = question.power, question.difference, question.margin
    if difference is not None and not (math.isfinite(difference) and difference != 0):
        raise StudyError(f"--difference {difference:g}: give a finite number other than 0")
    if margin is not None and not (math.isfinite(margin) and margin > 0):
        raise StudyError(f"--margin {margin:g}: give a finite number above 0")
    if not 0 < alpha < 1:
        raise StudyError(f"--alpha {alpha:g}: give a number between 0 and 1")
    if not alpha < power < 1:
        raise StudyError(f"--power {power:g}: give a number between alpha, {alpha:g}, and 1")
