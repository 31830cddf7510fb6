"""Patient-level resamples on real predictions, against loops over scikit-learn, netcal and NumPy.

The predictions of three published models for 14 findings on 22,433 NIH ChestX-ray14 images: 42 cells. Here every
resample of every cell is computed, five times; of the loops a few calls are timed and scaled to as many, which the
output says. The calls that are timed also check that both give the same numbers. Here all cores are used, then one; by
the loops one.

    python benchmarks/resampling.py ../shared/data --out benchmarks/results/resampling.json
"""

import argparse
import os
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from nih import load_cells
from numpy.typing import NDArray
from record import write
from sklearn.metrics import average_precision_score, roc_auc_score

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.metrics import metric
from cxrobust.analysis.resampling import Counts, patient_counts

Peer = Callable[[NDArray[np.float64], NDArray[np.int8]], float]
TURNS = 5
"""Turns that ours is the median of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """One metric: seconds for all cells and resamples here, and by the loop."""

    metric: str
    peer: str
    n_cells: int
    n_resamples: int
    n_images: int
    n_patients: int
    seconds: float
    """Median of `TURNS`; the counts that all cells and metrics share are not in it."""
    seconds_one_core: float | None
    """The same on one core; None where this system cannot keep a process to one."""
    seconds_one_cell: float
    """Median over repetitions of all resamples of the first cell alone."""
    peer_calls_timed: int
    peer_seconds_per_call: float
    """Median of the timed calls, taking the resample's images included."""
    peer_seconds: float
    """Scaled: seconds a call × cells × resamples."""
    largest_difference: float
    """Between both, over the timed calls."""
    ratio: float
    ratio_one_core: float | None
    """The same over ours on one core."""


def main() -> None:
    arguments = parse_arguments()
    cells = list(load_cells(arguments.data).values())
    patient_counts(10, n_resamples=64, rng=np.random.default_rng(1))  # compiles, or reads what was compiled
    begun = time.perf_counter()
    counts = patient_counts(cells[0].n_patients, n_resamples=arguments.resamples, rng=np.random.default_rng(1))
    seconds_counts = time.perf_counter() - begun
    print(f"counts of {arguments.resamples:,} resamples of {cells[0].n_patients:,} patients: {seconds_counts:.2f} s")
    timings = [
        measure("auroc", "scikit-learn", sklearn_auroc, cells, counts, arguments),
        measure("average-precision", "scikit-learn", sklearn_average_precision, cells, counts, arguments),
        measure("aurc", "NumPy", numpy_aurc, cells, counts, arguments),
        measure("ece", "netcal", netcal_ece(), cells, counts, arguments),
    ]
    content = {"seconds_counts": seconds_counts, "timings": [asdict(timing) for timing in timings]}
    write(arguments.out, content, packages=("scikit-learn", "netcal"))
    for timing in timings:
        on_one = "" if timing.ratio_one_core is None else f", {timing.ratio_one_core:,.0f} on one core"
        print(f"{timing.metric}: {timing.ratio:,.0f} times as fast as a loop over {timing.peer}{on_one}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder that holds nih-predictions/ and nih-metadata/")
    parser.add_argument("--resamples", type=int, default=2048)
    parser.add_argument("--calls", type=int, default=20, help="calls of each loop, and of one cell, that are timed")
    parser.add_argument("--out", type=Path, default=None, help="JSON file for the timings")
    arguments: argparse.Namespace = parser.parse_args()
    return arguments


def sklearn_auroc(p: NDArray[np.float64], y: NDArray[np.int8]) -> float:
    return float(roc_auc_score(y, p))


def sklearn_average_precision(p: NDArray[np.float64], y: NDArray[np.int8]) -> float:
    return float(average_precision_score(y, p))


def numpy_aurc(p: NDArray[np.float64], y: NDArray[np.int8]) -> float:
    """Mean over images of the share wrong among images at least as confident, at the threshold 0.5."""
    confidence, wrong = np.round(np.maximum(p, 1 - p), 14), (p >= 0.5) != (y == 1)
    order = np.argsort(-confidence)
    last = np.append(np.diff(confidence[order]) != 0, True)
    n, n_wrong = np.flatnonzero(last) + 1, np.cumsum(wrong[order])[last]
    return float((np.diff(n, prepend=0) * n_wrong / n).sum() / len(p))


def netcal_ece() -> Peer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # netcal's own modules warn when they are compiled
        from netcal.metrics import ECE
    measure = ECE(bins=15).measure
    return lambda p, y: float(measure(p, y.astype(np.int64)))


def measure(
    name: str, peer: str, function: Peer, cells: Sequence[Cell], counts: Counts, arguments: argparse.Namespace
) -> Timing:
    """Time all resamples here and a few calls of the loop, spread over cells and resamples."""
    seconds = seconds_of(name, cells, counts)
    on_one_core = seconds_on_one_core(name, cells, counts)
    seconds_one_cell = seconds_of(name, cells[:1], counts, turns=arguments.calls)
    resampled = metric[name].resample(cells, counts)
    per_call, differences = time_calls(function, cells, counts, resampled, arguments)
    peer_seconds = float(np.median(per_call)) * len(cells) * arguments.resamples
    timing = Timing(
        metric=name,
        peer=peer,
        n_cells=len(cells),
        n_resamples=arguments.resamples,
        n_images=len(cells[0].labels),
        n_patients=cells[0].n_patients,
        seconds=seconds,
        seconds_one_core=on_one_core,
        seconds_one_cell=seconds_one_cell,
        peer_calls_timed=len(per_call),
        peer_seconds_per_call=float(np.median(per_call)),
        peer_seconds=peer_seconds,
        largest_difference=max(differences),
        ratio=peer_seconds / seconds,
        ratio_one_core=None if on_one_core is None else peer_seconds / on_one_core,
    )
    print_timing(timing)
    return timing


def seconds_on_one_core(name: str, cells: Sequence[Cell], counts: Counts) -> float | None:
    """Time all resamples in a process that is kept to one core."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = {min(os.sched_getaffinity(0))}
    with ProcessPoolExecutor(1, get_context("spawn"), os.sched_setaffinity, (0, core)) as child:
        return child.submit(seconds_of, name, cells, counts).result()


def seconds_of(name: str, cells: Sequence[Cell], counts: Counts, *, turns: int = TURNS) -> float:
    """Return the median of a few turns, since one takes a tenth of a second; each puts the images in order anew."""
    metric[name].resample(cells[:1], counts[:1])  # compiles, or reads what was compiled
    took = []
    for _ in range(turns):
        for one in cells:
            one.forget()
        begun = time.perf_counter()
        metric[name].resample(cells, counts)
        took.append(time.perf_counter() - begun)
    return float(np.median(took))


def time_calls(
    function: Peer, cells: Sequence[Cell], counts: Counts, resampled: NDArray[np.float64], arguments: argparse.Namespace
) -> tuple[list[float], list[float]]:
    """Seconds of each timed call, and how far its result is from ours."""
    per_call, differences = [], []
    lanes = counts.shape[2]
    for call in range(arguments.calls):
        i, r = call * 5 % len(cells), call * 97 % arguments.resamples
        cell = cells[i]
        weights = counts[r // lanes, :, r % lanes][cell.patients]
        begun = time.perf_counter()
        rows = np.repeat(np.arange(len(weights)), weights)
        found = function(cell.probabilities[rows], cell.labels[rows])
        per_call.append(time.perf_counter() - begun)
        differences.append(abs(found - float(resampled[i, r])))
    return per_call, differences


def print_timing(t: Timing) -> None:
    n_calls = t.n_cells * t.n_resamples
    on_one = "" if t.seconds_one_core is None else f", {t.seconds_one_core:.2f} s on one"
    print(
        f"{t.metric}, {t.n_resamples:,} resamples of {t.n_cells} cells of {t.n_images:,} images:\n"
        f"  {t.seconds:.2f} s here, on {os.cpu_count()} cores{on_one}; "
        f"{t.seconds_one_cell * 1e3:.1f} ms for one cell alone\n"
        f"  {t.peer_seconds:,.0f} s by a loop over {t.peer} on one, scaled to {n_calls:,} calls from the median "
        f"{t.peer_seconds_per_call * 1e3:.2f} ms of {t.peer_calls_timed}\n"
        f"  largest difference over these calls {t.largest_difference:.1e}"
    )


if __name__ == "__main__":
    main()
