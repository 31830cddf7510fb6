"""How time and memory grow, on made predictions with several images a patient.

Without an option: time of all resamples of several metrics while images, resamples or cells grow a thousandfold, each
alone. With `--million`: two regimes on a million images. With `--study`: a whole study of the size of the NIH test set,
and with `--views` too, it in two subgroups and with recalibrated probabilities beside it. Both run in a process of
their own, whose peak memory is that of predictions and analysis.

    python benchmarks/scaling.py --figure docs/_static/scaling.svg --out benchmarks/results/scaling.json
    python benchmarks/scaling.py --million --out benchmarks/results/million.json
    python benchmarks/scaling.py --million --metrics all --out benchmarks/results/million-all.json
    python benchmarks/scaling.py --study --metrics default --out benchmarks/results/study-default.json
    python benchmarks/scaling.py --study --views --out benchmarks/results/study-views.json
    python benchmarks/scaling.py --study --metrics all --out benchmarks/results/study-all.json
"""

import argparse
import resource
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator
from numpy.typing import NDArray
from record import write
from scipy.special import expit
from tables_of.analysis import STUDY_AIM_GIB, STUDY_AIM_SECONDS

from cxrobust.analysis import analyze
from cxrobust.analysis.cells import Cell
from cxrobust.analysis.metrics import grouped, metric
from cxrobust.analysis.resampling import patient_counts
from cxrobust.predictions import PredictionSet
from cxrobust.reports.figures.style import canvas, drawn, marks
from cxrobust.study.analysis import AnalysisSection, RecalibrationName, Subgroups

METRICS = ("auroc", "average-precision", "aurc", "coverage-at-risk-5", "accuracy", "ece", "ece-smooth")
AXES = ("images", "resamples", "cells")
STEPS = tuple(10 ** (step / 2) for step in range(7))
"""Three decades."""
IMAGES_A_PATIENT = 4
COLUMN = "sex"
"""Column of subgroups; every other patient is of one of two."""
REPEATS, SECONDS = 3, 0.3
"""Repetitions of one timing at least, and seconds that they take together at least."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """What the time depends on."""

    images: int
    resamples: int
    cells: int


SMALLEST = {
    "images": Size(images=1000, resamples=1000, cells=1),
    "resamples": Size(images=4000, resamples=100, cells=1),
    "cells": Size(images=4000, resamples=1000, cells=1),
}
"""Where each axis begins; the two others stay."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One timing."""

    metric: str
    axis: str
    size: Size
    seconds: float
    """Median over repetitions; drawing the counts, which all metrics share, is not in it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exponent:
    """The slope of log seconds over log size, by least squares."""

    metric: str
    axis: str
    whole: float
    """Over all three decades, where small sizes pay what every call costs."""
    last_decade: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A made study."""

    regimes: int
    conditions: tuple[str, ...]
    findings: int
    images: int
    patients: int
    resamples: int
    metrics: tuple[str, ...]
    subgroups: tuple[str, ...] = ()
    recalibrate: tuple[RecalibrationName, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A part of the analysis."""

    name: str
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A made study as it was analysed."""

    plan: Plan
    n_estimates: int
    seconds: float
    stages: tuple[Stage, ...]
    predictions_gib: float
    """Memory of the process before the analysis: Python, the modules, and the predictions."""
    peak_gib: float
    """The most memory that the process had."""


MILLION = Plan(
    regimes=2,
    conditions=("clean",),
    findings=1,
    images=1_000_000,
    patients=50_000,
    resamples=2_000,
    metrics=AnalysisSection().metrics,
)
STUDY = Plan(
    regimes=5,
    conditions=("clean", *(f"{name}(eps={eps}/255)" for name in ("pgd", "noise") for eps in (1, 2, 4, 8))),
    findings=14,
    images=25_596,
    patients=2_797,
    resamples=10_000,
    metrics=AnalysisSection().metrics,
)


def main() -> None:
    arguments = parse_arguments()
    if arguments.million or arguments.study:
        plan = chosen_plan(arguments)
        with ProcessPoolExecutor(1, get_context("spawn")) as child:
            run = child.submit(analyze_made, plan).result()
        write(arguments.out, asdict(run), packages=("scipy",))
        print_run(run)
        if arguments.fraction == 1:
            print(against_aims(run, most_gib=STUDY_AIM_GIB["million" if arguments.million else "study"]))
        return
    points = [point for axis in AXES for point in timed_along(axis)]
    exponents = [exponent(points, name, axis) for axis in AXES for name in METRICS]
    content = {"points": [asdict(one) for one in points], "exponents": [asdict(one) for one in exponents]}
    write(arguments.out, content, packages=("scipy",))
    if arguments.figure is not None:
        arguments.figure.parent.mkdir(parents=True, exist_ok=True)
        arguments.figure.write_text(drawn(draw)(points, exponents).svg() + "\n", encoding="utf-8")
    for one in exponents:
        print(
            f"{one.metric}: seconds grow with {one.axis} to the power of {one.last_decade:.2f} over the last decade, "
            f"{one.whole:.2f} over all three"
        )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--million", action="store_true", help="two regimes on a million images")
    what.add_argument("--study", action="store_true", help="a whole study of the size of the NIH test set")
    parser.add_argument("--metrics", choices=("default", "all"), default="default", help="of --million and --study")
    parser.add_argument("--views", action="store_true", help="with subgroups and recalibrated probabilities")
    parser.add_argument(
        "--fraction", type=float, default=1.0, help="of the images, patients and resamples of these two"
    )
    parser.add_argument("--figure", type=Path, default=None, help="SVG file of the growth")
    parser.add_argument("--out", type=Path, default=None, help="JSON file for the numbers")
    arguments: argparse.Namespace = parser.parse_args()
    return arguments


def chosen_plan(arguments: argparse.Namespace) -> Plan:
    plan = MILLION if arguments.million else STUDY
    return replace(
        plan,
        images=round(plan.images * arguments.fraction),
        patients=round(plan.patients * arguments.fraction),
        resamples=round(plan.resamples * arguments.fraction),
        metrics=tuple(metric) if arguments.metrics == "all" else plan.metrics,
        subgroups=(COLUMN,) if arguments.views else (),
        recalibrate=("platt",) if arguments.views else (),
    )


def timed_along(axis: str) -> list[Point]:
    """Time every metric while one size grows; cells are distinct, and each turn puts their images in order anew."""
    found = []
    for step in STEPS:
        first = SMALLEST[axis]
        size = replace(first, **{axis: round(getattr(first, axis) * step)})
        rng = np.random.default_rng(1)
        cells = [make_cell(size.images, rng) for _ in range(size.cells)]
        counts = patient_counts(cells[0].n_patients, n_resamples=size.resamples, rng=rng)
        for name in METRICS:
            metric[name].resample(cells[:1], counts[:1])  # compiles
            seconds: list[float] = []
            while len(seconds) < REPEATS or sum(seconds) < SECONDS:
                for one in cells:
                    one.forget()
                begun = time.perf_counter()
                metric[name].resample(cells, counts)
                seconds.append(time.perf_counter() - begun)
            found.append(Point(metric=name, axis=axis, size=size, seconds=float(np.median(seconds))))
            where = f"{size.images:,} images, {size.resamples:,} resamples, {size.cells:,} cells"
            print(f"{name}, {where}: {found[-1].seconds:.2g} s")
    return found


def exponent(points: Sequence[Point], name: str, axis: str) -> Exponent:
    sizes, seconds = curve(points, name, axis)

    def slope(first: int) -> float:
        return float(np.polyfit(np.log(sizes[first:]), np.log(seconds[first:]), 1)[0])

    return Exponent(metric=name, axis=axis, whole=slope(0), last_decade=slope(-3))


def curve(points: Sequence[Point], name: str, axis: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    mine = [point for point in points if (point.metric, point.axis) == (name, axis)]
    return np.array([getattr(point.size, axis) for point in mine], float), np.array([point.seconds for point in mine])


def draw(width: float, points: Sequence[Point], exponents: Sequence[Exponent]) -> Figure:
    """Seconds over each size, both on logarithmic scales, with the slope of the last decade at each curve's end."""
    figure = canvas(width, 84)
    figure.get_layout_engine().set(wspace=0.06)
    panels: Sequence[Axes] = figure.subplots(1, len(AXES), sharey=True)
    look = marks(METRICS, reference=METRICS[0])
    for axes, axis in zip(panels, AXES, strict=True):
        for name in METRICS:
            sizes, seconds = curve(points, name, axis)
            slope = next(one.last_decade for one in exponents if (one.metric, one.axis) == (name, axis))
            mark = look[name]
            axes.plot(sizes, seconds, color=mark.colour, marker=mark.marker, label=f"{name}, exponent {slope:.2f}")
        others = ", ".join(f"{getattr(SMALLEST[axis], other):,} {other}" for other in AXES if other != axis)
        axes.set_title(others.replace(" 1 cells", " 1 cell"), fontweight="normal")
        axes.set(xscale="log", yscale="log", xlabel=axis)
        for side in (axes.xaxis, axes.yaxis):
            side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
            side.set_minor_locator(NullLocator())
        axes.grid(color="#EEEEEE", linewidth=0.5)
        axes.set_axisbelow(True)
        axes.legend(frameon=False, loc="upper left", handlelength=1.6)
    panels[0].set_ylabel("seconds for all resamples")
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(low, high * 100)  # room for the legends
    return figure


def make_cell(n_images: int, rng: np.random.Generator) -> Cell:
    n_patients = n_images // IMAGES_A_PATIENT
    patients = make_patients(n_images, n_patients, rng)
    labels = (rng.random(n_images) < 0.1).astype(np.int8)
    p = make_probabilities(labels, patients, rng)
    return Cell(
        labels=labels, probabilities=p, patients=patients, n_patients=n_patients, threshold=0.5, clean=p, weaker=()
    )


def make_patients(n_images: int, n_patients: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Every patient has an image, the others are of anyone; in order, as files of a data set are."""
    others = rng.integers(0, n_patients, n_images - n_patients)
    return np.sort(np.concatenate([np.arange(n_patients), others])).astype(np.int32)


def make_probabilities(
    labels: NDArray[np.int8], patients: NDArray[np.int32], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Right more often than not, and alike within a patient."""
    of_patient = 0.7 * rng.normal(size=int(patients.max()) + 1)[patients]
    return np.asarray(expit(1.5 * labels - 2 + of_patient + rng.normal(size=len(labels))))


def make_predictions(plan: Plan) -> PredictionSet:
    rng = np.random.default_rng(1)
    patients = make_patients(plan.images, plan.patients, rng)
    labels = (rng.random((plan.images, plan.findings)) < 0.1).astype(np.int8)
    probabilities = np.empty((plan.regimes, len(plan.conditions), plan.images, plan.findings))
    for m, c, k in np.ndindex(plan.regimes, len(plan.conditions), plan.findings):
        probabilities[m, c, :, k] = make_probabilities(labels[:, k], patients, rng)
    return PredictionSet(
        image_ids=tuple(f"image-{i}" for i in range(plan.images)),
        patient_ids=tuple(f"patient-{i}" for i in range(plan.patients)),
        patients=patients,
        findings=tuple(f"finding-{k}" for k in range(plan.findings)),
        labels=labels,
        members=tuple((f"regime-{m}", 0) for m in range(plan.regimes)),
        conditions=plan.conditions,
        probabilities=probabilities,
        metadata=pd.DataFrame({COLUMN: np.where(patients % 2, "F", "M")}),
        index={},
    )


def analyze_made(plan: Plan, device: Literal["cpu", "cuda"] = "cpu") -> Run:
    """Make a study and analyse it; a small one goes before, so that nothing is compiled while the clock runs."""
    small = replace(plan, images=400, patients=100, resamples=100)
    analyze(make_predictions(small), settings(small, device), reference="regime-0", seed=1)
    in_order = [name for names in grouped({name: metric[name] for name in plan.metrics}) for name in names]
    after = ["effect sizes", *(f"recalibrated by {one}" for one in plan.recalibrate)]
    after += ["adjusting p-values, sensitivity analyses", "diagrams"]
    predictions = make_predictions(plan)
    before = peak_gib()
    reached: list[tuple[str, float]] = [("operating points and resamples", time.perf_counter())]

    def report(task: str, done: int, total: int) -> None:
        if done < total:
            name = [*in_order, *after][done]
            reached.append((name if task == "estimating metrics" else f"{task} {done + 1}", time.perf_counter()))
            print(f"  {reached[-2][0]}: {reached[-1][1] - reached[-2][1]:.2f} s", flush=True)
        else:
            reached.append(("the rest", time.perf_counter()))

    found = analyze(predictions, settings(plan, device), reference="regime-0", seed=1, report=report)
    end = time.perf_counter()
    begun = [at for _, at in reached]
    return Run(
        plan=plan,
        n_estimates=len(found.estimates),
        seconds=end - begun[0],
        stages=tuple(
            Stage(name=name, seconds=after - at) for (name, at), after in zip(reached, [*begun[1:], end], strict=True)
        ),
        predictions_gib=before,
        peak_gib=peak_gib(),
    )


def settings(plan: Plan, device: Literal["cpu", "cuda"] = "cpu") -> AnalysisSection:
    return AnalysisSection(
        resamples=plan.resamples,
        metrics=plan.metrics,
        subgroups=tuple(Subgroups(column=one) for one in plan.subgroups),
        recalibrate=plan.recalibrate,
        device=device,
    )


def peak_gib() -> float:
    """The most memory that this process had; Linux counts in KiB, macOS in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**30


def print_run(run: Run) -> None:
    plan = run.plan
    print(
        f"{plan.regimes} regimes, {len(plan.conditions)} conditions, {plan.findings} findings, {plan.images:,} images, "
        f"{plan.patients:,} patients, {plan.resamples:,} resamples, {len(plan.metrics)} metrics: "
        f"{run.n_estimates:,} estimates"
    )
    print(
        f"{run.seconds:.1f} s; at most {run.peak_gib:.2f} GiB, "
        f"of which {run.predictions_gib:.2f} GiB before the analysis began"
    )


def against_aims(run: Run, *, most_gib: float) -> str:
    """Say what part of the aimed seconds and memory a run took, and whether it kept to them."""
    return "; ".join(
        f"{what} {value / most:.2f} of the aim of {most:g} {unit}: {'met' if value < most else 'missed'}"
        for what, value, most, unit in (
            ("time", run.seconds, STUDY_AIM_SECONDS, "s"),
            ("memory", run.peak_gib, most_gib, "GiB"),
        )
    )


if __name__ == "__main__":
    main()
