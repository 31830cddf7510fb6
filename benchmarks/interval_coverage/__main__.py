"""Coverage of 95 % intervals and size of tests at 5 %, by simulation with known truth.

`run` simulates studies (scenarios.py says of what law) and counts how often each interval holds the truth and how
often each test rejects a null that is true; studies of a scenario and metric that are in the file already are not
simulated again. `recount` judges one part of the file's studies anew, where its code has changed or is new.
`procedures` judges whole analyses: bands, families, gaps of subgroups, replicates, and `recount-procedures` one part of
them. `show` turns the counts into a page and two figures.

    python benchmarks/interval_coverage run --out coverage.json
    python benchmarks/interval_coverage procedures --out procedures.json
    python benchmarks/interval_coverage show-procedures procedures.json --page docs/procedures.md
    python benchmarks/interval_coverage show coverage.json --page docs/coverage.md --figures docs/_static
"""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")  # studies are small: one core each, as many studies as there are cores

FIGURES = ("coverage.svg", "coverage-trend.svg")


def main() -> None:
    arguments = parse_arguments()
    arguments.do(arguments)


def run(arguments: argparse.Namespace) -> None:
    """Simulate what the file lacks."""
    import running
    from scenarios import GRID

    sizes = sorted({one.n_patients for one in GRID})
    each = arguments.repetitions * len(sizes) if len(arguments.repetitions) == 1 else arguments.repetitions
    if len(each) != len(sizes):
        raise SystemExit(f"--repetitions has {len(each)} numbers, expected one, or one for each of {sizes} patients")
    for name in arguments.metrics:
        if name not in running.METRICS:
            raise SystemExit(f"--metrics: {name} is none of {', '.join(running.METRICS)}")
    running.run(
        named_scenarios(arguments.scenarios),
        arguments.out,
        metrics=arguments.metrics or running.METRICS,
        repetitions=dict(zip(sizes, each, strict=True)),
        resamples=arguments.resamples,
        seed=arguments.seed,
        workers=arguments.workers,
    )


def recount(arguments: argparse.Namespace) -> None:
    """Judge one part of the file's studies anew."""
    import running

    running.recount(
        arguments.out,
        arguments.part,
        metrics=arguments.metrics or running.METRICS,
        scenarios=named_scenarios(arguments.scenarios),
        workers=arguments.workers,
    )


def named_scenarios(parts: Sequence[str]) -> list[Any]:
    """Return the designs whose name holds one of these parts; all where there are none."""
    from scenarios import GRID

    return [one for one in GRID if not parts or any(part in f"{one} " for part in parts)]


def procedures(arguments: argparse.Namespace) -> None:
    """Judge bands, families, gaps, replicates and the like."""
    from procedures import run_procedures

    run_procedures(arguments.out, studies=arguments.studies, resamples=arguments.resamples, workers=arguments.workers)


def recount_procedures(arguments: argparse.Namespace) -> None:
    """Judge one part of that file's studies anew."""
    import procedures

    procedures.recount_procedures(arguments.out, arguments.part, workers=arguments.workers)


def show_procedures(arguments: argparse.Namespace) -> None:
    """Make the page of a file of those counts."""
    from showing_procedures import procedures_page

    page = procedures_page(json.loads(arguments.results.read_text(encoding="utf-8")))
    arguments.page.write_text(page, encoding="utf-8")


def show(arguments: argparse.Namespace) -> None:
    """Make the page and the figures of a file of counts, and print what misses its level."""
    from drawing import draw_metrics, draw_trend
    from shares import coverages, sizes
    from showing import coverage_page, misses

    content = json.loads(arguments.results.read_text(encoding="utf-8"))
    figures = [] if arguments.figures is None else [arguments.figures / name for name in FIGURES]
    if arguments.page is not None:
        beside = [os.path.relpath(figure, arguments.page.parent) for figure in figures]
        arguments.page.write_text(coverage_page(content, figures=beside), encoding="utf-8")
    if figures:
        arguments.figures.mkdir(parents=True, exist_ok=True)
        draw_metrics(coverages(content), sizes(content), figures[0])
        draw_trend(coverages(content), figures[1])
    print(misses(content))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/interval_coverage",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="simulate what the file lacks")
    running.set_defaults(do=run)
    running.add_argument("--out", type=Path, required=True, help="JSON file of counts")
    running.add_argument(
        "--scenarios", nargs="+", default=[], help="parts of names, such as 'patients=50 ' or correlation=0.4; else all"
    )
    running.add_argument("--metrics", nargs="+", default=[], help="names of metrics; else all of the package")
    running.add_argument(
        "--repetitions", type=int, nargs="+", default=[400], help="studies a scenario, or one number for each size"
    )
    running.add_argument("--resamples", type=int, default=1000)
    running.add_argument("--seed", type=int, default=1)
    running.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    recounting = commands.add_parser("recount", help="judge one part of the file's studies anew")
    recounting.set_defaults(do=recount)
    recounting.add_argument(
        "part",
        choices=("corrected", "margins", "nulls", "twins"),
        help="intervals less a bias; tests against a margin, of nulls, between twins",
    )
    recounting.add_argument("--out", type=Path, required=True, help="JSON file of counts")
    recounting.add_argument("--scenarios", nargs="+", default=[], help="parts of names; else all")
    recounting.add_argument("--metrics", nargs="+", default=[], help="names of metrics; else all of the package")
    recounting.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    judging = commands.add_parser("procedures", help="judge bands, families, gaps, replicates and the like")
    judging.set_defaults(do=procedures)
    judging.add_argument("--out", type=Path, required=True, help="JSON file of counts")
    judging.add_argument("--studies", type=int, default=100, help="of each design")
    judging.add_argument("--resamples", type=int, default=400)
    judging.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    again = commands.add_parser("recount-procedures", help="judge one part of that file's studies anew")
    again.set_defaults(do=recount_procedures)
    again.add_argument("part", choices=("recalibrated", "effects", "cochran", "filled"))
    again.add_argument("--out", type=Path, required=True, help="JSON file of counts")
    again.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    shown = commands.add_parser("show-procedures", help="make the page of a file of those counts")
    shown.set_defaults(do=show_procedures)
    shown.add_argument("results", type=Path)
    shown.add_argument("--page", type=Path, required=True, help="Markdown file")
    showing = commands.add_parser("show", help="make the page and the figures of a file of counts")
    showing.set_defaults(do=show)
    showing.add_argument("results", type=Path)
    showing.add_argument("--page", type=Path, default=None, help="Markdown file")
    showing.add_argument("--figures", type=Path, default=None, help=f"folder for {' and '.join(FIGURES)}")
    return parser.parse_args()


if __name__ == "__main__":
    main()
