"""A study's resamples on a GPU and on all cores of the same machine, in one run, and the whole analysis on both.

The study is that of `scaling.py`: all resamples of every cell, by metric; then every estimate of the default metrics,
in a process of its own.

    python benchmarks/gpu.py --out benchmarks/results/gpu.json
"""

import argparse
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from record import write
from scaling import STUDY, Plan, analyze_made, make_predictions, print_run, settings

from cxrobust.analysis.evaluating import CELLS_AT_ONCE
from cxrobust.analysis.metrics import metric
from cxrobust.analysis.sample import Sample

METRICS = ("auroc", "average-precision", "aurc", "coverage-at-risk-5", "accuracy", "brier", "ece", "ece-smooth")
Device = Literal["cuda", "cpu"]
DEVICES: tuple[Device, ...] = ("cuda", "cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Seconds for all resamples of one metric on every cell of the study."""

    metric: str
    n_cells: int
    cuda: float
    cpu: float
    largest_difference: float


def main() -> None:
    plan = parse_arguments()
    content: dict[str, Any] = {"gpu": torch.cuda.get_device_name(), "runs": {}}
    timings = [] if plan.whole else timed(plan)
    content["timings"] = [asdict(one) for one in timings]
    for device in DEVICES:
        write(plan.out, content, packages=("torch", "triton"))
        print(f"the whole analysis on {device}:", flush=True)
        with ProcessPoolExecutor(1, get_context("spawn")) as child:
            run = child.submit(analyze_made, plan.sized, device).result()
        print_run(run)
        content["runs"][device] = asdict(run)
    write(plan.out, content, packages=("torch", "triton"))
    seconds = [content["runs"][device]["seconds"] for device in DEVICES]
    print(f"the whole analysis: {seconds[0]:.1f} s on the GPU, {seconds[1]:.1f} s on all cores")
    if plan.whole:
        return
    on_gpu, on_cpu = (sum(getattr(one, device) for one in timings) for device in DEVICES)
    print(f"resamples: {on_gpu:.1f} s on the GPU, {on_cpu:.1f} s on all cores, {on_cpu / on_gpu:.1f} times as fast")


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    sized: Plan
    whole: bool
    """Whether to leave the timings of single metrics out."""
    out: Path | None


def timed(arguments: Arguments) -> list[Timing]:
    """Time every metric on both devices, after a few cells that compile what has to be."""
    predictions = make_predictions(arguments.sized)
    samples = {device: Sample.draw(predictions, settings(arguments.sized, device), seed=1) for device in DEVICES}
    n_members, n_conditions, _, n_findings = predictions.probabilities.shape
    cells = [
        samples["cpu"].cell(member=m, condition=c, finding=k)
        for k in range(n_findings + 1)
        for m in range(n_members)
        for c in range(n_conditions)
    ]
    found = []
    for name in METRICS:
        seconds, first = {}, {}
        for device in DEVICES:
            counts = samples[device].counts
            metric[name].resample(cells[:2], counts)
            begun = time.perf_counter()
            for at in range(0, len(cells), CELLS_AT_ONCE):
                some = metric[name].resample(cells[at : at + CELLS_AT_ONCE], counts)
                first.setdefault(device, some)
            seconds[device] = time.perf_counter() - begun
        difference = float(np.nanmax(np.abs(first["cuda"] - first["cpu"])))
        found.append(Timing(metric=name, n_cells=len(cells), largest_difference=difference, **seconds))
        print(f"{name}: {seconds['cuda']:.2f} s on the GPU, {seconds['cpu']:.2f} s on all cores", flush=True)
    return found


def parse_arguments(given: Sequence[str] | None = None) -> Arguments:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fraction", type=float, default=1.0, help="of the images, patients and resamples")
    parser.add_argument("--whole", action="store_true", help="the whole analysis alone, not the resamples of metrics")
    parser.add_argument("--out", type=Path, default=None, help="JSON file for the numbers")
    parsed = parser.parse_args(given)
    sizes = {name: round(getattr(STUDY, name) * parsed.fraction) for name in ("images", "patients", "resamples")}
    return Arguments(sized=replace(STUDY, **sizes), whole=parsed.whole, out=parsed.out)


if __name__ == "__main__":
    main()
