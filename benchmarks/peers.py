"""The AUROC's 95 % interval as packages of today give it, beside ours: seconds, width, and what they take a unit for.

One published model's predictions of 14 findings on 22,433 NIH ChestX-ray14 images of 6,187 patients; every package gets
the same arrays, first those of one finding, then of all. A bootstrap that would need longer than `--limit` seconds
draws fewer resamples, at least 200, and its seconds are scaled, which the output says. A package that is not there is
skipped by name. Seconds of all findings are the sum over them, but ours draws its resamples once for all.

    uv pip install --target .peers --no-deps --group peers
    PYTHONPATH=.peers python benchmarks/peers.py ../shared/data --out benchmarks/results/peers.json
"""

import argparse
import csv
import importlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType

import numpy as np
from nih import load_cells
from numpy.typing import NDArray
from record import write
from sklearn.metrics import roc_auc_score

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.metrics import metric
from cxrobust.analysis.resampling import patient_counts

MODEL = "pretrained"
PILOT = 20
"""Resamples that tell how long one takes."""
FEWEST = 200
"""Resamples for which the limit is exceeded: an interval of fewer says nothing about widths."""
REPEATS = 5
os.environ["TQDM_DISABLE"] = "1"  # MLstatkit's progress bars


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """One cell's interval, and how long it took."""

    low: float
    high: float
    seconds: float


Run = Callable[[Sequence[Cell], int], list[Interval]]
"""Called with cells and a number of resamples, which a method without resamples does not need."""


class AbsentError(Exception):
    """A package that is not there; the message is a sentence that says so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """One way to an interval."""

    name: str
    package: str
    unit: str
    """What is resampled, or taken for independent."""
    pairs: str
    """Whether it compares two models on the same images."""
    clusters: str
    """Whether it takes images of one patient for dependent."""
    resamples: bool
    load: Callable[[], Run]
    """Raises `AbsentError`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A peer on some cells."""

    findings: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    relative_width: tuple[float, ...]
    """Of each finding: width over that of our patient-level interval."""
    n_resamples: int | None
    """Resamples that were drawn; None where the method draws none."""
    seconds_measured: tuple[float, ...]
    """Of each repetition."""
    seconds: float
    """Median, scaled to the resamples asked for where fewer were drawn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A peer with all that is reported of it."""

    name: str
    version: str
    unit: str
    pairs: str
    clusters: str
    one: Measured
    all: Measured
    ratio: float | None
    """Seconds for all findings over ours; None for ours and where nothing is resampled."""
    ratio_one_core: float | None
    """The same over ours on one core; None where that was not measured."""


def main() -> None:
    arguments = parse_arguments()
    cells = {finding: cell for (model, finding), cell in load_cells(arguments.data).items() if model == MODEL}
    rows: list[Row] = []
    for peer in PEERS:
        try:
            run = peer.load()
        except AbsentError as absent:
            print(f"{peer.name}: skipped, {absent}")
            continue
        one = measure(peer, run, {arguments.finding: cells[arguments.finding]}, rows, arguments)
        rows.append(row_of(peer, one, measure(peer, run, cells, rows, arguments), rows))
        print_row(rows[-1], arguments)
    cell = cells[arguments.finding]
    content = {
        "model": MODEL,
        "finding": arguments.finding,
        "n_images": len(cell.labels),
        "n_patients": cell.n_patients,
        "n_resamples": arguments.resamples,
        "limit": arguments.limit,
        "rows": [asdict(row) for row in rows],
    }
    write(arguments.out, content, packages=("scipy", "scikit-learn", "torch"))
    for row in sorted((row for row in rows if row.ratio is not None), key=lambda r: r.ratio):
        on_one = "" if row.ratio_one_core is None else f", {row.ratio_one_core:,.0f} on one core"
        print(f"cxrobust: {row.ratio:,.0f} times as fast as {row.name} (all {len(cells)} findings){on_one}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder that holds nih-predictions/ and nih-metadata/")
    parser.add_argument("--finding", default="Effusion", help="the finding of the one cell")
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--limit", type=float, default=60.0, help="seconds of a package for one finding, for all")
    parser.add_argument("--out", type=Path, default=None, help="JSON file for the table")
    arguments: argparse.Namespace = parser.parse_args()
    return arguments


def measure(
    peer: Peer, run: Run, cells: dict[str, Cell], rows: Sequence[Row], arguments: argparse.Namespace
) -> Measured:
    """Run a peer on cells, several times while that keeps to the limit."""
    some = list(cells.values())
    run(some[:1], PILOT)  # what is compiled when it is first called is not timed
    pilot = seconds_of(run(some, PILOT))
    n_resamples = arguments.resamples
    if peer.resamples and peer.name not in OURS and n_resamples * pilot / PILOT > arguments.limit:
        n_resamples = min(n_resamples, max(FEWEST, int(arguments.limit / pilot * PILOT)))
    found = run(some, n_resamples)
    seconds = [seconds_of(found)]
    while len(seconds) < REPEATS and sum(seconds) + seconds[-1] < arguments.limit:
        seconds.append(seconds_of(run(some, n_resamples)))
    low, high = tuple(one.low for one in found), tuple(one.high for one in found)
    ours = dict(zip(rows[0].all.findings, widths(rows[0].all.low, rows[0].all.high), strict=True)) if rows else None
    own = dict(zip(cells, widths(low, high), strict=True))
    return Measured(
        findings=tuple(cells),
        low=low,
        high=high,
        relative_width=tuple(width / (ours or own)[finding] for finding, width in own.items()),
        n_resamples=n_resamples if peer.resamples else None,
        seconds_measured=tuple(seconds),
        seconds=float(np.median(seconds)) * arguments.resamples / n_resamples,
    )


def seconds_of(intervals: Sequence[Interval]) -> float:
    return sum(one.seconds for one in intervals)


def widths(low: Sequence[float], high: Sequence[float]) -> list[float]:
    return [end - begin for begin, end in zip(low, high, strict=True)]


def row_of(peer: Peer, one: Measured, every: Measured, rows: Sequence[Row]) -> Row:
    ours = {row.name: row.all.seconds for row in rows}

    def ratio(name: str) -> float | None:
        return every.seconds / ours[name] if peer.resamples and peer.name not in OURS and name in ours else None

    return Row(
        name=peer.name,
        version=version_of(peer.package),
        unit=peer.unit,
        pairs=peer.pairs,
        clusters=peer.clusters,
        one=one,
        all=every,
        ratio=ratio(OURS[0]),
        ratio_one_core=ratio(OURS[1]),
    )


def version_of(package: str) -> str:
    if package == "pROC":
        return in_r('cat(as.character(packageVersion("pROC")))')
    return version(package)


def print_row(row: Row, arguments: argparse.Namespace) -> None:
    def scaled(measured: Measured) -> str:
        fewer = measured.n_resamples is not None and measured.n_resamples < arguments.resamples
        return f" (scaled from {measured.n_resamples:,} resamples)" if fewer else ""

    one, every = row.one, row.all
    print(
        f"{row.name} {row.version}: unit {row.unit}; pairs: {row.pairs}; clusters: {row.clusters}\n"
        f"  {one.findings[0]}: {one.low[0]:.4f} to {one.high[0]:.4f}, {one.relative_width[0]:.2f} times as wide "
        f"as ours; {one.seconds:.3f} s{scaled(one)}\n"
        f"  {len(every.findings)} findings: {np.median(every.relative_width):.2f} times as wide in the median "
        f"({min(every.relative_width):.2f} to {max(every.relative_width):.2f}); {every.seconds:.2f} s{scaled(every)}"
    )


def ours(cells: Sequence[Cell], n_resamples: int) -> list[Interval]:
    """Patient-level percentile intervals; the resamples are drawn once for all cells."""
    begun = time.perf_counter()
    counts = patient_counts(cells[0].n_patients, n_resamples=n_resamples, rng=np.random.default_rng(1))
    resampled = metric["auroc"].resample(cells, counts)[:, :n_resamples]
    low, high = np.quantile(resampled, [0.025, 0.975], axis=1)
    seconds = (time.perf_counter() - begun) / len(cells)
    return [Interval(low=float(a), high=float(b), seconds=seconds) for a, b in zip(low, high, strict=True)]


def ours_on_one_core() -> Run:
    if not hasattr(os, "sched_setaffinity"):
        raise AbsentError("this system cannot keep a process to one core")
    core = {min(os.sched_getaffinity(0))}
    pool = ProcessPoolExecutor(1, get_context("spawn"), os.sched_setaffinity, (0, core))
    return lambda cells, n_resamples: pool.submit(ours, cells, n_resamples).result()


def by_cell(interval: Callable[[Cell, int], tuple[float, float]]) -> Run:
    """Time a function of one cell on each."""

    def run(cells: Sequence[Cell], n_resamples: int) -> list[Interval]:
        found = []
        for cell in cells:
            begun = time.perf_counter()
            low, high = interval(cell, n_resamples)
            seconds = time.perf_counter() - begun
            found.append(Interval(low=float(low), high=float(high), seconds=seconds))
        return found

    return run


def package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise AbsentError(f"{error.name} is not installed") from error


def scipy_images() -> Run:
    """As scipy's documentation does it for two paired samples; `batch` bounds memory and changes no result."""
    stats = package("scipy.stats")

    def interval(cell: Cell, n_resamples: int) -> tuple[float, float]:
        result = stats.bootstrap(
            (cell.labels, cell.probabilities), roc_auc_score, n_resamples=n_resamples, paired=True, vectorized=False,
            method="percentile", batch=16, rng=1,
        )  # fmt: skip
        return result.confidence_interval

    return by_cell(interval)


def scipy_patients() -> Run:
    """What one has to write for patients: resample their indices, and gather the images in the statistic."""
    stats = package("scipy.stats")

    def interval(cell: Cell, n_resamples: int) -> tuple[float, float]:
        order = np.argsort(cell.patients, kind="stable")
        images = np.split(order, np.cumsum(np.bincount(cell.patients, minlength=cell.n_patients))[:-1])

        def auroc(drawn: NDArray[np.intp]) -> float:
            rows = np.concatenate([images[patient] for patient in drawn])
            return float(roc_auc_score(cell.labels[rows], cell.probabilities[rows]))

        result = stats.bootstrap(
            (np.arange(cell.n_patients),), auroc, n_resamples=n_resamples, vectorized=False, method="percentile",
            batch=16, rng=1,
        )  # fmt: skip
        return result.confidence_interval

    return by_cell(interval)


def confidenceinterval_bootstrap() -> Run:
    """Its percentile method; its default, BCa, asks scipy for an array of n_images² indices, here 4 GB."""
    peer = package("confidenceinterval")

    def interval(cell: Cell, n_resamples: int) -> tuple[float, float]:
        return peer.roc_auc_score(
            cell.labels, cell.probabilities, method="bootstrap_percentile", n_resamples=n_resamples, random_state=1
        )[1]

    return by_cell(interval)


def confidenceinterval_delong() -> Run:
    peer = package("confidenceinterval")
    return by_cell(lambda cell, _: peer.roc_auc_score(cell.labels, cell.probabilities, method="delong")[1])


def mlstatkit() -> Run:
    peer = package("MLstatkit")
    return by_cell(
        lambda cell, n: peer.Bootstrapping(cell.labels, cell.probabilities, "roc_auc", n_bootstraps=n, random_state=1)[
            1:
        ]
    )


def statkit() -> Run:
    peer = package("statkit.non_parametric")

    def interval(cell: Cell, n_resamples: int) -> tuple[float, float]:
        found = peer.bootstrap_score(
            cell.labels, cell.probabilities, metric=roc_auc_score, n_iterations=n_resamples, random_state=1
        )
        return found.lower, found.upper

    return by_cell(interval)


def torchmetrics() -> Run:
    """Its default, a Poisson number of each image; AUROC without binning."""
    peer, torch = package("torchmetrics"), package("torch")

    def interval(cell: Cell, n_resamples: int) -> tuple[float, float]:
        torch.manual_seed(1)
        quantiles = torch.tensor([0.025, 0.975], dtype=torch.float32)
        auroc = peer.classification.BinaryAUROC(thresholds=None)
        bootstrap = peer.wrappers.BootStrapper(auroc, num_bootstraps=n_resamples, quantile=quantiles)
        bootstrap.update(torch.tensor(cell.probabilities), torch.tensor(cell.labels))
        return bootstrap.compute()["quantile"].tolist()

    return by_cell(interval)


def proc(method: str) -> Run:
    if shutil.which("Rscript") is None:
        raise AbsentError("R is not installed")
    if in_r('cat(requireNamespace("pROC", quietly = TRUE))') != "TRUE":
        raise AbsentError("R has no package pROC")
    script = Path(__file__).with_name("proc.R")

    def run(cells: Sequence[Cell], n_resamples: int) -> list[Interval]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "cells.csv"
            columns = [column.tolist() for cell in cells for column in (cell.labels, cell.probabilities)]
            with path.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([range(len(columns)), *zip(*columns, strict=True)])
            lines = rscript(str(script), str(path), method, str(n_resamples)).splitlines()
        numbers = [[float(part) for part in line.split()] for line in lines]
        return [Interval(seconds=seconds, low=low, high=high) for seconds, low, high in numbers]

    return run


def in_r(code: str) -> str:
    return rscript("-e", code)


def rscript(*arguments: str) -> str:
    return subprocess.run(["Rscript", *arguments], check=True, text=True, stdout=subprocess.PIPE).stdout  # noqa: S603, S607  R is sought on PATH


OURS = ("cxrobust", "cxrobust, one core")
NO, BY_HAND = "no", "by hand"
PEERS = (
    Peer(name=OURS[0], package="cxrobust", unit="patient", pairs="yes", clusters="yes", resamples=True,
         load=lambda: ours),
    Peer(name=OURS[1], package="cxrobust", unit="patient", pairs="yes", clusters="yes", resamples=True,
         load=ours_on_one_core),
    Peer(name="scipy.stats.bootstrap, patients", package="scipy", unit="patient", pairs=BY_HAND, clusters=BY_HAND,
         resamples=True, load=scipy_patients),
    Peer(name="scipy.stats.bootstrap, images", package="scipy", unit="image", pairs=BY_HAND, clusters=BY_HAND,
         resamples=True, load=scipy_images),
    Peer(name="confidenceinterval, bootstrap", package="confidenceinterval", unit="image", pairs=NO, clusters=NO,
         resamples=True, load=confidenceinterval_bootstrap),
    Peer(name="MLstatkit", package="MLstatkit", unit="image", pairs="p-value only", clusters=NO, resamples=True,
         load=mlstatkit),
    Peer(name="statkit", package="statkit", unit="image", pairs="p-value only", clusters=NO, resamples=True,
         load=statkit),
    Peer(name="torchmetrics BootStrapper", package="torchmetrics", unit="image", pairs=NO, clusters=NO, resamples=True,
         load=torchmetrics),
    Peer(name="pROC, bootstrap", package="pROC", unit="image, within its class", pairs="yes", clusters=NO,
         resamples=True, load=lambda: proc("bootstrap")),
    Peer(name="confidenceinterval, DeLong", package="confidenceinterval", unit="image", pairs=NO, clusters=NO,
         resamples=False, load=confidenceinterval_delong),
    Peer(name="pROC, DeLong", package="pROC", unit="image", pairs="yes", clusters=NO, resamples=False,
         load=lambda: proc("delong")),
)  # fmt: skip
"""Ours comes first, since widths are relative to it."""


if __name__ == "__main__":
    main()
