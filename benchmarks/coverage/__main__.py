"""Coverage of 95 % intervals and size of tests at 5 %, by simulation with known truth.

`run` simulates studies (scenarios.py says of what law) and counts how often each interval holds the truth and how
often each test rejects a null that is true; a scenario that is in the file already is not simulated again. `show` turns
the counts into a table and a figure.

    python benchmarks/coverage run --out coverage.json
    python benchmarks/coverage show coverage.json --table docs/coverage.md --figure docs/_static/coverage.svg
"""

import argparse
import json
import os
from pathlib import Path

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")  # studies are small: one core each, as many studies as there are cores


def main() -> None:
    from running import run
    from scenarios import GRID
    from showing import coverage_figure, coverage_table, misses

    arguments = parse_arguments()
    if arguments.command == "run":
        sizes = sorted({one.n_patients for one in GRID})
        each = arguments.repetitions * len(sizes) if len(arguments.repetitions) == 1 else arguments.repetitions
        if len(each) != len(sizes):
            raise SystemExit(
                f"--repetitions has {len(each)} numbers, expected one, or one for each of {sizes} patients"
            )
        chosen = [one for one in GRID if not arguments.scenarios or any(s in str(one) for s in arguments.scenarios)]
        content = run(
            chosen,
            arguments.out,
            repetitions=dict(zip(sizes, each, strict=True)),
            resamples=arguments.resamples,
            seed=arguments.seed,
            workers=arguments.workers,
        )
        print(misses(content))
    else:
        content = json.loads(arguments.results.read_text(encoding="utf-8"))
        if arguments.table is not None:
            figure = None if arguments.figure is None else os.path.relpath(arguments.figure, arguments.table.parent)
            arguments.table.write_text(coverage_table(content, figure=figure), encoding="utf-8")
        if arguments.figure is not None:
            arguments.figure.parent.mkdir(parents=True, exist_ok=True)
            coverage_figure(content, arguments.figure)
        print(misses(content))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/coverage", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="simulate what the file lacks")
    running.add_argument("--out", type=Path, required=True, help="JSON file of counts")
    running.add_argument(
        "--scenarios", nargs="+", default=[], help="parts of names, such as 'patients=50 ' or correlation=0.4; else all"
    )
    running.add_argument(
        "--repetitions", type=int, nargs="+", default=[400], help="studies a scenario, or one number for each size"
    )
    running.add_argument("--resamples", type=int, default=1000)
    running.add_argument("--seed", type=int, default=1)
    running.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    showing = commands.add_parser("show", help="make the table and the figure of a file of counts")
    showing.add_argument("results", type=Path)
    showing.add_argument("--table", type=Path, default=None, help="Markdown file")
    showing.add_argument("--figure", type=Path, default=None, help="SVG or PNG file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
