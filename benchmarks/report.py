"""Seconds and peak memory of `cxrobust report` on made results, beside those of the bare PDF of the same pages.

Cold: nothing is kept from a run before. Warm: the same again, when figures and pages are taken as they were kept.
With a results file, such as that of `make demo`, its report is measured too; nothing is written beside it.

python benchmarks/report.py --results demo/results.json --out benchmarks/results/report.json
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import record

from cxrobust.results import Results, read_results, write_results

ROOT = Path(__file__).parent.parent
AIMS = {"demo": (10, None), "large": (90, 2.0)}
"""Seconds, and GiB where there is an aim, on two cores."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    parser.add_argument("--study", choices=list(AIMS), action="append", help="one of them; both when absent")
    parser.add_argument("--results", type=Path, help="a results file whose report is measured first")
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.bare:
        print(json.dumps(bare(given.bare)))
        return
    studies = [measured_file(given.results)] if given.results else []
    studies += [measured(name) for name in given.study or AIMS]
    record.write(given.out, {"studies": studies}, packages=("matplotlib", "weasyprint", "jinja2"))
    for one in studies:
        print(
            f"{one['name']}: {one['seconds']:.1f} s, again {one['warm_seconds']:.1f} s "
            f"(of CPUs {one['cpu_seconds']:.1f} and {one['warm_cpu_seconds']:.1f} s), "
            f"at most {one['peak_gib']:.2f} GiB, {one['pages']} pages"
        )
    print("; ".join(f"{one['name']}: {one['ratio']:.2f} × the CPU time of the bare PDF" for one in studies))


def measured(name: str) -> dict[str, Any]:
    """Measure the report of a made study."""
    with tempfile.TemporaryDirectory() as folder:
        size = made_results(name, Path(folder))
        return {"name": name, **size, **timed(Path(folder) / "results.json", aims=AIMS[name])}


def measured_file(results: Path) -> dict[str, Any]:
    """Measure the report of a results file, against what is aimed at for the demo."""
    size = size_of(read_results(results))
    return {"name": f"{results.resolve().parent.name}/{results.name}", **size, **timed(results, aims=AIMS["demo"])}


def timed(results: Path, *, aims: tuple[float, float | None]) -> dict[str, Any]:
    """Report by the command line in a process of its own, twice, then print the pages alone in another."""
    with tempfile.TemporaryDirectory() as out:
        seconds, cpu_seconds, peak_gib = reported(results, Path(out))
        load = os.getloadavg()[0]
        warm_seconds, warm_cpu_seconds, _ = reported(results, Path(out))
    alone = json.loads(run([sys.executable, __file__, "--bare", str(results)]))
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "warm_seconds": warm_seconds,
        "warm_cpu_seconds": warm_cpu_seconds,
        "peak_gib": peak_gib,
        "load": load,
        "cores_used": len(os.sched_getaffinity(0)),
        "pages": alone["pages"],
        "bare_seconds": alone["seconds"],
        "bare_cpu_seconds": alone["cpu_seconds"],
        "ratio": cpu_seconds / alone["cpu_seconds"],
        "aim_seconds": aims[0],
        "aim_gib": aims[1],
    }


def reported(results: Path, out: Path) -> tuple[float, float, float]:
    """Return seconds, CPU seconds, and the peak memory in GiB of the largest process of a report."""
    command, start = [sys.executable, "-m", "cxrobust", "report", str(results), "--out", str(out)], time.perf_counter()
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL)  # noqa: S603  this Python
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


def run(command: list[str]) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment())  # noqa: S603  this Python
    return done.stdout


def made_results(name: str, folder: Path) -> dict[str, int]:
    """Write results of a study's size as an analysis would, and return the size."""
    sys.path.insert(0, str(ROOT / "tests"))
    from reports.made import WHOLE, Made, results

    made = WHOLE if name == "large" else Made(n_regimes=6, n_findings=6, more_attacks=True)
    found = results(made, images=folder / "predictions")
    formats = {**found.study["report"], "formats": ["pdf", "html", "paper", "model-cards"]}
    found = replace(found, study={**found.study, "report": formats})
    write_results(found, folder / "results.json")
    return size_of(found)


def size_of(found: Results) -> dict[str, int]:
    return {
        "regimes": len(found.regimes),
        "conditions": len(found.conditions) - 1,
        "findings": len(found.data["findings"]),
        "estimates": len(found.estimates),
    }


def bare(path: Path) -> dict[str, Any]:
    """Seconds of WeasyPrint alone for the HTML of the report and of the appendix."""
    from cxrobust.reports.document import compose, fill
    from cxrobust.reports.pdf import lay_out
    from cxrobust.reports.render import KINDS
    from cxrobust.reports.view import View

    view = View.of(read_results(path), images=path.parent / "predictions")
    seconds, cpu_seconds, pages = 0.0, 0.0, 0
    for kind in KINDS:
        html = fill(compose(view, kind), medium="pdf", paper="A4")
        start, cpu_start = time.perf_counter(), time.process_time()
        laid_out = lay_out(html)
        laid_out.pdf()
        seconds += time.perf_counter() - start
        cpu_seconds += time.process_time() - cpu_start
        pages += max(laid_out.pages.values(), default=0)
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "pages": pages}


if __name__ == "__main__":
    main()
